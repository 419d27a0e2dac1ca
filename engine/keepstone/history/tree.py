"""Trees: one folder each, its entries sorted by name, their metadata and recipes.

A tree is a byte stream of length-prefixed entries and is stored as any content: cut into chunks, so a folder with a
million entries of which one changed costs one small chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from keepstone import encoding
from keepstone.chunking import Chunker
from keepstone.errors import PathNotFound, Unsupported
from keepstone.history.recipe import AddChunk, ChunkReader, PieceWriter, read_list

FOLDER, FILE, SYMLINK, FIFO, CHARACTER, BLOCK, SOCKET = "d", "f", "l", "p", "c", "b", "s"
KINDS = frozenset((FOLDER, FILE, SYMLINK, FIFO, CHARACTER, BLOCK, SOCKET))

CHANGED_WHILE_READ, DATABASE_IMAGE, ABOVE_SOURCES = 1, 2, 4
"""Flags of an entry: its bytes may mix two states; its bytes are a consistent image of a live database; it is a folder
on the way to what was backed up, and its times, which change with everything beside that, are not recorded."""

MAX_NAME = 255 * 4
MAX_ENTRY = 4 * 1024 * 1024
SPILL_AT = 1024 * 1024

_LENGTH = struct.Struct("<I")


class Entry(encoding.Record, kw_only=True):
    """One name in a folder. Times are nanoseconds since 1970 UTC; names are bytes as the filesystem has them."""

    name: bytes = msgspec.field(name="n")
    kind: str = msgspec.field(name="k")
    mode: int = msgspec.field(name="m", default=0)
    """Permission bits, 12 of them."""
    uid: int = msgspec.field(name="u", default=0)
    gid: int = msgspec.field(name="g", default=0)
    user: str | None = msgspec.field(name="U", default=None)
    group: str | None = msgspec.field(name="G", default=None)
    mtime_ns: int = msgspec.field(name="t", default=0)
    ctime_ns: int = msgspec.field(name="T", default=0)
    size: int = msgspec.field(name="s", default=0)
    """Bytes of a file; of a folder, the sum over all files below."""
    inode: int = msgspec.field(name="i", default=0)
    device: int = msgspec.field(name="d", default=0)
    """Only where links > 1: with the inode it names the group of hard links."""
    links: int = msgspec.field(name="l", default=1)
    target: bytes = msgspec.field(name="L", default=b"")
    special: int = msgspec.field(name="r", default=0)
    """Device number of a character or block device."""
    xattrs: list[tuple[bytes, bytes]] = msgspec.field(name="x", default_factory=list)
    """Extended attributes; POSIX ACLs are among them."""
    content: bytes = msgspec.field(name="c", default=b"")
    """Recipe of a file's bytes, or of a folder's tree. Empty for an empty file."""
    files: int = msgspec.field(name="F", default=0)
    """Of a folder: files (and other non-folders) below."""
    folders: int = msgspec.field(name="D", default=0)
    """Of a folder: folders below."""
    flags: int = msgspec.field(name="f", default=0)


_decoder = msgspec.msgpack.Decoder(Entry)


class TreeWriter:
    """Takes the entries of one folder in order and returns the recipe of its tree."""

    def __init__(self, add: AddChunk, chunker: Chunker) -> None:
        self._add, self._chunker = add, chunker
        self._pieces = PieceWriter(add, chunker)
        self._buffer = bytearray()
        self.size = self.files = self.folders = 0

    def append(self, entry: Entry) -> None:
        encoded = encoding.encode(entry)
        self._buffer += _LENGTH.pack(len(encoded))
        self._buffer += encoded
        self.size += entry.size
        if entry.kind == FOLDER:
            self.files += entry.files
            self.folders += entry.folders + 1
        else:
            self.files += 1
        if len(self._buffer) >= SPILL_AT:
            self._cut(final=False)

    def finish(self) -> bytes:
        """Return the encoded recipe of the tree."""
        self._cut(final=True)
        return self._pieces.finish()

    def _cut(self, final: bool) -> None:
        view = bytes(self._buffer)
        start = 0
        for end in self._chunker.cuts(view, final):
            self._pieces.append(self._add(view[start:end]), end - start)
            start = end
        del self._buffer[:start]


def read_tree(recipe: bytes, reader: ChunkReader, name: str) -> Iterator[Entry]:
    """Yield the entries of a tree, in order of their names.

    Raises:
        Unsupported: an entry is not as the format says.
        Damaged: a chunk of the tree is missing or damaged.
    """
    if not recipe:
        return
    rest = b""
    last: bytes | None = None
    for data in read_list(recipe, reader, name):
        rest = rest + data if rest else data
        at = 0
        while at + _LENGTH.size <= len(rest):
            (length,) = _LENGTH.unpack_from(rest, at)
            if length > MAX_ENTRY:
                raise Unsupported(name, f"has an entry of {length} bytes, more than the format allows")
            if at + _LENGTH.size + length > len(rest):
                break
            entry = encoding.decode(_decoder, rest[at + _LENGTH.size : at + _LENGTH.size + length], name)
            _check(entry, last, name)
            last = entry.name
            yield entry
            at += _LENGTH.size + length
        rest = rest[at:]
    if rest:
        raise Unsupported(name, "has a tree that is cut off")


def _check(entry: Entry, last: bytes | None, name: str) -> None:
    if not valid_name(entry.name) or (last is not None and entry.name <= last):
        raise Unsupported(name, "has an entry whose name is not allowed in a folder")
    if entry.kind not in KINDS:
        raise Unsupported(name, f"has an entry of kind {entry.kind!r}, which this version does not know")


def valid_name(name: bytes) -> bool:
    """Return whether bytes can be the name of an entry: not empty, no slash, no NUL, not . or .. ."""
    return 0 < len(name) <= MAX_NAME and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def find(recipe: bytes, parts: Iterable[bytes], reader: ChunkReader, name: str) -> Entry | None:
    """Return the entry at a path below a tree; None for the tree itself.

    Raises:
        PathNotFound: there is none.
    """
    entry: Entry | None = None
    walked = b""
    for part in parts:
        if entry is not None and entry.kind != FOLDER:
            raise PathNotFound(f"{printable(walked)} is not a folder in this snapshot.")
        walked += b"/" + part
        entry = next((e for e in read_tree(recipe, reader, name) if e.name == part), None)
        if entry is None:
            raise PathNotFound(f"{printable(walked)} is not in this snapshot.")
        recipe = entry.content
    return entry


def parts_of(path: bytes) -> tuple[bytes, ...]:
    """Split a path of a snapshot into its components; `.` and empty ones are dropped.

    Raises:
        PathNotFound: it has a component `..`.
    """
    parts = tuple(part for part in path.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise PathNotFound("A path inside a snapshot has no '..'.")
    return parts


def printable(path: bytes) -> str:
    """Return a path as text for a message; bytes that are not UTF-8 are escaped."""
    return path.decode("utf-8", "backslashreplace")
