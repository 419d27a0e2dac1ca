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

from chunking.material import FASTEST, secrets, stream
from keepstone.chunking import Chunker, Parameters
from support import words

MEAN = 4096
LENGTH = 1 << 20
WINDOW = 64 * MEAN
"""What is cut anew for an edit: cuts in front of it stay, and far behind it they are in step again."""
KINDS = ["random", "words"]


def extra_chunks(cutter: Chunker, data: bytes, edits: int, rng: random.Random) -> Counter[int]:
    """Count random edits of 1 to 16 bytes by how many old chunks are lost beside those that the edit touches."""
    ends = cutter.cuts(data, final=True)
    found: Counter[int] = Counter()
    for _ in range(edits):
        at = rng.randrange(0, LENGTH - 2 * WINDOW)
        length = rng.randint(1, 16)
        removed, added = rng.choice([(0, length), (length, 0), (length, length)])
        first = bisect_right(ends, at)
        start = ends[first - 1] if first else 0
        edited = data[start:at] + rng.randbytes(added) + data[at + removed : start + WINDOW]
        moved = start + removed - added
        new = {end + moved for end in cutter.cuts(edited, final=False) if end + moved >= at + removed}
        # An insertion at the end of a chunk touches the chunk that begins there.
        touched = bisect_left(ends, max(at + removed, at + 1)) + 1 - first
        in_step = next(number for number in range(first, len(ends)) if ends[number] in new)
        found[max(0, in_step + 1 - first - touched)] += 1
    return found


def share_up_to(extra: int, found: Counter[int]) -> float:
    return sum(count for number, count in found.items() if number <= extra) / sum(found.values())


def measure(kind: str, keys: int, edits: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for number in range(keys):
        label = f"edits {kind} {number}"
        data = stream(label, LENGTH) if kind == "random" else words(label, LENGTH)
        cutter = Chunker(secrets(label), Parameters.for_mean(MEAN), FASTEST)
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
