"""The cuts of this version are those of every version."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from chunking.material import GOLDEN, KERNELS, Kernel, golden_parameters, golden_secrets, part

VECTORS = {algorithm: json.loads(path.read_text()) for algorithm, path in GOLDEN.items()}
NAMES = [case["name"] for case in VECTORS["two-stage"]["cuts"]]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_cut_points_never_change(name: str, kernel: Kernel) -> None:
    case = next(each for each in VECTORS[kernel.algorithm]["cuts"] if each["name"] == name)
    data = b"".join(part(**each) for each in case["data"])
    assert kernel.chunker(case["mean"], case["key"]).cuts(data, final=True) == case["ends"]


@pytest.mark.parametrize("algorithm", VECTORS)
def test_secrets_and_parameters_never_change(algorithm: str) -> None:
    vectors = VECTORS[algorithm]
    assert [golden_secrets(algorithm, each["key"]) for each in vectors["secrets"]] == vectors["secrets"]
    assert [golden_parameters(each["mean"]) for each in vectors["parameters"]] == vectors["parameters"]


def _ends(algorithm: str) -> dict[str, list[int]]:
    return {case["name"]: case["ends"] for case in VECTORS[algorithm]["cuts"]}


def test_the_golden_files_cover_forced_cuts_by_least_hash_and_at_the_maximum() -> None:
    name = "long periods between random data: least hashes"
    assert _ends("two-stage")["period 8 has no candidates"] == [*range(5888, 65536, 5888), 65536]
    steps = {b - a for a, b in pairwise(_ends("two-stage")[name])}
    assert any(length % 700 == 0 for length in steps)
    assert any(b - a == 5888 for ends in _ends("aes").values() for a, b in pairwise(ends))
    steps = {b - a for a, b in pairwise(_ends("aes")[name])}
    assert any(length % period == 0 for length in steps for period in (300, 700, 1500, 2900, 5000))


def test_both_algorithms_have_the_same_cases() -> None:
    assert [case["name"] for case in VECTORS["aes"]["cuts"]] == NAMES
    assert all(_ends("aes")[name] != _ends("two-stage")[name] for name in NAMES if "random" in name)
