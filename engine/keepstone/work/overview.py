"""How many messages each chat has, from when to when, and how much media: no message is decoded but those with media.

It is counted from the columns of the blocks, eight bytes held for each message: whoever lists all chats does not wait
until each was read. A chat of which exported texts are matched with other sources is read all the same.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from keepstone.history.catalogue import read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks
from keepstone.messages.model import Attachment, Message
from keepstone.work.units import NAME, OldEntries


@dataclass(frozen=True, slots=True)
class Overview:
    """What a list of chats tells of one."""

    messages: int
    first_ms: int | None
    """The earliest that any source tells of a message; None if it tells of none."""
    last_ms: int | None
    media_bytes: int
    """Each content counted once, as far as its size is known."""


@dataclass(slots=True)
class Tally:
    """What is counted of a conversation."""

    identities: array[int] = field(default_factory=lambda: array("Q"))
    """The beginnings of the identities of its rows."""
    first_ms: int | None = None
    last_ms: int | None = None
    media: dict[bytes | tuple[bytes, int], int] = field(default_factory=dict)
    """Sizes by hash, or where there is none by the message and the attachment's number in it."""

    def add(self, identities: Iterable[int], times: Sequence[int]) -> None:
        """Count some rows. Those whose time nobody tells are no first ones."""
        self.identities.extend(identities)
        first, last = (choose(filter(None, times), default=None) for choose in (min, max))
        if first is not None and last is not None:
            self.first_ms = first if self.first_ms is None else min(self.first_ms, first)
            self.last_ms = last if self.last_ms is None else max(self.last_ms, last)

    def attach(self, identity: bytes, attachments: Iterable[Attachment]) -> None:
        """Count the attachments of a row."""
        for number, one in enumerate(attachments):
            key = one.sha256 or (identity, number)
            self.media[key] = max(self.media.get(key, 0), one.size)


def together(tallies: Iterable[Tally]) -> Overview:
    """Return the overview of the conversations of a chat."""
    found = list(tallies)
    first = [one.first_ms for one in found if one.first_ms is not None]
    last = [one.last_ms for one in found if one.last_ms is not None]
    media: dict[bytes | tuple[bytes, int], int] = {}
    for one in found:
        media.update((key, max(media.get(key, 0), size)) for key, size in one.media.items())
    messages = len(set().union(*(one.identities for one in found)))
    return Overview(messages, min(first, default=None), max(last, default=None), sum(media.values()))


def of_messages(messages: Iterable[Message]) -> Overview:
    """Return the overview of messages one by one: the slow way, which `tallies` is equal to."""
    tally = Tally()
    for message in messages:
        tally.add([int.from_bytes(message.identity[:8], "big")], [message.time_ms])
        tally.attach(message.identity, message.attachments)
    return together([tally])


def tallies(units: Mapping[str, Iterable[OldEntries]], reader: ChunkReader) -> dict[bytes, Tally]:
    """Return what is counted of each conversation in units of messages by month."""
    found: dict[bytes, Tally] = {}
    for recipe in _recipes(units):
        data = read_whole(recipe, reader, NAME, blocks.MAX_BLOCK)
        columns, attached = blocks.columns_and_attachments(data, NAME)
        times, identities = columns.all_times(), columns.beginnings()
        ends = list(accumulate(rows for _, rows in columns.groups))
        for end, (name, rows) in zip(ends, columns.groups, strict=True):
            found.setdefault(name, Tally()).add(identities[end - rows : end], times[end - rows : end])
        for number, attachments in attached:
            name = columns.groups[bisect_right(ends, number)][0]
            found[name].attach(columns.identity(number), attachments)
    return found


def _recipes(units: Mapping[str, Iterable[OldEntries]]) -> Iterator[bytes]:
    """Yield the blocks of all catalogues, each once."""
    for month in units.values():
        entries = (entry for old in month for theirs in old.values() for entry in theirs)
        yield from {block.recipe for entry in entries for block in entry.blocks}
