"""All kernels give the same cuts, and which one runs is never left to chance."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunking.material import (
    COMPILED,
    ELSEWHERE,
    KERNELS,
    KNOWN,
    Kernel,
    letters,
    needs_compiled,
    repeat,
    secrets,
    secrets_of,
    stream,
)
from keepstone.chunking import KERNEL_VARIABLE, Chunker, Parameters, kernel, kernels
from keepstone.errors import UsageError
from support import child_environment


def alike(algorithm: str, data: bytes, parameters: Parameters, key: str) -> None:
    """All kernels of an algorithm give the cuts of the oracle."""
    found = secrets_of(algorithm, key)
    *compiled, slow = (Chunker(found, parameters, name) for name in kernels(algorithm))
    for final in (True, False):
        expected = slow.cuts(data, final)
        for fast in compiled:
            assert fast.cuts(data, final) == expected, fast.kernel


@needs_compiled
@pytest.mark.parametrize("algorithm", ["two-stage", "aes"])
@pytest.mark.parametrize("mean", [1 << exponent for exponent in range(12, 18)])
@pytest.mark.parametrize("kind", ["random", "letters", "zeros", "bits", "lines", "period"])
def test_compiled_kernels_cut_like_the_oracle(algorithm: str, kind: str, mean: int) -> None:
    length = 4 * mean + 50_000
    data = {
        "random": lambda: stream(f"random {mean}", length),
        "letters": lambda: letters(f"letters {mean}", length),
        "zeros": lambda: bytes(length),
        "bits": lambda: bytes(byte & 1 for byte in stream(f"bits {mean}", length)),
        "lines": lambda: b"".join(b"%08d 2024-05-06, 17:18 - Someone: a message\n" % n for n in range(length // 50)),
        "period": lambda: repeat(f"period {mean}", 613, length),
    }[kind]()
    alike(algorithm, data, Parameters.for_mean(mean), f"{kind} {mean}")


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Runs of random bytes, few letters and periods of every length, with bytes changed here and there."""
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        label, length = f"part {draw(st.integers(0, 10**6))}", draw(st.integers(0, 8000))
        period = draw(st.integers(0, 900))
        alphabet = draw(st.sampled_from([1, 3, 15, 255]))
        run = repeat(label, period, length) if period else stream(label, length)
        parts.append(bytes(byte & alphabet for byte in run))
    data = bytearray(b"".join(parts))
    for at in draw(st.lists(st.integers(0, 40_000), max_size=5)) if data else ():
        data[at % len(data)] = ord("!")
    return bytes(data)


# No threshold, so that each cut is forced; the same for all lengths; always passed; and the usual two.
THRESHOLDS = st.sampled_from([(0, 0), (1 << 58, 1 << 58), (2**64 - 1, 2**64 - 1), (1 << 58, 1 << 62), (0, 1 << 60)])


@needs_compiled
@given(
    data=streams().filter(bool),
    key=st.integers(0, 10**6),
    mask_bits=st.integers(0, 8),
    minimum=st.sampled_from([64, 65, 100, 1024]),
    factor=st.sampled_from([1, 2, 5, 16]),
    thresholds=THRESHOLDS,
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_kernels_agree_on_any_stream_key_and_parameters(
    data: bytes, key: int, mask_bits: int, minimum: int, factor: int, thresholds: tuple[int, int]
) -> None:
    """Lengths far below those of the format, so that the rare events happen in each example."""
    strict, loose = thresholds
    parameters = replace(
        Parameters.for_mean(4096),
        mask_bits=mask_bits,
        minimum=minimum,
        normal=minimum * (factor + 1) // 2,
        maximum=minimum * factor,
        strict=strict,
        loose=loose,
    )
    for algorithm in ("two-stage", "aes"):
        alike(algorithm, data, parameters, f"key {key}")


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_each_limit_is_exact(kernel: Kernel) -> None:
    """Everything passes the loose threshold and nothing the strict one, so the first candidate above `normal` cuts."""
    data, found = stream("limits", 20_000), secrets_of(kernel.algorithm)
    parameters = replace(
        Parameters.for_mean(4096), minimum=2000, normal=3000, maximum=20_000, strict=0, loose=2**64 - 1
    )

    def first(**changed: int) -> int:
        return Chunker(found, replace(parameters, **changed), kernel.name).cuts(data, final=True)[0]

    end = first()
    assert 3000 < end < 20_000
    assert first(normal=end - 1) == end
    assert first(normal=end) > end
    assert first(normal=end, strict=2**64 - 1, minimum=end) == end
    assert first(normal=end + 1, strict=2**64 - 1, minimum=end + 1) > end
    # At the maximum the candidate of least hash cuts, and one that stands on the maximum itself still counts.
    assert first(loose=0, maximum=end, normal=end - 1, minimum=end - 1) == end
    assert first(loose=0, maximum=end + 1, normal=end - 1, minimum=end - 1) == end


@needs_compiled
@pytest.mark.parametrize("algorithm", ["two-stage", "aes"])
@pytest.mark.parametrize("distance", [-1, 0, 1])
def test_candidates_about_a_minimum_apart_are_cut_alike(algorithm: str, distance: int) -> None:
    parameters = replace(Parameters.for_mean(4096), maximum=4096, mask_bits=0, strict=0, loose=0)
    for number in range(4):
        data = repeat(f"apart {number}", parameters.minimum + distance, 30_000)
        alike(algorithm, data, parameters, f"apart {number}")


@pytest.mark.parametrize("kernel", COMPILED, ids=str)
@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": 63},
        {"minimum": 0},
        {"minimum": -1},
        {"maximum": 1 << 62},
        {"maximum": -1},
        {"maximum": 3000},
        {"normal": 100},
        {"maximum": 17 * 2048},
        {"strict": 1 << 63, "loose": 1},
        {"mask_bits": 9},
    ],
    ids=str,
)
def test_compiled_kernels_refuse_parameters_that_are_not_safe(kernel: Kernel, wrong: dict[str, int]) -> None:
    parameters = replace(Parameters.for_mean(4096), **wrong)
    with pytest.raises(ValueError, match="chunker"):
        Chunker(secrets_of(kernel.algorithm), parameters, kernel.name).cuts(bytes(100_000), final=True)


@pytest.mark.parametrize("kernel", COMPILED, ids=str)
@pytest.mark.parametrize("wrong", [{"sip_key": bytes(15)}, {"table": bytes(255)}, {"key": bytes(32)}], ids=str)
def test_compiled_kernels_refuse_secrets_of_the_wrong_length(kernel: Kernel, wrong: dict[str, bytes]) -> None:
    if ("key" in wrong) != (kernel.algorithm == "aes"):
        pytest.skip("the other algorithm has this secret")
    with pytest.raises(ValueError, match="length"):
        found = replace(secrets_of(kernel.algorithm), **wrong)  # type: ignore[arg-type]  # its own fields, see above
        Chunker(found, Parameters.for_mean(4096), kernel.name).cuts(bytes(100_000), final=True)


@needs_compiled
@pytest.mark.parametrize(
    "table", [bytes(256), bytes(range(1, 256)) + b"\0", bytes([0, 1, 2, 2, *range(4, 256)])], ids=len
)
def test_compiled_kernels_refuse_a_map_that_is_not_linear_or_not_invertible(table: bytes) -> None:
    with pytest.raises(ValueError, match="linear"):
        Chunker(replace(secrets(), table=table), Parameters.for_mean(4096)).cuts(bytes(100_000), final=True)


@pytest.mark.parametrize("demanded", KERNELS, ids=str)
def test_the_environment_demands_a_kernel(demanded: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, demanded.name)
    assert kernel(demanded.algorithm) == demanded.name
    assert Chunker(secrets_of(demanded.algorithm), Parameters.for_mean(4096)).kernel == demanded.name


@pytest.mark.parametrize("demanded", KERNELS, ids=str)
def test_an_argument_demands_a_kernel(demanded: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, "not looked at")
    assert demanded.chunker().kernel == demanded.name


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=str)
def test_a_kernel_for_another_processor_is_refused_and_never_replaced(
    elsewhere: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, elsewhere.name)
    with pytest.raises(UsageError, match=f"no chunker kernel '{elsewhere.name}' of '{elsewhere.algorithm}'"):
        Chunker(secrets_of(elsewhere.algorithm), Parameters.for_mean(4096))


@pytest.mark.parametrize("kernel_of_one", [each for each in KERNELS if each.name not in ("scalar", "python")], ids=str)
def test_a_kernel_of_one_algorithm_is_refused_for_the_other(
    kernel_of_one: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "two-stage" if kernel_of_one.algorithm == "aes" else "aes"
    monkeypatch.setenv(KERNEL_VARIABLE, kernel_of_one.name)
    with pytest.raises(UsageError, match=f"no chunker kernel '{kernel_of_one.name}' of '{other}'"):
        kernel(other)


def test_an_unknown_kernel_is_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = Parameters.for_mean(4096)
    with pytest.raises(UsageError, match="no chunker kernel 'abacus'"):
        Chunker(secrets(), parameters, kernel="abacus")
    monkeypatch.setenv(KERNEL_VARIABLE, "abacus")
    with pytest.raises(UsageError, match="no chunker kernel 'abacus'") as caught:
        kernel()
    assert KERNEL_VARIABLE in caught.value.remedy
    with pytest.raises(UsageError):
        Chunker(secrets(), parameters)


@pytest.mark.parametrize("algorithm", ["two-stage", "aes"])
def test_the_fastest_kernel_is_in_use_if_none_is_demanded(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KERNEL_VARIABLE, raising=False)
    assert kernel(algorithm) == next(name for name in KNOWN[algorithm] if name in kernels(algorithm))


@needs_compiled
def test_a_kernel_that_can_not_run_here_is_not_run_by_its_place_either() -> None:
    from keepstone.chunking import _cdc

    p = Parameters.for_mean(4096)
    rules = (p.mask_bits, p.minimum, p.normal, p.maximum, p.strict, p.loose)
    there = {(algorithm, place) for place, algorithm, _ in _cdc.available()}
    for place in range(-2, 20):
        if ("aes", place) not in there:
            with pytest.raises(ValueError, match="no such kernel"):
                _cdc.aes(place, bytes(20_000), True, *rules, bytes(16))


def test_without_the_compiled_module_the_oracle_works_and_scalar_is_refused() -> None:
    program = """if True:
        import os, sys
        sys.modules["keepstone.chunking._cdc"] = None
        from keepstone.chunking import KERNEL_VARIABLE, Chunker, Parameters, Secrets, kernel
        from keepstone.errors import UsageError
        assert kernel() == kernel("aes") == "python"
        assert Chunker(Secrets.derive(bytes(32)), Parameters.for_mean(4096)).cuts(bytes(9000), True) == [5888, 9000]
        os.environ[KERNEL_VARIABLE] = "scalar"
        try:
            kernel()
        except UsageError:
            print("refused")
    """
    environment = {name: value for name, value in child_environment().items() if name != KERNEL_VARIABLE}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("refused\n", "")
