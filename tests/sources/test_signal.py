"""Signal's account: the same records from the plaintext export and from the encrypted backup's content."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.containers.source import Broken
from keepstone.messages import services
from keepstone.messages.model import Call, Conversation, Edit, Item, Loss, Message, Reaction
from keepstone.sources import signal_backup, signal_export
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader, UnreadableSource
from sources import chats, signals
from sources.signals import ADDRESS, TIME_MS, attached, item, said
from support import report

EXPORT: Reader = signal_export
BACKUP: Reader = signal_backup


def read(*frames: signals.Frame, files: dict[str, bytes] | None = None) -> list[Item]:
    """Return what the export holds, after comparing it with the other forms."""
    items = chats.read(EXPORT, {"main.jsonl": signals.export(*frames), **(files or {})})
    if not files:
        assert chats.read(EXPORT, {"x": signals.export(*frames, indent=True)}) == items
        assert chats.read(BACKUP, {"main": signals.backup(*frames)}) == items
    return items


@given(st.lists(st.text(), max_size=6))
def test_texts_arrive_as_written_in_every_form(texts: list[str]) -> None:
    items = read(*(item(number, mine=number % 2 == 1, **said(text)) for number, text in enumerate(texts)))
    found = chats.messages(items)
    assert [message.text for message in found] == texts
    assert [message.identity for message in found] == [
        services.signal(ADDRESS, "" if number % 2 else ADDRESS, TIME_MS + number) for number in range(len(texts))
    ]


def test_people_groups_and_states() -> None:
    items = read(item(0, **said("a")), item(1, mine=True, **said("b")), item(2, chat=2, **said("c")))
    person, group, _owner = (each for each in items if isinstance(each, Conversation))
    assert (person.key, person.title, person.extra["e164"]) == (ADDRESS, "Ann", "+491711234567")
    assert (group.title, group.people[0].address, group.extra["archived"]) == ("Trip", ADDRESS, True)
    assert signals.MASTER.hex() not in group.key
    assert [(m.direction, m.state, m.author) for m in chats.messages(items)] == [
        ("in", "read", ADDRESS), ("out", "read", ""), ("in", "read", ADDRESS),
    ]  # fmt: skip


def test_quotes_reactions_and_deletions() -> None:
    quote = {"targetSentTimestamp": str(TIME_MS), "authorId": "2", "text": {"body": "a"}}
    reactions = [{"emoji": "🦊", "authorId": "1", "sentTimestamp": str(TIME_MS + 9)}]
    items = read(item(0, **said("a")), item(1, mine=True, **said("b", quote=quote, reactions=reactions)),
                 item(2, remoteDeletedMessage={}))  # fmt: skip
    first, answer, gone = chats.messages(items)
    assert answer.reply_to == first.native
    assert answer.reactions == (Reaction(author="", emoji="🦊", time_ms=TIME_MS + 9),)
    assert gone.kind == "deleted"


def test_a_quote_of_what_is_gone_keeps_its_text() -> None:
    (message,) = chats.messages(read(item(0, **said("b", quote={"authorId": "2", "text": {"body": "lost"}}))))
    assert (message.text, message.reply_to, message.extra["quote"]) == ("b", "", "lost")


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"profileChange": {"previousName": "Ann", "newName": "Anna"}}, "profile change: Ann → Anna"),
        ({"expirationTimerChange": {"expiresInMs": "5"}}, "expiration timer change"),
        ({"pollTerminate": {"targetSentTimestamp": "5", "question": "when?"}}, "poll terminate: when?"),
        ({"simpleUpdate": {}}, "simple update"),
    ],
)
def test_notices_say_what_they_are(update: dict[str, Any], words: str) -> None:
    (message,) = chats.messages(read(item(0, updateMessage=update)))
    assert (message.kind, message.text) == ("event", words)


def test_an_edited_message_is_still_the_first() -> None:
    revisions = [item(0, **said("one"))["chatItem"], item(5, **said("two"))["chatItem"]]
    (plain,) = chats.messages(read(item(0, **said("one"))))
    (message,) = chats.messages(read(item(9, **said("three"), revisions=revisions)))
    assert message.identity == plain.identity
    assert (message.text, message.time_ms) == ("three", TIME_MS)
    assert message.edits == (Edit(text="one", time_ms=TIME_MS + 5), Edit(text="two", time_ms=TIME_MS + 9))


def test_files_are_found_and_long_texts_are_whole() -> None:
    long = ("x" * 3000 + "é").encode()
    frames = [
        item(0, standardMessage={"attachments": [attached()]}),
        item(1, **said("x" * 2048, longText=attached(long)["pointer"])),
        item(2, standardMessage={"attachments": [attached(name="", flag="VOICE_MESSAGE")]}),
        item(3, stickerMessage={"sticker": {"emoji": "👍", "data": attached()["pointer"]}}),
    ]
    files = {signals.stored(): signals.PHOTO, signals.stored(long): long}
    photo, text, voice, sticker = chats.messages(read(*frames, files=files))
    assert [message.kind for message in (photo, text, voice, sticker)] == ["image", "text", "voice", "sticker"]
    assert text.text == long.decode()
    file = EXPORT.open_attachment("main.jsonl", MemoryFolder(files), photo.attachments[0])
    assert file is not None
    assert file.read() == signals.PHOTO
    assert len(photo.attachments[0].sha256) == 32
    read(*frames)


@pytest.mark.parametrize(
    ("form", "call", "expected"),
    [
        ("individualCall", {"type": "VIDEO_CALL", "direction": "OUTGOING"}, ("out", "unknown")),
        ("individualCall", {"direction": "OUTGOING", "state": "NOT_ACCEPTED"}, ("out", "cancelled")),
        ("individualCall", {"direction": "INCOMING", "state": "MISSED"}, ("in", "missed")),
        ("individualCall", {"direction": "INCOMING", "state": "ACCEPTED"}, ("in", "answered")),
        ("groupCall", {"state": "DECLINED", "startedCallRecipientId": "2"}, ("in", "rejected")),
    ],
)
def test_calls_are_calls(form: str, call: dict[str, Any], expected: tuple[str, str]) -> None:
    call |= {"callId": "77", "startedCallTimestamp": str(TIME_MS)}
    (found,) = (each for each in read(item(1, updateMessage={form: call})) if isinstance(each, Call))
    assert (found.direction, found.outcome, found.native, found.time_ms) == (*expected, "77", TIME_MS)


def test_every_kind_of_item_is_kept() -> None:
    kinds: dict[str, Any] = {
        "contactMessage": {"contact": {"name": {"givenName": "Bo"}, "number": [{"value": "1", "type": "WORK"}]}},
        "updateMessage": {"simpleUpdate": {"type": "IDENTITY_UPDATE"}},
        "paymentNotification": {"amountMob": "1.5"},
        "giftBadge": {"state": "OPENED"},
        "viewOnceMessage": {"attachment": attached()},
        "directStoryReplyMessage": {"textReply": {"text": {"body": "nice"}}},
        "poll": {"question": "when?", "options": [{"option": "now", "votes": [{"voterId": "2", "voteCount": 1}]}]},
    }
    found = chats.messages(read(*(item(number, **{kind: kinds[kind]}) for number, kind in enumerate(kinds)), item(99)))
    assert [message.kind for message in found] == [
        "contact", "event", "event", "event", "empty", "text", "poll", "unknown",
    ]  # fmt: skip
    assert [message.text for message in found] == ["Bo\n1", "identity update", "", "", "", "nice", "when?", ""]
    assert "IDENTITY_UPDATE" in str(found[1].extra)


def test_a_cut_file_keeps_every_complete_message() -> None:
    frames = [item(number, **said(f"text {number}")) for number in range(3)]
    for reader, write in ((EXPORT, signals.export), (BACKUP, signals.backup)):
        name, data = "main.jsonl", write(*frames)
        ends = {len(write(*frames[:number])) for number in range(4)}
        whole = [each for each in chats.read(reader, {name: data}) if isinstance(each, Message)]
        for cut in range(len(data)):
            folder = MemoryFolder({name: data[:cut]})
            try:
                items = list(reader.read(name, folder, Options()))
            except UnreadableSource:
                continue
            found = [each for each in items if isinstance(each, Message)]
            assert found == whole[: len(found)]
            # What ends where a frame ends shows nothing; a line is complete without its end.
            complete = {cut, cut + 1} & ends or cut < min(ends)
            assert complete or any(isinstance(each, Loss) for each in items), cut


def test_damage_anywhere_is_survived() -> None:
    seed = random.randrange(2**32)
    report(f"seed {seed}")
    rng = random.Random(seed)
    frames = [item(number, **said(f"text {number}", reactions=[{"emoji": "x"}])) for number in range(9)]
    for reader, data in ((EXPORT, signals.export(*frames)), (BACKUP, signals.backup(*frames))):
        for _ in range(300):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            folder = MemoryFolder({"f": bytes(damaged)})
            reader.recognises("f", bytes(damaged[:HEAD]), folder)
            try:
                list(reader.read("f", folder, Options()))
            except UnreadableSource:
                pass


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_are_not(data: bytes) -> None:
    for message in ("Frame", "ChatItem"):
        try:
            signal_backup.decode(data, message)
        except Broken:
            pass


def test_endless_nesting_ends() -> None:
    data = b""
    for _ in range(3000):
        data = b"\x32" + signals.varint(len(data)) + data
    with pytest.raises(Broken):
        signal_backup.decode(data, "ChatItem")


@pytest.mark.parametrize("name", ["canonical-backup.takeout-export.expected.jsonl",
                                  "legacy-account.binproto.encrypted.source.jsonproto"])  # fmt: skip
def test_real_exports_are_read(name: str) -> None:
    items = chats.read(EXPORT, {name: chats.fixture("signal", name)})
    assert "self" in {each.key for each in items if isinstance(each, Conversation)}
    assert not [each for each in items if isinstance(each, Loss)]
