"""What a backup has come across so far, and the one place that reports it."""

from __future__ import annotations

from dataclasses import dataclass

from keepstone import events
from keepstone.errors import SourceError
from keepstone.history.tree import Entry

PROGRESS_BYTES, PROGRESS_PER_FILE = 1024 * 1024, 16 * 1024


@dataclass(slots=True)
class Gathered:
    """What a backup found of messages."""

    catalogue: bytes = b""
    """Recipe of the archive's catalogue; empty if there are no messages."""
    sources: int = 0
    messages: int = 0
    calls: int = 0
    new: int = 0
    """Rows that the archive did not have: messages, conversations, calls, or new states of them."""
    lost: int = 0
    """Records that could not be read."""


class Tally:
    """The running counts of one backup."""

    def __init__(self, listener: events.Listener) -> None:
        self._listener = listener
        self.new = self.changed = self.unmodified = 0
        self.problems: list[events.Problem] = []
        self.databases: list[bytes] = []
        """Live databases that were stored as one consistent image."""
        self.inexact: list[bytes] = []
        """Files that changed while they were read, twice."""
        self.candidates: dict[bytes, None] = {}
        """Files that were read and may hold messages, in the order in which they were read."""
        self._files = self._bytes = self._next_progress = 0

    @property
    def doubts(self) -> int:
        """How many things could not be stored as they are: while this grows, nothing is taken for settled."""
        return len(self.problems) + len(self.inexact)

    def problem(self, path: bytes, error: SourceError) -> None:
        """Report what could not be read."""
        found = events.Problem(path, "backup", error)
        self.problems.append(found)
        self._listener(found)

    @property
    def tell(self) -> events.Listener:
        """What events go to."""
        return self._listener

    def notice(self, text: str, path: bytes = b"") -> None:
        self._listener(events.Notice(text, path))

    def read(self, count: int) -> None:
        """Count bytes that were read; report how far it has come, at most once for every so many."""
        self._bytes += count
        done = self._files * PROGRESS_PER_FILE + self._bytes
        if done >= self._next_progress:
            self._next_progress = done + PROGRESS_BYTES
            self._listener(events.Progress(self._files, self._bytes))

    def reuse(self, files: int, size: int) -> None:
        """Count files that are unchanged without having been read."""
        self.unmodified += files
        self._files += files
        self.read(size)

    def done(self, path: bytes, entry: Entry, old: Entry | None) -> None:
        """Count and report an entry that was read, beside what the parent snapshot has there."""
        self._files += 1
        if old is None or old.kind != entry.kind:
            self.new += 1
            action = "new"
        elif old == entry:
            self.unmodified += 1
            action = "unmodified"
        else:
            self.changed += 1
            action = "changed"
        self._listener(events.FileDone(path, action, entry.size))
