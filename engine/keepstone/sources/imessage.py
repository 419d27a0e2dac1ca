"""Apple's messages and calls: `chat.db` of a Mac, `sms.db` and `CallHistory.storedata` of an iPhone or its backup.

Messages are walked in the order of their rows, and beside them, in the same order, their chats and attachments: nothing
is looked up message by message. Tapbacks are rows too, behind the message that they are given to; they are collected
first (they alone are held in memory) and become reactions. Since macOS 13 the text is only in `attributedBody`, and an
edited message keeps its earlier texts in `message_summary_info`. Times count from 2001, in seconds, or in nanoseconds
since iOS 11.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import BinaryIO, Final, NamedTuple

from keepstone.messages import services
from keepstone.messages.identity import chat_of_addresses
from keepstone.messages.model import (
    Attachment,
    Conversation,
    Edit,
    Extra,
    Item,
    Loss,
    Message,
    MessageKind,
    Person,
    Reaction,
    State,
)
from keepstone.sources.attributed import attributed_text, property_list
from keepstone.sources.call_history import read_calls
from keepstone.sources.exports import LATEST_MS, Order, hashed, kind_of_file, open_beside, time_of
from keepstone.sources.reading import Folder, Options, UnreadableSource, columns, open_database, tables
from keepstone.sources.sqlite import is_sqlite

NAME = "imessage"

_PROBE: Final = 1024 * 1024
"""Bytes of a database's beginning in which its schema is looked for."""
_PATIENCE: Final = 86_400.0
"""Seconds that reading may take: it waits for whoever takes the records."""
_SINCE_MS: Final = 978_307_200_000
_IN_NANOSECONDS: Final = 100_000_000_000
"""Times above this are no seconds: that would be after the year 5000."""
_TAPBACKS: Final = ("❤️", "👍", "👎", "😂", "‼️", "❓")
_STICKERS: Final = (1000, 2007)
"""Stickers on a message, by hand or as a tapback: they are messages with files of their own."""
_GROUP: Final = 43
"""What `style` says of a group; 45 is a chat of two."""
_HOME = re.compile(r"^(?:/private)?(?:/var/mobile|/Users/[^/]+)/")
_MESSAGE: Final = (
    "ROWID", "guid", "text", "attributedBody", "subject", "handle_id", "service", "account", "date", "date_read",
    "date_delivered", "is_from_me", "is_read", "is_sent", "is_delivered", "error", "item_type", "group_title",
    "group_action_type", "other_handle", "is_audio_message", "date_played", "is_system_message", "is_service_message",
    "is_forward", "balloon_bundle_id", "message_summary_info", "thread_originator_guid", "thread_originator_part",
    "associated_message_guid", "associated_message_type", "associated_message_emoji", "expressive_send_style_id",
    "date_edited", "date_retracted", "destination_caller_id", "is_spam", "share_status", "share_direction",
)  # fmt: skip
_EXTRA: Final = (
    "date_read", "date_delivered", "group_title", "group_action_type", "balloon_bundle_id", "thread_originator_part",
    "expressive_send_style_id", "date_edited", "date_retracted", "date_played", "error", "item_type", "is_spam",
    "share_status", "share_direction",
)  # fmt: skip
_EXTRA_OF_TAPBACK: Final = (*_EXTRA, "associated_message_guid", "associated_message_type")
_Row = dict[str, object]
_LINK: Final = "com.apple.messages.URLBalloonProvider"


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a database has the tables of messages or of calls."""
    if not is_sqlite(head):
        return False
    with folder.open(name) as file:
        start = file.read(_PROBE)
    return (b"chat_message_join" in start and b"handle" in start) or b"ZCALLRECORD" in start


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield chats with their messages, or calls."""
    return hashed(_read(name, folder), name, folder, open_attachment)


def _read(name: str, folder: Folder) -> Iterator[Item]:
    with open_database(name, folder, seconds=_PATIENCE) as database:
        database.row_factory = sqlite3.Row
        try:
            known = tables(database)
            if "ZCALLRECORD" in known:
                yield from read_calls(database)
            elif "message" in known and "guid" in columns(database, "message"):
                yield from _Messages(database, known).read()
            else:
                raise UnreadableSource(f"The database {name} holds neither messages nor calls of Apple's.")
        except (sqlite3.DatabaseError, UnicodeError) as error:  # Names in a damaged schema may be no UTF-8.
            yield Loss(what=f"The database {name} is damaged; what follows was not read ({error}).")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return an attachment: beside the database, or in a backup under the hash of its domain and path."""
    path = attachment.place.removeprefix("~/")
    if not path or path.startswith("/"):
        return None
    domain = hashlib.sha1(f"MediaDomain-{path}".encode(), usedforsecurity=False).hexdigest()
    inside = "/".join(path.split("/")[2:])  # Behind Library/SMS or Library/Messages, where the database is.
    unpacked = f"../../../MediaDomain/{path}"  # Of a backup whose files have their names again.
    for place in (inside, f"../{domain[:2]}/{domain}", domain, f"../../{path}", f"../../../{path}", unpacked):
        if (file := open_beside(name, folder, place)) is not None:
            return file
    return None


class _Tapback(NamedTuple):
    kind: int
    by: tuple[str, bool, str]
    """Whose it is and on which part of the message: of the owner, who has several addresses, no address."""
    author: str
    emoji: str
    time_ms: int


class _Beside:
    """Rows that belong to messages, walked in the order of these."""

    def __init__(self, rows: Iterator[sqlite3.Row]) -> None:
        self._rows = rows
        self._next: sqlite3.Row | None = next(rows, None)

    def of(self, number: int) -> list[sqlite3.Row]:
        """Return the rows of a message; those of messages before it are passed over."""
        found = []
        while self._next is not None and isinstance(self._next[0], int) and self._next[0] <= number:
            if self._next[0] == number:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found


class _Messages:
    def __init__(self, database: sqlite3.Connection, known: frozenset[str]) -> None:
        self._database = database
        self._tables = known
        self._handles: dict[int, str] = {}
        self._chats: dict[int, Conversation] = {}
        self._orders: defaultdict[str, Order] = defaultdict(Order)
        self._tapbacks: dict[str, list[_Tapback]] = {}
        self._said: set[str] = set()

    def read(self) -> Iterator[Item]:
        self._read_chats()
        yield from self._chats.values()
        self._said = {chat.key for chat in self._chats.values()}
        self._read_tapbacks()
        chats, files = _Beside(self._chat_rows()), _Beside(self._attachment_rows())
        for row in self._select("message", _MESSAGE, "ORDER BY ROWID"):
            number = _int(row["ROWID"])
            yield from self._message(row, chats.of(number), files.of(number))

    def _select(self, table: str, wanted: tuple[str, ...], rest: str = "") -> Iterator[_Row]:
        """Return rows with the wanted columns, NULL for those that this version does not have."""
        if table not in self._tables:
            return
        known = columns(self._database, table) | {"ROWID"}
        chosen = ", ".join((f'"{column}"' if column in known else "NULL") for column in wanted)
        for row in self._database.execute(f'SELECT {chosen.replace(_ROWID, "ROWID AS ROWID")} FROM "{table}" {rest}'):
            # A look-up by name in the row itself goes through all columns.
            yield dict(zip(wanted, row, strict=True))

    # What messages refer to -----------------------------------------------------------------------------------

    def _read_chats(self) -> None:
        for row in self._select("handle", ("ROWID", "id")):
            self._handles[_int(row["ROWID"])] = _text(row["id"])
        people: dict[int, set[str]] = {}
        for row in self._select("chat_handle_join", ("chat_id", "handle_id")):
            people.setdefault(_int(row["chat_id"]), set()).add(self._handles.get(_int(row["handle_id"]), ""))
        wanted = ("ROWID", "guid", "style", "chat_identifier", "service_name", "display_name", "account_login",
                  "room_name", "is_archived", "group_id")  # fmt: skip
        for row in self._select("chat", wanted):
            said, number = _text(row["chat_identifier"]) or _text(row["guid"]).rpartition(";")[2], _int(row["ROWID"])
            group = row["style"] == _GROUP or ";+;" in _text(row["guid"])
            extra: Extra = {"guid": _text(row["guid"]), **_extra(row, ("is_archived", "room_name", "group_id"))}
            self._chats[number] = Conversation(
                service="sms" if _text(row["service_name"]) in ("SMS", "RCS") else "imessage",
                account=_account(row["account_login"]), key=said if group else chat_of_addresses([said]),
                kind="group" if group else "person", title=_text(row["display_name"]),
                people=tuple(Person(address=address) for address in sorted(people.get(number, ())) if address),
                extra=extra,
            )  # fmt: skip

    def _chat_rows(self) -> Iterator[sqlite3.Row]:
        parts = [
            f"SELECT message_id, chat_id, {gone} AS gone FROM {table}"
            for table, gone in (("chat_message_join", 0), ("chat_recoverable_message_join", 1))
            if {"message_id", "chat_id"} <= columns(self._database, table)
        ]
        return self._database.execute(" UNION ALL ".join(parts) + " ORDER BY 1") if parts else iter(())

    def _attachment_rows(self) -> Iterator[sqlite3.Row]:
        known = columns(self._database, "attachment")
        if not {"message_id", "attachment_id"} <= columns(self._database, "message_attachment_join") or not known:
            return iter(())
        wanted = ("guid", "filename", "mime_type", "transfer_name", "total_bytes", "is_sticker", "uti", "created_date")
        chosen = ", ".join(f"a.{column}" if column in known else f"NULL AS {column}" for column in wanted)
        return self._database.execute(
            f"SELECT j.message_id, {chosen} FROM message_attachment_join AS j "
            "JOIN attachment AS a ON a.ROWID = j.attachment_id ORDER BY j.message_id, a.guid"
        )

    def _read_tapbacks(self) -> None:
        wanted = ("associated_message_guid", "associated_message_type", "associated_message_emoji", "handle_id",
                  "is_from_me", "date", "account", "destination_caller_id")  # fmt: skip
        if "associated_message_type" not in columns(self._database, "message"):
            return
        for row in self._select("message", wanted, "WHERE associated_message_type BETWEEN 2000 AND 3999"):
            if row["associated_message_type"] in _STICKERS:
                continue
            kind = _int(row["associated_message_type"])
            emoji = _TAPBACKS[kind % 1000] if kind % 1000 < len(_TAPBACKS) else _text(row["associated_message_emoji"])
            author, mine, part = self._author(row), bool(row["is_from_me"]), _text(row["associated_message_guid"])
            by = ("" if mine else author, mine, part)
            given = _Tapback(kind, by, author, emoji or str(kind), _time(row["date"])[0])
            self._tapbacks.setdefault(_target(part), []).append(given)

    def _author(self, row: _Row) -> str:
        if row["is_from_me"]:
            return _text(row["destination_caller_id"]) or _account(row["account"])
        return self._handles.get(_int(row["handle_id"]), "")

    # Messages -------------------------------------------------------------------------------------------------

    def _message(self, row: _Row, chats: list[sqlite3.Row], files: list[sqlite3.Row]) -> Iterator[Item]:
        sticker = row["associated_message_type"] in _STICKERS
        tapback = 2000 <= _int(row["associated_message_type"]) < 4000 and not sticker
        if tapback and self._exists(_target(row["associated_message_guid"])):
            return  # Its message has it.
        author, mine = self._author(row), bool(row["is_from_me"])
        found = [chat for part in chats if (chat := self._chats.get(_int(part["chat_id"]))) is not None]
        # A message in several chats of one person is told in one of them: the same on every device.
        chat = found[0] if len(found) == 1 else min(found, key=_key) if found else self._chat_of(row, author)
        if chat.key not in self._said:
            self._said.add(chat.key)
            yield chat
        time_ms, precision_ms = _time(row["date"])
        attachments = tuple(_attachment(file) for file in files) if files else ()
        changed = _summary(row["message_summary_info"]) if row["message_summary_info"] else _Summary()
        # A notice has no text but what the group is called now.
        body = _body(row) or changed.latest or _text(row["group_title"])
        kind = _kind(row, body, attachments, files)
        if tapback:
            kind = "event"
        elif changed.unsent and not body and not attachments:
            kind = "deleted"
        guid = _text(row["guid"])
        extra = _extra(row, _EXTRA_OF_TAPBACK if row["associated_message_type"] else _EXTRA)
        if (service := _text(row["service"])) not in ("iMessage", ""):
            extra["service"] = service
        if chats[0]["gone"] if len(chats) == 1 else any(part["gone"] for part in chats):
            extra["recently_deleted"] = True
        if row["other_handle"] and (other := self._handles.get(_int(row["other_handle"]))):
            extra["other_handle"] = other
        given = self._tapbacks.get(guid, ())
        yield Message(
            identity=services.imessage(guid),
            service=chat.service,
            chat=chat.key,
            native=guid,
            time_ms=time_ms,
            precision_ms=precision_ms,
            order=self._orders[chat.key].number(time_ms),
            author=author,
            direction="none" if kind == "event" else "out" if mine else "in",
            kind=kind,
            text=body,
            subject=_text(row["subject"]),
            reply_to=_text(row["thread_originator_guid"])
            or (_target(row["associated_message_guid"]) if sticker else ""),
            forwarded=bool(row["is_forward"]),
            state=_state(row, mine),
            attachments=attachments,
            reactions=_reactions(given) if given else (),
            edits=changed.edits,
            extra=extra,
        )

    def _exists(self, guid: str) -> bool:
        return self._database.execute("SELECT 1 FROM message WHERE guid = ?", (guid,)).fetchone() is not None

    def _chat_of(self, row: _Row, author: str) -> Conversation:
        """Return the chat of a message that no chat has any more: the one with its sender."""
        service = "sms" if _text(row["service"]) in ("SMS", "RCS") else "imessage"
        other = self._handles.get(_int(row["handle_id"]), "")
        people = (Person(address=other),) if other else ()
        key = chat_of_addresses([other]) if other else "~"
        return Conversation(service="sms" if service == "sms" else "imessage", key=key, kind="person", people=people)


_ROWID: Final = '"ROWID"'


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _account(value: object) -> str:
    """Return an address without the letter of its kind: `E:me@example.org`, `p:+491711234567`."""
    said = _text(value)
    return said[2:] if said[1:2] == ":" else said


def _time(value: object) -> tuple[int, int]:
    """Return milliseconds since 1970 (0 for no time), and what they are rounded to."""
    if not isinstance(value, int | float) or not value or value != value or abs(value) > 2**63:
        return 0, 1000
    if abs(value) > _IN_NANOSECONDS:
        return time_of(int(value) // 1_000_000 + _SINCE_MS), 1
    return time_of(int(value * 1000) + _SINCE_MS), 1 if isinstance(value, float) else 1000


def _extra(row: _Row, names: tuple[str, ...]) -> Extra:
    return {name: value for name in names if (value := row[name]) and isinstance(value, str | int | float)}


def _key(chat: Conversation) -> str:
    return chat.key


def _target(value: object) -> str:
    """Return the guid in `p:0/GUID` or `bp:GUID`: a tapback on one part of a message is told of the message."""
    said = _text(value)
    return said.rpartition("/")[2] if "/" in said else said.removeprefix("bp:")


def _body(row: _Row) -> str:
    body, archived = _text(row["text"]), row["attributedBody"]
    if not body and isinstance(archived, bytes):
        body = attributed_text(archived) or ""
    return "" if not body.strip("\ufffc\ufffd") else body  # Slots of attachments and nothing else.


class _Summary(NamedTuple):
    """What a message keeps of its changes."""

    edits: tuple[Edit, ...] = ()
    unsent: bool = False
    """Whether a part of it was."""
    latest: str = ""
    """The texts that its edited parts have now."""


def _summary(archived: object) -> _Summary:
    summary = property_list(archived) if isinstance(archived, bytes) else {}
    parts, gone = summary.get("ec"), summary.get("rp")
    unsent = {str(part) for part in gone} if isinstance(gone, list) else set()
    found, latest = [], ""
    for part, events in parts.items() if isinstance(parts, dict) else ():
        known = [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
        for event, after in zip_longest(known, known[1:], fillvalue=None):
            archived = event.get("t") if event else None
            body = attributed_text(archived) if isinstance(archived, bytes) else None
            if body is None:
                continue
            if after or str(part) in unsent:
                found.append(Edit(text=body, time_ms=_time(after.get("d"))[0] if after else 0))
            else:
                latest += body
    return _Summary(tuple(sorted(found, key=lambda edit: edit.time_ms or LATEST_MS)), bool(gone), latest)


def _kind(row: _Row, body: str, attachments: tuple[Attachment, ...], files: list[sqlite3.Row]) -> MessageKind:
    if row["item_type"] or row["is_system_message"] or row["is_service_message"]:
        return "event"
    if row["is_audio_message"]:
        return "voice"
    if attachments:
        return "sticker" if files[0]["is_sticker"] else kind_of_file(attachments[0].mime, attachments[0].name)
    if row["balloon_bundle_id"] not in (None, "", _LINK):
        return "unknown"
    return "text" if body else "empty"


def _state(row: _Row, mine: bool) -> State:
    if not mine:
        return "read" if row["is_read"] else ""
    if row["error"]:
        return "failed"
    return "read" if row["date_read"] else "delivered" if row["is_delivered"] else "sent" if row["is_sent"] else ""


def _attachment(row: sqlite3.Row) -> Attachment:
    place, size = _HOME.sub("~/", _text(row["filename"])), row["total_bytes"]
    return Attachment(
        size=size if isinstance(size, int) and size > 0 else -1,
        mime=_text(row["mime_type"]),
        name=_text(row["transfer_name"]) or posixpath.basename(place),
        place=place,
        extra=_extra(dict(row), ("guid", "is_sticker", "uti")),
    )


def _reactions(given: Sequence[_Tapback]) -> tuple[Reaction, ...]:
    """Return the tapbacks that hold: the last of each person, unless one of the 3000s takes back that of the 2000s."""
    held: dict[tuple[str, bool, str], _Tapback] = {}
    for tapback in sorted(given, key=lambda tapback: tapback.time_ms):
        if tapback.kind < 3000:
            held[tapback.by] = tapback
        elif tapback.by in held and held[tapback.by].kind == tapback.kind - 1000:
            del held[tapback.by]
    found = [Reaction(author=each.author, emoji=each.emoji, time_ms=each.time_ms) for each in held.values()]
    return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))
