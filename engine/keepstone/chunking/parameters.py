"""What a two-stage chunker is made of: secrets from the repository's chunker key, and sizes from the mean.

Both are fixed by the format (docs/format.md, "The chunker"): another value cuts elsewhere, and nothing dedups.
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from keepstone.errors import UsageError

SMALLEST_MEAN, LARGEST_MEAN = 4 * 1024, 4 * 1024 * 1024
WINDOW = 64
"""Bytes the decision hash covers; the filter covers the last 16 of them."""
CONTEXT = b"keepstone 1 two-stage"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Sizes in bytes, thresholds as 64-bit numbers that the decision hash must stay below."""

    mean: int
    minimum: int
    maximum: int
    normal: int
    """Up to this length the strict threshold holds, beyond it the loose one."""
    mask_bits: int
    strict: int
    loose: int

    @classmethod
    def for_mean(cls, mean: int) -> Parameters:
        """Return the parameters of a mean chunk size.

        Raises:
            UsageError: the mean is not a power of two from 4 KiB to 4 MiB.
        """
        if not SMALLEST_MEAN <= mean <= LARGEST_MEAN or mean & (mean - 1):
            raise UsageError(
                f"There is no chunker with a mean of {mean} bytes.", "Use a power of two from 4 KiB to 4 MiB."
            )
        density_bits = min(max(mean.bit_length() - 1 - 3, 8), 12)
        # A cut at a candidate has probability threshold / 2^64; a position is a candidate with 2^-density_bits.
        strict = (2**64 << density_bits) // (4 * mean)
        loose = (2**64 << density_bits) * 4 // mean
        return cls(
            mean=mean,
            minimum=mean // 4,
            maximum=mean * 4,
            normal=mean * NORMAL_64THS // 64,
            mask_bits=density_bits - 8,
            strict=min(strict, 2**64 - 1),
            loose=min(loose, 2**64 - 1),
        )


NORMAL_64THS = 53
"""The normal point in 64ths of the mean, chosen so that chunks of random data have the mean as their average."""


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What makes the cuts of one repository its own."""

    sip_key: bytes
    """16 bytes."""
    table: bytes
    """256 bytes: the linear map applied to each byte."""
    t: int
    u: int

    @classmethod
    def derive(cls, key: bytes) -> Secrets:
        """Derive the secrets from a repository's 32-byte chunker key.

        A stream of bytes (BLAKE3 output under the key) is drawn from in this order: SipHash key, t, then u until its
        lowest bit differs from t's, then 8 bytes until they are the rows of an invertible matrix.
        """
        stream = _Stream(key)
        sip_key = stream.draw(16)
        t = stream.draw(1)[0]
        u = stream.draw(1)[0]
        while not (u ^ t) & 1:
            u = stream.draw(1)[0]
        rows = stream.draw(8)
        while not _invertible(rows):
            rows = stream.draw(8)
        table = bytes(sum(((row & byte).bit_count() & 1) << bit for bit, row in enumerate(rows)) for byte in range(256))
        return cls(sip_key, table, t, u)


class _Stream:
    def __init__(self, key: bytes) -> None:
        self._hasher = blake3(CONTEXT, key=key)
        self._at = 0

    def draw(self, length: int) -> bytes:
        data = self._hasher.digest(length=length, seek=self._at)
        self._at += length
        return data


def _invertible(rows: bytes) -> bool:
    """Return whether 8 rows of 8 bits are linearly independent over GF(2)."""
    basis: list[int] = []
    for row in rows:
        for vector in basis:
            row = min(row, row ^ vector)
        if not row:
            return False
        basis.append(row)
    return True
