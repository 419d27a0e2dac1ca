"""Where rows stand, and which of them make a block: by month and conversation, and by nothing but their content.

Small chats share a block and large ones are split: the rows of a month whose conversations' ids begin alike are one
*unit*; one that is too large is parted by the next digit, and a single conversation by day, hour and minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, TypeAlias

from keepstone.messages import blocks
from keepstone.messages.merge import State

SPLIT_ABOVE: Final = 256 * 1024
"""Bytes of the keys of one block. More are split, unless they are of one identity."""
DAY_MS: Final = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNDATED = "0000-00-00T00:00"
_MONTH_LENGTH = len("0000-00")
_LENGTHS = (7, 10, 13, 16)
"""Of a month, a day, an hour, a minute, at the beginning of a place; then come the digits of the identity."""
_MOST_DAYS = 200_000
_months: dict[int, str] = {}


def month_of(time_ms: int) -> str:
    """Return the month of a time: `2024-05`; `0000-00` outside the years 1 to 9999."""
    day = time_ms // DAY_MS
    found = _months.get(day)
    if found is None:
        if len(_months) > _MOST_DAYS:
            _months.clear()
        found = _months[day] = _minute(time_ms)[:_MONTH_LENGTH]
    return found


def _minute(time_ms: int) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat()[: len(_UNDATED)]
    except OverflowError:
        return _UNDATED


def place(key: bytes, month: str, name: str) -> str:
    """Return where a row stands in its conversation: minute and identity, as text."""
    head = blocks.read_head(key[blocks.NAME_LENGTH :], name)
    return (_minute(head.time_ms) if month else "") + head.identity.hex()


@dataclass(frozen=True, slots=True)
class Unit:
    """Conversations of a month whose ids begin with the same digits."""

    prefix: str
    blocks: list[tuple[str, bytes]]
    """What the places of the rows begin with, where one conversation is more than a block; the bytes."""


def split(month: str, prefix: str, state: State, name: str) -> list[Unit]:
    """Return what a unit is stored as: a pure function of the state, if nothing of the month is larger."""
    groups = [(one.hex(), list(keys)) for one, keys in groupby(sorted(state), key=blocks.name_of)]
    return list(_split(month, prefix, groups, state, name)) if state else []


_Group: TypeAlias = tuple[str, list[bytes]]
"""A conversation's id as digits, and its keys in ascending order."""


def _split(month: str, prefix: str, groups: Sequence[_Group], state: State, name: str) -> Iterator[Unit]:
    if len(prefix) == blocks.NAME_LENGTH * 2:
        yield Unit(prefix, _split_one(month, [key for _, keys in groups for key in keys], state, name))
    elif sum(sum(map(len, keys)) for _, keys in groups) <= SPLIT_ABOVE:
        yield Unit(prefix, [("", blocks.encode([key for _, keys in groups for key in keys], state))])
    else:
        digits = len(prefix) + 1
        for below, part in groupby(groups, key=lambda group: group[0][:digits]):
            yield from _split(month, below, list(part), state, name)


def _split_one(month: str, keys: Sequence[bytes], state: State, name: str) -> list[tuple[str, bytes]]:
    """Return the blocks of one conversation's month."""
    if sum(map(len, keys)) <= SPLIT_ABOVE:
        return [("", blocks.encode(keys, state))]
    places = {key: place(key, month, name) for key in keys}
    lengths = _LENGTHS if month else ()
    return [(prefix, blocks.encode(part, state)) for prefix, part in _parted("", keys, places, lengths)]


def _parted(
    prefix: str, keys: Sequence[bytes], places: Mapping[bytes, str], lengths: Sequence[int]
) -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield the keys of each block with what their places begin with."""
    if sum(map(len, keys)) > SPLIT_ABOVE and len(keys) > 1:
        digits = next((n for n in lengths if n > len(prefix)), len(prefix) + 1)
        if digits <= max(len(places[key]) for key in keys):
            parts: dict[str, list[bytes]] = {}
            for key in keys:
                parts.setdefault(places[key][:digits], []).append(key)
            for below in sorted(parts):
                yield from _parted(below, parts[below], places, lengths)
            return
    yield prefix, keys
