"""Deflate encoders by number, always with the same output.

The bits of an encoder are part of the format, and the zlib that a Python is linked with may be a look-alike that
compresses otherwise (zlib-ng is one). So the encoders are ours: compiled, or in plain Python where the module is not
built. zlib itself is used only for settings that no container in practice has, and there nothing is taken on trust:
a proof compares every byte.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Protocol

from keepstone.containers.nodes import DeflateSettings
from keepstone.errors import Unsupported

try:
    from keepstone.containers import _deflate as _kernel

    COMPILED = True
except ImportError:
    COMPILED = False

ZLIB, GZIP, INFO_ZIP, FLUSHED = 0, 1, 2, 3
RAW_WINDOW, ZLIB_WINDOW = -15, 15
THREADS = min(4, os.cpu_count() or 1)
"""Which search a long input. The output does not depend on it."""

_LOW, _MIDDLE, _HIGH = b"\x78\x5e", b"\x78\x9c", b"\x78\xda"
_HEADERS = (b"", b"\x78\x01", _LOW, _LOW, _LOW, _LOW, _MIDDLE, _HIGH, _HIGH, _HIGH)
"""The first two bytes of a zlib stream, by level."""


class Compressor(Protocol):
    """A deflate encoder at work."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...

    def cut(self) -> bytes:
        """Return the rest, as the end of a section that others follow. Each of those has an encoder of its own."""
        ...


class _Foreign:
    """zlib itself."""

    def __init__(self, settings: DeflateSettings) -> None:
        s = settings
        self._encoder = zlib.compressobj(s.level, zlib.DEFLATED, s.wbits, s.mem_level, s.strategy)

    def compress(self, data: bytes, /) -> bytes:
        return self._encoder.compress(data)

    def flush(self) -> bytes:
        return self._encoder.flush()

    def cut(self) -> bytes:
        return self._encoder.flush(zlib.Z_FULL_FLUSH)


class _InZlib:
    """A raw stream between the header and the checksum of zlib (RFC 1950)."""

    def __init__(self, raw: Compressor, level: int) -> None:
        self._raw, self._header, self._sum = raw, _HEADERS[level], 1

    def compress(self, data: bytes, /) -> bytes:
        self._sum = zlib.adler32(data, self._sum)
        header, self._header = self._header, b""
        return header + self._raw.compress(data)

    def flush(self) -> bytes:
        return self._header + self._raw.flush() + struct.pack(">I", self._sum)

    def cut(self) -> bytes:
        raise AssertionError("sections are for raw streams")


def has_sections(settings: DeflateSettings) -> bool:
    """Return whether an encoder may be flushed on the way: zlib alone, and only with nothing around its stream."""
    return settings.encoder == ZLIB and settings.wbits == RAW_WINDOW


def compressor(settings: DeflateSettings) -> Compressor:
    """Return a fresh encoder.

    Raises:
        Unsupported: there is none of this number or with these settings.
    """
    raw = _own(settings)
    if raw is not None:
        return _InZlib(raw, settings.level) if settings.wbits == ZLIB_WINDOW else raw
    if settings.encoder == ZLIB:
        try:
            return _Foreign(settings)
        except ValueError:
            pass
    raise Unsupported("A recipe", "names a deflate encoder or settings that this version does not know")


def _own(settings: DeflateSettings) -> Compressor | None:
    if settings.strategy or settings.wbits not in (RAW_WINDOW, ZLIB_WINDOW):
        return None
    try:
        if COMPILED:
            return _kernel.Encoder(settings.encoder, settings.level, settings.mem_level, THREADS)
        from keepstone.containers import oracle  # Slow to load, and not needed where the kernel is built.

        return oracle.Encoder(settings.encoder, settings.level, settings.mem_level)
    except ValueError:
        return None
