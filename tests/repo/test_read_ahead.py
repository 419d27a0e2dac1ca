"""What is read ahead is read as ever: in any order, whatever was planned, and wherever something is damaged."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.errors import Damaged
from keepstone.repo import read_ahead
from keepstone.repo.read_ahead import Planned, ReadAhead
from keepstone.store.memory import MemoryStore
from support import Place, noise


class Things:
    """Numbers that are opened; those that are negative cannot be."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    def open_one(self, number: int) -> int:
        self.opened.append(number)
        if number < 0:
            raise Damaged("a thing", "it is negative")
        return number * number

    def plan(self, numbers: list[int], size: int = 1) -> list[Planned[int, int]]:
        return [Planned(number, size, partial(self.open_one, number)) for number in numbers]

    def get(self, ahead: ReadAhead[int, int], number: int) -> int | None:
        """Return a thing, from ahead or not; None if it cannot be opened."""
        coming = ahead.take(number)
        try:
            return self.open_one(number) if coming is None else coming.result()
        except Damaged:
            return None


@given(
    plans=st.lists(st.lists(st.integers(-20, 20), unique=True, max_size=15), max_size=4),
    asked=st.lists(st.lists(st.integers(-20, 20), unique=True, max_size=15), max_size=4),
    most=st.integers(1, 5),
)
def test_whatever_was_planned_all_is_as_it_is_opened_directly(
    plans: list[list[int]], asked: list[list[int]], most: int
) -> None:
    things = Things()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_ahead, "MOST_BYTES", most)
        ahead: ReadAhead[int, int] = ReadAhead()
        for plan, numbers in zip(plans, asked, strict=False):
            ahead.plan(things.plan(plan))
            for number in numbers:
                assert things.get(ahead, number) == (None if number < 0 else number * number)
        ahead.close()


def test_what_is_asked_for_in_the_order_of_the_plan_is_opened_once() -> None:
    things, ahead = Things(), ReadAhead[int, int]()
    ahead.plan(things.plan(list(range(50)), size=read_ahead.MOST_BYTES // 4))
    assert [things.get(ahead, number) for number in range(50)] == [number * number for number in range(50)]
    ahead.close()
    assert sorted(things.opened) == list(range(50))


def test_no_more_is_opened_ahead_than_there_is_room_for() -> None:
    things, ahead = Things(), ReadAhead[int, int]()
    ahead.plan(things.plan(list(range(50)), size=read_ahead.MOST_BYTES // 4))
    assert things.get(ahead, 0) == 0
    ahead.close()
    assert len(things.opened) <= 5


def test_for_little_no_thread_is_woken() -> None:
    things, ahead = Things(), ReadAhead[int, int]()
    ahead.plan(things.plan([1, 2]))
    assert ahead.take(1) is None
    ahead.close()
    assert not things.opened


def test_what_lies_ahead_and_is_damaged_harms_what_is_read_before_it_as_little_as_ever(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number:02}").write_bytes(noise(number, 1_500_000))
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    place.backup([source])
    largest = max((name for name in store.objects if name.startswith("packs/")), key=store.size)
    data = bytearray(store.objects[largest])
    data[len(data) // 2] ^= 1
    store.objects[largest] = bytes(data)
    result = place.fresh("other").restore(tmp_path / "out")
    assert 1 <= len(result.problems) <= 2
    restored = tmp_path / "out" / source.relative_to("/")
    whole = list(restored.iterdir())
    assert all(path.read_bytes() == (source / path.name).read_bytes() for path in whole)
    assert len(whole) == 12 - len(result.problems)
