"""Signal's older backup file: the same messages from every schema of its tables, and from the newer formats."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers.writers import field
from keepstone.messages import services
from keepstone.messages.model import Call, Conversation, Edit, Item, Loss, Message, Reaction
from keepstone.sources import signal_android
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader, UnreadableSource
from sources import chats, signals
from sources import signal_android as build
from sources.signal_android import ACI, GROUP, IN, MASTER, OUT, TIME_MS, message
from support import noise, report

READER: Reader = signal_android
NAME = "signal-2024-01-01-10-00-00"


def said(items: list[Item]) -> list[Message]:
    """Return the messages of a source that has losses as well."""
    return [one for one in items if isinstance(one, Message)]


def read(frames: list[bytes]) -> list[Item]:
    return chats.read(READER, {NAME: build.stream(frames)})


def test_people_groups_and_states() -> None:
    sent = [message(2, mine=True, has_delivery_receipt=1), message(3, mine=True, has_read_receipt=1),
            message(4, mine=True, type=24 | 0x200000), message(5, thread=2)]  # fmt: skip
    items = read(build.new([message(1), *sent]))
    person, group, _own = (one for one in items if isinstance(one, Conversation))
    assert (person.key, person.title, person.extra["e164"]) == (ACI, "Ann", "+491711234567")
    assert (group.key, group.title, group.kind) == (services.signal_group(MASTER), "Trip", "group")
    assert [one.address for one in group.people] == [ACI]
    assert [(m.direction, m.state, m.author, m.chat) for m in chats.messages(items)] == [
        ("in", "read", ACI, ACI), ("out", "delivered", "", ACI), ("out", "read", "", ACI), ("out", "failed", "", ACI),
        ("in", "read", ACI, group.key),
    ]  # fmt: skip
    assert not [one for one in items if isinstance(one, Loss)]


def test_a_message_is_the_same_in_every_schema_and_in_the_newer_formats() -> None:
    new = chats.messages(read(build.new([message(0), message(1, mine=True), message(2, thread=2)])))
    people = {**build.PEOPLE, "recipient": [
        {"_id": 2, "uuid": ACI, "phone": "+491711234567"}, {"_id": 3, "group_id": GROUP}],
        "thread": [{"_id": 1, "recipient_ids": "2"}, {"_id": 2, "recipient_ids": "3"}]}  # fmt: skip
    people["groups"] = [{"_id": 1, "group_id": GROUP, "title": "Trip", "master_key": MASTER, "members": "2"}]
    sms = [{"_id": 1, "thread_id": 1, "address": "2", "date": TIME_MS + 70, "date_sent": TIME_MS, "type": IN,
            "body": "text 0", "read": 1}]  # fmt: skip
    mms = [{"_id": 1, "thread_id": 1, "address": "2", "date": TIME_MS + 1, "date_received": TIME_MS + 9,
            "msg_box": OUT, "body": "text 1"},
           {"_id": 2, "thread_id": 2, "address": "2", "date": TIME_MS + 2, "msg_box": IN,
            "body": "text 2"}]  # fmt: skip
    old = read([*build.schema(build.OLD), *build.rows(build.OLD, {**people, "sms": sms, "mms": mms}), *build.end()])
    folder = chats.read(signals_backup(), {"main": signals.backup(
        signals.item(0, **signals.said("text 0")), signals.item(1, mine=True, **signals.said("text 1")),
        signals.item(2, chat=2, **signals.said("text 2")))})  # fmt: skip
    for other in (chats.messages(old), chats.messages(folder)):
        assert [one.identity for one in other] == [one.identity for one in new]
        assert [(one.chat, one.author, one.text, one.time_ms, one.native) for one in other] == [
            (one.chat, one.author, one.text, one.time_ms, one.native) for one in new
        ]


def signals_backup() -> Reader:
    from keepstone.sources import signal_backup

    return signal_backup


def test_files_are_hashed_and_come_back() -> None:
    photo, small, long = noise(1, 300_000), b"tiny", ("x" * 3000 + "é").encode()
    files = [
        {"_id": 1, "message_id": 1, "content_type": "image/jpeg", "file_name": "a.jpg", "data_size": 300_000},
        {"_id": 2, "message_id": 1, "content_type": "image/jpeg", "quote": 1},
        {"_id": 3, "message_id": 2, "content_type": "audio/aac", "voice_note": 1},
        {"_id": 4, "message_id": 3, "content_type": "text/x-signal-plain"},
        {"_id": 5, "message_id": 4, "content_type": "image/webp", "sticker_id": 3, "sticker_emoji": "👍"},
    ]
    blobs = [*build.attached(1, photo), *build.attached(3, small), *build.attached(4, long)]
    blobs += [field(7, field(1, b"me") + field(2, 3)), b"jpg"]  # An avatar is nobody's message.
    rows = [message(1, body=""), message(2, body=None), message(3, body="x" * 2048), message(4, body="")]
    content = build.stream([*build.new(rows, attachment=files)[:-1], *blobs[:-2], *build.end()])
    items = chats.read(READER, {NAME: content})
    image, voice, text, sticker = said(items)
    assert [one.kind for one in (image, voice, text, sticker)] == ["image", "voice", "text", "sticker"]
    assert [one.sha256 for one in image.attachments] == [sha256(photo).digest()]
    assert text.text == long.decode()
    assert text.attachments == sticker.attachments[1:] == ()
    assert any("1 attachments are not" in one.what for one in items if isinstance(one, Loss))
    for one, data in ((image, photo), (voice, small)):
        file = READER.open_attachment(NAME, MemoryFolder({NAME: content}), one.attachments[0])
        assert file is not None
        with file:
            assert file.read() == data


def test_quotes_reactions_mentions_and_deletions() -> None:
    rows = [message(1), message(2, mine=True, quote_id=TIME_MS + 1, quote_author=2), message(3, remote_deleted=1),
            message(4, view_once=1), message(5, shared_contacts='[{"name": 1}]'), message(6, deleted_by=2),
            message(7, quote_id=1, quote_author=2, quote_body="lost", quote_missing=1)]  # fmt: skip
    reactions = [{"_id": 1, "message_id": 2, "author_id": 2, "emoji": "🦊", "date_sent": TIME_MS + 9}]
    mentions = [{"_id": 1, "thread_id": 1, "message_id": 2, "recipient_id": 2, "range_start": 3, "range_length": 1}]
    first, answer, gone, once, contact, taken, alone = chats.messages(
        read(build.new(rows, reaction=reactions, mention=mentions))
    )
    assert answer.reply_to == first.native
    assert answer.reactions == (Reaction(author=ACI, emoji="🦊", time_ms=TIME_MS + 9),)
    assert alone.extra["quote"] == "lost"
    assert answer.extra["mentions"] == f"{ACI} 3 1"
    assert [one.kind for one in (gone, once, contact, taken)] == ["deleted", "empty", "contact", "deleted"]


def test_reactions_of_earlier_years_stand_in_the_message() -> None:
    reactions = field(1, field(1, "👍".encode()) + field(2, 2) + field(3, TIME_MS))
    row = {
        "_id": 1,
        "thread_id": 1,
        "address": "2",
        "date_sent": TIME_MS,
        "type": IN,
        "body": "a",
        "reactions": reactions,
    }
    people = {"recipient": [{"_id": 2, "uuid": ACI}], "thread": [{"_id": 1, "recipient_ids": "2"}]}
    (found,) = chats.messages(
        read([*build.schema(build.OLD), *build.rows(build.OLD, {**people, "sms": [row]}), *build.end()])
    )
    assert found.reactions == (Reaction(author=ACI, emoji="👍", time_ms=TIME_MS),)


def test_an_edited_message_is_still_the_first() -> None:
    rows = [message(1, latest_revision_id=9, body="one"), message(5, latest_revision_id=9, body="two"),
            message(9, original_message_id=1, body="three")]  # fmt: skip
    (found,) = chats.messages(read(build.new(rows)))
    (plain,) = chats.messages(read(build.new([message(1)])))
    assert (found.identity, found.text, found.time_ms) == (plain.identity, "three", TIME_MS + 1)
    assert found.edits == (Edit(text="one", time_ms=TIME_MS + 5), Edit(text="two", time_ms=TIME_MS + 9))


def test_calls_are_told_once_by_the_table_or_by_a_message() -> None:
    rows = [message(1, type=3), message(2, type=11), message(3, type=IN | 0x10000 | 0x80000)]
    table = [{"_id": 1, "call_id": -2, "message_id": 1, "peer": 2, "type": 1, "direction": 0, "event": 3,
              "timestamp": TIME_MS + 1}]  # fmt: skip
    items = read(build.new(rows, call=table))
    missed, dialled = (one for one in items if isinstance(one, Call))
    assert (missed.native, missed.direction, missed.outcome, missed.video) == (str(2**64 - 2), "in", "missed", True)
    assert (dialled.direction, dialled.video, dialled.time_ms) == ("out", True, TIME_MS + 2)
    (notice,) = chats.messages(items)
    assert (notice.kind, notice.direction) == ("event", "none")


def test_what_has_no_recipients_is_addressed_as_it_was() -> None:
    """The oldest backups know people by their numbers, and groups by their ids."""
    columns = {"sms": build.OLD["sms"], "thread": ["_id", "recipient_ids"]}
    threads = [
        {"_id": 1, "recipient_ids": "+491711234567"},
        {"_id": 2, "recipient_ids": "__textsecure_group__!" + "cd" * 16},
    ]
    sms = [{"_id": number, "thread_id": number, "address": "+491711234567", "date_sent": TIME_MS, "type": IN,
            "body": "a"} for number in (1, 2)]  # fmt: skip
    frames = [*build.schema(columns), *build.rows(columns, {"thread": threads, "sms": sms}), *build.end()]
    one, old = chats.messages(read(frames))
    assert (one.chat, one.author) == ("+491711234567", "+491711234567")
    assert old.chat.startswith("group:")


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_texts_arrive_as_written(texts: list[str]) -> None:
    found = chats.messages(read(build.new([message(number + 1, body=text) for number, text in enumerate(texts)])))
    assert [one.text for one in found] == texts


def test_definitions_and_statements_that_do_other_things_are_not_run() -> None:
    frames = build.new([message(1)])
    hostile = [
        build.statement("ATTACH '/tmp/keepstone-hostile.db' AS x"),
        build.statement("CREATE TABLE sms AS WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x FROM a) SELECT 1"),
        build.statement("CREATE VIRTUAL TABLE mms USING fts5(x)"),
        build.statement("CREATE TRIGGER t AFTER INSERT ON message BEGIN DELETE FROM message; END"),
        build.statement("DROP TABLE message"),
        build.statement("INSERT INTO message VALUES (?)", [1]),
        build.statement("INSERT INTO sqlite_master VALUES (?)", [1]),
        build.statement("CREATE TABLE part (a, " + ", ".join(f"b{n}" for n in range(900)) + ")"),
        build.statement("CREATE TABLE message (a, b)"),
        build.statement('CREATE TABLE "call" (x INTEGER GENERATED ALWAYS AS (1), y DEFAULT (randomblob(1000000000)))'),
        field(2, b"\x0a\x80"), b"\xff" * 20, field(9, b"\xff"), b"",
    ]  # fmt: skip
    items = read(frames[:5] + hostile + frames[5:-1] + hostile + frames[-1:])
    assert [one.text for one in said(items)] == ["text 1"]
    assert any("damaged frames" in one.what for one in items if isinstance(one, Loss))


def test_a_cut_backup_keeps_every_row_before_the_cut() -> None:
    data = build.stream(build.new([message(number) for number in range(1, 9)], build.attached(1, b"x" * 99)))
    whole = [one.text for one in chats.messages(chats.read(READER, {NAME: data}))]
    for cut in range(len(build.stream(build.schema(build.NEW)[:1])), len(data), 3):
        try:
            items = chats.read(READER, {NAME: data[:cut]})
        except UnreadableSource:
            continue
        found = [one.text for one in said(items)]
        assert found == whole[: len(found)]
        assert any(isinstance(one, Loss) for one in items)


def test_damage_anywhere_is_survived() -> None:
    seed = random.randrange(2**32)
    report(f"seed {seed}")
    rng = random.Random(seed)
    data = build.stream(build.new([message(number) for number in range(1, 9)], build.attached(1, b"x" * 99)))
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 5))):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        folder = MemoryFolder({"f": bytes(damaged)})
        READER.recognises("f", bytes(damaged[:HEAD]), folder)
        try:
            list(READER.read("f", folder, Options()))
        except UnreadableSource:
            pass


@pytest.mark.parametrize("head", [b"", b"\0\0\0\x04", b"\0\0\0\x03\x2a\x01", b"PK\x03\x04" + bytes(99), b"\0" * 99])
def test_other_files_are_not_taken(head: bytes) -> None:
    assert not READER.recognises("x", head, MemoryFolder({"x": head}))
