"""The local index is a cache: losing it costs time, and nothing it says is believed where that could cost data."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

import keepstone
from faults.faultstore import FaultStore
from keepstone.repo import cache, pack
from keepstone.repo.directories import FrameRow
from keepstone.store.memory import MemoryStore
from repo import damaged_index
from support import Place, child_environment, noise, picture, report, words

SEED = 11


def _content(folder: Path, runs: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        below = folder / f"folder{number % 4}"
        below.mkdir(exist_ok=True)
        (below / f"file{number}").write_bytes(noise((number, runs), 3_000 + number * 700))
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18))
    return folder


def _database(place: Place) -> Path:
    (found,) = (place.base / "cache").glob("*/data.mdb")
    return found


def test_removing_the_cache_costs_time_only(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    shutil.rmtree(tmp_path / "cache")
    again = place.backup([source])
    assert again.counts.added == 0
    assert again.counts.files_unmodified == 12
    with place.open() as repository:
        shutil.rmtree(tmp_path / "cache")
        assert repository.check(read_data=1.0).healthy
    assert place.backup([source]).counts.added == 0


def test_removing_the_cache_in_the_middle_of_a_backup_costs_time_only(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    store = FaultStore(MemoryStore())
    place = Place(tmp_path, store).init()
    store.observer = lambda operation: shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    place.backup([source])
    store.observer = None
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)
    assert place.backup([source]).counts.added == 0


@pytest.mark.parametrize("count", [70, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_damaged_cache_is_discarded_and_never_harms(tmp_path: Path, count: int) -> None:
    """In this process: the stamp keeps LMDB from seeing any of it. What LMDB would make of it is tested below."""
    report(f"seed {SEED}")
    rng = random.Random(f"{SEED} damages")
    source = _content(tmp_path / "source")
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    place.backup([source])
    objects, state = dict(store.objects), tmp_path / "kept"
    shutil.copytree(tmp_path / "state", state)
    database = _database(place)
    original, stamp = database.read_bytes(), (database.parent / "stamp").read_bytes()
    for number in range(count):
        kind = rng.choice(["garbage", "stamp", *damaged_index.KINDS])
        store.objects = dict(objects)
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(state, tmp_path / "state")
        (database.parent / "stamp").write_bytes(stamp if kind != "stamp" else rng.randbytes(rng.randrange(64)))
        database.write_bytes(original if kind == "stamp" else damaged_index.damage(original, kind, rng))
        result = place.backup([source])
        assert (result.counts.added, result.counts.files) == (0, 12), (number, kind)
        if number % 50 == 0:
            with place.open() as repository:
                assert repository.check(read_data=1.0).healthy
            place.restore(tmp_path / f"out{number}", source)
            assert picture(tmp_path / f"out{number}") == picture(source)


@pytest.mark.parametrize("count", [10, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_damaged_cache_with_a_valid_stamp_never_harms_a_snapshot(tmp_path: Path, count: int) -> None:
    """A stamp over damage needs the repository's key, so this happens only if a disk fails while the file is open.

    LMDB then trusts what it should not, and one damage of twelve kills the process (SIGBUS, where the file is shorter
    than it says): that is the reason for the stamp. What is not killed must make a whole snapshot.
    """
    report(f"seed {SEED}")
    damaged_index.prepare(tmp_path)
    done = subprocess.run(
        [sys.executable, damaged_index.__file__, tmp_path, str(SEED), str(count)], capture_output=True, text=True,
        check=False, env=child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    report(f"of {count} damages: {ended}")
    assert sum(ended.values()) == count
    assert ended.keys() <= {damaged_index.RIGHT, "SIGBUS", "SIGSEGV", "SIGABRT"}, (ended, done.stderr)
    assert ended[damaged_index.RIGHT] > count / 2


def _break(database: Path) -> None:
    """Overwrite what LMDB has open: everything but the two pages that say where the others are."""
    length = database.stat().st_size - 2 * damaged_index.PAGE
    with database.open("r+b") as file:
        file.seek(2 * damaged_index.PAGE)
        file.write(b"\xff" * length)


def test_a_file_that_breaks_while_it_is_open_knows_nothing_and_is_never_stamped(tmp_path: Path) -> None:
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    pairs = [(f"{number}".encode(), b"v" * 200) for number in range(500)]
    tables.write([(cache.CHUNKS, pairs)])
    tables.close()
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    assert tables.get(cache.CHUNKS, b"7") == b"v" * 200
    _break(tmp_path / "data.mdb")
    assert tables.get(cache.CHUNKS, b"8") is None
    with pytest.raises(lmdb.Error):
        tables.write([(cache.CHUNKS, pairs)])
    tables.close()
    assert not (tmp_path / "stamp").exists()
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    assert tables.count(cache.CHUNKS) == 0
    tables.close()


def test_a_cache_that_breaks_while_it_is_open_harms_no_snapshot(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    with place.open() as client:
        _break(_database(place))
        client.backup(keepstone.BackupOptions(sources=[os.fsencode(source)], force=True))
    assert place.backup([source]).counts.added == 0
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_a_cache_that_breaks_while_it_is_open_raises_no_false_alarm(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    with place.open() as client:
        _break(_database(place))
        assert client.check(read_data=1.0).healthy


def test_the_cache_of_another_repository_is_discarded(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    one, two = Place(tmp_path / "one").init(), Place(tmp_path / "two").init()
    one.backup([source])
    two.backup([source])
    first, second = _database(one).parent, _database(two).parent
    for name in ("data.mdb", "stamp"):
        shutil.copy(first / name, second / name)
    assert two.backup([source]).counts.added == 0
    with two.open() as repository:
        assert repository.check(read_data=1.0).healthy


def test_the_cache_shows_no_plaintext(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    for path in [*(tmp_path / "cache").rglob("*"), *(tmp_path / "state").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert b"file1" not in data
            assert b"folder1" not in data
            assert (path.stat().st_mode & 0o077) == 0


def _poison_chunks(client: keepstone.Client) -> None:
    """Let the index say that it knows every chunk: each is said to be where another one is."""
    repository = client._repository
    index = repository.ready_index()
    honest = index.lookup
    index.lookup = lambda chunk: honest(chunk) or cache.Place(0, 0, 0)  # type: ignore[method-assign]


def _poison_packs(client: keepstone.Client) -> None:
    """Let the index know chunks in a pack that does not exist."""
    repository = client._repository
    index = repository.ready_index()
    rows = [FrameRow(pack.RAW, 10, os.urandom(32), b"\x01\0\0\0", b"")]
    index.add_packs([pack.Directory(keepstone.repo.pack.PackId(b"x" * 32), 1000, rows, [0])])  # type: ignore[attr-defined]
    honest = index.lookup
    last = len(index._live) - 1
    index.lookup = lambda chunk: honest(chunk) or cache.Place(last, 0, 0)  # type: ignore[method-assign]


@pytest.mark.parametrize("poison", [_poison_chunks, _poison_packs])
def test_a_cache_with_false_hits_still_gives_a_complete_snapshot(
    tmp_path: Path, poison: Callable[[keepstone.Client], None]
) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    _content(source, runs=2)
    with place.open() as client:
        poison(client)
        client.backup(keepstone.BackupOptions(sources=[os.fsencode(source)], force=True))
    with place.open(in_memory=True) as client:
        assert client.check(read_data=1.0).healthy
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_false_folder_records_never_reach_a_snapshot(tmp_path: Path) -> None:
    """The index claims, with the right keys, that every folder has the tree of another one."""
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    place.backup([source])
    with place.open() as client:
        index = client._repository.index
        honest = index.folder
        wrong = honest(os.fsencode(source / "folder1"))
        assert wrong is not None
        from keepstone.work import folders

        lie = folders._record_decoder.decode(wrong)

        def poisoned(path: bytes) -> bytes | None:
            kept = honest(path)
            if kept is None:
                return None
            record = folders._record_decoder.decode(kept)
            return folders.encoding.encode(
                folders.FolderRecord(record.state, record.below, lie.content, lie.size, lie.files, lie.folders)
            )

        index.folder = poisoned  # type: ignore[method-assign]
        client.backup(keepstone.BackupOptions(sources=[os.fsencode(source)]))
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_a_second_process_works_without_the_cache(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([source])
    with place.open() as first, place.open() as second:
        assert first._repository.index._tables.persistent
        assert not second._repository.index._tables.persistent
        assert second.check(read_data=1.0).healthy
        assert first.check(read_data=1.0).healthy


def test_lmdb_and_dictionary_tables_agree(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    lmdb, plain = cache.LmdbTables(tmp_path, b"k" * 32), cache.DictTables()
    for _ in range(60):
        table = rng.choice(cache.TABLES)
        pairs = [(rng.randbytes(4), rng.randbytes(rng.randrange(300))) for _ in range(rng.randrange(50))]
        for tables in (lmdb, plain):
            tables.write([(table, dict(pairs).items())])
        for key, _ in pairs:
            assert lmdb.get(table, key) == plain.get(table, key)
        assert lmdb.get(table, b"no such key") is None
        assert sorted(lmdb.keys(table)) == sorted(plain.keys(table))
        assert lmdb.count(table) == plain.count(table)
    lmdb.close()


def test_the_map_grows_with_what_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FIRST_MAP", 128 * 1024)
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    for number in range(20):
        tables.write([(cache.CHUNKS, [(f"{number}-{n}".encode(), b"v" * 200) for n in range(500)])])
    assert tables.count(cache.CHUNKS) == 10_000
    tables.close()
    again = cache.LmdbTables(tmp_path, b"k" * 32)
    assert again.count(cache.CHUNKS) == 10_000
    again.close()


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /home/ana rw - nfs4 server:/home rw
31 22 0:41 / /media/a\\040b rw - fuse.sshfs x rw
32 30 8:2 / /home/ana/local rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("folder", "remote"),
    [("/var/cache", False), ("/home/ana/.cache", True), ("/media/a b/c", True), ("/home/ana/local/c", False)],
)
def test_remote_filesystems_are_recognised(tmp_path: Path, folder: str, remote: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert cache.is_remote(Path(folder), mounts) == remote
    assert (cache.local_folder(Path(folder), mounts) == Path(folder)) != remote


def test_a_full_disk_under_the_cache_does_not_end_the_backup(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small filesystem needs root")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", small], check=False).returncode:
        pytest.skip("no filesystem can be mounted here")
    try:
        source = tmp_path / "source"
        source.mkdir()
        for number in range(3000):
            (source / f"file{number}").write_bytes(words(number, 60))
        place = Place(tmp_path).init()
        with keepstone.open(place.store, place.credential, cache=small, state=tmp_path / "state") as client:
            client.backup(keepstone.BackupOptions(sources=[os.fsencode(source)]))
        place.restore(tmp_path / "out", source)
        assert picture(tmp_path / "out") == picture(source)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


# Losing the index objects -----------------------------------------------------------------------------------


def test_without_any_index_everything_is_rebuilt_from_the_packs_own_directories(tmp_path: Path) -> None:
    """And that reads less than 1 % of the repository."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"media{number}.bin").write_bytes(noise(number, 10_000_000))
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    place.backup([source])
    with place.open(in_memory=True) as client:
        expected = {chunk for p, size in client._repository.ready_index().packs()
                    for chunk, _, _ in client._repository.directory(p, size)[0].entries()}  # fmt: skip
    for name in [name for name in store.objects if name.startswith("index/")]:
        store.delete(name)
    shutil.rmtree(tmp_path / "cache")
    counting = FaultStore(store)
    with Place(tmp_path, counting).open() as client:
        lacking = client.rebuild_index()
        index = client._repository.index
        assert all(index.lookup(chunk) is not None for chunk in expected)
        assert index.chunk_count == len(expected)
    total = sum(map(len, store.objects.values()))
    read = sum(count for name, count in counting.bytes_read.items() if name.startswith("packs/"))
    assert lacking > 3
    assert read < total / 100
    assert any(name.startswith("index/") for name in store.objects)
    assert place.backup([source]).counts.added == 0


def test_a_night_does_not_store_its_directory_twice(tmp_path: Path) -> None:
    """And still a computer without a local index notices that a pack is gone, and stores what it held again."""
    source = tmp_path / "source"
    source.mkdir()
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    for number in range(3):
        (source / f"file{number}").write_bytes(words(f"file {number}", 600_000))
        before = set(store.objects)
        place.backup([source])
        (name,) = [name for name in store.objects.keys() - before if name.startswith("index/")]
        assert len(store.objects[name]) < 500
        if number == 1:
            (gone,) = [name for name in store.objects.keys() - before if name.startswith("packs/")]
    with Place(tmp_path, store).fresh("other").open() as client:
        assert client.check().healthy
        assert client.check().uncovered_packs == 0
    store.delete(gone)
    with place.open(in_memory=True) as client:
        client._repository.ready_index()
        assert client._repository.missing_packs
        assert any(finding.object_name == gone for finding in client.check().findings)
    place.backup([source], in_memory=True)
    place.restore(tmp_path / "out", source)
    assert (tmp_path / "out" / "file1").read_bytes() == (source / "file1").read_bytes()


def test_reads_of_packs_are_aligned(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    place.backup([source])
    counting = FaultStore(store)
    Place(tmp_path / "other", counting).restore(tmp_path / "out")
    for name, offset, length in counting.ranges:
        if name.startswith("packs/"):
            assert offset % 65536 == 0
            assert (offset + length) % 65536 == 0 or offset + length == len(store.objects[name])


def test_a_lost_pack_is_stored_again_by_the_next_backup(tmp_path: Path) -> None:
    source = _content(tmp_path / "source")
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    place.backup([source])
    for name in [name for name in store.objects if name.startswith("packs/")]:
        store.delete(name)
    place.backup([source])
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_the_cache_is_never_used_across_a_fork() -> None:
    """Nothing in the engine forks: a child would share the map."""
    code = "import keepstone, sys; sys.exit('multiprocessing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
