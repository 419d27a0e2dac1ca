"""Builders of Apple's databases: messages of old and new systems, calls, archived texts."""

from __future__ import annotations

import plistlib
import sqlite3

NEW = (
    "guid TEXT UNIQUE NOT NULL, text TEXT, attributedBody BLOB, subject TEXT, handle_id INTEGER, service TEXT,"
    " account TEXT, date INTEGER, date_read INTEGER, date_delivered INTEGER, is_from_me INTEGER DEFAULT 0,"
    " is_read INTEGER DEFAULT 0, is_sent INTEGER DEFAULT 0, is_delivered INTEGER DEFAULT 0, error INTEGER DEFAULT 0,"
    " item_type INTEGER DEFAULT 0, group_title TEXT, group_action_type INTEGER, other_handle INTEGER,"
    " is_audio_message INTEGER DEFAULT 0, is_system_message INTEGER DEFAULT 0, is_service_message INTEGER DEFAULT 0,"
    " is_forward INTEGER DEFAULT 0, balloon_bundle_id STRING, message_summary_info BLOB, thread_originator_guid TEXT,"
    " associated_message_guid STRING, associated_message_type INTEGER DEFAULT 0, associated_message_emoji TEXT,"
    " date_edited INTEGER, destination_caller_id TEXT"
)
OLD = (
    "guid TEXT UNIQUE NOT NULL, text TEXT, handle_id INTEGER DEFAULT 0, subject TEXT, service TEXT, account TEXT,"
    " error INTEGER DEFAULT 0, date INTEGER, date_read INTEGER, is_from_me INTEGER DEFAULT 0, is_sent INTEGER,"
    " is_delivered INTEGER DEFAULT 0, is_read INTEGER DEFAULT 0"
)


def typedstream(text: str) -> bytes:
    """Return an attributed string as Apple archives it."""
    data = text.encode("utf-8")
    length = bytes([len(data)]) if len(data) < 0x80 else b"\x81" + len(data).to_bytes(2, "little")
    if len(data) > 0xFFFF:
        length = b"\x82" + len(data).to_bytes(4, "little")
    head = bytes.fromhex("040b73747265616d747970656481e803840140848484194e534d757461626c65417474726962757465645374")
    head += b"ring\x00\x84\x84\x12NSAttributedString\x00\x84\x84\x08NSObject\x00\x85\x92\x84\x84\x84\x0fNSMutableString"
    return head + b"\x01\x84\x84\x08NSString\x01\x95\x84\x01+" + length + data + b"\x86\x84\x02iI\x01\x0a\x92"


def edited(*versions: tuple[float, str]) -> bytes:
    """Return a summary of a message that was edited: its texts and when each began to stand."""
    events = [{"d": when, "t": typedstream(text), "bcg": "X"} for when, text in versions]
    return plistlib.dumps({"ec": {"0": events}, "ep": [0], "ust": True}, fmt=plistlib.FMT_BINARY)


def unsent() -> bytes:
    return plistlib.dumps({"rp": [0], "otr": {"0": {"lo": 0, "le": 4}}}, fmt=plistlib.FMT_BINARY)


class Database:
    """A `chat.db` in memory."""

    def __init__(self, columns: str = NEW) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in (
            f"CREATE TABLE message (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, {columns})",
            "CREATE TABLE chat (ROWID INTEGER PRIMARY KEY, guid TEXT, style INTEGER, chat_identifier TEXT,"
            " service_name TEXT, display_name TEXT, account_login TEXT, room_name TEXT)",
            "CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT, service TEXT)",
            "CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER, PRIMARY KEY (chat_id, message_id))",
            "CREATE TABLE chat_handle_join (chat_id INTEGER, handle_id INTEGER)",
            "CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER)",
            "CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY, guid TEXT, filename TEXT, mime_type TEXT,"
            " transfer_name TEXT, total_bytes INTEGER, is_sticker INTEGER DEFAULT 0)",
            "INSERT INTO handle VALUES (1, '+491711234567', 'iMessage'), (2, 'ann@example.org', 'iMessage')",
            "INSERT INTO chat VALUES (1, 'iMessage;-;+491711234567', 45, '+491711234567', 'iMessage', '', '', '')",
            "INSERT INTO chat VALUES (2, 'iMessage;+;chat77', 43, 'chat77', 'iMessage', 'Trip', 'E:me@x', 'chat77')",
            "INSERT INTO chat_handle_join VALUES (1, 1), (2, 1), (2, 2)",
        ):
            self.connection.execute(statement)

    def add(self, chat: int = 1, **values: object) -> int:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        number = self.connection.execute(
            f"INSERT INTO message ({names}) VALUES ({marks})", tuple(values.values())
        ).lastrowid
        if chat:
            self.connection.execute("INSERT INTO chat_message_join VALUES (?, ?)", (chat, number))
        return number or 0

    def attach(self, message: int, filename: str, mime: str, name: str = "") -> None:
        number = self.connection.execute(
            "INSERT INTO attachment (guid, filename, mime_type, transfer_name, total_bytes) VALUES (?, ?, ?, ?, 3)",
            (f"at_{message}", filename, mime, name),
        ).lastrowid
        self.connection.execute("INSERT INTO message_attachment_join VALUES (?, ?)", (message, number))

    def bytes(self) -> bytes:
        return self.connection.serialize()


def calls(*rows: tuple[object, ...]) -> bytes:
    """Return a call history: (unique id, date, duration, address, originated, answered, type)."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(
        "CREATE TABLE ZCALLRECORD (Z_PK INTEGER PRIMARY KEY, ZUNIQUE_ID VARCHAR, ZDATE TIMESTAMP, ZDURATION FLOAT,"
        " ZADDRESS VARCHAR, ZORIGINATED INTEGER, ZANSWERED INTEGER, ZCALLTYPE INTEGER)"
    )
    connection.executemany("INSERT INTO ZCALLRECORD VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", rows)
    return connection.serialize()
