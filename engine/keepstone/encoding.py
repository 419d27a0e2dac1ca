"""Records to bytes and back: MessagePack through msgspec, into typed structures with limits.

Records are decoded only after their seal was checked, so bytes that do not decode were written by a program that
knows more than this one: they read as `Unsupported`, never as damage.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from keepstone.errors import Unsupported

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Record(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The root of all records that are maps with short keys."""


class Row(msgspec.Struct, forbid_unknown_fields=True, array_like=True):
    """The root of all records that are arrays."""


def encode(value: object) -> bytes:
    """Return the MessagePack bytes of a record."""
    return _encoder.encode(value)


def decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | memoryview, name: str) -> T:
    """Decode an authenticated record.

    Raises:
        Unsupported: the bytes are not a record this version knows.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unsupported(name, f"holds a record that this version of Keepstone cannot read ({error})") from error


def padme(length: int) -> int:
    """Return the size class of a length: at most 12 % more, and few distinct values.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs",
    PETS 2019, section 4.
    """
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask
