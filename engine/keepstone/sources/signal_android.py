"""Signal for Android's older backup file, opened by its passphrase: the tables of the program's own database.

Its schema has changed for ten years: messages stand in `sms` and `mms`, or all in `message`; files in `part` or
`attachment`; people are told by recipients' numbers. So each thing is asked for under all names that it has had.
People, groups, texts and calls become what the newer formats say of them: the same message is the same in all.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import BinaryIO, Final

from keepstone.containers.source import Broken
from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Direction,
    Edit,
    Extra,
    Item,
    Loss,
    Message,
    MessageKind,
    Reaction,
    State,
)
from keepstone.sources.exports import Order, kind_of_file, time_of
from keepstone.sources.json_stream import text, whole
from keepstone.sources.reading import MAX_TEXT, Folder, Options, UnreadableSource
from keepstone.sources.signal_frames import blob
from keepstone.sources.signal_people import People, rows_of
from keepstone.sources.signal_records import Found, Spool, frames, looks_like_records, old_reactions, private_database
from keepstone.sources.windows import Places, Run, Window

NAME = "signal-android"

_BASE: Final = 0x1F
_INBOX: Final = 20
_STATES: Final[Mapping[int, State]] = {
    21: "queued", 22: "queued", 23: "sent", 24: "failed", 25: "queued", 26: "queued", 27: "draft",
}  # fmt: skip
_CALLS: Final[Mapping[int, tuple[Direction, CallOutcome, bool]]] = {
    1: ("in", "answered", False), 2: ("out", "unknown", False), 3: ("in", "missed", False), 8: ("in", "missed", True),
    10: ("in", "answered", True), 11: ("out", "unknown", True), 12: ("unknown", "unknown", False),
}  # fmt: skip
_CALL_EVENTS: Final[Mapping[int, CallOutcome]] = {
    1: "answered", 3: "missed", 6: "answered", 8: "rejected", 10: "missed",
}  # fmt: skip
_NOT_ACCEPTED: Final = 2
_NOTICES: Final = 0xFF000 | 0xFF00 & ~0x1000 | 0x400000
"""Bits of a type: of groups, of keys, of a session's end."""
_SPECIAL: Final = 0xF00000000
_STORY_REACTION: Final = 0x100000000
_PUSH: Final = 0x200000
_LONG_TEXT: Final = "text/x-signal-plain"
_COLUMNS: Final = (
    ("_id",), ("thread_id",), ("date_sent", "date"), ("from_recipient_id", "recipient_id", "address"),
    ("type", "msg_box"), ("body",), ("read",), ("has_delivery_receipt", "delivery_receipt_count"),
    ("has_read_receipt", "read_receipt_count"), ("viewed", "viewed_receipt_count"), ("quote_id",), ("quote_author",),
    ("remote_deleted",), ("view_once", "reveal_duration"), ("reactions",), ("latest_revision_id",),
    ("original_message_id",), ("shared_contacts",), ("link_previews", "previews"), ("expires_in",), ("story_type",),
    ("scheduled_date",), ("message_ranges",), ("subject",), ("deleted_by",), ("quote_body",),
    ("quote_missing",),
)  # fmt: skip
"""What is asked of a message, each under the names that it has had, newest first."""
_EXTRAS: Final = ("shared_contacts", "link_previews", "expires_in", "story_type", "scheduled_date", "message_ranges")
_FILE_COLUMNS: Final = (
    ("message_id", "mid"), ("_id",), ("content_type", "ct"), ("file_name",), ("caption",), ("data_size",),
    ("data_hash_end", "data_hash"), ("voice_note",), ("video_gif",), ("quote",), ("sticker_id",), ("sticker_emoji",),
    ("width",), ("height",),
)  # fmt: skip


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file is what a passphrase has opened."""
    return looks_like_records(head)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield the chats of an account, table by table."""
    with private_database(folder.scratch) as connection:
        spool = Spool(connection)
        with folder.open(name) as file:
            spool.fill(file)
        found = spool.found
        if not found.columns:
            raise UnreadableSource(f"The file {name} is cut off or damaged before its first table.")
        try:
            yield from _Account(connection, found, name, folder).items()
        except sqlite3.Error as error:
            yield Loss(what=f"The tables of {name} are not those of any version ({error}): some were not read.")
        if found.damaged:
            yield Loss(what=f"{found.damaged} damaged frames of {name} were left out.", records=found.damaged)
        if not found.ended:
            yield Loss(what=f"The file {name} is cut off, or damaged in a way that hides what follows.")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file by its hash."""
    place = _PLACES.of(name, folder).get(attachment.sha256)
    return None if place is None else Window(folder.open(name), *place)


def _find_files(name: str, folder: Folder) -> dict[bytes, Run]:
    found: dict[bytes, Run] = {}
    with folder.open(name) as file:
        try:
            for _ in frames(file, lambda row, digest, at, size: found.setdefault(digest, (at, size)) and None):
                pass
        except Broken:
            pass  # What is behind it was not read as messages either.
    return found


_PLACES: Final = Places(_find_files)


class _Account:
    def __init__(self, connection: sqlite3.Connection, found: Found, name: str, folder: Folder) -> None:
        self._connection, self._found, self._name, self._folder = connection, found, name, folder
        self._people = People(connection, found)
        self._orders: defaultdict[str, Order] = defaultdict(Order)
        self._calls: set[int] = set()
        self._told: set[str] = set()
        self._missing = 0

    def items(self) -> Iterator[Item]:
        for chat in self._people.chats.values():
            self._told.add(chat.key)
            yield chat
        yield from self._call_table()
        for table, files in (
            ("sms", ""),
            ("mms", "part"),
            ("message", "attachment" if self._has("attachment") else "part"),
        ):
            if self._has(table):
                yield from self._messages(table, files)
        yield from (one for one in self._people.recipients.values() if one.key not in self._told)
        if self._missing:
            yield Loss(what=f"{self._missing} attachments are not in the backup.")

    def _has(self, table: str) -> bool:
        return table in self._found.columns

    # Messages -------------------------------------------------------------------------------------------------

    def _messages(self, table: str, files: str) -> Iterator[Item]:
        is_mms = "" if table == "message" or not self._has("sms") else str(int(table == "mms"))
        beside = _Beside(self._files(files)) if files else _Beside(iter(()))
        reactions, mentions = _Beside(self._reactions(is_mms)), _Beside(self._mentions() if files else iter(()))
        for row in rows_of(self._connection, self._found, table, _COLUMNS, "_id"):
            number = row[0] if isinstance(row[0], int) else 0
            if row[15] is not None:
                continue  # An earlier text of another row, which tells of it.
            base = _int(row[4]) & _BASE
            if base in _CALLS:
                if number not in self._calls:
                    yield self._call_message(row, base)
                continue
            yield self._message(table, row, beside.of(number), reactions.of(number), mentions.of(number))

    def _message(
        self, table: str, row: Sequence[object], files: list[tuple[object, ...]],
        reactions: list[tuple[object, ...]], mentions: list[tuple[object, ...]],
    ) -> Message:  # fmt: skip
        (_, thread, sent, who, kind_bits, body, read, delivered, seen, played, quoted, quoted_who, deleted, once,
         old_reactions, _, original, *others, subject, deleted_by, quote, quote_missing) = row  # fmt: skip
        bits, date = _int(kind_bits), _int(sent)
        base = bits & _BASE
        chat = self._people.chat(thread)
        outgoing = base in _STATES
        author = "" if outgoing else self._people.key(who)
        edits: tuple[Edit, ...] = ()
        if original is not None:
            date, edits = self._revisions(table, _int(row[0]), date)
        kind, attachments, words = self._content(files, text(body), date)
        notice = (base != _INBOX and not outgoing) or bool(bits & _NOTICES)
        special = bits & _SPECIAL
        extra = self._extra(others, mentions)
        if quote and quote_missing:
            extra["quote"] = text(quote)  # What it answers was not there any more: nothing else has its text.
        if notice or (special and special != _STORY_REACTION):
            kind, extra["type"] = "event", bits
        elif deleted or deleted_by is not None:
            kind = "deleted"
        elif once:
            kind = "empty"
        elif "shared_contacts" in extra:
            kind = "contact"
        if not notice and not bits & _PUSH:
            extra["sms"] = True
        state: State = _STATES.get(base, "")
        if outgoing and state == "sent":
            state = "played" if played else "read" if seen else "delivered" if delivered else state
        elif not outgoing and not notice and read:
            state = "read"
        return Message(
            identity=services.signal(chat.key, author, date),
            service="signal",
            chat=chat.key,
            native=f"{author}:{date}",
            time_ms=(time_ms := time_of(date)),
            order=self._orders[chat.key].number(time_ms),
            author=author,
            direction="none" if kind == "event" else "out" if outgoing else "in",
            kind=kind,
            text=words,
            subject=text(subject),
            reply_to=f"{self._people.key(quoted_who)}:{_int(quoted)}" if quoted else "",
            state=state,
            attachments=attachments,
            reactions=self._given(reactions, old_reactions) if reactions or old_reactions else (),
            edits=edits,
            extra=extra,
        )

    def _extra(self, others: Sequence[object], mentions: list[tuple[object, ...]]) -> Extra:
        extra: Extra = {}
        for name, value in zip(_EXTRAS, others, strict=False):
            if value not in (None, 0, -1, "", "[]", b""):
                extra[name] = value.hex() if isinstance(value, bytes) else text(value)
        if mentions:
            said = (f"{self._people.key(who)} {_int(start)} {_int(length)}" for _, who, start, length in mentions)
            extra["mentions"] = "\n".join(said)
        return extra

    def _revisions(self, table: str, number: int, date: int) -> tuple[int, tuple[Edit, ...]]:
        """Return when a message was first sent, and its earlier texts."""
        if not {"latest_revision_id", "date_sent", "body"} <= set(self._found.columns[table]):
            return date, ()
        query = f'SELECT date_sent, body FROM "{table}" WHERE latest_revision_id = ? ORDER BY date_sent, _id LIMIT 1000'
        found = self._connection.execute(query, (number,)).fetchall()
        if not found:
            return date, ()
        until = [*(_int(row[0]) for row in found[1:]), date]
        edits = [Edit(text=text(row[1]), time_ms=time_of(end)) for row, end in zip(found, until, strict=True)]
        return _int(found[0][0]), tuple(edits)

    # Files and reactions --------------------------------------------------------------------------------------

    def _files(self, table: str) -> Iterator[tuple[object, ...]]:
        """Yield the files of messages in their order, each with the hash and length of its content."""
        if not self._has(table):
            return
        for row in rows_of(self._connection, self._found, table, _FILE_COLUMNS, "message_id, _id"):
            found = self._connection.execute(
                "SELECT sha256, size FROM keepstone_files WHERE row=?", (row[1],)
            ).fetchone()
            yield (*row, *(found or (b"", -1)))

    def _content(
        self, files: list[tuple[object, ...]], body: str, date: int
    ) -> tuple[MessageKind, tuple[Attachment, ...], str]:
        attachments: list[Attachment] = []
        kind: MessageKind = "text" if body else "empty"
        for index, file in enumerate(files):
            (_, _, mime, name, caption, size, said_hash, voice, gif, quote, sticker, emoji, width, height, digest,
             length) = file  # fmt: skip
            if quote:
                continue  # A small picture of what is answered.
            if mime == _LONG_TEXT:
                body = self._long_text(digest, body)
                continue
            known = digest if isinstance(digest, bytes) else b""
            self._missing += not known
            if not attachments:
                form = kind_of_file(text(mime), text(name))
                is_sticker = sticker is not None and sticker != -1
                kind = "sticker" if is_sticker else "voice" if voice else "animation" if gif else form
            extra: Extra = {"width": width, "height": height} if width and height else {}  # type: ignore[dict-item]  # numbers
            if emoji:
                extra["sticker.emoji"] = text(emoji)
            attachments.append(Attachment(
                sha256=known or _hash(said_hash), size=_int(length) if known else _int(size) or -1,
                mime=text(mime), name=text(name), caption=text(caption), place=f"{date}/{index}", extra=extra,
            ))  # fmt: skip
        return kind, tuple(attachments), body

    def _long_text(self, digest: object, body: str) -> str:
        """Return a text that is too long for its column, and goes on in a file."""
        place = _PLACES.of(self._name, self._folder).get(digest) if isinstance(digest, bytes) else None
        if place is None:
            self._missing += 1
            return body
        with Window(self._folder.open(self._name), *place) as file:
            longer = file.read(MAX_TEXT).decode("utf-8", "replace")
        return longer if longer.startswith(body.rstrip("\ufffd")) else body

    def _reactions(self, is_mms: str) -> Iterator[tuple[object, ...]]:
        columns = self._found.columns.get("reaction", ())
        if not columns:
            return
        where = f" WHERE is_mms = {is_mms}" if is_mms and "is_mms" in columns else ""
        wanted = (("message_id",), ("author_id",), ("emoji",), ("date_sent",))
        yield from rows_of(self._connection, self._found, "reaction", wanted, "message_id, _id", where)

    def _mentions(self) -> Iterator[tuple[object, ...]]:
        if self._has("mention"):
            wanted = (("message_id",), ("recipient_id",), ("range_start",), ("range_length",))
            yield from rows_of(self._connection, self._found, "mention", wanted, "message_id, range_start")

    def _given(self, rows: list[tuple[object, ...]], old: object) -> tuple[Reaction, ...]:
        told = [(who, emoji, when) for _, who, emoji, when in rows]
        if isinstance(old, bytes):
            told += old_reactions(old)
        found = [Reaction(author=self._people.key(w), emoji=text(e), time_ms=time_of(_int(t))) for w, e, t in told]
        return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))

    # Calls ----------------------------------------------------------------------------------------------------

    def _call_table(self) -> Iterator[Call]:
        if not self._has("call"):
            return
        wanted = (("call_id",), ("message_id",), ("peer",), ("type",), ("direction",), ("event",), ("timestamp",))
        for number, message, peer, kind, way, event, when in rows_of(
            self._connection, self._found, "call", wanted, "timestamp, _id"
        ):
            if isinstance(message, int):
                self._calls.add(message)
            chat = self._people.recipient(peer)
            direction: Direction = "out" if way == 1 else "in" if way == 0 else "unknown"
            outcome = _CALL_EVENTS.get(_int(event), "unknown")
            if event == _NOT_ACCEPTED:
                outcome = "cancelled" if direction == "out" else "rejected"
            native = str(_int(number) & (1 << 64) - 1) if number else ""
            yield Call(
                identity=services.call("signal", chat.key, native or str(_int(when))), service="signal", chat=chat.key,
                native=native, time_ms=time_of(_int(when)), direction=direction, outcome=outcome, video=kind == 1,
                people=chat.people if chat.kind == "person" else (), extra={"event": _int(event)},
            )  # fmt: skip

    def _call_message(self, row: Sequence[object], base: int) -> Call:
        """Return a call that only a message tells of: the program did not keep more in earlier years."""
        chat, date = self._people.chat(row[1]), _int(row[2])
        direction, outcome, video = _CALLS[base]
        return Call(
            identity=services.call("signal", chat.key, str(date)), service="signal", chat=chat.key, native="",
            time_ms=time_of(date), direction=direction, outcome=outcome, video=video,
            people=chat.people if chat.kind == "person" else (), extra={"type": _int(row[4])},
        )  # fmt: skip


class _Beside:
    """The rows of a table that belong to each message, asked for in the order of the messages' numbers."""

    def __init__(self, found: Iterator[tuple[object, ...]]) -> None:
        self._groups = groupby(found, lambda row: _int(row[0]))
        self._number, self._rows = -1, list[tuple[object, ...]]()

    def of(self, number: int) -> list[tuple[object, ...]]:
        while self._number < number:
            following = next(self._groups, None)
            if following is None:
                self._number, self._rows = 1 << 62, []
            else:
                self._number, self._rows = following[0], list(following[1])
        return self._rows if self._number == number else []


def _hash(value: object) -> bytes:
    """Return a SHA-256 that the database tells in base64; nothing if it is none."""
    found = blob(value)
    return found if len(found) == 32 else b""


def _int(value: object) -> int:
    return value if isinstance(value, int) else whole(value) or 0
