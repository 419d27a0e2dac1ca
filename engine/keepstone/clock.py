"""The only place that asks for the time. Everything else takes a `Clock`, so tests can set it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of wall time and of monotonic time."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never runs back."""


class SystemClock:
    """The computer's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM = SystemClock()
