"""Messages at backup time: find what is new and holds messages, and take it into the archive.

It works on the tree that was just stored: what it reads is what a restore would give, encrypted chats are plain there,
and a file that changes meanwhile does no harm. The chunks themselves are read from as near as they are. Files are
recognised by their content; those whose names say that they are something else are not looked into. They are recognised
and read in a process apart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from keepstone import events
from keepstone.chunking import secrets_for
from keepstone.errors import Damaged, KeepstoneError
from keepstone.history import tree
from keepstone.history.catalogue import newest_catalogues
from keepstone.history.container_keys import container_keys
from keepstone.history.content import ContentWriter
from keepstone.history.recipe import ChunkReader
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import printable
from keepstone.messages.model import Attachment, Item, Message
from keepstone.repo.repository import Repository
from keepstone.repo.writer import Writer
from keepstone.sources.apart import Apart
from keepstone.sources.folders import ZipFolder
from keepstone.sources.readers import SMALLEST, depth_of, may_be_named, may_hold_messages
from keepstone.sources.reading import HEAD, Folder, Options, Reader, UnreadableSource
from keepstone.work.archive import Ingest, Origin
from keepstone.work.original import Original
from keepstone.work.snapshot_folder import SnapshotFolder
from keepstone.work.take_messages import ingest
from keepstone.work.tally import Gathered

MOST_MEMBERS: Final = 20_000
"""Files of an archive that are looked into: those whose names may be of messages, the ones further above first."""
MOST_ATTACHMENTS: Final = 1_000_000
WHOLE: Final = frozenset(("whatsapp-android", "whatsapp-ios", "imessage", "android-telephony"))
"""Readers of databases: what one no longer shows is gone from the phone. Any other file shows what somebody chose."""
_ZIP: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class _Found:
    path: bytes
    member: str
    """Where in an archive; empty for a file."""
    name: str
    """In the folder."""
    folder: Folder
    reader: Reader


def gather(
    repository: Repository,
    writer: Writer,
    content: ContentWriter,
    root: bytes,
    parent: Snapshot | None,
    host: str,
    time_ns: int,
    listener: events.Listener,
    candidates: Iterable[bytes],
    reader: ChunkReader,
) -> Gathered:
    """Take the messages of files that are new since the parent snapshot into the archive.

    Args:
        root: the new snapshot's root tree; it can be read, as everything was flushed.
        candidates: the paths of new and changed files that may hold messages: see `readers.may_hold_messages`.
        reader: reads what the repository has, from nearer than the store where it can.
    """
    run = _Gather(repository, writer, content, host, time_ns // 1_000_000, listener, reader)
    return run.run(root, parent, candidates)


class _Gather:
    def __init__(
        self, repository: Repository, writer: Writer, content: ContentWriter, host: str, time_ms: int,
        listener: events.Listener, reader: ChunkReader,
    ) -> None:  # fmt: skip
        self.reader = reader
        self.repository, self.writer, self.content, self.host = repository, writer, content, host
        self.time_ms, self.listener = time_ms, listener
        self.keys = container_keys(repository.log)
        self.gathered = Gathered()
        self.apart = Apart()
        self.attachments: dict[bytes, tuple[_Found, Attachment]] = {}
        self.folder: tuple[tuple[bytes, ...], SnapshotFolder] | None = None
        secrets = secrets_for(repository.config.chunker.algorithm, repository.keys.chunker)
        self.attachment_content = ContentWriter(writer.add, writer.add_tree, secrets)
        """One of its own: contents are stored while the catalogue that names them is being stored."""

    def run(self, root: bytes, parent: Snapshot | None, candidates: Iterable[bytes]) -> Gathered:
        run: Ingest | None = None
        try:
            for path in candidates:
                for found in self._sources(root, path):
                    run = run or ingest(self.repository, self.writer, self.content, self._content_of, self.reader)
                    self._take(run, found)
            if run is None:
                self.gathered.catalogue = self._unchanged(parent)
                return self.gathered
            self.gathered.catalogue = run.finish()
            self.gathered.new = run.work.rows_new
            return self.gathered
        finally:
            self.apart.close()
            if run is not None:
                run.__exit__(None, None, None)

    def _unchanged(self, parent: Snapshot | None) -> bytes:
        """Return the catalogue that this snapshot has without anything new."""
        if parent is not None and parent.body.catalogue:
            return parent.body.catalogue
        known = newest_catalogues(self.repository.log, self.repository.keys, self.reader)
        return known[0].recipe if len(known) == 1 else b""

    def _sources(self, root: bytes, path: bytes) -> Iterator[_Found]:
        """Yield what holds messages in a file: the file, or files of an archive."""
        *above, name = tree.parts_of(path)
        kept = max(0, len(above) - depth_of(path))
        below = "/".join(os.fsdecode(part) for part in (*above[kept:], name))
        try:
            folder = self._folder(root, tuple(above[:kept]))
            below = folder.plain_name(below)
            with folder.open(below) as file:
                head = file.read(HEAD)
            if head.startswith(_ZIP):
                # It stays open: files in it are asked for until the run ends.
                yield from self._members(ZipFolder(folder.open(below), below), path)
            elif may_hold_messages(name, head):
                reader = self._recognise(below, folder, path)
                if reader is not None:
                    yield _Found(path, "", below, folder, reader)
        except (UnreadableSource, OSError):
            return
        except KeepstoneError as error:
            self._tell(f"Whether messages are in it cannot be seen ({error.message})", path)

    def _folder(self, root: bytes, above: tuple[bytes, ...]) -> SnapshotFolder:
        """Return a folder of the new snapshot; that of the file before is often the same."""
        if self.folder is None or self.folder[0] != above:
            holder = tree.find(root, above, self.reader, "This snapshot")
            scratch = str(self.repository.state.scratch_folder())
            recipe = root if holder is None else holder.content
            near = partial(self._near, b"".join(b"/" + part for part in above))
            self.folder = above, SnapshotFolder(self.reader, recipe, "This snapshot", self.keys, scratch, near)
        return self.folder[1]

    def _near(self, above: bytes, name: str, recipe: bytes) -> ChunkReader:
        """Return what reads a file of a folder: from where it was read before, if it is still there."""
        path = above + b"/" + os.fsencode(name)
        return Original(path, recipe, self.repository.keys.chunk_id, self.reader, "This snapshot")

    def _members(self, archive: ZipFolder, path: bytes) -> Iterator[_Found]:
        named = (name for name in archive.names() if may_be_named(os.fsencode(name.rpartition("/")[2])))
        for name in sorted(named, key=lambda name: name.count("/"))[:MOST_MEMBERS]:
            if _may_hold_messages(archive, name):
                reader = self._recognise(name, archive, path)
                if reader is not None:
                    yield _Found(path, name, name, archive, reader)

    def _recognise(self, name: str, folder: Folder, path: bytes) -> Reader | None:
        try:
            return self.apart.recognise(name, folder)
        except UnreadableSource as error:
            self._tell(f"Whether messages are in it cannot be seen ({error.message})", path)
            return None

    def _take(self, run: Ingest, found: _Found) -> None:
        place = f"{self.host}:{printable(found.path)}" + (f"!{found.member}" if found.member else "")
        origin = Origin(place, found.reader.NAME, whole=found.reader.NAME in WHOLE)
        taken = run.take(origin, self.time_ms, self._read(found))
        self.gathered.sources += 1
        self.gathered.messages += taken.messages
        self.gathered.calls += taken.calls
        lost = sum(loss.records for loss in taken.losses)
        self.gathered.lost += lost
        if taken.losses:
            more = f" and {len(taken.losses) - 1} more of this kind" if len(taken.losses) > 1 else ""
            self._tell(f"Not all messages in it could be read: {taken.losses[0].what}{more}", found.path)

    def _read(self, found: _Found) -> Iterator[Item]:
        """Yield what a source shows, and note its attachments."""
        from keepstone.messages.model import Loss

        try:
            with closing(self.apart.read(found.reader, found.name, found.folder, Options())) as items:  # type: ignore[type-var]  # a generator
                for item in items:
                    if type(item) is Message:
                        for attachment in item.attachments:
                            if attachment.sha256 and len(self.attachments) < MOST_ATTACHMENTS:
                                self.attachments.setdefault(attachment.sha256, (found, attachment))
                    yield item
        except UnreadableSource as error:
            yield Loss(what=error.message)

    def _content_of(self, sha256: bytes) -> bytes | None:
        """Return the recipe of an attachment that a source of this run has; it is stored already, or is stored now."""
        found, attachment = self.attachments.get(sha256, (None, None))
        if found is None or attachment is None:
            return None
        with suppress(OSError, UnreadableSource, Damaged):
            file = found.reader.open_attachment(found.name, found.folder, attachment)
            if file is not None:
                with file:
                    hashing = _Hashing(file)
                    recipe, _ = self.attachment_content.write(hashing)
                    return recipe if hashing.digest() == sha256 else None
        return None

    def _tell(self, text: str, path: bytes) -> None:
        self.listener(events.Notice(text, path))


def _may_hold_messages(archive: ZipFolder, name: str) -> bool:
    """Return whether a file of an archive is worth the time of a process apart; one that is damaged is not."""
    if archive.size(name) < SMALLEST:
        return False
    try:
        with archive.open(name) as file:
            return may_hold_messages(os.fsencode(name.rpartition("/")[2]), file.read(HEAD))
    except UnreadableSource:
        return False


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: object) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def readinto(self, buffer: memoryview) -> int:
        read: int = self._file.readinto(buffer)  # type: ignore[attr-defined]  # every binary file has it
        self._hash.update(buffer[:read])
        return read

    def digest(self) -> bytes:
        return self._hash.digest()
