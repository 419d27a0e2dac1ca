"""Runs the command and kills itself at the n-th operation on files, in the middle of a write if it is one.

python killed.py READY N ARGUMENTS...      READY: a file handle that is told when the command begins; N: 0 is never
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from keepstone.store.files import SystemFiles
from keepstone_cli.__main__ import main

OPERATIONS = ("make_folder", "create", "write", "sync", "close", "publish", "rename", "sync_folder", "unlink")


def kill_at(nth: int, report: int) -> None:
    """Wrap the operations so that the n-th, counted from 1, is the last thing this process does or does not do."""
    seen = 0
    os.write(report, b"!")
    atexit.register(lambda: os.write(report, str(seen).encode()))

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:  # Any: whatever an operation takes
        def operation(self: SystemFiles, *arguments: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == nth:
                if name == "write":
                    handle, (piece, *_) = arguments
                    os.write(handle, memoryview(piece)[: len(piece) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *arguments)

        return operation

    for name in OPERATIONS:
        setattr(SystemFiles, name, wrapped(name, getattr(SystemFiles, name)))


if __name__ == "__main__":
    handle, number = int(sys.argv[1]), int(sys.argv[2])
    sys.argv[:3] = ["keepstone"]
    kill_at(number, handle)
    main()
