"""After a power cut an object is absent or whole, and one whose put returned is there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from faults import SimulatedCrash
from faults.simfs import WRITING, SimFS
from keepstone.errors import KeepstoneError
from keepstone.store.files import Files, replace_file
from keepstone.store.posix import PosixStore

ROOT = "/disk/repo"
SEED = 20260722
STATES = 256

OBJECTS = {
    "keyslots/00": b"k" * 300,
    "config": b"c" * 100,
    "packs/ab/" + "ab" * 32: random.Random(SEED).randbytes(3 * 4096 + 700),
    "packs/ab/" + "ac" * 32: random.Random(SEED + 1).randbytes(513),
    "packs/cd/" + "cd" * 32: b"",
    "log/00/01": b"record one",
    "log/00/02": b"record two",
}


def put_all(store: PosixStore, acknowledged: set[str]) -> None:
    for name, data in OBJECTS.items():
        store.put(name, [data[: len(data) // 2], data[len(data) // 2 :]])
        acknowledged.add(name)


def crashes(disk: Callable[[], SimFS], work: Callable[[SimFS, set[str]], None]) -> Iterator[tuple[SimFS, set[str]]]:
    """Yield the file system and what was acknowledged, for a crash at every operation that changes something."""
    for after in (False, True):
        number = 0
        while True:
            fs, done = disk(), set[str]()
            fs.crash_at, fs.crash_after = number, after
            try:
                work(fs, done)
            except SimulatedCrash:
                if fs.trace[-1][0] in WRITING:
                    yield fs, done
            if not fs.crashed:
                break
            number += 1
        assert number > 5


def new_disk() -> SimFS:
    return SimFS("/disk")


def assert_absent_or_whole(fs: SimFS, acknowledged: set[str]) -> None:
    store = PosixStore(ROOT, fs)
    listed = dict(store.list(""))
    assert acknowledged <= listed.keys(), "an object whose put returned is lost"
    for name, size in listed.items():
        assert size == len(OBJECTS[name])
        assert store.get(name) == OBJECTS[name], f"{name} is torn"


def test_objects_survive_a_power_cut_at_any_operation_absent_or_whole() -> None:
    rng, states = random.Random(SEED), 0
    for fs, done in crashes(new_disk, lambda fs, done: put_all(PosixStore(ROOT, fs), done)):
        for state in fs.crash_states(rng, STATES):
            assert_absent_or_whole(state, done)
            states += 1
    assert states > 500


def test_after_any_power_cut_everything_missing_can_be_put() -> None:
    rng = random.Random(SEED)
    for fs, _ in crashes(new_disk, lambda fs, done: put_all(PosixStore(ROOT, fs), done)):
        for state in fs.crash_states(rng, 8):
            store = PosixStore(ROOT, state)
            store.clean_temporary()
            put_missing(store)
            assert {n: store.get(n) for n, _ in store.list("")} == OBJECTS
            assert set(state.tree()) == {f"{ROOT}/{name}" for name in OBJECTS}, "something is left over"


def test_what_a_killed_process_left_visible_is_durable_after_cleaning() -> None:
    rng = random.Random(SEED)
    for fs, _ in crashes(new_disk, lambda fs, done: put_all(PosixStore(ROOT, fs), done)):
        second = fs.process_crash()
        store = PosixStore(ROOT, second)
        store.clean_temporary()
        visible = {name for name, _ in store.list("")}
        for state in second.crash_states(rng, STATES):
            assert_absent_or_whole(state, visible)


def test_a_second_crash_while_the_first_is_mended_loses_nothing() -> None:
    rng = random.Random(SEED)
    firsts = [fs for fs, _ in crashes(new_disk, lambda fs, done: put_all(PosixStore(ROOT, fs), done))]

    def mend(fs: SimFS, done: set[str]) -> None:
        store = PosixStore(ROOT, fs)
        store.clean_temporary()
        done |= {name for name, _ in store.list("")}
        put_missing(store, done)

    for first in firsts[::7]:
        for fs, done in crashes(first.process_crash, mend):
            for state in fs.crash_states(rng, 4):
                assert_absent_or_whole(state, done)


def put_missing(store: PosixStore, done: set[str] | None = None) -> None:
    there = {name for name, _ in store.list("")}
    for name in sorted(OBJECTS.keys() - there):
        store.put(name, [OBJECTS[name]])
        if done is not None:
            done.add(name)


def test_a_deleted_object_is_whole_or_absent_and_stays_away_once_delete_returned() -> None:
    rng = random.Random(SEED)

    def disk() -> SimFS:
        fs = new_disk()
        put_all(PosixStore(ROOT, fs), set())
        return fs

    def delete(fs: SimFS, done: set[str]) -> None:
        store = PosixStore(ROOT, fs)
        for name in sorted(OBJECTS):
            store.delete(name)
            done.add(name)

    for fs, gone in crashes(lambda: _fresh_counter(disk()), delete):
        for state in fs.crash_states(rng, STATES):
            assert_absent_or_whole(state, OBJECTS.keys() - gone - _deleting(fs))
            assert not gone & {name for name, _ in PosixStore(ROOT, state).list("")}


def _fresh_counter(fs: SimFS) -> SimFS:
    fs.operations = 0
    fs.trace.clear()
    return fs


def _deleting(fs: SimFS) -> set[str]:
    return {path.removeprefix(ROOT + "/") for kind, path in fs.trace if kind == "unlink"}


def test_a_replaced_file_holds_the_old_or_the_new_content_whole() -> None:
    rng = random.Random(SEED)
    versions = [b"old" * 500, b"new" * 700, b"newest" * 900]

    def disk() -> SimFS:
        fs = SimFS("/state")
        replace_file(fs, "/state/seen", versions[0])
        return _fresh_counter(fs)

    def replace(fs: SimFS, done: set[str]) -> None:
        for number, version in enumerate(versions[1:], 1):
            replace_file(fs, "/state/seen", version)
            done.add(str(number))

    for fs, done in crashes(disk, replace):
        for state in fs.crash_states(rng, STATES):
            found = versions.index(state.read("/state/seen", 0, None))
            assert found in (len(done), len(done) + 1)


# The simulation itself is strict ----------------------------------------------------------------------------


class _Forgetful:
    """Leaves out one kind of operation of the file system below."""

    def __init__(self, fs: SimFS, left_out: str, path: str = "") -> None:
        self._fs, self._left_out, self._path = fs, left_out, path

    def __getattr__(self, name: str) -> object:
        if name != self._left_out:
            return getattr(self._fs, name)
        if self._path:
            return lambda path: None if path == self._path else getattr(self._fs, name)(path)
        return lambda *arguments: None


class _InPlace(_Forgetful):
    """Writes to the final name at once."""

    def create(self, path: str) -> int:
        return self._fs.create(f"{ROOT}/config") if "/tmp/" in path else self._fs.create(path)

    def publish(self, old: str, new: str) -> None:
        return None


@pytest.mark.parametrize(
    "sloppy",
    [
        lambda fs: _Forgetful(fs, "sync"),
        lambda fs: _Forgetful(fs, "sync_folder"),
        lambda fs: _Forgetful(fs, "sync_folder", ROOT),
        lambda fs: _Forgetful(fs, "sync_folder", "/disk"),
        lambda fs: _InPlace(fs, "nothing"),
    ],
    ids=["no fsync", "no folder fsync", "no fsync of the object's folder", "no fsync above the root", "in place"],
)
def test_a_store_that_leaves_a_step_out_is_caught(sloppy: Callable[[SimFS], Files]) -> None:
    def put(fs: SimFS, done: set[str]) -> None:
        PosixStore(ROOT, sloppy(fs)).put("config", [OBJECTS["config"]])
        done.add("config")
        fs.size(f"{ROOT}/config")
        fs.make_folder("/disk/afterwards")

    def holds(state: SimFS, done: set[str]) -> bool:
        try:
            assert_absent_or_whole(state, done)
        except AssertionError:
            return False
        return True

    rng = random.Random(SEED)
    found = [holds(state, done) for fs, done in crashes(new_disk, put) for state in fs.crash_states(rng, STATES)]
    assert not all(found)


def test_all_combinations_are_tried_if_they_are_few() -> None:
    fs = SimFS("/d")
    for name in ("a", "b", "c"):
        fs.create(f"/d/{name}")
    found = {frozenset(state.tree()) for state in fs.crash_states(random.Random(SEED))}
    assert len(found) == 8


def test_unsynced_bytes_tear_and_synced_ones_do_not() -> None:
    fs = SimFS("/d")
    handle = fs.create("/d/a")
    fs.sync_folder("/d")
    fs.write(handle, [b"D" * 5000])
    fs.sync(handle)
    fs.write(handle, [b"u" * 9000])
    found = {state.read("/d/a", 0, None) for state in fs.crash_states(random.Random(SEED))}
    assert all(data.startswith(b"D" * 5000) and set(data[5000:]) <= set(b"u\0") for data in found)
    assert b"D" * 5000 in found
    assert b"D" * 5000 + b"u" * 9000 in found
    assert b"D" * 5000 + bytes(9000) in found
    assert len(found) == 5


def test_many_pending_operations_are_sampled_with_both_extremes() -> None:
    fs = SimFS("/d")
    for number in range(40):
        fs.write(fs.create(f"/d/{number}"), [b"x" * 2000])
    states = [state.tree() for state in fs.crash_states(random.Random(SEED), 100)]
    assert len(states) == 100
    assert states[0] == {}
    assert states[1] == fs.tree()
    again = [state.tree() for state in fs.crash_states(random.Random(SEED), 100)]
    assert states == again, "the seed decides everything"


def test_bytes_of_a_failed_sync_are_not_durable_whatever_comes_later() -> None:
    fs = SimFS("/d")
    handle = fs.create("/d/a")
    fs.sync_folder("/d")
    fs.write(handle, [b"x" * 1000])
    fs.fail(5, operations="sync")
    with pytest.raises(KeepstoneError):
        fs.sync(handle)
    fs.sync(handle)
    found = {state.read("/d/a", 0, None) for state in fs.crash_states(random.Random(SEED))}
    assert b"" in found
    assert fs.read("/d/a", 0, None) == b"x" * 1000


def test_after_the_crash_nothing_happens_any_more() -> None:
    fs = SimFS("/d")
    fs.crash_at = 1
    fs.create("/d/a")
    for _ in range(3):
        with pytest.raises(SimulatedCrash):
            fs.unlink("/d/a")
    assert fs.process_crash().tree() == {"/d/a": b""}
