"""What benchmarks measure with: sizes, places in memory, and speeds beside the times."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import keepstone
from keepstone.store.posix import PosixStore

MEGABYTES = int(os.environ.get("KEEPSTONE_BENCH_MB", "64"))
FILES = int(os.environ.get("KEEPSTONE_BENCH_FILES", "2000"))
BUFFER = min(MEGABYTES * 1_000_000, 16 << 20)
"""Bytes of the buffers that chunker and frames are measured with."""


class Gauge:
    """The benchmark fixture, and what to note beside its times."""

    def __init__(self, benchmark: BenchmarkFixture) -> None:
        self.run = benchmark

    def note(self, **facts: object) -> None:
        """Keep facts of what was measured; the JSON report has them as `extra_info`."""
        self.run.extra_info.update(facts)

    def speed(self, amount: int, unit: str = "MB/s", scale: float = 1e6) -> None:
        """Keep the speed at the median time. Without --benchmark-enable nothing was timed."""
        self.note(**{"bytes" if unit == "MB/s" else "items": amount})
        if self.run.stats is not None:
            self.note(**{unit: round(amount / self.run.stats.stats.median / scale, 2)})


@dataclass(frozen=True)
class Place:
    """A repository of its own, with its cache and state, in one folder."""

    folder: Path
    credential: keepstone.Credential

    def init(self) -> Place:
        """Create the repository anew and empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        keepstone.init(PosixStore(self.folder / "store"), self.credential, state=self.folder / "state")
        return self

    def open(self) -> keepstone.Client:
        store = PosixStore(self.folder / "store")
        return keepstone.open(store, self.credential, cache=self.folder / "cache", state=self.folder / "state")

    def backup(self, source: Path) -> keepstone.BackupResult:
        with self.open() as repository:
            return repository.backup(keepstone.BackupOptions(sources=[os.fsencode(source)]))

    def restore(self, target: Path) -> keepstone.RestoreResult:
        with self.open() as repository:
            options = keepstone.RestoreOptions(target=os.fsencode(target))
            return repository.restore(repository.snapshot("latest"), options)
