"""How fast others cut: our kernels, the published chunkers in C, and the packages people use, in one run.

The data and the mean are the same for all; the average that each reaches is noted beside its speed. Packages that are
not installed, and the published chunkers where there is no C compiler, are skipped with the reason.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from blake3 import blake3

import references  # It stands beside this file.
from keepstone.chunking import Chunker, Parameters, Secrets, kernels
from measuring import MEGABYTES

Cut = Callable[[bytes], int]
"""Cuts data into chunks and returns how many they are."""

MEANS = pytest.mark.parametrize("mean", [8 << 10, 64 << 10], ids=["8K", "64K"])
PACKAGES = ("fastcdc", "pyfastcdc")


@pytest.fixture(scope="session")
def stream() -> bytes:
    """Random bytes, as many as KEEPSTONE_BENCH_MB says: give 1000 to measure with data that no cache holds."""
    return blake3(b"peers").digest(length=MEGABYTES * 1_000_000)


def _ours(kernel: str, mean: int) -> Cut:
    chunker = Chunker(Secrets.derive(random.Random(11).randbytes(32)), Parameters.for_mean(mean), kernel)
    return lambda data: len(chunker.cuts(data, True))


def _reference(name: str, mean: int) -> Cut:
    try:
        cutter = references.CHUNKERS[name](mean)
    except references.NoCompiler as error:
        pytest.skip(f"the references cannot be built: {error}")
    return lambda data: len(cutter.cuts(data, True))


def _package(name: str, mean: int) -> Cut:
    try:
        module: ModuleType = importlib.import_module(name)
    except ImportError:
        pytest.skip(f"the package {name} is not installed")
    if name == "fastcdc":
        return lambda data: sum(1 for _ in module.fastcdc(data, mean // 4, mean, mean * 8))
    # Its average is said to be the sum of the two sizes.
    cutter = module.FastCDC(mean * 4 // 5, min_size=mean // 5, max_size=mean * 4, normalized_chunking=2)
    return lambda data: sum(1 for _ in cutter.cut_buf(data))


def _measure(gauge: Any, cut: Cut, data: bytes, who: str, mean: int) -> None:
    chunks = gauge.run.pedantic(cut, (data,), rounds=5, warmup_rounds=1)
    gauge.note(chunker=who, mean=mean, average=len(data) // chunks)
    gauge.speed(len(data))


@MEANS
@pytest.mark.parametrize("kernel", [name for name in kernels() if name != "python"])
def test_ours(gauge: Any, stream: bytes, kernel: str, mean: int) -> None:
    _measure(gauge, _ours(kernel, mean), stream, kernel, mean)


@MEANS
@pytest.mark.parametrize("name", references.NAMES)
def test_references(gauge: Any, stream: bytes, name: str, mean: int) -> None:
    _measure(gauge, _reference(name, mean), stream, name, mean)


@MEANS
@pytest.mark.parametrize("name", PACKAGES)
def test_packages(gauge: Any, stream: bytes, name: str, mean: int) -> None:
    _measure(gauge, _package(name, mean), stream, name, mean)
