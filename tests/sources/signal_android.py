"""Builders of what is inside Signal's older backup file: its frames, as any version of the program writes them."""

from __future__ import annotations

import random
import struct
from typing import Any

from containers.writers import field, signal_file

Row = dict[str, Any]
BLOB = 0x8000_0000
ACI = "00010203-0405-0607-0809-0a0b0c0d0e0f"
OWN = "11111111-2222-3333-4444-555555555555"
MASTER = bytes([7]) * 32
GROUP = "__signal_group__v2__!" + "ab" * 32
TIME_MS = 1_700_000_000_000
IN, OUT = 20 | 0x800000 | 0x200000, 23 | 0x800000 | 0x200000

RECIPIENTS: list[Row] = [
    {"_id": 1, "aci": OWN, "e164": "+4917100", "profile_joined_name": "Me"},
    {"_id": 2, "aci": ACI, "e164": "+491711234567", "system_joined_name": "Ann"},
    {"_id": 3, "group_id": GROUP},
]
NEW: dict[str, list[str]] = {
    "recipient": ["_id", "aci", "pni", "e164", "group_id", "system_joined_name", "profile_joined_name"],
    "thread": ["_id", "recipient_id", "archived"],
    "groups": ["_id", "group_id", "title", "master_key", "members"],
    "message": [
        "_id", "date_sent", "date_received", "thread_id", "from_recipient_id", "to_recipient_id", "type", "body",
        "read", "has_delivery_receipt", "has_read_receipt", "viewed", "quote_id", "quote_author", "view_once",
        "remote_deleted", "shared_contacts", "link_previews", "latest_revision_id", "original_message_id", "expires_in",
        "deleted_by", "quote_body", "quote_missing",
    ],
    "attachment": [
        "_id", "message_id", "content_type", "file_name", "data_size", "data_hash_end", "voice_note", "video_gif",
        "quote", "sticker_id", "sticker_emoji", "caption", "width", "height",
    ],
    "reaction": ["_id", "message_id", "author_id", "emoji", "date_sent", "date_received"],
    "mention": ["_id", "thread_id", "message_id", "recipient_id", "range_start", "range_length"],
    "call": ["_id", "call_id", "message_id", "peer", "type", "direction", "event", "timestamp"],
}  # fmt: skip
OLD: dict[str, list[str]] = {
    "recipient": ["_id", "uuid", "phone", "group_id", "system_display_name", "signal_profile_name"],
    "thread": ["_id", "recipient_ids"],
    "groups": ["_id", "group_id", "title", "master_key", "members"],
    "sms": ["_id", "thread_id", "address", "date", "date_sent", "read", "type", "body", "delivery_receipt_count",
            "read_receipt_count", "subject", "reactions", "remote_deleted"],
    "mms": ["_id", "thread_id", "address", "date", "date_received", "read", "msg_box", "body",
            "delivery_receipt_count", "read_receipt_count", "quote_id", "quote_author", "reveal_duration",
            "shared_contacts", "previews", "reactions", "remote_deleted"],
    "part": ["_id", "mid", "ct", "file_name", "unique_id", "data_size", "data_hash", "voice_note", "quote",
             "sticker_id", "caption"],
}  # fmt: skip


def value(given: object) -> bytes:
    if given is None:
        return field(5, 1)
    if isinstance(given, float):
        return b"\x19" + struct.pack("<d", given)
    if isinstance(given, int):
        return field(2, given & (1 << 64) - 1)
    return field(1, given.encode()) if isinstance(given, str) else field(4, bytes(given))  # type: ignore[call-overload]


def statement(sql: str, values: list[object] | None = None) -> bytes:
    return field(2, field(1, sql.encode()) + b"".join(field(2, value(one)) for one in values or []))


def schema(tables: dict[str, list[str]]) -> list[bytes]:
    made = [f"CREATE TABLE {name} ({', '.join(columns)} DEFAULT NULL)" for name, columns in tables.items()]
    return [field(5, field(1, 200)), *(statement(sql) for sql in [*made, "CREATE INDEX a ON thread (_id)"])]


def rows(tables: dict[str, list[str]], given: dict[str, list[Row]]) -> list[bytes]:
    found = []
    for table, several in given.items():
        marks = ",".join("?" * len(tables[table]))
        for row in several:
            assert set(row) <= set(tables[table]), (table, row)
            found.append(statement(f"INSERT INTO {table} VALUES ({marks})", [row.get(name) for name in tables[table]]))
    return found


def keys() -> list[bytes]:
    return [field(9, field(1, b"account.aci") + field(7, OWN.encode()))]


def attached(number: int, data: bytes) -> list[bytes]:
    """Return the frame of a file, and its content."""
    return [field(4, field(1, number) + field(2, 5) + field(3, len(data))), data]


def stream(frames: list[bytes]) -> bytes:
    """Return frames, and the files behind those that announce one, as the passphrase opens them."""
    out, is_file = bytearray(), False
    for frame in frames:
        out += struct.pack(">I", len(frame) | BLOB if is_file else len(frame)) + frame
        is_file = not is_file and frame[:1] == b"\x22"
    return bytes(out)


def encrypted(frames: list[bytes], seed: int = 1, version: int = 1) -> bytes:
    """Return the backup file."""
    return signal_file(random.Random(seed), frames, version)


def end() -> list[bytes]:
    return [field(6, 1)]


def message(number: int, *, mine: bool = False, thread: int = 1, **more: Any) -> Row:
    """Return a row of the new schema."""
    who = {"from_recipient_id": 1, "to_recipient_id": 2} if mine else {"from_recipient_id": 2, "to_recipient_id": 1}
    return {
        "_id": number, "date_sent": TIME_MS + number, "date_received": TIME_MS + number + 50, "thread_id": thread,
        "type": OUT if mine else IN, "body": f"text {number}", "read": 1, **who, **more,
    }  # fmt: skip


PEOPLE: dict[str, list[Row]] = {
    "recipient": RECIPIENTS,
    "thread": [{"_id": 1, "recipient_id": 2}, {"_id": 2, "recipient_id": 3, "archived": 1}],
    "groups": [{"_id": 1, "group_id": GROUP, "title": "Trip", "master_key": MASTER, "members": "1,2"}],
}


def new(messages: list[Row], files: list[bytes] | None = None, **more: list[Row]) -> list[bytes]:
    """Return all frames of a backup of the new schema."""
    given = rows(NEW, {**PEOPLE, "message": messages, **more})
    return [*schema(NEW), *given, *(files or []), *keys(), *end()]
