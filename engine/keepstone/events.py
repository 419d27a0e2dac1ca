"""What the engine reports while it works: plain frozen records, handed to a listener.

The engine never prints. A caller that wants progress passes a function; it is called on the thread that does
the work, must return quickly, and may raise `Interrupted` to stop the work at a safe point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keepstone.errors import KeepstoneError


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far a verb has come. Totals are None while they are not known."""

    files_done: int
    bytes_done: int
    files_total: int | None = None
    bytes_total: int | None = None
    current: bytes = b""


@dataclass(frozen=True, slots=True)
class Step(Event):
    """A verb that consists of equal steps has done some of them."""

    done: int
    total: int
    current: str = ""


@dataclass(frozen=True, slots=True)
class Problem(Event):
    """One thing could not be handled as asked; the verb goes on and ends as partial."""

    path: bytes
    during: str
    error: KeepstoneError


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something worth telling that is not a failure."""

    text: str
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class FileDone(Event):
    """One entry was handled: `action` is new, changed, unmodified, restored, skipped, identical, linked."""

    path: bytes
    action: str
    size: int


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
