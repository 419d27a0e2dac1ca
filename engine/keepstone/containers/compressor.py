"""Deflate encoders by number.

Encoder 0 is zlib. Its output is part of the format, and a Python may be linked with a look-alike that compresses
otherwise, so nothing is taken on trust: a proof compares every byte when a container is unwrapped.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from keepstone.containers.nodes import DeflateSettings
from keepstone.errors import Unsupported

ZLIB = 0


class Compressor(Protocol):
    """A deflate encoder at work."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressor(settings: DeflateSettings) -> Compressor:
    """Return a fresh encoder.

    Raises:
        Unsupported: there is none of this number or with these settings.
    """
    if settings.encoder != ZLIB:
        raise Unsupported("A recipe", f"names deflate encoder {settings.encoder}, which this version does not know")
    try:
        return zlib.compressobj(settings.level, zlib.DEFLATED, settings.wbits, settings.mem_level, settings.strategy)
    except ValueError as error:
        raise Unsupported("A recipe", "names deflate settings that zlib does not know") from error
