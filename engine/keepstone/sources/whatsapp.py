"""What all readers of WhatsApp share: identities, addresses, the meaning of numbers, and where a media file lies.

A message's id travels with it, so Android's `key_id` and iOS's `ZSTANZAID` are one id; with the chat, the direction
and, where several people can write, the sender it names one message. Addresses lose what tells a device of an account.
A table's rows are read in the order of one key, so that tables about messages can be merged with the messages; damage
costs the rows of the damaged pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO
from weakref import WeakKeyDictionary

from blake3 import blake3

from keepstone.messages.identity import LENGTH, identity
from keepstone.messages.model import Attachment, ConversationKind, Direction, Loss, MessageKind, State
from keepstone.sources.reading import MAX_TEXT, Folder, columns

NOBODY = "~"
"""The chat of messages whose own chat the source has lost."""
_ADDRESSES = 4096
_SCHEMA = 4 * 1024 * 1024
FIRST = -(1 << 63)
LAST = (1 << 63) - 1

_DEVICE = re.compile(r"^([^@:]*?)(?:\.\d+)?(?::\d+)?@(.+)$")
_PERSONS = frozenset(("s.whatsapp.net", "c.us", "lid", "hosted", "hosted.lid"))
_KINDS: dict[str, ConversationKind] = {"g.us": "group", "broadcast": "broadcast", "newsletter": "channel"}

Row = tuple[Any, ...]

KINDS: dict[int, MessageKind] = {
    0: "text", 1: "image", 2: "audio", 3: "video", 4: "contact", 5: "location", 7: "event", 8: "call", 9: "document",
    10: "call", 11: "empty", 13: "animation", 14: "contact", 15: "deleted", 16: "location", 20: "sticker", 42: "image",
    43: "video", 64: "deleted", 66: "poll",
}  # fmt: skip
STATES: dict[int, State] = {0: "queued", 4: "sent", 5: "delivered", 8: "played", 13: "read"}


@lru_cache(_ADDRESSES)
def address(jid: object) -> str:
    """Return the address of an account: without its devices, and on the server of today."""
    if not isinstance(jid, str) or "@" not in jid:
        return jid if isinstance(jid, str) else ""
    found = _DEVICE.match(jid)
    if found is None or found[2] not in _PERSONS:
        return jid
    return f"{found[1]}@{'s.whatsapp.net' if found[2] == 'c.us' else found[2]}"


@lru_cache(_ADDRESSES)
def chat_kind(chat: str) -> ConversationKind:
    server = chat.rpartition("@")[2] if "@" in chat else ""
    return _KINDS.get(server, "person" if server in _PERSONS else "unknown")


def message_identity(chat: str, from_me: bool, key: str, sender: str) -> bytes:
    """Return a message's identity; the sender counts for what others sent to a chat of several.

    It is `identity("whatsapp", chat, int(from_me), key, sender)`, made at once of parts that are the same for many.
    """
    alone = from_me or chat_kind(chat) == "person"
    data = key.encode("utf-8", "surrogatepass")
    whole = _beginning(chat, from_me) + b"s" + len(data).to_bytes(8, "little") + data + _part("" if alone else sender)
    return blake3(whole).digest(LENGTH)


@lru_cache(_ADDRESSES)
def _beginning(chat: str, from_me: bool) -> bytes:
    return b"keepstone 1 identity whatsapp" + _part(chat) + b"i" + (1).to_bytes(8, "little") + b"%d" % from_me


@lru_cache(_ADDRESSES)
def _part(said: str) -> bytes:
    data = said.encode("utf-8", "surrogatepass")
    return b"s" + len(data).to_bytes(8, "little") + data


def call_identity(call: str, other: str, direction: Direction, time_ms: int) -> bytes:
    """Return a call's identity: its own id, or who, which way and when, to the second."""
    if call:
        return identity("whatsapp call", call.removeprefix("call:").upper())
    return identity("whatsapp call without id", other, direction, time_ms // 1000)


def text(value: object) -> str:
    """Return what a column holds as text; nothing for nothing."""
    if type(value) is str:
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT]
    if isinstance(value, bytes):
        return value[:MAX_TEXT].decode("utf-8", "replace")
    return "" if value is None else str(value)


def number(value: object, default: int = 0) -> int:
    """Return what a column holds as a whole number."""
    if type(value) is int:
        return value
    try:
        return int(value) if isinstance(value, str | float) and math.isfinite(float(value)) else default
    except (ValueError, OverflowError):
        return default


def keep(extra: dict[str, Any], name: str, value: object, *defaults: object) -> None:
    """Add a raw column to what is kept, unless it says nothing."""
    if value is None or value == "" or value in defaults:
        return
    extra[name] = value.hex() if isinstance(value, bytes) else value


def file_hash(value: object) -> bytes:
    """Return the SHA-256 that a column holds in base64; nothing if it is none."""
    try:
        found = base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return found if len(found) == 32 else b""


def schema_names(name: str, folder: Folder, *words: bytes) -> bool:
    """Return whether the beginning of a database, or of its log, has all the words: where its schema mostly stands."""
    for part in (name, name + "-wal"):
        try:
            with folder.open(part) as file:
                head = file.read(_SCHEMA)
        except OSError:
            continue
        if all(word in head for word in words):
            return True
    return False


class Table:
    """Rows of one table, in the order of a key of whole numbers; absent columns are None, an absent table is empty."""

    def __init__(self, connection: sqlite3.Connection, name: str, key: str, wanted: str, where: str = "1") -> None:
        self.connection, self.name, self.key = connection, name, key
        try:
            present = columns(connection, name)
        except UnicodeDecodeError:  # A damaged schema: no such column can be asked for.
            present = frozenset()
        self.exists = key in present
        fields = ", ".join(f'"{column}"' if column in present else "NULL" for column in wanted.split())
        self._sql = (
            f'SELECT "{key}", {fields} FROM "{name}" WHERE "{key}" > ? AND "{key}" <= {LAST}'
            f' AND typeof("{key}") = \'integer\' AND {where} ORDER BY "{key}"'
        )

    def rows(self, losses: list[Loss]) -> Iterator[Row]:
        """Yield the rows; behind a damaged place, go on at the next key from which SQLite can read."""
        if not self.exists:
            return
        last = FIRST
        while True:
            try:
                for row in self.connection.execute(self._sql, (last,)):
                    last = row[0]
                    yield row
                return
            except sqlite3.Error as error:
                losses.append(Loss(what=f"The table {self.name} is damaged behind row {max(last, 0)} ({error})."))
                resumed = self._behind(max(last, 0))
                if resumed is None:
                    return
                last = resumed

    def _behind(self, bad: int) -> int | None:
        """Return the first key, about, behind which rows can be read."""
        step = 1
        while not self._readable(bad + step):
            step *= 2
            if bad + step >= 1 << 48:
                return None
        low, high = bad + step // 2, bad + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._readable(middle) else (middle, high)
        return high

    def _readable(self, last: int) -> bool:
        """Return whether there is a readable row behind a key."""
        try:
            return self.connection.execute(self._sql + " LIMIT 1", (last,)).fetchone() is not None
        except sqlite3.Error:
            return False


class Beside:
    """Tables about messages, merged: `at` is the next message that any of them speaks of."""

    def __init__(self, tables: Sequence[tuple[str, Iterator[Row]]]) -> None:
        self._heads: list[tuple[str, Iterator[Row], Row]] = []
        for name, rows in tables:
            if (first := next(rows, None)) is not None:
                self._heads.append((name, rows, first))
        self.at = min((head[2][0] for head in self._heads), default=LAST + 1)

    def of(self, message: int) -> dict[str, list[Row]]:
        """Return what the tables say of a message; what they say of earlier ones, which do not exist, is skipped."""
        found: dict[str, list[Row]] = {}
        heads = []
        for name, rows, following in self._heads:
            head: Row | None = following
            while head is not None and head[0] <= message:
                if head[0] == message:
                    found.setdefault(name, []).append(head)
                head = next(rows, None)
            if head is not None:
                heads.append((name, rows, head))
        self._heads = heads
        self.at = min((head[2][0] for head in heads), default=LAST + 1)
        return found


class Ordinals:
    """Numbers the messages of one chat and one time, in the order they come in."""

    def __init__(self, shared: Callable[[], Iterator[tuple[object, object]]]) -> None:
        """Take the pairs of chat and time that several messages have: memory is for these alone."""
        self._next = dict.fromkeys(((chat, number(time)) for chat, time in shared()), 0)

    def of(self, chat: object, time: int) -> int:
        count = self._next.get((chat, time))
        if count is None:
            return 0
        self._next[chat, time] = count + 1
        return count


_FILES: WeakKeyDictionary[Folder, dict[str, list[str]]] = WeakKeyDictionary()
"""Of folders in use, the names by their last part: looking through them for every attachment takes too long."""


def _named(folder: Folder, last: str) -> list[str]:
    try:
        known = _FILES.get(folder)
    except TypeError:  # It cannot be told from others.
        return [name for name in folder.names() if name.rpartition("/")[2] == last]
    if known is None:
        known = {}
        for name in folder.names():
            known.setdefault(name.rpartition("/")[2], []).append(name)
        _FILES[folder] = known
    return known.get(last, [])


def find_file(folder: Folder, near: str, place: str, attachment: Attachment) -> BinaryIO | None:
    """Return an attachment's file: at its place below a folder at or above `near`, else of the same name elsewhere."""
    parts = near.split("/")[:-1]
    above = ["".join(part + "/" for part in parts[:depth]) for depth in range(len(parts), -1, -1)]
    between = ("", "WhatsApp/", "Android/media/com.whatsapp/WhatsApp/", "Message/")
    last = place.rpartition("/")[2]
    others = _named(folder, last) if last else []
    straight = [up + middle + place for up in above for middle in between] if others else []
    there = frozenset(others)
    for name in dict.fromkeys([*(one for one in straight if one in there), *others]):
        if (file := fitting(folder, name, attachment)) is not None:
            return file
    return None


def fitting(folder: Folder, name: str, attachment: Attachment) -> BinaryIO | None:
    """Return a file, at its start, if it is what the attachment says."""
    try:
        if not attachment.sha256 and attachment.size >= 0 and folder.size(name) != attachment.size:
            return None
        file = folder.open(name)
    except OSError:
        return None
    if attachment.sha256:
        try:
            whole = _sha256(file)
            file.seek(0)
        except OSError:
            whole = b""
        if whole != attachment.sha256:
            file.close()
            return None
    return file


def _sha256(file: BinaryIO) -> bytes:
    hasher = hashlib.sha256()
    while block := file.read(1024 * 1024):
        hasher.update(block)
    return hasher.digest()
