"""Directories: what a pack says of its frames and chunks. It is sealed in the pack, and copied to index objects.

It is a good part of what a small night stores, so it is written in columns and compressed. Chunks that others stand on
are named by stems: who reads one checks its whole id.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from keepstone import compression, encoding, sealing
from keepstone.errors import Unsupported
from keepstone.ids import ID_LENGTH, STEM_LENGTH, ChunkStem
from keepstone.repo import format as layout

RAW, ZSTD, DELTA, BARE, JOINED = range(5)
"""Frame methods: bytes as they are; one zstd frame; one zstd frame with the base chunks as its prefix; the same without
the four bytes by which such a frame is known; and such a one that is sealed together with the frame after it."""

_LENGTH = struct.Struct("<I")


class FrameRow(encoding.Row):
    """A frame's line in the directory."""

    method: int
    stored: int
    ids: bytes
    lengths: bytes
    bases: bytes

    @property
    def delta(self) -> bool:
        """Whether it stands on other chunks."""
        return self.method in (DELTA, BARE, JOINED)

    @property
    def tag(self) -> int:
        """How many of the stored bytes are a seal."""
        return 0 if self.method == JOINED else sealing.TAG_LENGTH


class FirstDirectory(encoding.Row):
    """A directory as the first packs have it. It is read, and no longer written: its frames name bases by whole ids."""

    version: int
    frames: list[FrameRow]
    padding: bytes


class DirectoryRecord(encoding.Row):
    """A directory."""

    version: int
    padding: bytes
    """Bytes between the last frame and the directory, tag included: always four, so that a directory's size is known
    before its pack's."""
    length: int
    """Of the columns."""
    columns: bytes
    """Compressed, if that makes them smaller."""
    ids: bytes
    """Chunk ids, 32 bytes each."""


class Columns(encoding.Row):
    """What a directory says of frames and chunks. Numbers are u32: all lowest bytes, then all second ones, ..."""

    methods: bytes
    stored: bytes
    chunks: bytes
    """How many each frame has."""
    lengths: bytes
    bases: bytes
    """How many each frame has."""
    stems: bytes
    """Of the bases, 16 bytes each."""


_first_decoder = msgspec.msgpack.Decoder(FirstDirectory)
_decoder = msgspec.msgpack.Decoder(DirectoryRecord)
_columns_decoder = msgspec.msgpack.Decoder(Columns)
_VERSION = 2
_FIRST = b"\x93\x01"
"""How those begin: an array of three, and their version."""
_LEVEL = 19


def record(rows: Sequence[FrameRow]) -> DirectoryRecord:
    """Return the directory of frames, with a padding of no bytes."""
    columns = encoding.encode(
        Columns(
            bytes(row.method for row in rows),
            _planes([row.stored for row in rows]),
            _planes([len(row.ids) // ID_LENGTH for row in rows]),
            _planes([length for row in rows for length in frame_lengths(row)]),
            _planes([len(row.bases) // STEM_LENGTH for row in rows]),
            b"".join(row.bases for row in rows),
        )
    )
    packed = compression.compress(columns, _LEVEL) or columns
    return DirectoryRecord(_VERSION, bytes(4), len(columns), packed, b"".join(row.ids for row in rows))


def encode(found: DirectoryRecord, padding: int) -> bytes:
    """Return the bytes of a directory before they are sealed: as many, whatever the padding is."""
    found.padding = _LENGTH.pack(padding)
    return encoding.encode(found)


def _planes(numbers: Sequence[int]) -> bytes:
    data = struct.pack(f"<{len(numbers)}I", *numbers)
    return b"".join(data[byte::4] for byte in range(4))


def _numbers(planes: bytes, count: int, name: str) -> tuple[int, ...]:
    if len(planes) != 4 * count:
        raise Unsupported(name, "has a directory whose columns do not fit each other")
    data = bytearray(len(planes))
    for byte in range(4):
        data[byte::4] = planes[byte * count : (byte + 1) * count]
    return struct.unpack(f"<{count}I", data)


def _unpacked(found: DirectoryRecord, name: str) -> list[FrameRow]:
    """Return the frames of a directory."""
    if found.version != _VERSION:
        raise Unsupported(name, "has a directory that this version of Keepstone cannot read")
    if not 0 <= found.length <= layout.MAX_DIRECTORY:
        raise Unsupported(name, f"states a directory of {found.length} bytes")
    packed = found.columns
    if len(packed) != found.length:
        packed = compression.decompress(packed, found.length, name)
    columns = encoding.decode(_columns_decoder, packed, name)
    frames = len(columns.methods)
    if frames > layout.MAX_FRAMES:
        raise Unsupported(name, f"states {frames} frames")
    chunks, bases = (_numbers(column, frames, name) for column in (columns.chunks, columns.bases))
    lengths = struct.pack(f"<{sum(chunks)}I", *_numbers(columns.lengths, sum(chunks), name))
    if len(found.ids) != sum(chunks) * ID_LENGTH or len(columns.stems) != sum(bases) * STEM_LENGTH:
        raise Unsupported(name, "has a directory whose columns do not fit each other")
    rows, chunk, base = [], 0, 0
    for method, size, count, below in zip(
        columns.methods, _numbers(columns.stored, frames, name), chunks, bases, strict=True
    ):
        rows.append(
            FrameRow(
                method,
                size,
                found.ids[chunk * ID_LENGTH : (chunk + count) * ID_LENGTH],
                lengths[chunk * 4 : (chunk + count) * 4],
                columns.stems[base * STEM_LENGTH : (base + below) * STEM_LENGTH],
            )
        )
        chunk, base = chunk + count, base + below
    return rows


def decode(data: bytes, name: str) -> tuple[list[FrameRow], int]:
    """Return the frames of a directory, and the length of its pack's padding.

    Raises:
        Damaged, Unsupported: named after the pack, it is not a directory.
    """
    if data.startswith(_FIRST):
        first = encoding.decode(_first_decoder, data, name)
        rows, padding = first.frames, first.padding
        for row in rows:
            bases = [row.bases[at : at + STEM_LENGTH] for at in range(0, len(row.bases), ID_LENGTH)]
            row.bases = b"".join(bases)
    else:
        found = encoding.decode(_decoder, data, name)
        rows, padding = _unpacked(found, name), found.padding
    if len(padding) != _LENGTH.size or len(rows) > layout.MAX_FRAMES:
        raise Unsupported(name, "has a directory that this version of Keepstone cannot read")
    for row in rows:
        chunks = len(row.ids) // ID_LENGTH
        if len(row.ids) % ID_LENGTH or len(row.lengths) != chunks * 4 or not 0 < chunks <= layout.MAX_CHUNKS_IN_FRAME:
            raise Unsupported(name, "has a directory whose frames do not fit the format")
        if not row.tag <= row.stored <= layout.MAX_FRAME + row.tag:
            raise Unsupported(name, f"has a frame of {row.stored} bytes, more than the format allows")
    _check_joined(rows, name)
    return rows, _LENGTH.unpack(padding)[0]


def _check_joined(rows: Sequence[FrameRow], name: str) -> None:
    """See that frames are sealed together with others that are there, and that those are few and small."""
    joined = length = 0
    for row in rows:
        if joined and row.method not in (JOINED, BARE):
            raise Unsupported(name, "seals frames together that do not fit each other")
        if row.method == JOINED:
            joined, length = joined + 1, length + row.stored
        else:
            joined = length = 0
        if joined >= layout.MAX_JOINED or length > layout.MAX_JOINED_BYTES:
            raise Unsupported(name, "seals more frames together than the format allows")
    if joined:
        raise Unsupported(name, "seals its last frame together with none")


def frame_lengths(row: FrameRow) -> tuple[int, ...]:
    """Return the lengths of a frame's chunks."""
    return struct.unpack(f"<{len(row.lengths) // 4}I", row.lengths)


def frame_bases(row: FrameRow) -> list[ChunkStem]:
    """Return the stems of the chunks that a frame stands on."""
    return [ChunkStem(row.bases[at : at + STEM_LENGTH]) for at in range(0, len(row.bases), STEM_LENGTH)]
