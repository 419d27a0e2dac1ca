"""Names made from what people wrote are names that a file can have anywhere, and stay in their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.errors import TargetError, UsageError
from keepstone.views.names import MOST_BYTES, Names, safe_name
from keepstone.views.place import new_file, new_folder

ODD = [
    "", ".", "..", "../../etc/passwd", "/abs", "C:\\x", "a/b", "nul", "COM1.txt", "LPT\u00b9", "-rf", "--help", "x.",
    "x ", "gpj.\u202eexe", "\0", "\n", "\x1b[2J", "\u2066", "\ud800", "a" * 500, "\u4f60" * 300, "e" + "\u0301" * 400,
    "." * 300, "\U0001f469\u200d" * 90, "x." + "y" * 300,
]  # fmt: skip


@given(
    st.one_of(st.text(max_size=300), st.sampled_from(ODD), st.sampled_from(ODD).flatmap(lambda a: st.just(a + ".jpg")))
)
def test_a_name_is_safe_whatever_it_is_made_from(name: str) -> None:
    found = safe_name(name)
    assert found not in ("", ".", "..")
    assert len(found.encode()) <= MOST_BYTES + 1
    assert not set(found) & set('/\\:*?"<>|\0\n\r\x1b\u202e\u2066\u200e')
    assert not found.startswith((".", "-", " "))
    assert not found.endswith((".", " "))
    assert found.partition(".")[0].lower() not in ("con", "nul", "com1", "lpt1")
    assert safe_name(found) == found


def test_an_ordinary_name_stays_as_it_is() -> None:
    for name in (
        "IMG-20240131-WA0001.jpg",
        "caf\u00e9 \u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f467.tar.gz",
        "a",
    ):
        assert safe_name(name) == name


@given(st.lists(st.sampled_from(["a.jpg", "A.JPG", "a (2).jpg", "e\u0301", "\u00e9", "x", *ODD]), max_size=30))
def test_no_two_names_are_one_on_any_system(names: list[str]) -> None:
    given_names = Names()
    found = [given_names.unused(name).casefold() for name in names]
    assert len(set(found)) == len(names)


def test_many_files_of_one_name_are_named_in_no_time() -> None:
    names = Names()
    assert [names.unused("a.jpg") for _ in range(20_000)][-1] == "a (20000).jpg"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    with pytest.raises(TargetError), new_folder(tmp_path / "b") as folder:
        (folder / "half").write_bytes(b"")
        raise OSError(28, "No space left on device")
    (tmp_path / "there").mkdir()
    with pytest.raises(TargetError), new_folder(tmp_path / "there") as folder:
        (folder / "half").write_bytes(b"")
        raise OSError(28, "No space left on device")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["there"]


def test_what_comes_to_stand_in_the_place_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError), new_file(tmp_path / "a") as file:
        file.write(b"new")
        (tmp_path / "a").write_bytes(b"mine")
    assert (tmp_path / "a").read_bytes() == b"mine"
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(UsageError), new_file(tmp_path / "link"):
        pass
    with pytest.raises(UsageError), new_folder(tmp_path / "link"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


def test_an_empty_folder_is_filled_as_it_stands(tmp_path: Path) -> None:
    inode = tmp_path.stat().st_ino
    with new_folder(tmp_path) as folder:
        (folder / "x").write_bytes(b"1")
        assert os.listdir(tmp_path) == [folder.name]
    assert os.listdir(tmp_path) == ["x"]
    assert tmp_path.stat().st_ino == inode
