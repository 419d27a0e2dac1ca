"""Who and where, in WhatsApp's Android database: addresses by row, names from `wa.db`, chats and their members.

Since 2025 people may be written as an `@lid`, an address that does not tell their number; the table `jid_map` tells
whose it is, and the number's address is used wherever it is known.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from keepstone.messages.model import Conversation, Loss, Person
from keepstone.sources.reading import Folder, UnreadableSource, open_database
from keepstone.sources.whatsapp import NOBODY, Table, address, chat_kind, keep, text


class People:
    """The addresses, names and chats of one database."""

    def __init__(self, connection: sqlite3.Connection, name: str, folder: Folder, losses: list[Loss]) -> None:
        self._connection, self._losses = connection, losses
        self.owner = ""
        """The database does not tell it."""
        self.jids: dict[Any, str] = {}
        self.chats: dict[Any, str] = {}
        self._told: set[str] = set()
        self._names: dict[str, str] = {}
        for row, raw, user, server in Table(connection, "jid", "_id", "raw_string user server").rows(losses):
            self.jids[row] = address(text(raw) or f"{text(user)}@{text(server)}")
        for lid, jid in Table(connection, "jid_map", "lid_row_id", "jid_row_id").rows(losses):
            if jid in self.jids:
                self.jids[lid] = self.jids[jid]
        self._read_names(name, folder)

    def _read_names(self, name: str, folder: Folder) -> None:
        here = name.rpartition("/")[0]
        beside = f"{here}/wa.db" if here else "wa.db"
        try:
            folder.size(beside)
        except OSError:
            return
        try:
            with open_database(beside, folder) as connection:
                rows = Table(connection, "wa_contacts", "_id", "jid display_name wa_name given_name").rows(self._losses)
                for _, jid, shown, own, given in rows:
                    if found := text(shown) or text(own) or text(given):
                        self._names.setdefault(address(text(jid)), found)
        except (UnreadableSource, sqlite3.Error, UnicodeDecodeError) as error:
            self._losses.append(Loss(what=f"The names of people in {beside!r} cannot be read ({error})."))

    def person(self, who: str) -> Person:
        return Person(address=who, name=self._names.get(who, ""))

    def conversations(self) -> Iterator[Conversation]:
        """Yield the chats, each key once; from here on `chats` knows them by row."""
        members = self._members()
        wanted = "jid_row_id subject created_timestamp archived hidden ephemeral_expiration group_type"
        for row, jid, subject, created, archived, hidden, expires, group in Table(
            self._connection, "chat", "_id", wanted
        ).rows(self._losses):
            if not (key := self.jids.get(jid, "")):
                continue
            self.chats[row] = key
            extra: dict[str, Any] = {}
            for column, value in (("created_timestamp", created), ("archived", archived), ("hidden", hidden),
                                  ("ephemeral_expiration", expires), ("group_type", group)):  # fmt: skip
                keep(extra, column, value, 0)
            yield from self.conversation(key, text(subject), extra, members.get(key, ()))
        legacy = "key_remote_jid subject creation archived"
        for _, jid, subject, created, archived in Table(self._connection, "chat_list", "_id", legacy).rows(
            self._losses
        ):
            key = address(text(jid))
            extra = {}
            keep(extra, "created_timestamp", created, 0)
            keep(extra, "archived", archived, 0)
            yield from self.conversation(key, text(subject), extra, members.get(key, ()))

    def conversation(
        self, key: str, title: str = "", extra: dict[str, Any] | None = None, members: Any = ()
    ) -> Iterator[Conversation]:
        """Yield a chat, unless it has been."""
        if key in self._told or not key:
            return
        self._told.add(key)
        who = set(members) | ({key} if chat_kind(key) == "person" else set())
        yield Conversation(
            service="whatsapp", key=key, kind=chat_kind(key), title=title or self._names.get(key, ""),
            people=tuple(self.person(one) for one in sorted(who)), extra=extra or {},
        )  # fmt: skip

    def lost_chat(self) -> Iterator[Conversation]:
        """Yield the chat of messages whose chat is not in the database."""
        return self.conversation(NOBODY)

    def _members(self) -> dict[str, set[str]]:
        members: dict[str, set[str]] = {}
        table = Table(self._connection, "group_participant_user", "_id", "group_jid_row_id user_jid_row_id")
        for _, group, user in table.rows(self._losses):
            if group in self.jids and user in self.jids:
                members.setdefault(self.jids[group], set()).add(self.jids[user])
        for _, gjid, jid in Table(self._connection, "group_participants", "_id", "gjid jid").rows(self._losses):
            if text(jid):  # An empty one is the owner.
                members.setdefault(address(text(gjid)), set()).add(address(text(jid)))
        return members
