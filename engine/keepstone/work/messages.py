"""The message archive to read: its chats, the messages of a chat in the order of time, calls, attachments, search.

It reads the join of the newest catalogue of every writer, or what there was at a snapshot: the same archive, less what
was not there then. `stream` gives the messages of a chat one at a time, `messages` all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from keepstone.history.catalogue import (
    CALLS,
    CONVERSATIONS,
    MESSAGES,
    Catalogue,
    CatalogueEntry,
    Source,
    newest_catalogues,
)
from keepstone.history.snapshot import Snapshot
from keepstone.messages import blocks, resolve
from keepstone.messages.merge import History, State, there
from keepstone.messages.model import Call, Conversation, Service
from keepstone.messages.resolve import Chat, Reading, Shown
from keepstone.repo.repository import Repository
from keepstone.work.contents import Contents
from keepstone.work.overview import Overview, Tally, of_messages, tallies, together
from keepstone.work.search import Found, Page, Search, Within
from keepstone.work.stream import UNDATED, ChatStream, Held
from keepstone.work.units import NAME, OldEntries, all_units, first, join_old, read_state, unlike

SERVICES: tuple[Service, ...] = Service.__args__  # type: ignore[attr-defined]  # the parts of a Literal
_Row = tuple[bytes, int, History]
"""A row without its state, the delivery state, and when it was there."""
DAY_MS = 86_400_000
_MONTHS = 64
"""Months of chats that are held while hits are shown."""


class Messages:
    """The messages of a repository, all that there ever were, or those of one snapshot."""

    held = 20_000
    """Readings of a chat that `stream` holds; a chat of more is read twice."""

    def __init__(self, repository: Repository, snapshot: Snapshot | None = None) -> None:
        self._repository = repository
        self._time_ms: int | None = None
        if snapshot is None:
            self._known = newest_catalogues(repository.log, repository.keys, repository)
        else:
            recipe = snapshot.body.catalogue
            self._known = [Catalogue(recipe, repository, snapshot.name)] if recipe else []
            self._time_ms = snapshot.body.time_ns // 1_000_000
        self._told: dict[bytes, list[tuple[Conversation, History]]] | None = None
        self._search: Search | None = None
        self._units: dict[str, dict[str, list[tuple[str, OldEntries]]]] | None = None
        """By kind and month."""
        self._months: dict[tuple[bytes, str], dict[bytes, list[_Row]]] = {}
        self._contents: Contents | None = None
        self._shared = Held()
        self._tallies: dict[bytes, Tally] | None = None

    def sources(self) -> dict[bytes, Source]:
        """Return the sources that messages were read from, by their ids in histories."""
        return {name: source for known in self._known for name, source in known.sources.items()}

    def chats(self) -> list[Chat]:
        """Return the conversations as people see them."""
        return resolve.chats(self._conversations())

    def messages(self, chat: Chat) -> list[Shown]:
        """Return the messages of a chat, in the order of time."""
        anchored = [reading for name in chat.ids for reading in self._readings(name)]
        return resolve.messages(anchored, [list(self._readings(name)) for name in chat.exported])

    def stream(self, chat: Chat, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Shown]:
        """Yield what `messages` returns, one at a time: a chat may have millions.

        Only where exported texts are matched with other sources is the whole chat held: matching needs all of it.

        Args:
            from_ms, to_ms: the time that is asked for. Months that have nothing to do with it are not read; of the
                others all messages are given.
        """
        if _is_matched(chat):
            yield from self.messages(chat)
            return
        told = self._conversations()
        conversations = {name: told[name][0][0] for name in chat.ids or chat.exported}
        # Sources may tell times of one message that are hours apart, where one does not know its zone.
        first = UNDATED if from_ms is None else blocks.month_of(from_ms - DAY_MS)
        last = UNDATED if to_ms is None else blocks.month_of(to_ms + DAY_MS)
        months = first, last if last != UNDATED else "~"
        units = self._by_month(MESSAGES)
        stream = ChatStream(self._known, units, self._repository, conversations, self._shared, self._time_ms, months)
        few = list(islice(stream.rows(), self.held + 1))
        if len(few) <= self.held:
            yield from resolve.messages([stream.reading(row) for row in few])
            return
        del few
        yield from stream.messages()

    def overview(self, chat: Chat) -> Overview:
        """Return how many messages a chat has, from when to when, and how much media; the first call counts all."""
        if self._time_ms is not None or _is_matched(chat):
            return of_messages(shown.message for shown in self.stream(chat))
        if self._tallies is None:
            months = self._by_month(MESSAGES)
            units = {month: [old for _, old in found] for month, found in months.items()}
            self._tallies = tallies(units, self._repository)
        return together(self._tallies.get(name, Tally()) for name in chat.ids or chat.exported)

    def calls(self) -> Iterator[Call]:
        """Yield the calls of all services, those of one service in the order of time."""
        for service in SERVICES:
            found: dict[bytes, tuple[tuple[int, bytes], Call]] = {}
            for row, _, history in self._rows(CALLS, blocks.calls_id(service)):
                call = blocks.read_call(row, service, NAME)
                rank = (max((changes[-1] for _, changes in history), default=0), row)
                if call.identity not in found or found[call.identity][0] < rank:
                    found[call.identity] = (rank, call)
            yield from sorted((call for _, call in found.values()), key=lambda call: (call.time_ms, call.identity))

    def content(self, sha256: bytes) -> bytes | None:
        """Return the recipe of an attachment's content; None if the archive does not know it."""
        if self._contents is None:
            self._contents = Contents(self._known, self._state)
        return self._contents.recipe(sha256)

    def search(self, text: str, limit: int | None = None, within: Within | None = None) -> Page:
        """Return the messages that have all words and "phrases in quotes" of a text, the best first.

        Those with whole words come before those with parts, terms near each other before others, then the newest.
        The texts are read once and stay in memory, folded, for the next search.
        """
        if self._search is None:
            months = self._by_month(MESSAGES)
            self._search = Search(
                {month: [old for _, old in found] for month, found in months.items()}, self._repository
            )
        if self._time_ms is not None:
            within = within or Within()
            asked = within.holds
            within = replace(within, holds=lambda hit: self._was_there(hit) and (asked is None or asked(hit)))
        return self._search.find(text, limit, within)

    def _was_there(self, found: Found) -> bool:
        return found.conversation in self._conversations() and found.identity in self._looked_up(found)

    def shown(self, found: Found) -> Shown:
        """Return a message that was found, without what an exported text may add to it."""
        return self._fold(found, found.identity)

    def around(self, found: Found) -> tuple[Shown | None, Shown | None]:
        """Return the messages before and after one that was found, in its month."""
        order = list(self._looked_up(found))
        at = order.index(found.identity)
        before, after = order[at - 1 : at] if at else [], order[at + 1 : at + 2]
        return (
            self._fold(found, before[0]) if before else None,
            self._fold(found, after[0]) if after else None,
        )

    def _fold(self, found: Found, identity: bytes) -> Shown:
        """Return a message of the chat and the month of one that was found."""
        return resolve.fold(self._reading(found.conversation, row) for row in self._looked_up(found)[identity])

    def _looked_up(self, found: Found) -> dict[bytes, list[_Row]]:
        """Return the rows of a chat's month by identity, in the order of time; some months are held."""
        key = found.conversation, found.month
        if key not in self._months:
            while len(self._months) >= _MONTHS:
                del self._months[next(iter(self._months))]
            rows: dict[bytes, list[_Row]] = {}
            for row in self._rows(MESSAGES, *key):
                rows.setdefault(blocks.row_identity(row[0]), []).append(row)
            self._months[key] = rows
        return self._months[key]

    def _conversations(self) -> dict[bytes, list[tuple[Conversation, History]]]:
        if self._told is None:
            self._told = {}
            for key, (_, history) in self._all(CONVERSATIONS, ""):
                found = blocks.read_conversation(key[blocks.NAME_LENGTH :], NAME)
                self._told.setdefault(key[: blocks.NAME_LENGTH], []).append((found, history))
        return self._told

    def _readings(self, name: bytes, month: str | None = None) -> Iterator[Reading]:
        return (self._reading(name, row) for row in self._rows(MESSAGES, name, month))

    def _reading(self, name: bytes, row: _Row) -> Reading:
        """Return a reading of a message of a conversation."""
        conversation = self._conversations()[name][0][0]
        data, delivery, history = row
        return Reading(blocks.read_message(data, conversation.service, conversation.key, delivery, NAME), history)

    def _rows(self, kind: str, name: bytes, month: str | None = None) -> Iterator[_Row]:
        """Yield the rows of one conversation."""
        for key, (delivery, history) in self._all(kind, name.hex(), month):
            if key.startswith(name):
                yield key[blocks.NAME_LENGTH :], delivery, history

    def _all(self, kind: str, digits: str, month: str | None = None) -> Iterator[tuple[bytes, tuple[int, History]]]:
        for prefix, old in self._units_of(kind, month):
            if not prefix.startswith(digits) and not digits.startswith(prefix):
                continue
            state = self._state(old, bytes.fromhex(digits[: len(digits) // 2 * 2]))
            for key in sorted(state):
                history = state[key][1]
                if self._time_ms is None or not history or any(there(times, self._time_ms) for _, times in history):
                    yield key, state[key]

    def _units_of(self, kind: str, month: str | None) -> Iterator[tuple[str, OldEntries]]:
        """Yield the units of a kind with their entries, of a month or of all."""
        months = self._by_month(kind)
        for at in months if month is None else [month]:
            yield from months.get(at, ())

    def _by_month(self, kind: str) -> dict[str, list[tuple[str, OldEntries]]]:
        """Return the units of a kind; the first call lists those of all kinds."""
        if self._units is None:
            self._units = {}
            for (at, found), prefix, old in all_units(self._known):
                self._units.setdefault(found, {}).setdefault(at, []).append((prefix, old))
        return self._units.get(kind, {})

    def _state(self, old: OldEntries, begin: bytes = b"") -> State:
        """Return what the catalogues say of a unit together; or more exactly, of keys that begin as told."""
        if unlike(old) or len(old) < len(self._known):
            return join_old([known.scans for known in self._known], old, self._read)[0]
        return read_state(first(old), self._repository, begin)

    def _read(self, entries: Iterable[CatalogueEntry]) -> State:
        return read_state(entries, self._repository)


def _is_matched(chat: Chat) -> bool:
    """Return whether exported texts of a chat are matched with each other or with what has ids."""
    return len(chat.exported) > (not chat.ids)
