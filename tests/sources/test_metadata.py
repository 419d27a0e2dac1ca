"""Owners and attributes are read as they are, and what cannot be restored is told."""

from __future__ import annotations

import os
import pwd
import stat
import struct
from pathlib import Path

import pytest

from keepstone.errors import SourceError
from keepstone.sources import metadata
from keepstone.sources.metadata import Attributes

NOBODY = 65534
TIME_NS = 1_600_000_000_123_456_789
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, perm, who)
    for tag, perm, who in [(1, 6, 2**32 - 1), (2, 4, 12345), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
)
"""user::rw- user:12345:r-- group::r-- mask::r-- other::---"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file on a filesystem that keeps attributes."""
    made = tmp_path / "file"
    made.write_bytes(b"x")
    try:
        os.setxattr(made, "user.probe", b"1")
        os.removexattr(made, "user.probe")
    except (OSError, AttributeError):
        pytest.skip("this filesystem keeps no extended attributes")
    return made


def read(path: Path) -> list[tuple[bytes, bytes]]:
    """Return the attributes of a path that do not belong to the system it is on."""
    found = metadata.read_xattrs(os.fsencode(path))
    return [(name, value) for name, value in found if not name.startswith(b"security.")]


def attributes(**changes: object) -> Attributes:
    values: dict[str, object] = {
        "mode": 0o640, "uid": os.geteuid(), "gid": os.getegid(), "user": None, "group": None, "mtime_ns": TIME_NS,
    }  # fmt: skip
    return Attributes(**{**values, **changes})  # type: ignore[arg-type]  # the values are of many types


def test_attributes_of_any_bytes_are_read_sorted(file: Path) -> None:
    for name, value in [(b"user.z", b""), (b"user.a\xff", b"\0\xff"), (b"user.b", b"x" * 1000)]:
        os.setxattr(file, name, value)
    assert read(file) == [(b"user.a\xff", b"\0\xff"), (b"user.b", b"x" * 1000), (b"user.z", b"")]


def test_a_link_is_not_followed_unless_asked(file: Path) -> None:
    os.setxattr(file, "user.a", b"1")
    link = file.with_name("link")
    link.symlink_to(file)
    assert read(link) == []
    assert (b"user.a", b"1") in metadata.read_xattrs(os.fsencode(link), follow=True)


def test_an_entry_that_vanished_is_a_source_error(tmp_path: Path) -> None:
    if not hasattr(os, "listxattr"):
        pytest.skip("no extended attributes on this system")
    with pytest.raises(SourceError, match="gone cannot be read"):
        metadata.read_xattrs(os.fsencode(tmp_path / "gone"))


def test_a_filesystem_without_attributes_has_none() -> None:
    assert metadata.read_xattrs(b"/proc/self/stat") == []


def test_an_acl_is_an_attribute_and_is_restored(file: Path) -> None:
    try:
        os.setxattr(file, "system.posix_acl_access", ACL)
    except OSError:
        pytest.skip("this filesystem keeps no ACLs")
    found = read(file)
    assert found == [(b"system.posix_acl_access", ACL)]
    other = file.with_name("other")
    other.write_bytes(b"")
    with open(other, "rb+") as opened:
        assert metadata.set_attributes(opened.fileno(), b"other", attributes(mode=0o640, xattrs=tuple(found))) == []
    assert read(other) == found
    assert stat.S_IMODE(other.stat().st_mode) == 0o640


def test_an_acl_inherited_from_the_folder_is_taken_away(file: Path) -> None:
    try:
        os.setxattr(file.parent, "system.posix_acl_default", ACL)
    except OSError:
        pytest.skip("this filesystem keeps no ACLs")
    made = file.with_name("inherits")
    made.write_bytes(b"")
    assert read(made) != []
    with open(made, "rb+") as opened:
        assert metadata.set_attributes(opened.fileno(), b"inherits", attributes(mode=0o604)) == []
    assert read(made) == []
    assert stat.S_IMODE(made.stat().st_mode) == 0o604


def test_attributes_are_made_equal(file: Path) -> None:
    os.setxattr(file, "user.old", b"1")
    os.setxattr(file, "user.kept", b"1")
    assert metadata.apply_xattrs(os.fsencode(file), b"file", [(b"user.kept", b"2"), (b"user.new", b"3")]) == []
    assert read(file) == [(b"user.kept", b"2"), (b"user.new", b"3")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to set them at all")
def test_privileged_attributes_are_restored_only_if_asked(file: Path) -> None:
    wanted = [(b"trusted.mark", b"1"), (b"user.mark", b"1")]
    assert metadata.apply_xattrs(os.fsencode(file), b"file", wanted) == []
    assert read(file) == [(b"user.mark", b"1")]
    problems = metadata.apply_xattrs(os.fsencode(file), b"file", wanted, privileged=True)
    assert problems or read(file) == wanted


@pytest.mark.parametrize("name", [b"user.", b"user.a\0b", b"user." + b"n" * 300])
def test_an_attribute_that_cannot_be_set_is_told_and_the_rest_is_set(file: Path, name: bytes) -> None:
    problems = metadata.apply_xattrs(os.fsencode(file), b"/the/file", [(name, b"1"), (b"user.good", b"1")])
    assert [problem.message.split(" could not")[0][-9:] for problem in problems] == ["/the/file"]
    assert read(file) == [(b"user.good", b"1")]


def test_names_of_owners_are_found_in_both_directions() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert metadata.user_name(os.geteuid()) == me
    assert metadata.user_id(me) == os.geteuid()
    assert metadata.group_name(os.getegid()) is not None
    assert metadata.group_id(str(metadata.group_name(os.getegid()))) == os.getegid()


def test_an_owner_without_a_name_has_none() -> None:
    assert metadata.user_name(3_999_999_999) is None
    assert metadata.group_name(3_999_999_999) is None
    assert metadata.user_name(2**70) is None
    assert metadata.user_id("no such user\0") is None
    assert metadata.group_id("no such group") is None


def test_an_owner_goes_by_name_and_else_by_number() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert metadata.owner(attributes(uid=4711, user=me))[0] == os.geteuid()
    assert metadata.owner(attributes(uid=4711, user="no such user"))[0] == 4711
    assert metadata.owner(attributes(uid=4711, gid=4712)) == (4711, 4712)


def restore(path: Path, wanted: Attributes) -> list[str]:
    """Give a new file its metadata and return what could not be set."""
    path.write_bytes(b"x")
    with open(path, "rb+") as opened:
        return [error.message for error in metadata.set_attributes(opened.fileno(), os.fsencode(path), wanted)]


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@root_only
def test_set_user_id_is_restored_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned, foreign = tmp_path / "owned", tmp_path / "foreign"
    wanted = attributes(mode=0o6755, uid=NOBODY, gid=NOBODY)
    assert restore(owned, wanted) == []
    assert (stat.S_IMODE(owned.stat().st_mode), owned.stat().st_uid, owned.stat().st_gid) == (0o6755, NOBODY, NOBODY)

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    assert restore(foreign, wanted) == [f"The owner of {foreign} could not be restored (Operation not permitted)."]
    assert stat.S_IMODE(foreign.stat().st_mode) == 0o755


def test_without_root_owners_are_left_and_set_user_id_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, mine = attributes(mode=0o4755, uid=4711), attributes(mode=0o4755)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert restore(tmp_path / "foreign", foreign) == restore(tmp_path / "mine", mine) == []
    assert stat.S_IMODE((tmp_path / "foreign").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o4755


@root_only
def test_owners_are_restored_by_name_where_the_name_exists(tmp_path: Path) -> None:
    restore(tmp_path / "named", attributes(uid=4711, gid=4711, user="nobody"))
    restore(tmp_path / "unknown", attributes(uid=4711, gid=4711, user="no such user", group="no such group"))
    assert (tmp_path / "named").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert ((tmp_path / "unknown").stat().st_uid, (tmp_path / "unknown").stat().st_gid) == (4711, 4711)


def test_paths_that_are_not_text_are_printed_with_escapes() -> None:
    assert metadata.printable(b"/caf\xc3\xa9/\xff") == "/café/\\xff"
