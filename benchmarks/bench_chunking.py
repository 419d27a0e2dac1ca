"""How fast streams are cut: every kernel, three mean sizes, data that does and does not compress, and zeros."""

from __future__ import annotations

import random
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
