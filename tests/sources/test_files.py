"""Reading folders and files: nothing is missed, nothing blocks, a change always shows."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keepstone
from keepstone.errors import SourceError
from keepstone.sources import files

OLD_NS = 1_600_000_000_123_456_789
NOBODY = 65534
ENGINE = os.path.dirname(os.path.dirname(keepstone.__file__))


def later() -> int:
    """Return a moment at which nothing made so far is racy."""
    return time.time_ns() + 3_600_000_000_000


def listing(folder: Path, now_ns: int | None = None) -> files.Listing:
    return files.list_folder(os.fsencode(folder), later() if now_ns is None else now_ns)


def read_all(path: Path) -> bytes:
    buffer = memoryview(bytearray(7))
    out = b""
    with files.open_file(os.fsencode(path)) as reader:
        while read := reader.readinto(buffer):
            out += buffer[:read]
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "a").write_bytes(b"alpha")
    (made / "b").write_bytes(b"beta")
    (made / "sub").mkdir()
    return made


# Listing ----------------------------------------------------------------------------------------------------


def test_names_of_any_bytes_are_listed_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"new\nline", b"plain", b"\xc3\xa9", b"Z", b"a", b"tab\t", b"\x80"]
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT | os.O_WRONLY))
    found = listing(tmp_path)
    assert found.names == sorted(names)
    for name, status in zip(found.names, found.stats, strict=True):
        assert status == os.lstat(os.path.join(os.fsencode(tmp_path), name))


def test_an_empty_folder_has_no_entries_and_a_fingerprint(tmp_path: Path) -> None:
    found = listing(tmp_path)
    assert (found.names, found.stats, found.problems) == ([], [], [])
    assert found.fingerprint is not None


def test_links_are_listed_as_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert stat.S_ISLNK(listing(tmp_path).stats[0].st_mode)


@pytest.mark.parametrize("kind", ["missing", "file", "link to a folder", "fifo"])
def test_what_is_no_folder_is_refused_with_its_path(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_bytes(b"")
    elif kind == "link to a folder":
        place.symlink_to(tmp_path)
    elif kind == "fifo":
        os.mkfifo(place)
    with pytest.raises(SourceError, match="place cannot be listed"):
        listing(place)


def test_messages_escape_names_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        files.list_folder(os.path.join(os.fsencode(tmp_path), b"\xff"), later())
    assert r"\xff" in caught.value.message


def test_an_entry_that_vanishes_while_the_folder_is_listed_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [*real(fd), "ghost"])
    found = listing(folder)
    assert found.names == [b"a", b"b", b"sub"]
    assert found.problems == []
    assert found.fingerprint is None


def test_an_entry_that_cannot_be_looked_at_hides_none_of_its_neighbors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def failing(name: bytes, **options: object) -> os.stat_result:
        if name == b"b":
            raise OSError(5, "Input/output error")
        return real(name, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "stat", failing)
    found = listing(folder)
    assert found.names == [b"a", b"sub"]
    assert [
        (name, error.message.endswith("b cannot be read (Input/output error).")) for name, error in found.problems
    ] == [(b"b", True)]
    assert found.fingerprint is None


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_nobody(script: str, *arguments: str) -> str:
    """Run a script as somebody who may not do everything, and return what it prints."""
    drop = f"""
import os, sys
from keepstone.errors import SourceError
from keepstone.sources import files
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""
    result = subprocess.run(
        [sys.executable, "-c", drop + script, *arguments],
        env={"PYTHONPATH": ENGINE},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not result.stderr
    return result.stdout


def test_an_unreadable_folder_and_file_are_source_errors(open_to_all: Path) -> None:
    (open_to_all / "closed").mkdir(mode=0o700)
    (open_to_all / "closed").chmod(0)
    (open_to_all / "secret").write_bytes(b"x")
    (open_to_all / "secret").chmod(0)
    script = """
for path, read in ((b"closed", lambda p: files.list_folder(p, 0)), (b"secret", files.open_file)):
    try:
        read(os.path.join(os.fsencode(sys.argv[1]), path))
    except SourceError as error:
        print(error.message)
"""
    assert as_nobody(script, str(open_to_all)).splitlines() == [
        f"{open_to_all}/closed cannot be listed (Permission denied).",
        f"{open_to_all}/secret cannot be read (Permission denied).",
    ]


def test_a_file_of_somebody_else_is_read_although_its_access_time_cannot_be_kept(open_to_all: Path) -> None:
    (open_to_all / "shared").write_bytes(b"for all")
    (open_to_all / "shared").chmod(0o644)
    script = """
view = memoryview(bytearray(99))
with files.open_file(os.fsencode(sys.argv[1])) as reader:
    print(bytes(view[:reader.readinto(view)]).decode())
"""
    assert as_nobody(script, str(open_to_all / "shared")) == "for all\n"


# Fingerprints -----------------------------------------------------------------------------------------------


def test_an_unchanged_folder_keeps_its_fingerprint(folder: Path) -> None:
    assert listing(folder).fingerprint == listing(folder).fingerprint


def test_reading_a_folder_does_not_change_its_fingerprint(folder: Path) -> None:
    before = listing(folder).fingerprint
    read_all(folder / "a")
    assert listing(folder).fingerprint == before


def test_a_glance_sees_what_a_listing_sees(folder: Path) -> None:
    found = listing(folder)
    glance = files.glance(os.fsencode(folder), later())
    assert glance is not None
    assert glance.fingerprint == found.fingerprint
    assert glance.subfolders == [(b"sub", os.lstat(folder / "sub").st_dev)]


def test_there_is_no_glance_at_what_is_racy_large_or_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.glance(os.fsencode(folder), time.time_ns()) is None
    assert files.glance(os.fsencode(folder / "a"), later()) is None
    assert files.glance(os.fsencode(folder / "none"), later()) is None
    monkeypatch.setattr(files, "GLANCE_MOST", 2)
    assert files.glance(os.fsencode(folder), later()) is None


def _swap_names(folder: Path) -> None:
    os.rename(folder / "a", folder / "c")
    os.rename(folder / "b", folder / "a")
    os.rename(folder / "c", folder / "b")


def _replace(folder: Path) -> None:
    """Put an equal file, with equal times, in the place of one."""
    status = os.stat(folder / "a")
    (folder / "new").write_bytes(b"alpha")
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(folder / "new", folder / "a")


CHANGES: dict[str, Callable[[Path], object]] = {
    "size": lambda f: os.truncate(f / "a", 3),
    "mtime": lambda f: os.utime(f / "a", ns=(0, OLD_NS)),
    "mtime by one nanosecond": lambda f: os.utime(f / "a", ns=(0, os.stat(f / "a").st_mtime_ns + 1)),
    "mode": lambda f: os.chmod(f / "a", 0o711),
    "setuid": lambda f: os.chmod(f / "a", 0o4755),
    "name": lambda f: os.rename(f / "a", f / "aa"),
    "names swapped": _swap_names,
    "content, same size": lambda f: (f / "a").write_bytes(b"omega"),
    "replaced by an equal file": _replace,
    "new file": lambda f: (f / "new").write_bytes(b""),
    "removed": lambda f: os.unlink(f / "b"),
    "link added": lambda f: os.link(f / "a", f.parent / "outside"),
    "own mode": lambda f: os.chmod(f, 0o711),
    "own mtime": lambda f: os.utime(f, ns=(0, OLD_NS)),
    "mode of a sub-folder": lambda f: os.chmod(f / "sub", 0o711),
    "entry in a sub-folder": lambda f: (f / "sub" / "x").write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_fingerprint(folder: Path, change: str) -> None:
    for path in (folder / "a", folder / "b", folder / "sub", folder):
        os.utime(path, ns=(1, OLD_NS - 1_000_000_000))
    before = listing(folder).fingerprint
    CHANGES[change](folder)
    assert before is not None
    assert listing(folder).fingerprint not in (None, before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")
@pytest.mark.parametrize(("uid", "gid"), [(NOBODY, -1), (-1, NOBODY)])
def test_another_owner_changes_the_fingerprint(folder: Path, uid: int, gid: int) -> None:
    before = listing(folder).fingerprint
    os.chown(folder / "a", uid, gid)
    assert listing(folder).fingerprint != before


FIELDS = ("st_mode", "st_uid", "st_gid", "st_size", "st_ino", "st_nlink", "st_rdev", "st_mtime_ns", "st_ctime_ns")


class Status:
    """A made-up `os.stat_result`: the system would change the change time with any other field."""

    def __init__(self, **fields: int) -> None:
        self.__dict__.update({"st_mtime_ns": OLD_NS, "st_ctime_ns": OLD_NS, **dict.fromkeys(FIELDS[:-2], 1), **fields})


def fingerprint(own: Status, names: list[bytes], stats: list[Status], now_ns: int = OLD_NS * 2) -> bytes | None:
    return files._fingerprint(own, names, stats, now_ns)  # type: ignore[arg-type]  # see Status


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_alone_counts(field: str) -> None:
    base = fingerprint(Status(), [b"a", b"b"], [Status(), Status()])
    assert fingerprint(Status(), [b"a", b"b"], [Status(), Status(**{field: 2})]) not in (None, base)


def test_numbers_of_64_bits_are_no_trouble() -> None:
    big = Status(st_ino=2**64 - 1, st_rdev=2**64 - 1, st_size=2**63 - 1, st_mtime_ns=-(2**62), st_uid=2**32 - 1)
    assert fingerprint(Status(), [b"a"], [big]) is not None


names = st.lists(st.binary(min_size=1, max_size=6).filter(lambda n: b"\0" not in n), max_size=4, unique=True)


@given(names, names)
def test_two_sets_of_names_never_share_a_fingerprint(one: list[bytes], other: list[bytes]) -> None:
    one, other = sorted(one), sorted(other)
    prints = [fingerprint(Status(), n, [Status()] * len(n)) for n in (one, other)]
    assert (prints[0] == prints[1]) == (one == other)


# Racy times -------------------------------------------------------------------------------------------------

NOW = OLD_NS
SECOND = files.SECOND_NS
WHOLE = NOW // SECOND * SECOND


@pytest.mark.parametrize(
    ("mtime", "ctime", "racy"),
    [
        (NOW - 10 * SECOND, NOW - 10 * SECOND, False),
        (NOW - 21_000_000, NOW - 21_000_000, False),
        (NOW - 10 * SECOND, NOW - 19_000_000, True),
        (NOW - 19_000_000, NOW - 10 * SECOND, True),
        (NOW - 10 * SECOND, NOW, True),
        (NOW - 10 * SECOND, NOW + SECOND, True),
        (NOW + SECOND, NOW - 10 * SECOND, True),
        (WHOLE - SECOND, WHOLE - SECOND, True),
        (WHOLE - SECOND, WHOLE - SECOND + 1, False),
        (WHOLE - 3 * SECOND, WHOLE - 3 * SECOND, False),
    ],
)
def test_times_younger_than_the_grain_of_the_clock_are_racy(mtime: int, ctime: int, racy: bool) -> None:
    status = Status(st_mtime_ns=mtime, st_ctime_ns=ctime)
    assert files.is_racy(status, NOW) is racy  # type: ignore[arg-type]  # see Status
    assert (fingerprint(Status(st_mtime_ns=0, st_ctime_ns=0), [b"a"], [status], NOW) is None) is racy
    assert (fingerprint(status, [], [], NOW) is None) is racy


def test_a_folder_with_a_file_written_this_moment_has_no_fingerprint(folder: Path) -> None:
    (folder / "a").write_bytes(b"now")
    assert listing(folder, time.time_ns()).fingerprint is None


# Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 40])
def test_a_file_is_read_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_all(tmp_path / "file") == content
    with files.open_file(os.fsencode(tmp_path / "file")) as reader:
        assert reader.size == len(content)
        assert reader.extents() == [(0, len(content))]


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "socket", "missing", "device"])
def test_what_is_no_regular_file_is_refused_and_never_blocks(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        (tmp_path / "file").write_bytes(b"x")
        place.symlink_to(tmp_path / "file")
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    elif kind == "device":
        place = Path("/dev/zero")
    with pytest.raises(SourceError):
        files.open_file(os.fsencode(place))


def test_a_file_that_vanished_after_the_listing_is_a_source_error(folder: Path) -> None:
    found = listing(folder)
    os.unlink(folder / "a")
    with pytest.raises(SourceError, match="a cannot be read"):
        files.open_file(os.fsencode(folder / "a"), found.stats[0])


def test_reading_leaves_the_access_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(OLD_NS, OLD_NS))
    read_all(path)
    assert path.stat().st_atime_ns == OLD_NS


def _append(path: Path) -> None:
    with open(path, "ab") as out:
        out.write(b"more")


def _put_equal(path: Path) -> None:
    path.with_name("n").write_bytes(b"alpha")
    os.rename(path.with_name("n"), path)


def _put_link(path: Path) -> None:
    os.rename(path, path.with_name("n"))
    path.symlink_to("n")


WHILE_READ: dict[str, Callable[[Path], object]] = {
    "nothing": lambda p: None,
    "appended": _append,
    "rewritten": lambda p: p.write_bytes(b"omega"),
    "touched": lambda p: os.utime(p, ns=(0, OLD_NS)),
    "removed": lambda p: os.unlink(p),
    "replaced": lambda p: _put_equal(p),
    "replaced by a link": lambda p: _put_link(p),
}


@pytest.mark.parametrize("change", WHILE_READ)
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"alpha")
    os.utime(path, ns=(0, OLD_NS + 1))
    with files.open_file(os.fsencode(path)) as reader:
        assert not reader.changed()
        WHILE_READ[change](path)
        assert reader.changed() is (change != "nothing")


def test_a_file_that_changed_between_listing_and_opening_is_noticed(folder: Path) -> None:
    before = listing(folder).stats[0]
    os.utime(folder / "a", ns=(0, OLD_NS))
    with files.open_file(os.fsencode(folder / "a"), before) as reader:
        assert reader.changed()
    with files.open_file(os.fsencode(folder / "a")) as reader:
        assert reader.changed(before)
        assert not reader.changed()


# Holes ------------------------------------------------------------------------------------------------------

MIB = 1024 * 1024


def sparse(path: Path, size: int, pieces: list[tuple[int, bytes]]) -> bytes:
    with open(path, "wb") as out:
        out.truncate(size)
        for offset, data in pieces:
            out.seek(offset)
            out.write(data)
    if path.stat().st_blocks * 512 >= size:
        pytest.skip("this filesystem keeps no holes")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (8 * MIB, [(MIB, b"x" * 4096), (4 * MIB, b"y" * 70_000)]),
        (8 * MIB, [(0, b"first")]),
        (8 * MIB, [(8 * MIB - 3, b"end")]),
        (8 * MIB, []),
    ],
)
def test_extents_of_a_sparse_file_leave_out_only_zeros(
    tmp_path: Path, size: int, pieces: list[tuple[int, bytes]]
) -> None:
    path = tmp_path / "sparse"
    content = sparse(path, size, pieces)
    with files.open_file(os.fsencode(path)) as reader:
        extents = reader.extents()
        rebuilt = bytearray(size)
        for offset, length in extents:
            reader.seek(offset)
            view = memoryview(rebuilt)[offset : offset + length]
            while view:
                view = view[reader.readinto(view) :]
    assert bytes(rebuilt) == content
    assert sum(length for _, length in extents) <= sum(len(data) for _, data in pieces) + 2 * 65536
    assert extents == sorted(extents)
    assert all(length > 0 for _, length in extents)


def test_after_looking_for_holes_reading_starts_at_the_beginning(tmp_path: Path) -> None:
    sparse(tmp_path / "sparse", MIB, [(0, b"begin")])
    buffer = memoryview(bytearray(5))
    with files.open_file(os.fsencode(tmp_path / "sparse")) as reader:
        reader.extents()
        assert reader.readinto(buffer) == 5
    assert bytes(buffer) == b"begin"
