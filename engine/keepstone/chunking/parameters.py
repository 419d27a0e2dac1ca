"""What decides where cuts fall: the parameters of a mean size, and the secrets of a repository.

Both are part of the format: a change here moves every cut of every repository.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from keepstone.errors import UsageError

SMALLEST_MEAN = 4 << 10
LARGEST_MEAN = 4 << 20
HASH_WINDOW = 64
"""Bytes that the decision hash of two-stage covers; never more than the minimum length of a chunk."""
AES_WINDOW = 16
"""Bytes that the value of `aes` covers: one block."""
FILTER_BITS = 8
"""Bits of a filter value: one position in 2 to the power of FILTER_BITS + mask_bits is a candidate."""
KEY_LENGTH = 32

Algorithm = Literal["two-stage", "aes"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The lengths and thresholds for one mean chunk size."""

    mean: int
    minimum: int
    maximum: int
    normal: int
    """The last length that the strict threshold judges."""
    mask_bits: int
    """How many low bits of the older filter value are compared. `aes` has candidates as dense."""
    strict: int
    loose: int

    @classmethod
    def for_mean(cls, mean: int) -> Parameters:
        """Return the parameters of a mean size in bytes, a power of two from 4 KiB to 4 MiB.

        A position is cut with probability 1/(4 mean) up to the normal length and 2/mean above it. Both
        thresholds are the exact quotient by the density of candidates, so they are powers of two as well.

        All numbers were found by measurement (docs/adr/0013-cut-rule-tuning.md). On random data the average length is
        0.999 of the mean. Candidates are 16 times as dense as one in a mean where the filter can be as dense: the
        least hash needs some to choose from.
        """
        if not SMALLEST_MEAN <= mean <= LARGEST_MEAN or mean & (mean - 1):
            raise UsageError(
                f"A mean chunk size of {mean} bytes is not possible.", "Choose a power of two from 4 KiB to 4 MiB."
            )
        exponent = mean.bit_length() - 1
        density = min(max(exponent - 4, FILTER_BITS + 1), 12)
        return cls(
            mean=mean,
            minimum=mean // 2,
            maximum=mean // 16 * 23,
            normal=mean // 8 * 7,
            mask_bits=density - FILTER_BITS,
            strict=1 << (64 + density - exponent - 2),
            loose=1 << (64 + density - exponent + 1),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """The secrets of one repository's chunker `two-stage`. Whoever knows them can tell where known content is cut."""

    algorithm: ClassVar[Algorithm] = "two-stage"
    sip_key: bytes
    table: bytes
    """The secret linear map of the filter, applied to each of the 256 bytes."""
    t: int
    u: int

    @classmethod
    def derive(cls, key: bytes) -> Secrets:
        """Derive the secrets of a 32-byte chunker key: hash key, t, u, then the map, in this order."""
        take = _stream(key, cls.algorithm)
        sip_key = take(16)
        t = take(1)[0]
        u = take(1)[0]
        # Data of period 1, 2, 4 or 8 repeats the filter value after 8 bytes. If t and u differ in the lowest bit,
        # they differ under each mask, and such data has no candidates.
        while not (t ^ u) & 1:
            u = take(1)[0]
        rows = take(8)
        while not _invertible(rows) or _weak(rows):
            rows = take(8)
        return cls(sip_key=sip_key, table=bytes(_apply(rows, byte) for byte in range(256)), t=t, u=u)


@dataclass(frozen=True, slots=True, repr=False)
class AesSecrets:
    """The secret of one repository's chunker `aes`. Whoever knows it can tell where known content is cut."""

    algorithm: ClassVar[Algorithm] = "aes"
    key: bytes

    @classmethod
    def derive(cls, key: bytes) -> AesSecrets:
        """Derive the AES key of a 32-byte chunker key.

        A key is passed over if a run of one byte, whichever, would be a candidate at the densest there is: all its
        positions would be, so an unlucky key would cut zeros at every minimum. About 3 keys are drawn for one taken,
        so who can not tell AES from a random permutation has at most 3 times the luck with these keys.
        """
        take = _stream(key, cls.algorithm)
        runs = b"".join(bytes([byte]) * AES_WINDOW for byte in range(256))
        while True:
            found = take(16)
            values = Cipher(AES(found), ECB()).encryptor().update(runs)
            if all(values[7::AES_WINDOW]):  # The highest byte of each value, eight bits as FILTER_BITS has.
                return cls(key=found)


AnySecrets = Secrets | AesSecrets
ALGORITHMS: dict[str, type[Secrets] | type[AesSecrets]] = {each.algorithm: each for each in (Secrets, AesSecrets)}
"""The algorithms by their name in a repository's config, the default first."""


def secrets_for(algorithm: str, key: bytes) -> AnySecrets:
    """Derive the secrets of a 32-byte chunker key for the algorithm that a repository's config names."""
    return ALGORITHMS[algorithm].derive(key)


def _stream(key: bytes, algorithm: Algorithm) -> Callable[[int], bytes]:
    """Return a function that takes the next bytes of the output stream of keyed BLAKE3."""
    if len(key) != KEY_LENGTH:
        raise UsageError(f"A chunker key has {KEY_LENGTH} bytes, not {len(key)}.")
    hasher = blake3(f"keepstone 1 {algorithm}".encode(), key=key)
    taken = 0

    def take(length: int) -> bytes:
        nonlocal taken
        taken += length
        return hasher.digest(length=length, seek=taken - length)

    return take


def _apply(rows: bytes, byte: int) -> int:
    """Return the product of a matrix over GF(2) and a byte: bit r is the parity of row r and the byte."""
    return sum(((row & byte).bit_count() & 1) << r for r, row in enumerate(rows))


def _invertible(rows: bytes) -> bool:
    """Tell whether a square matrix over GF(2) is invertible: no byte but zero maps to zero."""
    return all(_apply(rows, byte) for byte in range(1, 256))


def _weak(rows: bytes) -> bool:
    """Tell whether the lowest row looks at fewer than two of the low five bits, those in which text varies.

    The lowest bit of a filter value depends on one byte, and G(i) and G(i-8) must differ in it: with such a row, text
    may have no candidates at all (docs/adr/0013-cut-rule-tuning.md).
    """
    return (rows[0] & 0x1F).bit_count() < 2
