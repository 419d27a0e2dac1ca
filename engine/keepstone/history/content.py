"""A file's bytes into chunks: choose a profile by what the content is, cut, and write the recipe.

The mean chunk size follows the content (small for text and databases, large for media), decided by the first bytes
alone, so that a file that grows keeps its cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from keepstone.chunking import AnySecrets, Chunker, Parameters
from keepstone.history.recipe import HOLE, AddChunk, PieceWriter

BUFFER = 8 * 1024 * 1024

TEXT_MEAN, DATABASE_MEAN, GENERAL_MEAN, MEDIA_MEAN = 8 * 1024, 16 * 1024, 64 * 1024, 1024 * 1024
TREE_MEAN = 16 * 1024
ONE_CHUNK = TEXT_MEAN // 4
"""Content up to the smallest minimum is one chunk, whatever its kind."""

_DATABASE = b"SQLite format 3\0"
_MEDIA = (
    b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF", b"OggS", b"ID3", b"fLaC", b"\x1aE\xdf\xa3", b"PK\x03\x04",
    b"\x1f\x8b", b"7z\xbc\xaf", b"(\xb5/\xfd", b"BZh", b"\xfd7zXZ", b"Rar!",
)  # fmt: skip
"""First bytes of formats that are compressed already: JPEG, PNG, GIF, RIFF, Ogg, MP3, FLAC, Matroska, zip, ..."""
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\n\r\f\b\x1b") | frozenset(range(0x80, 0x100))
_NOT_TEXT = bytes(set(range(256)) - _TEXT)
_PROBE = 4096


class Reader(Protocol):
    """A stream of bytes."""

    def readinto(self, buffer: memoryview) -> int: ...


def mean_for(head: bytes) -> int:
    """Return the mean chunk size for content that begins like this."""
    if head.startswith(_DATABASE):
        return DATABASE_MEAN
    if head.startswith(_MEDIA) or head[4:8] == b"ftyp":
        return MEDIA_MEAN
    probe = head[:_PROBE]
    if probe and len(probe.translate(None, _NOT_TEXT)) == len(probe) and _is_utf8(probe):
        return TEXT_MEAN
    return GENERAL_MEAN


def _is_utf8(probe: bytes) -> bool:
    try:
        probe.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(probe) - 4
    return True


class ContentWriter:
    """Turns streams into recipes. One per backup: it owns the buffer and the chunkers."""

    def __init__(self, add: AddChunk, add_tree: AddChunk, secrets: AnySecrets) -> None:
        self._add, self._add_tree, self._secrets = add, add_tree, secrets
        self._chunkers: dict[int, Chunker] = {}
        self._buffer = bytearray(BUFFER)

    @property
    def tree_chunker(self) -> Chunker:
        return self._chunker(TREE_MEAN)

    def _chunker(self, mean: int) -> Chunker:
        found = self._chunkers.get(mean)
        if found is None:
            found = self._chunkers[mean] = Chunker(self._secrets, Parameters.for_mean(mean))
        return found

    def write(
        self,
        reader: Reader,
        extents: Iterable[tuple[int, int]] | None = None,
        seek: Callable[[int], object] | None = None,
        end: int | None = None,
        size: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[bytes, int]:
        """Read a stream to its end and return its recipe and its length.

        Args:
            extents: (offset, length) of the data of a sparse file; what lies between is a hole. Needs `seek`.
            end: length of a sparse file.
            size: read this many bytes and not to the end.
            progress: is told how many bytes were read.
        """
        pieces = PieceWriter(self._add_tree, self.tree_chunker)
        if extents is None or seek is None:
            total = self._extent(reader, pieces, size, progress)
        else:
            total = 0
            for offset, length in extents:
                if offset > total:
                    pieces.append(HOLE, offset - total)
                seek(offset)
                read = self._extent(reader, pieces, length, progress)
                total = offset + read
                if read < length:
                    break
            if end is not None and end > total:
                pieces.append(HOLE, end - total)
                total = end
        return (pieces.finish() if total else b""), total

    def _extent(
        self, reader: Reader, pieces: PieceWriter, limit: int | None, progress: Callable[[int], object] | None
    ) -> int:
        view = memoryview(self._buffer)
        filled = total = 0
        chunker: Chunker | None = None
        while True:
            room = len(view) if limit is None else min(len(view), filled + limit - total)
            final = False
            while filled < room:
                read = reader.readinto(view[filled:room])
                if not read:
                    final = True
                    break
                filled += read
                total += read
                if progress is not None:
                    progress(read)
            final = final or total == limit
            if final and chunker is None and filled <= ONE_CHUNK:
                if filled:
                    pieces.append(self._add(view[:filled]), filled)
                return total
            if chunker is None:
                chunker = self._chunker(mean_for(bytes(view[: min(filled, _PROBE)])))
            start = 0
            for end in chunker.cuts(view[:filled], final):
                pieces.append(self._add(view[start:end]), end - start)
                start = end
            if final:
                return total
            view[: filled - start] = view[start:filled]
            filled -= start
