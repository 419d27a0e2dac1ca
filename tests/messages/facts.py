"""The slow and obvious archive: a set of facts. What `keepstone.messages.merge` must be equal to."""

from __future__ import annotations

from dataclasses import dataclass, field

from keepstone.messages.merge import State


@dataclass
class Facts:
    """Who was seen where and when; every reading of every source, with nothing left out."""

    seen: set[tuple[bytes, bytes, int]] = field(default_factory=set)
    """(row, source, time)"""
    states: set[tuple[bytes, int]] = field(default_factory=set)
    scans: set[tuple[bytes, int]] = field(default_factory=set)
    """(source, time), of sources that are read as a whole."""

    def __or__(self, other: Facts) -> Facts:
        return Facts(self.seen | other.seen, self.states | other.states, self.scans | other.scans)

    def state(self) -> State:
        """Return the state that keeps these facts."""
        found: State = {}
        for row in {row for row, _, _ in self.seen}:
            history = []
            for source in sorted({s for r, s, _ in self.seen if r == row}):
                times = sorted(t for r, s, t in self.seen if r == row and s == source)
                scans = sorted(t for s, t in self.scans if s == source)
                history.append((source, tuple(self._changes(times, scans)) if scans else (times[0],)))
            found[row] = (max(state for r, state in self.states if r == row), tuple(history))
        return found

    @staticmethod
    def _changes(times: list[int], scans: list[int]) -> list[int]:
        changes: list[int] = []
        before = False
        for time in scans:
            if (time in times) != before:
                changes.append(time)
                before = not before
        return changes
