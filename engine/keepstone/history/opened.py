"""A stored file to read from, anywhere in it, and what is inside a container without making the container again.

A piece list is read at any offset, chunk by chunk. So is what joins lists and base64 of lists, as a dump of messages
with photos does: each part is found by its length. Another expression is a stream that is made from its start; reading
on is cheap, going back begins again.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import BinaryIO, cast

from keepstone import encoding
from keepstone.containers import Keys
from keepstone.errors import Unsupported
from keepstone.history import expression
from keepstone.history.recipe import HOLE, PIECE, ChunkReader, Recipe, decode, is_list, pieces
from keepstone.ids import ChunkId

_BUFFER = 128 * 1024
_ID = len(HOLE)


def open_recipe(recipe: bytes, size: int, reader: ChunkReader, name: str, keys: Keys) -> BinaryIO:
    """Return a file of any recipe, at its start.

    Args:
        size: its length.
        name: what errors call it.

    Raises:
        Unsupported: the recipe is of a newer version, or does not give `size` bytes. Reading raises it too, and
            `Damaged` and `ContainerKeyMissing` as `expression.read` does.
    """
    return opener(recipe, size, reader, name, keys)()


def opener(recipe: bytes, size: int, reader: ChunkReader, name: str, keys: Keys) -> Callable[[], BinaryIO]:
    """Return what opens a file of any recipe, again and again; what it is made of is looked at once."""
    if not recipe:
        return io.BytesIO
    decoded = decode(recipe, name)
    if is_list(decoded):
        return lambda: _buffered(_Pieces(decoded, size, reader, name))
    parts = _parts_of(expression.outermost(recipe, reader, name), size, reader, name)
    if parts:
        ends = array("Q", accumulate(part.length for part in parts))
        return lambda: _buffered(_Joined(parts, ends, size, reader, name, keys))
    return lambda: _buffered(_Stream(recipe, size, reader, name, keys))


def _buffered(raw: _Seekable) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))


class _Seekable(io.RawIOBase):
    """A file of known length whose subclasses say what stands at an offset."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("A file has nothing before its start.")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._some(wanted)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _some(self, wanted: int) -> bytes | memoryview:
        """Return at least one byte and at most `wanted` from the current offset, which is inside the file."""
        raise NotImplementedError


class _Pieces(_Seekable):
    """A piece list. It remembers 40 bytes a chunk, and the last chunk read."""

    def __init__(self, recipe: Recipe, size: int, reader: ChunkReader, name: str) -> None:
        super().__init__(size)
        self._reader, self._name = reader, name
        self._ends = array("Q")
        self._ids = bytearray()
        end = 0
        for piece in pieces(recipe, reader, name, size):
            end += piece.length
            self._ends.append(end)
            self._ids += piece.chunk
        if end != size:
            raise Unsupported(name, "has a recipe whose lengths do not fit the file")
        self._last = -1
        self._data = b""

    def _some(self, wanted: int) -> bytes | memoryview:
        number = bisect_right(self._ends, self._at)
        end = self._ends[number]
        start = self._ends[number - 1] if number else 0
        chunk = ChunkId(bytes(self._ids[number * _ID : (number + 1) * _ID]))
        if chunk == HOLE:
            return bytes(min(wanted, end - self._at))
        if number != self._last:
            self._data = self._reader.read_chunk(chunk)
            self._last = number
            if len(self._data) != end - start:
                raise Unsupported(self._name, "has a recipe whose lengths do not fit its chunks")
        return memoryview(self._data)[self._at - start : self._at - start + wanted]


@dataclass(frozen=True, slots=True)
class _Part:
    recipe: Recipe
    length: int
    is_base64: bool = False


def _parts_of(node: Recipe, size: int, reader: ChunkReader, name: str) -> list[_Part]:
    """Return what an expression joins, if each part tells its length; else nothing."""
    found: list[_Part] = []
    for part in expression.parts(node) if node[0] == expression.CONCAT else ():
        inner = expression.inside_base64(part, name)
        if is_list(part):
            found.append(_Part(part, _length(part, reader, name)))
        elif part[0] == expression.LITERAL:
            found.append(_Part(part, len(expression.literal(part, name))))
        elif inner is not None and is_list(inner):
            found.append(_Part(part, (_length(inner, reader, name) + 2) // 3 * 4, is_base64=True))
        else:
            return []
    return found if sum(part.length for part in found) == size else []


def _length(recipe: Recipe, reader: ChunkReader, name: str) -> int:
    return sum(piece.length for piece in pieces(recipe, reader, name))


class _Joined(_Seekable):
    """Several parts, each with where it ends. The one being read is held open."""

    def __init__(
        self, parts: list[_Part], ends: array[int], size: int, reader: ChunkReader, name: str, keys: Keys
    ) -> None:
        super().__init__(size)
        self._parts, self._ends, self._reader, self._name, self._keys = parts, ends, reader, name, keys
        self._number = -1
        self._file: io.RawIOBase = io.RawIOBase()

    def _some(self, wanted: int) -> bytes | memoryview:
        number = bisect_right(self._ends, self._at)
        start = self._ends[number - 1] if number else 0
        if number != self._number:
            self._number, self._file = number, self._opened(self._parts[number])
        self._file.seek(self._at - start)
        data = bytearray(min(wanted, self._ends[number] - self._at))
        read = self._file.readinto(data)
        if not read:
            raise Unsupported(self._name, "has a recipe whose lengths do not fit the file")
        return memoryview(data)[:read]

    def _opened(self, part: _Part) -> _Seekable:
        if is_list(part.recipe):
            return _Pieces(part.recipe, part.length, self._reader, self._name)
        return _Stream(encoding.encode(part.recipe), part.length, self._reader, self._name, self._keys)


class _Stream(_Seekable):
    """Any other expression."""

    def __init__(self, recipe: bytes, size: int, reader: ChunkReader, name: str, keys: Keys) -> None:
        super().__init__(size)
        self._again: Callable[[], Iterator[bytes]] = partial(expression.read, recipe, reader, name, keys)
        self._name = name
        self._bytes = self._again()
        self._start = 0
        self._data = b""

    def _some(self, wanted: int) -> bytes | memoryview:
        if self._at < self._start:
            self._bytes, self._start, self._data = self._again(), 0, b""
        while self._start + len(self._data) <= self._at:
            self._start += len(self._data)
            found = next(self._bytes, None)
            if found is None:
                raise Unsupported(self._name, "has a recipe whose lengths do not fit the file")
            self._data = found
        at = self._at - self._start
        return memoryview(self._data)[at : at + wanted]


def plaintext(recipe: bytes, reader: ChunkReader, name: str) -> tuple[bytes, int] | None:
    """Return the recipe and the length of the one stream that a container hides, without its key: it is stored plain.

    That is so for encrypted chat backups and compressed files. None for what is no container, for one of many members,
    and for one whose content is made of parts that are not plain (a dump with photos in it is read as a file).

    Raises:
        Unsupported, Damaged: as `expression.leaves`.
    """
    found = expression.innermost(recipe, reader, name)
    if found is None:
        return None
    recipe = encoding.encode(found)
    return recipe, sum(piece.length for piece in expression.all_pieces(recipe, reader, name))


assert PIECE.size == _ID + 8
