"""How fast this machine reads memory and cuts streams: every kernel, at every mean, on several kinds of data.

Data is read through in buffers of 16 MiB, as a backup does, so little of it is in a cache when its turn comes. A speed
is that of the median buffer, which a short disturbance does not move. All runs on one core.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

from blake3 import blake3

from keepstone import events
from keepstone.chunking import ALGORITHMS, Chunker, Parameters, kernels, secrets_for
from keepstone.errors import UsageError

BUFFER = 16 << 20
LARGEST = 1 << 30
MEANS = (4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20)
SLOW_KERNEL, SLOW_BUFFER = "python", 512 << 10
"""The oracle is a specification: a megabyte takes it seconds, and some data minutes."""
_KEY = blake3(b"keepstone bench").digest()
_LETTERS = (
    b"  ee tt aaoo nnii ssrr hhll dduu ccmm ffyy wwgg ppbb vvkk" + b"etaoinshrdlucmfwypvbgkqjxz.,;:-'0123456789\n"
)


@dataclass(frozen=True, slots=True)
class ChunkerOptions:
    """What to measure."""

    size: int = 0
    """Bytes of each kind of data; 0 stands for 1 GiB or a quarter of the free memory, if that is less."""
    means: Sequence[int] = MEANS
    kernels: Sequence[str] = ()
    """Names; none stands for all that work here, but for the oracle in Python, if there is another."""
    seconds: float = 0.25
    """For each measurement, at least; one buffer is always cut."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One measurement, in bytes a second."""

    algorithm: str
    kernel: str
    mean: int
    data: str
    speed: float
    share: float
    """Of the speed at which memory is read."""


@dataclass(frozen=True, slots=True)
class ChunkerResult:
    """What was measured."""

    size: int
    bandwidth: float
    speeds: list[Speed]


def measure_chunker(options: ChunkerOptions, listener: events.Listener = events.ignore) -> ChunkerResult:
    """Measure reading memory, then each kernel at each mean on each kind of data.

    Raises:
        UsageError: no such kernel or mean, or not enough memory.
    """
    known = {name for algorithm in ALGORITHMS for name in kernels(algorithm)}
    for name in options.kernels:
        if name not in known:
            raise UsageError(f"There is no chunker kernel {name!r} here.", f"Choose from: {', '.join(sorted(known))}.")
    wanted = set(options.kernels) or known - {SLOW_KERNEL} or known
    made = [
        (algorithm, kernel, mean, Chunker(secrets_for(algorithm, _KEY), Parameters.for_mean(mean), kernel))
        for algorithm in ALGORITHMS
        for kernel in kernels(algorithm)
        if kernel in wanted
        for mean in options.means
    ]
    size = options.size or default_size()
    total, done = len(made) * len(MATERIALS), 0
    try:
        bandwidth = read_bandwidth(size, options.seconds)
        speeds = []
        for data, make_data in MATERIALS.items():
            view = memoryview(make_data(size))
            for algorithm, kernel, mean, chunker in made:
                speed = _speed(chunker, view, options.seconds)
                speeds.append(Speed(algorithm, kernel, mean, data, speed, speed / bandwidth))
                done += 1
                listener(events.Step(done, total, f"{algorithm}, {kernel}, {data}"))
            del view
    except MemoryError as error:
        raise UsageError(f"There is no memory for {size} bytes of data.", "Name a smaller size.") from error
    return ChunkerResult(size, bandwidth, speeds)


def default_size() -> int:
    """Return 1 GiB, or a quarter of the free memory if that is less."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return LARGEST
    return max(BUFFER, min(LARGEST, free // 4))


# Memory -----------------------------------------------------------------------------------------------------


def read_bandwidth(size: int, seconds: float) -> float:
    """Return how many bytes a second one core reads from memory.

    Python looks for a byte in a buffer with the C library's memchr, which reads every byte once, in vectors, and does
    next to nothing else. The byte is not there.
    """
    # Bytes that were written have memory of their own; zeros from the system would all be one page in the cache.
    buffer = bytearray(b"\x01") * size

    def read(start: int, end: int) -> None:
        buffer.find(b"\x00", start, end)

    return _median_speed(read, size, BUFFER, seconds)


def _speed(chunker: Chunker, data: memoryview, seconds: float) -> float:
    step = SLOW_BUFFER if chunker.kernel == SLOW_KERNEL else BUFFER
    return _median_speed(lambda start, end: chunker.cuts(data[start:end], True), len(data), step, seconds)


def _median_speed(work: Callable[[int, int], object], size: int, step: int, seconds: float) -> float:
    """Time work on one buffer after the other, from the start again if there is time."""
    starts = cycle(range(0, max(size - step, 0) + 1, step))
    clock = time.perf_counter
    speeds: list[float] = []
    end_time = clock() + seconds
    while not speeds or clock() < end_time:
        start = next(starts)
        length = min(step, size - start)
        before = clock()
        work(start, start + length)
        speeds.append(length / max(clock() - before, 1e-9))
    return statistics.median(speeds)


# Data -------------------------------------------------------------------------------------------------------


def _random(size: int) -> bytes:
    return blake3(b"keepstone bench random").digest(length=size)


def _text(size: int) -> bytes:
    """Return letters and spaces about as often as English has them, without any structure."""
    table = (_LETTERS * (256 // len(_LETTERS) + 1))[:256]
    return _random(size).translate(table)


def _zeros(size: int) -> bytes:
    # Written, so that they are in memory; see read_bandwidth.
    return bytes(bytearray(b"\x00") * size)


def _periodic(size: int) -> bytes:
    line = b"2026-11-23 00:00:00 INFO one line, again and again\n"
    return (line * (size // len(line) + 1))[:size]


MATERIALS: dict[str, Callable[[int], bytes]] = {
    "random": _random, "text": _text, "zeros": _zeros, "periodic": _periodic,
}  # fmt: skip
