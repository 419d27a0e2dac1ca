"""Seeded bytes of several kinds, and the golden cut points that are made of them.

`python tests/chunking/material.py` writes the golden files anew, with the oracle. That is a change of the format.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from blake3 import blake3

from keepstone.chunking import ALGORITHMS, AesSecrets, AnySecrets, Chunker, Parameters, Secrets, kernels, oracle
from keepstone.chunking import secrets_for as derive

VECTORS = Path(__file__).parent.parent / "vectors"
GOLDEN = {"two-stage": VECTORS / "cut_points.json", "aes": VECTORS / "cut_points_aes.json"}


class Kernel(NamedTuple):
    algorithm: str
    name: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.name}"

    def chunker(self, mean: int = 4096, key: str = "a key") -> Chunker:
        return Chunker(derive(self.algorithm, blake3(key.encode()).digest()), Parameters.for_mean(mean), self.name)


KNOWN = {
    "two-stage": ("avx512-gfni", "avx2-gfni", "avx2", "ssse3", "neon", "scalar", "plain", "python"),
    "aes": ("vaes512", "vaes", "aesni", "neon-aes", "scalar", "python"),
}


KERNELS = [Kernel(algorithm, name) for algorithm in ALGORITHMS for name in kernels(algorithm)]
ELSEWHERE = [Kernel(algorithm, name) for algorithm, names in KNOWN.items() for name in names]
ELSEWHERE = [each for each in ELSEWHERE if each not in KERNELS]
"""Kernels that this processor, or this build, has not. test_native.py runs most of them in other ways."""
COMPILED = [each for each in KERNELS if each.name != "python"]
FASTEST = [Kernel(algorithm, kernels(algorithm)[0]) for algorithm in ALGORITHMS]
needs_compiled = pytest.mark.skipif(kernels() == ("python",), reason="keepstone.chunking._cdc is not built")


def key(label: str) -> bytes:
    """Return a chunker key: BLAKE3 of a label."""
    return blake3(label.encode()).digest()


def secrets(label: str = "a key") -> Secrets:
    return Secrets.derive(key(label))


def secrets_of(algorithm: str, label: str = "a key") -> AnySecrets:
    return derive(algorithm, key(label))


def stream(label: str, length: int) -> bytes:
    """Return the first bytes of the BLAKE3 output stream of a label."""
    return blake3(label.encode()).digest(length=length)


def letters(label: str, length: int) -> bytes:
    """Return a text of the four letters a to d: the low two bits of the bytes of a stream."""
    return bytes(97 + (byte & 3) for byte in stream(label, length))


def repeat(label: str, period: int, length: int) -> bytes:
    """Return the first `period` bytes of a stream, repeated."""
    return (stream(label, period) * (length // period + 1))[:length]


def part(kind: str, label: str, length: int, period: int | None = None) -> bytes:
    """Return a piece of golden data as its description in the golden file says."""
    if kind == "repeat":
        assert period is not None
        return repeat(label, period, length)
    return {"stream": stream, "letters": letters}[kind](label, length)


def view(data: bytes) -> memoryview:
    return memoryview(data)


def sizes(ends: list[int]) -> list[int]:
    """Return the lengths of the chunks that end there."""
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


ABOUT = (
    "key: the chunker key is BLAKE3 of this text. data: the concatenation of its parts; stream = the first bytes of "
    "the BLAKE3 output stream of the label, letters = 97 + (byte & 3) for each byte of that stream, repeat = the first "
    "`period` bytes of that stream over and over. "
    "ends: where the chunks end, final included. Numbers of 64 bits are in hex."
)


def golden_secrets(algorithm: str, label: str) -> dict[str, Any]:
    found = secrets_of(algorithm, label)
    if isinstance(found, AesSecrets):
        return {"key": label, "aes_key": found.key.hex()}
    return {
        "key": label,
        "sip_key": found.sip_key.hex(),
        "t": found.t,
        "u": found.u,
        "table": found.table.hex(),
    }


def golden_parameters(mean: int) -> dict[str, Any]:
    p = Parameters.for_mean(mean)
    return {
        "mean": mean,
        "minimum": p.minimum,
        "maximum": p.maximum,
        "normal": p.normal,
        "mask_bits": p.mask_bits,
        "strict": f"{p.strict:016x}",
        "loose": f"{p.loose:016x}",
    }


def golden(algorithm: str) -> dict[str, Any]:
    """Return what the golden file of an algorithm says, computed by the oracle."""

    def case(name: str, key_label: str, mean: int, *parts: dict[str, Any]) -> dict[str, Any]:
        data = b"".join(part(**each) for each in parts)
        ends = oracle.cuts(view(data), True, secrets_of(algorithm, key_label), Parameters.for_mean(mean))
        return {"name": name, "key": key_label, "mean": mean, "data": parts, "ends": ends}

    def of(kind: str, label: str, length: int, period: int | None = None) -> dict[str, Any]:
        described = {"kind": kind, "label": label, "length": length}
        return described if period is None else {**described, "period": period}

    return {
        "about": ABOUT,
        "secrets": [golden_secrets(algorithm, f"key {number}") for number in range(4)],
        "parameters": [golden_parameters(1 << exponent) for exponent in range(12, 23)],
        "cuts": [
            case("empty", "key 0", 4096),
            case("shorter than the minimum", "key 0", 4096, of("stream", "short", 1023)),
            case("random, 4 KiB", "key 0", 4096, of("stream", "random", 262144)),
            case("random, 4 KiB, another key", "key 1", 4096, of("stream", "random", 262144)),
            case("random, 8 KiB", "key 2", 8192, of("stream", "random 8", 262144)),
            case("random, 16 KiB", "key 3", 16384, of("stream", "random 16", 393216)),
            case("random, 64 KiB", "key 0", 65536, of("stream", "random 64", 1048576)),
            case("four letters, 4 KiB", "key 1", 4096, of("letters", "text", 131072)),
            case("period 8 has no candidates", "key 2", 4096, of("repeat", "eight", 65536, 8)),
            case("period 24", "key 3", 4096, of("repeat", "twenty-four", 65536, 24)),
            case(
                "long periods between random data: least hashes",
                "key 0",
                4096,
                of("stream", "before", 20000),
                of("repeat", "long 1", 60000, 700),
                of("repeat", "long 2", 60000, 1500),
                of("repeat", "long 3", 60000, 2900),
                of("repeat", "long 4", 60000, 5000),
                of("repeat", "long 5", 60000, 300),
                of("stream", "after", 20000),
            ),
        ],
    }


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for each, path in GOLDEN.items():
        made = golden(each)
        sections = [f'"about": {json.dumps(made.pop("about"))}']
        for name, rows in made.items():
            sections.append(f'"{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]")
        path.write_text("{\n " + ",\n ".join(sections) + "\n}\n")
