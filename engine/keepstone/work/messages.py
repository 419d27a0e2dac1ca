"""The message archive to read: its chats, the messages of a chat in the order of time, calls, attachments, search.

It reads the join of the newest catalogue of every writer, or what there was at a snapshot: the same archive, less what
was not there then. One chat is held in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from keepstone.history.catalogue import (
    CALLS,
    CONTENTS,
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
from keepstone.work.search import Found, Page, Search, Within
from keepstone.work.units import NAME, all_units, first, join_old, read_state, unlike

SERVICES: tuple[Service, ...] = Service.__args__  # type: ignore[attr-defined]  # the parts of a Literal
_MONTHS = 64
"""Months of chats that are held while hits are shown."""


class Messages:
    """The messages of a repository, all that there ever were, or those of one snapshot."""

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
        self._months: dict[tuple[bytes, str], dict[bytes, list[Reading]]] = {}

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
        for row, _, _ in self._rows(CONTENTS, sha256[: blocks.NAME_LENGTH]):
            name, recipe = blocks.read_content(row, NAME)
            if name == sha256:
                return recipe
        return None

    def search(self, text: str, limit: int | None = None, within: Within | None = None) -> Page:
        """Return the messages that have all words and "phrases in quotes" of a text, the best first.

        Those with whole words come before those with parts, terms near each other before others, then the newest.
        The texts are read once and stay in memory, folded, for the next search.
        """
        if self._search is None:
            self._search = Search(self._known, self._repository)
        if self._time_ms is not None:
            within = within or Within()
            asked = within.holds
            within = replace(within, holds=lambda hit: self._was_there(hit) and (asked is None or asked(hit)))
        return self._search.find(text, limit, within)

    def _was_there(self, found: Found) -> bool:
        return found.conversation in self._conversations() and found.identity in self._looked_up(found)

    def shown(self, found: Found) -> Shown:
        """Return a message that was found, without what an exported text may add to it."""
        return resolve.fold(self._looked_up(found)[found.identity])

    def around(self, found: Found) -> tuple[Shown | None, Shown | None]:
        """Return the messages before and after one that was found, in its month."""
        readings = self._looked_up(found)
        order = list(readings)
        at = order.index(found.identity)
        before, after = order[at - 1 : at] if at else [], order[at + 1 : at + 2]
        return (
            resolve.fold(readings[before[0]]) if before else None,
            resolve.fold(readings[after[0]]) if after else None,
        )

    def _looked_up(self, found: Found) -> dict[bytes, list[Reading]]:
        """Return the readings of a chat's month by identity, in the order of time; some months are held."""
        key = found.conversation, found.month
        if key not in self._months:
            while len(self._months) >= _MONTHS:
                del self._months[next(iter(self._months))]
            readings: dict[bytes, list[Reading]] = {}
            for reading in self._readings(*key):
                readings.setdefault(reading.message.identity, []).append(reading)
            self._months[key] = readings
        return self._months[key]

    def _conversations(self) -> dict[bytes, list[tuple[Conversation, History]]]:
        if self._told is None:
            self._told = {}
            for key, (_, history) in self._all(CONVERSATIONS, ""):
                found = blocks.read_conversation(key[blocks.NAME_LENGTH :], NAME)
                self._told.setdefault(key[: blocks.NAME_LENGTH], []).append((found, history))
        return self._told

    def _readings(self, name: bytes, month: str | None = None) -> Iterator[Reading]:
        conversation = self._conversations()[name][0][0]
        for row, delivery, history in self._rows(MESSAGES, name, month):
            yield Reading(
                blocks.read_message(row, conversation.service, conversation.key, delivery, NAME), history
            )  # fmt: skip

    def _rows(self, kind: str, name: bytes, month: str | None = None) -> Iterator[tuple[bytes, int, History]]:
        """Yield the rows of one conversation."""
        for key, (delivery, history) in self._all(kind, name.hex(), month):
            if key.startswith(name):
                yield key[blocks.NAME_LENGTH :], delivery, history

    def _all(self, kind: str, digits: str, month: str | None = None) -> Iterator[tuple[bytes, tuple[int, History]]]:
        for (at, found), prefix, old in all_units(self._known):
            apart = not prefix.startswith(digits) and not digits.startswith(prefix)
            if found != kind or apart or month not in (None, at):
                continue
            if unlike(old) or len(old) < len(self._known):
                state, _ = join_old([known.scans for known in self._known], old, self._read)
            else:
                state = self._read(first(old))
            for key in sorted(state):
                history = state[key][1]
                if self._time_ms is None or not history or any(there(times, self._time_ms) for _, times in history):
                    yield key, state[key]

    def _read(self, entries: Iterable[CatalogueEntry]) -> State:
        return read_state(entries, self._repository)
