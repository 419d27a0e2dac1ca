"""The fault store does what it is told, so that what others test with it means something."""

from __future__ import annotations

import pytest

from faults import SimulatedCrash
from faults.faultstore import CHANGING, FaultStore, Operation
from keepstone.errors import ObjectNotFound, StoreError, StoreFull
from keepstone.store.memory import MemoryStore


@pytest.fixture
def inner() -> MemoryStore:
    store = MemoryStore()
    store.put("a/1", [b"0123456789"])
    store.put("b/1", [b"abc"])
    return store


@pytest.fixture
def store(inner: MemoryStore) -> FaultStore:
    return FaultStore(inner)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_comes_before_or_after_the_effect_and_ends_everything(
    store: FaultStore, inner: MemoryStore, after: bool
) -> None:
    store.crash_at(1, operations="put", after=after)
    store.put("a/2", [b"x"])
    with pytest.raises(SimulatedCrash):
        store.put("a/3", [b"x"])
    assert ("a/3" in inner.objects) == after
    for act in (lambda: store.get("a/1"), lambda: store.delete("a/1"), lambda: list(store.list(""))):
        with pytest.raises(SimulatedCrash):
            act()
    assert "a/1" in inner.objects


def test_no_handler_of_errors_swallows_a_crash() -> None:
    assert not issubclass(SimulatedCrash, Exception)


def test_only_chosen_operations_below_a_prefix_fail(store: FaultStore) -> None:
    store.fail_at(1, StoreFull("full."), operations=CHANGING, prefix="a/", times=2)
    store.put("a/2", [b"x"])
    store.put("b/2", [b"x"])
    store.get("a/1")
    for _ in range(2):
        with pytest.raises(StoreFull):
            store.put("a/3", [b"x"])
    store.put("a/3", [b"x"])


def test_an_error_may_come_after_the_effect(store: FaultStore, inner: MemoryStore) -> None:
    store.fail_at(0, StoreError("timeout."), operations="put", after=True)
    with pytest.raises(StoreError):
        store.put("a/2", [b"x"])
    assert inner.objects["a/2"] == b"x"


def test_a_listing_may_fail_halfway(store: FaultStore) -> None:
    store.fail_at(0, StoreError("timeout."), operations="list", after=True)
    found: list[tuple[str, int]] = []
    with pytest.raises(StoreError):
        found.extend(store.list(""))
    assert len(list(store.list(""))) == 2


def test_everything_is_counted_traced_and_observed(store: FaultStore) -> None:
    seen: list[Operation] = []
    store.observer = seen.append
    store.put("a/2", [b"12", b"3"])
    store.get("a/1", 2, 5)
    store.get("a/1", 8)
    store.size("a/1")
    list(store.list("a"))
    store.delete("a/2")
    store.clean_temporary()
    expected = [("put", "a/2", 3), ("get", "a/1", 5), ("get", "a/1", 2), ("size", "a/1", 10), ("list", "a", 2)]
    expected += [("delete", "a/2", 0), ("clean", "", 0)]
    assert [(o.kind, o.name, o.size) for o in seen] == expected
    assert store.trace == seen
    assert store.operations == 7
    assert store.bytes_read == {"a/1": 7}
    assert store.ranges == [("a/1", 2, 5), ("a/1", 8, 2)]


def test_lies_are_told_in_ranges_sizes_and_listings_alike(store: FaultStore) -> None:
    store.flip("a/1", 8 * 3 + 1)
    assert store.get("a/1") == b"0121456789"
    assert store.get("a/1", 2, 3) == b"214"
    store.truncate("a/1", 4)
    assert (store.get("a/1"), store.size("a/1"), dict(store.list("a"))) == (b"0123", 4, {"a/1": 4})
    store.stale("a/1", b"old")
    assert store.get("a/1", 1) == b"ld"
    store.hide("a/1")
    assert dict(store.list("")) == {"b/1": 3}
    for act in (store.get, store.size, store.delete):
        with pytest.raises(ObjectNotFound):
            act("a/1")
