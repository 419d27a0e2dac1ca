"""Archives that contain themselves, built after the construction that Russ Cox published.

A deflate stream of two instructions makes its own code: L(n) is a stored block of n bytes, R(n) repeats the last n
bytes. Every instruction in a group that is repeated takes five bytes. Headers and trailers are repeated like code; the
checksum, which stands in them, is a fixed point: a CRC is affine, so that it is found by solving 32 equations.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from keepstone.containers.blocks import (
    _DISTANCE_CODE,
    _LENGTH_CODE,
    DISTANCE_EXTRA,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_EXTRA,
    BitWriter,
)

UNIT = 5
LAST = b"\1\0\0\xff\xff"
"""An empty stored block that is the last."""


def _literal(count: int) -> bytes:
    return struct.pack("<BHH", 0, count, count ^ 0xFFFF)


def _repeat(count: int, parts: tuple[int, ...], size: int) -> bytes:
    """Return a block that repeats the last bytes in parts of these lengths, padded with empty blocks to a size."""
    assert sum(parts) == count
    out, bits = BitWriter(), 0

    def put(value: int, length: int) -> None:
        nonlocal bits
        out.put(value, length)
        bits += length

    put(2, 3)
    for part in parts:
        code, rest = _LENGTH_CODE[part - 3]
        put(FIXED_LITERALS.bits[code + 257], FIXED_LITERALS.lengths[code + 257])
        put(rest, LENGTH_EXTRA[code])
        code, rest = _DISTANCE_CODE[count - 1]
        put(FIXED_DISTANCES.bits[code], FIXED_DISTANCES.lengths[code])
        put(rest, DISTANCE_EXTRA[code])
    put(0, 7)
    while bits + 10 <= 8 * size:
        put(2, 10)
    # Two bits at most are left, so that the head of the next block goes on into its own first byte.
    assert 8 * size - 2 <= bits <= 8 * size
    out.align()
    return out.take()


def _program(prefix: bytes, suffix: bytes, repeat_prefix: bytes, repeat_suffix: bytes) -> bytes:
    p, s = _literal(len(prefix) + UNIT), _literal(len(repeat_suffix) + len(suffix))
    zero, one, four, again = _literal(0), _literal(UNIT), _literal(4 * UNIT), _repeat(4 * UNIT, (10, 10), UNIT)
    return b"".join(
        (
            prefix, p, prefix, p, repeat_prefix, one, repeat_prefix, one, one, four, repeat_prefix, one, one, four,
            again, four, again, four, again, four, again, four, again, zero, zero, s, again, zero, zero, s,
            repeat_suffix, suffix, repeat_suffix, suffix,
        )
    )  # fmt: skip


def _with_its_checksum(build: Callable[[int], bytes]) -> bytes | None:
    """Return what is built with its own CRC; None if there is no such number."""
    at_zero = zlib.crc32(build(0))
    rows = []
    for bit in range(32):
        # What one bit of the number changes in the checksum, and in the number itself.
        rows.append((zlib.crc32(build(1 << bit)) ^ at_zero ^ (1 << bit), 1 << bit))
    number, wanted = 0, at_zero
    for pivot in range(32):
        found = next((row for row in rows if row[0] >> pivot & 1), None)
        if found is None:
            if wanted >> pivot & 1:
                return None
            continue
        rows = [(a ^ found[0], b ^ found[1]) if a >> pivot & 1 else (a, b) for a, b in rows if (a, b) != found]
        if wanted >> pivot & 1:
            wanted ^= found[0]
            number ^= found[1]
    result = build(number)
    assert zlib.crc32(result) == number
    return result


def _first(build: Callable[[int, int], bytes]) -> bytes:
    for time in range(100):
        found = _with_its_checksum(lambda crc, time=time: build(crc, time))
        if found is not None:
            return found
    raise AssertionError("no checksum fits")


def gzip_quine() -> bytes:
    """Return a gzip file that holds itself."""

    def build(crc: int, time: int) -> bytes:
        prefix = struct.pack("<4sIBB", b"\x1f\x8b\x08\0", time, 0, 255)
        repeats = _repeat(len(prefix) + UNIT, (7, 8), UNIT)
        suffix_size = len(LAST) + 8
        repeat_suffix = _repeat(UNIT + suffix_size, (9, 9), UNIT)

        def whole(size: int) -> bytes:
            return _program(prefix, LAST + struct.pack("<2I", crc, size), repeats, repeat_suffix)

        return whole(len(whole(0)))

    return _first(build)


def zip_quine() -> bytes:
    """Return a zip archive whose one member is the archive."""

    def build(crc: int, time: int) -> bytes:
        def whole(size: int, packed: int) -> bytes:
            about = struct.pack("<5H3I2H", 20, 0, 8, time, 0x21, crc, packed, size, 1, 0)
            prefix = b"PK\3\4" + about + b"q"
            entry = b"PK\1\2\x14\0" + about + struct.pack("<3H2I", 0, 0, 0, 0, 0) + b"q"
            directory_at = len(prefix) + packed
            end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), directory_at, 0)
            suffix = LAST + entry + end
            repeats = _repeat(len(prefix) + UNIT, (len(prefix) + UNIT,), UNIT)
            count = UNIT + 1 + len(suffix)
            return _program(prefix, suffix, repeats, _repeat(count, (10, count - 10), UNIT + 1))

        size = len(whole(0, 0))
        after = len(LAST) + 46 + 1 + 22
        return whole(size, size - 31 - after + len(LAST))

    return _first(build)
