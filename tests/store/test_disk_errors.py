"""When the disk fails or is full, the error is typed, the object is absent, and a later put works."""

from __future__ import annotations

import errno
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.simfs import READING, WRITING, Folder, SimFS
from keepstone.errors import ObjectNotFound, StoreError, StoreFull, StoreReadOnly
from keepstone.store.files import SystemFiles, replace_file
from keepstone.store.posix import PosixStore

ROOT = "/disk/repo"
SEED = 20260722
FIRST, SECOND = "packs/ab/01", "packs/cd/02"
DATA = random.Random(SEED).randbytes(9000)

ERRORS = {
    errno.EIO: StoreError,
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EROFS: StoreReadOnly,
    errno.EACCES: StoreReadOnly,
    errno.EPERM: StoreReadOnly,
}


def disk_with_one_object() -> tuple[SimFS, PosixStore]:
    fs = SimFS("/disk")
    store = PosixStore(ROOT, fs)
    store.put(FIRST, [DATA])
    fs.trace.clear()
    return fs, store


def steps_of_a_put() -> list[str]:
    fs, store = disk_with_one_object()
    store.put(SECOND, [DATA])
    return [kind for kind, _ in fs.trace if kind in WRITING]


STEPS = steps_of_a_put()


def test_a_put_takes_the_steps_that_durability_needs_in_order() -> None:
    assert STEPS == ["make_folder", "sync_folder", "create", "write", "sync", "close", "publish", "sync_folder"]


@pytest.mark.parametrize("step", range(len(STEPS)), ids=[f"{n}-{kind}" for n, kind in enumerate(STEPS)])
@pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[error] for error in ERRORS])
def test_an_error_at_any_step_leaves_the_object_absent_and_the_store_usable(error: int, step: int) -> None:
    fs, store = disk_with_one_object()
    fs.fail(error, step, WRITING)
    with pytest.raises(StoreError) as caught:
        store.put(SECOND, [DATA])
    assert type(caught.value) is ERRORS[error]
    assert caught.value.message.endswith(".")

    assert dict(store.list("")) == {FIRST: len(DATA)}
    with pytest.raises(ObjectNotFound):
        store.get(SECOND)
    assert not [path for path in fs.tree() if "/tmp/" in path], "a temporary file is left over"

    assert store.put(SECOND, [DATA]) == len(DATA)
    for state in fs.crash_states(random.Random(SEED), 64):
        assert PosixStore(ROOT, state).get(SECOND) == DATA


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=["EIO", "ENOSPC", "EROFS"])
def test_a_disk_that_stays_broken_shows_nothing_of_the_object(error: int, step: int) -> None:
    fs, store = disk_with_one_object()
    fs.fail(error, step, WRITING, times=None)
    with pytest.raises(ERRORS[error]):
        store.put(SECOND, [DATA])
    if step < len(STEPS) - 1:  # At the last one the whole object is in its place, and nothing can remove it.
        assert dict(store.list("")) == {FIRST: len(DATA)}
    assert store.get(FIRST) == DATA
    fs.faults.clear()
    store.clean_temporary()
    if SECOND not in dict(store.list("")):
        store.put(SECOND, [DATA])
    assert store.get(SECOND) == DATA
    assert set(fs.tree()) == {f"{ROOT}/{FIRST}", f"{ROOT}/{SECOND}"}


def test_every_fsync_of_a_first_put_may_fail_once() -> None:
    syncs = 0
    while True:
        fs = SimFS("/disk")
        store = PosixStore(ROOT, fs)
        fs.fail(errno.EIO, syncs, frozenset({"sync", "sync_folder"}))
        try:
            store.put(FIRST, [DATA])
        except StoreError:
            assert list(store.list("")) == []
            store.put(FIRST, [DATA])
        else:
            break
        for state in fs.crash_states(random.Random(SEED), 64):
            assert PosixStore(ROOT, state).get(FIRST) == DATA
        syncs += 1
    assert syncs == len(["above the root", "root, for tmp", "root, for packs", "packs", "file", "ab"])


def test_a_failed_sync_is_not_tried_again_on_the_same_handle() -> None:
    fs, store = disk_with_one_object()
    fs.fail(errno.EIO, operations="sync")
    with pytest.raises(StoreError):
        store.put(SECOND, [DATA])
    kinds = [kind for kind, _ in fs.trace]
    assert kinds.count("sync") == 1
    assert kinds[kinds.index("sync") + 1 :] == ["close", "unlink"]


@pytest.mark.parametrize("capacity", [0, 1, 4096, len(DATA) - 1])
def test_a_full_disk_takes_the_object_after_space_was_freed(capacity: int) -> None:
    fs, store = disk_with_one_object()
    fs.capacity = len(DATA) + capacity
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.put(SECOND, [DATA[:5000], DATA[5000:]])
    assert dict(store.list("")) == {FIRST: len(DATA)}
    store.delete(FIRST)
    store.put(SECOND, [DATA])
    assert store.get(SECOND) == DATA


@pytest.mark.parametrize("kind", sorted(READING))
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_a_failure_to_read_is_no_absence(kind: str, error: int) -> None:
    fs, store = disk_with_one_object()
    fs.fail(error, operations=kind, times=None)
    acts = {"read": lambda: store.get(FIRST), "size": lambda: store.size(FIRST), "list": lambda: list(store.list(""))}
    with pytest.raises(StoreError) as caught:
        acts[kind]()
    assert type(caught.value) is StoreError


def test_a_failure_to_look_whether_the_name_is_free_stops_the_put() -> None:
    fs, store = disk_with_one_object()
    fs.fail(errno.EIO, operations="size")
    with pytest.raises(StoreError):
        store.put(SECOND, [DATA])
    assert dict(store.list("")) == {FIRST: len(DATA)}


def test_a_listing_that_fails_halfway_raises() -> None:
    fs, store = disk_with_one_object()
    store.put(SECOND, [DATA])
    fs.fail(errno.EIO, 3, "list")
    with pytest.raises(StoreError):
        list(store.list(""))


def test_a_disk_that_was_taken_away_is_not_made_anew() -> None:
    fs, store = disk_with_one_object()
    fs.root.entries["disk"] = Folder()
    for name in (SECOND, FIRST):
        with pytest.raises(StoreError) as caught:
            store.put(name, [DATA])
        assert not isinstance(caught.value, ObjectNotFound)
        assert caught.value.retriable
    assert fs.tree() == {}


def test_an_unfinished_object_that_another_writer_cleaned_away_is_written_again() -> None:
    fs, store = disk_with_one_object()
    other = PosixStore(ROOT, fs)
    cleaned: list[bool] = []

    def clean_once(_: SimFS) -> None:
        if fs.trace[-1][0] == "close" and not cleaned:
            cleaned.append(True)
            assert other.clean_temporary() == 1

    fs.after_each = clean_once
    store.put(SECOND, [DATA])
    assert cleaned
    assert store.get(SECOND) == DATA
    assert set(fs.tree()) == {f"{ROOT}/{FIRST}", f"{ROOT}/{SECOND}"}


@pytest.mark.parametrize("step", range(6))
def test_a_file_that_cannot_be_replaced_keeps_its_content(step: int) -> None:
    fs = SimFS("/state")
    replace_file(fs, "/state/seen", b"old")
    fs.fail(errno.ENOSPC, step, WRITING)
    with pytest.raises(StoreFull):
        replace_file(fs, "/state/seen", b"new")
    synced = fs.trace[-1][0] == "sync_folder"
    assert fs.tree() == {"/state/seen": b"new" if synced else b"old"}
    replace_file(fs, "/state/seen", b"newer")
    assert fs.tree() == {"/state/seen": b"newer"}


# On real file systems ---------------------------------------------------------------------------------------


def mount(folder: Path, options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk_is_reported_and_recovers(small_disk: Path) -> None:
    store = PosixStore(small_disk / "repo")
    stored: list[str] = []

    def fill() -> None:
        for number in range(100):
            store.put(f"packs/ab/{number:03}", [DATA])
            stored.append(f"packs/ab/{number:03}")

    with pytest.raises(StoreFull):
        fill()
    assert 5 < len(stored) < 100
    assert dict(store.list("")) == dict.fromkeys(stored, len(DATA))
    assert list((small_disk / "repo/tmp").iterdir()) == []
    with pytest.raises(StoreFull):
        replace_file(SystemFiles(), str(small_disk / "state"), DATA * 30)
    assert not (small_disk / "state").exists()
    for name in stored[:3]:
        store.delete(name)
    store.put("packs/ab/100", [DATA])
    assert all(store.get(name) == DATA for name in [*stored[3:], "packs/ab/100"])


def test_a_real_read_only_disk_is_reported_and_still_read(small_disk: Path) -> None:
    store = PosixStore(small_disk / "repo")
    store.put(FIRST, [DATA])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for act in (lambda: store.put(SECOND, [DATA]), lambda: PosixStore(small_disk / "repo").put(SECOND, [DATA])):
        with pytest.raises(StoreReadOnly):
            act()
    with pytest.raises(StoreReadOnly):
        store.delete(FIRST)
    assert store.get(FIRST) == DATA
    assert store.clean_temporary() == 0
