"""What each service's exports say beyond texts, in their old and new forms, and that one message has one identity."""

from __future__ import annotations

import csv
import io
import json

import pytest

from keepstone.messages.model import Call, Conversation, Edit, Item, Loss, Message, Person, Reaction
from keepstone.sources import discord, meta, slack, telegram
from keepstone.sources.reading import MemoryFolder, Options, Reader
from sources import chats
from sources.chats import dump, messages, read

TELEGRAM: Reader = telegram
META: Reader = meta
DISCORD: Reader = discord
SLACK: Reader = slack


def conversations(items: list[Item]) -> list[Conversation]:
    return [item for item in items if isinstance(item, Conversation)]


def content(reader: Reader, name: str, data: bytes, place: str, files: dict[str, bytes]) -> bytes | None:
    """Return what the reader finds for the first attachment of a file."""
    folder = MemoryFolder({name: data, **files})
    found = [item for item in reader.read(name, folder, Options()) if isinstance(item, Message)]
    attachment = next(each for message in found for each in message.attachments if each.place == place)
    file = reader.open_attachment(name, folder, attachment)
    return file.read() if file else None


# Telegram -------------------------------------------------------------------------------------------------------


def test_telegram_the_sample_of_one_chat_is_read_whole() -> None:
    items = read(TELEGRAM, {"DM_2A_7M.json": chats.fixture("telegram", "DM_2A_7M.json")})
    found = messages(items)
    assert [(message.native, message.kind, message.text, message.direction) for message in found] == [
        ("2675", "event", "joined telegram", "none"), ("3644", "text", "https://google.com 👀", "in"),
        ("3645", "text", "hello world", "out"), ("3662", "text", "world?", "in"), ("3663", "text", "blah blah", "out"),
        ("3672", "image", "", "out"), ("3673", "image", "", "out"),
    ]  # fmt: skip
    assert found[0].extra["action"] == "joined_telegram"
    assert [message.zoned for message in found] == [False] * 3 + [True] * 4
    (call,) = (item for item in items if isinstance(item, Call))
    assert (call.seconds, call.direction, call.outcome, call.native) == (56, "out", "answered", "3674")
    assert conversations(items)[-1].people == (
        Person(address="user300000000", name="Alice"), Person(address="user700000000", name="Bob"),
    )  # fmt: skip


def test_telegram_texts_without_ids_are_not_anchored() -> None:
    found = messages(read(TELEGRAM, {"x.json": chats.fixture("telegram", "test_single_export.json")}))
    assert [(message.author, message.text, message.anchored) for message in found] == [
        ("~Author 1", "Minimal Message", False), ("~Author 2", "Link:https://telegram.org/", False),
    ]  # fmt: skip


def whole_telegram(*chat: dict[str, object], left: tuple[dict[str, object], ...] = ()) -> dict[str, bytes]:
    return {
        "result.json": dump({
            "about": "Here is the data you requested.",
            "personal_information": {"user_id": 42, "first_name": "Al", "last_name": "Ice"},
            "contacts": {"about": "", "list": [{"user_id": 7, "first_name": "Bob"}]},
            "chats": {"about": "This page lists all chats.", "list": list(chat)},
            "left_chats": {"about": "", "list": list(left)},
        }, 1)
    }  # fmt: skip


def test_telegram_a_whole_export_has_all_chats_and_its_owner() -> None:
    one = chats.telegram_chat(7, "Bob", ("a", "b"))
    group = {**chats.telegram_chat(9, "G", ("c",)), "type": "private_supergroup"}
    saved = {"type": "saved_messages", "id": 42, "messages": one["messages"]}
    items = read(TELEGRAM, whole_telegram(one, saved, left=(group,)))
    assert [(chat.key, chat.kind, chat.account) for chat in {c.key: c for c in conversations(items)}.values()] == [
        ("user7", "person", "user42"), ("user42", "person", "user42"), ("channel9", "group", "user42"),
    ]  # fmt: skip
    assert len(messages(items)) == 5


def test_telegram_a_chat_is_the_same_alone_and_in_a_whole_export() -> None:
    chat = chats.telegram_chat(7, "Bob", chats.TEXTS)
    alone = messages(read(TELEGRAM, {"result.json": dump(chat)}))
    together = messages(read(TELEGRAM, whole_telegram(chats.telegram_chat(8, "Eve", ("x",)), chat)))[1:]
    assert [message.identity for message in alone] == [message.identity for message in together]


def test_telegram_an_old_export_gives_the_identities_of_a_new_one() -> None:
    old = {"id": 5, "type": "message", "date": "2019-01-02T03:04:05", "from": "Bob", "from_id": 7, "text": "a"}
    new = {**old, "from_id": "user7", "date_unixtime": "1546394645"}
    kinds = ((2 << 32, "private_channel"), (2 << 32, "public_supergroup"), (1 << 32, "private_group"), (0, "bot_chat"))
    for bits, kind in kinds:
        found = [
            messages(read(TELEGRAM, {"r": dump({"name": "N", "type": kind, "id": number, "messages": [message]})}))[0]
            for number, message in ((bits + 9, old), (9, new))
        ]
        assert found[0].identity == found[1].identity
        assert (found[0].author, found[0].zoned, found[1].zoned) == ("user7", False, True)


def test_telegram_keys_in_any_order_are_read() -> None:
    chat = chats.telegram_chat(7, "Bob", chats.TEXTS)
    items = read(TELEGRAM, {"r": json.dumps(chat, sort_keys=True).encode()})
    assert messages(items) == messages(read(TELEGRAM, {"r": dump(chat)}))


def test_telegram_what_has_no_text_shows_what_it_is_about() -> None:
    told = [
        {"poll": {"question": "Q?"}}, {"contact_information": {"first_name": "Ann", "phone_number": "+1"}},
        {"place_name": "Cafe", "address": "Street 1"}, {"game_title": "Chess"},
        {"todo_list": {"title": "Buy", "answers": [{"text": "milk"}]}}, {"invoice_information": {"title": "Tea"}},
        {"type": "service", "action": "topic_created", "title": "Travel"},
        {"type": "service", "action": "invite_members", "members": ["Ann", None, "Bob"]},
        {"type": "service", "action": "pin_message", "message_id": 3}, {"text": "own", "poll": {"question": "Q?"}},
    ]  # fmt: skip
    chat = chats.telegram_chat(700000000, "Bob", ("",) * len(told))
    for entry, more in zip(chat["messages"], told, strict=True):
        entry.update(more)
    assert [message.text for message in messages(read(TELEGRAM, {"result.json": dump(chat)}))] == [
        "Q?", "Ann\n+1", "Cafe\nStreet 1", "Chess", "Buy\nmilk", "Tea",
        "topic created: Travel", "invite members: Ann, Bob", "pin message", "own",
    ]  # fmt: skip


def test_telegram_an_export_without_its_account_tells_the_owner_by_a_chat_of_two() -> None:
    saved = {"type": "saved_messages", "id": 5, "messages": chats.telegram_chat(5, "", ("note",))["messages"]}
    group = {**chats.telegram_chat(55, "Trip", ("a", "b")), "type": "private_group"}
    two = chats.telegram_chat(700000000, "Bob", ("in", "out"))
    for chat, number in ((group, 1), (two, 1), (saved, 0)):
        chat["messages"][number]["from_id"] = "user5"
    for first in (saved, two):
        files = {"result.json": dump({"about": "Here", "chats": {"about": "x", "list": [first, group]}})}
        found = {message.text: message.direction for message in messages(read(TELEGRAM, files))}
        assert (found["a"], found["b"]) == ("in", "out")


def test_telegram_damage_in_one_chat_is_not_taken_for_another() -> None:
    first, second = chats.telegram_chat(7, "Bob", ("a", "b")), chats.telegram_chat(8, "Eve", ("c", "d"))
    files = whole_telegram(first, second)
    for wrong in (b'"text": "b"', b'"name": "Eve"', b'"messages"'):
        data = files["result.json"].replace(wrong, wrong[:-1] + b"\x00", 1)
        found = [i for i in TELEGRAM.read("r", MemoryFolder({"r": data}), Options()) if isinstance(i, Message | Loss)]
        told = {(message.chat, message.text) for message in found if isinstance(message, Message)}
        assert told <= {("user7", "a"), ("user7", "b"), ("user8", "c"), ("user8", "d")}
        assert len(told) >= 2
        assert any(isinstance(item, Loss) for item in found)


def test_telegram_files_forms_and_reactions() -> None:
    def entry(number: int, **more: object) -> dict[str, object]:
        return {"id": number, "type": "message", "date_unixtime": "1652135033", "from": "Bob", "from_id": "user7",
                "text": "", "text_entities": [], **more}  # fmt: skip

    entries = [
        entry(1, photo="photos/a.jpg", photo_file_size=3, reply_to_message_id=0),
        entry(2, file="(File not included. Change data exporting settings to download.)", file_name="b.ogg",
              media_type="voice_message", mime_type="audio/ogg", file_size=9),
        entry(3, poll={"question": "when?", "answers": [{"text": "now", "voters": 1}]}),
        entry(4, location_information={"latitude": 1.5, "longitude": 2}, forwarded_from="Eve"),
        entry(5, text=["see ", {"type": "text_link", "text": "this", "href": "https://x"}],
              reactions=[{"type": "emoji", "count": 1, "emoji": "❤", "recent": [{"from": "Eve", "from_id": "user8"}]}]),
        entry(6, type="unsupported"), entry(7, type="service", actor="Bob", actor_id="user7", action="pin_message"),
    ]  # fmt: skip
    data = dump({"name": "Bob", "type": "personal_chat", "id": 7, "messages": entries})
    photo, voice, poll, place, text, unknown, event = messages(read(TELEGRAM, {"e/result.json": data}))
    assert (photo.kind, photo.attachments[0].size, photo.order) == ("image", 3, 0)
    assert (voice.kind, voice.attachments[0].name, voice.attachments[0].place) == ("voice", "b.ogg", "")
    assert (poll.kind, poll.text, place.kind, place.forwarded) == ("poll", "when?", "location", True)
    assert (text.text, text.reactions) == ("see this", (Reaction(author="user8", emoji="❤"),))
    assert "https://x" in str(text.extra["text_entities"])
    assert (unknown.kind, unknown.extra["type"], event.kind) == ("unknown", "unsupported", "event")
    assert content(TELEGRAM, "e/result.json", data, "photos/a.jpg", {"e/photos/a.jpg": b"jpg"}) == b"jpg"
    assert content(TELEGRAM, "e/result.json", data, "photos/a.jpg", {"photos/a.jpg": b"jpg"}) is None


# Messenger and Instagram ----------------------------------------------------------------------------------------


def test_meta_the_samples_are_read_whole() -> None:
    items = read(META, {"message_1.json": chats.fixture("meta", "messenger-2A_7M.json")})
    assert [(m.author, m.kind, m.text, len(m.attachments)) for m in messages(items)] == [
        ("~Alice", "text", "Hello", 0), ("~Bob", "text", "Whats up!", 0), ("~Bob", "text", "you what", 0),
        ("~Bob", "document", "", 1), ("~Alice", "audio", "", 1), ("~Bob", "sticker", "", 1), ("~Bob", "image", "", 1),
    ]  # fmt: skip
    assert {m.direction for m in messages(items) if m.author == "~Alice"} == {"in"}
    target = json.loads(chats.fixture("meta", "target.json"))
    found = messages(read(META, {"x.json": chats.fixture("meta", "test_export.json")}))
    assert [(m.author[1:], m.text) for m in found] == [(entry["author"], entry["message"]) for entry in target]
    assert [m.time_ms for m in found] == [1579294140000, 1577186580000]


def thread(entries: list[dict[str, object]], **more: object) -> bytes:
    head = {"participants": [{"name": "Zoë".encode().decode("latin-1")}, {"name": "Bob"}]}
    tail = {"title": "Zoë".encode().decode("latin-1"), "thread_path": "inbox/zo_12345678", **more}
    return dump({**head, "messages": entries, **tail}, ascii_only=True)


def test_meta_all_files_of_a_thread_are_one_conversation() -> None:
    def entries(start: int) -> list[dict[str, object]]:
        return [{"sender_name": "Bob", "timestamp_ms": start - n, "content": f"{start - n}"} for n in range(3)]

    place = "your_instagram_activity/messages/inbox/zo_12345678"
    parts = {f"{place}/message_{n}.json": thread(entries(2000 - 100 * n)) for n in (1, 2, 10)}
    items = read(META, parts)
    assert [m.text for m in messages(items)] == ["1900", "1899", "1898", "1800", "1799", "1798", "1000", "999", "998"]
    assert {(chat.key, chat.title, chat.service) for chat in conversations(items)} == {("12345678", "Zoë", "instagram")}


def test_meta_equal_messages_of_one_millisecond_are_told_apart_from_the_oldest() -> None:
    told = ((6, "c"), (5, "b"), (5, "a"), (5, "a"))
    entries: list[dict[str, object]] = [{"sender_name": "Bob", "timestamp_ms": ms, "content": t} for ms, t in told]
    found = messages(read(META, {"message_1.json": thread(entries)}))
    assert [(m.text, m.order) for m in found] == [("c", 0), ("a", 0), ("a", 1), ("b", 2)]
    assert len({m.identity for m in found}) == 4


def test_meta_a_text_that_only_looks_broken_is_left_alone() -> None:
    entries: list[dict[str, object]] = [{"sender_name": "Bob", "timestamp_ms": 5, "content": "caf\xe9"}]
    entries.append({"sender_name": "Bob", "timestamp_ms": 4, "content": "Ãœ".encode().decode("latin-1")})
    assert [m.text for m in messages(read(META, {"message_1.json": thread(entries)}))] == ["caf\xe9", "Ãœ"]


def test_meta_calls_reactions_and_what_is_gone() -> None:
    entries: list[dict[str, object]] = [
        {"sender_name": "Bob", "timestamp_ms": 9, "type": "Call", "call_duration": 33, "content": "Bob called you."},
        {"sender_name": "Bob", "timestamp_ms": 8, "type": "Generic", "is_unsent": True},
        {"sender_name": "Bob", "timestamp_ms": 7, "content": "x", "reactions": [
            {"reaction": "ð\x9f\x98\x8d", "actor": "ZoÃ«"}], "share": {"link": "https://x"}},
    ]  # fmt: skip
    items = read(META, {"message_1.json": thread(entries)})
    (call,) = (item for item in items if isinstance(item, Call))
    assert (call.seconds, call.outcome, call.extra["content"]) == (33, "answered", "Bob called you.")
    gone, text = messages(items)
    assert (gone.kind, text.reactions) == ("deleted", (Reaction(author="~Zoë", emoji="😍"),))
    assert "https://x" in str(text.extra["share"])


def test_meta_encrypted_chats_come_in_their_own_layout() -> None:
    entries = [
        {"isUnsent": False, "media": [{"uri": "./media/a.jpg"}], "reactions": [{"actor": "Zoë", "reaction": "❤"}],
         "senderName": "Bob", "text": "Ã©", "timestamp": 1700000000001, "type": "media"},
    ]  # fmt: skip
    data = dump({"participants": ["Zoë", "Bob"], "threadName": "Zoë_12", "messages": entries})
    items = read(META, {"Zoë_12.json": data})
    (message,) = messages(items)
    assert (message.text, message.kind, message.time_ms) == ("Ã©", "image", 1700000000001)
    assert conversations(items)[0].key == "~Zoë_12"
    assert content(META, "Zoë_12.json", data, "./media/a.jpg", {"media/a.jpg": b"jpg"}) == b"jpg"


def test_meta_files_are_found_from_wherever_the_export_lies() -> None:
    place = "messages/inbox/zo_12345678/photos/1.jpg"
    data = thread([{"sender_name": "Bob", "timestamp_ms": 5, "photos": [{"uri": place}]}])
    for root in ("", "a/b/"):
        name = f"{root}messages/inbox/zo_12345678/message_1.json"
        assert content(META, name, data, place, {root + place: b"jpg"}) == b"jpg"
    assert content(META, "zo_12345678/message_1.json", data, place, {"zo_12345678/photos/1.jpg": b"jpg"}) == b"jpg"


def test_meta_the_service_is_told_by_the_export_and_not_by_a_threads_name() -> None:
    data = thread([{"sender_name": "Bob", "timestamp_ms": 5, "content": "x"}])
    for name, beside, service in (
        ("your_facebook_activity/messages/inbox/instagramfan_12345678/message_1.json", "", "messenger"),
        ("your_instagram_activity/messages/inbox/facebookers_12345678/message_1.json", "", "instagram"),
        ("messages/inbox/zo_12345678/message_1.json", "followers_and_following/following.json", "instagram"),
        ("a/messages/inbox/zo_12345678/message_1.json", "b/your_instagram_activity/x.json", "messenger"),
    ):
        items = read(META, {name: data, **({beside: b"{}"} if beside else {})})
        assert conversations(items)[0].service == service, name


@pytest.mark.parametrize(
    ("root", "place", "profile"),
    [
        ("your_facebook_activity/", "personal_information/profile_information/profile_information.json",
         {"profile_v2": {"name": {"full_name": "ZoÃ«"}, "family_members": [{"name": "Bob"}]}}),
        ("", "profile_information/profile_information.json", {"profile": {"name": "ZoÃ«"}}),
        ("your_instagram_activity/", "personal_information/personal_information/personal_information.json",
         {"profile_user": [{"string_map_data": {"Nome": {"value": "ZoÃ«"}, "Bio": {"value": "Bob"}}}]}),
    ],
)  # fmt: skip
def test_meta_the_owner_of_a_group_is_known_by_the_exports_profile(root: str, place: str, profile: object) -> None:
    people = [{"name": name} for name in ("Bob", "Ann", "ZoÃ«")]
    if "string_map_data" in str(profile):
        people = people[1:]
    entries = [{"sender_name": name, "timestamp_ms": 5, "content": name} for name in ("Ann", "ZoÃ«")]
    name = f"{root}messages/inbox/trip_12345678/message_1.json"
    data = thread(entries, participants=people, title="Trip", thread_type="RegularGroup")
    items = read(META, {name: data, place: dump(profile, ascii_only=True)})
    assert conversations(items)[0].account == "~Zoë"
    assert {message.text: message.direction for message in messages(items)} == {"Ann": "in", "Zoë": "out"}
    assert conversations(items)[0].kind == "group"


def test_meta_of_two_people_the_one_with_a_name_is_the_owner() -> None:
    entries = [{"sender_name": "", "timestamp_ms": 6, "content": "a"}, {"sender_name": "Bob", "timestamp_ms": 5}]
    items = read(META, {"message_1.json": thread(entries, participants=[{"name": ""}, {"name": "Bob"}], title="")})
    assert [message.direction for message in messages(items)] == ["unknown", "out"]


def test_meta_what_is_shared_without_a_word_is_text_and_its_identity_stays() -> None:
    share = {"link": "https://x/reel", "share_text": "schÃ¶n"}
    bare, said = (
        messages(read(META, {"message_1.json": thread([{"sender_name": "Bob", "timestamp_ms": 5, **more}])}))[0]
        for more in ({"share": share}, {"share": share, "content": "look"})
    )
    assert (bare.text, said.text) == ("schön\nhttps://x/reel", "look")
    (nothing,) = messages(read(META, {"message_1.json": thread([{"sender_name": "Bob", "timestamp_ms": 5}])}))
    assert bare.identity == nothing.identity


def test_meta_an_encrypted_chat_is_called_as_people_call_it_unless_two_are() -> None:
    data = dump({
        "participants": ["Zoë", "Bob"], "threadName": "Zoë_12",
        "messages": [{"senderName": name, "text": name, "timestamp": 1700000000001} for name in ("Bob", "Zoë")],
    })  # fmt: skip
    items = read(META, {"m/Zoë_12.json": data})
    (chat,) = conversations(items)
    assert (chat.title, chat.key, chat.account) == ("Zoë", "~Zoë_12", "~Bob")
    assert {message.text: message.direction for message in messages(items)} == {"Bob": "out", "Zoë": "in"}
    (chat,) = conversations(read(META, {"m/Zoë_12.json": data, "m/Zoë_7.json": b"{}"}))
    assert chat.title == "Zoë_12"


def test_meta_a_large_encrypted_group_is_known_by_its_people() -> None:
    people = [f'Somebody with a "long" name {number}' for number in range(250)]
    entries = [{"senderName": people[3], "text": "x", "timestamp": 1700000000001}]
    (message,) = messages(read(META, {"m/All_3.json": dump({"participants": people, "messages": entries}, 2)}))
    assert message.author == f"~{people[3]}"


# Discord --------------------------------------------------------------------------------------------------------


def test_discord_the_sample_is_read_whole() -> None:
    items = read(DISCORD, {"x.json": chats.fixture("discord", "DM_2A_2M.json")})
    assert [(m.native, m.text, m.direction, m.time_ms) for m in messages(items)] == [
        ("530805779645595660", "blah", "out", 1546624359762),
        ("538148765782114306", "something something text", "in", 1548375064083),
    ]  # fmt: skip
    (call,) = (item for item in items if isinstance(item, Call))
    assert (call.seconds, call.native) == (15098, "100")
    assert "42" in str(messages(items)[0].extra["reactions"])


ROWS = [
    ("530805779645595660", "2019-01-04 17:52:39", 'a, "b"\nc 👀', ""),
    ("530805783000000000", "2019-01-04 17:52:40", "", "https://cdn/x.png https://cdn/y.pdf?ex=1"),
]


def package(form: str) -> dict[str, bytes]:
    columns = ("ID", "Timestamp", "Contents", "Attachments")
    if form == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([columns, *ROWS])
        data = text.getvalue().encode()
    else:
        rows = [(int(row[0]) if form == "json" else row[0], *row[1:]) for row in ROWS]
        data = dump([dict(zip(columns, row, strict=True)) for row in rows])
    return {
        f"messages/c77/messages.{'csv' if form == 'csv' else 'json'}": data,
        "messages/c77/channel.json": dump({"id": "77", "type": 1, "recipients": ["1", "2"]}),
        "messages/index.json": dump({"77": "Direct Message with bob"}),
        "account/user.json": dump({"id": "1", "username": "me"}),
    }


@pytest.mark.parametrize("form", ["csv", "json", "newer json"])
def test_discord_a_package_is_read_with_its_owner_and_titles(form: str) -> None:
    items = read(DISCORD, package(form))
    (chat,) = conversations(items)
    assert (chat.key, chat.title, chat.kind, chat.account) == ("77", "Direct Message with bob", "person", "1")
    first, second = messages(items)
    assert (first.text, first.author, first.direction, first.time_ms) == (ROWS[0][2], "1", "out", 1546624359762)
    assert ([each.name for each in second.attachments], second.kind) == (["x.png", "y.pdf"], "image")


def test_discord_a_row_of_an_old_package_ends_at_a_line_feed_alone() -> None:
    texts = ["a\u2028b", "x\x0by\x85z\x1c", "two\nlines"]
    rows = ["ID,Timestamp,Contents,Attachments", f"1,2020-07-01 12:00:00+00:00,{texts[0]},"]
    rows += [f"2,2020-07-01 12:00:00+00:00,{texts[1]},", f'3,2020-07-01 12:00:00+00:00,"{texts[2]}",', ""]
    for mark in ("", "\ufeff"):
        items = read(DISCORD, {"messages/c1/messages.csv": (mark + "\r\n".join(rows)).encode()})
        assert [message.text for message in messages(items)] == texts


def test_discord_what_programs_say_in_frames_is_text() -> None:
    frame = {"title": "Build 7", "description": "passed", "fields": [{"name": "Branch", "value": "main"}]}
    whole = json.loads(chats.discord()["Bob.json"])
    whole["messages"][0].update(content="", embeds=[frame])
    whole["messages"][1].update(author=None)
    said, nobody = messages(read(DISCORD, {"Bob.json": dump(whole)}))[:2]
    assert (said.text, said.kind, nobody.direction) == ("Build 7\npassed\nBranch\nmain", "text", "unknown")


def test_discord_a_message_is_the_same_in_the_package_and_the_exporters_file() -> None:
    files = chats.discord(("a",))
    data = files["Bob.json"].replace(b"530805775262679064", b"77")
    (exported,) = messages(read(DISCORD, {"Bob.json": data}))
    assert exported.identity == messages(read(DISCORD, package("json")))[0].identity


def test_discord_replies_stickers_notices_and_forwards() -> None:
    author = {"id": "4", "name": "bob", "nickname": "Bob"}
    base = {"author": author, "timestamp": "2024-01-01T00:00:00+01:00", "content": "", "attachments": []}
    entries = [
        {**base, "id": "1", "type": "Reply", "content": "a", "reference": {"messageId": "9", "channelId": "5"}},
        {**base, "id": "2", "type": "Default", "stickers": [{"id": "7", "name": "wave", "sourceUrl": "s.png"}]},
        {**base, "id": "3", "type": "GuildMemberJoin", "content": "Joined the server."},
        {**base, "id": "4", "type": "Default", "forwardedMessage": {"content": "old", "attachments": []}},
        {**base, "id": "5", "type": "46", "content": "?"},
        {**base, "id": "6", "type": "Default", "attachments": [{"id": "8", "url": "f/a.png", "fileName": "a.png",
                                                                "fileSizeBytes": 3}]},
    ]  # fmt: skip
    data = dump({"guild": {"id": "3", "name": "G"}, "channel": {"id": "5", "type": "GuildTextChat", "name": "g"},
                 "messages": entries})  # fmt: skip
    reply, sticker, notice, forward, unknown, image = messages(read(DISCORD, {"x.json": data}))
    assert (reply.reply_to, reply.time_ms) == ("9", 1704063600000)
    assert (sticker.kind, notice.kind, notice.text) == ("sticker", "event", "Joined the server.")
    assert (forward.forwarded, forward.text) == (True, "old")
    assert (unknown.kind, unknown.text, unknown.extra["type"], image.kind) == ("unknown", "?", "46", "image")
    assert content(DISCORD, "x.json", data, "f/a.png", {"f/a.png": b"png"}) == b"png"


# Slack ----------------------------------------------------------------------------------------------------------


def test_slack_people_threads_files_and_notices() -> None:
    files = {
        "users.json": dump([{"id": "U1", "team_id": "T", "name": "ann", "profile": {"display_name": "Ann"}}]),
        "channels.json": dump([{"id": "C1", "name": "general", "members": ["U1"], "created": 1}]),
        "dms.json": dump([{"id": "D1", "created": 1, "members": ["U1", "U2"]}]),
        "general/2020-01-02.json": dump([
            {"type": "message", "user": "U1", "ts": "1577923200.000100", "text": "a", "thread_ts": "1577923200.000100"},
            {"type": "message", "user": "U2", "ts": "1577923201.123456", "text": "b", "thread_ts": "1577923200.000100",
             "reactions": [{"name": "wave", "users": ["U1", "U2"], "count": 3}]},
            {"type": "message", "subtype": "channel_join", "user": "U1", "ts": "1577923202.000000", "text": "joined"},
            {"type": "message", "user": "U1", "ts": "1577923203.000000", "text": "", "files": [
                {"id": "F1", "name": "a.png", "mimetype": "image/png", "size": 3, "url_private": "https://files/a.png"}]},
            {"type": "message", "subtype": "bot_message", "bot_id": "B1", "username": "bot", "ts": "1577923204.000000",
             "text": "", "attachments": [{"text": "build failed"}]},
        ]),
        "general/2020-01-01.json": dump([{"type": "message", "user": "U1", "ts": "1577836800.000000", "text": "z"}]),
        "D1/2020-01-01.json": dump([{"type": "message", "user": "U2", "ts": "1577836800.000000", "text": "psst"}]),
        "general/attachments/F1-a.png": b"png",
    }  # fmt: skip
    items = read(SLACK, files)
    first, start, answer, joined, file, bot, psst = messages(items)
    assert (first.text, psst.text, psst.chat) == ("z", "psst", "D1")
    assert (answer.reply_to, answer.time_ms, start.reply_to) == (start.native, 1577923201123, "")
    assert [reaction.author for reaction in answer.reactions] == ["U1", "U2"]
    assert '"count":3' in str(answer.extra["reactions"])
    assert (joined.kind, file.kind, bot.author) == ("event", "image", "B1")
    assert "build failed" in str(bot.extra["attachments"])
    opened = SLACK.open_attachment("users.json", MemoryFolder(files), file.attachments[0])
    assert opened is not None
    assert opened.read() == b"png"
    assert conversations(items)[0].people == (Person(address="U1", name="Ann"),)


def test_slack_a_damaged_list_of_channels_is_told_and_no_message_is_lost() -> None:
    files = chats.slack()
    items = read(SLACK, {**files, "channels.json": files["channels.json"][:40]})
    assert [item.text for item in items if isinstance(item, Message)] == list(chats.TEXTS)
    assert any(isinstance(item, Loss) for item in items)


def test_slack_without_its_list_of_users_is_read_by_its_channels() -> None:
    files = {name: data for name, data in chats.slack().items() if name != "users.json"}
    assert [message.text for message in messages(read(SLACK, files))] == list(chats.TEXTS)


def slack_day(*entries: dict[str, object], **more: bytes) -> dict[str, bytes]:
    told = [{"type": "message", "user": "U1", "text": "", **entry} for entry in entries]
    files = {f"{name}.json": data for name, data in more.items()}
    return {**chats.slack(), "general/2012-12-14.json": dump(told), **files}


def test_slack_logs_of_edits_and_deletions_tell_of_the_message_itself() -> None:
    first = {"user": "U2", "text": "one", "ts": "1700000000.000100"}
    second = {**first, "text": "two", "edited": {"user": "U2", "ts": "1700000005.000000"}}
    changed = {"subtype": "message_changed", "ts": "1700000005.000200", "message": second, "previous_message": first}
    gone = {
        "subtype": "message_deleted",
        "ts": "1700000009.000200",
        "deleted_ts": first["ts"],
        "previous_message": first,
    }
    bare = {"subtype": "message_deleted", "ts": "1700000009.000300", "deleted_ts": "1700000001.000000"}
    edit, before, deleted, notice = messages(read(SLACK, slack_day(changed, gone, bare)))
    assert {each.identity for each in (edit, before)} == {deleted.identity}
    assert (edit.text, edit.author, edit.edits) == ("two", "U2", (Edit(text="one", time_ms=1700000005000),))
    assert (before.text, before.kind, deleted.text, deleted.kind) == ("one", "text", "", "deleted")
    assert (notice.kind, notice.native) == ("event", "1700000009.000300")


def test_slack_what_programs_write_in_frames_and_blocks_is_text() -> None:
    frame = {"fallback": "short", "title": "Build", "text": "passed", "fields": [{"title": "Branch", "value": "main"}]}
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "*Hello*"}, "fields": [{"text": "there"}]}
    items = read(
        SLACK,
        slack_day(
            {"ts": "1.1", "user": None, "bot_id": "B1", "bot_profile": {"name": "CI"}, "attachments": [frame]},
            {"ts": "1.2", "attachments": [{"fallback": "short"}]},
            {"ts": "1.3", "blocks": [block, {"type": "divider"}], "file": None},
            {"ts": "1.4", "text": "mine", "attachments": [frame]},
        ),
    )
    assert [message.text for message in messages(items)] == [
        "Build\npassed\nBranch\nmain", "short", "*Hello*\nthere", "mine",
    ]  # fmt: skip
    assert Person(address="B1", name="CI") in conversations(items)[-1].people
    assert not any(message.attachments for message in messages(items))


@pytest.mark.parametrize(
    ("dms", "owner"),
    [
        ([["U1", "U2"], ["U1", "U3"], ["USLACKBOT", "U1"]], "U1"),
        ([["U1", "U2"], ["U1", "U3"]], ""),
        ([["U1", "U2"], ["U1", "U3"], ["U2", "U3"]], ""),
        ([["U1", "USLACKBOT"], ["U2", "USLACKBOT"], ["U3", "USLACKBOT"]], ""),
    ],
)
def test_slack_who_is_in_all_conversations_of_two_is_the_owner(dms: list[list[str]], owner: str) -> None:
    listed = dump([{"id": f"D000000{number}", "members": members} for number, members in enumerate(dms)])
    items = read(SLACK, slack_day({"ts": "1.1"}, {"ts": "1.2", "user": "U2"}, dms=listed))
    assert {chat.account for chat in conversations(items)} == {owner}
    directions = ("out", "in") if owner else ("unknown", "unknown")
    assert tuple(message.direction for message in messages(items)) == directions


def test_slack_an_organisations_list_of_people_is_read() -> None:
    files = slack_day({"ts": "1.1"}, org_users=dump([{"id": "U1", "name": "bob", "real_name": "Bob B."}]))
    del files["users.json"]
    assert Person(address="U1", name="Bob B.") in conversations(read(SLACK, files))[-1].people
