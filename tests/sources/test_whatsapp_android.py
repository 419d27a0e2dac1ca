"""What Android's databases hold is read, of either generation, whole or damaged; and nothing else can happen."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from keepstone.messages.model import Call, Conversation, Item, Loss, Message, Reaction
from keepstone.sources import whatsapp_android
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from sources.whatsapp_databases import ANN, BOB, GROUP, android, database, digest, jids, message

READER: Reader = whatsapp_android
FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2].parent / "shared" / "fixtures"))


def items(content: bytes, **beside: bytes) -> list[Item]:
    folder = MemoryFolder({"msgstore.db": content} | {name.replace("__", "."): data for name, data in beside.items()})
    return list(READER.read("msgstore.db", folder, Options()))


def messages(content: bytes) -> list[Message]:
    return [item for item in items(content) if isinstance(item, Message)]


def test_it_is_known_by_its_content() -> None:
    content = android([message(2, 1, "A")])
    folder = MemoryFolder({"anything": content, "other": database({"note": [{"_id": 1}]})})
    assert READER.recognises("anything", content[:4096], folder)
    assert not READER.recognises("other", folder.open("other").read(4096), folder)
    assert not READER.recognises("anything", b"PK\3\4", folder)


def test_texts_come_in_order_with_who_wrote_them() -> None:
    content = android(
        [
            message(2, 1, "A", "hi\n👩‍👩‍👧 שלום"),
            message(3, 1, "B", "me", from_me=1, status=13, starred=1, origination_flags=1),
            message(4, 2, "C", "group", sender_jid_row_id=2),
            message(5, 9, "D", "lost"),
        ]
    )
    said = messages(content)
    assert [one.text for one in said] == ["hi\n👩‍👩‍👧 שלום", "me", "group", "lost"]
    assert [one.chat for one in said] == [ANN, ANN, GROUP, "~"]
    assert [one.author for one in said] == [ANN, "", BOB, ""]
    assert [one.direction for one in said] == ["in", "out", "in", "in"]
    assert (said[1].state, said[1].starred, said[1].forwarded) == ("read", True, True)
    told = [item.key for item in items(content) if isinstance(item, Conversation)]
    assert told == [ANN, GROUP, "~"]


def test_what_only_some_messages_have_is_merged_in() -> None:
    picture = b"picture"
    content = android(
        [message(2, 1, "A", "see", message_type=1), message(3, 2, "B", sender_jid_row_id=1, message_type=5),
         message(4, 2, "C", "which?", message_type=66), message(5, 1, "D", message_type=15),
         message(6, 2, "E", "@2", message_type=99), message(7, 2, "F", "old", message_type=7)],
        message_media=[{"message_row_id": 2, "file_path": "Media/WhatsApp Images/IMG-1.jpg", "file_size": 7,
                        "mime_type": "image/jpeg", "file_hash": digest(picture), "width": 3}],
        message_quoted=[{"message_row_id": 2, "key_id": "Q", "text_data": "before"}],
        message_location=[{"message_row_id": 3, "latitude": 1.5, "longitude": -2.5, "place_name": "Here"}],
        message_poll_option=[{"message_row_id": 4, "option_name": "yes"}, {"message_row_id": 4, "option_name": "no"}],
        message_revoked=[{"message_row_id": 5, "revoked_key_id": "D0"}],
        message_mentions=[{"message_row_id": 6, "jid_row_id": 2}],
        message_system=[{"message_row_id": 7, "action_type": 1}],
        message_system_value_change=[{"message_row_id": 7, "old_data": "Circle"}],
        message_add_on=[{"_id": 1, "parent_message_row_id": 2, "from_me": 0, "sender_jid_row_id": 1, "timestamp": 5}],
        message_add_on_reaction=[{"message_add_on_row_id": 1, "reaction": "👍", "sender_timestamp": 6}],
    )  # fmt: skip
    image, place, poll, deleted, unknown, event = messages(content)
    assert (image.kind, image.reply_to, image.extra) == ("image", "Q", {"message_quoted.text_data": "before"})
    assert image.reactions == (Reaction(author=ANN, emoji="👍", time_ms=6),)
    assert (place.kind, place.extra["message_location.latitude"]) == ("location", 1.5)
    assert [poll.extra[f"message_poll_option.option_name {count}"] for count in (1, 2)] == ["yes", "no"]
    assert (deleted.kind, deleted.native) == ("deleted", "D0")
    assert (unknown.kind, unknown.text, unknown.extra) == ("unknown", "@2", {"type": "99", "message_mentions": BOB})
    assert (event.kind, event.direction) == ("event", "none")
    assert event.extra == {"message_system.action_type": 1, "message_system_value_change.old_data": "Circle"}
    for place_of_it in ("Media/WhatsApp Images/IMG-1.jpg", "WhatsApp/Media/WhatsApp Images/IMG-1.jpg", "x/IMG-1.jpg"):
        folder = MemoryFolder({"data/db/msgstore.db": content, place_of_it: picture, "a/IMG-1.jpg": b"another"})
        found = READER.open_attachment("data/db/msgstore.db", folder, image.attachments[0])
        assert found is not None
        assert found.read() == picture
    folder = MemoryFolder({"msgstore.db": content, "a/IMG-1.jpg": b"another"})
    assert READER.open_attachment("msgstore.db", folder, image.attachments[0]) is None


def test_hidden_numbers_are_found_and_names_come_from_beside() -> None:
    content = database(
        {
            "jid": jids("77:3@lid", ANN),
            "jid_map": [{"lid_row_id": 1, "jid_row_id": 2}],
            "chat": [{"_id": 1, "jid_row_id": 1}],
            "message": [message(2, 1, "A", "hi")],
        }
    )
    names = database({"wa_contacts": [{"_id": 1, "jid": ANN, "display_name": "Ann"}]})
    chat, said = items(content, wa__db=names)
    assert isinstance(chat, Conversation)
    assert (chat.key, chat.title, chat.people[0].name) == (ANN, "Ann", "Ann")
    assert isinstance(said, Message)
    assert said.author == ANN


def test_calls_tell_who_when_and_how_they_ended() -> None:
    content = android(
        [message(2, 1, "A")],
        call_log=[{"_id": 1, "jid_row_id": 1, "from_me": 0, "call_id": "call:AB", "timestamp": 5, "video_call": 1,
                   "duration": 9, "call_result": 5, "group_jid_row_id": 3}],
        call_log_participant_v2=[{"_id": 1, "call_log_row_id": 1, "jid_row_id": 2, "call_result": 5}],
    )  # fmt: skip
    (call,) = [item for item in items(content) if isinstance(item, Call)]
    assert (call.chat, call.outcome, call.video, call.seconds) == (GROUP, "answered", True, 9)
    assert [one.address for one in call.people] == [ANN, BOB]


def test_a_time_shared_by_several_is_numbered_in_each_chat() -> None:
    same = {"timestamp": 7}
    said = messages(android([message(row, 1 + row % 2, str(row), "x", **same) for row in range(2, 6)]))
    assert [(one.chat, one.order) for one in said] == [(ANN, 0), (GROUP, 0), (ANN, 1), (GROUP, 1)]


def legacy(row: int, **more: object) -> dict[str, object]:
    return {"_id": row, "key_remote_jid": ANN, "key_from_me": 0, "key_id": f"L{row}", "status": 0, "data": "old",
            "timestamp": row, "media_wa_type": "0", "remote_resource": None} | more  # fmt: skip


def test_the_old_table_is_read_and_not_what_the_new_one_has() -> None:
    thumb = b"\xac\xed\0\5" + b"\0\x0fMedia/a/IMG.jpg" + b"rest"
    old = [legacy(1), legacy(2, media_wa_type="1", thumb_image=thumb, media_mime_type="image/jpeg", data=None,
                             media_caption="cap"), legacy(3, status=6), legacy(4, key_remote_jid=GROUP,
                             remote_resource=BOB, quoted_row_id=8)]  # fmt: skip
    quotes: list[dict[str, object]] = [{"_id": 8, "key_id": "Q", "data": "quoted"}]
    said = messages(database({"messages": old, "messages_quotes": quotes}))
    assert [(one.kind, one.text) for one in said] == [
        ("text", "old"),
        ("image", "cap"),
        ("event", "old"),
        ("text", "old"),
    ]
    assert said[1].attachments[0].place == "Media/a/IMG.jpg"
    assert (said[3].author, said[3].reply_to) == (BOB, "Q")
    both = database({"jid": jids(ANN), "chat": [{"_id": 1, "jid_row_id": 1}], "message": [message(2, 1, "L2", "new")],
                     "messages": old})  # fmt: skip
    assert [one.text for one in messages(both)] == ["new", "old", "old", "old"]


def test_the_same_message_is_the_same_in_both_generations() -> None:
    new = messages(android([message(2, 2, "K", "x", sender_jid_row_id=2)]))[0]
    old = messages(database({"messages": [legacy(9, key_remote_jid=GROUP, key_id="K", remote_resource=BOB)]}))[0]
    assert new.identity == old.identity


def test_cut_off_anywhere_it_never_fails_otherwise() -> None:
    content = android([message(row, 1, f"K{row}", "text " * 30) for row in range(2, 40)])
    for end in range(0, len(content), 97):
        try:
            items(content[:end])
        except UnreadableSource:
            pass


def test_damage_costs_the_damaged_rows_and_is_told() -> None:
    content = android([message(row, 1, f"K{row}", "text " * 30) for row in range(2, 400)])
    at = content.index(b"K200") // 512 * 512
    found = items(content[:at] + b"\xff" * 512 + content[at + 512 :])
    kept = {item.native for item in found if isinstance(item, Message)}
    assert {"K2", "K100", "K300", "K399"} <= kept
    assert 380 < len(kept) < 398
    assert any(isinstance(item, Loss) for item in found)


def test_flipped_bits_never_fail_otherwise() -> None:
    content = android([message(row, 1, f"K{row}", "text") for row in range(2, 60)],
                      message_mentions=[{"message_row_id": 3, "jid_row_id": 2}])  # fmt: skip
    seed = 20
    rng = random.Random(seed)
    for _ in range(200):
        flipped = bytearray(content)
        flipped[rng.randrange(100, len(flipped))] ^= 1 << rng.randrange(8)
        try:
            items(bytes(flipped))
        except UnreadableSource:
            pass


def test_columns_of_any_type_are_read_leniently() -> None:
    odd: list[object] = ["text", b"\xff\0", 1e300, -(1 << 63), None, float("inf")]
    rows = [message(2 + at, 1, f"K{at}", "x", timestamp=value, message_type=value, from_me=value, status=value,
                    sender_jid_row_id=value, starred=value, origin=value, origination_flags=value)
            for at, value in enumerate(odd)]  # fmt: skip
    media = [{"message_row_id": 2 + at, "file_path": one, "file_size": one, "file_hash": one, "media_name": one,
              "mime_type": one} for at, one in enumerate(odd)]  # fmt: skip
    assert len(messages(android(rows, message_media=media))) == len(odd)


def test_a_view_in_place_of_a_table_is_not_read() -> None:
    content = database({"jid": jids(ANN)}, ["CREATE VIEW message AS SELECT 1 AS _id, load_extension('x') AS key_id"])
    with pytest.raises(UnreadableSource):
        items(content)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the sample files of KEEPSTONE_FIXTURES")
def test_a_real_database_of_both_generations_is_read_without_loss() -> None:
    found = items((FIXTURES / "whatsapp-android" / "msgstore.db").read_bytes())
    said = [item for item in found if isinstance(item, Message)]
    assert not [item for item in found if isinstance(item, Loss)]
    assert [one.kind for one in said].count("image") == 5
    assert {one.chat for one in said} == {"status@broadcast"}
    assert len(said) == 9
