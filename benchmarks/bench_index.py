"""How fast the local index takes packs and finds chunks, on LMDB and on the dictionary that stands in for it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from keepstone.hashing import SubKeys
from keepstone.ids import ID_LENGTH, ChunkId, PackId, RepositoryId
from keepstone.repo.cache import DictTables, LmdbTables, LocalIndex
from keepstone.repo.directories import FrameRow
from keepstone.repo.pack import RAW, Directory

PACKS = max(1, int(os.environ.get("KEEPSTONE_BENCH_FILES", "2000")) // 10)
FRAMES, CHUNKS = 32, 16
"""A pack of 32 MiB with chunks of 64 KiB."""
LOOKUPS = 10_000
TABLES = pytest.mark.parametrize("tables", ["lmdb", "dict"])


@pytest.fixture(scope="session")
def directories() -> list[Directory]:
    """Directories as packs of seeded chunk ids have them."""
    rng = random.Random(15)
    lengths = (64 << 10).to_bytes(4, "little") * CHUNKS
    stored = CHUNKS * (64 << 10) + 16
    made = []
    for _ in range(PACKS):
        frames = [FrameRow(RAW, stored, rng.randbytes(ID_LENGTH * CHUNKS), lengths, b"") for _ in range(FRAMES)]
        made.append(
            Directory(PackId(rng.randbytes(ID_LENGTH)), 32 << 20, frames, [at * stored for at in range(FRAMES)])
        )
    return made


class Indexes:
    """Makes empty local indexes and closes them."""

    def __init__(self, folder: Path, keys: SubKeys) -> None:
        self._folder, self._keys = folder, keys
        self._open: list[LocalIndex] = []
        self._numbers = count()

    def make(self, tables: str) -> LocalIndex:
        self.close()
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        made = DictTables() if tables == "dict" else LmdbTables(folder, self._keys.cache)
        self._open.append(LocalIndex(made, self._keys, RepositoryId(bytes(16))))
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def indexes(work: Path, keys: SubKeys) -> Iterator[Indexes]:
    made = Indexes(work / "index", keys)
    yield made
    made.close()


@TABLES
def test_add_packs(gauge: Any, indexes: Indexes, directories: list[Directory], tables: str) -> None:
    def fresh() -> tuple[tuple[LocalIndex], dict[str, object]]:
        return (indexes.make(tables),), {}

    gauge.run.pedantic(lambda index: index.add_packs(directories), setup=fresh, rounds=3)
    gauge.note(tables=tables, packs=PACKS)
    gauge.speed(PACKS * FRAMES * CHUNKS, "chunks/s", 1)


@TABLES
@pytest.mark.parametrize("kind", ["hits", "misses"])
def test_lookup(gauge: Any, indexes: Indexes, directories: list[Directory], tables: str, kind: str) -> None:
    index = indexes.make(tables)
    index.add_packs(directories)
    rng = random.Random(16)
    known = [chunk for directory in directories for chunk, _, _ in directory.entries()]
    wanted = rng.choices(known, k=LOOKUPS)
    if kind == "misses":
        wanted = [ChunkId(rng.randbytes(ID_LENGTH)) for _ in range(LOOKUPS)]

    def look() -> int:
        return sum(index.lookup(chunk) is not None for chunk in wanted)

    found = gauge.run(look)
    assert found == (LOOKUPS if kind == "hits" else 0)
    gauge.note(tables=tables, known=len(known))
    gauge.speed(LOOKUPS, "lookups/s", 1)
