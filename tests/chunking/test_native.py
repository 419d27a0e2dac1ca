"""The C of the chunker on its own, without Python: under sanitizers, on processors that are not here, and counted.

`native/alike.c` compares all kernels of a build that run there with the simplest; test_kernels.py holds that one to the
oracle. Kernels for absent processors are built with SIMDe, which emulates their instructions, or run by qemu.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "engine" / "keepstone" / "chunking" / "kernels"
NATIVE = Path(__file__).parent / "native"
CC = os.environ.get("CC", "cc")
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SIMDE = ["-w", "-I", str(NATIVE), '-DEMULATE="emulate.h"']


def needs(*tools: str) -> None:
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


def build(folder: Path, program: str, *flags: str, compiler: str = CC) -> str:
    """Compile a program with all kernels and return its path."""
    needs(compiler)
    sources = [str(NATIVE / program), *map(str, sorted(KERNELS.glob("*.c")))]
    built = str(folder / program.removesuffix(".c"))
    command = [compiler, "-O1", "-Wall", "-I", str(KERNELS), *flags, *sources, "-o", built]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode and "simde" in result.stderr and "No such file" in result.stderr:
        pytest.skip("SIMDe is not installed")
    assert result.returncode == 0, result.stderr
    return built


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_no_data_makes_work_that_grows_beyond_its_length(tmp_path: Path) -> None:
    """Counted in visits to candidates, of which a hash is worth four, per position that a kernel marks.

    With 15 cycles a visit, a third of a visit a position is 5 cycles; the fastest kernel of two-stage marks a position
    in 0.1 to 0.2 cycles, so that hostile data is below 40 times as slow. A kernel of aes takes 1.2 cycles or more for
    each position and no hash at all, so there even a visit to each would do.
    """
    counted = {}
    for line in run(build(tmp_path, "hostile.c", "-DCOUNT_WORK")).splitlines():
        algorithm, kind, *numbers = line.split()
        counted[algorithm, kind] = tuple(map(int, numbers))
    kinds = {"noise", "alike", "periodic", "line", "runs"}
    assert {kind for algorithm, kind in counted if algorithm == "two-stage"} == kinds | {"known-key"}
    for (algorithm, kind), (positions, candidates, hashes, held) in counted.items():
        assert positions <= 40_000 * 1.3, kind
        assert candidates <= positions, kind
        assert held <= candidates, kind
        if algorithm == "aes":
            assert hashes == 0
        elif kind in kinds:
            assert candidates + 4 * hashes <= positions / 3, kind
            assert hashes <= positions / 64, kind
        else:
            assert candidates + 4 * hashes <= 3 * positions, kind
    assert counted["two-stage", "alike"][1] == 0


@pytest.mark.slow
def test_all_kernels_are_clean_under_address_and_undefined_sanitizers(tmp_path: Path) -> None:
    run(build(tmp_path, "alike.c", *SANITIZERS), "400")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["-O3"], ["-O3", "-march=native"]], ids=" ".join)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_kernels_cut_alike_whatever_compiles_them(tmp_path: Path, compiler: str, flags: list[str]) -> None:
    run(build(tmp_path, "alike.c", *flags, compiler=compiler), "300")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-g", "-fsanitize=address"]], ids=["plain", "address"])
def test_kernels_for_other_x86_processors_cut_alike_when_emulated(tmp_path: Path, flags: list[str]) -> None:
    built = build(tmp_path, "alike.c", *SIMDE, *flags)
    run(built, "60" if flags else "200", "avx512-gfni", "avx2-gfni", "avx2", "ssse3", "vaes512", "vaes", "aesni")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processor", "names"),
    [
        ("qemu64,-ssse3", ["plain"]),  # nothing but SSE2
        ("Penryn", ["ssse3"]),
        ("Westmere", ["ssse3", "aesni"]),
        ("Haswell", ["avx2", "aesni"]),
        (
            "max,-vaes",
            ["avx2", "aesni"],
        ),  # qemu 7.2 runs VAES of 256 bits wrongly: both lanes get the first one's bytes
    ],
)
def test_processors_of_x86_run_what_they_have(tmp_path: Path, processor: str, names: list[str]) -> None:
    needs("qemu-x86_64")
    built = build(tmp_path, "alike.c", "-static")
    found = run("qemu-x86_64", "-cpu", processor, built, "30", *names)
    if "ssse3" not in names and "avx2" not in names:
        assert "avx2" not in found
        assert "ssse3" not in found
    assert "gfni" not in found
    assert "vaes" not in found


@pytest.mark.slow
def test_kernels_for_arm_cut_alike(tmp_path: Path) -> None:
    needs("qemu-aarch64")
    built = build(tmp_path, "alike.c", "-static", compiler="aarch64-linux-gnu-gcc")
    run("qemu-aarch64", built, "200", "neon", "neon-aes")


@pytest.mark.slow
def test_a_fuzzer_finds_no_difference_and_no_fault(tmp_path: Path) -> None:
    built = build(tmp_path, "fuzz.c", *SANITIZERS, "-fsanitize=fuzzer", compiler="clang")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    run(built, "-max_len=20000", "-runs=4000", "-seed=1", str(corpus))
