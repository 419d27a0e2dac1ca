"""WhatsApp for iOS: `ChatStorage.sqlite` with the names of `ContactsV2.sqlite` and the calls of `CallHistory.sqlite`.

They lie side by side, or in a phone backup, where a file's name is the SHA-1 of its domain and path, so each file is
found from the name of the first. Times are seconds since 2001. What a message answers, and who reacted, stands in
small protobuf messages; one that cannot be decoded costs only what it would have told.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from keepstone.containers.source import Broken
from keepstone.containers.transforms import protobuf_fields
from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Conversation,
    Direction,
    Item,
    Loss,
    Message,
    MessageKind,
    Person,
    Reaction,
)
from keepstone.sources.reading import Folder, Options, UnreadableSource, open_database, tables
from keepstone.sources.sqlite import is_sqlite
from keepstone.sources.whatsapp import (
    NOBODY,
    Beside,
    Ordinals,
    Row,
    Table,
    address,
    call_identity,
    chat_kind,
    find_file,
    fitting,
    keep,
    message_identity,
    number,
    schema_names,
    text,
)

NAME = "whatsapp-ios"

KINDS: dict[int, MessageKind] = {
    0: "text", 1: "image", 2: "video", 3: "audio", 4: "contact", 5: "location", 6: "event", 7: "text", 8: "document",
    10: "event", 11: "animation", 14: "deleted", 15: "sticker", 46: "poll",
}  # fmt: skip
_OUTCOMES: dict[int, CallOutcome] = {0: "answered", 1: "missed", 2: "failed", 4: "rejected"}
_FILES: frozenset[MessageKind] = frozenset(("image", "video", "audio", "voice", "document", "animation", "sticker"))
_DOMAINS = (
    "AppDomainGroup-group.net.whatsapp.WhatsApp.shared",
    "AppDomainGroup-group.net.whatsapp.WhatsAppSMB.shared",
)
_CHATS, _CALLS, _CONTACTS = "ChatStorage.sqlite", "CallHistory.sqlite", "ContactsV2.sqlite"
_EPOCH = 978307200
_MESSAGE = (
    "ZCHATSESSION ZGROUPMEMBER ZISFROMME ZMESSAGETYPE ZGROUPEVENTTYPE ZTEXT ZMESSAGEDATE ZFROMJID ZSTARRED"
    " ZSTANZAID ZMESSAGESTATUS ZMESSAGEERRORSTATUS"
)
_MEDIA = (
    "ZMEDIALOCALPATH ZTITLE ZVCARDSTRING ZVCARDNAME ZFILESIZE ZMOVIEDURATION ZLATITUDE ZLONGITUDE ZMETADATA ZMEDIAURL"
    " ZAUTHORNAME ZCOLLECTIONNAME"
)


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    if not is_sqlite(head):
        return False
    if schema_names(name, folder, b"ZWAMESSAGE", b"ZSTANZAID"):
        return True
    if not schema_names(name, folder, b"ZWACDCALLEVENT"):
        return False
    return _beside(name, _CALLS, _CHATS, folder) is None  # It is read with the chats, where there are chats.


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    losses: list[Loss] = []
    with open_database(name, folder) as connection:
        try:
            present = tables(connection)
            if "ZWAMESSAGE" in present:
                people = _People(connection, name, folder, losses)
                yield from people.conversations()
                yield from _messages(connection, people, losses)
                calls = _beside(name, _CHATS, _CALLS, folder)
            elif "ZWACDCALLEVENT" in present:
                people, calls = _People(None, name, folder, losses), None
                yield from _calls(connection, people, losses)
            else:
                raise UnreadableSource(f"The file {name!r} is no WhatsApp database.")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise UnreadableSource(f"The database {name!r} cannot be read ({error}).") from error
    if calls is not None:
        try:
            with open_database(calls, folder) as connection:
                yield from _calls(connection, people, losses)
        except (UnreadableSource, sqlite3.Error, UnicodeDecodeError) as error:
            losses.append(Loss(what=f"The calls in {calls!r} cannot be read ({error})."))
    yield from losses


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    for within in (f"Message/{attachment.place}", attachment.place):
        if attachment.place and (found := _in_backup(name, _CHATS, within, folder)) is not None:
            return fitting(folder, found, attachment)
    return find_file(folder, name, attachment.place, attachment)


def _beside(name: str, own: str, other: str, folder: Folder) -> str | None:
    """Return the name of the other file of the same phone: in the same folder, or in the same backup."""
    here = name.rpartition("/")[0]
    beside = f"{here}/{other}" if here else other
    return beside if _exists(beside, folder) else _in_backup(name, own, other, folder)


def _in_backup(name: str, own: str, path: str, folder: Folder) -> str | None:
    """Return what a phone backup calls a path of the domain that a file, known by its path there, is of."""
    here, _, last = name.rpartition("/")
    for domain in _DOMAINS:
        if last.lower() != file_id(domain, own):
            continue
        wanted = file_id(domain, path)
        up, _, prefix = here.rpartition("/")
        places = [f"{here}/{wanted}" if here else wanted]
        if prefix == last[:2]:
            places.append(f"{up}/{wanted[:2]}/{wanted}" if up else f"{wanted[:2]}/{wanted}")
        return next((place for place in places if _exists(place, folder)), None)
    return None


def file_id(domain: str, path: str) -> str:
    """Return the name of a file in a phone backup."""
    return hashlib.sha1(f"{domain}-{path}".encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _exists(name: str, folder: Folder) -> bool:
    try:
        return folder.size(name) >= 0
    except OSError:
        return False


def time_of(value: object) -> int:
    """Return the milliseconds since 1970 of a column; 0 where it holds no time."""
    if not isinstance(value, int | float) or not abs(value) < 1 << 40:
        return 0
    return round((value + _EPOCH) * 1000)


class _People:
    """The addresses, names and chats of one phone."""

    def __init__(self, connection: sqlite3.Connection | None, name: str, folder: Folder, losses: list[Loss]) -> None:
        self.losses = losses
        self.owner = ""
        self.chats: dict[Any, str] = {}
        self.members: dict[Any, str] = {}
        self._told: set[str] = set()
        self._names: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        """Of an address that hides a number, the one that tells it."""
        if (contacts := _beside(name, _CHATS if connection else _CALLS, _CONTACTS, folder)) is not None:
            try:
                with open_database(contacts, folder) as names:
                    self._read_names(names)
            except (UnreadableSource, sqlite3.Error, UnicodeDecodeError) as error:
                losses.append(Loss(what=f"The names of people in {contacts!r} cannot be read ({error})."))
        self._connection = connection
        if connection is not None:
            sql = "SELECT ZTOJID FROM ZWAMESSAGE WHERE ZISFROMME = 0 AND ZTOJID LIKE '%@s.whatsapp.net' LIMIT 1"
            try:
                found = connection.execute(sql).fetchone()
            except sqlite3.Error:  # A version without the column, or damage that reading meets again.
                found = None
            self.owner = address(found[0]) if found else ""

    def _read_names(self, connection: sqlite3.Connection) -> None:
        wanted = "ZWHATSAPPID ZFULLNAME ZGIVENNAME ZLID"
        for _, jid, full, given, lid in Table(connection, "ZWAADDRESSBOOKCONTACT", "Z_PK", wanted).rows(self.losses):
            who = address(text(jid) if "@" in text(jid) or not jid else f"{text(jid)}@s.whatsapp.net")
            if shown := text(full) or text(given):
                self._names.setdefault(who, shown)
            if lid:
                self._numbers[address(text(lid) if "@" in text(lid) else f"{text(lid)}@lid")] = who

    def address(self, jid: object) -> str:
        found = address(jid)
        return self._numbers.get(found, found)

    def person(self, who: str) -> Person:
        return Person(address=who, name=self._names.get(who, ""))

    def conversations(self) -> Iterator[Conversation]:
        """Yield the chats, each key once; from here on `chats` knows them by row."""
        assert self._connection is not None
        groups: dict[Any, set[str]] = {}
        pushed = Table(self._connection, "ZWAPROFILEPUSHNAME", "Z_PK", "ZJID ZPUSHNAME")
        for _, jid, shown in pushed.rows(self.losses):
            self._names.setdefault(self.address(text(jid)), text(shown))
        wanted = "ZCHATSESSION ZMEMBERJID ZCONTACTNAME"
        for row, session, jid, shown in Table(self._connection, "ZWAGROUPMEMBER", "Z_PK", wanted).rows(self.losses):
            self.members[row] = who = self.address(text(jid))
            groups.setdefault(session, set()).add(who)
            if shown:
                self._names.setdefault(who, text(shown))
        wanted = "ZCONTACTJID ZPARTNERNAME ZSESSIONTYPE ZARCHIVED ZHIDDEN ZREMOVED"
        for row, jid, title, session, archived, hidden, removed in Table(
            self._connection, "ZWACHATSESSION", "Z_PK", wanted
        ).rows(self.losses):
            if not (key := self.address(text(jid))):
                continue
            self.chats[row] = key
            extra: dict[str, Any] = {}
            for column, value in (("ZARCHIVED", archived), ("ZHIDDEN", hidden), ("ZREMOVED", removed)):
                keep(extra, column, value, 0)
            if chat_kind(key) == "unknown":
                keep(extra, "ZSESSIONTYPE", session)
            yield from self.conversation(key, text(title), groups.get(row, set()), extra)

    def conversation(
        self, key: str, title: str = "", who: Collection[str] = (), extra: dict[str, Any] | None = None
    ) -> Iterator[Conversation]:
        """Yield a chat, unless it has been."""
        if not key or key in self._told:
            return
        self._told.add(key)
        there = {one for one in who if one} | ({key} if chat_kind(key) == "person" else set())
        yield Conversation(
            service="whatsapp", account=self.owner, key=key, kind=chat_kind(key),
            title=title or self._names.get(key, ""), people=tuple(self.person(one) for one in sorted(there)),
            extra=extra or {},
        )  # fmt: skip


def _messages(connection: sqlite3.Connection, people: _People, losses: list[Loss]) -> Iterator[Item]:
    beside = Beside(
        [
            ("media", Table(connection, "ZWAMEDIAITEM", "ZMESSAGE", _MEDIA).rows(losses)),
            ("info", Table(connection, "ZWAMESSAGEINFO", "ZMESSAGE", "ZRECEIPTINFO").rows(losses)),
        ]
    )
    ordinals = Ordinals(lambda: _shared(connection))
    for row in Table(connection, "ZWAMESSAGE", "Z_PK", _MESSAGE).rows(losses):
        found = beside.of(row[0]) if row[0] >= beside.at else {}
        chat = people.chats.get(row[1], "")
        if not chat:
            yield from people.conversation(NOBODY)
            chat = NOBODY
        yield _message(row, chat, found, people, ordinals.of(row[1], _key(row[7])))


def _key(value: object) -> int:
    return round(value * 1000) if isinstance(value, int | float) and abs(value) < 1 << 40 else 0


def _shared(connection: sqlite3.Connection) -> Iterator[tuple[object, object]]:
    try:
        for chat, time in connection.execute(
            "SELECT ZCHATSESSION, round(ZMESSAGEDATE * 1000) FROM ZWAMESSAGE GROUP BY 1, 2 HAVING count(*) > 1"
        ):
            yield chat, number(time)
    except sqlite3.Error:  # Damaged: the numbers start at 0, and the loss is told where the rows are read.
        return


def _message(row: Row, chat: str, found: dict[str, list[Row]], people: _People, order: int) -> Message:
    _, _, member, mine, code, event, said, date, sent_by, starred, stanza, status, error = row
    from_me = mine == 1
    sender = "" if from_me else people.members.get(member, "") or _writer(people.address(sent_by), chat)
    kind: MessageKind = KINDS.get(code, "unknown")
    direction: Direction = "none" if kind == "event" else "out" if from_me else "in"
    native, body = text(stanza), text(said)
    extra: dict[str, Any] = {}
    keep(extra, "ZMESSAGEERRORSTATUS", error, 0)
    if kind == "unknown":
        extra["type"] = text(code)
    if kind == "event":
        extra["type"] = text(code)
        keep(extra, "ZGROUPEVENTTYPE", event, 0)
    elif from_me:
        keep(extra, "ZMESSAGESTATUS", status, 0)
    reply, forwarded = "", False
    attachments: tuple[Attachment, ...] = ()
    for media in found.get("media", ()):
        reply, forwarded = _metadata(media[9], extra, people)
        if kind in _FILES or media[1]:
            attachments += (_attachment(media, kind),)
            body = body or ("" if kind == "document" else text(media[2]))
        else:
            for column, at in (("ZTITLE", 2), ("ZVCARDSTRING", 3), ("ZVCARDNAME", 4), ("ZLATITUDE", 7),
                               ("ZLONGITUDE", 8), ("ZMEDIAURL", 10)):  # fmt: skip
                keep(extra, column, media[at], 0)
    if kind == "audio" and any(one.place.endswith(".opus") for one in attachments):
        kind = "voice"
    return Message(
        identity=message_identity(chat, from_me, native, sender),
        service="whatsapp", chat=chat, native=native, time_ms=time_of(date), order=order,
        author=people.owner if from_me else sender, direction=direction, kind=kind, text=body, reply_to=reply,
        forwarded=forwarded, starred=starred == 1, attachments=attachments,
        reactions=_reactions(found.get("info", []), chat, people), extra=extra,
    )  # fmt: skip


def _writer(sent_by: str, chat: str) -> str:
    """Return who wrote to a chat, if not a member says: the chat's own address is that of nobody in a group."""
    if chat_kind(chat) == "person":
        return chat
    return sent_by if sent_by != chat else ""


def _fields(data: object) -> Iterator[tuple[int, int | bytes]]:
    """Yield a protobuf message's fields, as far as they can be decoded."""
    if isinstance(data, bytes):
        try:
            yield from protobuf_fields(data)
        except Broken:
            return


def _metadata(data: object, extra: dict[str, Any], people: _People) -> tuple[str, bool]:
    """Return the id of the message that one answers, and whether it was forwarded."""
    reply, forwarded = "", False
    for field, value in _fields(data):
        if field == 5 and isinstance(value, bytes):
            reply = text(value)
        elif field == 6 and reply:
            keep(extra, "ZMETADATA.quoted_jid", people.address(text(value)))
        elif field == 19 and reply and isinstance(value, bytes):
            keep(extra, "ZMETADATA.quoted_text", next((text(said) for at, said in _fields(value) if at == 1), ""))
        elif field == 17 and value:
            forwarded = True
    return reply, forwarded


def _reactions(rows: list[Row], chat: str, people: _People) -> tuple[Reaction, ...]:
    """Return who reacted: field 7 of the receipts holds messages of an id, an address, an emoji and a time."""
    made = []
    for row in rows:
        for outer, listed in _fields(row[1]):
            for inner, one in _fields(listed) if outer == 7 else ():
                said = dict(_fields(one)) if inner == 1 else {}
                if isinstance(emoji := said.get(3), bytes) and emoji:
                    who = said.get(2)
                    author = people.address(text(who)) if isinstance(who, bytes) else people.owner
                    made.append(Reaction(author=author, emoji=text(emoji), time_ms=number(said.get(4))))
    return tuple(sorted(made, key=lambda one: (one.author, one.time_ms, one.emoji)))


def _attachment(row: Row, kind: MessageKind) -> Attachment:
    _, path, title, mime, digest, size, seconds, wide, high, _, url, _, _ = row
    extra: dict[str, Any] = {}
    keep(extra, "ZVCARDNAME", digest)
    for column, value in (("ZMOVIEDURATION", seconds), ("ZLATITUDE", wide), ("ZLONGITUDE", high)):
        keep(extra, column, value, 0)
    place = text(path)
    if not place:
        keep(extra, "ZMEDIAURL", url)
    shown = text(title) if kind == "document" else ""
    return Attachment(
        size=number(size) or -1, mime=text(mime) if "/" in text(mime) else "",
        name=shown or place.rpartition("/")[2], place=place, extra=extra,
    )  # fmt: skip


def _calls(connection: sqlite3.Connection, people: _People, losses: list[Loss]) -> Iterator[Item]:
    events = {
        row[0]: row for row in Table(connection, "ZWAAGGREGATECALLEVENT", "Z_PK", "ZINCOMING ZVIDEO").rows(losses)
    }
    others: dict[Any, set[str]] = {}
    for call, jid in Table(connection, "ZWACDCALLEVENTPARTICIPANT", "Z1PARTICIPANTS", "ZJIDSTRING").rows(losses):
        others.setdefault(call, set()).add(people.address(text(jid)))
    wanted = "Z1CALLEVENTS ZDATE ZDURATION ZOUTCOME ZCALLIDSTRING ZGROUPJIDSTRING ZBYTESRECEIVED ZBYTESSENT"
    for row, event, date, seconds, outcome, call, group, got, sent in Table(
        connection, "ZWACDCALLEVENT", "Z_PK", wanted
    ).rows(losses):
        _, incoming, video = events.get(event, (0, None, None))
        direction: Direction = "unknown" if incoming is None else "in" if incoming == 1 else "out"
        who = sorted(one for one in others.get(row, ()) if one)
        chat = people.address(text(group)) or (who[0] if who else "")
        extra: dict[str, Any] = {}
        keep(extra, "ZOUTCOME", outcome, 0)
        keep(extra, "ZBYTESRECEIVED", got, 0)
        keep(extra, "ZBYTESSENT", sent, 0)
        yield Call(
            identity=call_identity(text(call), chat, direction, time_of(date)),
            service="whatsapp", chat=chat, native=text(call), time_ms=time_of(date), seconds=number(seconds),
            direction=direction, outcome=_OUTCOMES.get(outcome, "unknown"), video=video == 1,
            people=tuple(people.person(one) for one in who), extra=extra,
        )  # fmt: skip
