"""Published chunkers to compare with: FastCDC, Gear, RAM and AE, in C. They are not part of the product.

The C beside this file is compiled on first use, with the compiler that `CC` names or `cc`, into the user's temporary
folder, and called through ctypes. Each chunker is calibrated: on random data, the average length of its chunks is the
mean it is made for, so that ratios of different chunkers can be compared at all. `CHUNKERS` has a maker for each name;
what it makes has the protocol of `keepstone.chunking.Chunker`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import random
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("references.c")
NAMES = ("fastcdc", "gear", "ram", "ae")
_MASK_64 = (1 << 64) - 1


class NoCompiler(Exception):
    """There is no C compiler, or it failed."""


def compile_library(source: Path) -> ctypes.CDLL:
    """Compile one file of C, unless that was done before, and load it.

    Raises:
        NoCompiler.
    """
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        raise NoCompiler(f"there is no C compiler called {compiler[0]}")
    command = [*compiler, "-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC"]
    stamp = hashlib.sha256(repr(command).encode() + source.read_bytes()).hexdigest()[:16]
    # A folder of this user alone: nobody else can put a library there.
    folder = Path(tempfile.gettempdir()) / f"keepstone-references-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise NoCompiler(f"{folder} is open to others")
    library = folder / f"{source.stem}-{stamp}{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    if not library.exists():
        made = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, str(source), "-o", str(made)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(done.stderr.strip())
        made.rename(library)
    return ctypes.CDLL(str(library))


class _Rules(ctypes.Structure):
    _fields_ = (
        ("minimum", ctypes.c_size_t),
        ("normal", ctypes.c_size_t),
        ("maximum", ctypes.c_size_t),
        ("window", ctypes.c_size_t),
        ("strict", ctypes.c_uint64),
        ("loose", ctypes.c_uint64),
        ("gear", ctypes.c_uint64 * 256),
        ("gear_shifted", ctypes.c_uint64 * 256),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = compile_library(SOURCE)
    function = library.keepstone_reference_cuts
    function.restype = ctypes.c_size_t
    function.argtypes = (
        ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.POINTER(_Rules), ctypes.c_void_p,
    )  # fmt: skip
    return library


@dataclass(frozen=True, slots=True)
class Rules:
    """What a reference chunker cuts by."""

    name: str
    minimum: int
    maximum: int
    normal: int = 0
    window: int = 0
    strict: int = 0
    """The mask up to the normal length; of gear, the threshold."""
    loose: int = 0
    seed: int = 0
    """Of the gear table."""

    def gear(self) -> list[int]:
        rng = random.Random(self.seed)
        return [rng.getrandbits(64) for _ in range(256)]


class Reference:
    """Cuts streams with a published chunker."""

    def __init__(self, rules: Rules) -> None:
        gear = rules.gear()
        self.rules = rules
        self.maximum = rules.maximum
        self._which = NAMES.index(rules.name)
        self._rules = _Rules(
            rules.minimum, rules.normal, rules.maximum, rules.window, rules.strict, rules.loose,
            (ctypes.c_uint64 * 256)(*gear),
            (ctypes.c_uint64 * 256)(*(value << 1 & _MASK_64 for value in gear)),
        )  # fmt: skip
        self._function = _library().keepstone_reference_cuts

    def cuts(self, buffer: bytes | bytearray | memoryview, final: bool) -> list[int]:
        """Return the end offset of every chunk that a buffer, which starts where a chunk starts, decides."""
        view = memoryview(buffer).cast("B")
        least = max(1, self.rules.minimum)
        ends = (ctypes.c_size_t * (len(view) // least + 1))()
        # ctypes takes the address of writable buffers only; a view of bytes is copied, except bytes themselves.
        if not view.readonly:
            keep: object = (ctypes.c_char * len(view)).from_buffer(view)
            address = ctypes.addressof(keep)  # type: ignore[arg-type]  # an array of ctypes has one
        else:
            keep = buffer if isinstance(buffer, bytes) else bytes(view)
            address = ctypes.cast(ctypes.c_char_p(keep), ctypes.c_void_p).value or 0
        count = self._function(self._which, address, len(view), final, ctypes.byref(self._rules), ends)
        return ends[:count]


# Calibration ------------------------------------------------------------------------------------------------


def expected_mean(minimum: float, normal: float, maximum: float, strict: float, loose: float) -> float:
    """Return the average length on random data, if a position is cut with these two probabilities."""
    before = math.exp(-strict * (normal - minimum))
    within = math.exp(-loose * (maximum - normal))
    return minimum + (1 - before) / strict + before * (1 - within) / loose


def normal_point(mean: int, minimum: int, maximum: int, strict: float, loose: float) -> int:
    """Return the normal length at which the average is the mean."""
    low, high = float(minimum), float(maximum)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_mean(minimum, middle, maximum, strict, loose) < mean else (low, middle)
    return round(low)


def spread_mask(bits: int) -> int:
    """Return a mask of ones spread evenly over the bits 16 to 62, as those of the paper are, wider for few bytes.

    The lowest bits of a gear hash depend on few bytes. Bit 63 stays free for the step of two bytes.
    """
    return sum(1 << (16 + round(index * 46 / max(1, bits - 1))) for index in range(bits))


def fastcdc_rules(mean: int, *, level: int = 2, divisor: int = 4, multiple: int = 8, seed: int = 0) -> Rules:
    """Return FastCDC for a mean that is a power of two, with normalization `level`, calibrated."""
    bits = mean.bit_length() - 1
    minimum, maximum = mean // divisor, mean * multiple
    return Rules(
        "fastcdc",
        minimum=minimum,
        maximum=maximum,
        normal=normal_point(mean, minimum, maximum, 2.0 ** -(bits + level), 2.0 ** -(bits - level)),
        strict=spread_mask(bits + level),
        loose=spread_mask(bits - level),
        seed=seed,
    )


def gear_rules(mean: int, *, seed: int = 0) -> Rules:
    """Return Gear: one threshold, a minimum of a quarter and a maximum of eight times the mean."""
    minimum, maximum = mean // 4, mean * 8
    rate = 1.0 / (mean - minimum)
    for _ in range(20):  # The maximum takes a little off the average.
        rate = (1 - math.exp(-rate * (maximum - minimum))) / (mean - minimum)
    return Rules("gear", minimum=minimum, maximum=maximum, strict=int(rate * 2.0**64), seed=seed)


def ram_rules(mean: int, *, seed: int = 0) -> Rules:
    """Return RAM. In a window of a thousand random bytes the greatest is 255, and one byte in 256 is as great."""
    del seed
    return Rules("ram", minimum=mean - 256, maximum=mean * 8, window=mean - 256)


def ae_rules(mean: int, *, seed: int = 0) -> Rules:
    """Return AE. Its average is not e - 1 windows, as the paper has it, but e to Euler's constant (measured too)."""
    del seed
    window = round(mean / math.exp(0.5772156649))
    return Rules("ae", minimum=window, maximum=mean * 8, window=window)


RULES: dict[str, Callable[[int], Rules]] = {
    "fastcdc": fastcdc_rules, "gear": gear_rules, "ram": ram_rules, "ae": ae_rules,
}  # fmt: skip


def _maker(name: str) -> Callable[[int], Reference]:
    return lambda mean: Reference(RULES[name](mean))


CHUNKERS: dict[str, Callable[[int], Reference]] = {name: _maker(name) for name in NAMES}
