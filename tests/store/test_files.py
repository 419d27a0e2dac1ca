"""The operating system's files: modes, short writes, file systems without links, and strangers in the folder."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keepstone.errors import ObjectExists, ObjectNotFound, StoreError, StoreFull
from keepstone.store.files import SystemFiles, replace_file
from keepstone.store.posix import PosixStore


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore(tmp_path / "repo")


def failing(error: int) -> Callable[..., int]:
    def fail(*arguments: object, **options: object) -> int:
        raise OSError(error, os.strerror(error))

    return fail


def test_only_the_owner_can_read_what_is_stored(store: PosixStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.put("packs/ab/1", [b"x"])
        replace_file(SystemFiles(), str(tmp_path / "state"), b"x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "repo/packs/ab/1") == mode(tmp_path / "state") == 0o600
    for folder in ("repo", "repo/tmp", "repo/packs", "repo/packs/ab"):
        assert mode(tmp_path / folder) == 0o700


def test_a_stored_object_has_one_name_on_disk(store: PosixStore, tmp_path: Path) -> None:
    store.put("packs/ab/1", [b"x"])
    files = [path for path in (tmp_path / "repo").rglob("*") if path.is_file()]
    assert files == [tmp_path / "repo/packs/ab/1"]
    assert files[0].stat().st_nlink == 1


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_short_write_is_continued(store: PosixStore, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    real = os.writev

    def short(handle: int, pieces: list[memoryview]) -> int:
        left, batch = most, []
        for piece in pieces:
            batch.append(piece[:left])
            left -= len(batch[-1])
        return real(handle, batch)

    pieces = [bytes([n % 256]) * (n % 17) for n in range(300)]
    monkeypatch.setattr(os, "writev", short)
    store.put("a", pieces)
    assert store.get("a") == b"".join(pieces)


def test_a_disk_that_takes_nothing_is_an_error_and_no_endless_loop(
    store: PosixStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "writev", lambda handle, pieces: 0)
    with pytest.raises(StoreError):
        store.put("a", [b"x"])
    assert list(store.list("")) == []


def test_a_disk_that_fills_up_within_a_write_leaves_nothing(
    store: PosixStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, calls = os.writev, []

    def fills_up(handle: int, pieces: list[memoryview]) -> int:
        calls.append(handle)
        return real(handle, [pieces[0][:5]]) if len(calls) == 1 else failing(errno.ENOSPC)()

    monkeypatch.setattr(os, "writev", fills_up)
    with pytest.raises(StoreFull):
        store.put("a", [b"x" * 100])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(OSError):
        os.fstat(calls[0])


def test_a_short_read_is_continued(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    store.put("a", [bytes(range(256))])
    monkeypatch.setattr(os, "pread", lambda handle, length, offset: real(handle, min(length, 7), offset))
    assert store.get("a") == bytes(range(256))
    assert store.get("a", 10, 100) == bytes(range(10, 110))


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_a_file_system_without_links_stores_and_refuses_to_overwrite_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(os, "link", failing(error))
    store = PosixStore(tmp_path)
    store.put("a", [b"old"])
    with pytest.raises(ObjectExists):
        store.put("a", [b"new"])
    files = SystemFiles()
    files.close(files.create(str(tmp_path / "tmp/x")))
    with pytest.raises(ObjectExists):
        files.publish(str(tmp_path / "tmp/x"), str(tmp_path / "a"))
    assert store.get("a") == b"old"
    assert store.clean_temporary() == 1


def test_a_name_taken_at_the_last_moment_is_not_overwritten(tmp_path: Path) -> None:
    class Late(SystemFiles):
        def close(self, handle: int) -> None:
            super().close(handle)
            (tmp_path / "a").write_bytes(b"somebody else's")

    store = PosixStore(tmp_path, Late())
    with pytest.raises(ObjectExists):
        store.put("a", [b"mine"])
    assert store.get("a") == b"somebody else's"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_that_cannot_be_synced_is_accepted_only_where_that_is_unsupported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            failing(error)()
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    error = errno.EINVAL
    PosixStore(tmp_path / "one").put("a", [b"x"])
    error = errno.EIO
    with pytest.raises(StoreError):
        PosixStore(tmp_path / "two").put("a", [b"x"])


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", lambda handle: None)
    store = PosixStore(tmp_path)
    store.put("b", [b"x"])
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put("a", [b"x"])
    with pytest.raises(KeyboardInterrupt):
        replace_file(SystemFiles(), str(tmp_path / "b"), b"y")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b"]
    assert store.get("b") == b"x"


def test_what_is_no_object_is_left_out_of_listings_and_left_alone(store: PosixStore, tmp_path: Path) -> None:
    store.put("packs/ab/1", [b"x"])
    root = tmp_path / "repo"
    (root / "lost+found").mkdir(mode=0)
    (root / "System Volume Information").mkdir()
    (root / ".DS_Store").write_bytes(b"x")
    (root / "packs/.stfolder").mkdir()
    (root / "packs/ab/1.TMP").write_bytes(b"x")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    (root / "tmp/leftover").write_bytes(b"x")
    assert list(store.list("")) == [("packs/ab/1", 1)]
    assert store.clean_temporary() == 1
    assert (root / ".DS_Store").exists()
    assert (root / "packs/.stfolder").exists()


def test_a_pipe_in_the_place_of_an_object_does_not_hang_the_reader(store: PosixStore, tmp_path: Path) -> None:
    store.put("a", [b"x"])
    os.mkfifo(tmp_path / "repo/b")
    outcome: list[object] = []

    def read() -> None:
        with pytest.raises(ObjectNotFound) as caught:
            store.get("b")
        outcome.append(caught.value)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(timeout=5)
    assert outcome


def test_a_link_to_a_folder_is_an_error_and_not_an_absence(store: PosixStore, tmp_path: Path) -> None:
    store.put("packs/ab/1", [b"x"])
    (tmp_path / "repo/packs").rename(tmp_path / "elsewhere")
    (tmp_path / "repo/packs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        list(store.list(""))


def test_the_root_may_be_reached_through_a_link(store: PosixStore, tmp_path: Path) -> None:
    store.put("packs/ab/1", [b"x"])
    (tmp_path / "link").symlink_to(tmp_path / "repo")
    assert list(PosixStore(tmp_path / "link").list("")) == [("packs/ab/1", 1)]


def test_leftovers_of_killed_puts_are_invisible_and_cleaned(store: PosixStore, tmp_path: Path) -> None:
    assert store.clean_temporary() == 0
    store.put("a", [b"x"])
    for number in range(3):
        (tmp_path / f"repo/tmp/{number}").write_bytes(b"half")
    assert list(store.list("")) == [("a", 1)]
    assert store.clean_temporary() == 3
    assert store.clean_temporary() == 0


def test_a_root_whose_parent_is_closed_to_us_can_still_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home/me").mkdir(parents=True)
    real = os.open

    def guarded(path: str, *arguments: int) -> int:
        return failing(errno.EACCES)() if str(path) == str(tmp_path / "home") else real(path, *arguments)

    monkeypatch.setattr(os, "open", guarded)
    store = PosixStore(tmp_path / "home/me")
    store.put("a", [b"x"])
    assert store.clean_temporary() == 0
    assert store.get("a") == b"x"


def test_folders_are_made_and_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, folders = os.fsync, []

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            folders.append(handle)
        real(handle)

    store = PosixStore(tmp_path / "a/b/repo")
    store.put("packs/ab/1", [b"x"])
    monkeypatch.setattr(os, "fsync", fsync)
    store.put("packs/ab/2", [b"x"])
    assert len(folders) == 1


def test_replacing_side_by_side_leaves_one_whole_content(tmp_path: Path) -> None:
    contents = [bytes([n]) * 5000 for n in range(6)]

    def replace(content: bytes) -> None:
        for _ in range(20):
            replace_file(SystemFiles(), str(tmp_path / "state"), content)

    with ThreadPoolExecutor(len(contents)) as pool:
        assert list(pool.map(replace, contents)) == [None] * len(contents)
    assert (tmp_path / "state").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
