"""An edit costs the chunks it touches and little more: what dedup lives on."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable

import pytest

from chunking.material import FASTEST, Kernel, letters, sizes, stream

MEAN = 4096
LENGTH = 256 << 10
EDITS = 40


def insert(data: bytes, at: int, some: bytes) -> bytes:
    return data[:at] + some + data[at:]


def delete(data: bytes, at: int, some: bytes) -> bytes:
    return data[:at] + data[at + len(some) :]


def change(data: bytes, at: int, some: bytes) -> bytes:
    return data[:at] + some + data[at + len(some) :]


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
@pytest.mark.parametrize("edit", [insert, delete, change])
@pytest.mark.parametrize("kind", [stream, letters])
def test_an_edit_costs_few_chunks(
    kernel: Kernel, kind: Callable[[str, int], bytes], edit: Callable[[bytes, int, bytes], bytes]
) -> None:
    """Over 40 seeded edits of 1 to 40 bytes: all cuts in front of the edit stay; the chunks from the one that holds the
    edit to the first old cut are at most four on average and never more than ten; from there on all cuts are old.
    """
    rng = random.Random(f"{kind.__name__} {edit.__name__}")
    data = kind("locality", LENGTH)
    cutter = kernel.chunker(MEAN)
    before = cutter.cuts(data, final=True)
    costs = []
    for _ in range(EDITS):
        at = rng.randrange(MEAN, LENGTH - 16 * MEAN)
        some = rng.randbytes(rng.randint(1, 40))
        edited = edit(data, at, some)
        after = cutter.cuts(edited, final=True)
        shift = len(edited) - len(data)

        # A cut by least hash looks ahead, by less than two chunks.
        kept_in_front = max(0, bisect_right(before, at) - 2)
        assert after[:kept_in_front] == before[:kept_in_front]
        moved = {end + shift for end in before if end > at}
        resumed = next(i for i in range(kept_in_front, len(after)) if after[i] in moved)
        assert after[resumed:] == [end for end in sorted(moved) if end >= after[resumed]]
        costs.append(resumed + 1 - kept_in_front)
    assert sum(costs) / len(costs) <= 4
    assert max(costs) <= 10


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
def test_two_files_that_share_their_end_share_their_chunks(kernel: Kernel) -> None:
    shared = stream("shared", LENGTH)
    cutter = kernel.chunker(MEAN)
    found = []
    for head in (b"", b"a short head", stream("a long head", 30_000)):
        data, start, chunks = head + shared, 0, set()
        for size in sizes(cutter.cuts(data, final=True)):
            chunks.add(data[start : start + size])
            start += size
        found.append(chunks)
    common = sum(map(len, found[0] & found[1] & found[2]))
    assert common >= LENGTH - 10 * MEAN


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
def test_forced_cuts_move_with_the_content_too(kernel: Kernel) -> None:
    """Data of a long period has candidates, but none may pass: the cuts are those of least hash, wherever it starts.

    The period is the first of a seeded row of them that is cut in this way.
    """
    cutter = kernel.chunker(MEAN)
    for number in range(100):
        data = stream(f"period {number}", 1100) * 200
        lengths = set(sizes(cutter.cuts(data, final=True))[1:-1])
        if len(lengths) == 1 and lengths != {4 * MEAN}:
            break
    else:
        pytest.fail("none of the periods has candidates that do not pass")
    ends = cutter.cuts(data, final=True)
    for moved in (1, 77, 500):
        later = cutter.cuts(bytes(moved) + data, final=True)
        assert {(end - moved) % 1100 for end in later[2:-1]} == {end % 1100 for end in ends[2:-1]}
