"""Android's own databases of messages and calls: `mmssms.db` with its files in `app_parts`, and `calllog.db`.

Every column that there is is read, so makers' own ones are kept. Parts and addresses are walked beside their messages,
all in the order of the message's number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from typing import BinaryIO, Final

from keepstone.messages.model import Attachment, Item, Loss
from keepstone.sources import telephony_rows as rows
from keepstone.sources.reading import Folder, Options, UnreadableSource, open_database, tables
from keepstone.sources.telephony import Chats, whole
from keepstone.sources.telephony_rows import Attributes, Part, Record

NAME = "android-telephony"

_MAGIC: Final = b"SQLite format 3\0"
_BLOCK: Final = 1024 * 1024
_NAMES: Final = ("mmssms.db", "calllog.db", "calls.db", "contacts2.db", "telephony.db")


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    base = name.rpartition("/")[2].lower()
    if not head.startswith(_MAGIC):
        return False
    if base not in _NAMES and b"sms" not in head and b"CREATE TABLE calls" not in head:
        return False
    try:
        with open_database(name, folder) as connection:
            found = tables(connection)
            calls = "calls" in found and {"number", "duration"} <= _names_of(connection, "calls")
            return calls or {"sms", "pdu", "canonical_addresses"} <= found
    except (UnreadableSource, sqlite3.Error):
        return False


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with open_database(name, folder) as connection:
        try:
            found = tables(connection)
            if "sms" in found:
                chats = Chats()
                sms = rows.Sms(chats)
                for row in _rows(connection, "SELECT * FROM sms ORDER BY _id"):
                    yield from sms.items(row)
                if "pdu" in found:
                    yield from _mms(connection, chats, _Files(folder))
            if "calls" in found:
                for row in _rows(connection, "SELECT * FROM calls ORDER BY _id"):
                    row.setdefault("contact_name", row.pop("name", ""))
                    yield rows.call(row)
        except sqlite3.Error as error:
            yield Loss(what=f"The database is damaged ({error}): what is behind that place is missing.")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    return _Files(folder).open(attachment.place)


def _names_of(connection: sqlite3.Connection, table: str) -> set[str]:
    return {entry[0] for entry in connection.execute(f"SELECT * FROM {table} LIMIT 0").description}


def _has(connection: sqlite3.Connection, table: str, key: str) -> bool:
    """Return whether there is a table that tells of messages by this column: a view is none."""
    try:
        return table in tables(connection) and {key, "_id"} <= _names_of(connection, table)
    except sqlite3.Error:
        return False


def _rows(connection: sqlite3.Connection, query: str) -> Iterator[Attributes]:
    cursor = connection.execute(query)
    names = [entry[0] for entry in cursor.description]
    for row in cursor:
        yield {key: _text(value) for key, value in zip(names, row, strict=True) if value is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else value.hex() if isinstance(value, bytes) else str(value)


class _Files:
    """The files of parts, wherever below the folder `app_parts` lies."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._places = {
            name.rpartition("/")[2]: name for name in folder.names() if name.rpartition("/")[2].startswith("PART_")
        }

    def open(self, place: str) -> BinaryIO | None:
        found = self._places.get(place.rpartition("/")[2])
        return self._folder.open(found) if found is not None else None

    def fill(self, part: Part) -> bool:
        """Hash the file of a part; return whether it is there, if there should be one."""
        path = part.attributes.get("_data", "")
        if not path:
            return True
        part.binary, part.place = True, "app_parts/" + path.rpartition("/")[2]
        file = self.open(part.place)
        if file is None:
            return False
        hasher, part.size = sha256(), 0
        with file:
            while block := file.read(_BLOCK):
                hasher.update(block)
                part.size += len(block)
        part.sha256 = hasher.digest()
        return True


class _Beside:
    """The rows of a table that belong to each message, asked for in the order of the messages' numbers."""

    def __init__(self, found: Iterator[Attributes], key: str) -> None:
        self._groups = groupby(found, lambda row: whole(row.get(key, "")) or 0)
        self._number, self._rows = -1, list[Attributes]()

    def of(self, number: int) -> list[Attributes]:
        while self._number < number:
            following = next(self._groups, None)
            if following is None:
                self._number, self._rows = 1 << 62, []
            else:
                self._number, self._rows = following[0], list(following[1])
        return self._rows if self._number == number else []


def _threads(connection: sqlite3.Connection) -> Mapping[str, str]:
    """Return the addresses of each conversation, joined by `~`."""
    if not (_has(connection, "threads", "recipient_ids") and _has(connection, "canonical_addresses", "address")):
        return {}
    addresses = {
        row["_id"]: row.get("address", "") for row in _rows(connection, "SELECT _id, address FROM canonical_addresses")
    }
    return {
        row["_id"]: "~".join(addresses.get(one, "") for one in row.get("recipient_ids", "").split())
        for row in _rows(connection, "SELECT _id, recipient_ids FROM threads")
    }


def _mms(connection: sqlite3.Connection, chats: Chats, files: _Files) -> Iterator[Item]:
    threads = _threads(connection)
    unusable = [table for table, key in (("part", "mid"), ("addr", "msg_id")) if not _has(connection, table, key)]
    for table in unusable:
        yield Loss(what=f"The table {table} is missing or none: what it holds of messages is not read.")
    in_parts = "SELECT * FROM part ORDER BY mid, seq, _id"
    in_addresses = "SELECT * FROM addr ORDER BY msg_id, _id"
    parts = _Beside(iter(()) if "part" in unusable else _rows(connection, in_parts), "mid")
    addresses = _Beside(iter(()) if "addr" in unusable else _rows(connection, in_addresses), "msg_id")
    missing = 0
    for row in _rows(connection, "SELECT * FROM pdu ORDER BY _id"):
        number = whole(row.get("_id", "")) or 0
        date = row.get("date", "")
        row["date"] = date + "000" if date.isdecimal() and len(date) < 12 else date
        row["address"] = threads.get(row.get("thread_id", ""), "")
        record = Record("mms", row, [Part(one) for one in parts.of(number)])
        for one in addresses.of(number):
            record.addresses.append({key: one[key] for key in ("address", "type", "charset") if key in one})
        missing += sum(not files.fill(part) for part in record.parts)
        yield from rows.mms(record, chats)
    if missing:
        yield Loss(what=f"{missing} attachments are not there.")
