"""How fast streams are cut: every kernel, three mean sizes, noise, text, zeros, and hostile data."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from keepstone.chunking import ALGORITHMS, Chunker, Parameters, kernels, secrets_for

PYTHON_BUFFER = 512 << 10
"""The oracle in Python is a specification, not a kernel to use; a small buffer is enough to see its speed."""


@pytest.mark.parametrize("data", ["noise", "text", "zeros"])
@pytest.mark.parametrize("mean", [8 << 10, 64 << 10, 1 << 20], ids=["8K", "64K", "1M"])
@pytest.mark.parametrize(("algorithm", "kernel"), [(each, name) for each in ALGORITHMS for name in kernels(each)])
def test_cuts(gauge: Any, algorithm: str, kernel: str, mean: int, data: str, noise: bytes, text: bytes) -> None:
    buffer = {"noise": noise, "text": text, "zeros": bytes(len(noise))}[data]
    if kernel == "python":
        buffer = buffer[:PYTHON_BUFFER]
    chunker = Chunker(secrets_for(algorithm, random.Random(11).randbytes(32)), Parameters.for_mean(mean), kernel)
    rounds = 1 if kernel == "python" else 10
    cuts = gauge.run.pedantic(chunker.cuts, (buffer, True), rounds=rounds, warmup_rounds=rounds // 10)
    gauge.note(
        algorithm=algorithm, kernel=kernel, mean=mean, data=data, chunks=len(cuts), average=len(buffer) // len(cuts)
    )
    gauge.speed(len(buffer))


def hostile(rng: random.Random, kind: str) -> bytes:
    """Return data that somebody made who knows everything but the key."""
    length = 4 << 20
    if kind == "line":
        unit = b"2024-05-06, 17:18 - Someone: a message\n"
    elif kind == "runs":
        each = rng.randint(9, 32)
        unit = bytes([rng.randrange(256)]) * each + bytes([rng.randrange(256)]) * each
    else:
        unit = rng.randbytes(rng.randint(1, 64) if kind == "period" else 1)
    return (unit * (length // len(unit) + 1))[:length]


@pytest.mark.parametrize("kind", ["alike", "period", "line", "runs"])
@pytest.mark.parametrize(
    ("algorithm", "kernel"), [(each, name) for each in ALGORITHMS for name in kernels(each) if name != "python"]
)
def test_hostile(gauge: Any, algorithm: str, kernel: str, kind: str) -> None:
    """Time many tries of a kind, each under another key, and note how many times as long as noise the luckiest took."""
    rng = random.Random(12)
    tries = 4 if (algorithm, kernel) == ("aes", "scalar") else 100

    def seconds(data: bytes) -> float:
        chunker = Chunker(secrets_for(algorithm, rng.randbytes(32)), Parameters.for_mean(4 << 10), kernel)
        times = []
        for _ in range(3):
            start = time.thread_time()
            chunker.cuts(data, True)
            times.append(time.thread_time() - start)
        return min(times)

    noise = min(seconds(rng.randbytes(4 << 20)) for _ in range(5))
    slowest = gauge.run.pedantic(lambda: max(seconds(hostile(rng, kind)) for _ in range(tries)), rounds=1)
    gauge.note(algorithm=algorithm, kernel=kernel, data=kind, times_as_long_as_noise=round(slowest / noise, 2))
