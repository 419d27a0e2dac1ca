"""What is backed up comes back as it was, and what did not change costs nothing."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import keepstone
from faults.faultstore import FaultStore
from keepstone import events
from keepstone.errors import SourceError
from keepstone.history import tree
from keepstone.store.memory import MemoryStore
from keepstone.store.posix import PosixStore
from support import KEY, Place, age, make_source, noise, picture, words


def _entry(place: Place, path: Path) -> tree.Entry:
    with place.open(in_memory=True) as repository:
        snapshot = repository.snapshot("latest")
        return next(iter(repository.ls(snapshot, os.fsencode(path)))).entry


def test_everything_comes_back_as_it_was(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert result.problems == []
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)
    hard, small = (os.stat(tmp_path / "out" / name) for name in ("a/hard", "small.txt"))
    assert hard.st_ino == small.st_ino
    assert os.stat(tmp_path / "out" / "sparse").st_blocks * 512 < 200_000


def test_owners_attributes_and_acls_come_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = source / "file"
    file.write_bytes(b"content")
    os.setxattr(file, "user.note", b"any \0 bytes")
    if os.geteuid() == 0:
        os.chown(file, 12345, 23456)
        os.chmod(file, 0o4755)
    entries = [(0x01, 7, -1), (0x02, 4, 1), (0x04, 4, -1), (0x10, 4, -1), (0x20, 4, -1)]  # the user 1 may read it
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this filesystem has no ACLs")
    place = Place(tmp_path).init()
    place.backup([source])
    place.restore(tmp_path / "out", source)
    found, origin = os.stat(tmp_path / "out" / "file"), os.stat(file)
    assert (found.st_uid, found.st_gid, found.st_mode) == (origin.st_uid, origin.st_gid, origin.st_mode)
    for name in os.listxattr(file):
        assert os.getxattr(tmp_path / "out" / "file", name) == os.getxattr(file, name)


def test_devices_are_recorded_and_restored_by_root(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    try:
        os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(source / "socket"))
    place = Place(tmp_path).init()
    place.backup([source])
    listener.close()
    assert _entry(place, source / "socket").kind == tree.SOCKET
    result = place.restore(tmp_path / "out", source)
    assert os.stat(tmp_path / "out" / "null").st_rdev == os.makedev(1, 3)
    assert not (tmp_path / "out" / "socket").exists()
    assert result.problems == []


def test_absolute_paths_are_recreated_below_the_target(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path).init()
    place.backup([source])
    place.restore(tmp_path / "out")
    assert picture(tmp_path / "out" / str(source).lstrip("/")) == picture(source)


def test_several_sources_and_a_source_inside_another(tmp_path: Path) -> None:
    one, two = make_source(tmp_path / "x" / "one"), make_source(tmp_path / "y" / "two")
    place = Place(tmp_path).init()
    place.backup([one, two, one / "a", tmp_path / "y" / "two" / "small.txt"])
    place.restore(tmp_path / "out")
    for origin in (one, two):
        assert picture(tmp_path / "out" / str(origin).lstrip("/")) == picture(origin)


# What is unchanged costs nothing ----------------------------------------------------------------------------


def test_an_unchanged_folder_stores_a_record_and_nothing_else(tmp_path: Path, source: Path) -> None:
    age(source)
    store = FaultStore(MemoryStore())
    place = Place(tmp_path, store).init()
    first = place.backup([source])
    place.backup([source])
    store.trace.clear()
    result = place.backup([source])
    assert result.counts.added == result.counts.chunks_new == 0
    assert result.counts.files_unmodified == first.counts.files
    puts = [operation.name.split("/")[0] for operation in store.trace if operation.kind == "put"]
    assert puts == ["log"]
    assert result.stored_bytes < 2_000


def test_an_unchanged_folder_is_not_opened_file_by_file(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(source)
    place = Place(tmp_path).init()
    place.backup([source])
    os.chmod(source, 0o755)
    place.backup([source])
    place.clock.ns = 2 * 10**18  # long after every change
    place.backup([source])
    monkeypatch.setattr("keepstone.sources.files.open_file", lambda *_: pytest.fail("a file was opened"))
    monkeypatch.setattr(
        "keepstone.work.folders.FolderWalk._write_tree", lambda *_: pytest.fail("a folder was gone through")
    )
    assert place.backup([source]).counts.files_new == 0


@pytest.mark.parametrize("change", ["content", "append", "mode", "new", "gone", "rename", "deep", "kind", "link"])
def test_every_change_is_seen(tmp_path: Path, source: Path, change: str) -> None:
    age(source)
    place = Place(tmp_path).init()
    place.backup([source])
    place.backup([source])
    text, deep = source / "a" / "text", source / "a" / "b" / "c" / "deep"
    if change == "content":
        times = os.stat(text).st_mtime_ns
        text.write_bytes(words(99, 90_000))
        os.utime(text, ns=(times, times))  # same size, same mtime: only ctime tells
    elif change == "append":
        with text.open("ab") as file:
            file.write(b"more")
    elif change == "mode":
        os.chmod(deep, 0o600)
    elif change == "new":
        (deep.parent / "new").write_bytes(b"new")
    elif change == "gone":
        deep.unlink()
    elif change == "rename":
        deep.rename(deep.parent / "other")
    elif change == "deep":
        deep.write_bytes(noise(77, 5_000))
    elif change == "kind":
        deep.unlink()
        deep.mkdir()
    else:
        (source / "link").unlink()
        os.symlink("elsewhere", source / "link")
    place.backup([source])
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_a_change_within_the_grain_of_the_clock_is_seen(tmp_path: Path) -> None:
    """Same size, and the times may be equal: what was too young at the last look is read again."""
    source = tmp_path / "source"
    source.mkdir()
    place = Place(tmp_path).init()
    for run in range(15):
        (source / "file").write_bytes(b"%4d" % run)
        place.backup([source])
        with place.open() as repository:
            stored = b"".join(repository.cat(repository.snapshot("latest"), os.fsencode(source / "file")))
        assert stored == b"%4d" % run


def test_one_changed_file_in_a_large_tree_costs_what_it_is(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(3_000):
        path = source / f"d{number % 60}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    age(source)
    place = Place(tmp_path).init()
    place.backup([source])
    place.backup([source])
    (source / "d7" / "file7").write_bytes(b"changed")
    result = place.backup([source])
    assert (result.counts.files_new, result.counts.files_changed) == (0, 1)
    assert result.counts.files_unmodified == 2_999
    assert result.stored_bytes < 25_000


def test_inserting_into_a_large_file_costs_what_was_inserted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = noise(1, 20_000_000)
    (source / "big").write_bytes(data)
    place = Place(tmp_path).init()
    place.backup([source])
    (source / "big").write_bytes(data[:7_000_000] + b"inserted" + data[7_000_000:])
    assert place.backup([source]).stored_bytes < 1_000_000


def test_a_dump_in_a_folder_of_its_own_costs_what_differs_from_yesterdays(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    source = tmp_path / "source"
    dump = bytearray(words(1, 600_000))
    costs = []
    for day in range(1, 4):
        folder = source / f"dump-2026-11-0{day}"
        folder.mkdir(parents=True)
        for at in range(1_000, len(dump), 5_000):  # Something in every chunk.
            dump[at : at + 4] = b"%4d" % (day + at % 997)
        (folder / "all.txt").write_bytes(dump)
        (folder / f"notes {day}.txt").write_bytes(b"in another file")
        costs.append(place.backup([source]).stored_bytes)
    assert max(costs[1:]) < costs[0] / 6
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_a_huge_recipe_is_shared_between_versions(tmp_path: Path) -> None:
    """A file of many chunks: its list of chunks is itself cut, and the unchanged part is stored once."""
    source = tmp_path / "source"
    source.mkdir()
    text = words(5, 12_000_000)
    (source / "log").write_bytes(text)
    place = Place(tmp_path).init()
    place.backup([source])
    (source / "log").write_bytes(text + b" one more line")
    result = place.backup([source])
    assert result.counts.added < 200_000
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)


def test_incompressible_data_is_stored_with_almost_nothing_on_top(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(8):
        (source / f"IMG-{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + noise(number, 9_000_000))
    result = Place(tmp_path).init().backup([source])
    assert result.stored_bytes < 72_000_000 * 1.02


def test_a_dry_run_stores_nothing(tmp_path: Path, source: Path) -> None:
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    before = dict(store.objects)
    result = place.backup([source], dry_run=True)
    assert store.objects == before
    assert result.snapshot is None
    assert result.counts.files_new > 5
    assert result.counts.added > 300_000
    assert place.backup([source]).counts.files_new == result.counts.files_new


def test_a_stream_is_stored_as_a_file(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    data = noise(3, 3_000_000)
    place.backup([Path("/dumps/today.sql")], stream=io.BytesIO(data))
    with place.open() as repository:
        assert b"".join(repository.cat(repository.snapshot("latest"), b"/dumps/today.sql")) == data


# Restoring over what is there -------------------------------------------------------------------------------


def test_restoring_over_a_copy_fetches_only_what_differs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(noise(1, 10_000_000))
    (source / "same").write_bytes(noise(2, 2_000_000))
    place = Place(tmp_path).init()
    place.backup([source])
    place.restore(tmp_path / "out", source)
    with (tmp_path / "out" / "big").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"damaged")
    (tmp_path / "out" / "stranger").write_bytes(b"stays")
    result = place.restore(tmp_path / "out", source)
    assert 0 < result.bytes_fetched < 500_000
    assert result.files_identical == 1
    (tmp_path / "out" / "stranger").unlink()
    assert {k: v[2] for k, v in picture(tmp_path / "out").items()} == {k: v[2] for k, v in picture(source).items()}


# What cannot be read ----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_reported_and_its_siblings_are_stored(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keepstone.sources import files

    honest = files.open_file

    def failing(path: bytes, *rest: object) -> object:
        if path.endswith(b"/text"):
            raise SourceError("text cannot be read (Input/output error).")
        return honest(path, *rest)  # type: ignore[arg-type]  # passes on what it got

    monkeypatch.setattr(files, "open_file", failing)
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert [problem.path for problem in result.problems] == [os.fsencode(source / "a" / "text")]
    monkeypatch.undo()
    place.restore(tmp_path / "out", source)
    expected = picture(source)
    del expected[b"a/text"]
    assert picture(tmp_path / "out") == expected
    again = place.backup([source])
    assert again.problems == []
    assert again.counts.files_new == 1


def test_a_missing_source_is_a_problem_and_all_missing_is_an_error(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path).init()
    result = place.backup([source, tmp_path / "missing"])
    assert [problem.path for problem in result.problems] == [os.fsencode(tmp_path / "missing")]
    with pytest.raises(SourceError):
        place.backup([tmp_path / "missing"])


def test_a_file_that_changes_while_it_is_read_is_read_again_then_flagged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = source / "busy"
    file.write_bytes(noise(1, 500_000))
    from keepstone.sources.files import FileReader

    honest = FileReader.readinto
    busy = [1]

    def readinto(self: FileReader, buffer: memoryview) -> int:
        read = honest(self, buffer)
        if busy[0]:
            busy[0] -= 1
            with file.open("r+b") as other:
                other.write(noise(busy[0] + 10, 1_000))
                os.utime(file)
        return read

    monkeypatch.setattr(FileReader, "readinto", readinto)
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert result.inexact == [], "one change: the second reading is exact"
    place.restore(tmp_path / "out", source)
    assert (tmp_path / "out" / "busy").read_bytes() == file.read_bytes()
    busy[0] = 1_000
    result = place.backup([source])
    assert result.inexact == [os.fsencode(file)]
    assert _entry(place, file).flags & tree.CHANGED_WHILE_READ
    monkeypatch.undo()
    assert place.backup([source]).inexact == [], "and it is read again next time"
    assert not _entry(place, file).flags


# Size -------------------------------------------------------------------------------------------------------

_CODE = """
import os, re, sys
import keepstone
from pathlib import Path
base = Path(sys.argv[1])
key = keepstone.parse_digits(sys.argv[2])
with keepstone.open(str(base / "repository"), key, cache=base / "cache", state=base / "state") as repository:
    if sys.argv[3] == "backup":
        repository.backup(keepstone.BackupOptions(sources=[os.fsencode(base / "source")]))
    else:
        options = keepstone.RestoreOptions(target=os.fsencode(base / "out"), path=os.fsencode(base / "source"))
        assert not repository.restore(repository.snapshot("latest"), options).problems
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def _memory(base: Path, verb: str) -> int:
    """Return the peak memory of a verb in MiB; getrusage would count what the parent had before exec."""
    command = [sys.executable, "-c", _CODE, base, KEY.secret.hex(), verb]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "big").open("wb") as file:
        for number in range(60):
            file.write(noise(number, 10_000_000))
    Place(tmp_path, PosixStore(tmp_path / "repository")).init()
    assert _memory(tmp_path, "backup") < 300
    assert _memory(tmp_path, "restore") < 300


@pytest.mark.slow
def test_a_folder_with_a_million_entries_works(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1_000_000):
        os.close(os.open(source / f"entry-{number:07}", os.O_CREAT | os.O_WRONLY, 0o600))
    store = PosixStore(tmp_path / "repository")
    place = Place(tmp_path, store).init()
    assert place.backup([source]).counts.files == 1_000_000
    (source / "entry-0500000").write_bytes(b"changed")
    result = place.backup([source])
    assert result.counts.files_changed == 1
    assert result.stored_bytes < 200_000
    with place.open() as repository:
        assert sum(1 for _ in repository.ls(repository.snapshot("latest"), os.fsencode(source))) == 1_000_001


def test_what_a_killed_run_left_in_the_scratch_folder_is_removed(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path).init()
    with place.open() as client:
        left = Path(client._repository.state.scratch_folder()) / "image-of-a-killed-run"
        left.write_bytes(b"plaintext")
    place.backup([source])
    assert not left.exists()


def test_a_dry_run_leaves_nothing_that_misleads_the_next_run(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path).init()
    place.backup([source], dry_run=True)
    notes: list[events.Event] = []
    with place.open() as repository:
        repository.backup(keepstone.BackupOptions(sources=[os.fsencode(source)]), notes.append)
    assert not [note for note in notes if isinstance(note, events.Notice)]
    with place.open() as repository:
        assert repository.check(read_data=1.0).healthy


def test_very_many_tiny_files_fit_into_the_format(tmp_path: Path) -> None:
    """More chunks than a frame may hold before it is full by its bytes."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(70_000):
        with open(source / str(number), "wb", buffering=0) as file:
            file.write(b"%d" % number)
    place = Place(tmp_path).init()
    assert place.backup([source]).counts.files == 70_000
    with place.open() as repository:
        assert repository.check(read_data=1.0).healthy


def test_a_pack_is_closed_before_its_directory_outgrows_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content that compresses to nothing would fill a pack with directory alone."""
    monkeypatch.setattr("keepstone.repo.writer.MOST_DIRECTORY", 200)
    monkeypatch.setattr("keepstone.repo.format.FRAME_TARGET", 64 * 1024)
    store = MemoryStore()
    (tmp_path / "source").mkdir()
    for number in range(40):
        (tmp_path / "source" / f"{number}").write_bytes(b"%4d" % number * 200_000)
    place = Place(tmp_path, store).init()
    place.backup([tmp_path / "source"])
    assert sum(name.startswith("packs/") for name in store.objects) > 2
    place.restore(tmp_path / "out", tmp_path / "source")
    assert picture(tmp_path / "out") == picture(tmp_path / "source")


def test_a_record_that_no_reader_would_accept_is_not_published(tmp_path: Path, source: Path) -> None:
    """Very many single paths: refused with what to do, and the repository stays sound."""
    place = Place(tmp_path).init()
    with pytest.raises(keepstone.KeepstoneError, match="more than the format allows"):
        place.backup([source, *(tmp_path / f"{'x' * 200}{number}" for number in range(6_000))])
    with place.open() as repository:
        assert repository.check().healthy
        assert repository.snapshots() == []


def test_a_file_that_vanishes_while_it_is_read_is_a_problem_and_not_the_end(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keepstone.sources.files import FileReader

    honest = FileReader.readinto
    gone = source / "a" / "noise"

    def readinto(self: FileReader, buffer: memoryview) -> int:
        if self.path == os.fsencode(gone):
            gone.unlink(missing_ok=True)
        return honest(self, buffer)

    monkeypatch.setattr(FileReader, "readinto", readinto)
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert [problem.path for problem in result.problems] == [os.fsencode(gone)]
    assert result.counts.files > 8


def test_a_file_whose_attributes_cannot_be_read_is_stored_without_them(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keepstone.sources import metadata

    def failing(path: bytes, follow: bool = False) -> list[tuple[bytes, bytes]]:
        if path.endswith(b"/text"):
            raise SourceError("The attributes cannot be read.")
        return []

    monkeypatch.setattr(metadata, "read_xattrs", failing)
    place = Place(tmp_path).init()
    assert len(place.backup([source]).problems) == 1
    place.restore(tmp_path / "out", source)
    assert picture(tmp_path / "out") == picture(source)
