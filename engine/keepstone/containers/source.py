"""Where a container's bytes come from, and streams made of pieces.

A `Source` is read at any offset: a file, memory, a part of another source, or the plaintext of a transform, which is
decoded again from its start when somebody goes back further than a small window. Nothing is ever written to disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from keepstone.errors import SourceError

BLOCK = 64 * 1024
WINDOW = 2 * 1024 * 1024
"""How far back the plaintext of a transform can be read without decoding it again."""

Pieces = Iterator[bytes]


class Broken(Exception):
    """A container is not what it looks like, or cannot be reproduced. It never leaves this package's `unwrap`."""


class Source(Protocol):
    """Random access to bytes that do not change meanwhile."""

    @property
    def size(self) -> int: ...

    @property
    def parallel(self) -> bool:
        """Whether several threads may read at once, each at its own place, at no extra cost."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset; fewer only where the source ends."""
        ...


class MemorySource:
    """Bytes in memory."""

    parallel = True

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class FileSource:
    """An open file. It stays the caller's: it is neither closed nor moved.

    Args:
        name: what messages call it.
    """

    parallel = True

    def __init__(self, fd: int, name: str, size: int | None = None) -> None:
        self._fd, self._name = fd, name
        self.size = os.fstat(fd).st_size if size is None else size

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, max(0, min(length, self.size - offset)), offset)
        except OSError as error:
            raise SourceError(f"{self._name} cannot be read ({error.strerror or error}).") from error


class PartSource:
    """A run of another source."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source, self._offset = source, offset
        self.size = length
        self.parallel = source.parallel

    def read_at(self, offset: int, length: int) -> bytes:
        return self._source.read_at(self._offset + offset, max(0, min(length, self.size - offset)))


class StreamSource:
    """The plaintext of a transform: forwards at the cost of decoding, back within the window, else from its start."""

    parallel = False

    def __init__(self, size: int, reopen: Callable[[], Pieces]) -> None:
        self.size = size
        self._reopen = reopen
        self._pieces = reopen()
        self._window = bytearray()
        self._start = 0

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        if offset < self._start:
            self._pieces = self._reopen()
            self._window.clear()
            self._start = 0
        while self._start + len(self._window) < offset + length:
            piece = next(self._pieces, b"")
            if not piece:
                raise Broken("the plaintext ends too soon")
            self._window += piece
            surplus = len(self._window) - WINDOW
            if surplus > WINDOW and self._start + surplus <= offset:
                del self._window[:surplus]
                self._start += surplus
        at = offset - self._start
        return bytes(self._window[at : at + length])


def pieces_of(source: Source, offset: int, length: int) -> Pieces:
    """Yield a run of a source, block by block.

    Raises:
        Broken: the source ends before the run does.
    """
    end = offset + length
    while offset < end:
        piece = source.read_at(offset, min(BLOCK, end - offset))
        if not piece:
            raise Broken("the file ends too soon")
        yield piece
        offset += len(piece)


class Tape:
    """A stream that is read once, front to back, in runs of any length."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self.position = 0

    def next(self, limit: int) -> bytes:
        """Return at least one byte and at most `limit`; nothing at the end."""
        while self._at == len(self._piece):
            found = next(self._pieces, None)
            if found is None:
                return b""
            self._piece, self._at = found, 0
        part = self._piece[self._at : self._at + limit]
        self._at += len(part)
        self.position += len(part)
        return part

    def read(self, length: int) -> bytes:
        """Return this many bytes, or fewer at the end. For short runs only."""
        at = self._at
        if length <= len(self._piece) - at:
            self._at += length
            self.position += length
            return self._piece[at : at + length]
        parts = []
        while length and (part := self.next(length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def exactly(self, length: int) -> bytes:
        """Return this many bytes.

        Raises:
            Broken: the stream ends before.
        """
        data = self.read(length)
        if len(data) < length:
            raise Broken("the stream ends too soon")
        return data

    def take(self, length: int) -> Pieces:
        """Yield the next bytes, piece by piece.

        Raises:
            Broken: the stream ends before.
        """
        while length:
            part = self.next(length)
            if not part:
                raise Broken("the stream ends too soon")
            length -= len(part)
            yield part

    def rest(self) -> Pieces:
        """Yield everything that is left."""
        while part := self.next(BLOCK * 16):
            yield part


WAITING = 64
"""Pieces that are made ahead: twice what the encoder's threads take at once, so that they seldom wait."""


def ahead(pieces: Pieces) -> Generator[bytes, None, None]:
    """Yield the same pieces, made in a thread of their own while the caller works on those before.

    The thread ends with the generator: exhaust it, close it or drop it. What the pieces raise is raised here.
    """
    line: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING)
    stopped = threading.Event()

    def make() -> None:
        last: BaseException | None = None
        try:
            for piece in pieces:
                if stopped.is_set():
                    return
                line.put(piece)
        except BaseException as error:
            last = error
        line.put(last)

    thread = threading.Thread(target=make, name="containers-ahead", daemon=True)
    thread.start()
    try:
        while isinstance(found := line.get(), bytes):
            yield found
        if found is not None:
            raise found
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                line.get_nowait()
            except queue.Empty:
                thread.join(0.01)


class PieceReader:
    """Pieces as a stream with `readinto`."""

    def __init__(self, pieces: Pieces) -> None:
        self._tape = Tape(pieces)

    def readinto(self, buffer: memoryview) -> int:
        part = self._tape.next(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def regroup(pieces: Pieces, size: int) -> Pieces:
    """Yield the same bytes in pieces of exactly `size`; the last one is what is left."""
    buffer = bytearray()
    for piece in pieces:
        if not buffer and len(piece) == size:
            yield piece
            continue
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)
