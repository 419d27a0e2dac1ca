"""The message archive to read: its chats, the messages of a chat in the order of time, calls, attachments, search.

It reads the join of the newest catalogue of every writer, or what there was at a snapshot: the same archive, less what
was not there then. `stream` gives the messages of a chat one at a time, `messages` all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from keepstone.work.search import Found, Search
from keepstone.work.stream import ChatStream, Held
from keepstone.work.units import NAME, OldEntries, all_units, first, join_old, read_state, unlike

SERVICES: tuple[Service, ...] = Service.__args__  # type: ignore[attr-defined]  # the parts of a Literal


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
        self._contents: Contents | None = None
        self._shared = Held()

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

    def stream(self, chat: Chat) -> Iterator[Shown]:
        """Yield what `messages` returns, one at a time: a chat may have millions.

        Only where exported texts are matched with other sources is the whole chat held: matching needs all of it.
        """
        if len(chat.exported) > (not chat.ids):
            yield from self.messages(chat)
            return
        told = self._conversations()
        conversations = {name: told[name][0][0] for name in chat.ids or chat.exported}
        stream = ChatStream(self._known, self._repository, conversations, self._shared, self._time_ms)
        few = list(islice(stream.rows(), self.held + 1))
        if len(few) <= self.held:
            yield from resolve.messages([stream.reading(row) for row in few])
            return
        del few
        yield from stream.messages()

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

    def search(self, text: str) -> Iterator[Found]:
        """Yield the messages that have all words and "phrases in quotes" of a text, the newest month first.

        The texts are read once and stay in memory, folded, for the next search.
        """
        if self._search is None:
            self._search = Search(self._known, self._repository)
        return self._search.find(text)

    def shown(self, found: Found) -> Shown:
        """Return a message that was found, without what an exported text may add to it."""
        return resolve.fold(
            reading
            for reading in self._readings(found.conversation, found.month)
            if reading.message.identity == found.identity
        )

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
            state = self._state(old)
            for key in sorted(state):
                history = state[key][1]
                if self._time_ms is None or not history or any(there(times, self._time_ms) for _, times in history):
                    yield key, state[key]

    def _state(self, old: OldEntries) -> State:
        """Return what the catalogues say of a unit together."""
        if unlike(old) or len(old) < len(self._known):
            return join_old([known.scans for known in self._known], old, self._read)[0]
        return self._read(first(old))

    def _read(self, entries: Iterable[CatalogueEntry]) -> State:
        return read_state(entries, self._repository)
