"""Android's databases hold the messages that its backups do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from keepstone.messages.model import Call, Loss, Message
from keepstone.sources import android_telephony, sms_backup_restore
from keepstone.sources.reading import MemoryFolder, Options, Reader
from sources.test_sms_backup_restore import backup, mms, sms

READER: Reader = android_telephony
SCHEMA = """
CREATE TABLE sms (_id INTEGER PRIMARY KEY, thread_id INTEGER, address TEXT, date INTEGER, type INTEGER, read INTEGER,
 body TEXT, status INTEGER DEFAULT -1);
CREATE TABLE pdu (_id INTEGER PRIMARY KEY, thread_id INTEGER, date INTEGER, msg_box INTEGER, read INTEGER, tr_id TEXT);
CREATE TABLE part (_id INTEGER PRIMARY KEY, mid INTEGER, seq INTEGER, ct TEXT, cl TEXT, _data TEXT, text TEXT);
CREATE TABLE addr (_id INTEGER PRIMARY KEY, msg_id INTEGER, address TEXT, type INTEGER, charset INTEGER);
CREATE TABLE threads (_id INTEGER PRIMARY KEY, recipient_ids TEXT);
CREATE TABLE canonical_addresses (_id INTEGER PRIMARY KEY, address TEXT);
INSERT INTO sms VALUES (1, 1, '+15550000001', 1500000000000, 1, 1, 'a', -1);
INSERT INTO pdu VALUES (5, 1, 1500000000, 1, 0, 't');
INSERT INTO part VALUES (1, 4, 0, 'text/plain', NULL, NULL, 'of none'),
 (2, 5, 0, 'image/png', 'a.png', '/data/app_parts/PART_1', NULL), (3, 5, 0, 'text/plain', NULL, NULL, 'hi');
INSERT INTO addr VALUES (1, 5, '+15550000001', 137, 106);
INSERT INTO threads VALUES (1, '1');
INSERT INTO canonical_addresses VALUES (1, '+15550000001');
"""


def database(script: str) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.executescript(script)
    return connection.serialize()


def test_messages_are_the_same_as_in_a_backup() -> None:
    folder = MemoryFolder({"databases/mmssms.db": database(SCHEMA), "app_parts/PART_1": b"abc"})
    assert READER.recognises("databases/mmssms.db", database(SCHEMA)[:4096], folder)
    found = [one for one in READER.read("databases/mmssms.db", folder, Options()) if isinstance(one, Message)]
    xml = MemoryFolder({"a": backup(sms('"a"'), mms(b"abc"))})
    same = [one for one in sms_backup_restore.read("a", xml, Options()) if isinstance(one, Message)]
    assert [(one.identity, one.chat, one.text) for one in found] == [(one.identity, one.chat, one.text) for one in same]
    opened = READER.open_attachment("databases/mmssms.db", folder, found[1].attachments[0])
    assert opened is not None
    assert opened.read() == b"abc"


def test_calls_are_read_with_makers_own_columns() -> None:
    content = database(
        "CREATE TABLE calls (_id INTEGER PRIMARY KEY, number TEXT, date INTEGER, duration INTEGER, type INTEGER,"
        " name TEXT, geocoded_location TEXT); INSERT INTO calls VALUES (1, '+1555', 5, 0, 3, 'Ann', 'Here');"
    )
    (call,) = READER.read("calllog.db", MemoryFolder({"calllog.db": content}), Options())
    assert isinstance(call, Call)
    assert (call.outcome, call.people[0].name, call.extra) == ("missed", "Ann", {"geocoded_location": "Here"})


def test_damage_never_fails() -> None:
    content = database(SCHEMA)
    for place in range(100, len(content), 997):
        damaged = bytearray(content)
        damaged[place : place + 40] = bytes(40)
        folder = MemoryFolder({"mmssms.db": bytes(damaged)})
        if READER.recognises("mmssms.db", bytes(damaged[:4096]), folder):
            list(READER.read("mmssms.db", folder, Options()))


@pytest.mark.parametrize(
    "hostile",
    [
        "CREATE VIEW part AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n AS mid FROM x",
        "CREATE VIRTUAL TABLE part USING fts5(mid, seq, _id, ct, text)",
        "CREATE TABLE part (a)",
        "CREATE TABLE part (mid, seq, ct, _id GENERATED ALWAYS AS (mid + 1))",
        "",
    ],
)
def test_what_stands_in_the_place_of_a_table_costs_that_table_only(hostile: str) -> None:
    content = database(SCHEMA + "ALTER TABLE part RENAME TO kept;" + hostile)
    folder = MemoryFolder({"mmssms.db": content})
    assert READER.recognises("mmssms.db", content[:4096], folder)
    found = list(READER.read("mmssms.db", folder, Options()))
    assert [one.text for one in found if isinstance(one, Message)] == ["a", ""]
    assert any(isinstance(one, Loss) for one in found) or "GENERATED" in hostile


@pytest.mark.parametrize(
    "hostile",
    [
        "DROP TABLE sms; CREATE VIEW sms AS SELECT 1 AS _id, load_extension('x') AS body",
        "CREATE TRIGGER t AFTER DELETE ON sms BEGIN SELECT writefile('/tmp/keepstone-hostile', 'x'); END",
        "ALTER TABLE sms ADD COLUMN g AS (hex(body) || printf('%.*c', 100000000, 'x'))",
        "CREATE INDEX i ON sms (length(body))",
        "UPDATE sms SET date = 9e300, address = x'ff00', body = x'fffe', type = 'x'",
        "DROP TABLE threads; DROP TABLE addr",
    ],
)
def test_a_hostile_schema_runs_nothing_and_never_fails(hostile: str) -> None:
    content = database(SCHEMA + hostile)
    folder = MemoryFolder({"mmssms.db": content})
    READER.recognises("mmssms.db", content[:4096], folder)
    list(READER.read("mmssms.db", folder, Options()))
    assert not Path("/tmp/keepstone-hostile").exists()


def test_times_in_seconds_and_in_milliseconds_are_told_apart() -> None:
    more = "INSERT INTO pdu VALUES (9, 1, 1500000000123, 2, 1, 'u')"
    folder = MemoryFolder({"mmssms.db": database(SCHEMA + more)})
    found = [one for one in READER.read("mmssms.db", folder, Options()) if isinstance(one, Message)]
    assert [one.time_ms for one in found if one.precision_ms == 1000] == [1_500_000_000_000, 1_500_000_000_123]
