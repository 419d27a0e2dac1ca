"""Small WhatsApp databases, real ones for SQLite: rows by column names, in tables of either platform."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Mapping, Sequence

Rows = Mapping[str, Sequence[Mapping[str, object]]]

ANN, BOB, GROUP = "491711@s.whatsapp.net", "491722@s.whatsapp.net", "120363-1@g.us"


def database(tables: Rows, extra: Sequence[str] = ()) -> bytes:
    """Return a database of tables with the columns that their rows have; a row's number is its key."""
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA page_size=512")
    for table, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        first = " INTEGER PRIMARY KEY" if columns[0] in ("_id", "Z_PK", "message_row_id", "lid_row_id") else ""
        if table in ("message_mentions", "message_vcard", "message_poll_option"):
            first = ""
        made = [f'"{columns[0]}"{first}', *(f'"{column}"' for column in columns[1:])]
        connection.execute(f"CREATE TABLE {table} ({', '.join(made)})")
        for row in rows:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    for statement in extra:
        connection.execute(statement)
    connection.commit()
    return connection.serialize()


def jids(*addresses: str) -> list[dict[str, object]]:
    return [{"_id": row, "raw_string": one} for row, one in enumerate(addresses, 1)]


def message(row: int, chat: int, key: str, text: str | None = None, **more: object) -> dict[str, object]:
    return {
        "_id": row, "chat_row_id": chat, "from_me": 0, "key_id": key, "sender_jid_row_id": None, "status": 0,
        "timestamp": 1_700_000_000_000 + row, "message_type": 0, "text_data": text, "starred": 0,
        "origination_flags": 0, "origin": 0,
    } | more  # fmt: skip


def android(messages: Sequence[Mapping[str, object]], **more: Sequence[Mapping[str, object]]) -> bytes:
    """Return a database with two people and a group: chat 1 is Ann's, chat 2 the group; both are members."""
    tables: dict[str, Sequence[Mapping[str, object]]] = {
        "jid": jids(ANN, BOB, GROUP),
        "chat": [{"_id": 1, "jid_row_id": 1, "subject": None}, {"_id": 2, "jid_row_id": 3, "subject": "Round"}],
        "group_participant_user": [
            {"_id": 1, "group_jid_row_id": 3, "user_jid_row_id": 1},
            {"_id": 2, "group_jid_row_id": 3, "user_jid_row_id": 2},
        ],
        "message": [message(1, -1, "-1"), *messages],
    }
    return database(tables | more)


def ios(messages: Sequence[Mapping[str, object]], **more: Sequence[Mapping[str, object]]) -> bytes:
    """Return the same chats as `android` does, as a phone of the other kind keeps them."""
    tables: dict[str, Sequence[Mapping[str, object]]] = {
        "ZWACHATSESSION": [
            {"Z_PK": 1, "ZCONTACTJID": ANN, "ZPARTNERNAME": "Ann", "ZSESSIONTYPE": 0},
            {"Z_PK": 2, "ZCONTACTJID": GROUP, "ZPARTNERNAME": "Round", "ZSESSIONTYPE": 1},
        ],
        "ZWAGROUPMEMBER": [{"Z_PK": 7, "ZCHATSESSION": 2, "ZMEMBERJID": BOB, "ZCONTACTNAME": "Bob"}],
        "ZWAMESSAGE": messages,
    }
    return database(tables | more)


def apple(row: int, chat: int, stanza: str, text: str | None = None, **more: object) -> dict[str, object]:
    return {
        "Z_PK": row, "ZCHATSESSION": chat, "ZGROUPMEMBER": None, "ZISFROMME": 0, "ZMESSAGETYPE": 0, "ZTEXT": text,
        "ZMESSAGEDATE": 721_692_800.0 + row / 1000, "ZFROMJID": None, "ZSTANZAID": stanza, "ZTOJID": None,
    } | more  # fmt: skip


def digest(content: bytes) -> str:
    import hashlib

    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def protobuf(*fields: tuple[int, bytes | int]) -> bytes:
    """Return a message of fields below 16, and of short texts or small numbers."""
    made = b""
    for field, value in fields:
        if isinstance(value, int):
            made += bytes((field << 3, value))
        else:
            made += bytes((field << 3 | 2, len(value))) + value
    return made
