"""The catalogue of the message archive: which blocks it consists of, and what each source showed last.

Entries stand in the order of their months, so a day's messages change the end of the catalogue and nothing before it.
Of every source an entry keeps the fingerprint of what the source last said of that month: a source that says the same
again is not compared with the blocks, and they are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from keepstone import encoding
from keepstone.errors import Unsupported
from keepstone.hashing import SubKeys
from keepstone.history.ancestor import Ancestor
from keepstone.history.content import ContentWriter
from keepstone.history.recipe import ChunkReader, read_list
from keepstone.history.snapshot import Snapshot, snapshots_by_writer
from keepstone.messages.blocks import MAX_BLOCK, NAME_LENGTH, read_content, union_of
from keepstone.messages.identity import identity
from keepstone.messages.merge import Times
from keepstone.repo.log import LogView

VERSION: Final = 1
CONTENTS, CALLS, CONVERSATIONS, MESSAGES = "a", "c", "k", "m"
"""Kinds of entries. Contents say where attachments are; conversations stand under no month, in one entry."""
MAX_ENTRY = 16 * 1024 * 1024
MAX_ROOT = 64 * 1024 * 1024

_LENGTH = struct.Struct("<I")


class Source(encoding.Row):
    """Something that messages were read from, again and again."""

    id: bytes
    name: str
    """What people call it: a computer and a path."""
    format: str
    """The `NAME` of its reader."""
    whole: bool
    """Whether what it does not show is gone from it; an export of the newest messages is not whole."""
    read_ms: int
    """When it was read last."""
    scans: list[int]
    """When it was read, if it is whole."""


def source_id(name: str, format: str, *, whole: bool) -> bytes:
    """Return the id of a source. A source that was read with losses counts as another one, which is not whole."""
    return identity("source", name, format, int(whole))


class Block(encoding.Row):
    """A block: what the places of its rows begin with, and its recipe."""

    prefix: str
    recipe: bytes


class Mark(encoding.Row):
    """The fingerprint of what a source said of an entry when it was read last; empty if that is not known."""

    source: bytes
    fingerprint: bytes


class CatalogueEntry(encoding.Row):
    """A unit: conversations of a month whose ids begin alike."""

    month: str
    kind: str
    prefix: str
    """Hexadecimal digits; as many as an id has, and there may be several blocks."""
    blocks: list[Block]
    marks: list[Mark]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.month, self.kind, self.prefix


class _Root(encoding.Record, kw_only=True):
    version: int = msgspec.field(name="v")
    sources: list[Source] = msgspec.field(name="s")
    entries: bytes = msgspec.field(name="e", default=b"")


_root_decoder = msgspec.msgpack.Decoder(_Root)
_entry_decoder = msgspec.msgpack.Decoder(CatalogueEntry)


class Catalogue:
    """A catalogue that is stored."""

    def __init__(self, recipe: bytes, reader: ChunkReader, name: str) -> None:
        """Raises: Unsupported, Damaged: named after `name`."""
        self.recipe, self.reader, self.name = recipe, reader, name
        root = encoding.decode(_root_decoder, read_whole(recipe, reader, name, MAX_ROOT), name)
        if root.version != VERSION:
            raise Unsupported(name, f"has a catalogue of messages of version {root.version}")
        self.sources = {source.id: source for source in root.sources}
        self.entries_recipe = root.entries

    @property
    def scans(self) -> dict[bytes, Times]:
        """When each whole source was read."""
        return {source.id: tuple(source.scans) for source in self.sources.values() if source.scans}

    def entries(self) -> Iterator[CatalogueEntry]:
        """Yield the entries, in ascending order of (month, kind, prefix)."""
        if not self.entries_recipe:
            return
        rest = b""
        last: tuple[str, str, str] | None = None
        for data in read_list(self.entries_recipe, self.reader, self.name):
            rest = rest + data if rest else data
            at = 0
            while at + _LENGTH.size <= len(rest):
                (length,) = _LENGTH.unpack_from(rest, at)
                if length > MAX_ENTRY:
                    raise Unsupported(self.name, "has an entry of its catalogue that is longer than the format allows")
                if at + _LENGTH.size + length > len(rest):
                    break
                at += _LENGTH.size
                entry = encoding.decode(_entry_decoder, memoryview(rest)[at : at + length], self.name)
                at += length
                if last is not None and entry.key <= last:
                    raise Unsupported(self.name, "has a catalogue that is not in order")
                last = entry.key
                yield entry
            rest = rest[at:]
        if rest:
            raise Unsupported(self.name, "has a catalogue that is cut off")

    def recipes(self) -> Iterator[bytes]:
        """Yield every recipe that the archive of this catalogue needs, its own first; contents' are read from blocks.

        A recipe is yielded before what it leads to is read.
        """
        yield self.recipe
        if self.entries_recipe:
            yield self.entries_recipe
        for entry in self.entries():
            yield from (block.recipe for block in entry.blocks)
            if entry.kind == CONTENTS:
                for key in union_of(self.read(entry), self.name):
                    yield read_content(key[NAME_LENGTH:], self.name)[1]

    def read(self, entry: CatalogueEntry) -> list[bytes]:
        """Return the bytes of the blocks of an entry."""
        return [read_whole(block.recipe, self.reader, self.name, MAX_BLOCK) for block in entry.blocks]


def read_whole(recipe: bytes, reader: ChunkReader, name: str, most: int) -> bytes:
    """Return all bytes of a piece list, if they are not more than allowed."""
    parts, length = [], 0
    for data in read_list(recipe, reader, name):
        parts.append(data)
        length += len(data)
        if length > most:
            raise Unsupported(name, "has a record longer than the format allows")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_catalogue(
    entries: Iterable[CatalogueEntry], sources: Iterable[Source], content: ContentWriter, old: Catalogue | None
) -> bytes:
    """Store a catalogue and return its recipe.

    Args:
        entries: in order; they are taken one by one.
        old: the one before, for the new one to stand on.
    """
    stream = _Stream(_LENGTH.pack(len(data)) + data for data in map(encoding.encode, entries))
    recipe, _ = content.write(stream, ancestor=_ancestor(old, old.entries_recipe if old else b""))
    root = encoding.encode(_Root(version=VERSION, sources=sorted(sources, key=lambda s: s.id), entries=recipe))
    found, _ = content.write(_Stream([root]), ancestor=_ancestor(old, old.recipe if old else b""))
    return found


def _ancestor(old: Catalogue | None, recipe: bytes) -> Ancestor | None:
    return Ancestor.of_recipe(recipe, old.reader, old.name) if old is not None and recipe else None


class _Stream:
    """Reads pieces of bytes as one stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readinto(self, buffer: memoryview) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


def newest_catalogues(view: LogView, keys: SubKeys, reader: ChunkReader) -> list[Catalogue]:
    """Return the newest catalogue of every writer's log: the archive of the repository is their join."""
    newest: dict[bytes, Snapshot] = {}
    for writer, snapshot in snapshots_by_writer(view, keys):
        if snapshot.body.catalogue:
            newest[writer] = snapshot
    recipes = {snapshot.body.catalogue: snapshot.name for snapshot in newest.values()}
    return [Catalogue(recipe, reader, name) for recipe, name in sorted(recipes.items())]
