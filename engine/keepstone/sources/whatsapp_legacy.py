"""WhatsApp for Android until about 2021: the table `messages`, in which a message is one wide row.

The path of a media file stands in a serialised Java object; it is the one text there that begins with `Media/`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from keepstone.messages.model import Attachment, Direction, Item, Loss, Message, MessageKind, State
from keepstone.sources.reading import columns
from keepstone.sources.whatsapp import (
    KINDS,
    NOBODY,
    STATES,
    Ordinals,
    Row,
    Table,
    address,
    chat_kind,
    file_hash,
    keep,
    message_identity,
    number,
    text,
)
from keepstone.sources.whatsapp_people import People

_WANTED = (
    "key_remote_jid key_from_me key_id status data timestamp media_url media_mime_type media_wa_type media_size"
    " media_name media_caption media_hash media_duration latitude longitude thumb_image remote_resource starred"
    " quoted_row_id mentioned_jids edit_version forwarded origin"
)
_EVENT = 6
_REVOKED = 7
_PATH = b"Media/"
_MEDIA = frozenset((1, 2, 3, 9, 13, 20, 23, 25, 26, 28, 42, 43))


def messages(connection: sqlite3.Connection, people: People, losses: list[Loss], beside_new: bool) -> Iterator[Item]:
    """Yield the messages of the old table that the new one, if there is one, does not have."""
    own = "key_id != '-1'"
    if beside_new and "_id" in columns(connection, "message"):
        own += " AND NOT EXISTS (SELECT 1 FROM message WHERE message._id = messages._id AND message.key_id != '-1')"
    table = Table(connection, "messages", "_id", _WANTED, own)
    ordinals = Ordinals(lambda: _shared(connection))
    quotes = _Quotes(connection)
    for row in table.rows(losses):
        chat = address(text(row[1]))
        yield from people.conversation(chat) if chat else people.lost_chat()
        yield _message(row, chat or NOBODY, people, quotes, ordinals.of(row[1], number(row[6])))


def _shared(connection: sqlite3.Connection) -> Iterator[tuple[object, object]]:
    try:
        yield from connection.execute(
            "SELECT key_remote_jid, timestamp FROM messages GROUP BY key_remote_jid, timestamp HAVING count(*) > 1"
        )
    except sqlite3.Error:
        return


class _Quotes:
    """Looks up the few messages that others answer; `quoted_row_id` is a row of `messages_quotes`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known = {"_id", "key_id", "data"} <= columns(connection, "messages_quotes")

    def of(self, row: object) -> tuple[str, str]:
        if not self._known or not number(row):
            return "", ""
        try:
            sql = "SELECT key_id, data FROM messages_quotes WHERE _id = ?"
            found = self._connection.execute(sql, (row,)).fetchone()
        except sqlite3.Error:
            return "", ""
        return (text(found[0]), text(found[1])) if found else ("", "")


def _message(row: Row, chat: str, people: People, quotes: _Quotes, order: int) -> Message:
    (_, _, mine, key, status, data, time, url, mime, code, size, name, caption, digest, seconds, latitude, longitude,
     thumb, resource, starred, quoted, mentioned, edited, forwarded, origin) = row  # fmt: skip
    from_me = mine == 1
    kind: MessageKind = KINDS.get(number(code), "unknown")
    if status == _EVENT:
        kind = "event"
    elif edited == _REVOKED:
        kind = "deleted"
    elif kind == "audio" and origin == 1:
        kind = "voice"
    sender = "" if from_me else address(text(resource)) or (chat if chat_kind(chat) == "person" else "")
    direction: Direction = "none" if kind == "event" else "out" if from_me else "in"
    state: State = STATES.get(status, "") if direction == "out" else ""
    extra: dict[str, Any] = {}
    if kind == "unknown":
        extra["type"] = text(code)
    if not state:
        keep(extra, "status", status, 0, _EVENT)
    for column, value in (("latitude", latitude), ("longitude", longitude)):
        keep(extra, column, value, 0)
    keep(extra, "mentioned_jids", mentioned)
    if kind == "event":
        keep(extra, "action_type", size, 0)
    reply, said = quotes.of(quoted)
    keep(extra, "messages_quotes.data", said)
    if kind == "contact":
        keep(extra, "message_vcard.vcard", text(data))
    attachments: tuple[Attachment, ...] = ()
    if kind != "event" and (number(code) in _MEDIA or mime):
        attachments = (_attachment(url, mime, size, name, digest, seconds, thumb),)
    body = text(name) if kind == "contact" else text(data) or text(caption)
    return Message(
        identity=message_identity(chat, from_me, text(key), sender),
        service="whatsapp", chat=chat, native=text(key), time_ms=number(time), order=order,
        author=people.owner if from_me else sender, direction=direction, kind=kind, text=body, reply_to=reply,
        forwarded=bool(number(forwarded)), starred=starred == 1, state=state, attachments=attachments, extra=extra,
    )  # fmt: skip


def _attachment(
    url: object, mime: object, size: object, name: object, digest: object, seconds: object, thumb: object
) -> Attachment:
    place = _path(thumb)
    extra: dict[str, Any] = {}
    keep(extra, "media_duration", seconds, 0)
    if not place:
        keep(extra, "media_url", url)
    return Attachment(
        sha256=file_hash(digest), size=number(size) or -1, mime=text(mime),
        name=text(name) or place.rpartition("/")[2], place=place, extra=extra,
    )  # fmt: skip


def _path(thumb: object) -> str:
    """Return the path in a serialised Java object: two bytes of length stand before it."""
    data = thumb if isinstance(thumb, bytes) else b""
    at = data.find(_PATH)
    if at < 2:
        return ""
    return data[at : at + int.from_bytes(data[at - 2 : at], "big")].decode("utf-8", "replace")
