"""Where a stream of bytes is cut into chunks, so that equal content is cut alike wherever it stands.

Two algorithms, keyed by secrets of the repository. `two-stage`: a cheap linear filter of the last 16 bytes picks
candidates, and a keyed hash of the last 64 bytes decides at each. `aes`: AES of the last 16 bytes, at every position.
A cut depends only on bytes from its chunk's start to where the maximum would be, so cuts fall back into step soon after
an edit. docs/format.md is the specification, `oracle` its reading in plain Python, and `_cdc` the same cuts in C, with
a kernel for each kind of processor. Every kernel gives the same cuts on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from keepstone.chunking import oracle
from keepstone.chunking.parameters import ALGORITHMS, AesSecrets, AnySecrets, Parameters, Secrets, secrets_for
from keepstone.errors import UsageError
from keepstone.ids import Buffer

__all__ = [
    "ALGORITHMS",
    "DEFAULT_ALGORITHM",
    "KERNEL_VARIABLE",
    "AesSecrets",
    "AnySecrets",
    "Chunker",
    "Parameters",
    "Secrets",
    "copied",
    "kernel",
    "kernels",
    "secrets_for",
]

KERNEL_VARIABLE = "KEEPSTONE_CHUNKER_KERNEL"
"""The environment variable that demands a kernel by name."""

DEFAULT_ALGORITHM = Secrets.algorithm
"""The algorithm of a repository that was not asked for another."""

_Cuts = Callable[[memoryview, bool, AnySecrets, Parameters], list[int]]
_KERNELS: dict[str, dict[str, _Cuts]] = {algorithm: {} for algorithm in ALGORITHMS}


def _compiled(place: int) -> _Cuts:
    """Return the cuts of a kernel by its place in the compiled table."""

    def cuts(view: memoryview, final: bool, secrets: AnySecrets, p: Parameters) -> list[int]:
        rules = (p.mask_bits, p.minimum, p.normal, p.maximum, p.strict, p.loose)
        if isinstance(secrets, AesSecrets):
            return _cdc.aes(place, view, final, *rules, secrets.key)
        return _cdc.two_stage(place, view, final, *rules, secrets.sip_key, secrets.table, secrets.t, secrets.u)

    return cuts


# `copied` returns the bytes of a buffer; the compiled one lets other threads run meanwhile.
try:
    from keepstone.chunking import _cdc
except ImportError:
    # Built without a C compiler. kernel() says so, and to demand an absent kernel is an error.
    copied: Callable[[Buffer], bytes] = bytes
else:
    for _place, _algorithm, _name in _cdc.available():
        _KERNELS[_algorithm][_name] = _compiled(_place)
    copied = _cdc.copied
for _found in _KERNELS.values():
    _found["python"] = oracle.cuts


def kernels(algorithm: str = DEFAULT_ALGORITHM) -> tuple[str, ...]:
    """Return the names of an algorithm's kernels that work here, fastest first."""
    return tuple(_KERNELS[algorithm])


def kernel(algorithm: str = DEFAULT_ALGORITHM) -> str:
    """Return the name of the kernel in use for an algorithm: the one the environment demands, else the fastest.

    Raises UsageError if the demanded kernel does not work here; another never takes its place.
    """
    return _available(algorithm, os.environ.get(KERNEL_VARIABLE) or kernels(algorithm)[0])


_in_use = kernel  # A second name, because a parameter of Chunker has the first.


def _available(algorithm: str, name: str) -> str:
    if name not in _KERNELS[algorithm]:
        raise UsageError(
            f"There is no chunker kernel {name!r} of {algorithm!r} here, only: {', '.join(kernels(algorithm))}.",
            f"Unset {KERNEL_VARIABLE}, or use a machine and a build of Keepstone that have this kernel.",
        )
    return name


class Chunker:
    """Cuts streams into chunks. It keeps nothing between calls, so threads may share one."""

    __slots__ = ("_cuts", "_secrets", "kernel", "parameters")

    def __init__(self, secrets: AnySecrets, parameters: Parameters, kernel: str | None = None) -> None:
        self.kernel = _in_use(secrets.algorithm) if kernel is None else _available(secrets.algorithm, kernel)
        self.parameters = parameters
        self._secrets = secrets
        self._cuts = _KERNELS[secrets.algorithm][self.kernel]

    def cuts(self, buffer: Buffer, final: bool) -> list[int]:
        """Return the end offset of every chunk that a buffer decides; the buffer starts where a chunk starts.

        If `final`, the stream ends with the buffer and so does the last chunk; an empty buffer has no chunks. If
        not, the rest after the last end is undecided and shorter than the maximum: the caller puts it before
        what follows and calls again. The cuts do not depend on how a stream is split into calls.

        The buffer is not copied and must not change meanwhile. The compiled kernel scans without the GIL; it does
        not look for signals, so buffers of at most 16 MiB keep a program responsive.

        Raises UsageError if the buffer is not one contiguous run of bytes.
        """
        try:
            view = memoryview(buffer).cast("B")
        except TypeError as error:
            raise UsageError("Only a contiguous buffer of bytes can be cut into chunks.") from error
        return self._cuts(view, final, self._secrets, self.parameters)
