"""What is kept on this computer for later runs spares fetching, and never decides anything."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard

from faults.faultstore import FaultStore
from keepstone.hashing import SubKeys
from keepstone.ids import Buffer, RepositoryId
from keepstone.repo import kept as module
from keepstone.repo.kept import Kept
from keepstone.store.memory import MemoryStore
from support import Place, noise, words

KEYS = SubKeys.derive(bytes(range(32)))
REPOSITORY = RepositoryId(bytes(16))
LENGTH = 4_000


def _kept(folder: Path, limit: int = 400_000) -> Kept:
    folder.mkdir(exist_ok=True)
    return Kept(folder, KEYS, REPOSITORY, limit)


def _name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _fill(folder: Path, numbers: Sequence[int], limit: int = 400_000) -> None:
    kept = _kept(folder, limit)
    for number in numbers:
        kept.keep(_name(number), noise(number, LENGTH))
    kept.close()


def _keep_frame(kept: Kept, numbers: Sequence[int]) -> None:
    parts = [noise(number, LENGTH) for number in numbers]
    frame = zstandard.ZstdCompressor().compress(b"".join(parts))
    kept.keep_frame(b"".join(map(_name, numbers)), [LENGTH] * len(parts), frame)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("kept.*"))


def _right_or_none(folder: Path, numbers: Sequence[int]) -> int:
    """Assert that no answer is a wrong one; return how many there were."""
    kept, found = _kept(folder), 0
    for number in numbers:
        answer = kept.get(_name(number))
        assert answer in (None, noise(number, LENGTH))
        found += answer is not None
    kept.close()
    return found


# The cache by itself ----------------------------------------------------------------------------------------


def test_what_was_kept_is_there_in_the_next_run(tmp_path: Path) -> None:
    _fill(tmp_path, range(20))
    assert _right_or_none(tmp_path, range(20)) == 20
    assert _kept(tmp_path).get(_name(99)) is None


def test_every_part_of_a_frame_is_there_in_the_next_run(tmp_path: Path) -> None:
    kept = _kept(tmp_path)
    for first in range(0, 42, 6):
        _keep_frame(kept, range(first, first + 6))
    kept.close()
    assert _right_or_none(tmp_path, random.Random(1).sample(range(42), 42)) == 42


def test_a_part_that_is_used_keeps_its_frame(tmp_path: Path) -> None:
    kept = _kept(tmp_path, 100_000)
    _keep_frame(kept, range(4))
    for number in range(100, 200):
        kept.keep(_name(number), noise(number, LENGTH))
        if number % 10 == 0:
            kept._opened.clear()
            assert kept.get(_name(2)) == noise(2, LENGTH)
    kept.close()
    assert _right_or_none(tmp_path, range(4)) == 4


def test_a_damaged_frame_gives_the_right_bytes_or_none(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "whole")
    _keep_frame(kept, range(5))
    _keep_frame(kept, range(5, 10))
    kept.close()
    rng = random.Random(3)
    for attempt in range(40):
        folder = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "whole", folder)
        (path,) = _files(folder)
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        assert _right_or_none(folder, range(10)) == 5


def test_nothing_at_rest_can_be_read(tmp_path: Path) -> None:
    kept = _kept(tmp_path)
    kept.keep(_name(1), b"my dear Ana " * 400)
    kept.close()
    for path in tmp_path.iterdir():
        assert b"dear" not in path.read_bytes()
        assert _name(1) not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_it_takes_no_more_room_than_it_may_and_what_is_used_stays(tmp_path: Path) -> None:
    kept = _kept(tmp_path, 100_000)
    for number in range(300):
        kept.keep(_name(number), noise(number, LENGTH))
        assert kept.get(_name(0)) == noise(0, LENGTH)
        assert sum(path.stat().st_size for path in _files(tmp_path)) <= 100_000
    kept.close()
    assert _right_or_none(tmp_path, range(300)) >= 10


def test_what_nobody_has_changed_yet_pushes_nothing_out(tmp_path: Path) -> None:
    kept = _kept(tmp_path, 100_000)
    for number in range(5):
        kept.keep(_name(number), noise(number, LENGTH))
    for number in range(100, 200):
        _keep_frame(kept, [number])
    assert all(kept.get(_name(number)) for number in range(5))
    assert kept.get(_name(100)) is not None
    assert kept.get(_name(199)) is None
    kept.close()


@pytest.mark.parametrize("where", ["list", "records"])
def test_damage_anywhere_gives_the_right_bytes_or_none(tmp_path: Path, where: str) -> None:
    _fill(tmp_path / "whole", range(10))
    rng = random.Random(f"damage {where}")
    for attempt in range(40):
        folder = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "whole", folder)
        (path,) = [folder / "kept"] if where == "list" else _files(folder)
        data = bytearray(path.read_bytes())
        if attempt % 4 == 3:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        found = _right_or_none(folder, range(10))
        assert found == 0 if where == "list" else found < 10
        _fill(folder, range(50, 55))
        assert _right_or_none(folder, range(50, 55)) == 5


def test_a_record_in_another_ones_place_is_not_taken_for_it(tmp_path: Path) -> None:
    _fill(tmp_path, range(2))
    (path,) = _files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :] + data[: len(data) // 2])
    assert _right_or_none(tmp_path, range(2)) == 0


def test_a_lost_file_costs_what_was_in_it(tmp_path: Path) -> None:
    _fill(tmp_path, range(20), 100_000)
    older, younger = _files(tmp_path)
    older.unlink()
    assert 0 < _right_or_none(tmp_path, range(20)) < 20
    younger.unlink()
    assert _right_or_none(tmp_path, range(20)) == 0


def test_a_run_that_is_killed_loses_only_its_own(tmp_path: Path) -> None:
    """Killed at any time: its files are as far as they came, and the list is that of the run before."""
    _fill(tmp_path / "whole", range(8), 100_000)
    for more in range(0, 40, 3):
        folder = tmp_path / str(more)
        shutil.copytree(tmp_path / "whole", folder)
        killed = _kept(folder, 100_000)
        for number in range(100, 100 + more):
            killed.keep(_name(number), noise(number, LENGTH))
        _right_or_none(folder, [*range(8), *range(100, 140)])
        _fill(folder, range(200, 205), 100_000)
        assert _right_or_none(folder, range(200, 205)) == 5
        assert len(_files(folder)) <= 2
        killed._forget()


def test_a_full_disk_is_borne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: Buffer, offset: int) -> int:
        raise OSError(errno.ENOSPC, "no space")

    def short(handle: int, data: Buffer, offset: int) -> int:
        return len(memoryview(data)) // 2

    _fill(tmp_path, range(3))
    for broken in (full, short):
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", broken)
            _fill(tmp_path, range(10, 13))
        assert _right_or_none(tmp_path, range(10, 13)) == 0
        assert _right_or_none(tmp_path, range(3)) == 3


# In a repository --------------------------------------------------------------------------------------------


def _database(path: Path, night: int) -> bytes:
    """Write a file that changes a little everywhere each night, and return it."""
    path.parent.mkdir(exist_ok=True)
    data = bytearray(words("history", 3_000_000))
    rng = random.Random(1)
    for _ in range(night * 40):
        at = rng.randrange(len(data) - 20)
        data[at : at + 20] = rng.randbytes(20)
    path.write_bytes(data)
    return bytes(data)


def _night(place: Place, night: int) -> int:
    """Save a night; return how many bytes were read from packs."""
    path = place.base / "source" / "history"
    data = _database(path, night)
    assert isinstance(place.store, FaultStore)
    before = sum(place.store.bytes_read.values())
    place.backup([path.parent])
    read = sum(place.store.bytes_read.values()) - before
    out = place.base / f"out{night}"
    place.restore(out, path.parent)
    assert (out / "history").read_bytes() == data
    return read


def _place(folder: Path) -> Place:
    return Place(folder, FaultStore(MemoryStore())).init()


def _cache(place: Place) -> Path:
    (folder,) = [path for path in (place.base / "cache").iterdir() if path.is_dir()]
    return folder


def test_a_night_fetches_no_bases(tmp_path: Path) -> None:
    place = _place(tmp_path)
    first = _night(place, 0)
    nights = [_night(place, night) for night in range(1, 5)]
    assert max(nights) < 300_000
    shutil.rmtree(_cache(place))
    assert _night(place, 5) > 1_000_000
    assert first < 100_000


@pytest.mark.parametrize("how", ["lost", "flipped", "foreign"])
def test_whatever_happens_to_it_every_night_restores(tmp_path: Path, how: str) -> None:
    place = _place(tmp_path)
    other = _place(tmp_path / "other")
    for somewhere in (place, other):
        _night(somewhere, 0)
        _night(somewhere, 1)
    rng = random.Random(how)
    for path in _files(_cache(place)):
        data = bytearray(path.read_bytes())
        if how == "lost":
            path.unlink()
        elif how == "flipped":
            for at in range(0, len(data), 3_000):
                data[at] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
        else:
            shutil.copy(_files(_cache(other))[0], path)
    _night(place, 2)
    with place.open() as client:
        assert client.check(read_data=1.0).healthy


def test_a_wrong_base_with_a_right_seal_is_not_used(tmp_path: Path) -> None:
    """Whoever has the key of the cache could seal anything, and so could a fault of this program."""
    place = _place(tmp_path)
    _night(place, 0)
    with place.open() as client:
        repository = client._repository
        names = [chunk for p, s in repository.list_packs() for chunk, _, _ in repository.directory(p, s)[0].entries()]
        packs = [found for found, _ in repository.list_packs()]
    shutil.rmtree(_cache(place))
    with place.open() as client:
        repository = client._repository
        for name in [*names, *packs]:
            repository.kept.keep(name, noise(1, 5_000))
        assert repository.kept.get(names[0]) == noise(1, 5_000)
    _night(place, 1)
    with place.open() as client:
        assert client.check(read_data=1.0).healthy


def test_without_a_cache_nothing_is_kept_on_disk(tmp_path: Path) -> None:
    place = _place(tmp_path)
    path = tmp_path / "source" / "history"
    for night in range(2):
        _database(path, night)
        place.backup([path.parent], in_memory=True)
    assert not (tmp_path / "cache").exists()


def test_a_second_process_works_without_it(tmp_path: Path) -> None:
    place = _place(tmp_path)
    _night(place, 0)
    with place.open() as first, place.open() as second:
        first._repository.kept.keep(_name(1), b"one" * 2_000)
        second._repository.kept.keep(_name(2), b"two" * 2_000)
        assert second._repository.kept.get(_name(1)) is None
    with place.open() as client:
        assert client._repository.kept.get(_name(1)) == b"one" * 2_000
        assert client._repository.kept.get(_name(2)) is None


def test_check_reads_directories_from_the_store(tmp_path: Path) -> None:
    """A pack's end that was kept tells what the pack holds, not that the store still has it."""
    place = _place(tmp_path)
    _night(place, 0)
    _night(place, 1)
    store = place.store
    assert isinstance(store, FaultStore)
    memory = store.inner
    assert isinstance(memory, MemoryStore)
    name = next(name for name in memory.objects if name.startswith("packs/"))
    data = bytearray(memory.objects[name])
    data[-200] ^= 1
    memory.objects[name] = bytes(data)
    with place.open() as client:
        assert any(finding.object_name == name for finding in client.check().findings)


def test_media_is_not_kept(tmp_path: Path) -> None:
    place = _place(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    (source / "photo.jpg").write_bytes(b"\xff\xd8\xff" + noise(1, 800_000))
    place.backup([source])
    assert sum(path.stat().st_size for path in _files(_cache(place))) < 100_000


def test_the_limit_is_what_the_manual_says() -> None:
    assert module.KEPT_BYTES == 256 * 1024 * 1024
