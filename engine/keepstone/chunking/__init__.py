"""Content-defined chunking in two stages: a secret linear filter picks candidates, a keyed hash decides.

`Parameters` are the sizes, `Secrets` what makes the cuts a repository's own, `Chunker` finds the cuts. The C kernel
and the plain-Python oracle give identical cuts; which one runs is never silent (`Chunker.kernel`).
"""

from __future__ import annotations

import os

from keepstone.chunking import oracle
from keepstone.chunking.parameters import Parameters, Secrets
from keepstone.errors import UsageError
from keepstone.ids import Buffer

try:
    from keepstone.chunking import _cdc
except ImportError:  # pragma: no cover - built without a compiler: the oracle takes over
    _cdc = None  # type: ignore[assignment]

SCALAR, PYTHON = "scalar", "python"


def kernels() -> tuple[str, ...]:
    """Return the kernels that run here, the fastest first."""
    return (PYTHON,) if _cdc is None else (SCALAR, PYTHON)


def kernel() -> str:
    """Return the kernel that is used: the one `KEEPSTONE_CHUNKER_KERNEL` demands, else the fastest.

    Raises:
        UsageError: the demanded kernel does not run here.
    """
    demanded = os.environ.get("KEEPSTONE_CHUNKER_KERNEL")
    if not demanded:
        return kernels()[0]
    return _available(demanded)


def _available(name: str) -> str:
    if name not in kernels():
        raise UsageError(f"The chunker kernel {name!r} does not run here.", f"Use one of: {', '.join(kernels())}.")
    return name


class Chunker:
    """Finds the cuts of one repository at one mean size. Holds no state, so threads may share it."""

    def __init__(self, secrets: Secrets, parameters: Parameters, kernel_name: str | None = None) -> None:
        self.parameters = parameters
        self.kernel = kernel() if kernel_name is None else _available(kernel_name)
        self._secrets = secrets
        p = parameters
        self._arguments = (
            secrets.table, secrets.sip_key, secrets.t, secrets.u, (1 << p.mask_bits) - 1,
            p.minimum, p.maximum, p.normal, p.strict, p.loose,
        )  # fmt: skip

    def cuts(self, buffer: Buffer, final: bool) -> list[int]:
        """Return the end offset of every chunk that is decided by this buffer.

        The buffer begins at a chunk boundary. If it is the `final` one, the last end is its length. If not, the tail
        (less than the maximum) stays uncut; the caller passes it again with what follows, and the cuts are those of
        the whole stream.
        """
        if self.kernel == SCALAR:
            return _cdc.cuts(buffer, final, *self._arguments)
        return oracle.cuts(buffer, final, self._secrets, self.parameters)


__all__ = ["PYTHON", "SCALAR", "Chunker", "Parameters", "Secrets", "kernel", "kernels"]
