"""The dedup ratio of a history: what a set of chunkers would store of its versions, metadata included.

Every version is read once. All chunkers look at the same buffer, each from where its own last chunk ended, so memory
has a bound whatever the history's size. The chunks met so far are 16-byte hashes in an LMDB file in a scratch folder;
with a sample only hashes below a limit go there, and the figures are estimates with their standard error.
"""

from __future__ import annotations

import importlib.util
import math
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import lmdb
from blake3 import blake3

from keepstone import events
from keepstone.chunking import ALGORITHMS, Chunker, Parameters, secrets_for
from keepstone.errors import KeepstoneError, StoreFull, UsageError
from keepstone.work.bench_versions import Stream, Version

PER_UNIQUE, PER_REFERENCE = 64, 40
"""Bytes of metadata that are counted for each unique chunk, and for each reference to one."""
BUFFER = 16 << 20
HASH_LENGTH = 16
MEANS = (4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BATCH = 100_000
"""Hashes that are held until they are put into the table in order."""
_FINE = 6
"""Lengths are counted in 2^6 steps to a doubling, so that a quantile is at most 1/64 too small."""


class Cutter(Protocol):
    """What a chunker is to this module; see `Chunker.cuts`."""

    def cuts(self, buffer: memoryview, final: bool, /) -> list[int]: ...


Maker = Callable[[int], Cutter]
"""Makes a chunker for a mean size."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one chunker makes of a history. With a sample, unique chunks and all that rests on them are estimates."""

    chunker: str
    mean: int
    bytes: int
    chunks: int
    """References: chunks of all versions, duplicates included."""
    unique_chunks: int
    unique_bytes: int
    metadata_bytes: int
    ratio: float
    """Bytes of all versions over bytes stored, metadata included."""
    error: float
    """Standard error of the ratio; 0 if all chunks were counted."""
    histogram: tuple[tuple[int, int], ...]
    """Pairs of a power of two and the number of chunks at least as long and less than twice as long."""
    quantiles: tuple[tuple[float, int], ...]

    @property
    def average(self) -> float:
        return self.bytes / self.chunks if self.chunks else 0.0

    @property
    def stored_bytes(self) -> int:
        return self.unique_bytes + self.metadata_bytes


@dataclass(frozen=True, slots=True)
class DedupOptions:
    """What to measure with."""

    chunkers: Sequence[str] = ()
    """Names; none stands for all there are."""
    means: Sequence[int] = MEANS
    sample: int = 1
    """Count one in so many hashes."""
    references: Path | None = None
    """The folder of a Python module that makes more chunkers."""
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class DedupResult:
    """What was measured."""

    figures: list[Figures]
    versions: int
    files: int
    bytes: int
    sample: int
    problems: list[events.Problem]


def measure_dedup(
    versions: Sequence[Version], options: DedupOptions, listener: events.Listener = events.ignore
) -> DedupResult:
    """Read all versions and count what each chunker would store at each mean.

    Raises:
        UsageError: no version, no such chunker, or no such mean.
        StoreFull: the scratch folder has no space left.
    """
    if not versions:
        raise UsageError("There is no version to measure.", "Name files, folders or snapshots.")
    if options.sample < 1:
        raise UsageError(f"A sample of 1/{options.sample} is not possible.", "Write 1/N with a positive number N.")
    makers = chunkers(options.references)
    wanted = options.chunkers or list(makers)
    for name in wanted:
        if name not in makers:
            raise UsageError(f"There is no chunker {name!r} here.", f"Choose from: {', '.join(makers)}.")
    for mean in options.means:
        Parameters.for_mean(mean)  # It refuses other means, for all chunkers alike.
    with _Table(options.scratch, sampled=options.sample > 1) as table:
        counters = [
            _Counter(number, name, mean, makers[name](mean), table, options.sample)
            for number, (name, mean) in enumerate((name, mean) for name in wanted for mean in options.means)
        ]
        reading = _Reading(counters, versions, listener)
        reading.run()
        table.flush()
        figures = [counter.figures() for counter in counters]
    return DedupResult(figures, len(versions), reading.files_done, reading.bytes_done, options.sample, reading.problems)


# Chunkers ---------------------------------------------------------------------------------------------------


class Fixed:
    """Cuts at multiples of the mean."""

    def __init__(self, mean: int) -> None:
        self._mean = mean

    def cuts(self, buffer: memoryview, final: bool) -> list[int]:
        ends = list(range(self._mean, len(buffer) + 1, self._mean))
        if final and len(buffer) % self._mean:
            ends.append(len(buffer))
        return ends


def _ours(algorithm: str) -> Maker:
    """Return what makes the product's chunker, with a key that is no secret: cuts that are only counted need none."""
    secrets = secrets_for(algorithm, blake3(b"keepstone bench").digest())
    return lambda mean: Chunker(secrets, Parameters.for_mean(mean))


def chunkers(references: Path | None = None) -> dict[str, Maker]:
    """Return what makes chunkers, by name: the product's, cuts at fixed places, and those of a folder, if any.

    Raises:
        UsageError: the folder has no such module, or it does not work here.
    """
    found: dict[str, Maker] = {algorithm: _ours(algorithm) for algorithm in ALGORITHMS} | {"fixed": Fixed}
    if references is not None:
        found |= _load(references)
    return found


def default_references() -> Path | None:
    """Return the folder of the reference chunkers, if this runs from a source checkout."""
    folder = Path(__file__).parents[3] / "benchmarks" / "references"
    return folder if (folder / "__init__.py").exists() else None


def _load(folder: Path) -> Mapping[str, Maker]:
    name = "keepstone_references"
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    if spec is None or spec.loader is None or not (folder / "__init__.py").exists():
        raise UsageError(f"{folder} has no reference chunkers.", "Name benchmarks/references of a source checkout.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their module up.
    try:
        spec.loader.exec_module(module)
        made: Mapping[str, Maker] = module.CHUNKERS
        for make in made.values():
            make(MEANS[0])  # Only now is C compiled.
    except Exception as error:  # Whatever the module of a user raises.
        raise UsageError(
            f"The reference chunkers in {folder} do not work here ({error}).",
            "Install a C compiler, or leave the reference chunkers out.",
        ) from error
    return made


# Counting ---------------------------------------------------------------------------------------------------


class _Reading:
    """Reads the versions into one buffer and hands it to every counter."""

    def __init__(self, counters: list[_Counter], versions: Sequence[Version], listener: events.Listener) -> None:
        self._counters, self._versions, self._listener = counters, versions, listener
        self._buffer = bytearray(BUFFER)
        self._total = (0, 0)
        self.files_done = self.bytes_done = 0
        self.problems: list[events.Problem] = []

    def run(self) -> None:
        sizes = [version.size for version in self._versions]
        self._total = sum(count for count, _ in sizes), sum(size for _, size in sizes)
        for version in self._versions:
            for opened in version.streams(self._problem):
                with opened as stream:
                    self._cut(stream)
                self.files_done += 1
                self._progress()

    def _problem(self, path: bytes, error: KeepstoneError) -> None:
        problem = events.Problem(path, "reading", error)
        self.problems.append(problem)
        self._listener(problem)

    def _progress(self) -> None:
        self._listener(events.Progress(self.files_done, self.bytes_done, *self._total))

    def _cut(self, stream: Stream) -> None:
        starts = [0] * len(self._counters)
        filled, final = 0, False
        while not final:
            view = memoryview(self._buffer)
            while filled < len(view) and not final:
                read = stream.readinto(view[filled:])
                final = not read
                filled += read
                self.bytes_done += read
            for number, counter in enumerate(self._counters):
                starts[number] += counter.take(view[starts[number] : filled], final)
            kept = min(starts)
            view[: filled - kept] = view[kept:filled]
            filled -= kept
            starts = [start - kept for start in starts]
            if filled * 2 > len(view):
                # The chunker with the longest maximum decided little; it needs room for more than one of its chunks.
                view.release()
                self._buffer.extend(bytes(len(self._buffer)))
            self._progress()


@dataclass(slots=True)
class _Counter:
    """Counts the chunks of one chunker."""

    number: int
    name: str
    mean: int
    cutter: Cutter
    table: _Table
    sample: int
    bytes: int = 0
    chunks: int = 0
    lengths: dict[int, int] = field(default_factory=dict)

    def take(self, view: memoryview, final: bool) -> int:
        """Cut what follows in a stream; return how much of it is decided."""
        ends = self.cutter.cuts(view, final)
        limit = _limit(self.sample)
        lengths, add = self.lengths, self.table.add
        start = 0
        for end in ends:
            length = end - start
            digest = blake3(view[start:end]).digest(length=HASH_LENGTH)
            if digest[:8] < limit or limit == b"":
                add(self.number, digest, length)
            step = _step(length)
            lengths[step] = lengths.get(step, 0) + 1
            start = end
        self.bytes += start
        self.chunks += len(ends)
        return start

    def figures(self) -> Figures:
        unique, unique_bytes, error = self._unique()
        metadata = PER_UNIQUE * unique + PER_REFERENCE * self.chunks
        stored = unique_bytes + metadata
        ratio = self.bytes / stored if stored else 1.0
        return Figures(
            chunker=self.name,
            mean=self.mean,
            bytes=self.bytes,
            chunks=self.chunks,
            unique_chunks=unique,
            unique_bytes=unique_bytes,
            metadata_bytes=metadata,
            ratio=ratio,
            error=ratio * error / stored if stored else 0.0,
            histogram=self._histogram(),
            quantiles=self._quantiles(),
        )

    def _unique(self) -> tuple[int, int, float]:
        """Return the number of unique chunks, their bytes, and the standard error of what they cost.

        References and their bytes are known exactly, so what a sample tells is the share of them that is unique: a
        ratio estimate. Its variance is that of what each sampled chunk adds beside this share (Cochran, "Sampling
        Techniques", 6.3), with every unique chunk in the sample by itself with probability 1/N.
        """
        seen = self.table.totals(self.number)
        if self.sample == 1:
            return seen.chunks, seen.bytes, 0.0
        if not seen.chunks:
            return 0, 0, 0.0
        of_chunks, of_bytes = seen.chunks / seen.references, seen.bytes / seen.referenced_bytes
        squares = 0.0
        for length, references in self.table.entries(self.number):
            rest = length * (1 - of_bytes * references) + PER_UNIQUE * (1 - of_chunks * references)
            squares += rest * rest
        error = self.bytes / seen.referenced_bytes * math.sqrt(squares * (1 - 1 / self.sample))
        return round(of_chunks * self.chunks), round(of_bytes * self.bytes), error

    def _histogram(self) -> tuple[tuple[int, int], ...]:
        found: dict[int, int] = {}
        for step, count in self.lengths.items():
            power = 1 << (step >> _FINE)
            found[power] = found.get(power, 0) + count
        return tuple(sorted(found.items()))

    def _quantiles(self) -> tuple[tuple[float, int], ...]:
        found = []
        for share in QUANTILES:
            left = math.ceil(share * self.chunks)
            for step, count in sorted(self.lengths.items()):
                left -= count
                if left <= 0:
                    found.append((share, _length(step)))
                    break
        return tuple(found)


def _limit(sample: int) -> bytes:
    """Return what the first 8 bytes of a hash must be less than; nothing if all are taken."""
    return b"" if sample == 1 else ((1 << 64) // sample).to_bytes(8, "big")


def _step(length: int) -> int:
    """Return the number of the step of a length."""
    exponent = length.bit_length() - 1
    return exponent << _FINE | (length << _FINE >> exponent) & ((1 << _FINE) - 1)


def _length(step: int) -> int:
    """Return the smallest length of a step."""
    whole = 1 << _FINE | step & ((1 << _FINE) - 1)
    return -(-(whole << (step >> _FINE)) >> _FINE)


@dataclass(slots=True)
class _Totals:
    """What one counter put into the table."""

    chunks: int = 0
    """Unique ones."""
    bytes: int = 0
    references: int = 0
    referenced_bytes: int = 0


_ENTRY = struct.Struct("<QQ")


class _Table:
    """The hashes of all chunks met so far, in a file that goes at the end. Of a sample, references are counted too."""

    def __init__(self, scratch: Path | None, *, sampled: bool) -> None:
        self._sampled = sampled
        self._folder = tempfile.TemporaryDirectory(prefix="keepstone-bench-", dir=scratch)
        # Nothing of it has to survive, so nothing is synced; one process uses it, so it has no lock.
        self._env = lmdb.open(
            self._folder.name, map_size=1 << 30, lock=False, sync=False, metasync=False, readahead=False, mode=0o600
        )
        self._waiting: list[tuple[bytes, int]] = []
        self._totals: dict[int, _Totals] = {}

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *exception: object) -> None:
        self._env.close()
        self._folder.cleanup()

    def add(self, counter: int, digest: bytes, length: int) -> None:
        """Count a reference to a chunk."""
        totals = self.totals(counter)
        totals.references += 1
        totals.referenced_bytes += length
        self._waiting.append((counter.to_bytes(2, "big") + digest, length))
        if len(self._waiting) >= _BATCH:
            self.flush()

    def totals(self, counter: int) -> _Totals:
        """Return what a counter has put in; of unique chunks, all that were there at the last flush."""
        return self._totals.setdefault(counter, _Totals())

    def entries(self, counter: int) -> Iterator[tuple[int, int]]:
        """Yield length and references of every unique chunk of a counter."""
        prefix = counter.to_bytes(2, "big")
        with self._env.begin() as reader, reader.cursor() as cursor:
            if cursor.set_range(prefix):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        break
                    yield _ENTRY.unpack(value)

    def flush(self) -> None:
        """Put what waits into the table, in order, and count what was not there.

        Raises:
            StoreFull: the scratch folder has no space left.
        """
        self._waiting.sort()
        while True:
            try:
                new = self._put()
                break
            except lmdb.MapFullError:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except lmdb.Error as error:
                raise StoreFull(
                    f"The table of chunks cannot be written ({error}).",
                    "Name a folder with more space with --scratch, or take a sample.",
                ) from error
        for key, length in new:
            totals = self.totals(int.from_bytes(key[:2], "big"))
            totals.chunks += 1
            totals.bytes += length
        self._waiting.clear()

    def _put(self) -> list[tuple[bytes, int]]:
        """Put what waits into the table in one change; return what was not there."""
        new = []
        with self._env.begin(write=True) as change:
            for key, length in self._waiting:
                if change.put(key, _ENTRY.pack(length, 1), overwrite=False):
                    new.append((key, length))
                elif self._sampled:
                    found = change.get(key)
                    assert found is not None
                    _, references = _ENTRY.unpack(found)
                    change.put(key, _ENTRY.pack(length, references + 1))
        return new
