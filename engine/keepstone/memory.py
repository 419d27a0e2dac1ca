"""Memory, as the system sees it: what a part of the work has freed, the allocator keeps until it is told."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return free memory to the system, where its C library can (glibc); elsewhere do nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
