"""Memory, as the system sees it: large pieces in few pages, and free memory given back before too much is held.

What a part of the work has freed, the C library keeps until it is told, and what it gave back costs a page fault per
4 KiB to take again. So free memory goes back only when the process holds much, and what is used again and again is
taken once.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from pathlib import Path

_STATUS = Path("/proc/self/statm")


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt(3)."""


def own_process() -> None:
    """Tell the C library that this process is ours: to keep some memory that was freed for what comes next.

    Chunks of a megabyte come and go by the thousand, and by itself glibc returns most of them at once and takes them
    again page by page, a tenth of a first backup's time. For programs, before they start threads; whoever uses the
    engine inside another program decides there.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, 64 * 1024 * 1024)
        library.mallopt(_MMAP_THRESHOLD, 16 * 1024 * 1024)
        library.mallopt(_ARENA_MAX, 1)
    except (AttributeError, OSError, TypeError):
        return


def give_back(above: int = 0) -> None:
    """Return free memory to the system, where its C library can (glibc); elsewhere do nothing.

    Args:
        above: only if the process holds more bytes than this.
    """
    if above and (resident() or above) < above:
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def resident() -> int | None:
    """Return the bytes of memory that this process holds; None where the system does not say (proc(5), `statm`)."""
    try:
        return int(_STATUS.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def large_piece(size: int) -> memoryview:
    """Return zeroed memory for long use, in large pages where the system has them.

    Raises:
        MemoryError: there is not as much.
    """
    try:
        piece = mmap.mmap(-1, size)
    except OSError as error:
        raise MemoryError(f"{size} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # A kernel without them.
            piece.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(piece)
