"""The timeline of a chat: what each snapshot brought, changed and no longer had.

The archive keeps since when every reading of a message was in every source, as the times of the snapshots that read
it. So a timeline is the messages once more, ordered by these times: the message as it was known at each of them is
folded anew, and what differs from the time before is a change. No snapshot is opened for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Literal

from keepstone.history.snapshot import Snapshot
from keepstone.messages.model import Message
from keepstone.messages.resolve import Reading, Shown, fold

ChangeKind = Literal["added", "edited", "deleted", "gone", "back"]
"""`deleted` is what a source shows as deleted; `gone` is what no source shows any longer; `back` is there again."""
_NO_CONTENT = ("deleted", "empty")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MessageChange:
    """What happened to one message between two readings of its sources."""

    kind: ChangeKind
    time_ms: int
    """When a snapshot noticed it."""
    shown: Shown
    """The message as it is known by now."""
    before: str = ""
    after: str = ""
    """The texts of an edit."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot, or a day, and what it changed in a chat."""

    time_ms: int
    """Of its first snapshot."""
    snapshots: tuple[str, ...]
    """Their ids; a snapshot that is no longer there has none."""
    changes: tuple[MessageChange, ...]
    """In the order of their messages."""

    def counts(self) -> dict[str, int]:
        """Return how many changes of each kind there are."""
        return dict(Counter(change.kind for change in self.changes))


def timeline(messages: Iterable[Shown], snapshots: Sequence[Snapshot]) -> list[Moment]:
    """Return what happened to the messages of a chat, snapshot by snapshot.

    Args:
        messages: all of the chat, in order: see `Messages.messages`.
    """
    changes = sorted((change for shown in messages for change in changes_of(shown)), key=lambda one: one.time_ms)
    names: dict[int, list[str]] = {}
    for snapshot in snapshots:
        names.setdefault(snapshot.body.time_ns // 1_000_000, []).append(snapshot.id.hex())
    return [
        Moment(time_ms, tuple(names.get(time_ms, ())), tuple(found))
        for time_ms, found in groupby(changes, key=lambda one: one.time_ms)
    ]


def by_day(moments: Iterable[Moment], zone: tzinfo) -> list[Moment]:
    """Return moments with those of one day as one."""

    def day_of(moment: Moment) -> date:
        return (_EPOCH + timedelta(milliseconds=moment.time_ms)).astimezone(zone).date()

    result = []
    for _, found in groupby(moments, key=day_of):
        day = list(found)
        snapshots = tuple(name for one in day for name in one.snapshots)
        result.append(Moment(day[0].time_ms, snapshots, tuple(change for one in day for change in one.changes)))
    return result


def changes_of(shown: Shown) -> Iterator[MessageChange]:
    """Yield what happened to one message, in the order of time."""
    times = sorted({time_ms for reading in shown.readings for _, changes in reading.history for time_ms in changes})
    if not times:
        return
    yield MessageChange("added", times[0], shown)
    if len(times) == 1:
        return
    before, was_there = _known_at(shown, times[0]), True
    for time_ms in times[1:]:
        after, is_there = _known_at(shown, time_ms), shown.there(time_ms)
        if was_there and not is_there:
            yield MessageChange("gone", time_ms, shown)
        elif is_there and not was_there:
            yield MessageChange("back", time_ms, shown)
        if _is_deleted(after) and not _is_deleted(before):
            yield MessageChange("deleted", time_ms, shown)
        elif _is_edited(before.message, after.message):
            yield MessageChange("edited", time_ms, shown, before.message.text, after.message.text)
        before, was_there = after, is_there


def _known_at(shown: Shown, time_ms: int) -> Shown:
    """Return a message as it was known at a time, by what was read until then."""
    readings = []
    for reading in shown.readings:
        history = tuple(
            (source, changes[: bisect_right(changes, time_ms)])
            for source, changes in reading.history
            if changes[0] <= time_ms
        )
        if history:
            readings.append(Reading(reading.message, history))
    return fold(readings)


def _is_deleted(shown: Shown) -> bool:
    return shown.deleted or shown.message.kind == "deleted"


def _is_edited(before: Message, after: Message) -> bool:
    """Return whether the text became another one; an exported text says the same in other words."""
    return (
        before.text != after.text
        and before.anchored == after.anchored
        and before.kind not in _NO_CONTENT
        and after.kind not in _NO_CONTENT
    )


__all__ = ["ChangeKind", "MessageChange", "Moment", "by_day", "changes_of", "timeline"]
