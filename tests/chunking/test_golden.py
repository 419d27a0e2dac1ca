"""The cuts of this version are those of every version."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from chunking.material import GOLDEN, KERNELS, golden_parameters, golden_secrets, part, secrets
from keepstone.chunking import Chunker, Parameters

VECTORS = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", VECTORS["cuts"], ids=lambda case: case["name"])
def test_cut_points_never_change(case: dict[str, Any], kernel: str) -> None:
    data = b"".join(part(**each) for each in case["data"])
    chunker = Chunker(secrets(case["key"]), Parameters.for_mean(case["mean"]), kernel)
    assert chunker.cuts(data, final=True) == case["ends"]


def test_secrets_and_parameters_never_change() -> None:
    assert [golden_secrets(each["key"]) for each in VECTORS["secrets"]] == VECTORS["secrets"]
    assert [golden_parameters(each["mean"]) for each in VECTORS["parameters"]] == VECTORS["parameters"]


def test_the_golden_file_covers_forced_cuts_by_least_hash_and_at_the_maximum() -> None:
    by_name = {case["name"]: case["ends"] for case in VECTORS["cuts"]}
    assert by_name["period 8 has no candidates"] == [16384, 32768, 49152, 65536]
    steps = {b - a for a, b in pairwise(by_name["long periods between random data: least hashes"])}
    assert any(length % 700 == 0 for length in steps)
