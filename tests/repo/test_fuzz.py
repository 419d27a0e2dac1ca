"""Whatever bytes a decoder is given: it takes them, or it raises an error of Keepstone. Never another one, never for
long, never with more memory than the format allows."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keepstone import encoding
from keepstone.history import recipe
from repo import fuzzing, mutation
from support import child_environment, report

SEED = 20261123
RUNS = int(os.environ.get("KEEPSTONE_FUZZ_RUNS", "20000"))
"""Inputs that the coverage-guided test gives to each target."""

REFUSED = {"directory and frames": 2}
"""Seeds that are no whole object: directories without their frames."""

UNFORGEABLE = ("stored config", "stored record", "stored index")
"""Of these a target takes nothing but what was stored, whatever name it is stored under."""


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_every_target_takes_what_keepstone_wrote(name: str) -> None:
    """So a target does reach its decoder: everything before it is as it should be."""
    target, seeds = fuzzing.TARGETS[name]
    taken = [fuzzing.run(target, seed) for seed in seeds()]
    assert any(taken)
    if name.startswith("stored"):
        return  # Each has one place, or a password.
    assert taken.count(False) <= REFUSED.get(name, 0) or name == "signed record"


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_mutated_bytes_raise_no_foreign_error(name: str) -> None:
    report(f"seed {SEED}")
    target, seeds = fuzzing.TARGETS[name]
    rng, known = random.Random(f"{SEED} {name}"), seeds()
    inputs = [mutation.mutated(name, rng.choice(known), known, rng) for _ in range(250)]
    taken = [data for data in inputs if fuzzing.run(target, data)]
    report(f"{len(taken)} of {len(inputs)} were taken")
    if name in UNFORGEABLE:
        assert set(taken) <= set(known)


ENDLESS = encoding.encode([recipe.INDIRECT, 2**62, b""])
"""A list of lists of lists ..., deeper than any reader counts."""


CUT = encoding.encode([recipe.INDIRECT, 1, bytes(41)])


@pytest.mark.parametrize(
    ("name", "data"), [("recipe", mutation.join(ENDLESS, b"")), ("recipe", mutation.join(CUT, b""))]
)
def test_what_was_wrong_once_is_right(name: str, data: bytes) -> None:
    def ring(number: int, frame: object) -> None:
        raise TimeoutError("this input takes for ever")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    try:
        assert not fuzzing.run(fuzzing.TARGETS[name][0], data)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_bytes_led_by_coverage_raise_no_foreign_error(tmp_path: Path, name: str) -> None:
    """A run ends early, and with another exit code than 0, at the first foreign error, timeout or excess of memory."""
    pytest.importorskip("atheris", reason="atheris, which measures coverage, is not installed")
    report(f"seed {SEED}")
    run = subprocess.run(
        [sys.executable, fuzzing.__file__, name, str(RUNS), str(SEED), tmp_path], capture_output=True, check=False,
        env=child_environment(),
    )  # fmt: skip
    said = run.stderr.decode("utf-8", "replace")
    assert run.returncode == 0, run.stdout.decode("utf-8", "replace")[-3000:] + said[-3000:]
    (done,) = re.findall(r"stat::number_of_executed_units: (\d+)", said)
    assert int(done) >= RUNS
    covered = re.findall(r"cov: (\d+)", said)
    report(f"{done} inputs, {covered[0]} to {covered[-1]} places covered, {len(os.listdir(tmp_path))} inputs kept")
