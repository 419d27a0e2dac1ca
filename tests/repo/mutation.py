"""Small changes of inputs for fuzzing: of bytes as bytes, and of records as records, which a decoder takes at first."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import msgspec

VALUES: list[object] = [
    *(0, 1, 2, 3, 15, 16, 17, 255, 65_535, 65_536, 2**31, 2**32, 2**63 - 1, 2**64 - 1, -1, -(2**63)),
    *(b"", b"/", b"..", bytes(4), bytes(16), bytes(32), bytes(40), bytes(400), "", "snapshot", "keyslots", "d", "f"),
    *(None, True, 0.5, [], {}, [b""], {"v": 1}),
]


IN_TWO = ("keyslot", "directory and frames", "recipe")
"""Targets whose inputs are a record and something else."""


def mutated(name: str, data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return an input of a target a little different: as a record with another value in it, or as any bytes."""
    if rng.random() < 0.4:
        return _scrambled(data, others, rng)
    if name == "tree":
        entries = _split_tree(data)
        if not entries:
            return _scrambled(data, others, rng)
        at = rng.randrange(len(entries))
        entries[at : at + 1] = [_reshaped(entries[at], rng), entries[at]][: rng.choice([1, 1, 1, 2])]
        return b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)
    if name in IN_TWO:
        first, second = split(data)
        return join(_reshaped(first, rng), second if rng.random() < 0.8 else _scrambled(second, others, rng))
    return _scrambled(data, others, rng) if name.startswith("stored") else _reshaped(data, rng)


def _split_tree(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _reshaped(data: bytes, rng: random.Random) -> bytes:
    """Change one value of a MessagePack record; a record within a record counts as its values."""
    try:
        return msgspec.msgpack.encode(_changed(msgspec.msgpack.decode(data), rng))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, TypeError):
        return _scrambled(data, [data], rng)


def _changed(value: object, rng: random.Random) -> object:
    if isinstance(value, list | dict) and value and rng.random() < 0.9:
        if isinstance(value, list) and rng.random() < 0.15:
            at = rng.randrange(len(value))
            return value[:at] + value[at + 1 :] if rng.random() < 0.5 else value[:at] + value[at : at + 1] * 3
        changed = value.copy()
        at = rng.randrange(len(value)) if isinstance(value, list) else rng.choice(list(value))
        changed[at] = _changed(changed[at], rng)
        return changed
    if isinstance(value, bytes) and len(value) > 1 and rng.random() < 0.7:
        if value[0] >> 4 in (8, 9):
            return _reshaped(value, rng)
        return _scrambled(value, [value], rng)
    if isinstance(value, int) and rng.random() < 0.3:
        return value + rng.choice([-1, 1])
    return rng.choice(VALUES)


def _scrambled(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return bytes flipped, cut, repeated, joined, or with an interesting byte among them."""
    data = bytearray(seed)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        length = rng.randrange(1, 9)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.choice([0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xC6, 0xCF, 0xD3, 0xDD, 0xDF, 0xFF])
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length * 8]
        elif kind == 4:
            data[at : at + length] = rng.choice([b"\xff", b"\0", b"\x7f"]) * length
        else:
            other = rng.choice(others)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Split an input in two, so that one mutation does not shift everything."""
    length = int.from_bytes(data[:2], "little")
    return data[2 : 2 + length], data[2 + length :]


def join(first: bytes, second: bytes) -> bytes:
    """Join what `split` splits."""
    return (len(first) & 0xFFFF).to_bytes(2, "little") + first + second
