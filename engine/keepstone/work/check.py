"""Check: does the repository hold what its snapshots promise? Finds and names; changes nothing.

Structure: config, keyslots, logs, index objects, the directory of every pack, every tree, and that each chunk a
snapshot needs stands in a directory. With data: packs are also read whole, every seal is opened and every chunk
verified against its id; a subset is chosen by pack id, so that the parts of several runs add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from keepstone import events
from keepstone.errors import ChunkMissing, Damaged, KeepstoneError, StoreError, Unsupported
from keepstone.hashing import keyed
from keepstone.history import tree
from keepstone.history.catalogue import Catalogue
from keepstone.history.expression import chunks_of_recipe
from keepstone.history.snapshot import Snapshot, read_snapshots
from keepstone.ids import ChunkId, KeyslotId, PackId
from keepstone.repo import format as layout
from keepstone.repo import log, pack
from keepstone.repo.repository import Repository, read_keyslots

MESSAGES_PATH = b"messages"
"""What stands for the message archive among the paths that are affected; no path begins without a slash."""
MAX_FILES_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    object_name: str
    what: str
    kind: str


@dataclass(frozen=True, slots=True)
class AffectedFile:
    """A file of a snapshot that cannot be restored whole."""

    snapshot: str
    path: bytes


@dataclass(slots=True)
class CheckResult:
    """What a check found."""

    findings: list[Finding] = field(default_factory=list)
    affected: list[AffectedFile] = field(default_factory=list)
    packs: int = 0
    packs_read: int = 0
    bytes_read: int = 0
    snapshots: int = 0
    files: int = 0
    uncovered_packs: int = 0
    """Packs that no index object covers yet; harmless."""
    receipt_found: bool | None = None

    @property
    def healthy(self) -> bool:
        return not self.findings and not self.affected and self.receipt_found is not False


def check(
    repository: Repository,
    *,
    read_data: float = 0.0,
    receipt: str | None = None,
    listener: events.Listener = events.ignore,
) -> CheckResult:
    """Check a repository.

    Args:
        read_data: the share of packs to read whole, 0 to 1.
        receipt: a receipt that an earlier backup printed; the logs must reach the record it stands for.
    """
    return _Check(repository, read_data, listener).run(receipt)


class _Check:
    def __init__(self, repository: Repository, read_data: float, listener: events.Listener) -> None:
        self.repository, self.read_data, self.listener = repository, read_data, listener
        self.result = CheckResult()
        self.bad: set[PackId] = set()
        """Packs of which no chunk can be read."""
        self.bad_chunks: set[ChunkId] = set()
        self.trees: dict[bytes, bool] = {}

    def run(self, receipt: str | None) -> CheckResult:
        self._names()
        self._keyslots()
        self._logs(receipt)
        self._indexes()
        self._packs()
        for snapshot in self._snapshots():
            self._snapshot(snapshot)
        return self.result

    def _find(self, error: KeepstoneError, name: str = "") -> None:
        if isinstance(error, Damaged | Unsupported):
            finding = Finding(error.object_name, error.what, error.kind)
        else:
            finding = Finding(name, error.message, error.kind)
        if finding not in self.result.findings:
            self.result.findings.append(finding)
            self.listener(events.Problem(name.encode(), "check", error))

    # Objects ---------------------------------------------------------------------------------------------

    def _names(self) -> None:
        for name, _ in self.repository.store.list(""):
            known = (
                name == layout.CONFIG_NAME
                or layout.pack_of_name(name) is not None
                or layout.log_of_name(name) is not None
                or layout.is_other_name(name)
            )
            if not known:
                self._find(Damaged(name, "no object of a repository has this name"), name)

    def _keyslots(self) -> None:
        repository = self.repository
        slots, problems = read_keyslots(repository.store, repository.id)
        live = repository.log.live_keyslots(repository.config.keyslots)
        found = {slot.slot for slot in slots}
        names = {layout.keyslot_name(KeyslotId(slot)) for slot in live}
        damaged = {p.object_name for p in problems if isinstance(p, Damaged | Unsupported)}
        for problem in problems:
            # What an interrupted init or key command left behind opens nothing and harms nothing.
            if getattr(problem, "object_name", "") in names:
                self._find(problem, "keyslots")
        for slot in sorted(live - found):
            name = layout.keyslot_name(KeyslotId(slot))
            if name not in damaged:
                self._find(Damaged(name, "this keyslot is missing"), name)

    def _logs(self, receipt: str | None) -> None:
        repository = self.repository
        names = [name for name, _ in repository.store.list("log")]
        # Read from the store, not from the cache: it is the store that is checked.
        view = log.read_logs(names, repository.store, log.NoCache(), repository.keys, repository.id)
        for problem in view.damaged:
            self._find(problem, "log")
        if receipt is not None:
            wanted = log.normal_receipt(receipt)
            self.result.receipt_found = any(repository.receipt(entry.head) == wanted for entry in view.entries)

    def _indexes(self) -> None:
        repository = self.repository
        listed = dict(repository.list_packs())
        covered: set[PackId] = set()
        for name, size in repository.store.list("index"):
            try:
                for directory in repository.read_index(name, size):
                    covered.add(directory.pack)
                    if directory.pack not in listed:
                        missing = layout.pack_name(directory.pack)
                        self._find(Damaged(missing, "this pack is missing"), missing)
                        self.bad.add(directory.pack)
                        self.bad_chunks.update(chunk for chunk, _, _ in directory.entries())
            except (Damaged, Unsupported, StoreError) as error:
                self._find(error, name)
        self.result.uncovered_packs = len(listed.keys() - covered)

    def _packs(self) -> None:
        repository = self.repository
        packs = repository.list_packs()
        for found, size in repository.bases_first(packs) if self.read_data else sorted(packs):
            self.result.packs += 1
            name = layout.pack_name(found)
            try:
                directory, cipher = repository.directory(found, size)
                if self._chosen(found):
                    self._read_pack(directory, cipher)
            except (Damaged, Unsupported, StoreError) as error:
                self._find(error, name)
                self.bad.add(found)
            self.listener(events.Progress(self.result.packs, self.result.bytes_read, current=name.encode()))

    def _chosen(self, found: PackId) -> bool:
        # By the pack's own id: the same share chooses the same packs, and a larger share holds a smaller one.
        return int.from_bytes(found[:8], "little") < self.read_data * 2**64

    def _read_pack(self, directory: pack.Directory, cipher: object) -> None:
        repository = self.repository
        name = layout.pack_name(directory.pack)
        stored = repository.store.get(name, 0, layout.MAX_PACK)
        self.result.packs_read += 1
        self.result.bytes_read += len(stored)
        try:
            hold = repository.frames.hold
            pack.verify_pack(stored, directory.pack, repository.keys, repository.id, repository.base_reader, hold)
        except (Damaged, Unsupported) as error:
            self._find(error, name)
            self._find_bad_chunks(stored, directory)

    def _find_bad_chunks(self, stored: bytes, directory: pack.Directory) -> None:
        """Find out which chunks of a damaged pack can still be read."""
        repository = self.repository
        name = layout.pack_name(directory.pack)
        view = memoryview(stored)
        _, cipher = repository.directory(directory.pack, directory.size)
        for ordinal, row in enumerate(directory.frames):
            at, length = pack.sealed_span(directory, ordinal)
            try:
                plain = pack.open_frame(directory, ordinal, view[at : at + length], cipher, repository.base_reader)
                for _ in pack.frame_chunks(row, plain, repository.keys.chunk_id, name):
                    pass
            except (Damaged, Unsupported):
                self.bad_chunks.update(ChunkId(row.ids[start : start + 32]) for start in range(0, len(row.ids), 32))

    # Snapshots -------------------------------------------------------------------------------------------

    def _snapshots(self) -> Iterator[Snapshot]:
        known, unsupported = read_snapshots(self.repository.log, self.repository.keys)
        for error in unsupported:
            self._find(error, error.object_name)
        for snapshot in known:
            self.result.snapshots += 1
            yield snapshot

    def _snapshot(self, snapshot: Snapshot) -> None:
        self._tree(snapshot, b"", snapshot.body.root)
        if snapshot.body.catalogue:
            self._messages(snapshot)

    def _messages(self, snapshot: Snapshot) -> None:
        """Check that every block of the message archive is there, and the contents that it knows."""
        try:
            self._need(snapshot.body.catalogue, snapshot.name)
            for recipe in Catalogue(snapshot.body.catalogue, self.repository, snapshot.name).recipes():
                key = keyed(self.repository.keys.cache, b"messages", recipe)[:16]
                if not self.trees.get(key):
                    self._need(recipe, snapshot.name)
                    self.trees[key] = True
        except (Damaged, Unsupported, StoreError) as error:
            self._affected(snapshot, MESSAGES_PATH)
            self._find(error, snapshot.name)

    def _tree(self, snapshot: Snapshot, path: bytes, content: bytes) -> bool:
        """Check everything below a folder; return whether all is well. A tree that was well before is not walked."""
        key = keyed(self.repository.keys.cache, content)[:16]
        if self.trees.get(key):
            return True
        self.trees[key] = good = self._walk(snapshot, path, content)
        return good

    def _walk(self, snapshot: Snapshot, path: bytes, content: bytes) -> bool:
        stack: list[tuple[bytes, bytes, Iterator[tree.Entry], list[bool]]] = []
        outcome = [True]
        stack.append((path, content, self._entries(snapshot, path, content, outcome), outcome))
        while stack:
            path, content, entries, good = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                self.trees[keyed(self.repository.keys.cache, content)[:16]] = good[0]
                if stack:
                    stack[-1][3][0] &= good[0]
                continue
            below = path + b"/" + entry.name
            if entry.kind == tree.FOLDER:
                if not self.trees.get(keyed(self.repository.keys.cache, entry.content)[:16]):
                    inner = [True]
                    stack.append((below, entry.content, self._entries(snapshot, below, entry.content, inner), inner))
            else:
                self.result.files += 1
                good[0] &= self._file(snapshot, below, entry)
        return outcome[0]

    def _entries(self, snapshot: Snapshot, path: bytes, content: bytes, good: list[bool]) -> Iterator[tree.Entry]:
        try:
            if content:
                self._need(content, snapshot.name)
            yield from tree.read_tree(content, self.repository, snapshot.name)
        except (Damaged, Unsupported, StoreError) as error:
            good[0] = False
            self._affected(snapshot, path or b"/")
            self._find(error, snapshot.name)

    def _file(self, snapshot: Snapshot, path: bytes, entry: tree.Entry) -> bool:
        if entry.kind != tree.FILE or not entry.content:
            return True
        try:
            self._need(entry.content, snapshot.name, entry.size)
        except (Damaged, Unsupported, StoreError) as error:
            self._affected(snapshot, path)
            if isinstance(error, ChunkMissing):
                self._find(error, snapshot.name)
            return False
        return True

    def _need(self, content: bytes, name: str, size: int | None = None) -> None:
        """Raise unless every chunk of a recipe is in a directory that was read, and not known to be bad."""
        for chunk in chunks_of_recipe(content, self.repository, name, size):
            if chunk in self.bad_chunks and not self._elsewhere(chunk):
                raise Damaged(name, "a chunk of it is damaged")
            if not self.repository.is_stored(chunk):
                raise ChunkMissing(f"chunk {chunk.hex()[:16]}", "it is in no pack that can be read")

    def _elsewhere(self, chunk: ChunkId) -> bool:
        """Return whether a chunk that is bad in one pack reads well from the place the index names."""
        try:
            self.repository.read_chunk(chunk)
        except (Damaged, Unsupported, StoreError):
            return False
        return True

    def _affected(self, snapshot: Snapshot, path: bytes) -> None:
        if len(self.result.affected) < MAX_FILES_LISTED:
            self.result.affected.append(AffectedFile(snapshot.id.hex(), path))
