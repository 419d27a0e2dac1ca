"""Whatever is cut off, full or failing: earlier snapshots restore, the interrupted one is absent or complete, and the
next run needs no manual step. Exhaustive over every store operation of every verb that writes."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import keepstone
from faults import SimulatedCrash
from faults.faultstore import FaultStore, Operation
from faults.simfs import SimFS
from keepstone.errors import KeepstoneError, StoreError, StoreFull, StoreReadOnly
from keepstone.store.memory import MemoryStore
from keepstone.store.posix import PosixStore
from support import KEY, Place, noise, picture, words

SEED = 7
OTHER_KEY = keepstone.parse_digits("fedcba9876543210" * 4)

Verb = Callable[[Place, Path], object]


def _backup(place: Place, source: Path) -> object:
    return place.backup([source])


def _key_add(place: Place, source: Path) -> object:
    with place.open() as repository:
        return repository.add_key(OTHER_KEY)


def _key_remove(place: Place, source: Path) -> object:
    with place.open() as repository:
        keys = repository.keys()
        if len(keys) < 2:
            return None
        (spare,) = [key for key in keys if key.id != place.first_key]  # type: ignore[attr-defined]  # set by _prepared
        return repository.remove_key(spare.id.hex())


def _key_change(place: Place, source: Path) -> object:
    with place.open() as repository:
        return repository.change_key(KEY, KEY)


def _rebuild(place: Place, source: Path) -> object:
    with place.open() as repository:
        return repository.rebuild_index()


VERBS: dict[str, Verb] = {
    "backup": _backup,
    "key add": _key_add,
    "key remove": _key_remove,
    "key change": _key_change,
    "index rebuild": _rebuild,
}


def _prepared(tmp_path: Path, verb: str) -> tuple[Place, Path, Path]:
    """Return a repository with one snapshot, its source as it was then, and as it is now."""
    first, now = tmp_path / "first" / "data", tmp_path / "source" / "data"
    for folder in (first, now):
        (folder / "sub").mkdir(parents=True)
        (folder / "text").write_bytes(words(1, 5_000))
        (folder / "sub" / "noise").write_bytes(noise(2, 9_000))
    place = Place(tmp_path, MemoryStore()).init()
    place.backup([first])
    (now / "text").write_bytes(words(3, 6_000))
    (now / "sub" / "more").write_bytes(noise(4, 8_000))
    with place.open() as repository:
        place.first_key = repository.keys()[0].id  # type: ignore[attr-defined]  # for _key_remove
        if verb == "key remove":
            repository.add_key(OTHER_KEY)
    if verb == "index rebuild":
        store = place.store
        assert isinstance(store, MemoryStore)
        for name in [name for name in store.objects if name.startswith("index/")]:
            store.delete(name)
    return place, first, now


def _copy(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    copied.objects = dict(store.objects)
    return copied


def _assert_whole(place: Place, first: Path, now: Path, target: Path) -> None:
    """Every snapshot restores byte for byte, and nothing is wrong."""
    with place.open() as repository:
        known = repository.snapshots()
        result = repository.check(read_data=1.0)
    assert result.healthy, result
    assert known, "the earlier snapshot is gone"
    for number, snapshot in enumerate(known):
        origin = first if number == 0 else now
        place.restore(target / str(number), origin, snapshot.id.hex())
        assert picture(target / str(number)) == picture(origin)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_crash_at_any_store_operation_loses_nothing(tmp_path: Path, verb: str, after: bool) -> None:
    place, first, now = _prepared(tmp_path, verb)
    stored = place.store
    assert isinstance(stored, MemoryStore)
    for nth in range(1000):
        trial = Place(tmp_path / str(nth), _copy(stored))
        trial.first_key = place.first_key  # type: ignore[attr-defined]  # for _key_remove
        with trial.open():
            pass  # it has seen what there is, so a lost record would be noticed
        faulty = FaultStore(trial.store)
        faulty.crash_at(nth, after=after)
        broken = Place(trial.base, faulty)
        broken.first_key = place.first_key  # type: ignore[attr-defined]  # for _key_remove
        try:
            VERBS[verb](broken, now)
        except SimulatedCrash:
            _assert_whole(trial, first, now, trial.base / "out")
            VERBS[verb](trial, now)
            _assert_whole(trial, first, now, trial.base / "again")
        else:
            assert nth > 3
            return
    raise AssertionError("the verb never ended")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_operation_of_init_needs_no_manual_step(tmp_path: Path, after: bool) -> None:
    for nth in range(100):
        store = MemoryStore()
        faulty = FaultStore(store)
        faulty.crash_at(nth, after=after, operations="put")
        try:
            Place(tmp_path / str(nth), faulty).init()
        except SimulatedCrash:
            again = Place(tmp_path / str(nth), store)
            if "config" not in store.objects:
                again.init()
            with again.open() as repository:
                assert repository.check(read_data=1.0).healthy
        else:
            assert nth >= 2
            return
    raise AssertionError("init never ended")


ERRORS = [StoreError("I/O error."), StoreFull("No space."), StoreReadOnly("Read-only.")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
@pytest.mark.parametrize("verb", VERBS)
def test_an_error_of_any_store_operation_is_reported_and_loses_nothing(
    tmp_path: Path, verb: str, error: StoreError
) -> None:
    place, first, now = _prepared(tmp_path, verb)
    stored = place.store
    assert isinstance(stored, MemoryStore)
    for nth in range(1000):
        trial = Place(tmp_path / str(nth), _copy(stored))
        faulty = FaultStore(trial.store)
        faulty.fail_at(nth, error)
        broken = Place(trial.base, faulty)
        broken.first_key = trial.first_key = place.first_key  # type: ignore[attr-defined]  # for _key_remove
        try:
            VERBS[verb](broken, now)
        except KeepstoneError:
            _assert_whole(trial, first, now, trial.base / "out")
            VERBS[verb](trial, now)
            _assert_whole(trial, first, now, trial.base / "again")
            continue
        if not faulty.plans[0].seen > nth:
            return
        _assert_whole(trial, first, now, trial.base / "out")
    raise AssertionError("the verb never ended")


def test_objects_are_written_in_the_order_that_keeps_every_moment_whole(tmp_path: Path) -> None:
    """After every single operation: what a record or index object refers to is there."""
    source = tmp_path / "source"
    source.mkdir()
    store = MemoryStore()
    faulty = FaultStore(store)
    place = Place(tmp_path, faulty)
    reader = Place(tmp_path / "reader", store)
    moments = 0

    def observe(operation: Operation) -> None:
        nonlocal moments
        if operation.kind not in ("put", "delete") or "config" not in store.objects:
            return
        moments += 1
        with Place(tmp_path / f"reader{moments}", store).open(in_memory=True) as repository:
            assert repository.check(read_data=1.0).healthy, operation

    faulty.observer = observe
    place.init()
    for run in range(3):
        (source / f"file{run}").write_bytes(noise(run, 40_000))
        place.backup([source])
    with place.open() as repository:
        added = repository.add_key(OTHER_KEY)
        repository.remove_key(added.hex())
    assert moments > 10
    assert reader.restore(tmp_path / "out", source).problems == []


# Power cuts -------------------------------------------------------------------------------------------------


def _on_simfs(tmp_path: Path, files: SimFS, name: str) -> Place:
    return Place(tmp_path / name, PosixStore("/repository", files))


def _simulated(tmp_path: Path) -> tuple[SimFS, Path, Path]:
    files = SimFS("/repository")
    first, now = tmp_path / "first" / "data", tmp_path / "source" / "data"
    for folder in (first, now):
        folder.mkdir(parents=True)
        (folder / "text").write_bytes(words(1, 3_000))
    _on_simfs(tmp_path, files, "a").init().backup([first])
    (now / "text").write_bytes(words(5, 4_000))
    (now / "more").write_bytes(noise(6, 3_000))
    return files, first, now


def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    files, first, now = _simulated(tmp_path)
    rng = random.Random(SEED)
    states = 0
    for nth in range(2000):
        running = files.process_crash()
        running.crash_at = nth
        name = f"p{nth}"
        try:
            _on_simfs(tmp_path, running, name).backup([now])
        except SimulatedCrash:
            for number, state in enumerate(running.crash_states(rng, limit=6)):
                states += 1
                # Each is a world of its own: what this computer remembers is as it was at the cut.
                world = f"{name}-{number}"
                if (tmp_path / name).exists():
                    shutil.copytree(tmp_path / name, tmp_path / world)
                after = _on_simfs(tmp_path, state, world)
                _assert_whole(after, first, now, tmp_path / f"out{nth}-{number}")
            after.backup([now])
            _assert_whole(after, first, now, tmp_path / f"again{nth}")
        else:
            assert states > nth > 10
            return
    raise AssertionError("the backup never ended")


DISK_ERRORS = [
    ("sync", errno.EIO),
    ("sync_folder", errno.EIO),
    ("close", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", errno.EDQUOT),
    ("write", errno.EROFS),
    ("write", errno.EIO),
    ("publish", errno.EIO),
]


@pytest.mark.parametrize(("operation", "number"), DISK_ERRORS)
def test_a_failing_disk_is_reported_and_nothing_is_published(tmp_path: Path, operation: str, number: int) -> None:
    files, first, now = _simulated(tmp_path)
    for nth in range(500):
        running = files.process_crash()
        fault = running.fail(number, nth, operation)
        place = _on_simfs(tmp_path, running, f"e{nth}")
        try:
            place.backup([now])
        except KeepstoneError:
            fault.times = 0
            with place.open() as repository:
                assert len(repository.snapshots()) == 1, "a snapshot was published after a failed write"
            place.backup([now])
            _assert_whole(place, first, now, tmp_path / f"out{nth}")
        else:
            assert nth >= 1
            return
    raise AssertionError("the backup never ended")


# Resuming ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_an_interrupted_first_backup_resumes_without_storing_again(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepstone.repo.format.PACK_TARGET", 256 * 1024)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60):
        (source / f"file{number:02}").write_bytes(noise(number, 100_000))
    whole = MemoryStore()
    Place(tmp_path / "whole", whole).init().backup([source])
    packs = [name for name in whole.objects if name.startswith("packs/")]
    store = MemoryStore()
    faulty = FaultStore(store)
    place = Place(tmp_path, faulty).init()
    faulty.crash_at(int(len(packs) * share), operations="put", prefix="packs/")
    with pytest.raises(SimulatedCrash):
        place.backup([source])
    before = sum(len(data) for name, data in store.objects.items() if name.startswith("packs/"))
    assert before > 0
    again = Place(tmp_path, store)
    again.backup([source])
    with again.open() as repository:
        stats = repository.stats()
    # Every chunk once: nothing that was stored before the interruption was stored again.
    assert stats.plain_size <= 60 * 100_000 * 1.02
    again.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_a_codec_that_returns_wrong_bytes_is_caught_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, now = _prepared(tmp_path, "backup")
    store = place.store
    assert isinstance(store, MemoryStore)
    before = dict(store.objects)
    from keepstone import compression

    honest = compression.compress

    def lying(data: bytes, level: int) -> bytes | None:
        wrong = bytearray(data)
        wrong[len(wrong) // 2] ^= 1
        return honest(bytes(wrong), level)

    monkeypatch.setattr("keepstone.compression.compress", lying)
    with pytest.raises(keepstone.KeepstoneError, match="did not read back"):
        place.backup([now])
    assert store.objects == before
    monkeypatch.undo()
    place.backup([now])
    _assert_whole(place, first, now, tmp_path / "out")
