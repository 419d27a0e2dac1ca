"""The two-stage chunker in plain Python: slow, and as near to the specification as code can be.

The tests hold every kernel to these cuts; without the compiled kernel it takes over.
"""

from __future__ import annotations

import struct

from keepstone.chunking.parameters import WINDOW, Parameters, Secrets
from keepstone.ids import Buffer

_MASK64 = 2**64 - 1


def cuts(buffer: Buffer, final: bool, secrets: Secrets, parameters: Parameters) -> list[int]:
    """Return the end of every chunk that this buffer decides; see `Chunker.cuts`."""
    data = bytes(buffer)
    ends: list[int] = []
    start = 0
    while start < len(data):
        end = next_cut(data, start, final, secrets, parameters)
        if end is None:
            break
        ends.append(end)
        start = end
    return ends


def next_cut(data: bytes, start: int, final: bool, secrets: Secrets, parameters: Parameters) -> int | None:
    """Return where the chunk that begins at `start` ends; None if that takes more data."""
    table, mask = secrets.table, (1 << parameters.mask_bits) - 1
    least: int | None = None
    least_end = 0
    for i in range(start + parameters.minimum - 1, min(len(data), start + parameters.maximum)):
        length = i + 1 - start
        if _filter(data, i, table) == secrets.t and _filter(data, i - 8, table) & mask == secrets.u & mask:
            value = siphash13(secrets.sip_key, data[i + 1 - WINDOW : i + 1])
            if value < (parameters.strict if length <= parameters.normal else parameters.loose):
                return i + 1
            if least is None or value < least:
                least, least_end = value, i + 1
        if length == parameters.maximum:
            return i + 1 if least is None else least_end
    return len(data) if final else None


def _filter(data: bytes, i: int, table: bytes) -> int:
    """Return G(i), which bytes i-7 to i make."""
    register = 0
    for byte in data[i - 7 : i + 1]:
        register = (register << 1 ^ table[byte]) & 0xFF
    return register


def siphash13(key: bytes, data: bytes) -> int:
    """Return SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012) of data whose length is a multiple of 8."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    word: int
    for (word,) in struct.iter_unpack("<Q", data):
        v[3] ^= word
        _round(v)
        v[0] ^= word
    last = (len(data) & 0xFF) << 56
    v[3] ^= last
    _round(v)
    v[0] ^= last
    v[2] ^= 0xFF
    for _ in range(3):
        _round(v)
    return int(v[0] ^ v[1] ^ v[2] ^ v[3])


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _MASK64
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[0] = _rotate(v[0], 32)
    v[2] = (v[2] + v[3]) & _MASK64
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _MASK64
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _MASK64
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[2] = _rotate(v[2], 32)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK64
