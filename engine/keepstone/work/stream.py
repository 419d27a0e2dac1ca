"""The messages of a chat one after another, in memory that does not grow with the chat.

A catalogue has a chat's rows in blocks whose names are times, so reading them in the order of their names is reading
them in the order of time; several catalogues are joined minute by minute, which is the same as joining them whole. The
readings of one message mostly have one time, or one that is rounded: they meet in a window of seconds. Those that lie
farther apart are found by a look at all identities before, eight bytes each, and are kept apart until their turn.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush, merge
from itertools import chain, groupby, islice
from typing import Final, NamedTuple, TypeAlias

from keepstone.history.catalogue import Catalogue, CatalogueEntry, read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks, resolve
from keepstone.messages.merge import History, Scans, State, Times, join, join_scans, there
from keepstone.messages.model import Conversation
from keepstone.messages.resolve import Reading, Shown
from keepstone.work.units import NAME, OldEntries

WINDOW_MS: Final = 2_000
"""How far apart readings of one message are that differ by rounding: some sources have seconds."""
UNDATED: Final = "0000-00"
"""The month of times that no calendar has."""
_MINUTE_MS: Final = 60_000
_BUCKETS: Final = 256


class Row(NamedTuple):
    """A row of a chat, with what orders it."""

    time_ms: int
    order: int
    identity: bytes
    conversation: bytes
    row: bytes
    """Without its delivery state."""
    delivery: int
    history: History


Rows: TypeAlias = dict[bytes, list[tuple[bytes, int, History]]]
"""The rows of a block, with delivery state and history, by their conversations."""


class Held:
    """Blocks that small chats share, kept for the next chat: whoever goes through all chats needs them for each."""

    def __init__(self, most_rows: int = 100_000) -> None:
        self._blocks: dict[bytes, Rows] = {}
        self._left = most_rows

    @property
    def has_room(self) -> bool:
        return self._left > 0

    def get(self, recipe: bytes) -> Rows | None:
        return self._blocks.get(recipe)

    def add(self, recipe: bytes, rows: Rows) -> None:
        """Keep a block; to be asked while there is room.

        Who comes around again and again is not helped by keeping the newest.
        """
        self._left -= sum(map(len, rows.values()))
        self._blocks[recipe] = rows


class ChatStream:
    """The messages of a chat whose readings have identities.

    Args:
        known: the catalogues.
        units: their units of messages, by month in the order of time.
        conversations: what each of the chat's names in the archive is.
        held: where blocks are found again.
        time_ms: only what was there at a time, if not None.
        months: the first and the last to look into.
    """

    def __init__(
        self,
        known: Sequence[Catalogue],
        units: Mapping[str, Sequence[tuple[str, OldEntries]]],
        reader: ChunkReader,
        conversations: Mapping[bytes, Conversation],
        held: Held,
        time_ms: int | None = None,
        months: tuple[str, str] = ("", "~"),
    ) -> None:
        self._known, self._reader, self._conversations, self._time_ms = known, reader, conversations, time_ms
        self._units = units
        self._held, self._months = held, months
        self._scans = [one.scans for one in known]
        self._digits = [name.hex() for name in conversations]

    def rows(self) -> Iterator[Row]:
        """Yield the rows in the order of time."""
        late: list[Row] = []
        for month in self._asked():
            found = [old for prefix, old in self._units[month] if self._concerns(prefix)]
            of_names = [self._of_name(old, name) for name in self._conversations for old in found]
            rows = of_names[0] if len(of_names) == 1 else merge(*of_names)
            if month == UNDATED:  # Times outside the years 1 to 9999 stand in no order, before all others.
                undated = sorted(rows)
                yield from (row for row in undated if row.time_ms < 0)
                late += (row for row in undated if row.time_ms >= 0)
            else:
                yield from rows
        yield from late

    def messages(self) -> Iterator[Shown]:
        """Yield the messages, each folded from its readings, in the order of time."""
        far = self._far_apart()
        if not far:
            yield from self._folded(far)
            return
        readings: dict[bytes, list[Reading]] = {}
        for row in self.rows():
            if _short(row.identity) in far:
                readings.setdefault(row.identity, []).append(self.reading(row))
        apart = sorted((resolve.fold(found) for found in readings.values()), key=resolve.order_of)
        del readings
        yield from merge(self._folded(far), apart, key=resolve.order_of)

    # Rows ------------------------------------------------------------------------------------------------

    def _concerns(self, prefix: str) -> bool:
        return any(one.startswith(prefix) or prefix.startswith(one) for one in self._digits)

    def _asked(self) -> list[str]:
        first, last = self._months
        return [month for month in self._units if first <= month <= last or month == UNDATED]

    def _of_name(self, old: OldEntries, name: bytes) -> Iterator[Row]:
        """Yield the rows of a conversation in a unit, in the order of time."""
        rows: Iterator[Row]
        if len(self._known) == 1:
            rows = chain.from_iterable(self._of_catalogue(entries, name) for entries in old.values())
        else:
            rows = self._joined(old, name)
        wanted = self._time_ms
        for row in rows:
            if wanted is None or not row.history or any(there(times, wanted) for _, times in row.history):
                yield row

    def _of_catalogue(self, entries: Sequence[CatalogueEntry], name: bytes) -> Iterator[Row]:
        """Yield what one catalogue has of a conversation in a unit, in the order of time."""
        digits = name.hex()
        for entry in entries:
            if not (entry.prefix.startswith(digits) or digits.startswith(entry.prefix)):
                continue
            # Blocks of one minute are named by identities too: they are in the order of time together only.
            shared = len(entry.prefix) < len(digits)
            ordered = sorted(entry.blocks, key=lambda one: one.prefix)
            for _, group in groupby(ordered, key=lambda one: one.prefix[:_TO_MINUTE]):
                found = (row for block in group for row in self._of_block(block.recipe, name, shared))
                yield from sorted(found)

    def _of_block(self, recipe: bytes, name: bytes, shared: bool) -> Iterator[Row]:
        found = self._held.get(recipe)
        if found is None:
            all_of_it = shared and self._held.has_room
            found = self._decoded(recipe, b"" if all_of_it else name)
            if all_of_it:
                self._held.add(recipe, found)
        for row, delivery, history in found.get(name, ()):
            head = blocks.read_head(row, NAME)
            yield Row(head.time_ms, head.order, head.identity, name, row, delivery, history)

    def _decoded(self, recipe: bytes, begin: bytes) -> Rows:
        """Return the rows of a block, of conversations whose ids begin as told."""
        found: Rows = {}
        state = blocks.decode(read_whole(recipe, self._reader, NAME, blocks.MAX_BLOCK), NAME, begin)
        for key, (delivery, history) in state.items():
            found.setdefault(key[: blocks.NAME_LENGTH], []).append((key[blocks.NAME_LENGTH :], delivery, history))
        return found

    def _joined(self, old: OldEntries, name: bytes) -> Iterator[Row]:
        """Yield the join of what the catalogues have, minute by minute: a row is of one minute everywhere."""
        numbered = (self._numbered(number, entries, name) for number, entries in old.items())
        for _, group in groupby(merge(*numbered), key=lambda one: one[0].time_ms // _MINUTE_MS):
            states: dict[int, State] = {}
            heads: dict[bytes, Row] = {}
            for row, number in group:
                states.setdefault(number, {})[row.row] = (row.delivery, row.history)
                heads[row.row] = row
            joined = _join_all(self._scans, states)
            yield from sorted(
                heads[key]._replace(delivery=delivery, history=history) for key, (delivery, history) in joined.items()
            )

    def _numbered(self, number: int, entries: Sequence[CatalogueEntry], name: bytes) -> Iterator[tuple[Row, int]]:
        return ((row, number) for row in self._of_catalogue(entries, name))

    # Messages --------------------------------------------------------------------------------------------

    def reading(self, row: Row) -> Reading:
        """Return what a row says."""
        found = self._conversations[row.conversation]
        return Reading(blocks.read_message(row.row, found.service, found.key, row.delivery, NAME), row.history)

    def _far_apart(self) -> frozenset[int]:
        """Return the beginnings of identities whose readings do not meet in one window: a look at columns alone."""
        names, times = ([array(kind) for _ in range(_BUCKETS)] for kind in "Qq")
        for recipe in self._blocks():
            columns = blocks.columns_of(read_whole(recipe, self._reader, NAME, blocks.MAX_BLOCK), NAME)
            found = zip(columns.beginnings(), columns.all_times(), strict=True)
            for conversation, count in columns.groups:
                theirs = islice(found, count)
                if conversation in self._conversations:
                    for short, time_ms in theirs:
                        names[short % _BUCKETS].append(short)
                        times[short % _BUCKETS].append(time_ms)
                else:
                    deque(theirs, 0)
        far: set[int] = set()
        for bucket, when in zip(names, times, strict=True):
            first: tuple[int, int] | None = None
            for one in sorted(zip(bucket, when, strict=True)):
                if first is None or one[0] != first[0]:
                    first = one
                elif one[1] - first[1] > WINDOW_MS:
                    far.add(one[0])
        return frozenset(far)

    def _blocks(self) -> set[bytes]:
        """Return the blocks that may have rows of the chat."""
        return {
            block.recipe
            for month in self._asked()
            for prefix, old in self._units[month]
            if self._concerns(prefix)
            for entries in old.values()
            for entry in entries
            if self._concerns(entry.prefix)
            for block in entry.blocks
        }

    def _folded(self, but: frozenset[int]) -> Iterator[Shown]:
        """Yield the messages whose readings meet in a window."""
        opened: dict[bytes, list[Reading]] = {}
        firsts: deque[tuple[int, bytes]] = deque()
        heap: list[tuple[tuple[int, int, bytes], Shown]] = []

        def close(before: int | None) -> Iterator[Shown]:
            while firsts and (before is None or firsts[0][0] < before):
                shown = resolve.fold(opened.pop(firsts.popleft()[1]))
                heappush(heap, (resolve.order_of(shown), shown))
            # What is still open, or comes later, is not before this time.
            while heap and (before is None or heap[0][0][0] < before):
                yield heappop(heap)[1]

        for row in self.rows():
            if _short(row.identity) in but:
                continue
            yield from close(row.time_ms - WINDOW_MS)
            readings = opened.get(row.identity)
            if readings is None:
                opened[row.identity] = [self.reading(row)]
                firsts.append((row.time_ms, row.identity))
            else:
                readings.append(self.reading(row))
        yield from close(None)


_TO_MINUTE: Final = len("0000-00-00T00:00")


def _short(identity: bytes) -> int:
    return int.from_bytes(identity[:8], "big")


def _join_all(scans: Sequence[Scans], states: Mapping[int, State]) -> State:
    """Return the join of what all catalogues say; one that does not have a row says that it is not there."""
    state: State = {}
    known: dict[bytes, Times] = {}
    for number, theirs in enumerate(scans):
        state, known = join(state, states.get(number, {}), known, theirs), join_scans(known, theirs)
    return state
