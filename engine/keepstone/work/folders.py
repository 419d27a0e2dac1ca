"""Going through folders: depth first, finished bottom up, and past all that is unchanged.

A whole folder is recognised by one record of the local index: the fingerprint of its entries, and the contents of its
sub-folders. The record alone decides nothing: a folder is reused only if the parent snapshot, which is complete, holds
the same tree at the same path; otherwise the folder is gone through again without the record. Until then its
result is *provisional*.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from keepstone import encoding
from keepstone.errors import Damaged, SourceError, Unsupported
from keepstone.hashing import keyed
from keepstone.history import tree
from keepstone.history.content import ContentWriter
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import Entry, TreeWriter
from keepstone.repo.repository import Repository
from keepstone.repo.writer import Writer
from keepstone.sources import files, metadata, sqlite
from keepstone.sources.exclude import CACHE_TAG_NAME, is_tagged_cache
from keepstone.work.ahead import ScanAhead
from keepstone.work.entries import Again, EntryReader
from keepstone.work.options import BackupOptions
from keepstone.work.tally import Tally

FOLDERS_AT_ONCE = 500
MOST_STEMS = 10_000

OldEntry = Callable[[], Entry | None]
"""Looks a folder up in the parent snapshot; called only where its local record does not settle the matter."""


class FolderRecord(encoding.Row):
    """What the local index keeps of a folder."""

    state: bytes
    """Its fingerprint and the rules it was gone through by."""
    below: bytes
    """Stands for the contents of its sub-folders."""
    content: bytes
    size: int
    files: int
    folders: int


_record_decoder = msgspec.msgpack.Decoder(FolderRecord)


@dataclass(slots=True)
class Finished:
    """A finished folder: its tree, and whether only the local index says so."""

    content: bytes
    size: int
    files: int
    folders: int
    provisional: bool = False

    @classmethod
    def of(cls, writer: TreeWriter) -> Finished:
        content = writer.finish()
        return cls(content, writer.size, writer.files, writer.folders)


@dataclass(slots=True)
class _Visit:
    """A folder on the way."""

    path: bytes
    old: OldEntry
    trust: bool
    device: int
    record: FolderRecord | None = None
    listing: files.Listing | None = None
    """None while a glance is enough."""
    fingerprint: bytes | None = None
    entered: list[bytes] = field(default_factory=list)
    next: int = 0
    results: dict[bytes, Finished | None] = field(default_factory=dict)
    """Of the sub-folders that were entered; None for one that could not be read, which was reported."""
    old_folders: dict[bytes, Entry] | None = None
    old_stems: dict[bytes, Entry] | None = None
    kin: OldEntry = lambda: None
    """A folder of much the same name that the parent snapshot has beside it: that of another day."""


class FolderWalk:
    """Stores folders with all that is below them."""

    def __init__(
        self,
        repository: Repository,
        writer: Writer,
        content: ContentWriter,
        entries: EntryReader,
        options: BackupOptions,
        tally: Tally,
        parent: Snapshot | None,
        ahead: ScanAhead | None,
    ) -> None:
        self._repository, self._writer, self._content, self._entries = repository, writer, content, entries
        self._options, self._tally, self._parent, self._ahead = options, tally, parent, ahead
        self._key = repository.keys.cache
        rules = repr((options.exclusions, options.exclude_caches, options.one_file_system))
        self._rules = keyed(self._key, rules.encode())
        self._kept: list[tuple[bytes, bytes]] = []

    def store(self, path: bytes, old: OldEntry) -> Finished:
        """Store a folder and all below it, as far as the parent snapshot does not have it.

        Raises:
            SourceError: the folder cannot be read.
        """
        looks_again = self._options.force or self._entries.again != Again()
        finished = self._walk(path, old, trust=self._parent is not None and not looks_again)
        return self._settled(finished, path, old()) if finished.provisional else finished

    def close(self) -> None:
        """Keep the last records."""
        self._keep(at_least=1)

    def folder_entry(
        self, name: bytes, path: bytes, status: os.stat_result, finished: Finished, old: Entry | None
    ) -> Entry:
        """Return the entry of a finished folder."""
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
            size=finished.size,
            inode=status.st_ino,
            xattrs=self._entries.xattrs(path, status, old),
            content=finished.content,
            files=finished.files,
            folders=finished.folders,
        )

    def old_entries(self, old: Entry | None, path: bytes) -> Iterable[Entry]:
        """Yield the entries a folder had in the parent snapshot; what cannot be read counts as not there."""
        if old is None or old.kind != tree.FOLDER or self._parent is None:
            return
        try:
            yield from tree.read_tree(old.content, self._repository, self._parent.name)
        except (Damaged, Unsupported) as error:
            self._tally.notice(
                f"The parent snapshot cannot be read here, so the files are read again ({error.message}).", path
            )

    # On the way ------------------------------------------------------------------------------------------

    def _walk(self, path: bytes, old: OldEntry, trust: bool) -> Finished:
        """Store everything below a folder. An explicit stack: no depth of folders ends the program."""
        device = files.look(path).st_dev
        stack = [self._enter(path, old, trust, device)]
        while True:
            top = stack[-1]
            finished: Finished | None = None
            try:
                if top.next < len(top.entered):
                    name = top.entered[top.next]
                    top.next += 1
                    child = top.path + b"/" + name if top.path != b"/" else b"/" + name
                    stack.append(self._enter(child, self._old_child(top, name), trust, device))
                    stack[-1].kin = self._kin_child(top, name)
                    continue
                child = top.path
                stack.pop()
                finished = self._leave(top)
            except SourceError as error:
                if not stack:
                    raise
                self._tally.problem(child, error)
            if not stack:
                assert finished is not None
                return finished
            stack[-1].results[child.rsplit(b"/", 1)[1]] = finished

    def _enter(self, path: bytes, old: OldEntry, trust: bool, device: int) -> _Visit:
        visit = _Visit(path, old, trust, device)
        kept = self._repository.index.folder(path) if trust else None
        if kept is not None:
            visit.record = _record_decoder.decode(kept)
            glance = None if self._ahead is None else self._ahead.take(path)
            if glance is not None and glance.fingerprint + self._rules == visit.record.state:
                visit.fingerprint = glance.fingerprint
                visit.entered = self._options.entered(path, glance.subfolders, device)
                return visit
        self._list(visit)
        return visit

    def _list(self, visit: _Visit) -> None:
        listing = files.list_folder(visit.path, self._repository.clock.now_ns())
        if self._options.exclude_caches and is_tagged_cache(visit.path):
            listing = _restrict(listing, {CACHE_TAG_NAME})
        pairs = zip(listing.names, listing.stats, strict=True)
        subfolders = [(name, status.st_dev) for name, status in pairs if _is_folder(status)]
        visit.listing = listing
        visit.fingerprint = None if listing.problems else listing.fingerprint
        visit.entered = self._options.entered(visit.path, subfolders, visit.device)

    def _leave(self, visit: _Visit) -> Finished:
        """Finish a folder whose sub-folders are finished."""
        record = self._matching_record(visit)
        if record is not None:
            return Finished(record.content, record.size, record.files, record.folders, provisional=True)
        if visit.listing is None:
            self._list(visit)
        assert visit.listing is not None
        doubts = self._tally.doubts
        for name, error in visit.listing.problems:
            self._tally.problem(os.path.join(visit.path, name), error)
        finished = self._write_tree(visit, visit.listing)
        state, below = self._state(visit), self._below(visit)
        if state is not None and below is not None and doubts == self._tally.doubts:
            new = FolderRecord(state, below, finished.content, finished.size, finished.files, finished.folders)
            self._kept.append((visit.path, encoding.encode(new)))
            self._keep(at_least=FOLDERS_AT_ONCE)
        return finished

    def _matching_record(self, visit: _Visit) -> FolderRecord | None:
        """Return the local record of a folder if it and all below it are as the record says."""
        record = visit.record
        if record is None or record.state != self._state(visit) or record.below != self._below(visit):
            return None
        provisional = all(finished is not None and finished.provisional for finished in visit.results.values())
        return record if provisional else None

    def _state(self, visit: _Visit) -> bytes | None:
        return None if visit.fingerprint is None else visit.fingerprint + self._rules

    def _below(self, visit: _Visit) -> bytes | None:
        """Return what stands for the contents of the sub-folders; None if one of them is not known."""
        parts: list[bytes] = []
        for name in visit.entered:
            finished = visit.results.get(name)
            if finished is None:
                return None
            parts += [len(finished.content).to_bytes(4, "little"), finished.content]
        return keyed(self._key, *parts) if parts else b""

    def _keep(self, at_least: int) -> None:
        if len(self._kept) >= at_least:
            if not self._options.dry_run:
                self._repository.index.keep_folders(self._kept)
            self._kept = []

    def _old_child(self, visit: _Visit, name: bytes) -> OldEntry:
        return lambda: self._old_folders(visit).get(name)

    def _kin_child(self, visit: _Visit, name: bytes) -> OldEntry:
        def kin() -> Entry | None:
            if visit.old_stems is None:
                visit.old_stems = {_stem(old.name): old for old in self._old_folders(visit).values()}
            return visit.old_stems.get(_stem(name))

        return kin

    def _old_folders(self, visit: _Visit) -> dict[bytes, Entry]:
        if visit.old_folders is None:
            entries = self.old_entries(visit.old(), visit.path)
            visit.old_folders = {e.name: e for e in entries if e.kind == tree.FOLDER}
        return visit.old_folders

    def _old_file(self, visit: _Visit) -> Callable[[bytes], Entry | None]:
        def old(name: bytes) -> Entry | None:
            return next((e for e in self.old_entries(visit.old(), visit.path) if e.name == name), None)

        return old

    # Writing a tree --------------------------------------------------------------------------------------

    def _write_tree(self, visit: _Visit, listing: files.Listing) -> Finished:
        writer = TreeWriter(self._writer.add_tree, self._content.tree_chunker)
        old_entries = iter(self.old_entries(visit.old(), visit.path))
        old = next(old_entries, None)
        databases = self._entries.live_databases(visit.path, listing.names, self._old_file(visit))
        skip = {base + suffix for base in databases for suffix in sqlite.COMPANIONS}
        exclusions = self._options.exclusions
        entered = set(visit.entered)
        kin = self._kin_of_new(visit)
        prefix = visit.path if visit.path != b"/" else b""
        for name, status in zip(listing.names, listing.stats, strict=True):
            while old is not None and old.name < name:
                if old.kind == tree.FILE and len(kin) < MOST_STEMS:
                    kin[_stem(old.name)] = old
                old = next(old_entries, None)
            same = old if old is not None and old.name == name else None
            path = prefix + b"/" + name
            entry: Entry | None
            if name in entered:
                entry = self._finish_subfolder(visit, name, path, status, same)
            elif name in skip or (exclusions is not None and exclusions.excluded(path, _is_folder(status))):
                continue
            elif _is_folder(status):
                # Another filesystem: the folder itself, without its content.
                entry = self.folder_entry(name, path, status, Finished(b"", 0, 0, 0), same)
            else:
                entry = self._entries.entry(name, path, status, same, databases, kin.get(_stem(name)))
            if entry is not None:
                writer.append(entry)
        return Finished.of(writer)

    def _kin_of_new(self, visit: _Visit) -> dict[bytes, Entry]:
        """Return by their stems the files that stood in a new folder's kin."""
        if visit.old() is not None:
            return {}
        entries = islice(self.old_entries(visit.kin(), visit.path), MOST_STEMS)
        return {_stem(entry.name): entry for entry in entries if entry.kind == tree.FILE}

    def _finish_subfolder(
        self, visit: _Visit, name: bytes, path: bytes, status: os.stat_result, old: Entry | None
    ) -> Entry | None:
        try:
            # One that is new since a glance has not been entered yet.
            finished = visit.results[name] if name in visit.results else self._walk(path, lambda: old, visit.trust)
            if finished is None:
                return None
            if finished.provisional:
                finished = self._settled(finished, path, old)
        except SourceError as error:
            self._tally.problem(path, error)
            finished = None
        visit.results[name] = finished
        return None if finished is None else self.folder_entry(name, path, status, finished, old)

    def _settled(self, finished: Finished, path: bytes, old: Entry | None) -> Finished:
        """Return a provisional folder as reused if the parent snapshot has it, else go through it again."""
        if old is not None and old.kind == tree.FOLDER and old.content == finished.content:
            self._tally.reuse(finished.files, finished.size)
            return Finished(finished.content, finished.size, finished.files, finished.folders)
        return self._walk(path, lambda: old, trust=False)


def _stem(name: bytes) -> bytes:
    """Return what a name has in common with those of other days: all but its digits."""
    return name.translate(None, b"0123456789")


def _is_folder(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000


def _restrict(listing: files.Listing, keep: set[bytes]) -> files.Listing:
    pairs = [(n, s) for n, s in zip(listing.names, listing.stats, strict=True) if n in keep]
    return files.Listing(listing.path, [n for n, _ in pairs], [s for _, s in pairs], [], None)
