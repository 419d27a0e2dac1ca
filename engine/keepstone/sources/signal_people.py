"""Whom Signal's database knows: recipients by their numbers, groups, and the chats with them, in all its schemas."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec

from keepstone.messages import services
from keepstone.messages.model import Conversation, Extra, Person
from keepstone.sources.json_stream import text, whole
from keepstone.sources.signal_records import Found

MAX_PEOPLE: Final = 200_000
_RECIPIENT: Final = (
    ("_id",), ("aci", "uuid"), ("pni",), ("e164", "phone"), ("group_id",), ("distribution_list_id",),
    ("nickname_joined_name",), ("system_joined_name", "system_display_name"), ("profile_joined_name",),
    ("profile_given_name", "signal_profile_name"), ("profile_family_name",), ("username",), ("email",),
)  # fmt: skip
_THREAD: Final = (("_id",), ("recipient_id", "thread_recipient_id", "recipient_ids"), ("archived",))
_GROUP: Final = (("group_id",), ("title",), ("master_key",), ("members",), ("recipient_id",))
_OWN_ACI: Final = ("account.aci", "pref_local_uuid")
_OWN_NUMBER: Final = ("account.e164", "pref_local_number")


def rows_of(
    connection: sqlite3.Connection, found: Found, table: str, wanted: tuple[tuple[str, ...], ...], order: str = "",
    where: str = "",
) -> Iterator[tuple[object, ...]]:  # fmt: skip
    """Yield the rows of a table, each thing under the first of its names that the table has; None if it has none."""
    known = found.columns.get(table, ())
    chosen = [next((name for name in names if name in known), "") for names in wanted]
    actual = {names[0]: name for names, name in zip(wanted, chosen, strict=True)}
    columns = ", ".join(f'"{name}"' if name else "NULL" for name in chosen)
    keys = [actual.get(key, key if key in known else "") for key in order.split(", ") if key]
    by = ", ".join(f'"{key}"' for key in keys if key)
    cursor = connection.cursor()
    yield from cursor.execute(f'SELECT {columns} FROM "{table}"{where}' + (f" ORDER BY {by}" if by else ""))


class People:
    """The recipients and chats of one account."""

    def __init__(self, connection: sqlite3.Connection, found: Found) -> None:
        self._connection, self._found = connection, found
        said = found.said
        self._own_aci = next((said[key].lower() for key in _OWN_ACI if said.get(key)), "")
        self._account = said.get("account.username", "")
        self._own_number = next((said[key] for key in _OWN_NUMBER if said.get(key)), "")
        self.recipients: dict[object, Conversation] = {}
        self.chats: dict[object, Conversation] = {}
        self._owner: object = None
        self._groups = {text(row[0]): row for row in self._rows("groups", _GROUP)}
        self._read_recipients()
        if self._owner is None:
            self._owner = self._who_sent()
        for number, recipient, archived in self._rows("thread", _THREAD):
            extra: Extra = {"archived": True} if archived else {}
            chat = self.recipient(recipient)
            self.chats[number] = msgspec.structs.replace(chat, extra={**chat.extra, **extra})

    def _rows(self, table: str, wanted: tuple[tuple[str, ...], ...]) -> Iterator[tuple[object, ...]]:
        if table in self._found.columns:
            yield from rows_of(self._connection, self._found, table, wanted, "_id")

    def _who_sent(self) -> object:
        """Return the owner's recipient: who is said to have sent what was sent from here, in the newer schemas."""
        if not {"type", "from_recipient_id", "to_recipient_id"} <= set(self._found.columns.get("message", ())):
            return None
        query = "SELECT from_recipient_id FROM message WHERE type & 31 BETWEEN 21 AND 24 LIMIT 1"
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def chat(self, thread: object) -> Conversation:
        found = self.chats.get(thread)
        if found is None:
            found = Conversation(service="signal", account=self._account, key=f"~{text(thread)}")
        return found

    def recipient(self, number: object) -> Conversation:
        """Return the conversation with a recipient: by its number, or by the address that very old tables have."""
        if number == self._owner and number is not None:
            known = self.recipients.get(number)
            title = known.title if known else ""
            return Conversation(service="signal", account=self._account, key="self", kind="person", title=title)
        found = self.recipients.get(number) or self.recipients.get(whole(number))
        if found is None:
            said = text(number)
            found = self._group(said, "") if said.startswith("__") else self._person(said, "", said.isdigit())
            if len(self.recipients) < MAX_PEOPLE:
                self.recipients[number] = found
        return found

    def key(self, number: object) -> str:
        """Return the address of a recipient; nothing for the owner, and for nobody."""
        if number is None or number in ("", 0, "0") or number == self._owner or whole(number) == self._owner:
            return ""
        return self.recipient(number).key

    def _person(self, address: str, title: str, unknown: bool = False) -> Conversation:
        key = f"~{address}" if unknown or not address else address
        return Conversation(
            service="signal", account=self._account, key=key, kind="person", title=title,
            people=(Person(address=key, name=title),),
        )  # fmt: skip

    def _read_recipients(self) -> None:
        lists = {row[0]: row for row in self._rows("distribution_list", (("_id",), ("distribution_id",), ("name",)))}
        groups: list[tuple[object, str]] = []
        for (number, aci, pni, e164, group, sent_to, nick, system, profile, given, family, user, mail) in self._rows(
            "recipient", _RECIPIENT
        ):  # fmt: skip
            if group:
                groups.append((number, text(group)))
                continue
            if sent_to is not None and sent_to in lists:
                _, known, name = lists[sent_to]
                self.recipients[number] = Conversation(
                    service="signal", account=self._account, key=f"list:{text(known).replace('-', '')}",
                    kind="broadcast", title=text(name),
                )  # fmt: skip
                continue
            joined = f"{text(given)} {text(family)}".strip()
            title = next((said for said in map(text, (nick, system, profile)) if said), joined or text(user))
            address = services.signal_address(_uuid(aci), text(e164), _uuid(pni)) or text(mail)
            person = self._person(address or text(number), title, unknown=not address)
            extra: Extra = {"e164": text(e164)} if e164 and text(e164) not in person.key else {}
            self.recipients[number] = msgspec.structs.replace(person, extra=extra)
            if (aci and text(aci).lower() == self._own_aci) or (e164 and text(e164) == self._own_number):
                self._owner = number
        for number, said in groups:
            self.recipients[number] = self._group(said, number)

    def _group(self, said: str, number: object) -> Conversation:
        """Return a group by its id: `__signal_group__v2__!` or `__textsecure_group__!` before hexadecimal digits."""
        row = self._groups.get(said, ("", "", None, "", None))
        master = row[2]
        try:
            id_bytes = bytes.fromhex(said.rpartition("!")[2])
        except ValueError:
            id_bytes = said.encode("utf-8", "replace")
        members: list[object] = list(text(row[3]).split(",")) if row[3] else list(self._members(said))
        addresses = sorted({key for one in members if one and (key := self.key(whole(one) or one))})
        names = {one.key: one.title for one in self.recipients.values()} if addresses else {}
        return Conversation(
            service="signal", account=self._account, kind="group", title=text(row[1]),
            key=services.signal_group(master if isinstance(master, bytes) and master else id_bytes),
            people=tuple(Person(address=one, name=names.get(one, "")) for one in addresses),
        )  # fmt: skip

    def _members(self, group: str) -> Iterator[object]:
        if {"group_id", "recipient_id"} <= set(self._found.columns.get("group_membership", ())):
            query = "SELECT recipient_id FROM group_membership WHERE group_id = ? LIMIT 5000"
            yield from (row[0] for row in self._connection.execute(query, (group,)).fetchall())


def _uuid(value: object) -> bytes:
    try:
        return UUID(text(value).removeprefix("PNI:")).bytes
    except ValueError:
        return b""
