"""A stored file to read from, anywhere in it, and what is inside a container without making the container again.

A piece list is read at any offset, chunk by chunk. Where an expression joins parts, as a dump of messages with photos
or an archive does, each part is found by its length. A part that is compressed, or a whole file that is, is a stream
that is made from its start; reading on is cheap, going back begins it again.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
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
    outermost = expression.outermost(recipe, reader, name)
    if outermost[0] == expression.CONCAT:
        layout = _Layout(expression.parts(outermost), size, reader, name)
        return lambda: _buffered(_Joined(layout, size, reader, name, keys))
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


class _Layout:
    """Where the parts that an expression joins begin and end, as far as it is known.

    Lists, and base64 of lists, tell their length. That of what is compressed is known once it was read; but what
    stands behind the last of these, as the directory of an archive does, is found from the end.
    """

    def __init__(self, parts: list[Recipe], size: int, reader: ChunkReader, name: str) -> None:
        self.parts, self._name = parts, name
        self._lengths = [_length(part, reader, name) for part in parts]
        self._ends = array("Q")
        self._tail = next((at + 1 for at in reversed(range(len(parts))) if self._lengths[at] < 0), 0)
        """The first of the parts that are found from the end."""
        self._tail_start = size - sum(self._lengths[self._tail :])
        self._tail_ends = array("Q", accumulate(self._lengths[self._tail :], initial=max(self._tail_start, 0)))[1:]
        if self._tail_start < 0 or (self._tail == 0 and self._tail_start):
            raise self.unfit()
        self.inner: dict[int, Callable[[], BinaryIO]] = {}
        """What opens the content of parts that were opened without their compression."""
        self._extend()

    def unfit(self) -> Unsupported:
        return Unsupported(self._name, "has a recipe whose lengths do not fit the file")

    def find(self, at: int) -> tuple[int, int, int] | None:
        """Return the number, start and end of the part at an offset; None if it is beyond what is known."""
        if at >= self._tail_start:
            number = bisect_right(self._tail_ends, at)
            start = self._tail_ends[number - 1] if number else self._tail_start
            return self._tail + number, start, self._tail_ends[number]
        number = bisect_right(self._ends, at)
        if number == len(self._ends):
            return None
        return number, self._ends[number - 1] if number else 0, self._ends[number]

    @property
    def next(self) -> tuple[int, int]:
        """The number and the start of the first part whose end is not known."""
        return len(self._ends), self._ends[-1] if self._ends else 0

    def learn(self, length: int) -> None:
        """Note the length of that part."""
        number, start = self.next
        self._ends.append(start + length)
        self._lengths[number] = length
        self._extend()

    def _extend(self) -> None:
        number, start = self.next
        while number < self._tail:
            length = self._lengths[number]
            if length < 0 and number == self._tail - 1:
                length = self._tail_start - start
            if length < 0:
                break
            self._ends.append(start + length)
            number, start = self.next
        if start > self._tail_start or (number == self._tail and start != self._tail_start):
            raise self.unfit()


def _length(part: Recipe, reader: ChunkReader, name: str) -> int:
    """Return the length of what a part stands for; -1 if only reading it tells."""
    if part[0] == expression.LITERAL:
        return len(expression.literal(part, name))
    inner = part if is_list(part) else expression.inside_base64(part, name)
    if inner is None or not is_list(inner):
        return -1
    size = sum(piece.length for piece in pieces(inner, reader, name))
    return size if inner is part else (size + 2) // 3 * 4


class _Joined(_Seekable):
    """Several parts. The one being read is held open."""

    def __init__(self, layout: _Layout, size: int, reader: ChunkReader, name: str, keys: Keys) -> None:
        super().__init__(size)
        self._layout, self._reader, self._name, self._keys = layout, reader, name, keys
        self._number = -1
        self._part: _Seekable | _Unmeasured = _Unmeasured(lambda: iter(()))

    def _some(self, wanted: int) -> bytes | memoryview:
        while (found := self._layout.find(self._at)) is None:
            number, start = self._layout.next
            if self._number != number or not isinstance(self._part, _Unmeasured):
                recipe = encoding.encode(self._layout.parts[number])
                self._number = number
                self._part = _Unmeasured(partial(expression.read, recipe, self._reader, self._name, self._keys))
            data = self._part.at(self._at - start)
            if data:
                return data[:wanted]
            self._layout.learn(self._part.length)
        number, start, end = found
        if self._number != number or isinstance(self._part, _Unmeasured):
            self._number, self._part = number, self._opened(self._layout.parts[number], end - start)
        self._part.seek(self._at - start)
        buffer = bytearray(min(wanted, end - self._at))
        read = self._part.readinto(buffer)
        if not read:
            raise self._layout.unfit()
        return memoryview(buffer)[:read]

    def inside(self, at: int, size: int) -> BinaryIO | None:
        """Return what is compressed in the stream that begins at an offset, and has a size; None if none begins there.

        Nothing is compressed for it, and it is read at any offset.
        """
        known = self._layout.find(at)
        number, start = known[:2] if known else self._layout.next
        if start != at:
            return None
        if number not in self._layout.inner:
            inner = expression.inside_deflate(self._layout.parts[number], self._name)
            if inner is None:
                return None
            recipe = encoding.encode(inner)
            try:
                self._layout.inner[number] = opener(recipe, size, self._reader, self._name, self._keys)
            except Unsupported:
                return None  # It is of another size.
        return self._layout.inner[number]()

    def _opened(self, part: Recipe, length: int) -> _Seekable:
        if is_list(part):
            return _Pieces(part, length, self._reader, self._name)
        return _Stream(encoding.encode(part), length, self._reader, self._name, self._keys)


class _Unmeasured:
    """A stream whose length nobody knows yet."""

    def __init__(self, again: Callable[[], Iterator[bytes]]) -> None:
        self._again, self._bytes = again, again()
        self.length = 0
        """How much of it was gone through."""
        self._data = b""

    def at(self, offset: int) -> memoryview:
        """Return some of what stands from an offset on; nothing at its end."""
        if offset < self.length:
            self._bytes, self.length, self._data = self._again(), 0, b""
        while self.length + len(self._data) <= offset:
            self.length += len(self._data)
            found = next(self._bytes, None)
            self._data = b"" if found is None else found
            if found is None:
                return memoryview(b"")
        return memoryview(self._data)[offset - self.length :]


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
