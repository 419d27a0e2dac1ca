"""The join of archives: the union of facts, whatever the order."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.merge import Scans, State, join, join_scans, scan
from messages.facts import Facts
from support import report

WHOLE = (b"phone one", b"phone two")
PARTIAL = (b"export",)

Archive = tuple[State, Scans]


def archive(facts: Facts) -> Archive:
    scans: dict[bytes, tuple[int, ...]] = {}
    for source, time in sorted(facts.scans):
        scans[source] = (*scans.get(source, ()), time)
    return facts.state(), scans


def joined(left: Archive, right: Archive) -> Archive:
    return join(left[0], right[0], left[1], right[1]), join_scans(left[1], right[1])


@st.composite
def readings(draw: st.DrawFn) -> Facts:
    """Return what one run finds in one source."""
    source, time = draw(st.sampled_from(WHOLE + PARTIAL)), draw(st.integers(1, 9))
    rows = draw(st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 7)))
    return reading(source, time, rows)


def reading(source: bytes, time: int, rows: dict[bytes, int]) -> Facts:
    scans = {(source, time)} if source in WHOLE else set()
    return Facts({(row, source, time) for row in rows}, set(rows.items()), scans)


def union(parts: Sequence[Facts]) -> Facts:
    found = Facts()
    for part in parts:
        found |= part
    return found


many = st.lists(readings(), max_size=6).map(union)


@given(many, many)
def test_the_join_is_the_union_of_facts(left: Facts, right: Facts) -> None:
    assert joined(archive(left), archive(right)) == archive(left | right)


@given(many, many, many)
def test_the_join_is_commutative_associative_and_idempotent(a: Facts, b: Facts, c: Facts) -> None:
    x, y, z = archive(a), archive(b), archive(c)
    assert joined(x, y) == joined(y, x)
    assert joined(joined(x, y), z) == joined(x, joined(y, z))
    assert joined(x, x) == x
    assert joined(joined(x, y), y) == joined(x, y)


@given(readings())
def test_a_scan_is_the_state_of_its_facts(facts: Facts) -> None:
    for source, time in facts.scans:
        assert (scan(sorted(facts.states), source, time), {source: (time,)}) == archive(facts)


@given(many, many)
def test_equal_states_join_to_themselves_whatever_else_was_read(left: Facts, right: Facts) -> None:
    """So blocks with equal bytes need not be read."""
    a, b = archive(left), archive(right)
    if a[0] == b[0]:
        assert joined(a, b)[0] == a[0]


def test_a_row_that_is_still_there_adds_nothing() -> None:
    rows = {b"a": 3}
    days = [reading(WHOLE[0], day, rows) for day in range(1, 30)]
    assert archive(union(days))[0] == {b"a": (3, ((WHOLE[0], (1,)),))}


def test_what_is_gone_keeps_the_day_since() -> None:
    days = [reading(WHOLE[0], 1, {b"a": 3}), reading(WHOLE[0], 2, {}), reading(WHOLE[0], 3, {b"a": 4})]
    assert archive(union(days[:2]))[0] == {b"a": (3, ((WHOLE[0], (1, 2)),))}
    assert archive(union(days))[0] == {b"a": (4, ((WHOLE[0], (1, 2, 3)),))}


def test_a_part_of_what_there_is_makes_nothing_gone() -> None:
    facts = union([reading(PARTIAL[0], 1, {b"a": 3}), reading(PARTIAL[0], 2, {b"b": 1})])
    assert archive(facts)[0] == {b"a": (3, ((PARTIAL[0], (1,)),)), b"b": (1, ((PARTIAL[0], (2,)),))}


@pytest.mark.slow
def test_ten_thousand_random_splits_join_to_the_same_state() -> None:
    seed = 1
    report(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(10_000):
        parts = []
        for _ in range(rng.randint(2, 8)):
            rows = {bytes([rng.randint(97, 105)]): rng.randint(0, 7) for _ in range(5)}
            parts.append(reading(rng.choice(WHOLE + PARTIAL), rng.randint(1, 9), rows))
        whole = archive(union(parts))
        rng.shuffle(parts)
        groups: list[list[Facts]] = [[] for _ in range(rng.randint(1, 4))]
        for part in parts:
            rng.choice(groups).append(part)
            if rng.random() < 0.2:
                rng.choice(groups).append(part)
        result: Archive = ({}, {})
        for group in groups:
            one: Archive = ({}, {})
            for part in group:
                one = joined(one, archive(part))
            result = joined(result, one)
        assert result == whole
