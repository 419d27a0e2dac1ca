"""The search for the cut rule: the dedup of many rules on real histories, beside FastCDC at the same average length.

`python benchmarks/tuning.py FOLDER` takes the histories that `histories.py` made there. A rule is named by shares of
the mean, and its normal point is solved so that the average length on random data is the mean; so is FastCDC's. A ratio
is bytes over what would be stored: unique bytes, 64 bytes of metadata for each unique chunk and 40 for each reference.
Ratios scatter with the key, so each is the mean over several, and FastCDC's is over as many tables.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import itertools
import json
import math
import statistics
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from blake3 import blake3

import references  # It stands beside this file.
from keepstone.chunking import Parameters, Secrets
from references import expected_mean

KIB = 1 << 10
MEANS = (4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
PER_UNIQUE, PER_REFERENCE = 64, 40
FILTERS = ("shift", "shift-high", "rotate", "lfsr")
"""As in tuning.c; the first is the format's."""
NEVER = 99
"""A strict level at which nothing passes."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A cut rule, whatever the mean."""

    minimum: float = 0.25
    """Of the mean, as the next two."""
    maximum: float = 4
    strict: float = 2
    """A position is cut with probability 2^-strict / mean up to the normal point, and 2^loose / mean behind it."""
    loose: float = 2
    density: int = 3
    """Candidates are at least 2^density times as dense as one in a mean."""
    least_hash: bool = True

    def rates(self, mean: int) -> tuple[float, float]:
        return (0.0 if self.strict == NEVER else 2.0**-self.strict / mean), 2.0**self.loose / mean

    def average(self, mean: int, normal: float) -> float:
        """Return the average length on random data."""
        strict, loose = self.rates(mean)
        minimum, maximum = mean * self.minimum, mean * self.maximum
        whole = expected_mean(minimum, normal, maximum, strict or 1e-12, loose)
        if not self.least_hash:
            return whole
        # A forced chunk ends at its least hash. Before the normal point hashes are above the strict threshold, behind
        # it above the loose one, so if there is one between the two thresholds, the cut is before the normal point.
        first, second = normal - minimum, maximum - normal
        forced = math.exp(-strict * first - loose * second)
        between = 1 - math.exp(-(loose - strict) * first)
        length = minimum + between * first / 2 + (1 - between) * (first + second) / 2
        return whole - forced * (maximum - length)

    def normal(self, mean: int) -> float | None:
        """Return the normal point at which the average is the mean, or None if there is none."""
        low, high = mean * self.minimum, min(mean * self.maximum, mean * 1.6)
        if self.average(mean, low) > mean or self.average(mean, high) < mean:
            return None
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.average(mean, middle) < mean else (low, middle)
        return low

    def mask_bits(self, mean: int) -> int:
        # At least one bit, without which runs of zeros may be all candidates; at most 4, as the format has it.
        return min(max(mean.bit_length() - 1 - self.density - 8, 1), 4)

    def parameters(self, mean: int, normal: float | None = None) -> Parameters | None:
        """Return the parameters, or None if the format has none like these."""
        normal = self.normal(mean) if normal is None else normal * mean
        bits = self.mask_bits(mean)
        if normal is None or self.rates(mean)[1] > 2.0 ** -(8 + bits) or self.maximum > 16 * self.minimum:
            return None
        strict, loose = (int(rate * 2.0 ** (72 + bits)) for rate in self.rates(mean))
        return Parameters(
            mean=mean,
            minimum=round(mean * self.minimum),
            maximum=round(mean * self.maximum),
            normal=round(normal),
            mask_bits=bits,
            strict=strict,
            loose=min(loose, (1 << 64) - 1),
        )


class Counts(ctypes.Structure):
    """What a chunker makes of a history."""

    _fields_ = (
        ("bytes", ctypes.c_uint64),
        ("chunks", ctypes.c_uint64),
        ("unique", ctypes.c_uint64),
        ("unique_bytes", ctypes.c_uint64),
        ("forced", ctypes.c_uint64),
        ("squares", ctypes.c_double),
    )

    @property
    def ratio(self) -> float:
        stored = self.unique_bytes + PER_UNIQUE * self.unique + PER_REFERENCE * self.chunks
        return float(self.bytes / stored)


class _Rules(ctypes.Structure):
    _fields_ = (
        ("minimum", ctypes.c_size_t),
        ("normal", ctypes.c_size_t),
        ("maximum", ctypes.c_size_t),
        ("strict", ctypes.c_uint64),
        ("loose", ctypes.c_uint64),
        ("mask", ctypes.c_uint32),
        ("least_hash", ctypes.c_uint32),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = references.compile_library(Path(__file__).with_suffix(".c"))
    pointer, size, byte, word = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint8, ctypes.c_uint64
    library.history_new.restype = pointer
    library.history_new.argtypes = (pointer, size, pointer, size)
    library.history_free.argtypes = (pointer,)
    library.history_free.restype = None
    library.history_prepare.restype = size
    library.history_prepare.argtypes = (pointer, ctypes.c_char_p, byte, byte, word, word, byte, ctypes.c_int)
    library.history_count.argtypes = (pointer, pointer, pointer, pointer)
    library.history_count.restype = None
    library.history_count_ends.argtypes = (pointer, pointer, size, pointer)
    library.history_count_ends.restype = None
    return library


class History:
    """All versions in memory, ready to be counted."""

    def __init__(self, versions: Iterable[bytes | bytearray]) -> None:
        self._data = bytearray()
        ends = []
        for version in versions:
            self._data += version
            ends.append(len(self._data))
        self._ends = (ctypes.c_size_t * len(ends))(*ends)
        self._hold = (ctypes.c_char * len(self._data)).from_buffer(self._data)
        self._library = _library()
        self._history = self._library.history_new(self._hold, len(self._data), self._ends, len(ends))

    def close(self) -> None:
        self._library.history_free(self._history)
        del self._hold

    def prepare(self, secrets: Secrets, filter_: str = "shift") -> None:
        """Find the candidates of one key."""
        k0, k1 = struct.unpack("<2Q", secrets.sip_key)
        t, u = secrets.t, secrets.u
        if filter_ == "shift-high" and not (t ^ u) & 0x80:
            u ^= 0x80  # The compared bits have to differ; see Secrets.derive.
        self._library.history_prepare(self._history, secrets.table, t, u, k0, k1, 1, FILTERS.index(filter_))

    def count(self, p: Parameters, least_hash: bool = True, ends: object = None) -> Counts:
        counts = Counts()
        mask = (1 << p.mask_bits) - 1
        rules = _Rules(p.minimum, p.normal, p.maximum, p.strict, p.loose, mask, least_hash)
        self._library.history_count(self._history, ctypes.byref(rules), ctypes.byref(counts), ends)
        return counts

    def cuts(self, p: Parameters) -> list[int]:
        """Return the ends of all chunks, counted from the first version's start."""
        ends = (ctypes.c_size_t * (len(self._data) // p.minimum + len(self._ends)))()
        return list(ends[: self.count(p, ends=ends).chunks])

    def count_reference(self, rules: references.Rules) -> Counts:
        cutter = references.Reference(rules)
        found: list[int] = []
        start = 0
        view = memoryview(self._data)
        for end in self._ends:
            found.extend(start + cut for cut in cutter.cuts(view[start:end], True))
            start = end
        counts = Counts()
        ends = (ctypes.c_size_t * len(found))(*found)
        self._library.history_count_ends(self._history, ends, len(found), ctypes.byref(counts))
        return counts


def is_weak(secrets: Secrets) -> bool:
    """Tell whether the lowest row of the map looks at fewer than two of the five low bits of a byte.

    The lowest bit of a filter value of the format depends on one byte, and G(i) and G(i-8) must differ in it. Text
    varies in its low five bits; with a row that looks past them, text has hardly a candidate.
    """
    row = sum((secrets.table[1 << bit] & 1) << bit for bit in range(8))
    return (row & 0x1F).bit_count() < 2


def secrets_of(number: int) -> Secrets:
    """Return a key. Weak ones, one in five, are left out: what they do is another question than what a rule does."""
    names = (f"tuning key {number}" + "+" * more for more in itertools.count())
    return next(found for name in names if not is_weak(found := Secrets.derive(blake3(name.encode()).digest())))


def read_history(folder: Path, versions: int | None = None) -> History:
    """Return the versions of a folder, or the first of them; `random` stands for 1 GiB without any duplicate."""
    if folder.name == "random":
        return History([blake3(b"random").digest(length=1 << 30)])
    return History(file.read_bytes() for file in sorted(folder.iterdir())[:versions] if file.is_file())


class Calibration:
    """Finds normal points: those at which the average on random data, at the smallest mean, is the mean.

    Counting is surer than a formula. A forced chunk leaves data behind that no threshold passes, and so the next one
    depends on it, which `Rule.average` does not know; it is right where few chunks are forced.
    """

    MEAN = MEANS[0]

    def __init__(self, length: int = 1 << 29) -> None:
        self._random = History([blake3(b"random").digest(length=length)])
        self._random.prepare(secrets_of(0))
        self._found: dict[Rule, float | None] = {}

    def normal(self, rule: Rule) -> float | None:
        """Return the normal point as a share of the mean, or None if there is none."""
        like = replace(rule, density=4)  # The average does not depend on it.
        if like not in self._found:
            self._found[like] = self._solve(like)
        return self._found[like]

    def average(self, rule: Rule, share: float) -> float:
        p = rule.parameters(self.MEAN, share)
        assert p is not None
        counts = self._random.count(p, rule.least_hash)
        return float(counts.bytes / counts.chunks / self.MEAN)

    def _solve(self, rule: Rule) -> float | None:
        if rule.parameters(self.MEAN, rule.minimum) is None:
            return None
        low, high = rule.minimum, rule.maximum
        if self.average(rule, low) > 1:
            return None
        # The average rises with the normal point, but for a little near the maximum; the first crossing counts.
        steps = [low + (high - low) * step / 10 for step in range(1, 11)]
        beyond = next((share for share in steps if self.average(rule, share) > 1), None)
        if beyond is None:
            return None
        low, high = beyond - (high - low) / 10, beyond
        for _ in range(7):
            middle = (low + high) / 2
            low, high = (middle, high) if self.average(rule, middle) < 1 else (low, middle)
        return (low + high) / 2


# The search -------------------------------------------------------------------------------------------------


def coarse() -> Iterator[Rule]:
    """Yield the rules of the first pass: lengths and levels far apart."""
    for minimum, maximum in itertools.product((1 / 8, 1 / 4, 3 / 8), (1.25, 1.5, 1.75, 2, 3, 4)):
        for strict, loose, density in itertools.product((2, 3, NEVER), (-1, -0.5, 0, 0.5, 1, 1.5, 2), (3, 5)):
            yield Rule(minimum, maximum, strict, loose, max(density, math.ceil(loose) + 1))


def fine() -> Iterator[Rule]:
    """Yield the rules of the second pass, about the best of the first."""
    for minimum, maximum in itertools.product(range(5, 13), range(20, 28)):
        for loose in (0.5, 1, 1.5):
            if 30 <= minimum + maximum <= 34:
                yield Rule(minimum / 16, maximum / 16, 2, loose, 4)


def neighbors(rule: Rule) -> Iterator[Rule]:
    """Yield what differs from a rule in one respect: the third pass."""
    for density in range(2, 6):
        yield replace(rule, density=density)
    for strict in (0.5, 1, 3, NEVER):
        yield replace(rule, strict=strict)
    yield replace(rule, least_hash=False)


GRIDS = {"coarse": coarse, "fine": fine}


@dataclass(frozen=True, slots=True)
class Row:
    """One count."""

    history: str
    chunker: str
    mean: int
    key: int
    ratio: float
    average: float
    spread: float
    """Standard deviation of the lengths over their average."""
    forced: float


def _row(history: str, chunker: str, mean: int, key: int, c: Counts) -> Row:
    average = c.bytes / c.chunks
    spread = math.sqrt(max(0.0, c.squares / c.chunks - average**2)) / average
    return Row(history, chunker, mean, key, c.ratio, average / mean, spread, c.forced / c.chunks)


def measure(
    folder: Path,
    normals: dict[Rule, float],
    peers: Sequence[tuple[int, int, int]],
    means: Sequence[int],
    keys: Sequence[int],
    versions: int | None = None,
    filter_: str = FILTERS[0],
) -> Iterator[Row]:
    """Count every rule, and FastCDC with each (level, divisor, multiple), at every mean for every key."""
    history = read_history(folder, versions)
    for key in keys:
        if normals:
            history.prepare(secrets_of(key), filter_)
        for mean in means:
            for rule, normal in normals.items():
                p = rule.parameters(mean, normal)
                if p is not None:
                    yield _row(folder.name, name_of(rule), mean, key, history.count(p, rule.least_hash))
            for level, divisor, multiple in peers:
                reference = references.fastcdc_rules(mean, level=level, divisor=divisor, multiple=multiple, seed=key)
                found = history.count_reference(reference)
                yield _row(folder.name, f"fastcdc level {level} 1/{divisor} {multiple}", mean, key, found)
    history.close()


def name_of(rule: Rule) -> str:
    return json.dumps(list(asdict(rule).values()))


def rule_of(name: str) -> Rule:
    return Rule(*json.loads(name))


def mean_ratios(rows: Iterable[Row]) -> dict[tuple[str, str, int], tuple[float, float]]:
    """Return the mean ratio and its standard error by history, chunker and mean."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        found.setdefault((row.history, row.chunker, row.mean), []).append(row.ratio)
    return {
        place: (statistics.fmean(all_), statistics.stdev(all_) / math.sqrt(len(all_)) if len(all_) > 1 else 0.0)
        for place, all_ in found.items()
    }


FASTCDC = "fastcdc level 2 1/4 8"


def table(files: Sequence[Path]) -> Iterator[str]:
    """Yield lines of Markdown: for each rule and history, the ratio in units of FastCDC's, by mean."""
    rows = [Row(**json.loads(line)) for file in files for line in file.read_text().splitlines()]
    ratios = mean_ratios(rows)
    means = sorted({row.mean for row in rows})
    yield "| rule | history | " + " | ".join(f"{mean // KIB} KiB" for mean in means) + " |"
    yield "|---" * (len(means) + 2) + "|"
    for chunker in sorted({row.chunker for row in rows} - {FASTCDC}):
        for history in sorted({row.history for row in rows if row.chunker == chunker}):
            cells = [_cell(ratios.get((history, who, mean)) for who in (chunker, FASTCDC)) for mean in means]
            yield f"| {chunker} | {history} | " + " | ".join(cells) + " |"


def _cell(found: Iterable[tuple[float, float] | None]) -> str:
    ours, others = found
    if ours is None or others is None:
        return ""
    quotient = ours[0] / others[0]
    return f"{quotient:.3f} ± {quotient * math.hypot(ours[1] / ours[0], others[1] / others[0]):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Search the cut rule.")
    parser.add_argument("folder", type=Path, help="of the histories")
    parser.add_argument("--histories", nargs="+", default=[], help="names of folders; `random` needs none")
    parser.add_argument("--table", action="store_true", help="count nothing, print what --out has as a table")
    parser.add_argument("--means", type=int, nargs="+", default=MEANS)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--filter", choices=FILTERS, default=FILTERS[0], help="default: the format's")
    parser.add_argument("--first-key", type=int, default=0)
    parser.add_argument("--versions", type=int, help="take the first versions of each history only")
    parser.add_argument("--rule", action="append", default=[], help="a rule as a JSON list")
    parser.add_argument("--pass", dest="grid", choices=GRIDS, default="coarse", help="which rules, if none is given")
    parser.add_argument("--fastcdc", action="append", default=[], help="level,divisor,multiple; published: 2,4,8")
    parser.add_argument("--only-fastcdc", action="store_true")
    parser.add_argument("--near", action="store_true", help="also count what differs from each rule in one respect")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each count")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table([options.out])))
        return
    rules = [rule_of(text) for text in options.rule] or list(GRIDS[options.grid]())
    if options.near:
        rules = sorted({near for rule in rules for near in (rule, *neighbors(rule))})
    if options.only_fastcdc:
        rules = []
    peers = [(int(a), int(b), int(c)) for a, b, c in (text.split(",") for text in options.fastcdc)]
    calibration = Calibration() if rules else None
    found = {rule: calibration.normal(rule) for rule in rules} if calibration else {}
    normals = {rule: normal for rule, normal in found.items() if normal is not None}
    print(f"{len(normals)} rules", file=sys.stderr)
    keys = range(options.first_key, options.first_key + options.keys)
    with options.out.open("a") as out:
        for name in options.histories:
            for row in measure(
                options.folder / name, normals, peers, options.means, keys, options.versions, options.filter
            ):
                out.write(json.dumps(asdict(row)) + "\n")
                out.flush()
            print(f"{name}: done", file=sys.stderr)


if __name__ == "__main__":
    main()
