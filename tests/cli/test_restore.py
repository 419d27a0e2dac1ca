"""What `restore`, `cat`, `ls`, `find` and `diff` give back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.conftest import Shared
from support import picture


def below(target: Path, source: Path) -> Path:
    return Path(f"{target}{source}")


def test_a_snapshot_recreates_absolute_paths_below_the_target(shared: Shared, tmp_path: Path) -> None:
    run = shared.box.run("restore", "latest", "--target", tmp_path / "new")
    assert picture(below(tmp_path / "new", shared.source)) == picture(shared.source)
    assert run.out == ""
    assert "Restored 5 files" in run.err


def test_a_path_goes_directly_into_the_target(shared: Shared, tmp_path: Path) -> None:
    shared.box.run("restore", f"{shared.second[:8]}:{shared.source}", "-t", tmp_path, "--verify")
    assert picture(tmp_path) == picture(shared.source)
    shared.box.run("restore", f"{shared.first}:{shared.source}/gone.txt", "-t", tmp_path / "one")
    assert os.listdir(tmp_path / "one") == ["gone.txt"]


def test_a_relative_target(shared: Shared, tmp_path: Path) -> None:
    shared.box.run("restore", f"latest:{shared.source}/docs", "-t", "here", cwd=tmp_path)
    assert os.listdir(tmp_path / "here") == ["letter.txt"]


def test_include_and_exclude(shared: Shared, tmp_path: Path) -> None:
    shared.box.run("restore", f"latest:{shared.source}", "-t", tmp_path / "i", "--include", "*.txt")
    assert sorted(p.name for p in (tmp_path / "i").rglob("*") if p.is_file()) == ["letter.txt", "new.txt"]
    shared.box.run("restore", f"latest:{shared.source}", "-t", tmp_path / "e", "--exclude", "docs", "-e", "*.jpg")
    assert sorted(os.listdir(os.fsencode(tmp_path / "e"))) == [b"link", b"new.txt", b"not-\xff-utf8"]


def test_over_an_existing_copy_only_what_differs_is_fetched(shared: Shared, tmp_path: Path) -> None:
    what = ("restore", f"latest:{shared.source}", "--target", tmp_path)
    assert shared.box.json(*what)["bytes_fetched"] > 700_000
    again = shared.box.json(*what)
    assert again["bytes_fetched"] == 0
    assert again["files_identical"] == 4
    with (tmp_path / "photo.jpg").open("r+b") as file:
        file.seek(350_000)
        file.write(b"scratch")
    partly = shared.box.json(*what)
    assert 0 < partly["bytes_fetched"] < 700_000
    assert picture(tmp_path) == picture(shared.source)


@pytest.mark.parametrize(
    ("overwrite", "same_stat", "other"),
    [("always", b"new", b"new"), ("if-changed", b"odd", b"new"), ("never", b"odd", b"longer")],
)
def test_overwrite(shared: Shared, tmp_path: Path, overwrite: str, same_stat: bytes, other: bytes) -> None:
    file = tmp_path / "new.txt"
    what = ("restore", f"latest:{shared.source}/new.txt", "-t", tmp_path, "--overwrite", overwrite)
    shared.box.run(*what)
    assert file.read_bytes() == b"new"
    before = file.stat().st_mtime_ns
    file.write_bytes(b"odd")
    os.utime(file, ns=(before, before))
    shared.box.run(*what)
    assert file.read_bytes() == same_stat
    file.write_bytes(b"longer")
    shared.box.run(*what)
    assert file.read_bytes() == other


def test_cat_gives_the_exact_bytes(shared: Shared) -> None:
    assert (
        shared.box.run("cat", f"latest:{shared.source}/photo.jpg").stdout == (shared.source / "photo.jpg").read_bytes()
    )
    odd = os.fsencode(shared.source) + b"/not-\xff-utf8"
    assert shared.box.run("cat", b"latest:" + odd).stdout == b"bytes"
    shared.box.fails(1, "cat", f"latest:{shared.source}/docs")


def test_ls_long(shared: Shared) -> None:
    lines = shared.box.run("ls", "-l", f"latest:{shared.source}").lines
    (photo,) = [line for line in lines if line.endswith("photo.jpg") and "->" not in line]
    assert photo.startswith("-rw")
    assert " 700000 " in photo
    assert any(line.startswith("l") and line.endswith("link -> photo.jpg") for line in lines)
    assert any(line.startswith("d") and line.endswith("/docs") for line in lines)


def test_diff_for_people(shared: Shared) -> None:
    run = shared.box.run("diff", shared.first[:10], "latest")
    assert sorted(line.replace(str(shared.source), "") for line in run.lines) == [
        "+  /new.txt",
        "-  /gone.txt",
        "M  /docs/letter.txt",
    ]
    assert "1 added, 1 removed, 1 changed" in run.err
    assert shared.box.run("diff", "latest", "latest").out == ""


def test_find_for_people(shared: Shared) -> None:
    run = shared.box.run("find", "letter*")
    assert run.lines == [f"{shared.source}/docs/letter.txt"] * 2
    assert run.err.count("Snapshot ") == 2
    assert shared.box.run("find", f"{shared.source}/n*", "-s", "latest").lines[0] == f"{shared.source}/new.txt"


def test_a_star_in_find_stays_within_a_folder(shared: Shared) -> None:
    assert shared.box.run("find", f"{shared.source}/*.txt", "-s", "latest").lines == [f"{shared.source}/new.txt"]


def test_snapshots_for_people(shared: Shared) -> None:
    run = shared.box.run("snapshots")
    assert run.lines[0].split() == ["ID", "Time", "Host", "Tags", "Files", "Size", "Paths"]
    assert shared.first[:8] in run.lines[2]
    assert run.err == "2 snapshots\n"
