"""Piece lists, the plain kind of recipe: how a stream of bytes comes from chunks.

The leaf is a list of *pieces*, 40 bytes each: chunk id and length; a piece with the zero id is a hole. A list that
grows long is cut into chunks and stored like data (`indirect`), so an unchanged stretch of a huge file costs
nothing, and nobody ever holds the whole list in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import msgspec

from keepstone import encoding
from keepstone.chunking import Chunker
from keepstone.errors import Unsupported
from keepstone.ids import Buffer, ChunkId
from keepstone.repo.format import MAX_CHUNK

PIECES, INDIRECT = 0, 1
"""The kinds of recipes that are piece lists; `expression` has the others."""

PIECE = struct.Struct("<32sQ")
HOLE = ChunkId(bytes(32))
INLINE_LIMIT = 128 * PIECE.size
SPILL_AT = 1024 * 1024
MAX_DEPTH = 8
EXPECTED = 8192
"""A database of 128 MiB in blocks of 16 KiB."""
MAX_RECIPE = 16 * 1024 * 1024

_decoder = msgspec.msgpack.Decoder(list[object])


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A run of bytes: a chunk, or a hole (zeros that are not stored)."""

    chunk: ChunkId
    length: int

    @property
    def is_hole(self) -> bool:
        return self.chunk == HOLE


class ChunkReader(Protocol):
    """What reading recipes needs of a repository."""

    def read_chunk(self, chunk: ChunkId) -> bytes: ...


@runtime_checkable
class Expecting(Protocol):
    """A reader that reads better if it knows what comes next."""

    def expect(self, chunks: Sequence[ChunkId]) -> None: ...


class AddChunk(Protocol):
    """Stores a chunk and returns its id; `bases` are stored chunks that it probably resembles; see `Writer.add`."""

    def __call__(self, data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId: ...


class Resembled(Protocol):
    """What tells the bases of a new chunk; see `Ancestor`."""

    def bases(self, offset: int, length: int) -> list[ChunkId]: ...

    def met(self, chunk: ChunkId, offset: int) -> None: ...


class PieceWriter:
    """Takes pieces one by one and returns the recipe; spills long lists into chunks, level by level."""

    def __init__(self, add: AddChunk, chunker: Chunker, depth: int = 0, ancestor: Resembled | None = None) -> None:
        """Args:
        ancestor: the list of the previous version.
        """
        self._add, self._chunker, self._depth, self._ancestor = add, chunker, depth, ancestor
        self._spilled = 0
        self._buffer = bytearray()
        self._above: PieceWriter | None = None

    def append(self, chunk: ChunkId, length: int) -> None:
        self._buffer += PIECE.pack(chunk, length)
        if len(self._buffer) >= SPILL_AT:
            self._spill(final=False)

    def finish(self) -> bytes:
        """Return the encoded recipe."""
        if self._above is None and len(self._buffer) <= INLINE_LIMIT:
            body = bytes(self._buffer)
            return encoding.encode([PIECES, body] if self._depth == 0 else [INDIRECT, self._depth, body])
        above = self._spill(final=True)
        return above.finish()

    def _spill(self, final: bool) -> PieceWriter:
        if self._above is None:
            self._above = PieceWriter(self._add, self._chunker, self._depth + 1)
        start = 0
        view = bytes(self._buffer)
        for end in self._chunker.cuts(view, final):
            length = end - start
            bases = None if self._ancestor is None else self._ancestor.bases(self._spilled, length)
            chunk = self._add(view[start:end], bases)
            if self._ancestor is not None:
                self._ancestor.met(chunk, self._spilled)
            self._above.append(chunk, length)
            self._spilled += length
            start = end
        del self._buffer[:start]
        return self._above


def one_piece(chunk: ChunkId, length: int) -> bytes:
    """Return the encoded recipe of one chunk, as a `PieceWriter` gives it."""
    return encoding.encode([PIECES, PIECE.pack(chunk, length)])


Recipe = list[object]
"""A decoded recipe: its kind, then what the kind has."""


def decode(recipe: bytes, name: str) -> Recipe:
    """Decode a recipe.

    Raises:
        Unsupported: it is none that this version knows.
    """
    if len(recipe) > MAX_RECIPE:
        raise Unsupported(name, "has a recipe longer than the format allows")
    value = encoding.decode(_decoder, recipe, name)
    if not value or not isinstance(value[0], int):
        raise Unsupported(name, "has a recipe that this version of Keepstone does not know")
    return value


def is_list(recipe: Recipe) -> bool:
    """Return whether a recipe is a piece list, short or long, and no other expression."""
    return recipe[0] in (PIECES, INDIRECT)


def pieces(recipe: bytes | Recipe, reader: ChunkReader, name: str, size: int | None = None) -> Iterator[Piece]:
    """Yield the pieces of a piece list, in order.

    Args:
        size: how many bytes they are, if that is known. More are refused when they are met and not at the end: lists
            of lists may, if somebody means harm, have no end that is ever reached.

    Raises:
        Unsupported: it is another expression, or its pieces are too long.
        Damaged: a chunk of a long recipe is missing or damaged.
    """
    found = 0
    for piece in _pieces(decode(recipe, name) if isinstance(recipe, bytes) else recipe, reader, name):
        found += piece.length
        if size is not None and found > size:
            raise Unsupported(name, "has a recipe whose lengths do not fit the file")
        yield piece


def _pieces(recipe: Recipe, reader: ChunkReader, name: str) -> Iterator[Piece]:
    kind, rest = recipe[0], recipe[1:]
    if kind == PIECES:
        yield from short_pieces(recipe, name)
    elif kind == INDIRECT and len(rest) == 2 and isinstance(rest[0], int) and isinstance(rest[1], bytes):
        if not 1 <= rest[0] <= MAX_DEPTH:
            raise Unsupported(name, f"has a recipe of depth {rest[0]}, more than the format allows")
        yield from _indirect(rest[0], iter([rest[1]]), reader, name)
    else:
        raise Unsupported(name, f"has a recipe of kind {kind}, which this version of Keepstone does not know")


def short_pieces(recipe: Recipe, name: str) -> Iterator[Piece]:
    """Return the pieces of a short list; no chunk has to be read for them. Errors as `pieces`."""
    if len(recipe) != 2 or recipe[0] != PIECES or not isinstance(recipe[1], bytes):
        raise Unsupported(name, f"has a recipe of kind {recipe[0]}, which this version of Keepstone does not know")
    return _unpack(recipe[1], name)


def few_pieces(recipe: bytes, name: str, size: int) -> list[Piece] | None:
    """Return the pieces of a recipe if it is a short list, else None. Errors as `pieces`."""
    value = decode(recipe, name) if recipe else [PIECES, b""]
    if value[0] != PIECES:
        return None
    found = list(short_pieces(value, name))
    if sum(piece.length for piece in found) > size:
        raise Unsupported(name, "has a recipe whose lengths do not fit the file")
    return found


def list_pieces(recipe: Recipe, name: str) -> Iterator[Piece]:
    """Yield the pieces that a long recipe's list is stored as; none for a short one, or one that is longer still."""
    if recipe[0] == INDIRECT and len(recipe) == 3 and recipe[1] == 1 and isinstance(recipe[2], bytes):
        yield from _unpack(recipe[2], name)


def chunks_of_list(recipe: Recipe, reader: ChunkReader, name: str, size: int | None = None) -> Iterator[ChunkId]:
    """Yield every chunk a piece list needs: of its data, and of its own lists. Arguments and errors as `pieces`."""
    lists = _Noting(reader)
    for piece in pieces(recipe, lists, name, size):
        yield from lists.take()
        if not piece.is_hole:
            yield piece.chunk
    yield from lists.take()


class _Noting:
    """Reads chunks, and notes which."""

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._read: list[ChunkId] = []

    def read_chunk(self, chunk: ChunkId) -> bytes:
        self._read.append(chunk)
        return self._reader.read_chunk(chunk)

    def take(self) -> list[ChunkId]:
        read, self._read = self._read, []
        return read


def expected(found: Iterator[Piece], reader: ChunkReader) -> Iterator[Piece]:
    """Yield the same pieces, having told the reader of some thousands ahead."""
    while ahead := list(islice(found, EXPECTED)):
        if len(ahead) > 1 and isinstance(reader, Expecting):  # In this order: to ask a type what it has is slow.
            reader.expect([piece.chunk for piece in ahead if not piece.is_hole])
        yield from ahead


def read_list(recipe: bytes | Recipe, reader: ChunkReader, name: str) -> Iterator[bytes]:
    """Yield the bytes of a piece list, chunk by chunk; holes as zeros."""
    recipe = decode(recipe, name) if isinstance(recipe, bytes) else recipe
    listed = recipe[1] if len(recipe) == 2 else None
    if recipe[0] == PIECES and isinstance(listed, bytes) and len(listed) == PIECE.size:
        found = _unpack(listed, name)  # Of one piece, as very many are: there is nothing ahead to tell of.
    else:
        found = expected(pieces(recipe, reader, name), reader)
    for piece in found:
        if piece.is_hole:
            left = piece.length
            while left:
                step = min(left, 1024 * 1024)
                yield bytes(step)
                left -= step
        else:
            data = reader.read_chunk(piece.chunk)
            if len(data) != piece.length:
                raise Unsupported(name, "has a recipe whose lengths do not fit its chunks")
            yield data


def _indirect(depth: int, bodies: Iterator[bytes], reader: ChunkReader, name: str) -> Iterator[Piece]:
    if depth == 0:
        for body in bodies:
            yield from _unpack(body, name)
        return
    below = (reader.read_chunk(piece.chunk) for body in bodies for piece in _unpack(body, name))
    yield from _indirect(depth - 1, _whole_pieces(below, name), reader, name)


def _whole_pieces(bodies: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Regroup a byte stream so that every part holds whole pieces (cuts fall anywhere)."""
    rest = b""
    for body in bodies:
        rest += body
        whole = len(rest) - len(rest) % PIECE.size
        yield rest[:whole]
        rest = rest[whole:]
    if rest:
        raise Unsupported(name, "has a recipe that is cut off")


def _unpack(body: bytes, name: str) -> Iterator[Piece]:
    if len(body) % PIECE.size:
        raise Unsupported(name, "has a recipe that is cut off")
    for chunk, length in PIECE.iter_unpack(body):
        if not length or (length > MAX_CHUNK and chunk != HOLE):
            raise Unsupported(name, f"has a recipe with a piece of {length} bytes, which the format does not allow")
        yield Piece(ChunkId(chunk), length)
