"""Helpers of the tests: seeded content, small repositories, comparing trees."""

from __future__ import annotations

import os
import random
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import keepstone
from keepstone.repo.keys import Credential
from keepstone.store import Store
from keepstone.store.memory import MemoryStore

KEY = keepstone.parse_digits("0123456789abcdef" * 4)
"""A fixed 64-digit key: unlocks without a KDF."""
FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2] / "shared" / "fixtures"))
"""Sample files of real applications: beside the checkout, or where the environment says; often they are not there."""
START_NS = 1_700_000_000_000_000_000


def report(text: str) -> None:
    """Say something that pytest shows where a test fails, or with -rA: a seed, a figure."""
    sys.stdout.write(text + "\n")


def child_environment() -> dict[str, str]:
    """Return this process's environment in which a child finds every module that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class FakeClock:
    """A clock that tests set; each look moves it a little."""

    def __init__(self, now_ns: int | None = None) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        if self.ns is None:
            import time

            return time.time_ns()
        self.ns += 1_000_000
        return self.ns

    def monotonic(self) -> float:
        import time

        return time.monotonic()


def sample(name: str) -> bytes:
    """Return a sample file; the test is skipped where it is not."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"the sample {path} is not here")
    return path.read_bytes()


def noise(seed: object, length: int) -> bytes:
    """Return seeded bytes that do not compress."""
    return random.Random(str(seed)).randbytes(length)


def words(seed: object, length: int) -> bytes:
    """Return seeded text that does."""
    rng = random.Random(str(seed))
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]
    text = " ".join(rng.choices(vocabulary, k=length // 4 + 1))
    return text.encode()[:length]


def make_source(folder: Path) -> Path:
    """Make a small folder with some of everything; return it."""
    folder.mkdir(parents=True)
    (folder / "empty-folder").mkdir()
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    (folder / "small.txt").write_bytes(words(1, 700))
    (folder / "a" / "text").write_bytes(words(2, 90_000))
    (folder / "a" / "noise").write_bytes(noise(3, 300_000))
    (deep / "deep").write_bytes(noise(4, 5_000))
    os.symlink("small.txt", folder / "link")
    os.symlink("/nowhere/at/all", folder / "dangling")
    os.link(folder / "small.txt", folder / "a" / "hard")
    os.mkfifo(folder / "fifo")
    (folder / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"name of bytes")
    (folder / "line\nbreak \x1b[31m").write_bytes(b"name with controls")
    with (folder / "sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(noise(5, 10_000))
    os.chmod(folder / "a" / "text", 0o640)
    return folder


def picture(folder: Path | bytes) -> dict[bytes, tuple[object, ...]]:
    """Return what a tree looks like: kind, mode, bytes or target, mtime, of every path."""
    root = os.fsencode(folder)
    found: dict[bytes, tuple[object, ...]] = {}
    for at, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(at, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[os.path.relpath(path, root)] = (kind, stat.S_IMODE(status.st_mode), content, status.st_mtime_ns)
    return found


class Place:
    """A repository for a test: store, state and cache folders."""

    def __init__(self, base: Path, store: Store | None = None, credential: Credential = KEY) -> None:
        self.base = base
        self.store: Store = MemoryStore() if store is None else store
        self.credential = credential
        self.clock = FakeClock()

    def init(self) -> Place:
        keepstone.init(self.store, self.credential, state=self.base / "state", clock=self.clock)
        return self

    def open(self, *, in_memory: bool = False, accept_rollback: bool = False) -> keepstone.Client:
        return keepstone.open(
            self.store,
            self.credential,
            cache=self.base / "cache",
            state=self.base / "state",
            in_memory=in_memory,
            clock=self.clock,
            accept_rollback=accept_rollback,
        )

    def backup(self, sources: Sequence[Path], **options: object) -> keepstone.BackupResult:
        in_memory = bool(options.pop("in_memory", False))
        with self.open(in_memory=in_memory) as repository:
            return repository.backup(
                keepstone.BackupOptions(sources=[os.fsencode(s) for s in sources], **options)  # type: ignore[arg-type]
            )

    def restore(self, target: Path, path: Path | bytes = b"/", snapshot: str = "latest") -> keepstone.RestoreResult:
        with self.open(in_memory=True) as repository:
            return repository.restore(
                repository.snapshot(snapshot),
                keepstone.RestoreOptions(target=os.fsencode(target), path=os.fsencode(path)),
            )

    def fresh(self, name: str) -> Place:
        """Return the same repository as another computer sees it."""
        other = Place(self.base / name, self.store, self.credential)
        other.clock = self.clock
        return other


def age(folder: Path) -> None:
    """Give everything a time long ago, so that nothing is too young to be trusted."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
