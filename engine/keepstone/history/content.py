"""A file's bytes into chunks: choose a profile by what the content is, cut, and write the recipe.

The profile follows the content (small chunks for text, large ones for media, blocks of whole pages for databases),
decided by the first bytes alone, so that a file that grows keeps its cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from keepstone.chunking import AnySecrets, Chunker, Parameters
from keepstone.history.recipe import HOLE, AddChunk, PieceWriter, one_piece
from keepstone.ids import Buffer

if TYPE_CHECKING:
    from keepstone.containers import Leaf, Node
    from keepstone.history.ancestor import Ancestor

BUFFER = 8 * 1024 * 1024

TEXT_MEAN, GENERAL_MEAN, MEDIA_MEAN = 8 * 1024, 64 * 1024, 1024 * 1024
DATABASE_BLOCK = 16 * 1024
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


class Cutter(Protocol):
    """Decides where chunks end; see `Chunker.cuts`."""

    def cuts(self, buffer: Buffer, final: bool) -> list[int]: ...


class BlockCutter:
    """Cuts at multiples of a block's length, as databases change in place and by whole pages."""

    def __init__(self, block: int) -> None:
        self._block = block

    def cuts(self, buffer: Buffer, final: bool) -> list[int]:
        length = len(memoryview(buffer))
        ends = list(range(self._block, length + 1, self._block))
        if final and length % self._block:
            ends.append(length)
        return ends


def block_for(head: bytes) -> int | None:
    """Return the block length for content that begins like this; None if it is no SQLite database.

    Source: https://www.sqlite.org/fileformat2.html, section 1.3: the page size stands at offset 16, big-endian; 1 is
    65536.
    """
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    if not head.startswith(_DATABASE) or page < 512 or page & (page - 1):
        return None
    return max(page, DATABASE_BLOCK)


def mean_for(head: bytes) -> int:
    """Return the mean chunk size for content that begins like this."""
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
        ancestor: Ancestor | None = None,
        at: int = 0,
    ) -> tuple[bytes, int]:
        """Read a stream to its end and return its recipe and its length.

        Args:
            extents: (offset, length) of the data of a sparse file; what lies between is a hole. Needs `seek`.
            end: length of a sparse file.
            size: read this many bytes and not to the end.
            progress: is told how many bytes were read.
            ancestor: the previous version.
            at: where the stream begins in what the previous version is compared with.
        """
        if ancestor is None and extents is None and size is not None and size <= ONE_CHUNK:
            return self._write_small(reader, size, progress)
        of_list = None if ancestor is None else ancestor.of_list
        pieces = PieceWriter(self._add_tree, self.tree_chunker, ancestor=of_list)
        if extents is None or seek is None:
            total = self._extent(reader, pieces, size, progress, ancestor, at)
        else:
            total = 0
            for offset, length in extents:
                if offset > total:
                    pieces.append(HOLE, offset - total)
                seek(offset)
                read = self._extent(reader, pieces, length, progress, ancestor, offset)
                total = offset + read
                if read < length:
                    break
            if end is not None and end > total:
                pieces.append(HOLE, end - total)
                total = end
        return (pieces.finish() if total else b""), total

    def write_expression(
        self, node: Node, leaves: Iterator[Leaf], name: str, ancestor: Ancestor | None = None
    ) -> bytes:
        """Store the plaintext of a container and return the recipe that makes the container of it.

        Args:
            node: its proven expression.
        """
        at = 0

        from keepstone.history import expression  # With all that knows containers: most runs meet none.

        def store(leaf: Leaf) -> bytes:
            nonlocal at
            content, size = self.write(leaf.reader(), size=leaf.length, ancestor=ancestor, at=at)
            at += size
            return content

        return expression.write(node, leaves, store, self._add_tree, self.tree_chunker, name)

    def _write_small(self, reader: Reader, size: int, progress: Callable[[int], object] | None) -> tuple[bytes, int]:
        """Store what is one chunk whatever it is: what `_extent` and its `PieceWriter` do, in fewer steps."""
        view = memoryview(self._buffer)
        filled = 0
        while filled < size and (read := reader.readinto(view[filled:size])):
            filled += read
        if progress is not None:
            progress(filled)
        return (self.write_one(view[:filled]) if filled else b""), filled

    def write_one(self, data: Buffer) -> bytes:
        """Store bytes, 1 to `ONE_CHUNK`, and return their recipe."""
        return one_piece(self._add(data), len(data))

    def _extent(
        self,
        reader: Reader,
        pieces: PieceWriter,
        limit: int | None,
        progress: Callable[[int], object] | None,
        ancestor: Ancestor | None,
        offset: int,
    ) -> int:
        # A stream that is itself made by writing with this writer would find its bytes overwritten.
        buffer, self._buffer = self._buffer, bytearray()
        try:
            return self._cut_all(memoryview(buffer), reader, pieces, limit, progress, ancestor, offset)
        finally:
            self._buffer = buffer

    def _cut_all(
        self,
        view: memoryview,
        reader: Reader,
        pieces: PieceWriter,
        limit: int | None,
        progress: Callable[[int], object] | None,
        ancestor: Ancestor | None,
        offset: int,
    ) -> int:
        if not len(view):
            raise AssertionError("a stream writes with the writer that it is written with")
        filled = total = 0
        cutter: Cutter | None = None
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
            if final and cutter is None and filled <= ONE_CHUNK:
                if filled:
                    self._piece(pieces, view[:filled], ancestor, offset)
                return total
            if cutter is None:
                head = bytes(view[: min(filled, _PROBE)])
                cutter = self._cutter(head)
                if mean_for(head) == MEDIA_MEAN:
                    ancestor = None  # What is compressed already does not resemble its older self.
            start = 0
            for end in cutter.cuts(view[:filled], final):
                self._piece(pieces, view[start:end], ancestor, offset + start)
                start = end
            if final:
                return total
            view[: filled - start] = view[start:filled]
            filled -= start
            offset += start

    def _cutter(self, head: bytes) -> Cutter:
        block = block_for(head)
        return self._chunker(mean_for(head)) if block is None else BlockCutter(block)

    def _piece(self, pieces: PieceWriter, data: memoryview, ancestor: Ancestor | None, offset: int) -> None:
        if ancestor is None:
            chunk = self._add(data)
        else:
            chunk = self._add(data, ancestor.bases(offset, len(data)))
            ancestor.met(chunk, offset)
        pieces.append(chunk, len(data))
