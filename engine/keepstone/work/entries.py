"""Everything of a folder but its sub-folders: is it unchanged, and if not, read it.

What looks as it did in the parent snapshot is taken from there. Times say nothing while they are about as young as the
parent, so such a file is read again. A file that changes while it is read is read once more, then marked.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from keepstone.errors import Damaged, SourceError, Unsupported
from keepstone.history import tree
from keepstone.history.content import ONE_CHUNK, ContentWriter
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import Entry, printable
from keepstone.repo.repository import Repository
from keepstone.sources import files, metadata, sqlite
from keepstone.work.options import BackupOptions
from keepstone.work.tally import Tally

if TYPE_CHECKING:
    from keepstone.history.ancestor import Ancestor
    from keepstone.work.at_hand import AtHand
    from keepstone.work.contained import ContainerReader

LINKS_REMEMBERED = 200_000
SMALLEST_CONTAINER = 512
RACY_NS = 50_000_000
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b")
"""Of these a reader of messages takes a few files, or none."""

_CLOSED = re.compile(rb"main|.*\.(?:crypt\d+|backup)", re.IGNORECASE | re.DOTALL)
"""Names of encrypted backups of messages."""

Databases = dict[bytes, tuple[bytes, int]]
"""Recipe and size of the images of the live databases of a folder, by name."""

KINDS = {
    stat.S_IFREG: tree.FILE,
    stat.S_IFLNK: tree.SYMLINK,
    stat.S_IFIFO: tree.FIFO,
    stat.S_IFCHR: tree.CHARACTER,
    stat.S_IFBLK: tree.BLOCK,
    stat.S_IFSOCK: tree.SOCKET,
}


@dataclass(frozen=True, slots=True)
class Again:
    """What is looked for in files that are as the parent snapshot has them."""

    messages: bool = False
    """Messages, which were left there."""
    opened: bool = False
    """Whether a key that has come since opens what is stored closed."""


class EntryReader:
    """Makes entries of what stands in folders."""

    def __init__(
        self,
        repository: Repository,
        content: ContentWriter,
        options: BackupOptions,
        tally: Tally,
        parent: Snapshot | None,
        at_hand: AtHand,
        again: Again,
    ) -> None:
        self.again = again
        self._repository, self._content, self._options, self._tally = repository, content, options, tally
        self._parent, self._at_hand = parent, at_hand
        self._racy_ns = 0 if parent is None else parent.body.time_ns - RACY_NS
        self._links: dict[tuple[int, int], tuple[bytes, int, int]] = {}

    @cached_property
    def _containers(self) -> ContainerReader:
        from keepstone.work.contained import ContainerReader  # Loaded by the first file that is read: not by most runs.

        return ContainerReader(self._repository, self._content, self._tally)

    @cached_property
    def _readers(self) -> ModuleType:
        from keepstone.sources import readers

        return readers

    def entry(
        self,
        name: bytes,
        path: bytes,
        status: os.stat_result,
        old: Entry | None,
        databases: Databases,
        kin: Entry | None = None,
    ) -> Entry | None:
        """Return the entry of anything but a folder, its content stored; None if it cannot be read.

        Args:
            old: what the parent snapshot has there.
            kin: what it has of much the same name, for a file that is new.
        """
        same = old is not None and name not in databases and not old.flags and self._unchanged(old, status)
        if old is not None and same and not (self.again.opened and self._is_closed(name, old)):
            if self.again.messages and old.kind == tree.FILE:
                self._look_for_messages(path)
            self._tally.reuse(1, old.size)
            return old
        try:
            entry = self._read(name, path, status, databases, old or kin)
        except SourceError as error:
            self._tally.problem(path, error)
            return None
        if old is not None and old.content == entry.content and not self.again.messages:
            self._tally.candidates.pop(path, None)  # Its messages are known.
        self._tally.done(path, entry, old)
        return entry

    def xattrs(self, path: bytes, status: os.stat_result, old: Entry | None) -> list[tuple[bytes, bytes]]:
        """Return extended attributes, those of the old entry if nothing has changed."""
        if old is not None and self._unchanged(old, status):
            return old.xattrs
        try:
            return metadata.read_xattrs(path)
        except SourceError as error:
            self._tally.problem(path, error)
            return []

    def _ancestor(self, old: Entry | None) -> Ancestor | None:
        """Return the content that an entry had in the parent snapshot, for its new chunks to stand on."""
        if old is None or old.kind != tree.FILE or not old.content or self._parent is None:
            return None
        from keepstone.history.ancestor import Ancestor

        return Ancestor.of_recipe(old.content, self._at_hand, self._parent.name)

    def live_databases(self, folder: bytes, names: Sequence[bytes], old: Callable[[bytes], Entry | None]) -> Databases:
        """Store an image of every live database of a folder.

        What belongs to a database with an image (its log or journal) is in the image, and not stored by itself.

        Args:
            old: tells what the parent snapshot has in that folder under a name.
        """
        found: Databases = {}
        beside = [name for name in names if name.endswith((b"-wal", b"-journal"))]
        known = set(names) if beside else set()
        for base in sorted({name.rsplit(b"-", 1)[0] for name in beside} & known):
            path = os.path.join(folder, base)
            excluded = self._options.exclusions is not None and self._options.exclusions.excluded(path, False)
            stored = None if excluded or not sqlite.needs_image(path) else self._read_database(path, old(base))
            if stored is not None:
                found[base] = stored
        return found

    def _unchanged(self, old: Entry, status: os.stat_result) -> bool:
        """Return whether an entry is as the parent snapshot has it, and its times would show if it were not."""
        return (
            _same_status(old, status)
            and status.st_mtime_ns < self._racy_ns
            and status.st_ctime_ns < self._racy_ns
            and not self._options.force
        )

    def _read(
        self, name: bytes, path: bytes, status: os.stat_result, databases: Databases, model: Entry | None
    ) -> Entry:
        kind = KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            raise SourceError(f"{printable(path)} is of a kind that cannot be stored.")
        content = target = b""
        size = flags = 0
        if kind == tree.SYMLINK:
            target = files.link_target(path)
        elif kind == tree.FILE:
            if name in databases:
                (content, size), flags = databases[name], tree.DATABASE_IMAGE
            else:
                content, size, flags, status = self._read_file(path, status, model)
        return Entry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            user=metadata.user_name(status.st_uid),
            group=metadata.group_name(status.st_gid),
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            size=size,
            inode=status.st_ino,
            device=status.st_dev if status.st_nlink > 1 else 0,
            links=status.st_nlink,
            target=target,
            special=status.st_rdev if kind in (tree.CHARACTER, tree.BLOCK) else 0,
            xattrs=self.xattrs(path, status, None),
            content=content,
            flags=flags,
        )

    def _read_file(
        self, path: bytes, status: os.stat_result, model: Entry | None
    ) -> tuple[bytes, int, int, os.stat_result]:
        """Store a file's content; return its recipe, its length, flags of its entry, and its status."""
        linked = self._links.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
        if linked is not None:
            self._tally.read(linked[1])
            return *linked, status
        flags = 0
        content, size, changed = self._read_once(path, status, model)
        if changed:
            status = files.look(path)
            content, size, changed = self._read_once(path, status, model)
        if changed:
            flags = tree.CHANGED_WHILE_READ
            self._tally.inexact.append(path)
            self._tally.notice("The file changed while it was read, twice; what was stored may mix two states.", path)
        if status.st_nlink > 1 and len(self._links) < LINKS_REMEMBERED:
            self._links[status.st_dev, status.st_ino] = (content, size, flags)
        return content, size, flags, status

    def _read_once(self, path: bytes, status: os.stat_result, model: Entry | None) -> tuple[bytes, int, bool]:
        """Store a file's content; return its recipe, its length, and whether the file changed meanwhile."""
        with files.open_file(path) as reader:
            head = reader.head()
            noted = self._note_messages(path, head, reader.size)
            if reader.size >= SMALLEST_CONTAINER:
                with self._at_hand.taking(noted and self._options.messages and not head.startswith(_ARCHIVES)):
                    unwrapped = self._containers.read(reader, lambda: self._ancestor(model))
                if unwrapped is not None and not reader.changed(status):
                    return unwrapped, reader.size, False
            if model is None and 0 < len(head) == reader.size <= ONE_CHUNK:
                self._tally.read(reader.size)
                return self._content.write_one(head), reader.size, reader.changed(status)
            reader.seek(0)
            extents, ancestor = reader.extents(), self._ancestor(model)
            if len(extents) == 1 and extents[0] == (0, reader.size):
                # A length of 0 may be a lie (files under /proc), so such a file is read to its end.
                content, size = self._content.write(
                    reader, size=reader.size or None, progress=self._tally.read, ancestor=ancestor
                )
            else:
                content, size = self._content.write(
                    reader, extents, reader.seek, reader.size, progress=self._tally.read, ancestor=ancestor
                )
            return content, size, reader.changed(status)

    def _is_closed(self, name: bytes, old: Entry) -> bool:
        """Return whether a file is, by its name, an encrypted backup, and was stored as it is."""
        if old.kind != tree.FILE or not old.content or _CLOSED.fullmatch(name) is None:
            return False
        from keepstone.history.opened import plaintext

        try:
            return plaintext(old.content, self._at_hand, "The parent snapshot") is None
        except (Damaged, Unsupported):
            return True

    def _look_for_messages(self, path: bytes) -> None:
        """Note an unchanged file if it may hold messages."""
        if not self._readers.may_be_named(path[path.rindex(b"/") + 1 :]):
            return
        try:
            with files.open_file(path) as reader:
                self._note_messages(path, reader.head(), reader.size)
        except SourceError as error:
            self._tally.problem(path, error)

    def _note_messages(self, path: bytes, head: bytes, size: int) -> bool:
        """Note a file that may hold messages, to be looked into when it is stored; return whether it may."""
        readers = self._readers
        if size < readers.SMALLEST:
            return False
        name = path[path.rindex(b"/") + 1 :]
        if not readers.may_be_named(name) or not readers.may_hold_messages(name, head):
            return False
        if sqlite.is_sqlite(head) and not sqlite.has_table(path, readers.TABLES):
            return False
        self._note(path)
        return True

    def _note(self, path: bytes) -> None:
        if self._options.messages:
            # What reads them is loaded here, where others work meanwhile, and not at the end, where all would wait.
            from keepstone.work import gather  # noqa: F401

        self._tally.candidates[path] = None

    def _read_database(self, path: bytes, old: Entry | None) -> tuple[bytes, int] | None:
        """Store a consistent image of a live database; None if that is not possible."""
        try:
            noted = sqlite.has_table(path, self._readers.TABLES)
            scratch = os.fsencode(self._repository.state.scratch_folder())
            with sqlite.open_image(path, scratch) as image, self._at_hand.taking(noted and self._options.messages):
                content, size = self._content.write(image, progress=self._tally.read, ancestor=self._ancestor(old))
        except SourceError as error:
            self._tally.notice(
                f"The live database is stored as plain files, which may mix two states ({error.message})", path
            )
            self._tally.inexact.append(path)
            return None
        self._tally.databases.append(path)
        if noted:
            self._note(path)
        return content, size


def _same_status(old: Entry, status: os.stat_result) -> bool:
    """Return whether an entry's times, inode, links and size are what `lstat` shows now."""
    kind = KINDS.get(stat.S_IFMT(status.st_mode), tree.FOLDER)
    return (
        old.kind == kind
        and old.mtime_ns == status.st_mtime_ns
        and old.ctime_ns == status.st_ctime_ns
        and old.inode == status.st_ino
        and (kind != tree.FILE or old.size == status.st_size)
        and old.links == (status.st_nlink if kind != tree.FOLDER else 1)
    )
