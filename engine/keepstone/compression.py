"""zstd with a guard on both sides: what does not shrink stays raw, and nothing expands beyond what was promised.

A compressor must not be shared between threads (it crashes the process), so each thread owns its own.
Format: RFC 8878.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

import zstandard

from keepstone.errors import Damaged, NotEnoughMemory, UsageError
from keepstone.ids import Buffer

LEVELS: Mapping[str, int] = MappingProxyType({"off": 0, "fast": 1, "default": 3, "better": 9, "max": 19})

_MAGIC = zstandard.FRAME_HEADER
_PROBE = 16 * 1024
_LONG_PREFIX = 96 * 1024
_PROBE_FROM = 128 * 1024
"""Frames from this size on are probed before they are compressed whole."""

_LOWER = "Close other programs, or choose a lower compression level, then run the command again."


class _Local(threading.local):
    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_local = _Local()


def level_of(setting: str) -> int:
    """Return the zstd level of a setting: a name of `LEVELS` or a number from 0 (off) to 19.

    Raises:
        UsageError: there is no such setting.
    """
    if setting in LEVELS:
        return LEVELS[setting]
    if setting.isascii() and setting.isdigit() and int(setting) <= 19:
        return int(setting)
    raise UsageError(
        f"There is no compression setting {setting!r}.",
        f"Use one of {', '.join(LEVELS)}, or a number from 0 to 19.",
    )


def compress(data: bytes, level: int) -> bytes | None:
    """Return the zstd frame of the data, or None if it should stay raw (level 0, or it hardly shrinks).

    Raises:
        NotEnoughMemory: the level takes more memory than there is.
    """
    try:
        if level == 0 or not data or (len(data) >= _PROBE_FROM and not _shrinks(data)):
            return None
        packed = _compressor(level).compress(data)
    except zstandard.ZstdError as error:
        raise NotEnoughMemory(f"Compression failed ({error}).", _LOWER) from error
    return packed if len(packed) < len(data) - len(data) // 64 else None


def compress_delta(data: bytes, prefix: bytes, level: int = 1) -> bytes:
    """Return the zstd frame of the data with `prefix` as its raw-content dictionary, without its first four bytes.

    Those are the same for all. The lowest level finds what resembles the prefix as well as any; higher ones help what
    does not resemble it.

    Raises:
        NotEnoughMemory: it takes more memory than there is.
    """
    # A long prefix is beyond the small table of the lowest level: of a block of messages of 156 KiB with 39 new ones it
    # leaves 14.5 kB and level 3 leaves 3.2 kB. The window must reach back over all of the prefix.
    window = max(zstandard.WINDOWLOG_MIN, (len(data) + len(prefix)).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level if len(prefix) <= _LONG_PREFIX else max(level, 3),
        source_size=len(data),
        dict_size=len(prefix),
        window_log=window,
        write_checksum=False,
    )
    dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    try:
        packed = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(data)
    except zstandard.ZstdError as error:
        raise NotEnoughMemory(f"Compression failed ({error}).", _LOWER) from error
    return packed[len(_MAGIC) :]


def decompress_delta(data: Buffer, size: int, name: str, prefix: bytes) -> bytes:
    """Return exactly `size` bytes, of what `compress_delta` made.

    Raises:
        Damaged, NotEnoughMemory: as `decompress`.
    """
    return decompress(b"".join((_MAGIC, data)), size, name, prefix)


def decompress(data: Buffer, size: int, name: str, prefix: bytes = b"") -> bytes:
    """Return exactly `size` bytes.

    The size that the frame states is checked before memory is taken. `prefix` is the raw-content dictionary of a
    delta frame.

    Raises:
        Damaged: the frame is not valid or has another size.
        NotEnoughMemory: that is all that is wrong.
    """
    try:
        if zstandard.frame_content_size(data) != size:
            raise Damaged(name, "a frame states another size than its directory")
        if prefix:
            dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data, max_output_size=size)
        return _local.decompressor.decompress(data, max_output_size=size)
    except zstandard.ZstdError as error:
        if "not enough memory" in str(error):
            raise NotEnoughMemory(f"{name} could not be decompressed ({error}).") from error
        raise Damaged(name, f"a frame does not decompress ({error})") from error


def _compressor(level: int) -> zstandard.ZstdCompressor:
    found = _local.compressors.get(level)
    if found is None:
        found = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        _local.compressors[level] = found
    return found


def _shrinks(data: bytes) -> bool:
    """Compress three small samples: media costs a probe of 48 KiB instead of a pass over everything."""
    last = len(data) - _PROBE
    sample = data[:_PROBE] + data[last // 2 : last // 2 + _PROBE] + data[last:]
    return len(_compressor(1).compress(sample)) < len(sample) - len(sample) // 32
