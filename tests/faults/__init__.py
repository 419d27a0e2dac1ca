"""Places that fail on purpose. Nothing here is random by itself: every seed and every position is given."""

from __future__ import annotations


class SimulatedCrash(BaseException):
    """The process stops here. Not an `Exception`, so that no handler takes it for an error to deal with."""


__all__ = ["SimulatedCrash"]
