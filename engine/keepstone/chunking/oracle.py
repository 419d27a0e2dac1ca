"""The cuts in plain Python: slow, obvious, and by definition right.

It reads like the specification in docs/format.md. The compiled kernels must give the same cuts; where there is no
compiled kernel, this one does the work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from keepstone.chunking.parameters import (
    AES_WINDOW,
    FILTER_BITS,
    HASH_WINDOW,
    AesSecrets,
    AnySecrets,
    Parameters,
    Secrets,
)

_MASK_64 = (1 << 64) - 1

_Values = Callable[[int, int], list[tuple[int, int]]]
"""Takes two positions; returns the end and the value of every candidate from the first to before the second."""


def cuts(data: memoryview, final: bool, secrets: AnySecrets, parameters: Parameters) -> list[int]:
    """Return the ends of all chunks that `data`, which begins at a chunk's start, decides."""
    if isinstance(secrets, AesSecrets):
        candidates = _aes(data, secrets, parameters)
    else:
        candidates = _two_stage(data, secrets, parameters)
    ends: list[int] = []
    start = 0
    while start < len(data):
        end = _end_of_chunk(len(data), start, candidates, parameters)
        if end is None:
            if final:
                ends.append(len(data))
            break
        ends.append(end)
        start = end
    return ends


def _end_of_chunk(length: int, start: int, candidates: _Values, parameters: Parameters) -> int | None:
    """Return where the chunk from `start` ends, or None if bytes after the data have a say in it."""
    first = start + parameters.minimum - 1
    stop = min(start + parameters.maximum, length)
    least: tuple[int, int] | None = None
    for at in range(first, stop, _STEP):
        for end, value in candidates(at, min(at + _STEP, stop)):
            if value < (parameters.strict if end - start <= parameters.normal else parameters.loose):
                return end
            if least is None or value < least[0]:
                least = value, end
    if length - start < parameters.maximum:
        return None
    return start + parameters.maximum if least is None else least[1]


_STEP = 1024
"""Positions that are looked at before the next are; it changes no cut."""


def _two_stage(data: memoryview, secrets: Secrets, parameters: Parameters) -> _Values:
    table, t = secrets.table, secrets.t
    mask = (1 << parameters.mask_bits) - 1

    def candidates(first: int, stop: int) -> list[tuple[int, int]]:
        found = []
        g = _filter(data, first - 1, table)
        for i in range(first, stop):
            g = (g << 1 ^ table[data[i]]) & 0xFF
            if g == t and not (_filter(data, i - 8, table) ^ secrets.u) & mask:
                found.append((i + 1, siphash_1_3(secrets.sip_key, data[i + 1 - HASH_WINDOW : i + 1])))
        return found

    return candidates


def _filter(data: memoryview, i: int, table: bytes) -> int:
    """Return G(i), which depends on the eight bytes up to and including byte i."""
    g = 0
    for byte in data[i - 7 : i + 1]:
        g = (g << 1 ^ table[byte]) & 0xFF
    return g


def _aes(data: memoryview, secrets: AesSecrets, parameters: Parameters) -> _Values:
    # Each block is a window of its own, and no ciphertext is ever stored, so ECB is what is wanted here.
    encrypt = Cipher(AES(secrets.key), ECB()).encryptor().update
    bits = FILTER_BITS + parameters.mask_bits

    def candidates(first: int, stop: int) -> list[tuple[int, int]]:
        found = []
        for i in range(first, stop):
            (h,) = struct.unpack("<Q", encrypt(data[i + 1 - AES_WINDOW : i + 1])[:8])
            if h < 1 << (64 - bits):
                found.append((i + 1, h << bits))
        return found

    return candidates


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
