"""A computer with nothing on it, and one with two snapshots that tests only look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.harness import Box
from support import noise, words


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A computer without any repository; a 64-digit key is at hand."""
    return Box(tmp_path)


@pytest.fixture
def ready(box: Box) -> Box:
    """A computer with an empty repository."""
    box.run("init")
    return box


@dataclass(frozen=True)
class Shared:
    """A repository with two snapshots. Tests read it and change nothing."""

    box: Box
    source: Path
    first: str
    second: str


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    base = tmp_path_factory.mktemp("shared")
    box = Box(base)
    source = base / "source"
    (source / "docs").mkdir(parents=True)
    (source / "docs" / "letter.txt").write_bytes(words("letter", 5000))
    (source / "photo.jpg").write_bytes(noise("photo", 700_000))
    (source / "gone.txt").write_bytes(b"soon gone")
    os.symlink("photo.jpg", source / "link")
    (source / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"bytes")
    box.run("init")
    first = box.json("backup", source, "--tag", "one")["snapshot_id"]
    (source / "gone.txt").unlink()
    (source / "new.txt").write_bytes(b"new")
    (source / "docs" / "letter.txt").write_bytes(words("other letter", 6000))
    second = box.json("backup", source, "--tag", "two", "--host", "elsewhere")["snapshot_id"]
    return Shared(box, source, first, second)
