"""Directories: what they say comes back, in the form that is written and in the one that was."""

from __future__ import annotations

import random
import struct

import msgspec
import pytest

from keepstone.errors import Damaged, Unsupported
from keepstone.repo import directories
from keepstone.repo import format as layout
from keepstone.repo.directories import FrameRow


def _rows(rng: random.Random, frames: int) -> list[FrameRow]:
    rows = []
    for _ in range(frames):
        chunks, bases = rng.choice([1, 1, 2, 70]), rng.choice([0, 1, 3])
        lengths = [rng.choice([16_384, 1, 2**24]) for _ in range(chunks)]
        stems = rng.randbytes(16 * bases)
        rows.append(
            FrameRow(rng.randrange(3), rng.randrange(16, 2**20), rng.randbytes(32 * chunks), _packed(lengths), stems)
        )
    return rows


def _sealed_together(methods: str, stored: int = 100) -> list[FrameRow]:
    """Return frames by their methods' digits."""
    return [FrameRow(int(method), stored, bytes(32), _packed([10]), b"") for method in methods]


def _packed(lengths: list[int]) -> bytes:
    return struct.pack(f"<{len(lengths)}I", *lengths)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_directory_says_comes_back(seed: int) -> None:
    rng = random.Random(seed)
    rows, padding = _rows(rng, rng.choice([0, 1, 5, 900])), rng.randrange(2**32)
    data = directories.encode(directories.record(rows), padding)
    assert len(data) == len(directories.encode(directories.record(rows), 0))
    assert directories.decode(data, "it") == (rows, padding)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_form_is_still_read(seed: int) -> None:
    rng = random.Random(seed)
    rows, padding = _rows(rng, rng.choice([0, 1, 5, 300])), rng.randrange(2**32)
    old = []
    for row in rows:
        stems = [row.bases[at : at + 16] for at in range(0, len(row.bases), 16)]
        old.append([row.method, row.stored, row.ids, row.lengths, b"".join(each + rng.randbytes(16) for each in stems)])
    data = msgspec.msgpack.encode([1, old, struct.pack("<I", padding)])
    assert directories.decode(data, "it") == (rows, padding)


def test_a_night_costs_little_more_than_its_ids() -> None:
    """A delta of one chunk: 32 bytes name it, 16 its base, and the rest is its method and its lengths."""
    rng = random.Random(1)
    rows = [
        FrameRow(2, rng.randrange(80, 400), rng.randbytes(32), _packed([16_384]), rng.randbytes(16)) for _ in range(900)
    ]
    assert len(directories.encode(directories.record(rows), 0)) < 900 * (48 + 2)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"length": -1},
        {"length": layout.MAX_DIRECTORY + 1},
        {"ids": bytes(31)},
        {"ids": bytes(96)},
        {"padding": bytes(3)},
        {"columns": b"\xc0"},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    whole = directories.record([FrameRow(0, 100, bytes(64), _packed([10, 20]), b"")])
    fields = {name: getattr(whole, name) for name in whole.__struct_fields__} | change
    with pytest.raises((Unsupported, Damaged)):
        directories.decode(msgspec.msgpack.encode(list(fields.values())), "it")


@pytest.mark.parametrize("column", range(6))
def test_columns_that_do_not_fit_each_other_are_refused(column: int) -> None:
    columns = [b"\0\1", bytes(8), b"\1\1" + bytes(6), bytes(8), bytes(8), b""]
    columns[column] += bytes(4)
    packed = msgspec.msgpack.encode(columns)
    with pytest.raises(Unsupported):
        directories.decode(msgspec.msgpack.encode([2, bytes(4), len(packed), packed, bytes(64)]), "it")


def test_more_frames_than_the_format_allows_are_refused_before_memory_is_taken() -> None:
    frames = layout.MAX_FRAMES + 1
    packed = msgspec.msgpack.encode([bytes(frames), *[bytes(4 * frames)] * 4, b""])
    with pytest.raises(Unsupported, match="states"):
        directories.decode(msgspec.msgpack.encode([2, bytes(4), len(packed), packed, b""]), "it")


@pytest.mark.parametrize("methods", ["0", "3", "43", "0443", "3434403"[:5] + "3", "12443"])
def test_frames_that_are_sealed_together_come_back(methods: str) -> None:
    rows = _sealed_together(methods)
    assert directories.decode(directories.encode(directories.record(rows), 1), "it") == (rows, 1)


@pytest.mark.parametrize("methods", ["4", "34", "40", "41", "42", "4430440"])
def test_frames_that_are_sealed_together_with_none_are_refused(methods: str) -> None:
    data = directories.encode(directories.record(_sealed_together(methods)), 1)
    with pytest.raises(Unsupported, match="seals"):
        directories.decode(data, "it")


@pytest.mark.parametrize(("joined", "stored"), [(layout.MAX_JOINED, 20), (4, layout.MAX_JOINED_BYTES // 4 + 1)])
def test_more_than_may_be_sealed_together_is_refused(joined: int, stored: int) -> None:
    data = directories.encode(directories.record(_sealed_together("4" * joined + "3", stored)), 1)
    with pytest.raises(Unsupported, match="more frames together"):
        directories.decode(data, "it")
    fewer = _sealed_together("4" * (joined - 1) + "3", stored)
    assert directories.decode(directories.encode(directories.record(fewer), 1), "it") == (fewer, 1)
