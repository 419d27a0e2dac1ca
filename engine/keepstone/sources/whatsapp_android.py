"""WhatsApp for Android: `msgstore.db`, with the names of `wa.db` and the media folder beside it.

Two generations of tables: `messages`, one wide table (see `whatsapp_legacy`), and since about 2021 `message` with a
table for everything that only some messages have. A database may hold both; what both hold is read from the newer.
Columns come and go between versions, so they are probed. The tables are read in the order of the messages' row numbers
and merged on the way: one pass, and memory for people and chats only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, BinaryIO

from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Direction,
    Item,
    Loss,
    Message,
    MessageKind,
    Reaction,
    State,
)
from keepstone.sources import whatsapp_legacy
from keepstone.sources.reading import Folder, Options, UnreadableSource, columns, open_database, tables
from keepstone.sources.sqlite import is_sqlite
from keepstone.sources.whatsapp import (
    KINDS,
    NOBODY,
    STATES,
    Beside,
    Ordinals,
    Row,
    Table,
    call_identity,
    chat_kind,
    file_hash,
    find_file,
    keep,
    message_identity,
    number,
    schema_names,
    text,
)
from keepstone.sources.whatsapp_people import People

NAME = "whatsapp-android"

_ONCE = frozenset((42, 43))
_FORWARDED = 1
_REACTION = 56

_MESSAGE = (
    "chat_row_id from_me key_id sender_jid_row_id status timestamp message_type text_data starred origination_flags"
    " broadcast origin recipient_count received_timestamp"
)
_MEDIA = (
    "file_path file_size file_length mime_type media_name media_caption file_hash media_duration page_count width"
    " height original_file_hash raw_transcription_text message_url"
)
_BESIDE = {
    "message_media": _MEDIA,
    "message_quoted": "key_id from_me sender_jid_row_id text_data message_type",
    "message_location": "latitude longitude place_name place_address url live_location_share_duration"
    " live_location_final_latitude live_location_final_longitude live_location_final_timestamp",
    "message_vcard": "vcard",
    "message_mentions": "jid_row_id",
    "message_forwarded": "forward_score",
    "message_revoked": "revoked_key_id admin_jid_row_id revoke_timestamp",
    "message_edit_info": "original_key_id edited_timestamp sender_timestamp",
    "message_poll": "selectable_options_count",
    "message_poll_option": "option_name vote_total",
    "message_text": "description page_title url",
    "message_system": "action_type",
    "message_system_group": "is_me_joined",
    "message_system_value_change": "old_data",
    "message_system_number_change": "old_jid_row_id new_jid_row_id",
    "message_system_chat_participant": "user_jid_row_id",
    "message_system_block_contact": "is_blocked",
    "message_ephemeral": "duration expire_timestamp",
    "message_view_once_media": "state",
    "message_group_invite": "group_jid_row_id admin_jid_row_id group_name invite_code expiration",
    "message_template": "content_text_data footer_text_data",
    "message_product": "title description currency_code amount_1000 url",
    "message_order": "order_title item_count message currency_code total_amount_1000",
    "message_payment": "amount_with_symbol",
}
_TOLD = frozenset(("message_media", "message_quoted", "message_revoked", "message_edit_info", "reactions"))
"""Tables that have fields of their own; the others go to `extra`, column by column."""


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    if not is_sqlite(head):
        return False
    if schema_names(name, folder, b"key_remote_jid", b"key_id") or schema_names(
        name, folder, b"chat_row_id", b"key_id"
    ):
        return True
    if not name.rpartition("/")[2].startswith("msgstore"):
        return False  # Looking further takes a copy of a database that is somebody else's.
    try:
        with open_database(name, folder) as connection:
            modern = {"chat_row_id", "key_id"} <= columns(connection, "message")
            return modern or {"key_remote_jid", "key_id"} <= columns(connection, "messages")
    except (UnreadableSource, sqlite3.Error, UnicodeDecodeError):
        return False


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with open_database(name, folder) as connection:
        try:
            present = tables(connection)
            if not present & {"message", "messages"}:
                raise UnreadableSource(f"The file {name!r} is no WhatsApp database.")
            losses: list[Loss] = []
            people = People(connection, name, folder, losses)
            yield from people.conversations()
            yield from _messages(connection, people, losses)
            if "messages" in present:
                yield from whatsapp_legacy.messages(connection, people, losses, "message" in present)
            yield from _calls(connection, people, losses)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise UnreadableSource(f"The database {name!r} cannot be read ({error}).") from error
        yield from losses


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    return find_file(folder, name, attachment.place or attachment.name, attachment)


def _messages(connection: sqlite3.Connection, people: People, losses: list[Loss]) -> Iterator[Item]:
    table = Table(connection, "message", "_id", _MESSAGE, "key_id != '-1'")
    if not table.exists:
        return
    beside = Beside(
        [(name, Table(connection, name, "message_row_id", wanted).rows(losses)) for name, wanted in _BESIDE.items()]
        + [("reactions", _reactions(connection, losses))]
    )
    ordinals = Ordinals(lambda: _shared(connection))
    for row in table.rows(losses):
        found = beside.of(row[0]) if row[0] >= beside.at else {}
        chat = people.chats.get(row[1], "")
        if not chat:
            yield from people.lost_chat()
            chat = NOBODY
        yield _message(row, chat, found, people, ordinals.of(row[1], number(row[6])))


def _shared(connection: sqlite3.Connection) -> Iterator[tuple[object, object]]:
    try:
        yield from connection.execute(
            "SELECT chat_row_id, timestamp FROM message GROUP BY chat_row_id, timestamp HAVING count(*) > 1"
        )
    except sqlite3.Error:  # Damaged: the numbers start at 0, and the loss is told where the rows are read.
        return


def _reactions(connection: sqlite3.Connection, losses: list[Loss]) -> Iterator[Row]:
    """Yield reactions in the order of the messages they are for."""
    if not {"parent_message_row_id", "from_me", "sender_jid_row_id"} <= columns(connection, "message_add_on"):
        return
    if "reaction" not in columns(connection, "message_add_on_reaction"):
        return
    try:
        yield from connection.execute(
            "SELECT parent_message_row_id, from_me, sender_jid_row_id, reaction,"
            " coalesce(r.sender_timestamp, a.timestamp) FROM message_add_on AS a"
            " CROSS JOIN message_add_on_reaction AS r ON r.message_add_on_row_id = a._id"
            " WHERE typeof(parent_message_row_id) = 'integer' ORDER BY parent_message_row_id"
        )
    except sqlite3.Error as error:
        losses.append(Loss(what=f"The reactions are damaged ({error})."))


def _message(row: Row, chat: str, found: dict[str, list[Row]], people: People, order: int) -> Message:
    _, _, mine, key, sender_row, status, time, code, said, starred, flags, broadcast, origin, _, _ = row
    from_me = mine == 1
    sender = "" if from_me else people.jids.get(sender_row, "") or (chat if chat_kind(chat) == "person" else "")
    kind: MessageKind = KINDS.get(code, "unknown")
    extra: dict[str, Any] = {}
    native = text(key)
    if kind == "unknown":
        extra["type"] = text(code)
    direction: Direction = "none" if kind == "event" else "out" if from_me else "in"
    state: State = STATES.get(status, "") if direction == "out" else ""
    if not state:
        keep(extra, "status", status, 0)
    keep(extra, "broadcast", broadcast, 0)
    body = text(said)
    if not found and not extra and kind == "text":
        return Message(
            identity=message_identity(chat, from_me, native, sender),
            service="whatsapp", chat=chat, native=native, time_ms=number(time), order=order,
            author=sender if not from_me else people.owner, direction=direction, text=body,
            forwarded=bool(number(flags) & _FORWARDED), starred=starred == 1, state=state,
        )  # fmt: skip
    native = _first_key(found, native)
    attachments = tuple(_attachment(media) for media in found.get("message_media", ()))
    if kind == "audio" and origin == 1:
        kind = "voice"
    if code in _ONCE:
        extra["type"] = text(code)
        if not any(one.place or one.sha256 for one in attachments):
            kind = "empty"
    _add_extra(extra, found, people)
    if not body and attachments:
        body = text(found["message_media"][0][6])
    if not body and "message_template" in found:
        body = text(found["message_template"][0][1])
    quoted = found.get("message_quoted", ())
    return Message(
        identity=message_identity(chat, from_me, native, sender),
        service="whatsapp", chat=chat, native=native, time_ms=number(time), order=order,
        author=sender if not from_me else people.owner, direction=direction, kind=kind, text=body,
        reply_to=text(quoted[0][1]) if quoted else "",
        forwarded=bool(number(flags) & _FORWARDED) or "message_forwarded" in found, starred=starred == 1, state=state,
        attachments=attachments, reactions=_reacted(found.get("reactions", []), chat, people), extra=extra,
    )  # fmt: skip


def _first_key(found: dict[str, list[Row]], native: str) -> str:
    """Return the id that a message was sent with: deleting or editing it may give its row another."""
    for name in ("message_revoked", "message_edit_info"):
        if name in found and (first := text(found[name][0][1])):
            return first
    return native


def _add_extra(extra: dict[str, Any], found: dict[str, list[Row]], people: People) -> None:
    for name, rows in found.items():
        if name in _TOLD:
            continue
        for at, column in enumerate(_BESIDE[name].split(), 1):
            values = [_named(column, row[at], people) for row in rows]
            if column == "jid_row_id" or column == "user_jid_row_id":
                keep(extra, name, " ".join(text(value) for value in values if value))
                continue
            for count, value in enumerate(values, 1):
                keep(extra, f"{name}.{column}" + (f" {count}" if len(rows) > 1 else ""), value)
    for row in found.get("message_revoked", ()):
        keep(extra, "message_revoked.admin_jid", people.jids.get(row[2]))
        keep(extra, "message_revoked.revoke_timestamp", row[3], 0)
    for row in found.get("message_edit_info", ()):
        keep(extra, "message_edit_info.edited_timestamp", row[2], 0)
    for row in found.get("message_quoted", ()):
        keep(extra, "message_quoted.text_data", text(row[4]))
        keep(extra, "message_quoted.sender_jid", people.jids.get(row[3]))


def _named(column: str, value: object, people: People) -> object:
    return people.jids.get(value, "") if column.endswith("jid_row_id") else value


def _reacted(rows: list[Row], chat: str, people: People) -> tuple[Reaction, ...]:
    made = []
    for _, mine, sender_row, emoji, time in rows:
        if emoji:  # Taken back, it stays as nothing.
            author = people.owner if mine == 1 else people.jids.get(sender_row, "") or chat
            made.append(Reaction(author=author, emoji=text(emoji), time_ms=number(time)))
    return tuple(sorted(made, key=lambda one: (one.author, one.time_ms, one.emoji)))


def _attachment(row: Row) -> Attachment:
    _, path, size, length, mime, name, _, digest, seconds, pages, wide, high, original, transcript, url = row
    extra: dict[str, Any] = {}
    for column, value in (("media_duration", seconds), ("page_count", pages), ("width", wide), ("height", high)):
        keep(extra, column, value, 0)
    keep(extra, "original_file_hash", original)
    keep(extra, "raw_transcription_text", transcript)
    place = text(path)
    if not place:
        keep(extra, "message_url", url)
    known = number(size, -1)
    return Attachment(
        sha256=file_hash(digest), size=known if known > 0 else number(length, -1) or -1, mime=text(mime),
        name=text(name) or place.rpartition("/")[2], place=place, extra=extra,
    )  # fmt: skip


def _calls(connection: sqlite3.Connection, people: People, losses: list[Loss]) -> Iterator[Item]:
    wanted = "jid_row_id from_me call_id timestamp video_call duration call_result group_jid_row_id bytes_transferred"
    others = next((one for one in ("call_log_participant_v2", "call_log_participant") if columns(connection, one)), "")
    beside = Beside([("people", Table(connection, others, "call_log_row_id", "jid_row_id call_result").rows(losses))])
    for row in Table(connection, "call_log", "_id", wanted).rows(losses):
        found = beside.of(row[0]).get("people", ()) if row[0] >= beside.at else ()
        _, jid_row, mine, call, time, video, seconds, result, group_row, sent = row
        chat = people.jids.get(group_row, "") or people.jids.get(jid_row, "")
        direction: Direction = "out" if mine == 1 else "in"
        who = {people.jids.get(jid_row, "")} | {people.jids.get(one[1], "") for one in found}
        others_there = sorted(one for one in who if one and chat_kind(one) == "person")
        extra: dict[str, Any] = {}
        keep(extra, "call_result", result, 5)
        keep(extra, "bytes_transferred", sent, 0)
        yield Call(
            identity=call_identity(text(call), chat, direction, number(time)),
            service="whatsapp", chat=chat, native=text(call), time_ms=number(time), seconds=number(seconds),
            direction=direction, outcome=_outcome(result, mine == 1), video=video == 1,
            people=tuple(people.person(one) for one in others_there), extra=extra,
        )  # fmt: skip


def _outcome(result: object, from_me: bool) -> CallOutcome:
    if result == 5:
        return "answered"
    if result in (0, 4, 7):
        return "cancelled" if from_me else "missed"
    return "missed" if result == 2 else "failed" if result == 3 else "unknown"
