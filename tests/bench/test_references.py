"""The reference chunkers in C cut as their papers say: each is held against its definition in plain Python."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from bench import references

MASK_64 = (1 << 64) - 1
NAMES = ("fastcdc", "gear", "ram", "ae")


def fastcdc(data: bytes, rules: Any) -> int:
    gear, hash_ = rules.gear(), 0
    for i in range(rules.minimum, len(data)):
        hash_ = (hash_ * 2 + gear[data[i]]) & MASK_64
        if hash_ & (rules.strict if i < rules.normal else rules.loose) == 0:
            return i
    return len(data)


def gear(data: bytes, rules: Any) -> int:
    table, hash_ = rules.gear(), 0
    for i in range(rules.minimum, len(data)):
        hash_ = (hash_ * 2 + table[data[i]]) & MASK_64
        if hash_ < rules.strict:
            return i
    return len(data)


def ram(data: bytes, rules: Any) -> int:
    most = max(data[: rules.window])
    for i in range(rules.window, len(data)):
        if data[i] >= most:
            return i + 1
    return len(data)


def ae(data: bytes, rules: Any) -> int:
    values = [data[i : i + 8] for i in range(len(data) - 7)]
    at = 0
    for i in range(1, len(values)):
        if values[i] > values[at]:
            at = i
        elif i == at + rules.window:
            return i
    return len(data)


SLOW = {"fastcdc": fastcdc, "gear": gear, "ram": ram, "ae": ae}


def slow_cuts(data: bytes, rules: Any) -> list[int]:
    ends, start = [], 0
    while start < len(data):
        start += SLOW[rules.name](data[start : start + rules.maximum], rules)
        ends.append(start)
    return ends


def material(kind: str, length: int) -> bytes:
    rng = random.Random(f"references {kind}")
    if kind == "letters":
        return bytes(rng.choices(b"abcd", k=length))
    if kind == "zeros":
        return bytes(length)
    if kind == "periodic":
        return (rng.randbytes(700) * (length // 700 + 1))[:length]
    return rng.randbytes(length)


@pytest.mark.parametrize("kind", ["random", "letters", "zeros", "periodic"])
@pytest.mark.parametrize("name", NAMES)
def test_a_reference_cuts_as_its_paper_says(name: str, kind: str) -> None:
    module = references.load()
    rules = module.RULES[name](1024)
    for length in (0, 1, 7, 255, 256, 257, 1023, 8192, 8193, 60_001):
        data = material(kind, length)
        assert module.Reference(rules).cuts(data, True) == slow_cuts(data, rules), length


@pytest.mark.parametrize("name", NAMES)
def test_cuts_do_not_depend_on_how_a_stream_is_split(name: str) -> None:
    module = references.load()
    cutter = module.CHUNKERS[name](1024)
    rng = random.Random(f"split {name}")
    data = material("random", 60_000) + material("letters", 20_000) + bytes(30_000)
    whole = cutter.cuts(data, True)
    start = filled = 0
    ends = []
    while start < len(data):
        filled = min(len(data), max(filled, start) + rng.randint(1, 20_000))
        found = cutter.cuts(bytearray(data[start:filled]), filled == len(data))
        ends += [start + end for end in found]
        start = ends[-1] if ends else 0
    assert ends == whole


@pytest.mark.parametrize("mean", [4096, 16384])
@pytest.mark.parametrize("name", NAMES)
def test_the_average_on_random_data_is_the_mean(name: str, mean: int) -> None:
    """8 MiB hold 512 chunks or more, whose average is within 5 %: it scatters by a hundredth or two."""
    data = material("random", 8 << 20)
    ends = references.load().CHUNKERS[name](mean).cuts(data, True)
    assert abs(len(data) / len(ends) / mean - 1) < 0.05


def test_a_reference_is_made_anew_from_its_seed() -> None:
    module = references.load()
    rules = module.fastcdc_rules(4096)
    assert rules.gear() == module.fastcdc_rules(4096).gear()
    assert rules.gear() != dataclasses.replace(rules, seed=1).gear()
    assert rules.strict & rules.loose
    assert rules.strict.bit_count() == 14
    assert rules.loose.bit_count() == 10
