"""Apple's messages: texts in every form that they were kept in, tapbacks, edits, attachments, calls."""

from __future__ import annotations

import hashlib
import plistlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Call, Conversation, Edit, Item, Loss, Message, Reaction
from keepstone.sources import imessage
from keepstone.sources.attributed import attributed_text, property_list
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader, UnreadableSource
from sources import apple, chats
from support import report

READER: Reader = imessage
SECONDS = 700_000_000
NANO = SECONDS * 10**9
TIME_MS = (SECONDS + 978_307_200) * 1000


def read(data: bytes, name: str = "chat.db") -> list[Item]:
    return chats.read(READER, {name: data})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AttributedBodyTextOnly", "Noter test"),
        ("MultiPart", "\ufffctest 1\ufffctest 2 \ufffctest 3"),
        ("URL", "https://github.com/ReagentX/Logria"),
        ("WeirdText", "𝖍𝖊𝖑𝖑𝖔 𝖜𝖔𝖗𝖑𝖉"),
    ],
)
def test_the_texts_of_real_messages_are_read(name: str, text: str) -> None:
    assert attributed_text(chats.fixture("imessage", name)) == text


@given(st.text(max_size=70_000))
@settings(max_examples=50)
def test_an_archived_text_is_read_as_it_was(text: str) -> None:
    data = apple.typedstream(text)
    assert attributed_text(data) == text
    assert all(attributed_text(data[:cut]) is None or True for cut in range(0, len(data), 17))


@pytest.mark.parametrize("text", ["请熄灯，谢谢", "\u1184 \ub184 \U0001f184 end", "Ć熄", "\U00041184!"])
def test_a_text_with_the_bytes_that_end_texts_is_whole(text: str) -> None:
    data = apple.typedstream(text)
    assert attributed_text(data) == text
    longer = data.replace(b"\x01+" + bytes([len(text.encode())]), b"\x01+" + bytes([len(text.encode()) + 9]))
    assert attributed_text(longer) == text


def test_texts_come_from_either_column_and_times_from_either_unit() -> None:
    new, old = apple.Database(), apple.Database(apple.OLD)
    for number, text in enumerate(chats.TEXTS):
        new.add(guid=f"g{number}", attributedBody=apple.typedstream(text), handle_id=1, date=NANO + number * 10**6)
        old.add(guid=f"g{number}", text=text, handle_id=1, date=SECONDS + number)
    for items, step in ((read(new.bytes()), 1), (read(old.bytes()), 1000)):
        found = chats.messages(items)
        assert [message.text for message in found] == list(chats.TEXTS)
        assert [message.time_ms for message in found] == [TIME_MS + step * number for number in range(len(found))]
        assert {(message.author, message.direction, message.chat) for message in found} == {
            ("+491711234567", "in", "711234567")
        }
    assert [message.identity for message in chats.messages(read(old.bytes()))] == [m.identity for m in found]


@pytest.mark.parametrize("later", [True, False], ids=["in order", "as synchronised"])
def test_tapbacks_are_reactions_of_their_message(later: bool) -> None:
    database = apple.Database()
    if later:
        database.add(guid="A", text="hello", is_from_me=1, date=NANO)
    for number, (kind, who) in enumerate([(2000, 1), (2001, 2), (3001, 2), (2006, 2)]):
        database.add(
            guid=f"T{number}", associated_message_guid="p:0/A", associated_message_type=kind, handle_id=who,
            date=NANO + (number + 1) * 10**9, associated_message_emoji="🦊" if kind == 2006 else None,
        )  # fmt: skip
    if not later:
        database.add(guid="A", text="hello", is_from_me=1, date=NANO)
    (message,) = chats.messages(read(database.bytes()))
    assert message.reactions == (
        Reaction(author="+491711234567", emoji="❤️", time_ms=TIME_MS + 1000),
        Reaction(author="ann@example.org", emoji="🦊", time_ms=TIME_MS + 4000),
    )


def test_of_changed_tapbacks_the_last_one_of_each_person_holds() -> None:
    database = apple.Database()
    database.add(guid="A", text="two parts", handle_id=1, date=NANO)
    for number, (part, kind, values) in enumerate(
        [
            ("p:0/A", 2000, {"is_from_me": 1, "destination_caller_id": "+491"}),
            ("p:0/A", 3000, {"is_from_me": 1, "account": "E:me@example.org"}),
            ("p:0/A", 2000, {"handle_id": 1}),
            ("p:0/A", 2001, {"handle_id": 1}),
            ("p:1/A", 2003, {"handle_id": 1}),
            ("p:0/A", 2006, {"handle_id": 2, "associated_message_emoji": "🦊"}),
            ("p:0/A", 3006, {"handle_id": 2}),
        ]
    ):
        database.add(
            guid=f"T{number}", associated_message_guid=part, associated_message_type=kind, date=NANO + number, **values
        )
    (message,) = chats.messages(read(database.bytes()))
    assert [(each.author, each.emoji) for each in message.reactions] == [
        ("+491711234567", "👍"),
        ("+491711234567", "😂"),
    ]


@pytest.mark.parametrize("kind", [1000, 2007])
def test_a_sticker_on_a_message_keeps_its_file(kind: int) -> None:
    database = apple.Database()
    database.add(guid="A", text="hello", is_from_me=1, date=NANO)
    number = database.add(
        guid="S", text="\ufffc", associated_message_guid="p:0/A", associated_message_type=kind, handle_id=1, date=NANO
    )
    database.attach(number, "~/Library/SMS/Attachments/x/fox.heic", "image/heic", "fox.heic")
    message, sticker = chats.messages(read(database.bytes()))
    assert (message.reactions, sticker.reply_to, sticker.author) == ((), "A", "+491711234567")
    assert [file.name for file in sticker.attachments] == ["fox.heic"]


def test_a_tapback_without_its_message_is_kept_as_an_event() -> None:
    database = apple.Database()
    database.add(
        guid="T", text="Loved an image", associated_message_guid="bp:gone", associated_message_type=2000, date=NANO
    )
    (message,) = chats.messages(read(database.bytes()))
    assert (message.kind, message.text, message.extra["associated_message_guid"]) == (
        "event",
        "Loved an image",
        "bp:gone",
    )


def test_edits_keep_the_earlier_texts_and_an_unsent_message_is_deleted() -> None:
    database = apple.Database()
    summary = apple.edited((SECONDS, "one"), (SECONDS + 5, "two"), (SECONDS + 9, "three"))
    database.add(guid="E", attributedBody=apple.typedstream("three"), message_summary_info=summary, date=NANO)
    database.add(guid="U", message_summary_info=apple.unsent(), date=NANO)
    changed, gone = chats.messages(read(database.bytes()))
    assert changed.text == "three"
    assert changed.edits == (Edit(text="one", time_ms=TIME_MS + 5000), Edit(text="two", time_ms=TIME_MS + 9000))
    assert gone.kind == "deleted"


def test_an_edited_text_that_no_column_has_any_more_is_known_by_its_edits() -> None:
    database = apple.Database()
    summary = apple.edited((SECONDS, "one"), (SECONDS + 5, "two"))
    database.add(guid="E", message_summary_info=summary, date=NANO)
    gone = plistlib.dumps({**plistlib.loads(summary), "rp": [0]}, fmt=plistlib.FMT_BINARY)
    database.add(guid="U", message_summary_info=gone, date=NANO)
    edited, unsent = chats.messages(read(database.bytes()))
    assert (edited.kind, edited.text, [edit.text for edit in edited.edits]) == ("text", "two", ["one"])
    assert (unsent.kind, unsent.text, [edit.text for edit in unsent.edits]) == ("deleted", "", ["one", "two"])


@pytest.mark.parametrize("home", ["~/", "/var/mobile/", "/Users/ann/"])
def test_attachments_are_found_beside_and_in_a_backup(home: str) -> None:
    database = apple.Database()
    number = database.add(guid="A", text="\ufffc", date=NANO, is_from_me=1)
    place = "Library/SMS/Attachments/ab/11/X/photo 1.jpg"
    database.attach(number, home + place, "image/jpeg", "photo 1.jpg")
    hashed = hashlib.sha1(f"MediaDomain-{place}".encode()).hexdigest()
    for name, beside in (
        ("Library/SMS/sms.db", place),
        ("3d/3d0d7e5fb2ce288813306e4d4636395e047a3d28", f"{hashed[:2]}/{hashed}"),
        ("3d0d7e5fb2ce288813306e4d4636395e047a3d28", hashed),
        ("HomeDomain/Library/SMS/sms.db", f"MediaDomain/{place}"),
    ):
        folder = MemoryFolder({name: database.bytes(), beside: b"jpg"})
        (message,) = [item for item in READER.read(name, folder, Options()) if isinstance(item, Message)]
        (attachment,) = message.attachments
        assert (message.kind, message.text, attachment.place) == ("image", "", f"~/{place}")
        assert (attachment.sha256, attachment.size) == (hashlib.sha256(b"jpg").digest(), 3)
        file = READER.open_attachment(name, folder, attachment)
        assert file is not None
        assert file.read() == b"jpg"
    assert READER.open_attachment("chat.db", MemoryFolder({}), Attachment(place="~/../../etc/passwd")) is None


def test_groups_replies_states_and_events() -> None:
    database = apple.Database()
    database.add(2, guid="A", text="first", handle_id=2, date=NANO, is_read=1)
    database.add(2, guid="B", text="answer", is_from_me=1, date=NANO, date_read=NANO, thread_originator_guid="A")
    database.add(2, guid="C", item_type=2, group_title="Trip", handle_id=1, date=NANO)
    items = read(database.bytes())
    group = next(item for item in items if isinstance(item, Conversation) and item.key == "chat77")
    assert (group.kind, group.title, [person.address for person in group.people]) == (
        "group", "Trip", ["+491711234567", "ann@example.org"],
    )  # fmt: skip
    first, answer, event = chats.messages(items)
    assert (first.state, answer.reply_to, answer.state, answer.direction) == ("read", "A", "read", "out")
    assert (event.kind, event.direction, event.text) == ("event", "none", "Trip")
    assert [message.order for message in (first, answer, event)] == [0, 1, 2]


def test_a_message_of_no_chat_is_told_in_the_chat_with_its_sender() -> None:
    database = apple.Database()
    database.add(0, guid="A", text="alone", handle_id=2, date=NANO)
    items = read(database.bytes())
    (message,) = chats.messages(items)
    assert message.chat in {item.key for item in items[: items.index(message)] if isinstance(item, Conversation)}


def test_calls_are_read() -> None:
    data = apple.calls(
        ("U1", SECONDS + 0.5, 12.0, b"+491711234567", 0, 1, 8), ("U2", SECONDS, 0.0, "0171 1234567", 1, 0, 1)
    )
    first, second = (item for item in read(data, "CallHistory.storedata") if isinstance(item, Call))
    assert (first.direction, first.outcome, first.seconds, first.video) == ("in", "answered", 12, True)
    assert (second.direction, second.outcome, second.video) == ("out", "cancelled", False)
    assert first.time_ms == TIME_MS + 500
    assert first.chat == second.chat


def test_damage_anywhere_is_survived() -> None:
    seed = random.randrange(2**32)
    report(f"seed {seed}")
    rng = random.Random(seed)
    database = apple.Database()
    for number in range(200):
        summary = apple.edited((1, "a"), (2, "b")) if number % 9 == 0 else None
        database.add(
            guid=f"g{number}", attributedBody=apple.typedstream("x" * number), message_summary_info=summary, date=NANO
        )
    data = database.bytes()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        cut = bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        folder = MemoryFolder({"chat.db": cut})
        READER.recognises("chat.db", cut[:HEAD], folder)
        try:
            list(READER.read("chat.db", folder, Options()))
        except UnreadableSource:
            pass


@pytest.mark.parametrize("wrong", ["x", b"\xff\x00", -1, 2**62, 1e300, None])
@pytest.mark.parametrize(
    "column",
    ["date", "text", "attributedBody", "message_summary_info", "item_type", "handle_id", "associated_message_type",
     "associated_message_guid", "balloon_bundle_id", "error"],
)  # fmt: skip
def test_values_of_another_kind_are_no_failure(column: str, wrong: object) -> None:
    database = apple.Database()
    values: dict[str, Any] = {"text": "t", "date": NANO, column: wrong}
    database.add(guid="A", **values)
    assert [item for item in read(database.bytes()) if isinstance(item, Message | Loss)]


@pytest.mark.parametrize(
    "statement", ["DROP TABLE message", "CREATE VIEW message AS SELECT 1 AS guid", "DROP TABLE chat"]
)
def test_a_schema_that_is_not_apples_ends_well(statement: str) -> None:
    database = apple.Database()
    if statement.startswith("CREATE"):
        database.connection.execute("DROP TABLE message")
    database.connection.execute(statement)
    folder = MemoryFolder({"chat.db": database.bytes()})
    try:
        assert not [item for item in READER.read("chat.db", folder, Options()) if isinstance(item, Message)]
    except UnreadableSource:
        pass


def test_names_that_are_no_text_are_no_failure() -> None:
    data = apple.Database().bytes()
    for name in (b"guid TEXT", b"ROWID INTEGER PRIMARY KEY, id", b"CREATE TABLE message"):
        for place in (0, len(name) // 2):
            damaged = data.replace(name, name[:place] + b"\xff" + name[place + 1 :])
            try:
                list(READER.read("chat.db", MemoryFolder({"chat.db": damaged}), Options()))
            except UnreadableSource:
                pass


@given(st.binary(max_size=400))
def test_property_lists_from_anywhere_are_no_failure(data: bytes) -> None:
    property_list(b"bplist00" + data)
    attributed_text(b"\x04\x0bstreamtyped" + data)


def test_an_endless_property_list_is_none() -> None:
    trailer = bytes(6) + b"\x01\x01" + (1).to_bytes(8, "big") + bytes(8) + (10).to_bytes(8, "big")
    assert property_list(b"bplist00\xa1\x00\x08" + trailer) == {}
