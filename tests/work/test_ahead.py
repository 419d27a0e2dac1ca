"""A scan beside the unlocking spares looks at folders, and changes nothing of what a backup stores."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

import pytest

import keepstone
from keepstone.repo import keys
from keepstone.sources import files
from keepstone.work import ahead as ahead_module
from support import Place, make_source, picture, words

LONG_AFTER = 2 * 10**18


def _options(source: Path, **more: object) -> keepstone.BackupOptions:
    return keepstone.BackupOptions(sources=[os.fsencode(source)], **more)  # type: ignore[arg-type]  # passed on


def _looked(options: keepstone.BackupOptions, place: Place) -> keepstone.ScanAhead:
    """Return a scan that has come to its end."""
    ahead = keepstone.ScanAhead(options, place.clock)
    ahead._thread.join()
    return ahead


@pytest.fixture
def place(tmp_path: Path, source: Path) -> Place:
    """A repository with two snapshots of the source, so that every folder has its record."""
    made = Place(tmp_path).init()
    made.clock.ns = LONG_AFTER
    made.backup([source])
    made.backup([source])
    return made


def test_unchanged_folders_are_not_looked_at_again(place: Place, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = _looked(_options(source), place)
    monkeypatch.setattr(files, "list_folder", lambda *_: pytest.fail("a folder was listed again"))
    with place.open() as repository:
        result = repository.backup(_options(source), ahead=ahead)
    assert result.counts.files_unmodified == result.counts.files > 0


@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("seed", range(12))
def test_no_change_is_lost_whenever_it_happens(
    tmp_path: Path, place: Place, source: Path, when: str, seed: int
) -> None:
    """A change between scan and backup is in this snapshot or in the next one, and no folder is torn."""
    change = random.Random(seed)
    before = picture(source)
    if when == "before":
        _change(source, change)
    ahead = _looked(_options(source), place)
    if when == "between":
        _change(source, change)
    with place.open() as repository:
        repository.backup(_options(source), ahead=ahead)
    place.restore(tmp_path / "first", source)
    place.backup([source])
    place.restore(tmp_path / "second", source)
    now = picture(source)
    assert picture(tmp_path / "second") == now
    if when == "before":
        assert picture(tmp_path / "first") == now
    else:
        stored = picture(tmp_path / "first")
        assert all(seen in (before.get(path), now.get(path)) for path, seen in stored.items() if seen[0] != "folder")


def _change(source: Path, rng: random.Random) -> None:
    folders = [path for path in sorted(source.rglob("*")) if path.is_dir() and not path.is_symlink()] + [source]
    for _ in range(rng.randint(1, 3)):
        folder = rng.choice([folder for folder in folders if folder.is_dir()])
        what = rng.choice(["file", "folder", "gone", "file to folder"])
        name = folder / f"new{rng.randint(0, 3)}"
        if what == "folder":
            (name / "below").mkdir(parents=True, exist_ok=True)
            (name / "below" / "file").write_bytes(words(rng.random(), 500))
        elif what == "gone" and folder != source:
            shutil.rmtree(folder)
        elif what == "file to folder" and (folder / "small.txt").is_file():
            (folder / "small.txt").unlink()
            (folder / "small.txt").mkdir()
        elif not name.is_dir():
            name.write_bytes(words(rng.random(), 300))


def test_folders_that_are_left_out_are_not_entered(place: Place, source: Path) -> None:
    exclusions = keepstone.Exclusions(["b"])
    ahead = _looked(_options(source, exclusions=exclusions), place)
    assert ahead.take(os.fsencode(source / "a")) is not None
    assert ahead.take(os.fsencode(source / "a" / "b")) is None


def test_other_rules_than_those_of_the_record_look_again(tmp_path: Path, place: Place, source: Path) -> None:
    options = _options(source, exclusions=keepstone.Exclusions(["deep"]))
    ahead = _looked(options, place)
    with place.open() as repository:
        repository.backup(options, ahead=ahead)
    place.restore(tmp_path / "out", source)
    assert not (tmp_path / "out" / "a" / "b" / "c" / "deep").exists()


def test_a_snapshot_is_as_old_as_its_scan(place: Place, source: Path) -> None:
    ahead = _looked(_options(source), place)
    place.clock.ns += 10**9
    with place.open() as repository:
        repository.backup(_options(source), ahead=ahead)
        assert repository.snapshot("latest").body.time_ns == ahead.started_ns


def test_the_scan_is_bounded_and_stops_when_asked(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tmp_path / "many"
    for number in range(30):
        (many / str(number)).mkdir(parents=True)
    monkeypatch.setattr(ahead_module, "MOST_FOLDERS", 10)
    assert len(_looked(_options(many), place)._glances) == 10

    looks: list[bytes] = []
    going, entered = threading.Event(), threading.Event()

    def slow(path: bytes, now_ns: int) -> files.Glance | None:
        looks.append(path)
        entered.set()
        going.wait()
        return files.Glance(b"", [(b"x", os.lstat(path).st_dev)] if len(looks) == 1 else [])

    monkeypatch.setattr(files, "glance", slow)
    ahead = keepstone.ScanAhead(_options(many), place.clock)
    entered.wait()
    ahead._stopped.set()
    going.set()
    ahead.stop()
    assert looks == [os.fsencode(many)]


def test_what_cannot_be_looked_at_is_said_by_the_backup_alone(tmp_path: Path, place: Place, source: Path) -> None:
    options = keepstone.BackupOptions(sources=[os.fsencode(source), os.fsencode(tmp_path / "missing")])
    ahead = _looked(options, place)
    with place.open() as repository:
        result = repository.backup(options, ahead=ahead)
    assert [problem.path for problem in result.problems] == [os.fsencode(tmp_path / "missing")]


def test_without_a_thread_to_be_had_the_backup_looks_itself(
    place: Place, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        ahead = keepstone.ScanAhead(_options(source), place.clock)
    with place.open() as repository:
        assert repository.backup(_options(source), ahead=ahead).counts.files_unmodified > 0


def test_the_key_derivation_and_the_scan_run_beside_each_other(
    tmp_path: Path, place: Place, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a password's key is being derived, the scan comes to its end: the derivation waits for it here."""
    with place.open() as repository:
        repository.add_key(keepstone.password("secret"), memory_kib=keys.FLOOR_KIB)
    derive = keys._argon2id

    ahead: list[keepstone.ScanAhead] = []

    def waiting(secret: bytes, clear: keys.Clear) -> bytes:
        ahead[0]._thread.join(timeout=60)
        assert not ahead[0]._thread.is_alive()
        return derive(secret, clear)

    monkeypatch.setattr(keys, "_argon2id", waiting)
    ahead.append(keepstone.ScanAhead(_options(source), place.clock))
    place.credential = keepstone.password("secret")
    with place.open() as repository:
        monkeypatch.setattr(files, "list_folder", lambda *_: pytest.fail("a folder was listed again"))
        repository.backup(_options(source), ahead=ahead[0])


def test_a_new_source_folder_is_stored_whole(tmp_path: Path, place: Place) -> None:
    other = make_source(tmp_path / "other")
    ahead = _looked(_options(other), place)
    with place.open() as repository:
        repository.backup(_options(other), ahead=ahead)
    place.restore(tmp_path / "out", other)
    assert picture(tmp_path / "out") == picture(other)
