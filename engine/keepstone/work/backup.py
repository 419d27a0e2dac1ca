"""Backup: read folders, store what is new, publish a snapshot.

Folders are visited depth first and finished bottom up. What is unchanged is recognised at two levels: a whole folder
by one record of the local index (fingerprint of its entries, contents of its sub-folders), a single file by its entry
in the parent snapshot. The local record alone decides nothing: a folder is reused only if the parent snapshot, which
is complete, holds the same tree at the same path; otherwise the folder is visited again without the record.
"""

from __future__ import annotations

import getpass
import os
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from keepstone import encoding, events
from keepstone.chunking import secrets_for
from keepstone.errors import Damaged, KeepstoneError, SourceError, Unsupported
from keepstone.hashing import keyed, snapshot_id
from keepstone.history import tree
from keepstone.history.content import ContentWriter, Reader
from keepstone.history.snapshot import Counts, Snapshot, SnapshotBody, snapshots
from keepstone.history.tree import Entry, TreeWriter, printable
from keepstone.ids import SnapshotId
from keepstone.repo import format as layout
from keepstone.repo.log import SNAPSHOT
from keepstone.repo.repository import Repository
from keepstone.repo.writer import Writer, writing
from keepstone.sources import files, metadata, sqlite
from keepstone.sources.exclude import Exclusions, is_tagged_cache

FOLDERS_AT_ONCE = 500
LINKS_REMEMBERED = 200_000
RACY_NS = 50_000_000
PROGRESS_BYTES, PROGRESS_PER_FILE = 1024 * 1024, 16 * 1024
PROGRAM = "keepstone 0.1.0"


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What to back up, and how."""

    sources: Sequence[bytes]
    """Absolute paths."""
    tags: Sequence[str] = ()
    host: str = ""
    exclusions: Exclusions | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    dry_run: bool = False
    force: bool = False
    """Read everything again, whatever looks unchanged."""
    level: int = 3
    stream: Reader | None = None
    """If given, its bytes are stored as the file `sources[0]`, and nothing else is read."""


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


class FolderRecord(encoding.Row):
    """What the local index keeps of a folder."""

    digest: bytes
    content: bytes
    size: int
    files: int
    folders: int


_record_decoder = msgspec.msgpack.Decoder(FolderRecord)


@dataclass(slots=True)
class _Result:
    """A finished folder: its tree, and whether only the local index says so."""

    content: bytes
    size: int
    files: int
    folders: int
    provisional: bool


@dataclass(slots=True)
class _Visit:
    """A folder on the way."""

    path: bytes
    old: Callable[[], Entry | None]
    trust: bool
    device: int
    listing: files.Listing
    subfolders: list[bytes]
    next: int = 0
    results: dict[bytes, _Result] = field(default_factory=dict)
    old_folders: dict[bytes, Entry] | None = None


def backup(repository: Repository, options: BackupOptions, listener: events.Listener = events.ignore) -> BackupResult:
    """Back up and return what was done. The caller holds the writer's lock.

    Raises:
        SourceError: nothing of what was asked for could be read.
        StoreError, VerifyFailed: the repository could not take it; no snapshot was made.
    """
    return _Backup(repository, options, listener).run()


def choose_parent(known: Iterable[Snapshot], host: str, sources: Sequence[bytes]) -> Snapshot | None:
    """Return the newest snapshot of the same host and sources, else the newest of the same host."""
    same_host = [s for s in known if s.body.host == host]
    same = [s for s in same_host if sorted(s.body.sources) == sorted(sources)]
    found = same or same_host
    return found[-1] if found else None


class _Backup:
    def __init__(self, repository: Repository, options: BackupOptions, listener: events.Listener) -> None:
        self.repository, self.options, self.listener = repository, options, listener
        self.clock = repository.clock
        self.started = self.clock.monotonic()
        self.time_ns = self.clock.now_ns()
        self.host = options.host or socket.gethostname()
        self.problems: list[events.Problem] = []
        self.databases: list[bytes] = []
        self.inexact: list[bytes] = []
        self.new = self.changed = self.unmodified = 0
        self.files_done = self.bytes_done = 0
        self.next_progress = 0
        self.links: dict[tuple[int, int], tuple[bytes, int, int]] = {}
        self.kept_folders: list[tuple[bytes, bytes]] = []
        self.key = repository.keys.cache
        known = snapshots(repository.log, repository.keys)
        self.parent = None if options.stream else choose_parent(known, self.host, options.sources)
        self.rules = keyed(
            self.key, repr((options.exclusions, options.exclude_caches, options.one_file_system)).encode()
        )
        self.writer: Writer
        self.content: ContentWriter

    def run(self) -> BackupResult:
        roots = _roots(self.options.sources) if self.options.stream is None else {}
        repository = self.repository
        with writing(repository, self.options.level, dry_run=self.options.dry_run) as self.writer:
            if repository.missing_packs and self.parent is not None:
                self._notice("Some stored packs are missing, so everything is read again to store what they held.")
                self.parent = None
            secrets = secrets_for(repository.config.chunker.algorithm, repository.keys.chunker)
            self.content = ContentWriter(self.writer.add, self.writer.add_tree, secrets)
            if self.options.stream is not None:
                root = self._store_stream(self.options.stream, self.options.sources[0])
            else:
                root = self._store_roots(roots)
            self._keep_folders(at_least=1)
            self.writer.flush()
            return self._publish(root)

    # Publishing ------------------------------------------------------------------------------------------

    def _publish(self, root: _Result) -> BackupResult:
        totals = self.writer.totals
        counts = Counts(
            files_new=self.new,
            files_changed=self.changed,
            files_unmodified=self.unmodified,
            folders=root.folders,
            files=root.files,
            bytes=root.size,
            added=totals.plain_bytes,
            stored=totals.stored_bytes,
            chunks_new=totals.chunks,
            problems=len(self.problems),
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
                program=PROGRAM,
            )
        )
        snapshot, receipt = None, ""
        if not self.options.dry_run:
            entry = self.writer.publish(SNAPSHOT, body)
            snapshot = snapshot_id(self.repository.keys.chunk_id, body)
            receipt = self.repository.receipt(entry.head)
        return BackupResult(
            snapshot, counts, None if self.parent is None else self.parent.id, self.problems, self.databases,
            self.inexact, receipt, self.writer.totals.stored_bytes, self.clock.monotonic() - self.started,
        )  # fmt: skip

    # Reports ---------------------------------------------------------------------------------------------

    def _problem(self, path: bytes, error: KeepstoneError) -> None:
        problem = events.Problem(path, "backup", error)
        self.problems.append(problem)
        self.listener(problem)

    def _notice(self, text: str, path: bytes = b"") -> None:
        self.listener(events.Notice(text, path))

    def _progress(self) -> None:
        """Report how far it has come, at most once for every so many files and bytes."""
        done = self.files_done * PROGRESS_PER_FILE + self.bytes_done
        if done >= self.next_progress:
            self.next_progress = done + PROGRESS_BYTES
            self.listener(events.Progress(self.files_done, self.bytes_done))

    # Roots: the folders above the sources ----------------------------------------------------------------

    def _store_roots(self, roots: _Node) -> _Result:
        parent = self.parent
        root_entry = None if parent is None else Entry(name=b"/", kind=tree.FOLDER, content=parent.body.root)
        result, found = self._store_node(roots, b"/", lambda: root_entry)
        if not found:
            raise SourceError("Nothing of what was to be backed up could be read.")
        return result

    def _store_node(self, node: _Node, path: bytes, old: Callable[[], Entry | None]) -> tuple[_Result, bool]:
        """Store a folder of which only some names are wanted: one above the sources."""
        if node is None:
            return self._store_root_folder(path, old), True
        writer = TreeWriter(self.writer.add_tree, self.content.tree_chunker)
        old_entries = {e.name: e for e in self._old_entries(old(), path)}
        found = False
        for name in sorted(node):
            child = os.path.join(path, name)
            entry = self._store_root_entry(name, child, node[name], old_entries.get(name))
            if entry is not None:
                found = True
                writer.append(entry)
        content = writer.finish()
        return _Result(content, writer.size, writer.files, writer.folders, False), found

    def _store_root_entry(self, name: bytes, path: bytes, node: _Node, old: Entry | None) -> Entry | None:
        try:
            status = os.lstat(path) if node is None else os.stat(path)
        except OSError as error:
            self._problem(path, SourceError(f"{printable(path)} cannot be read ({error.strerror})."))
            return None
        if node is None and not stat.S_ISDIR(status.st_mode):
            folder, base = os.path.split(path)
            beside = [base + suffix for suffix in sqlite.COMPANIONS if os.path.lexists(path + suffix)]
            return self._store_other(name, path, status, old, self._live_databases(folder, [base, *beside]))
        if not stat.S_ISDIR(status.st_mode):
            self._problem(path, SourceError(f"{printable(path)} is not a folder."))
            return None
        try:
            result, found = self._store_node(node, path, lambda: old)
        except SourceError as error:
            self._problem(path, error)
            return None
        if not found:
            return None
        entry = self._folder_entry(name, path, status, result, old)
        if node is None:
            return entry
        return msgspec.structs.replace(entry, mtime_ns=0, ctime_ns=0, inode=0, flags=tree.ABOVE_SOURCES)

    def _store_root_folder(self, path: bytes, old: Callable[[], Entry | None]) -> _Result:
        result = self._walk(path, old, trust=self.parent is not None and not self.options.force)
        if result.provisional:
            entry = old()
            if entry is not None and entry.content == result.content:
                self._reuse(result)
            else:
                result = self._walk(path, old, trust=False)
        return result

    def _store_stream(self, stream: Reader, path: bytes) -> _Result:
        *above, name = tree.parts_of(path)
        content, size = self.content.write(stream, progress=self._count_bytes)
        self.new += 1
        entry = Entry(
            name=name, kind=tree.FILE, mode=0o600, uid=os.getuid(), gid=os.getgid(), mtime_ns=self.time_ns,
            ctime_ns=self.time_ns, size=size, content=content,
        )  # fmt: skip
        result = self._single(entry)
        for part in reversed(above):
            entry = Entry(
                name=part, kind=tree.FOLDER, mode=0o700, uid=os.getuid(), gid=os.getgid(), mtime_ns=self.time_ns,
                content=result.content, size=result.size, files=result.files, folders=result.folders,
            )  # fmt: skip
            result = self._single(entry)
        return result

    def _single(self, entry: Entry) -> _Result:
        writer = TreeWriter(self.writer.add_tree, self.content.tree_chunker)
        writer.append(entry)
        return _Result(writer.finish(), writer.size, writer.files, writer.folders, False)

    # Folders ---------------------------------------------------------------------------------------------

    def _walk(self, path: bytes, old: Callable[[], Entry | None], trust: bool) -> _Result:
        """Store everything below a folder. An explicit stack: no depth of folders ends the program."""
        try:
            device = os.lstat(path).st_dev
        except OSError as error:
            raise SourceError(f"{printable(path)} cannot be read ({error.strerror}).") from error
        stack = [self._enter(path, old, trust, device)]
        while True:
            top = stack[-1]
            if top.next < len(top.subfolders):
                name = top.subfolders[top.next]
                top.next += 1
                child = top.path + b"/" + name if top.path != b"/" else b"/" + name
                try:
                    stack.append(self._enter(child, self._old_child(top, name), top.trust, top.device))
                except SourceError as error:
                    self._problem(child, error)
                continue
            result = self._leave(top)
            stack.pop()
            if not stack:
                return result
            stack[-1].results[top.path.rsplit(b"/", 1)[1]] = result

    def _enter(self, path: bytes, old: Callable[[], Entry | None], trust: bool, device: int) -> _Visit:
        listing = files.list_folder(path, self.key, self.clock.now_ns())
        options = self.options
        if options.exclude_caches and is_tagged_cache(path):
            keep = {b"CACHEDIR.TAG"}
            listing = _restrict(listing, keep)
        subfolders = [
            name for name, status in zip(listing.names, listing.stats, strict=True)
            if (status.st_mode & 0o170000) == 0o040000 and (not options.one_file_system or status.st_dev == device)
        ]  # fmt: skip
        exclusions = options.exclusions
        if exclusions is not None:
            prefix = path if path != b"/" else b""
            subfolders = [name for name in subfolders if not exclusions.excluded(prefix + b"/" + name, True)]
        return _Visit(path, old, trust, device, listing, subfolders)

    def _leave(self, visit: _Visit) -> _Result:
        """Finish a folder whose sub-folders are finished."""
        for name, error in visit.listing.problems:
            self._problem(os.path.join(visit.path, name), error)
        digest = self._digest(visit)
        if visit.trust and digest is not None and all(result.provisional for result in visit.results.values()):
            kept = self.repository.index.folder(visit.path)
            if kept is not None:
                record = _record_decoder.decode(kept)
                if record.digest == digest and len(visit.results) == len(visit.subfolders):
                    return _Result(record.content, record.size, record.files, record.folders, True)
        problems = len(self.problems) + len(self.inexact)
        result = self._write_tree(visit)
        digest = self._digest(visit)
        if digest is not None and problems == len(self.problems) + len(self.inexact):
            record = FolderRecord(digest, result.content, result.size, result.files, result.folders)
            self.kept_folders.append((visit.path, encoding.encode(record)))
            self._keep_folders(at_least=FOLDERS_AT_ONCE)
        return result

    def _digest(self, visit: _Visit) -> bytes | None:
        """Return what identifies a folder's state: its fingerprint, the rules, the contents of its sub-folders."""
        fingerprint = visit.listing.fingerprint
        if fingerprint is None or visit.listing.problems or len(visit.results) != len(visit.subfolders):
            return None
        if not visit.subfolders:
            return fingerprint + self.rules
        parts = [
            len(visit.results[name].content).to_bytes(4, "little") + visit.results[name].content
            for name in visit.subfolders
        ]
        return keyed(self.key, fingerprint, self.rules, *parts)

    def _keep_folders(self, at_least: int) -> None:
        if len(self.kept_folders) >= at_least:
            if not self.options.dry_run:
                self.repository.index.keep_folders(self.kept_folders)
            self.kept_folders = []

    def _reuse(self, result: _Result) -> None:
        """Count a folder whose tree is reused as it is."""
        self.unmodified += result.files
        self.files_done += result.files
        self.bytes_done += result.size
        self._progress()

    def _old_child(self, visit: _Visit, name: bytes) -> Callable[[], Entry | None]:
        def old() -> Entry | None:
            if visit.old_folders is None:
                entries = self._old_entries(visit.old(), visit.path)
                visit.old_folders = {e.name: e for e in entries if e.kind == tree.FOLDER}
            return visit.old_folders.get(name)

        return old

    def _old_entries(self, old: Entry | None, path: bytes) -> Iterable[Entry]:
        """Yield the entries a folder had in the parent snapshot; what cannot be read counts as not there."""
        if old is None or old.kind != tree.FOLDER or self.parent is None:
            return
        try:
            yield from tree.read_tree(old.content, self.repository, self.parent.name)
        except (Damaged, Unsupported) as error:
            self._notice(
                f"The parent snapshot cannot be read here, so the files are read again ({error.message}).",
                path,
            )

    def _write_tree(self, visit: _Visit) -> _Result:
        writer = TreeWriter(self.writer.add_tree, self.content.tree_chunker)
        old_entries = iter(self._old_entries(visit.old(), visit.path))
        old = next(old_entries, None)
        names = visit.listing.names
        databases = self._live_databases(visit.path, names)
        skip = {base + suffix for base in databases for suffix in sqlite.COMPANIONS}
        exclusions = self.options.exclusions
        prefix = visit.path if visit.path != b"/" else b""
        for name, status in zip(names, visit.listing.stats, strict=True):
            while old is not None and old.name < name:
                old = next(old_entries, None)
            same = old if old is not None and old.name == name else None
            path = prefix + b"/" + name
            if (status.st_mode & 0o170000) == 0o040000:
                if exclusions is None or not exclusions.excluded(path, True):
                    entry = self._finish_subfolder(visit, name, path, status, same)
                else:
                    continue
            elif name in skip or (exclusions is not None and exclusions.excluded(path, False)):
                continue
            else:
                entry = self._store_other(name, path, status, same, databases)
            if entry is not None:
                writer.append(entry)
        content = writer.finish()
        return _Result(content, writer.size, writer.files, writer.folders, False)

    def _finish_subfolder(
        self, visit: _Visit, name: bytes, path: bytes, status: os.stat_result, old: Entry | None
    ) -> Entry | None:
        result = visit.results.get(name)
        if result is None:
            if name in visit.subfolders:
                return None  # It could not be opened, which was reported.
            result = _Result(b"", 0, 0, 0, False)  # Another filesystem: the folder itself, without its content.
        if result.provisional:
            if old is not None and old.kind == tree.FOLDER and old.content == result.content:
                self._reuse(result)
            else:
                try:
                    result = self._walk(path, lambda: old, trust=False)
                except SourceError as error:
                    self._problem(path, error)
                    return None
            visit.results[name] = result
        return self._folder_entry(name, path, status, result, old)

    def _folder_entry(
        self, name: bytes, path: bytes, status: os.stat_result, result: _Result, old: Entry | None
    ) -> Entry:
        return Entry(
            name=name,
            kind=tree.FOLDER,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            user=metadata.user_name(status.st_uid),
            group=metadata.group_name(status.st_gid),
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            size=result.size,
            inode=status.st_ino,
            xattrs=self._xattrs(path, status, old),
            content=result.content,
            files=result.files,
            folders=result.folders,
        )

    def _xattrs(self, path: bytes, status: os.stat_result, old: Entry | None) -> list[tuple[bytes, bytes]]:
        if old is not None and not self.options.force and _same_status(old, status) and not self._racy(status):
            return old.xattrs
        try:
            return metadata.read_xattrs(path)
        except SourceError as error:
            self._problem(path, error)
            return []

    # Files and the rest ----------------------------------------------------------------------------------

    def _live_databases(self, folder: bytes, names: Sequence[bytes]) -> _Databases:
        """Store an image of every live database of a folder.

        What belongs to a database with an image (its log or journal) is in the image, and not stored by itself.
        """
        found: _Databases = {}
        beside = [name for name in names if name.endswith((b"-wal", b"-journal"))]
        known = set(names) if beside else set()
        for base in sorted({name.rsplit(b"-", 1)[0] for name in beside} & known):
            path = os.path.join(folder, base)
            excluded = self.options.exclusions is not None and self.options.exclusions.excluded(path, False)
            stored = None if excluded or not sqlite.needs_image(path) else self._read_database(path)
            if stored is not None:
                found[base] = stored
        return found

    def _racy(self, status: os.stat_result) -> bool:
        """Return whether a file may have changed after the parent read it without showing it in its times."""
        assert self.parent is not None
        limit = self.parent.body.time_ns - RACY_NS
        return status.st_mtime_ns >= limit or status.st_ctime_ns >= limit

    def _store_other(
        self,
        name: bytes,
        path: bytes,
        status: os.stat_result,
        old: Entry | None,
        databases: _Databases,
    ) -> Entry | None:
        """Return the entry of anything but a folder; its content is stored unless it is unchanged."""
        again = self.options.force or name in databases
        reusable = old is not None and not again and _same_status(old, status)
        if reusable and old is not None and not old.flags and not self._racy(status):
            self.unmodified += 1
            self.files_done += 1
            self.bytes_done += old.size
            return old
        try:
            entry = self._read(name, path, status, databases)
        except SourceError as error:
            self._problem(path, error)
            return None
        self._count(path, entry, old)
        return entry

    def _count(self, path: bytes, entry: Entry, old: Entry | None) -> None:
        self.files_done += 1
        if old is None or old.kind != entry.kind:
            self.new += 1
            action = "new"
        elif old == entry:
            self.unmodified += 1
            action = "unmodified"
        else:
            self.changed += 1
            action = "changed"
        self.listener(events.FileDone(path, action, entry.size))

    def _read(self, name: bytes, path: bytes, status: os.stat_result, databases: _Databases) -> Entry:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            raise SourceError(f"{printable(path)} is of a kind that cannot be stored.")
        entry = Entry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            user=metadata.user_name(status.st_uid),
            group=metadata.group_name(status.st_gid),
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
            device=status.st_dev if status.st_nlink > 1 else 0,
            links=status.st_nlink,
            special=status.st_rdev if kind in (tree.CHARACTER, tree.BLOCK) else 0,
            xattrs=self._xattrs(path, status, None),
        )
        if kind == tree.SYMLINK:
            try:
                return msgspec.structs.replace(entry, target=os.readlink(path), size=0)
            except OSError as error:
                raise SourceError(f"{printable(path)} cannot be read ({error.strerror}).") from error
        if kind != tree.FILE:
            return entry
        if name in databases:
            content, size = databases[name]
            return msgspec.structs.replace(entry, content=content, size=size, flags=tree.DATABASE_IMAGE)
        return self._read_file(entry, path, status)

    def _read_file(self, entry: Entry, path: bytes, status: os.stat_result) -> Entry:
        linked = self.links.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
        if linked is not None:
            content, size, flags = linked
            self.bytes_done += size
            return msgspec.structs.replace(entry, content=content, size=size, flags=flags)
        flags = 0
        content, size, changed = self._read_once(path, status)
        if changed:
            entry, status = _restat(entry, path)
            content, size, changed = self._read_once(path, status)
        if changed:
            flags = tree.CHANGED_WHILE_READ
            self.inexact.append(path)
            self._notice("The file changed while it was read, twice; what was stored may mix two states.", path)
        if status.st_nlink > 1 and len(self.links) < LINKS_REMEMBERED:
            self.links[status.st_dev, status.st_ino] = (content, size, flags)
        return msgspec.structs.replace(entry, content=content, size=size, flags=flags)

    def _read_once(self, path: bytes, status: os.stat_result) -> tuple[bytes, int, bool]:
        with files.open_file(path) as reader:
            extents = reader.extents()
            if len(extents) == 1 and extents[0] == (0, reader.size):
                # A length of 0 may be a lie (files under /proc), so such a file is read to its end.
                content, size = self.content.write(reader, size=reader.size or None, progress=self._count_bytes)
            else:
                content, size = self.content.write(
                    reader, extents, reader.seek, reader.size, progress=self._count_bytes
                )
            return content, size, reader.changed(status)

    def _count_bytes(self, read: int) -> None:
        self.bytes_done += read
        self._progress()

    def _read_database(self, path: bytes) -> tuple[bytes, int] | None:
        """Store a consistent image of a live database; None if that is not possible."""
        try:
            with sqlite.open_image(path, os.fsencode(self.repository.scratch_folder())) as image:
                content, size = self.content.write(image, progress=self._count_bytes)
        except SourceError as error:
            self._notice(
                f"The live database is stored as plain files, which may mix two states ({error.message})",
                path,
            )
            self.inexact.append(path)
            return None
        self.databases.append(path)
        return content, size


_Databases = dict[bytes, tuple[bytes, int]]
"""Recipe and size of the images of the live databases of a folder, by name."""

_KINDS = {
    stat.S_IFREG: tree.FILE,
    stat.S_IFLNK: tree.SYMLINK,
    stat.S_IFIFO: tree.FIFO,
    stat.S_IFCHR: tree.CHARACTER,
    stat.S_IFBLK: tree.BLOCK,
    stat.S_IFSOCK: tree.SOCKET,
}


def _same_status(old: Entry, status: os.stat_result) -> bool:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), tree.FOLDER)
    return (
        old.kind == kind
        and old.mtime_ns == status.st_mtime_ns
        and old.ctime_ns == status.st_ctime_ns
        and old.inode == status.st_ino
        and (kind != tree.FILE or old.size == status.st_size)
        and old.links == (status.st_nlink if kind != tree.FOLDER else 1)
    )


def _restat(entry: Entry, path: bytes) -> tuple[Entry, os.stat_result]:
    """Look at a file again; return its entry with what may have changed, and its status."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise SourceError(f"{printable(path)} vanished while it was read.") from error
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino}
    return msgspec.structs.replace(entry, mode=stat.S_IMODE(status.st_mode), **times), status


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


def _restrict(listing: files.Listing, keep: set[bytes]) -> files.Listing:
    pairs = [(n, s) for n, s in zip(listing.names, listing.stats, strict=True) if n in keep]
    return files.Listing(listing.path, [n for n, _ in pairs], [s for _, s in pairs], [], None)
