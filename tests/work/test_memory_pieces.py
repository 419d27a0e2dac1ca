"""Memory as the system sees it."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys

import pytest

from keepstone import memory


def test_a_large_piece_is_zeroed_and_all_of_it_can_be_written() -> None:
    piece = memory.large_piece(5_000_001)
    assert len(piece) >= 5_000_001
    assert not any(piece[:4096])
    assert not piece[5_000_000]
    piece[5_000_000] = 7
    assert piece[5_000_000] == 7


def test_a_piece_that_the_system_does_not_give_is_an_error_of_memory() -> None:
    with pytest.raises(MemoryError):
        memory.large_piece(1 << 62)


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5) is Linux's")
def test_the_memory_held_grows_by_what_is_written() -> None:
    before = memory.resident()
    piece = memory.large_piece(32 << 20)
    for at in range(0, len(piece), mmap.PAGESIZE):
        piece[at] = 1
    after = memory.resident()
    assert before is not None
    assert after is not None
    assert after - before > 24 << 20


def test_free_memory_is_given_back_only_above_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[object] = []

    class Library:
        def __init__(self, name: object) -> None:
            self.malloc_trim = trimmed.append

    monkeypatch.setattr(memory.ctypes, "CDLL", Library)
    monkeypatch.setattr(memory, "resident", lambda: 100)
    memory.give_back(above=101)
    assert trimmed == []
    memory.give_back(above=99)
    memory.give_back()
    assert trimmed == [0, 0]
    monkeypatch.setattr(memory, "resident", lambda: None)  # Where the system does not say, rather once too often.
    memory.give_back(above=10)
    assert trimmed == [0, 0, 0]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_process_of_its_own_keeps_what_it_freed_for_what_comes_next() -> None:
    program = """
import gc, resource, sys
from keepstone import memory
if sys.argv[1:]:
    memory.own_process()
for _ in range(50):
    held = [b"x" * (1 << 20) for _ in range(8)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", program, *more], capture_output=True, check=True).stdout)
        for more in ([], ["own"])
    ]
    assert faults[1] < faults[0] // 4
