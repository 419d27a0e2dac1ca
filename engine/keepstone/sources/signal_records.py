"""What is in Signal's older backup file: records, each behind its length: frames, and files between them.

Most frames are SQL: a table's definition, or one row to insert. Of a definition only the names of the columns are
taken, by a database in memory that has nothing else; of a row only its values; nothing else is run. The rows of the
tables that tell of messages go to a private database whose tables this module makes, so that what belongs together can
be read together in bounded memory; files are hashed and never held.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, Final

from keepstone.containers.source import Broken
from keepstone.containers.transforms import BLOB, FRAME_LIMIT, protobuf_fields, varint

Value = str | int | float | bytes | None

TABLES: Final = frozenset(
    ("message", "sms", "mms", "recipient", "thread", "groups", "group_membership", "distribution_list", "attachment",
     "part", "reaction", "mention", "call")
)  # fmt: skip
"""Tables that tell of messages, in all versions."""
MAX_COLUMNS: Final = 400
_STATEMENT, _PREFERENCE, _FILE, _VERSION, _END, _KEY_VALUE = 2, 3, 4, 5, 6, 9
_OTHER_FILES: Final = (7, 8)
"""Avatars and stickers of packs."""
_BATCH: Final = 500
_BLOCK: Final = 1024 * 1024
_U32 = struct.Struct(">I")
_F64 = struct.Struct("<d")
_INSERT = re.compile(rb'INSERT INTO ["`\']?(\w{1,64})["`\']? VALUES')
_CREATE = re.compile(r'CREATE TABLE (?:IF NOT EXISTS )?["`\']?(\w{1,64})["`\']?\s*\(', re.IGNORECASE)
_STRING, _INTEGER, _DOUBLE, _BYTES, _NULL = 0x0A, 0x10, 0x19, 0x22, 0x28
"""The tags of a value, each with its type."""
_PARAMETER: Final = 0x12
_MINUS_ONE: Final = b"\xff" * 9 + b"\x01"
_NEVER_ASKED: Final = frozenset(
    ("date_received", "date_server", "from_device_id", "recipient_device_id", "address_device_id", "ct_l",
     "exp", "m_type", "m_size", "st", "tr_id", "subscription_id", "receipt_timestamp", "mismatched_identities",
     "network_failures", "notified", "notified_timestamp", "unidentified", "reactions_unread",
     "reactions_last_seen", "server_guid", "export_state", "exported", "quote_mentions", "quote_type",
     "expire_started", "mentions_self", "remote_key", "remote_digest", "blur_hash", "transform_properties",
     "data_random", "remote_incremental_digest")
)  # fmt: skip
"""Columns that most rows have and nothing here asks for."""


def looks_like_records(head: bytes) -> bool:
    """Return whether a file that begins like this is one: the first frame is the database's version."""
    if len(head) < 8 or not 0 < int.from_bytes(head[:4], "big") <= min(16, len(head) - 4):
        return False
    try:
        fields = list(protobuf_fields(head[4 : 4 + int.from_bytes(head[:4], "big")]))
        return len(fields) == 1 and fields[0][0] == _VERSION and isinstance(fields[0][1], bytes)
    except Broken:
        return False


OnFile = Callable[[int, bytes, int, int], None]
"""Is told each file: the number of its row, its SHA-256, where it begins, its length."""


@dataclass(slots=True)
class Found:
    """What was read besides the rows."""

    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """What the program keeps of itself, by name."""
    damaged: int = 0
    ended: bool = False


@contextmanager
def private_database(scratch: str) -> Iterator[sqlite3.Connection]:
    """Open an empty database in a file that has lost its name."""
    with tempfile.TemporaryDirectory(prefix=".keepstone-", dir=scratch) as private:
        connection = sqlite3.connect(os.path.join(private, "db"), isolation_level=None)
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("CREATE TABLE keepstone_files (row INTEGER, sha256 BLOB, size INTEGER)")
    try:
        yield connection
    finally:
        connection.close()


def frames(file: BinaryIO, on_file: OnFile) -> Iterator[bytes]:
    """Yield the frames; of the files between them, those of messages are told.

    Raises:
        Broken: the records end within one, or are none.
    """
    at = row = 0
    while head := file.read(4):
        if len(head) < 4:
            raise Broken("a record is cut off")
        (size,) = _U32.unpack(head)
        at += 4
        if size & BLOB:
            size ^= BLOB
            digest = _digest(file, size)
            if row:
                on_file(row, digest, at, size)
            row = 0
        else:
            if size > FRAME_LIMIT:
                raise Broken("a frame is too large")
            frame = file.read(size)
            if len(frame) < size:
                raise Broken("a frame is cut off")
            row = _row_of_file(frame)
            yield frame
        at += size


def _digest(file: BinaryIO, size: int) -> bytes:
    hasher = sha256()
    while size:
        block = file.read(min(size, _BLOCK))
        if not block:
            raise Broken("a file is cut off")
        hasher.update(block)
        size -= len(block)
    return hasher.digest()


def _row_of_file(frame: bytes) -> int:
    """Return the row of the file that follows a frame; 0 if none does, or it is none of a message."""
    if not frame or frame[0] != (_FILE << 3 | 2):
        return 0
    try:
        told = dict(protobuf_fields(frame)).get(_FILE, b"")
        row = dict(protobuf_fields(told)).get(1, 0) if isinstance(told, bytes) else 0
    except Broken:
        return 0
    return row if isinstance(row, int) and row < 1 << 63 else 0


@dataclass(frozen=True, slots=True)
class _Target:
    """How a row of a statement is added: how many values it has, and which of them are not wanted."""

    sql: str
    count: int
    unwanted: frozenset[int]


class Spool:
    """Takes frames and fills a private database with the rows that tell of messages."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.found = Found()
        self._connection = connection
        self._names = sqlite3.connect(":memory:", isolation_level=None)
        self._statements: dict[bytes, _Target | None] = {}
        self._waiting: dict[str, list[list[Value]]] = {}

    def fill(self, file: BinaryIO) -> None:
        """Take all that a file holds, up to where it is cut off or damaged."""
        files: list[tuple[int, bytes, int]] = []
        self._connection.execute("BEGIN")
        try:
            for frame in frames(file, lambda row, digest, at, size: files.append((row, digest, size))):
                try:
                    self._take(frame)
                except (Broken, sqlite3.Error, UnicodeError, struct.error, IndexError):
                    self.found.damaged += 1
                if len(files) >= _BATCH:
                    self._add_files(files)
        except Broken:
            self.found.ended = False
        self._add_files(files)
        for sql in list(self._waiting):
            self._flush(sql)
        self._connection.execute("CREATE INDEX keepstone_rows ON keepstone_files (row)")
        for table, columns in self.found.columns.items():
            if "latest_revision_id" in columns:
                wanted = "(latest_revision_id) WHERE latest_revision_id IS NOT NULL"
                self._connection.execute(f'CREATE INDEX "keepstone_{table}" ON "{table}" {wanted}')
        self._connection.execute("COMMIT")
        self._names.close()

    def _add_files(self, files: list[tuple[int, bytes, int]]) -> None:
        self._connection.executemany("INSERT INTO keepstone_files VALUES (?, ?, ?)", files)
        files.clear()

    def _take(self, frame: bytes) -> None:
        if frame[:1] == b"\x12":
            size, at = varint(frame, 1)
            if size != len(frame) - at or frame[at : at + 1] != b"\x0a":
                raise Broken("a statement is none")
            size, at = varint(frame, at + 1)
            statement = frame[at : at + size]
            if statement not in self._statements and len(self._statements) < 1000:
                self._statements[statement] = self._insert(statement)
            target = self._statements.get(statement)
            if target is not None:
                self._add(target, values(frame, at + size, target.unwanted))
            return
        for number, value in protobuf_fields(frame):
            if number == _END:
                self.found.ended = True
            elif number in (_PREFERENCE, _KEY_VALUE) and isinstance(value, bytes):
                self._keep(dict(protobuf_fields(value)), number)

    def _keep(self, said: dict[int, int | bytes], number: int) -> None:
        key, value = (said.get(1), said.get(7)) if number == _KEY_VALUE else (said.get(2), said.get(3))
        if isinstance(key, bytes) and isinstance(value, bytes) and len(self.found.said) < 1000:
            self.found.said[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")

    def _insert(self, statement: bytes) -> _Target | None:
        """Return how a row of a statement is added and how many values it has; None for what is not wanted."""
        if found := _INSERT.match(statement):
            table = found[1].decode()
            columns = self.found.columns.get(table)
            marks = ", ".join("?" * len(columns)) if columns else ""
            if not columns:
                return None
            unwanted = frozenset(place for place, name in enumerate(columns) if name in _NEVER_ASKED)
            return _Target(f'INSERT INTO "{table}" VALUES ({marks})', len(columns), unwanted)
        said = statement.decode("utf-8", "replace")
        made = _CREATE.match(said)
        if made is not None and made[1] in TABLES and made[1] not in self.found.columns:
            self._define(made[1], said)
        return None

    def _define(self, table: str, statement: str) -> None:
        """Make a table with the columns of a definition, and nothing else of it."""
        self._names.execute(statement)
        described = self._names.execute(f'SELECT * FROM "{table}" LIMIT 0').description
        columns = tuple(str(entry[0]) for entry in described)
        if len(columns) > MAX_COLUMNS:
            raise Broken("a table has too many columns")
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        self._connection.execute(f'CREATE TABLE "{table}" ({quoted})')
        self.found.columns[table] = columns

    def _add(self, target: _Target, row: list[Value]) -> None:
        if len(row) != target.count:
            raise Broken("a row does not fit its table")
        rows = self._waiting.setdefault(target.sql, [])
        rows.append(row)
        if len(rows) >= _BATCH:
            self._flush(target.sql)

    def _flush(self, sql: str) -> None:
        self._connection.executemany(sql, self._waiting.pop(sql))


def values(frame: bytes, at: int, unwanted: frozenset[int] = frozenset()) -> list[Value]:
    """Return the values of a statement, from an offset of its frame on; those in some places are not looked at."""
    found: list[Value] = []
    end = len(frame)
    while at < end:
        if frame[at] != _PARAMETER:
            raise Broken("a statement is none")
        size, at = (frame[at + 1], at + 2) if frame[at + 1] < 0x80 else varint(frame, at + 1)
        stop = at + size
        if stop > end or not size:
            raise Broken("a value ends too soon")
        kind = frame[at]
        if kind == _NULL or len(found) in unwanted:
            found.append(None)
        elif kind == _INTEGER:
            if size == 2:
                found.append(frame[at + 1])
            elif size == 7:  # A time.
                a, b, c, d, e, f = frame[at + 1 : stop]
                found.append(a & 127 | (b & 127) << 7 | (c & 127) << 14 | (d & 127) << 21 | (e & 127) << 28 | f << 35)
            else:
                found.append(-1 if frame[at + 1 : stop] == _MINUS_ONE else _signed(varint(frame, at + 1)[0]))
        elif kind in (_STRING, _BYTES):
            start = at + 2 if frame[at + 1] < 0x80 else varint(frame, at + 1)[1]
            data = frame[start:stop]
            found.append(data.decode("utf-8", "replace") if kind == _STRING else data)
        elif kind == _DOUBLE:
            found.append(_F64.unpack_from(frame, at + 1)[0])
        else:
            raise Broken("a value is of no known kind")
        at = stop
    return found


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def old_reactions(data: bytes) -> list[tuple[int, str, int]]:
    """Return who reacted with what and when, as a message's own column told it before reactions had a table."""
    found: list[tuple[int, str, int]] = []
    try:
        for number, value in protobuf_fields(data):
            if number == 1 and isinstance(value, bytes):
                said = dict(protobuf_fields(value))
                emoji, author, sent = said.get(1, b""), said.get(2, 0), said.get(3, 0)
                if isinstance(emoji, bytes) and isinstance(author, int) and isinstance(sent, int):
                    found.append((author, emoji.decode("utf-8", "replace"), sent))
    except Broken:
        pass  # What was complete holds.
    return found
