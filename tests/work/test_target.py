"""A restore writes below its target and nowhere else, whoever works against it, and leaves no half files."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keepstone
from keepstone.errors import TargetError
from keepstone.sources import metadata
from keepstone.sources.metadata import Attributes
from keepstone.work.target import OPEN_FOLDERS, TEMPORARY, Parts, Target

TIME_NS = 1_600_000_000_123_456_789
NOBODY = 65534
IS_ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def attributes(**changes: object) -> Attributes:
    values: dict[str, object] = {
        "mode": 0o640, "uid": os.geteuid(), "gid": os.getegid(), "user": None, "group": None, "mtime_ns": TIME_NS,
    }  # fmt: skip
    return Attributes(**{**values, **changes})  # type: ignore[arg-type]  # the values are of many types


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def target(root: Path) -> Iterator[Target]:
    with Target(os.fsencode(root)) as made:
        yield made


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    """A folder outside the target, with a file in it, that no test may change."""
    made = tmp_path / "outside"
    made.mkdir(mode=0o750)
    (made / "precious").write_bytes(b"precious")
    for path in (made / "precious", made):
        os.utime(path, ns=(TIME_NS, TIME_NS))
    before = seen(made)
    yield made
    assert seen(made) == before


def seen(folder: Path) -> list[tuple[object, ...]]:
    looks = [(path.name, path.lstat()) for path in (folder, *sorted(folder.iterdir()))]
    return [(name, s.st_mode, s.st_uid, s.st_mtime_ns, s.st_nlink) for name, s in looks]


def write(target: Target, parts: Parts, content: bytes, wanted: Attributes | None = None) -> list[TargetError]:
    with target.create_file(parts) as file:
        file.write_at(0, content)
        return file.commit(wanted)


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if os.fsencode(path.name).startswith(TEMPORARY)]


# Files ------------------------------------------------------------------------------------------------------


def test_a_file_gets_its_content_and_its_metadata(target: Target, root: Path) -> None:
    target.make_folder((b"a", b"b"))
    with target.create_file((b"a", b"b", b"file")) as file:
        file.write_at(4, b"efgh")
        file.write_at(0, memoryview(b"abcd"))
        file.set_size(10)
        assert file.commit(attributes(mode=0o604), sync=True) == []
    path = root / "a" / "b" / "file"
    assert path.read_bytes() == b"abcdefgh\0\0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert path.stat().st_mtime_ns == TIME_NS
    assert leftovers(root) == []


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b"back\\slash", b"-rf", b" ", b"n" * 255, b"...", b"C:"])
def test_names_of_any_bytes_are_restored(target: Target, root: Path, name: bytes) -> None:
    target.make_folder((name,))
    write(target, (name, name), b"x")
    target.make_symlink((name, b"link"), name)
    assert sorted(os.listdir(os.path.join(os.fsencode(root), name))) == sorted([name, b"link"])


def test_holes_stay_holes(target: Target, root: Path) -> None:
    with target.create_file((b"sparse",)) as file:
        file.write_at(8 * 1024 * 1024, b"x")
        file.set_size(64 * 1024 * 1024)
        file.commit(attributes())
    status = (root / "sparse").stat()
    assert status.st_size == 64 * 1024 * 1024
    assert status.st_blocks * 512 <= 1024 * 1024


def test_a_file_without_commit_leaves_nothing_and_keeps_what_stood_there(target: Target, root: Path) -> None:
    (root / "file").write_bytes(b"old")
    with target.create_file((b"file",)) as file:
        file.write_at(0, b"new")
        assert (root / "file").read_bytes() == b"old"
    target.create_file((b"file",)).abort()
    assert os.listdir(root) == ["file"]
    assert (root / "file").read_bytes() == b"old"


def test_a_new_file_is_private_until_it_has_its_mode(target: Target, root: Path) -> None:
    with target.create_file((b"file",)):
        (temporary,) = leftovers(root)
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_a_file_takes_the_place_of_a_link_and_of_an_empty_folder(target: Target, root: Path, sentinel: Path) -> None:
    (root / "link").symlink_to(sentinel / "precious")
    (root / "folder").mkdir()
    for name in (b"link", b"folder"):
        write(target, (name,), b"x", attributes())
    assert not (root / "link").is_symlink()
    assert (root / "folder").is_file()


def test_a_folder_with_something_in_it_never_makes_way(target: Target, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "x").write_bytes(b"x")
    place = (b"folder",)
    attempts: list[Callable[[], object]] = [
        lambda: write(target, place, b"x"),
        lambda: target.make_symlink(place, b"x"),
        lambda: target.make_special(place, "p", 0),
        lambda: target.remove_existing(place),
    ]
    for attempt in attempts:
        with pytest.raises(TargetError, match="not empty"):
            attempt()
    assert (root / "folder" / "x").read_bytes() == b"x"
    assert leftovers(root) == []


@pytest.mark.parametrize("size", [2**63 - 1, -1])
def test_a_size_no_file_can_have_is_a_target_error(target: Target, root: Path, size: int) -> None:
    with target.create_file((b"file",)) as file, pytest.raises(TargetError, match="/file could not be restored"):
        file.set_size(size)
    assert os.listdir(root) == []


# What stands there already ----------------------------------------------------------------------------------


def test_what_stands_there_is_described(target: Target, root: Path) -> None:
    (root / "file").write_bytes(b"abc")
    os.utime(root / "file", ns=(0, TIME_NS))
    (root / "folder").mkdir()
    (root / "link").symlink_to("file")
    file, folder, link = (target.existing((name,)) for name in (b"file", b"folder", b"link"))
    assert file is not None
    assert (file.is_file, file.is_folder, file.size, file.mtime_ns) == (True, False, 3, TIME_NS)
    assert folder is not None
    assert (folder.is_file, folder.is_folder) == (False, True)
    assert link is not None
    assert (link.is_file, link.is_folder) == (False, False)
    assert target.existing((b"none",)) is target.existing((b"none", b"below")) is None


def test_a_standing_file_can_be_compared(target: Target, root: Path) -> None:
    (root / "file").write_bytes(b"abcdef")
    with target.open_existing((b"file",)) as standing:
        assert standing is not None
        assert standing.size == 6
        assert standing.read(2, 3) == b"cde"
        assert standing.read(4, 100) == b"ef"
        assert standing.read(100, 1) == standing.read(2**70, 1) == b""
        assert not standing.is_zero(0, 6)


def test_zeros_and_holes_are_told_from_data(target: Target, root: Path) -> None:
    mib = 1024 * 1024
    with open(root / "file", "wb") as out:
        out.write(bytes(2 * mib))
        out.seek(5 * mib)
        out.write(b"x")
        out.truncate(9 * mib)
    with target.open_existing((b"file",)) as standing:
        assert standing is not None
        assert standing.is_zero(0, 5 * mib)
        assert standing.is_zero(5 * mib + 1, 4 * mib - 1)
        assert not standing.is_zero(4 * mib, 2 * mib)
        assert not standing.is_zero(8 * mib, 2 * mib)


def test_only_regular_files_are_opened_and_nothing_blocks(target: Target, root: Path, sentinel: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to(sentinel / "precious")
    (root / "folder").mkdir()
    for name in (b"fifo", b"link", b"folder", b"none"):
        with target.open_existing((name,)) as standing:
            assert standing is None
        with pytest.raises(TargetError):
            target.apply((name,), attributes())


def test_removing_removes_links_not_what_they_point_to(target: Target, root: Path, sentinel: Path) -> None:
    (root / "link").symlink_to(sentinel)
    assert target.remove_existing((b"link",))
    assert not target.remove_existing((b"link",))
    assert os.listdir(root) == []


def test_metadata_of_a_standing_file_are_restored(target: Target, root: Path) -> None:
    (root / "file").write_bytes(b"abc")
    assert target.apply((b"file",), attributes(mode=0o444)) == []
    assert stat.S_IMODE((root / "file").stat().st_mode) == 0o444
    assert (root / "file").stat().st_mtime_ns == TIME_NS


# Folders ----------------------------------------------------------------------------------------------------


def test_the_target_folder_is_made_private(tmp_path: Path) -> None:
    with Target(os.fsencode(tmp_path / "new" / "target")):
        assert stat.S_IMODE((tmp_path / "new" / "target").stat().st_mode) == 0o700


def test_a_target_that_is_no_folder_is_a_target_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (b"file", b"file/below", b"nul\0"):
        with pytest.raises(TargetError, match="cannot be used"), Target(os.path.join(os.fsencode(tmp_path), path)):
            pass


def test_folders_are_made_once_with_those_above(target: Target, root: Path) -> None:
    assert target.make_folder((b"a", b"b", b"c"))
    assert not target.make_folder((b"a", b"b", b"c"))
    assert not target.make_folder((b"a",))
    assert target.make_folder((b"a", b"d"))
    assert not target.make_folder(())
    assert sorted(os.listdir(root / "a")) == ["b", "d"]


def test_a_folder_gets_its_metadata_when_it_is_finished(target: Target, root: Path) -> None:
    target.make_folder((b"a", b"b"))
    for name in (b"1", b"2"):
        write(target, (b"a", b"b", name), b"x")
    assert target.set_folder_attributes((b"a", b"b"), attributes(mode=0o555)) == []
    assert target.set_folder_attributes((b"a",), attributes(mode=0o2750)) == []
    assert target.set_folder_attributes((), attributes(mode=0o711)) == []
    for path, mode in ((root / "a" / "b", 0o555), (root / "a", 0o2750), (root, 0o711)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.stat().st_mtime_ns == TIME_NS


def test_any_number_and_depth_of_folders_fits(target: Target, root: Path) -> None:
    parts: Parts = ()
    for depth in range(3 * OPEN_FOLDERS):
        parts = (*parts, b"d%d" % (depth % 7))
        target.make_folder(parts)
        write(target, (*parts, b"file"), b"x")
    for number in range(2 * OPEN_FOLDERS):
        target.make_folder((b"wide", b"%d" % number))
        write(target, (b"wide", b"%d" % number, b"file"), b"x")
    for length in range(len(parts), 0, -1):
        assert target.set_folder_attributes(parts[:length], attributes(mode=0o700)) == []
        existing = target.existing((*parts[:length], b"file"))
        assert existing is not None
    assert len(os.listdir("/proc/self/fd")) < OPEN_FOLDERS + 60


def test_closing_leaves_no_open_files(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Target(os.fsencode(root)) as target:
        target.make_folder((b"a", b"b"))
        write(target, (b"a", b"f"), b"x")
        target.make_symlink((b"a", b"s"), b"f")
        for parts in ((b"n", b"f"), (b"a", b"n" * 256)):
            with pytest.raises(TargetError):
                write(target, parts, b"x")
        with pytest.raises(TargetError):
            target.make_folder((b"a", b"f", b"x"), replace=False)
    assert len(os.listdir("/proc/self/fd")) == before


# Hostile snapshots and hostile neighbors --------------------------------------------------------------------

HOSTILE: list[Parts] = [
    (b"..", b"outside", b"x"), (b"..",), (b".",), (b"",), (b"a", b"..", b"..", b"outside", b"x"), (b"../outside/x",),
    (b"/etc/x",), (b"a\0b",), (b"a", b"", b"x"), (b"a", b".", b"x"), (b"a/../../outside/x",), (b"/",),
]  # fmt: skip


def refuses_everything_at(target: Target, place: Parts) -> None:
    """Check that every way to touch a place is refused; `good` is a file in the target."""
    attempts: list[Callable[[], object]] = [
        lambda: target.create_file(place),
        lambda: target.make_symlink(place, b"x"),
        lambda: target.make_special(place, "p", 0),
        lambda: target.make_hardlink(place, (b"good",)),
        lambda: target.make_hardlink((b"new",), place),
        lambda: target.existing(place),
        lambda: target.open_existing(place).__enter__(),
        lambda: target.remove_existing(place),
        lambda: target.apply(place, attributes()),
        lambda: target.set_folder_attributes(place, attributes()),
        lambda: target.make_folder(place, replace=False),
    ]
    for attempt in attempts:
        with pytest.raises(TargetError):
            attempt()


@pytest.mark.parametrize("parts", HOSTILE)
def test_names_that_lead_elsewhere_are_refused(target: Target, root: Path, sentinel: Path, parts: Parts) -> None:
    target.make_folder((b"a",))
    write(target, (b"good",), b"x")
    refuses_everything_at(target, parts)
    with pytest.raises(TargetError):
        target.make_folder(parts)
    assert sorted(os.listdir(root)) == ["a", "good"]
    assert os.listdir(root / "a") == []


def test_the_target_itself_is_never_replaced(target: Target, root: Path) -> None:
    for attempt in (
        lambda: target.create_file(()),
        lambda: target.make_symlink((), b"x"),
        lambda: target.remove_existing(()),
    ):
        with pytest.raises(TargetError, match="cannot be replaced"):
            attempt()
    assert root.is_dir()


def test_a_link_in_the_place_of_a_parent_is_never_followed(target: Target, root: Path, sentinel: Path) -> None:
    write(target, (b"good",), b"x")
    (root / "link").symlink_to(sentinel)
    (root / "deep").mkdir()
    (root / "deep" / "link").symlink_to("../../outside")
    for parent in ((b"link",), (b"deep", b"link")):
        refuses_everything_at(target, (*parent, b"precious"))
        with pytest.raises(TargetError):
            target.set_folder_attributes(parent, attributes())
    assert not (root / "new").exists()


def test_a_link_in_the_place_of_a_folder_is_replaced_by_a_folder(target: Target, root: Path, sentinel: Path) -> None:
    (root / "link").symlink_to(sentinel)
    assert target.make_folder((b"link", b"below"))
    write(target, (b"link", b"below", b"file"), b"x")
    assert not (root / "link").is_symlink()
    assert (root / "link" / "below" / "file").read_bytes() == b"x"


def test_a_file_in_the_place_of_a_folder_stays_if_asked(target: Target, root: Path) -> None:
    (root / "file").write_bytes(b"mine")
    with pytest.raises(TargetError):
        target.make_folder((b"file", b"below"), replace=False)
    assert (root / "file").read_bytes() == b"mine"
    assert target.make_folder((b"file",))


def test_somebody_who_swaps_a_folder_for_a_link_gains_nothing(target: Target, root: Path, sentinel: Path) -> None:
    """A second thread swaps the folder for a link to the outside and back, as fast as it can, for a second or until
    it was in time as well as too late.
    """
    (root / "a").mkdir()
    (root / "link").symlink_to(sentinel)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            shutil.rmtree(root / "kept", ignore_errors=True)  # Else it could not be put there again.
            for one, other in (("a", "kept"), ("link", "a"), ("a", "link"), ("kept", "a")):
                try:
                    os.rename(root / one, root / other)
                except OSError:
                    pass  # The restore has put a folder of its own there meanwhile.

    attacker = threading.Thread(target=swap)
    attacker.start()
    made = refused = 0
    try:
        begin = time.monotonic()
        while (past := time.monotonic() - begin) < 1 or (past < 60 and not (made and refused)):
            target._back(0)  # Make it walk anew each time, which gives the attacker the most chances.
            try:
                target.make_folder((b"a",), replace=False)
                write(target, (b"a", b"file"), b"x", attributes())
                target.make_symlink((b"a", b"symlink"), b"x", attributes())
                target.set_folder_attributes((b"a",), attributes(mode=0o777))
                target.apply((b"a", b"file"), attributes())
                target.remove_existing((b"a", b"precious"))
                made += 1
            except TargetError:
                refused += 1
    finally:
        stop.set()
        attacker.join()
    assert made
    assert refused


# Links and special files ------------------------------------------------------------------------------------


def test_a_symbolic_link_is_restored_as_it_was(target: Target, root: Path, sentinel: Path) -> None:
    for name, to in (
        (b"out", os.fsencode(sentinel)),
        (b"bytes", b"\xff\n"),
        (b"out", os.fsencode(sentinel / "precious")),
    ):
        assert target.make_symlink((name,), to, attributes(mode=0o777)) == []
        path = os.path.join(os.fsencode(root), name)
        assert os.readlink(path) == to
        assert os.lstat(path).st_mtime_ns == TIME_NS
    if IS_ROOT:
        assert target.make_symlink((b"out",), os.fsencode(sentinel), attributes(uid=NOBODY, gid=NOBODY)) == []
        assert (root / "out").lstat().st_uid == NOBODY
    assert leftovers(root) == []


@pytest.mark.parametrize("to", [b"", b"a\0b", b"x" * 5000])
def test_a_link_to_what_no_link_can_point_to_is_a_target_error(target: Target, root: Path, to: bytes) -> None:
    with pytest.raises(TargetError):
        target.make_symlink((b"link",), to)
    assert os.listdir(root) == []


def test_hard_links_join_files_of_the_target(target: Target, root: Path) -> None:
    target.make_folder((b"a",))
    write(target, (b"a", b"first"), b"x")
    (root / "second").write_bytes(b"old")
    for _ in range(2):  # Once more over itself changes nothing.
        target.make_hardlink((b"second",), (b"a", b"first"))
        target.make_hardlink((b"second",), (b"second",))
    assert os.path.samefile(root / "second", root / "a" / "first")
    assert leftovers(root) == []


def test_hard_links_to_links_folders_or_nothing_are_refused(target: Target, root: Path, sentinel: Path) -> None:
    (root / "link").symlink_to(sentinel / "precious")
    (root / "folder").mkdir()
    (root / "standing").write_bytes(b"old")
    for source in (b"link", b"folder", b"none"):
        with pytest.raises(TargetError, match="is no file in the target"):
            target.make_hardlink((b"standing",), (source,))
    assert (root / "standing").read_bytes() == b"old"


def test_a_source_that_is_swapped_for_a_link_is_not_linked(
    target: Target, root: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(target, (b"first",), b"x")
    real = os.link

    def swapped(*arguments: object, **options: object) -> None:
        os.unlink(root / "first")
        (root / "first").symlink_to(sentinel / "precious")
        real(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(os, "link", swapped)
    with pytest.raises(TargetError, match="replaced meanwhile"):
        target.make_hardlink((b"second",), (b"first",))
    assert os.listdir(root) == ["first"]


def test_a_file_that_is_linked_to_the_outside_is_not_changed_through_its_link(
    target: Target, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside-file"
    outside.write_bytes(b"abc" + bytes(3_000_000) + b"d")
    outside.chmod(0o600)
    os.link(outside, root / "file")
    before = outside.stat()
    assert target.apply((b"file",), attributes(mode=0o666)) == []
    after = outside.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert (root / "file").read_bytes() == outside.read_bytes()
    assert stat.S_IMODE((root / "file").stat().st_mode) == 0o666
    write(target, (b"file",), b"new")
    assert outside.read_bytes().startswith(b"abc")


def test_a_fifo_is_made_by_any_user(target: Target, root: Path) -> None:
    assert target.make_special((b"fifo",), "p", 0, attributes(mode=0o622)) == []
    status = (root / "fifo").lstat()
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o622
    assert status.st_mtime_ns == TIME_NS


@pytest.mark.parametrize("kind", ["c", "b"])
def test_devices_are_made_by_root_only(target: Target, root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.makedev(1, 3)
    if IS_ROOT:
        try:
            assert target.make_special((b"device",), kind, device, attributes()) == []
        except TargetError:
            pytest.skip("even root may make no devices here")
        status = (root / "device").lstat()
        assert status.st_rdev == device
        assert stat.S_IMODE(status.st_mode) == 0o640
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(TargetError, match="only root"):
        target.make_special((b"other",), kind, device, attributes())
    assert not (root / "other").exists()


@pytest.mark.parametrize("kind", ["s", "f", "d", ""])
def test_other_kinds_are_refused(target: Target, kind: str) -> None:
    with pytest.raises(TargetError, match="cannot be made"):
        target.make_special((b"x",), kind, 0)


@pytest.mark.parametrize("held", [True, False])
def test_metadata_of_links_and_special_files_are_set_with_and_without_proc(
    target: Target, root: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    if held and not metadata._can_hold():
        pytest.skip("there is no /proc here")
    if not held:
        monkeypatch.setattr(metadata, "_can_hold", lambda: False)
        monkeypatch.setattr(os, "chmod", lambda *a, **options: None)  # Linux follows links here; macOS does not.
    assert target.make_symlink((b"link",), os.fsencode(sentinel / "precious"), attributes(mode=0o777)) == []
    assert target.make_special((b"fifo",), "p", 0, attributes()) == []
    assert (root / "link").lstat().st_mtime_ns == (root / "fifo").lstat().st_mtime_ns == TIME_NS


def test_an_entry_swapped_for_a_link_to_the_outside_is_not_changed(
    target: Target, root: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not metadata._can_hold():
        pytest.skip("there is no /proc here")
    victim = root / "victim"
    victim.write_bytes(b"x")
    victim.chmod(0o600)
    real = os.mkfifo if sys.platform == "darwin" else os.mknod

    def swapped(name: bytes, *arguments: object, **options: object) -> None:
        real(name, *arguments, **options)  # type: ignore[arg-type]  # passed on as they came
        os.unlink(os.path.join(os.fsencode(root), name))
        os.link(victim, os.path.join(os.fsencode(root), name))

    monkeypatch.setattr(os, real.__name__, swapped)
    with pytest.raises(TargetError, match="replaced meanwhile"):
        target.make_special((b"fifo",), "p", 0, attributes(mode=0o666))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert os.listdir(root) == ["victim"]


# Owners and rights ------------------------------------------------------------------------------------------


def test_what_cannot_be_set_is_told_and_the_file_is_restored(target: Target, root: Path) -> None:
    wanted = attributes(mtime_ns=2**100, xattrs=((b"user.\0", b"1"),))
    problems = write(target, (b"file",), b"content", wanted)
    assert len(problems) == 2
    assert all("/file" in problem.message for problem in problems)
    assert (root / "file").read_bytes() == b"content"


@root_only
def test_security_attributes_are_restored_only_if_asked(root: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    wanted = attributes(xattrs=((b"security.capability", capability), (b"user.mark", b"1")))
    for privileged in (False, True):
        with Target(os.fsencode(root), privileged=privileged) as target:
            problems = write(target, (b"file",), b"x", wanted)
        if problems:
            pytest.skip(problems[0].message)
        assert ("security.capability" in os.listxattr(root / "file")) is privileged
        assert os.getxattr(root / "file", "user.mark") == b"1"


# Crashes ----------------------------------------------------------------------------------------------------


def test_a_killed_restore_leaves_the_old_file_and_at_most_a_marked_leftover(root: Path) -> None:
    root.mkdir()
    (root / "file").write_bytes(b"old")
    script = """
import os, signal, sys
from keepstone.work.target import Target
with Target(os.fsencode(sys.argv[1])) as target, target.create_file((b"file",)) as file:
    file.write_at(0, b"new")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {"PYTHONPATH": os.path.dirname(os.path.dirname(keepstone.__file__))}
    result = subprocess.run([sys.executable, "-c", script, root], env=environment, check=False, timeout=30)
    assert result.returncode == -9
    assert (root / "file").read_bytes() == b"old"
    assert len(leftovers(root)) == len(os.listdir(root)) - 1 == 1
