"""The client: an opened repository with all verbs. What `keepstone.open` returns and what the commands call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from keepstone import events
from keepstone.chunking import DEFAULT_ALGORITHM
from keepstone.clock import SYSTEM, Clock
from keepstone.history import snapshot as history
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import Entry
from keepstone.ids import KeyslotId
from keepstone.repo import access
from keepstone.repo.keys import MEMORY_KIB, Credential
from keepstone.repo.repository import Repository, create_repository, open_repository
from keepstone.repo.writer import writing
from keepstone.store import Store, open_store
from keepstone.work.ahead import ScanAhead
from keepstone.work.backup import BackupResult, backup
from keepstone.work.options import BackupOptions

# Each verb loads what only it needs when it is called, because a daily run with nothing new is as long as its imports.
if TYPE_CHECKING:
    from keepstone.history.container_keys import ContainerKeyInfo
    from keepstone.messages.model import Attachment
    from keepstone.messages.resolve import Chat
    from keepstone.work import query
    from keepstone.work.check import CheckResult
    from keepstone.work.drill import DrillOptions, DrillResult
    from keepstone.work.explain import Explanation
    from keepstone.work.messages import Messages
    from keepstone.work.restore import RestoreOptions, RestoreResult
    from keepstone.work.take_messages import Showing, TakenMessages
    from keepstone.work.timeline import Moment


def default_repository() -> Path:
    """Return the place of the repository that is used when none is named."""
    return _base("XDG_DATA_HOME", ".local/share") / "keepstone" / "repository"


def default_cache() -> Path:
    return _base("XDG_CACHE_HOME", ".cache") / "keepstone"


def default_state() -> Path:
    return _base("XDG_STATE_HOME", ".local/state") / "keepstone"


def _base(variable: str, below_home: str) -> Path:
    # The XDG Base Directory Specification: relative paths in these variables are ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / below_home


class Client:
    """An open repository. A context manager; use `open_client`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the local index. Nothing is lost if it is forgotten, but the next run starts slower."""
        self._repository.close()

    @property
    def id(self) -> str:
        """The repository's id, 32 hex digits."""
        return self._repository.id.hex()

    @property
    def location(self) -> str:
        return self._repository.store.location

    # Snapshots -------------------------------------------------------------------------------------------

    def backup(
        self, options: BackupOptions, listener: events.Listener = events.ignore, ahead: ScanAhead | None = None
    ) -> BackupResult:
        """Make a snapshot.

        Args:
            ahead: a scan for the same options, begun before the repository was opened.

        Raises:
            Locked: another process writes to the repository.
            SourceError: nothing of what was asked for could be read.
            StoreError: the storage did not take it.
        """
        with self._writing():
            return backup(self._repository, options, listener, ahead)

    def snapshots(self) -> list[Snapshot]:
        """Return all snapshots, oldest first."""
        return history.snapshots(self._repository.log, self._repository.keys)

    def snapshot(self, text: str) -> Snapshot:
        """Return the snapshot that `latest`, an id or its first digits name.

        Raises:
            SnapshotNotFound.
        """
        return history.resolve(text, self.snapshots())

    def ls(self, snapshot: Snapshot, path: bytes = b"/", *, recursive: bool = True) -> Iterator[query.Listed]:
        """Yield the entry at a path and what is below it."""
        from keepstone.work import query

        return query.list_entries(self._repository, snapshot, path, recursive=recursive)

    def restore(
        self, snapshot: Snapshot, options: RestoreOptions, listener: events.Listener = events.ignore
    ) -> RestoreResult:
        """Recreate a snapshot, or a path of it, below a target folder."""
        from keepstone.work.restore import restore

        return restore(self._repository, snapshot, options, listener)

    def diff(self, old: Snapshot, new: Snapshot, *, metadata: bool = False) -> Iterator[query.Change]:
        """Yield what differs between two snapshots."""
        from keepstone.work import query

        return query.diff(self._repository, old, new, metadata=metadata)

    def find(self, pattern: bytes, *, only: Snapshot | None = None) -> Iterator[query.Found]:
        """Yield entries whose name (or path, if the pattern has a slash) matches."""
        from keepstone.work import query

        return query.find(self._repository, pattern, only=only)

    def cat(self, snapshot: Snapshot, path: bytes) -> Iterator[bytes]:
        """Yield the bytes of one file."""
        from keepstone.work import query

        return query.cat(self._repository, snapshot, path)

    def read(self, snapshot: Snapshot, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of a file that `ls` listed."""
        from keepstone.history import expression
        from keepstone.history.container_keys import container_keys

        keys = container_keys(self._repository.log)
        return expression.read(entry.content, self._repository, snapshot.name, keys) if entry.content else iter(())

    # Messages --------------------------------------------------------------------------------------------

    def messages(self, snapshot: Snapshot | None = None) -> Messages:
        """Return the message archive to read: all of it, or what was there at a snapshot."""
        from keepstone.work.messages import Messages

        return Messages(self._repository, snapshot)

    def timeline(self, chat: Chat) -> list[Moment]:
        """Return what each snapshot brought, changed and no longer had of a chat."""
        from keepstone.work.timeline import timeline

        return timeline(self.messages().messages(chat), self.snapshots())

    def attachment_opener(self, archive: Messages) -> Callable[[Attachment], BinaryIO | None]:
        """Return what opens the content of attachments, where the repository has it."""
        from keepstone.history.container_keys import container_keys
        from keepstone.history.opened import open_recipe
        from keepstone.history.recipe import pieces

        keys = container_keys(self._repository.log)

        def opened(attachment: Attachment) -> BinaryIO | None:
            recipe = archive.content(attachment.sha256) if attachment.sha256 else None
            if recipe is None:
                return None
            size = sum(piece.length for piece in pieces(recipe, self._repository, "An attachment"))
            return open_recipe(recipe, size, self._repository, "An attachment", keys)

        return opened

    def take_messages(self, showings: Sequence[Showing], *, level: int = 3) -> TakenMessages:
        """Bring what sources show into the message archive, and make a snapshot that has nothing else."""
        from keepstone.work.take_messages import take_messages

        with self._writing():
            return take_messages(self._repository, showings, level=level)

    # The repository --------------------------------------------------------------------------------------

    def check(
        self, *, read_data: float = 0.0, receipt: str | None = None, listener: events.Listener = events.ignore
    ) -> CheckResult:
        """Check that the repository holds what its snapshots promise; `read_data` is the share of packs read whole."""
        from keepstone.work.check import check

        return check(self._repository, read_data=read_data, receipt=receipt, listener=listener)

    def drill(self, options: DrillOptions, listener: events.Listener = events.ignore) -> DrillResult:
        """Restore a sample to a scratch place and look whether it is right."""
        from keepstone.work.drill import drill

        return drill(self._repository, options, listener)

    def check_drill_receipt(self, text: str) -> bool:
        """Return whether a drill's receipt says that it passed.

        Raises:
            UsageError: it is not genuine.
        """
        from keepstone.work.drill import check_receipt

        return check_receipt(self._repository, text)

    def stats(self) -> query.Stats:
        """Measure the repository."""
        from keepstone.work import query

        return query.stats(self._repository)

    def explain(self, chosen: Sequence[Snapshot] = (), listener: events.Listener = events.ignore) -> Explanation:
        """Explain where the space goes, by type, container and snapshot: of all snapshots, or of those chosen."""
        from keepstone.work.explain import explain

        return explain(self._repository, chosen, listener)

    def rebuild_index(self) -> int:
        """Rebuild the local index from the packs' own directories, write index objects where they lack.

        Returns: the number of packs that no index object covered.
        """
        repository = self._repository
        with self._writing():
            repository.reset_index()
            index = repository.ready_index(from_packs=True)
            sizes = dict(index.packs())
            covered = repository.covered_packs()
            lacking = sorted(sizes.keys() - covered)
            if lacking:
                with writing(repository, 0) as writer:
                    writer.index_packs(lacking, sizes)
            return len(lacking)

    # Keys ------------------------------------------------------------------------------------------------

    def keys(self) -> list[access.KeyslotInfo]:
        """Return the keyslots that open the repository."""
        return access.list_keys(self._repository)

    def add_key(self, credential: Credential, *, label: str = "", memory_kib: int = MEMORY_KIB) -> KeyslotId:
        """Add a password or a 64-digit key."""
        with self._writing():
            return access.add_key(self._repository, credential, label=label, memory_kib=memory_kib)

    def remove_key(self, text: str) -> KeyslotId:
        """Remove the keyslot whose id begins with `text`; the last one cannot be removed."""
        with self._writing():
            return access.remove_key(self._repository, text)

    def change_key(
        self, old: Credential, new: Credential, *, label: str = "", memory_kib: int = MEMORY_KIB
    ) -> KeyslotId:
        """Replace the keyslot that `old` opens by one for `new`."""
        with self._writing():
            return access.change_key(self._repository, old, new, label=label, memory_kib=memory_kib)

    def container_keys(self) -> list[ContainerKeyInfo]:
        """Return the keys of encrypted containers that the repository keeps."""
        from keepstone.history.container_keys import list_container_keys

        return list_container_keys(self._repository.log)

    def add_container_key(self, kind: str, material: bytes) -> bytes:
        """Keep the key of encrypted containers, sealed in the repository, and return its reference.

        Args:
            kind: `whatsapp` or `signal`.
            material: the content of a key file, or digits as text.

        Raises:
            UsageError: it is no key of that kind.
        """
        from keepstone.history.container_keys import add_container_key

        with self._writing():
            return add_container_key(self._repository, kind, material)

    def _writing(self) -> _Exclusive:
        return _Exclusive(self._repository)


class _Exclusive:
    """Holds the writer's lock; reads the logs again under it, as another process may have written meanwhile."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = repository.state.exclusive()

    def __enter__(self) -> None:
        self._lock.__enter__()
        try:
            self._repository.store.clean_temporary()
            self._repository.state.clean_scratch()
            self._repository.load_log()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def __exit__(self, *exception: object) -> None:
        self._lock.__exit__(None, None, None)


def open_client(
    location: str | Store,
    credential: Credential,
    *,
    cache: Path | None = None,
    state: Path | None = None,
    in_memory: bool = False,
    clock: Clock = SYSTEM,
    accept_rollback: bool = False,
) -> Client:
    """Open a repository.

    Args:
        location: a folder, or a store.
        cache: folder of local indexes (default: the user's cache folder). `in_memory` keeps the index in memory.
        state: folder of what this installation remembers (default: the user's state folder).

    Raises:
        NoRepository, WrongPassword, Rollback, Damaged, Unsupported.
    """
    store = open_store(location) if isinstance(location, str) else location
    repository = open_repository(
        store,
        credential,
        cache=None if in_memory else cache or default_cache(),
        state_folder=state or default_state(),
        clock=clock,
        accept_rollback=accept_rollback,
    )
    return Client(repository)


def init(
    location: str | Store,
    credential: Credential,
    *,
    state: Path | None = None,
    clock: Clock = SYSTEM,
    label: str = "",
    cipher: str = "aes-256-gcm",
    chunker: str = DEFAULT_ALGORITHM,
    memory_kib: int = MEMORY_KIB,
) -> str:
    """Create an empty repository and return its id.

    Args:
        chunker: `two-stage` or `aes`; it is decided here, once.

    Raises:
        RepositoryExists: there is one already.
    """
    store = open_store(location) if isinstance(location, str) else location
    identity = create_repository(
        store,
        credential,
        state_folder=state or default_state(),
        clock=clock,
        label=label,
        cipher=cipher,
        chunker=chunker,
        memory_kib=memory_kib,
    )
    return identity.hex()
