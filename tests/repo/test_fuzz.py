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
from repo import fuzzing
from support import report

SEED = 20261123
RUNS = int(os.environ.get("KEEPSTONE_FUZZ_RUNS", "20000"))
"""Inputs that the coverage-guided test gives to each target."""

REFUSED = {"directory and frames": 2}
"""Seeds that are no whole object: directories without their frames."""


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_every_target_takes_what_keepstone_wrote(name: str) -> None:
    """So a target does reach its decoder: everything before it is as it should be."""
    target, seeds = fuzzing.TARGETS[name]
    taken = [fuzzing.run(target, seed) for seed in seeds()]
    assert any(taken)
    if name.startswith("stored"):
        return  # Each has one place, or a password.
    assert taken.count(False) <= REFUSED.get(name, 0) or name == "signed record"


def mutated(seed: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return an input a little different: flipped, cut, repeated, joined, or with an interesting number in it."""
    data = bytearray(seed)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        length = rng.randrange(1, 9)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.choice([0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xC6, 0xCF, 0xD3, 0xDD, 0xDF, 0xFF])
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length * 8]
        elif kind == 4:
            data[at : at + length] = rng.choice([b"\xff", b"\0", b"\x7f"]) * length
        elif kind == 5:
            other = rng.choice(others)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        else:
            data[at : at + 9] = b"\xcf" + rng.choice([2**63, 2**64 - 1, 2**32, 65536]).to_bytes(8, "big")
    return bytes(data)


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_mutated_bytes_raise_no_foreign_error(name: str) -> None:
    report(f"seed {SEED}")
    target, seeds = fuzzing.TARGETS[name]
    rng, known = random.Random(f"{SEED} {name}"), seeds()
    taken = sum(fuzzing.run(target, mutated(rng.choice(known), known, rng)) for _ in range(250))
    report(f"{taken} of 250 were taken")


ENDLESS = encoding.encode([recipe.INDIRECT, 2**62, b""])
"""A list of lists of lists ..., deeper than any reader counts."""


@pytest.mark.parametrize(("name", "data"), [("recipe", len(ENDLESS).to_bytes(2, "little") + ENDLESS)])
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
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    said = run.stderr.decode("utf-8", "replace")
    assert run.returncode == 0, run.stdout.decode("utf-8", "replace")[-3000:] + said[-3000:]
    (done,) = re.findall(r"stat::number_of_executed_units: (\d+)", said)
    assert int(done) >= RUNS
    covered = re.findall(r"cov: (\d+)", said)
    report(f"{done} inputs, {covered[0]} to {covered[-1]} places covered, {len(os.listdir(tmp_path))} inputs kept")
