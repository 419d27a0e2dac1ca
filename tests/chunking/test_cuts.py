"""What every kernel promises about its cuts."""

from __future__ import annotations

import array
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunking.material import FASTEST, KERNELS, Kernel, letters, needs_compiled, repeat, secrets, sizes, stream
from keepstone.chunking import Chunker, Parameters, copied
from keepstone.errors import UsageError

SMALL = Parameters.for_mean(4096)
DATA = stream("some data", 200_000)
KEY_OF_ZERO = "key 739"
"""Its t is 0, which is also the filter value of zeros."""


def in_pieces(cutter: Chunker, data: bytes, pieces: list[int]) -> list[int]:
    """Cut a stream that arrives piece by piece, as a caller does: what is undecided is put before the next piece."""
    ends: list[int] = []
    start = 0
    for end in [*sorted(pieces), len(data)]:
        found = cutter.cuts(memoryview(data)[start:end], end == len(data))
        ends += [start + each for each in found]
        start = ends[-1] if ends else 0
        if end < len(data):
            assert end - start < cutter.parameters.maximum
    return ends


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
class TestEveryKernel:
    def test_the_chunks_put_together_are_the_data(self, kernel: Kernel) -> None:
        for length in (1, 15, 16, 63, 64, 1023, 1024, 1025, 4096, 16383, 16384, 16385, 200_000):
            ends = kernel.chunker().cuts(DATA[:length], final=True)
            assert ends[-1] == length
            assert all(a < b for a, b in pairwise([0, *ends]))

    def test_an_empty_stream_has_no_chunks(self, kernel: Kernel) -> None:
        assert kernel.chunker().cuts(b"", final=True) == []
        assert kernel.chunker().cuts(b"", final=False) == []

    def test_lengths_keep_within_their_bounds(self, kernel: Kernel) -> None:
        for data in (DATA, bytes(100_000), letters("text", 100_000), repeat("period", 1500, 100_000)):
            lengths = sizes(kernel.chunker().cuts(data, final=True))
            assert all(SMALL.minimum <= length <= SMALL.maximum for length in lengths[:-1])
            assert 0 < lengths[-1] <= SMALL.maximum

    @pytest.mark.parametrize("period", [1, 2, 4, 8])
    def test_short_periods_have_no_candidates_whatever_the_key(self, kernel: Kernel, period: int) -> None:
        """`aes` promises it for runs of one byte alone: the other periods are too many to look at."""
        for number in range(20 if kernel.algorithm == "two-stage" or period == 1 else 0):
            data = repeat(f"period {number}", period, 2 * SMALL.maximum + 500)
            found = kernel.chunker(key=f"key {number}").cuts(data, final=True)
            assert found == [SMALL.maximum, 2 * SMALL.maximum, 2 * SMALL.maximum + 500]

    def test_zeros_have_no_candidates_even_if_they_match_the_first_target(self, kernel: Kernel) -> None:
        # Of two-stage, that is; the key is as good as any for aes.
        assert secrets(KEY_OF_ZERO).t == 0
        assert kernel.chunker(key=KEY_OF_ZERO).cuts(bytes(40_000), final=True) == [*range(5888, 40_000, 5888), 40_000]

    def test_every_buffer_of_bytes_is_cut_alike(self, kernel: Kernel) -> None:
        cutter = kernel.chunker()
        expected = cutter.cuts(DATA, final=True)
        around = b"xyz" + DATA + b"!"
        for buffer in (bytearray(DATA), memoryview(DATA), memoryview(around)[3:-1], memoryview(bytearray(DATA))):
            assert cutter.cuts(buffer, final=True) == expected
        assert cutter.cuts(memoryview(array.array("I", DATA)), final=True) == expected

    @pytest.mark.parametrize("wrong", [memoryview(DATA)[::2], memoryview(DATA)[::-1], "text", None, [1, 2]])
    def test_what_is_not_a_contiguous_buffer_is_refused(self, kernel: Kernel, wrong: memoryview) -> None:
        with pytest.raises(UsageError, match="contiguous"):
            kernel.chunker().cuts(wrong, final=True)

    def test_a_buffer_is_not_copied_and_is_free_again_afterwards(self, kernel: Kernel) -> None:
        data = bytearray(DATA)
        cutter = kernel.chunker()
        tracemalloc.start()
        cutter.cuts(data, final=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(data) // 4
        data.append(0)  # BufferError if a view of it were left

    def test_threads_may_share_a_chunker(self, kernel: Kernel) -> None:
        cutter = kernel.chunker()
        data = stream("for threads", (2 << 20) if kernel.name != "python" else 100_000)
        expected = cutter.cuts(data, final=True)
        with ThreadPoolExecutor(4) as pool:
            assert all(found == expected for found in pool.map(lambda _: cutter.cuts(data, True), range(8)))

    @pytest.mark.parametrize(
        "pieces", [[], [1], [1023, 1024, 1025], [16383], [16384], [16385], list(range(0, 200_000, 999))]
    )
    def test_cuts_do_not_depend_on_the_pieces_a_stream_comes_in(self, kernel: Kernel, pieces: list[int]) -> None:
        assert in_pieces(kernel.chunker(), DATA, pieces) == kernel.chunker().cuts(DATA, final=True)

    def test_the_end_of_a_stream_is_one_chunk_if_nothing_cuts_it(self, kernel: Kernel) -> None:
        data = bytes(SMALL.maximum - 1)
        assert kernel.chunker().cuts(data, final=False) == []
        assert kernel.chunker().cuts(data, final=True) == [SMALL.maximum - 1]
        assert kernel.chunker().cuts(data + b"\0", final=False) == [SMALL.maximum]
        assert kernel.chunker().cuts(data + b"\0", final=True) == [SMALL.maximum]


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
@given(
    kinds=st.lists(
        st.tuples(
            st.sampled_from(["stream", "letters", "repeat", "zeros"]), st.integers(1, 40_000), st.integers(1, 6000)
        ),
        min_size=1,
        max_size=5,
    ),
    pieces=st.lists(st.integers(0, 200_000), max_size=8),
    key=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_stream_in_any_pieces_is_cut_as_in_one(
    kernel: Kernel, kinds: list[tuple[str, int, int]], pieces: list[int], key: int
) -> None:
    data = b"".join(mixed(*each) for each in kinds)
    cutter = kernel.chunker(key=f"key {key}")
    expected = cutter.cuts(data, final=True)
    assert expected[-1] == len(data)
    assert in_pieces(cutter, data, [piece % (len(data) + 1) for piece in pieces]) == expected


def mixed(kind: str, length: int, period: int) -> bytes:
    label = f"{kind} {period}"
    if kind == "zeros":
        return bytes(length)
    if kind == "repeat":
        return repeat(label, period, length)
    return (stream if kind == "stream" else letters)(label, length)


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
def test_bytes_before_a_chunk_do_not_matter(kernel: Kernel) -> None:
    cutter = kernel.chunker()
    ends = cutter.cuts(DATA, final=True)
    for end in ends[:-1]:
        assert [end + each for each in cutter.cuts(DATA[end:], final=True)] == [each for each in ends if each > end]


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
def test_each_key_cuts_elsewhere(kernel: Kernel) -> None:
    found = [frozenset(kernel.chunker(key=f"key {number}").cuts(DATA, final=False)) for number in range(20)]
    assert len(set(found)) == 20
    # Some 50 cuts in 200,000 places: two keys have few in common, by chance.
    assert max(len(a & b) for a in found for b in found if a is not b) <= 2


@needs_compiled
@pytest.mark.parametrize("kernel", FASTEST, ids=str)
@pytest.mark.parametrize(("mean", "length"), [(4 << 10, 16 << 20), (16 << 10, 48 << 20), (64 << 10, 96 << 20)])
def test_the_mean_is_met_within_five_percent(kernel: Kernel, mean: int, length: int) -> None:
    if kernel == ("aes", "scalar"):
        pytest.skip("this processor has no AES instructions, and without them this takes minutes")
    data = stream(f"mean {mean}", length)
    for number in range(3):
        ends = kernel.chunker(mean, f"key {number}").cuts(data, final=True)
        assert abs(length / len(ends) / mean - 1) < 0.05


@pytest.mark.parametrize("kernel", FASTEST, ids=str)
def test_text_is_cut_at_about_the_mean_too(kernel: Kernel) -> None:
    """Even four letters have enough windows of 16 bytes that a secret linear filter treats them like random data."""
    data = letters("a long text", 1 << 20)
    assert abs(len(data) / len(kernel.chunker().cuts(data, final=True)) / 4096 - 1) < 0.15


@pytest.mark.parametrize("length", [0, 1, 4095, 1 << 20])
def test_a_copied_buffer_has_its_bytes_and_shares_no_memory_with_it(length: int) -> None:
    source = bytearray(os.urandom(length + 2))
    expected = bytes(source)[1:-1]
    copy = copied(memoryview(source)[1:-1])
    source[:] = bytes(len(source))
    assert type(copy) is bytes
    assert copy == expected
