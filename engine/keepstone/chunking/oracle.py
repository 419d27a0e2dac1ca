"""The cuts in plain Python: slow, obvious, and by definition right.

It reads like the specification in docs/format.md. The compiled kernel must give the same cuts; where there is no
compiled kernel, this one does the work.
"""

from __future__ import annotations

import struct

from keepstone.chunking.parameters import HASH_WINDOW, Parameters, Secrets

_MASK_64 = (1 << 64) - 1


def cuts(data: memoryview, final: bool, secrets: Secrets, parameters: Parameters) -> list[int]:
    """Return the ends of all chunks that `data`, which begins at a chunk's start, decides."""
    ends: list[int] = []
    start = 0
    while start < len(data):
        end = _end_of_chunk(data, start, secrets, parameters)
        if end is None:
            if final:
                ends.append(len(data))
            break
        ends.append(end)
        start = end
    return ends


def _end_of_chunk(data: memoryview, start: int, secrets: Secrets, parameters: Parameters) -> int | None:
    """Return where the chunk from `start` ends, or None if bytes after `data` have a say in it."""
    table, t = secrets.table, secrets.t
    mask = (1 << parameters.mask_bits) - 1
    first = start + parameters.minimum - 1
    least: tuple[int, int] | None = None
    g = _filter(data, first - 1, table)
    for i in range(first, min(start + parameters.maximum, len(data))):
        g = (g << 1 ^ table[data[i]]) & 0xFF
        if g != t or (_filter(data, i - 8, table) ^ secrets.u) & mask:
            continue
        end = i + 1
        value = siphash_1_3(secrets.sip_key, data[end - HASH_WINDOW : end])
        if value < (parameters.strict if end - start <= parameters.normal else parameters.loose):
            return end
        if least is None or value < least[0]:
            least = value, end
    if len(data) - start < parameters.maximum:
        return None
    return start + parameters.maximum if least is None else least[1]


def _filter(data: memoryview, i: int, table: bytes) -> int:
    """Return G(i), which depends on the eight bytes up to and including byte i."""
    g = 0
    for byte in data[i - 7 : i + 1]:
        g = (g << 1 ^ table[byte]) & 0xFF
    return g


def siphash_1_3(key: bytes, message: bytes | memoryview) -> int:
    """Return SipHash-1-3 of a message of whole 8-byte words (Aumasson and Bernstein, INDOCRYPT 2012)."""
    k0, k1 = struct.unpack("<2Q", key)
    v = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    length_word = (len(message) & 0xFF) << 56
    for word in (*struct.unpack(f"<{len(message) // 8}Q", message), length_word):
        v = _round(v[0], v[1], v[2], v[3] ^ word)
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(3):
        v = _round(*v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK_64
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK_64
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK_64
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK_64
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK_64
