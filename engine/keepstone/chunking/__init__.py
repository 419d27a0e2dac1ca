"""Where a stream of bytes is cut into chunks, so that equal content is cut alike wherever it stands.

Two stages, both keyed by secrets of the repository. A cheap linear filter of the last 16 bytes picks candidates; a
keyed hash of the last 64 bytes decides at each. A cut depends only on bytes of its own chunk, so cuts fall
back into step soon after an edit. docs/format.md is the specification, `oracle` its reading in plain Python, and
`_cdc` the same cuts in C. Every kernel gives the same cuts on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from keepstone.chunking import oracle
from keepstone.chunking.parameters import Parameters, Secrets
from keepstone.errors import UsageError
from keepstone.ids import Buffer

__all__ = ["KERNEL_VARIABLE", "Chunker", "Parameters", "Secrets", "kernel", "kernels"]

KERNEL_VARIABLE = "KEEPSTONE_CHUNKER_KERNEL"
"""The environment variable that demands a kernel by name."""

_KERNELS: dict[str, Callable[[memoryview, bool, Secrets, Parameters], list[int]]] = {}
try:
    from keepstone.chunking import _cdc
except ImportError:
    pass  # Built without a C compiler. kernel() says so, and to demand the absent kernel is an error.
else:

    def _scalar(view: memoryview, final: bool, secrets: Secrets, parameters: Parameters) -> list[int]:
        return _cdc.cuts(
            view,
            final,
            secrets.sip_key,
            secrets.table,
            secrets.t,
            secrets.u,
            parameters.mask_bits,
            parameters.minimum,
            parameters.normal,
            parameters.maximum,
            parameters.strict,
            parameters.loose,
        )

    _KERNELS["scalar"] = _scalar

_KERNELS["python"] = oracle.cuts


def kernels() -> tuple[str, ...]:
    """Return the names of the kernels that work here, fastest first."""
    return tuple(_KERNELS)


def kernel() -> str:
    """Return the name of the kernel in use: the one the environment demands, else the fastest.

    Raises UsageError if the demanded kernel does not work here; another never takes its place.
    """
    return _available(os.environ.get(KERNEL_VARIABLE) or kernels()[0])


_in_use = kernel  # A second name, because a parameter of Chunker has the first.


def _available(name: str) -> str:
    if name not in _KERNELS:
        raise UsageError(
            f"There is no chunker kernel {name!r} here, only: {', '.join(kernels())}.",
            f"Unset {KERNEL_VARIABLE}, or install a build of Keepstone that has this kernel.",
        )
    return name


class Chunker:
    """Cuts streams into chunks. It keeps nothing between calls, so threads may share one."""

    __slots__ = ("_cuts", "_secrets", "kernel", "parameters")

    def __init__(self, secrets: Secrets, parameters: Parameters, kernel: str | None = None) -> None:
        self.kernel = _in_use() if kernel is None else _available(kernel)
        self.parameters = parameters
        self._secrets = secrets
        self._cuts = _KERNELS[self.kernel]

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
