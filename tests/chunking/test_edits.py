"""How far an edit reaches: over many random edits, hardly ever more than the chunks it touches and two others.

It cannot be never. Behind an edit, old and new cuts fall into step again as soon as both have one at the same place;
that has no bound, only odds, which get better with every chunk. Here the odds are measured and held.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable

import pytest

from chunking.material import secrets, stream
from keepstone.chunking import Chunker, Parameters, kernels
from support import words

MEAN = 4096
LENGTH = 1 << 20
WINDOW = 64 * MEAN
"""What is cut anew for an edit; far behind it cuts are in step again."""
IN_FRONT = 4
"""Chunks in front of an edit from which on it is cut anew."""
KINDS = ["random", "words"]


def extra_chunks(cutter: Chunker, data: bytes, edits: int, rng: random.Random) -> Counter[int]:
    """Count random edits of 1 to 16 bytes by how many old chunks are lost beside those that the edit touches."""
    ends = [0, *cutter.cuts(data, final=True)]
    found: Counter[int] = Counter()
    for _ in range(edits):
        at = rng.randrange(0, LENGTH - 2 * WINDOW)
        length = rng.randint(1, 16)
        removed, added = rng.choice([(0, length), (length, 0), (length, length)])
        touched = range(bisect_right(ends, at), bisect_left(ends, max(at + removed, at + 1)) + 1)  # by their ends
        # A cut by least hash looks past itself, by less than two chunks, so chunks in front can be lost too.
        first = max(0, touched[0] - 1 - IN_FRONT)
        start, stop = ends[first], ends[first] + WINDOW
        edited = data[start:at] + rng.randbytes(added) + data[at + removed : stop]
        new = {0, *cutter.cuts(edited, final=False)}
        kept = {end + start for end in new if end + start <= at}
        kept_behind = {end + start + removed - added for end in new if end + start >= at + added}
        lost = 0
        for number in range(first + 1, len(ends)):
            old = ends[number - 1], ends[number]
            if number > touched[-1] and old[0] in kept_behind:
                break  # From here on all cuts are old.
            lost += not (old[1] <= at and kept.issuperset(old))
        found[max(0, lost - len(touched))] += 1
    return found


def share_up_to(extra: int, found: Counter[int]) -> float:
    return sum(count for number, count in found.items() if number <= extra) / sum(found.values())


def measure(kind: str, keys: int, edits: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for number in range(keys):
        label = f"edits {kind} {number}"
        data = stream(label, LENGTH) if kind == "random" else words(label, LENGTH)
        cutter = Chunker(secrets(label), Parameters.for_mean(MEAN), kernels()[0])
        found += extra_chunks(cutter, data, edits, random.Random(label))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_hardly_ever_changes_more_than_it_touches_and_two_chunks(kind: str) -> None:
    found = measure(kind, keys=4, edits=250)
    assert share_up_to(0, found) >= 0.9, found
    assert share_up_to(2, found) >= 0.97, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_of_a_hundred_thousand_edits(kind: str, record_property: Callable[[str, object], None]) -> None:
    found = measure(kind, keys=50, edits=2000)
    record_property("edits by chunks beside those touched", str(sorted(found.items())))
    assert sum(found.values()) == 100_000
    assert share_up_to(0, found) >= 0.96, found
    assert share_up_to(2, found) >= 0.99, found
    assert share_up_to(10, found) >= 0.9995, found
