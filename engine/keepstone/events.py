"""What the engine reports while it works: plain frozen records, handed to a listener.

The engine never prints. A caller that wants progress passes a function; it is called on the thread that does
the work, must return quickly, and may raise `Interrupted` to stop the work at a safe point. There are two for each
file, so they are structs, which are made three times as fast as frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from keepstone.errors import KeepstoneError


class Event(msgspec.Struct, frozen=True):
    """The root of all events."""


class Progress(Event, frozen=True):
    """How far a verb has come. Totals are None while they are not known."""

    files_done: int
    bytes_done: int
    files_total: int | None = None
    bytes_total: int | None = None
    current: bytes = b""


class Step(Event, frozen=True):
    """A verb that consists of equal steps has done some of them."""

    done: int
    total: int
    current: str = ""


class Problem(Event, frozen=True):
    """One thing could not be handled as asked; the verb goes on and ends as partial."""

    path: bytes
    during: str
    error: KeepstoneError


class Notice(Event, frozen=True):
    """Something worth telling that is not a failure."""

    text: str
    path: bytes = b""


class FileDone(Event, frozen=True):
    """One entry was handled: `action` is new, changed, unmodified, restored, skipped, identical, linked."""

    path: bytes
    action: str
    size: int


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
