"""The command itself, stopped at random moments and at random operations, over and over on a folder that changes:
every snapshot that was made before restores, a check is clean, and the next run needs no manual step."""

from __future__ import annotations

import hashlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import keepstone
from cli.harness import Box, two_sentences
from support import KEY, picture, report, words
from work import killed

SEED = 20261123
SECONDS = 120


def _digest(folder: Path) -> bytes:
    """Return what stands for a picture of a tree."""
    seen = sorted(picture(folder).items())
    return hashlib.blake2b(repr(seen).encode()).digest()


class Soak:
    """A computer whose backups are stopped, and what is known of its snapshots."""

    def __init__(self, base: Path, seed: str) -> None:
        report(f"seed {seed}")
        self.rng = random.Random(seed)
        self.box = Box(base)
        self.source = self.box.work / "source"
        self.source.mkdir()
        self.known: dict[str, bytes] = {}
        self.seconds, self.operations = 1.0, 1
        """How long the last whole run took, and how many operations on files it did."""
        self.restored = 0
        self.box.run("init")
        for _ in range(30):
            self.change()
        self.complete()

    def change(self) -> None:
        """Change, add or remove one file."""
        path = self.source / f"folder{self.rng.randrange(5)}" / f"file{self.rng.randrange(8)}"
        path.parent.mkdir(exist_ok=True)
        if path.exists() and self.rng.random() < 0.2:
            path.unlink()
            return
        number, length = self.rng.randrange(2**32), self.rng.choice([0, 900, 40_000, 600_000])
        content = self.rng.randbytes(length) if self.rng.random() < 0.5 else words(number, length)
        path.write_bytes(content)

    def start(self, operation: int = 0, *options: str) -> subprocess.Popen[bytes]:
        """Start a backup and wait until the command begins."""
        for _ in range(self.rng.randrange(4)):
            self.change()
        self.reports, theirs = os.pipe()
        process = subprocess.Popen(
            [sys.executable, killed.__file__, str(theirs), str(operation), "backup", *options, self.source],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.box.env,
            pass_fds=[theirs],
        )  # fmt: skip
        os.close(theirs)
        assert select.select([self.reports], [], [], SECONDS)[0]
        assert os.read(self.reports, 1) == b"!"
        return process

    def stop(self, process: subprocess.Popen[bytes], number: signal.Signals, delay: float) -> tuple[int, bytes]:
        """Send a signal after a while, unless the run ends before; return exit code and standard error."""
        try:
            _, stderr = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            _, stderr = process.communicate(timeout=SECONDS)
        assert b"Traceback" not in stderr, stderr
        with open(self.reports, "rb") as file:
            self.operations = int(file.read() or self.operations)
        return process.returncode, stderr

    def delay(self) -> float:
        """Return a moment of a run, in seconds from its begin."""
        return self.rng.uniform(0, self.seconds)

    def complete(self) -> None:
        """Run a backup to its end, as a person would after a crash: nothing else is done before it."""
        process = self.start()
        begin = time.monotonic()
        code, stderr = self.stop(process, signal.SIGKILL, SECONDS)
        assert code == 0, stderr
        self.seconds = time.monotonic() - begin
        assert self.inspect()

    def inspect(self, samples: int = 2) -> bool:
        """Check; what is there must be what was there, and perhaps one snapshot more: of the source as it is.

        Returns: whether there is one more.
        """
        whole = self.rng.random() < 0.1
        cache = self.box.base / "inspector"
        with keepstone.open(str(self.box.repo), KEY, state=self.box.state, cache=cache, in_memory=whole) as repository:
            result = repository.check(read_data=float(whole))
            assert result.healthy, result
            snapshots = {snapshot.id.hex(): snapshot for snapshot in repository.snapshots()}
            assert list(self.known) == list(snapshots)[: len(self.known)]
            new = list(snapshots)[len(self.known) :]
            assert len(new) <= 1
            if new:
                self.known[new[0]] = _digest(self.source)
            for name in {*new, *self.rng.sample(list(self.known), min(samples, len(self.known)))}:
                target = self.box.base / "out" / str(self.restored)
                self.restored += 1
                options = keepstone.RestoreOptions(target=os.fsencode(target), path=os.fsencode(self.source))
                assert repository.restore(snapshots[name], options).problems == []
                assert _digest(target) == self.known[name]
                shutil.rmtree(target)
            return bool(new)


def _finish(soak: Soak) -> None:
    """A last run, and every snapshot ever made."""
    soak.complete()
    soak.inspect(samples=len(soak.known))
    left = list((soak.box.repo / "tmp").iterdir())
    assert left == [], "the last run did not clean up after the others"
    report(f"{len(soak.known)} snapshots, {soak.restored} restores compared")


@pytest.mark.parametrize("kills", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_backup_loses_nothing_and_needs_no_manual_step(tmp_path: Path, kills: int) -> None:
    soak = Soak(tmp_path, f"{SEED} kill")
    done = {"at an operation": 0, "at a moment": 0}
    while sum(done.values()) < kills:
        for _ in range(soak.rng.randint(1, 3)):
            if soak.rng.random() < 0.5:
                kind, process = "at an operation", soak.start(soak.rng.randint(1, soak.operations))
                code, stderr = soak.stop(process, signal.SIGKILL, SECONDS)
            else:
                kind, process = "at a moment", soak.start()
                code, stderr = soak.stop(process, signal.SIGKILL, soak.delay())
            assert code in (0, -signal.SIGKILL), stderr
            done[kind] += code != 0
            soak.inspect()
        soak.complete()
    _finish(soak)
    report(f"killed {done}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_backup_says_so_and_loses_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends with exit code 130 and two sentences; SIGTERM ends the process as it is."""
    soak = Soak(tmp_path, f"{SEED} {number.name}")
    ended: Counter[int] = Counter()
    while ended.total() - ended[0] < 60:
        code, stderr = soak.stop(soak.start(), number, soak.delay())
        ended[code] += 1
        published = soak.inspect()
        if code == 130:
            two_sentences("\n".join(stderr.decode().splitlines()[-2:]))
        elif code == -signal.SIGINT:
            assert published, "only an interpreter that is ending lets the signal end it"
        else:
            assert code in (0, -signal.SIGTERM), stderr
        if soak.rng.random() < 0.3:
            soak.complete()
    _finish(soak)
    report(f"ended {dict(ended)}")
