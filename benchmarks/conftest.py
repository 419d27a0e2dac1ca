"""What all benchmarks share: seeded data, places in memory, and speeds beside the times. Nothing asserts a time."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import corpus  # These stand beside this file.
import keepstone
from keepstone.hashing import SubKeys
from measuring import BUFFER, FILES, MEGABYTES, Gauge, Place

MEMORY = Path("/dev/shm")


@pytest.fixture
def gauge(benchmark: BenchmarkFixture) -> Gauge:
    return Gauge(benchmark)


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A temporary folder, in memory where there is /dev/shm, so that no disk is measured."""
    with tempfile.TemporaryDirectory(prefix="keepstone-bench-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def keys() -> SubKeys:
    return SubKeys.derive(random.Random(10).randbytes(32))


@pytest.fixture(scope="session")
def media_folder(work: Path) -> Path:
    """Media, and a chat database of a twelfth of its size."""
    folder = work / "media"
    corpus.media(folder / "media", MEGABYTES * 1_000_000 * 12 // 13)
    corpus.database(folder / "msgstore.db", MEGABYTES * 1_000_000 // 13)
    return folder


@pytest.fixture(scope="session")
def files_folder(work: Path) -> Path:
    """Many small files."""
    corpus.small_files(work / "files", FILES)
    return work / "files"


@pytest.fixture(scope="session")
def noise(work: Path) -> bytes:
    """Media in one buffer: bytes that do not compress."""
    corpus.media(work / "noise", BUFFER)
    return b"".join(path.read_bytes() for path in sorted((work / "noise").iterdir()))


@pytest.fixture(scope="session")
def text(work: Path) -> bytes:
    """A chat database in one buffer."""
    corpus.database(work / "text.db", BUFFER)
    return (work / "text.db").read_bytes()[:BUFFER]


@pytest.fixture
def place(work: Path) -> Iterator[Place]:
    """A place for a repository that a 64-digit key unlocks, so no time goes into a password."""
    found = Place(work / "repository", keepstone.parse_digits("0123456789abcdef" * 4))
    yield found
    shutil.rmtree(found.folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:  # Any: pytest does not export the reporter's type.
    """Print what was noted; the table of pytest-benchmark has times only."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    noted = [(b.name, b.extra_info) for b in (session.benchmarks if session else []) if b.extra_info]
    if noted:
        terminalreporter.section("what was measured")
        for name, facts in noted:
            terminalreporter.line(f"{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
