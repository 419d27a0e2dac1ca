"""Backup: read folders, store what is new, publish a snapshot.

This is the frame: it chooses the parent, joins the sources to one tree, and publishes. `folders` goes through folders
and past what is unchanged, `entries` reads what is in them, `tally` counts and reports, and `ahead` looks at the
folders while the repository is being unlocked.
"""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from keepstone import encoding, events
from keepstone.chunking import secrets_for
from keepstone.errors import SourceError
from keepstone.hashing import snapshot_id
from keepstone.history import tree
from keepstone.history.container_keys import list_container_keys
from keepstone.history.content import ContentWriter, Reader
from keepstone.history.snapshot import Counts, Snapshot, SnapshotBody, snapshots
from keepstone.history.tree import Entry, TreeWriter, printable
from keepstone.ids import SnapshotId
from keepstone.repo import format as layout
from keepstone.repo.log import SNAPSHOT
from keepstone.repo.repository import Repository
from keepstone.repo.writer import Writer, writing
from keepstone.sources import files, sqlite
from keepstone.version import VERSION
from keepstone.work.ahead import ScanAhead
from keepstone.work.at_hand import AtHand
from keepstone.work.entries import Again, EntryReader
from keepstone.work.folders import Finished, FolderWalk, OldEntry
from keepstone.work.options import BackupOptions
from keepstone.work.tally import Gathered, Tally


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What a backup did."""

    snapshot: SnapshotId | None
    """None for a dry run."""
    counts: Counts
    parent: SnapshotId | None
    problems: list[events.Problem]
    databases: list[bytes]
    """Live databases that were stored as one consistent image."""
    inexact: list[bytes]
    """Files that changed while they were read, twice."""
    receipt: str
    stored_bytes: int
    """Bytes added to the store, everything included."""
    duration: float
    gathered: Gathered
    """What was found of messages."""


def backup(
    repository: Repository,
    options: BackupOptions,
    listener: events.Listener = events.ignore,
    ahead: ScanAhead | None = None,
) -> BackupResult:
    """Back up and return what was done. The caller holds the writer's lock.

    Args:
        ahead: a scan for the same options that was begun before.

    Raises:
        SourceError: nothing of what was asked for could be read.
        StoreError, VerifyFailed: the repository could not take it; no snapshot was made.
    """
    if ahead is not None:
        ahead.stop()
    return _Backup(repository, options, listener, ahead).run()


def choose_parent(known: Iterable[Snapshot], host: str, sources: Sequence[bytes]) -> Snapshot | None:
    """Return the newest snapshot of the same host and sources, else the newest of the same host."""
    same_host = [s for s in known if s.body.host == host]
    same = [s for s in same_host if sorted(s.body.sources) == sorted(sources)]
    found = same or same_host
    return found[-1] if found else None


class _Backup:
    def __init__(
        self, repository: Repository, options: BackupOptions, listener: events.Listener, ahead: ScanAhead | None
    ) -> None:
        self.repository, self.options, self.ahead = repository, options, ahead
        self.started = repository.clock.monotonic()
        self.time_ns = repository.clock.now_ns() if ahead is None else ahead.started_ns
        self.host = options.host or os.uname().nodename
        self.tally = Tally(listener)
        known = snapshots(repository.log, repository.keys)
        self.parent = None if options.stream else choose_parent(known, self.host, options.sources)
        self.writer: Writer
        self.content: ContentWriter
        self.entries: EntryReader
        self.folders: FolderWalk
        self.gathered = Gathered()

    def run(self) -> BackupResult:
        roots = _roots(self.options.sources) if self.options.stream is None else {}
        repository, options, tally = self.repository, self.options, self.tally
        with (
            AtHand(repository) as at_hand,
            writing(repository, options.level, dry_run=options.dry_run) as self.writer,
        ):
            if repository.missing_packs and self.parent is not None:
                tally.notice("Some stored packs are missing, so everything is read again to store what they held.")
                self.parent = None
            parent = self.parent
            secrets = secrets_for(repository.config.chunker.algorithm, repository.keys.chunker)
            add, add_tree = at_hand.adding(self.writer.add), at_hand.adding(self.writer.add_tree)
            self.content = ContentWriter(add, add_tree, secrets)
            self.entries = EntryReader(repository, self.content, options, tally, parent, at_hand, self._again())
            self.folders = FolderWalk(
                repository, self.writer, self.content, self.entries, options, tally, parent, self.ahead
            )
            if options.stream is not None:
                root = self._store_stream(options.stream, options.sources[0])
            else:
                root = self._store_roots(roots)
            self.folders.close()
            self.writer.flush()
            self._gather(root, at_hand)
            return self._publish(root)

    def _again(self) -> Again:
        """Return what is looked for in files that have not changed since the parent snapshot."""
        if self.parent is None:
            return Again()
        keys = list_container_keys(self.repository.log)
        return Again(
            messages=self.options.messages and (self.parent.body.left_messages or self.options.force),
            opened=any(key.time_ns > self.parent.body.time_ns for key in keys),
        )

    def _gather(self, root: Finished, at_hand: AtHand) -> None:
        """Take what is new of messages into their archive."""
        unchanged = self.parent is not None and self.parent.body.root == root.content and not self.tally.candidates
        if unchanged or not self.options.messages or self.options.dry_run or self.options.stream is not None:
            self.gathered.catalogue = b"" if self.parent is None else self.parent.body.catalogue
            return
        from keepstone.work.gather import gather  # What reads messages is loaded only if there may be some.

        self.repository.spare_memory()
        self.gathered = gather(
            self.repository, self.writer, self.content, root.content, self.parent, self.host, self.time_ns,
            self.tally.tell, self.tally.candidates, at_hand,
        )  # fmt: skip
        self.repository.spare_memory()  # Of what sorted the messages, before the last packs are sealed.
        self.writer.flush()

    def _publish(self, root: Finished) -> BackupResult:
        totals, tally = self.writer.totals, self.tally
        counts = Counts(
            files_new=tally.new,
            files_changed=tally.changed,
            files_unmodified=tally.unmodified,
            folders=root.folders,
            files=root.files,
            bytes=root.size,
            added=totals.plain_bytes,
            stored=totals.stored_bytes,
            chunks_new=totals.chunks,
            problems=len(tally.problems),
        )
        body = encoding.encode(
            SnapshotBody(
                version=layout.VERSION,
                time_ns=self.time_ns,
                host=self.host,
                user=_user_name(),
                sources=list(self.options.sources),
                tags=list(self.options.tags),
                root=root.content,
                counts=counts,
                parent=b"" if self.parent is None else self.parent.id,
                program=f"keepstone {VERSION}",
                catalogue=self.gathered.catalogue,
                left_messages=self._leaves_messages(),
            )
        )
        snapshot, receipt = None, ""
        if not self.options.dry_run:
            entry = self.writer.publish(SNAPSHOT, body)
            snapshot = snapshot_id(self.repository.keys.chunk_id, body)
            receipt = self.repository.receipt(entry.head)
        return BackupResult(
            snapshot, counts, None if self.parent is None else self.parent.id, tally.problems, tally.databases,
            tally.inexact, receipt, totals.stored_bytes, self.repository.clock.monotonic() - self.started,
            self.gathered,
        )  # fmt: skip

    def _leaves_messages(self) -> bool:
        """Return whether files that may hold messages are left unread, by this run or by one before it."""
        if self.options.messages or self.options.stream is not None:
            return False
        return bool(self.tally.candidates) or (self.parent is not None and self.parent.body.left_messages)

    # Roots: the folders above the sources ----------------------------------------------------------------

    def _store_roots(self, roots: _Node) -> Finished:
        parent = self.parent
        root_entry = None if parent is None else Entry(name=b"/", kind=tree.FOLDER, content=parent.body.root)
        finished, found = self._store_node(roots, b"/", lambda: root_entry)
        if not found:
            raise SourceError("Nothing of what was to be backed up could be read.")
        return finished

    def _store_node(self, node: _Node, path: bytes, old: OldEntry) -> tuple[Finished, bool]:
        """Store a folder of which only some names are wanted: one above the sources."""
        if node is None:
            return self.folders.store(path, old), True
        writer = TreeWriter(self.writer.add_tree, self.content.tree_chunker)
        old_entries = {e.name: e for e in self.folders.old_entries(old(), path)}
        found = False
        for name in sorted(node):
            child = os.path.join(path, name)
            entry = self._store_root_entry(name, child, node[name], old_entries.get(name))
            if entry is not None:
                found = True
                writer.append(entry)
        return Finished.of(writer), found

    def _store_root_entry(self, name: bytes, path: bytes, node: _Node, old: Entry | None) -> Entry | None:
        try:
            status = files.look(path, through_links=node is not None)
        except SourceError as error:
            self.tally.problem(path, error)
            return None
        if node is None and not stat.S_ISDIR(status.st_mode):
            folder, base = os.path.split(path)
            beside = [base + suffix for suffix in sqlite.COMPANIONS if os.path.lexists(path + suffix)]
            databases = self.entries.live_databases(folder, [base, *beside], lambda _: old)
            return self.entries.entry(name, path, status, old, databases)
        if not stat.S_ISDIR(status.st_mode):
            self.tally.problem(path, SourceError(f"{printable(path)} is not a folder."))
            return None
        try:
            finished, found = self._store_node(node, path, lambda: old)
        except SourceError as error:
            self.tally.problem(path, error)
            return None
        if not found:
            return None
        entry = self.folders.folder_entry(name, path, status, finished, old)
        if node is None:
            return entry
        return msgspec.structs.replace(entry, mtime_ns=0, ctime_ns=0, inode=0, flags=tree.ABOVE_SOURCES)

    def _store_stream(self, stream: Reader, path: bytes) -> Finished:
        *above, name = tree.parts_of(path)
        content, size = self.content.write(stream, progress=self.tally.read)
        entry = Entry(
            name=name, kind=tree.FILE, mode=0o600, uid=os.getuid(), gid=os.getgid(), mtime_ns=self.time_ns,
            ctime_ns=self.time_ns, size=size, content=content,
        )  # fmt: skip
        self.tally.done(path, entry, None)
        finished = self._single(entry)
        for part in reversed(above):
            entry = Entry(
                name=part, kind=tree.FOLDER, mode=0o700, uid=os.getuid(), gid=os.getgid(), mtime_ns=self.time_ns,
                content=finished.content, size=finished.size, files=finished.files, folders=finished.folders,
            )  # fmt: skip
            finished = self._single(entry)
        return finished

    def _single(self, entry: Entry) -> Finished:
        writer = TreeWriter(self.writer.add_tree, self.content.tree_chunker)
        writer.append(entry)
        return Finished.of(writer)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


_Node = dict[bytes, "_Node"] | None
"""The folders above the sources: name -> what is wanted of it; None stands for everything."""


def _roots(sources: Sequence[bytes]) -> dict[bytes, _Node] | None:
    """Return the sources as one tree of names; a source inside another one is part of it."""
    root: dict[bytes, _Node] = {}
    for source in sorted(sources):
        parts = tree.parts_of(source)
        if not parts:
            return None
        node = root
        for part in parts[:-1]:
            below = node.setdefault(part, {})
            if below is None:
                break
            node = below
        else:
            node[parts[-1]] = None
    return root
