"""How long whole runs take, without the start of Python: first backup, backup of what has not changed, restore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from keepstone import chunking

ROUNDS = 3


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("source", ["media", "files"])
def test_first_backup(gauge: Any, place: Any, media_folder: Path, files_folder: Path, source: str) -> None:
    folder = media_folder if source == "media" else files_folder

    def fresh() -> tuple[tuple[Path], dict[str, object]]:
        place.init()
        return (folder,), {}

    result = gauge.run.pedantic(place.backup, setup=fresh, rounds=ROUNDS)
    size = _bytes(folder)
    gauge.note(kernel=chunking.kernel(), files=result.counts.files, stored=result.stored_bytes)
    gauge.note(ratio=round(size / result.stored_bytes, 3))
    gauge.speed(size)


@pytest.mark.parametrize("source", ["media", "files"])
def test_no_change_backup(gauge: Any, place: Any, media_folder: Path, files_folder: Path, source: str) -> None:
    folder = media_folder if source == "media" else files_folder
    place.init().backup(folder)
    result = gauge.run.pedantic(place.backup, (folder,), rounds=ROUNDS, warmup_rounds=1)
    gauge.note(stored=result.stored_bytes)
    gauge.speed(result.counts.files, "files/s", 1)


@pytest.mark.parametrize("source", ["media", "files"])
def test_restore(gauge: Any, place: Any, media_folder: Path, files_folder: Path, source: str, work: Path) -> None:
    folder = media_folder if source == "media" else files_folder
    target = work / "restored"
    place.init().backup(folder)

    def fresh() -> tuple[tuple[Path], dict[str, object]]:
        shutil.rmtree(target, ignore_errors=True)
        return (target,), {}

    result = gauge.run.pedantic(place.restore, setup=fresh, rounds=ROUNDS)
    restored = target / os.path.relpath(folder, "/")
    assert _bytes(restored) == _bytes(folder)
    shutil.rmtree(target)
    gauge.note(files=result.files_restored)
    gauge.speed(result.bytes_restored)
