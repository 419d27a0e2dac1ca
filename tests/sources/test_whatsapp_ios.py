"""What an iPhone's databases hold is read, side by side or in a backup; a message is the same as on Android."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.identity import identity
from keepstone.messages.model import Call, Item, Loss, Message, Reaction
from keepstone.sources import whatsapp_android, whatsapp_ios
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from keepstone.sources.whatsapp import address, message_identity
from keepstone.sources.whatsapp_ios import file_id
from sources.whatsapp_databases import ANN, BOB, GROUP, android, apple, database, ios, message, protobuf

READER: Reader = whatsapp_ios
DOMAIN = "AppDomainGroup-group.net.whatsapp.WhatsApp.shared"
FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2].parent / "shared" / "fixtures"))

CALLS = database(
    {
        "ZWACDCALLEVENT": [{"Z_PK": 1, "Z1CALLEVENTS": 4, "ZDATE": 5.0, "ZDURATION": 9.6, "ZOUTCOME": 0,
                            "ZCALLIDSTRING": "ab"}],
        "ZWAAGGREGATECALLEVENT": [{"Z_PK": 4, "ZINCOMING": 1, "ZVIDEO": 0}],
        "ZWACDCALLEVENTPARTICIPANT": [{"Z_PK": 1, "Z1PARTICIPANTS": 1, "ZJIDSTRING": ANN}],
    }
)  # fmt: skip


def items(folder: MemoryFolder, name: str = "ChatStorage.sqlite") -> list[Item]:
    return list(READER.read(name, folder, Options()))


def messages(content: bytes) -> list[Message]:
    return [item for item in items(MemoryFolder({"ChatStorage.sqlite": content})) if isinstance(item, Message)]


@given(st.text(), st.booleans(), st.text(), st.text())
def test_the_fast_identity_is_the_plain_one(chat: str, from_me: bool, key: str, sender: str) -> None:
    chat += "@g.us"
    assert message_identity(chat, from_me, key, sender) == identity(
        "whatsapp", chat, int(from_me), key, "" if from_me else sender
    )


def test_an_account_is_the_same_on_all_its_devices() -> None:
    assert address("49171:12@s.whatsapp.net") == address("49171.0:12@c.us") == "49171@s.whatsapp.net"
    assert address("123-456@g.us") == "123-456@g.us"


def test_a_message_is_the_same_as_on_android() -> None:
    here = messages(ios([apple(1, 1, "A", "x"), apple(2, 1, "B", "x", ZISFROMME=1), apple(3, 2, "C", ZGROUPMEMBER=7)]))
    content = android([message(9, 1, "A"), message(8, 1, "B", from_me=1), message(7, 2, "C", sender_jid_row_id=2)])
    there = whatsapp_android.read("m.db", MemoryFolder({"m.db": content}), Options())
    assert {one.identity for one in here} == {one.identity for one in there if isinstance(one, Message)}
    assert len({one.identity for one in here}) == 3


def test_quotes_reactions_media_and_places_are_read() -> None:
    reaction = protobuf((1, protobuf((1, b"id"), (2, BOB.encode()), (3, "👍".encode()), (4, 5))))
    content = ios(
        [apple(1, 1, "A", ZMESSAGETYPE=1), apple(2, 2, "B", "re", ZGROUPMEMBER=7), apple(3, 1, "C", ZMESSAGETYPE=5),
         apple(4, 1, "D", "?", ZMESSAGETYPE=77)],
        ZWAMEDIAITEM=[
            {"Z_PK": 1, "ZMESSAGE": 1, "ZMEDIALOCALPATH": "Media/x/a.jpg", "ZTITLE": "cap",
             "ZVCARDSTRING": "image/jpeg", "ZFILESIZE": 3, "ZLATITUDE": 640.0, "ZMETADATA": None},
            {"Z_PK": 2, "ZMESSAGE": 2, "ZMETADATA": protobuf((5, b"A"), (6, ANN.encode())), "ZLATITUDE": 0.0},
            {"Z_PK": 3, "ZMESSAGE": 3, "ZLATITUDE": 1.5, "ZMETADATA": b"\xff\xff"},
        ],
        ZWAMESSAGEINFO=[{"Z_PK": 1, "ZMESSAGE": 2, "ZRECEIPTINFO": protobuf((7, reaction))}],
    )  # fmt: skip
    image, reply, place, unknown = messages(content)
    assert (image.kind, image.text, image.attachments[0].size) == ("image", "cap", 3)
    assert (reply.reply_to, reply.author, reply.extra) == ("A", BOB, {"ZMETADATA.quoted_jid": ANN})
    assert reply.reactions == (Reaction(author=BOB, emoji="👍", time_ms=5),)
    assert (place.kind, place.extra) == ("location", {"ZLATITUDE": 1.5})
    assert (unknown.kind, unknown.text, unknown.extra) == ("unknown", "?", {"type": "77"})
    assert image.chat == ANN
    assert reply.chat == GROUP
    folder = MemoryFolder({"ChatStorage.sqlite": content, "Message/Media/x/a.jpg": b"jpg"})
    found = READER.open_attachment("ChatStorage.sqlite", folder, image.attachments[0])
    assert found is not None
    assert found.read() == b"jpg"


@pytest.mark.parametrize("nested", [True, False])
def test_the_files_of_a_phone_backup_are_found_by_their_names(nested: bool) -> None:
    def place(path: str) -> str:
        name = file_id(DOMAIN, path)
        return f"backup/{name[:2]}/{name}" if nested else f"backup/{name}"

    content = ios([apple(1, 1, "A", ZMESSAGETYPE=1)],
                  ZWAMEDIAITEM=[{"Z_PK": 1, "ZMESSAGE": 1, "ZMEDIALOCALPATH": "Media/a.jpg"}])  # fmt: skip
    name = place("ChatStorage.sqlite")
    assert file_id(DOMAIN, "ChatStorage.sqlite").startswith("7c7fba66")
    folder = MemoryFolder({name: content, place("CallHistory.sqlite"): CALLS, place("Message/Media/a.jpg"): b"jpg"})
    assert READER.recognises(name, content[:4096], folder)
    assert not READER.recognises(place("CallHistory.sqlite"), CALLS[:4096], folder)
    found = items(folder, name)
    (call,) = [item for item in found if isinstance(item, Call)]
    assert (call.chat, call.direction, call.outcome, call.seconds) == (ANN, "in", "answered", 9)
    (said,) = [item for item in found if isinstance(item, Message)]
    opened = READER.open_attachment(name, folder, said.attachments[0])
    assert opened is not None
    assert opened.read() == b"jpg"


def test_calls_alone_are_read() -> None:
    folder = MemoryFolder({"CallHistory.sqlite": CALLS})
    assert READER.recognises("CallHistory.sqlite", CALLS[:4096], folder)
    assert len(items(folder, "CallHistory.sqlite")) == 1


def test_damage_never_fails_otherwise() -> None:
    content = ios([apple(row, 1, f"K{row}", "text") for row in range(1, 60)],
                  ZWAMEDIAITEM=[{"Z_PK": 1, "ZMESSAGE": 1, "ZMETADATA": protobuf((5, b"A"))}])  # fmt: skip
    rng = random.Random(21)
    damaged = [content[:end] for end in range(0, len(content), 113)]
    for _ in range(100):
        flipped = bytearray(content)
        flipped[rng.randrange(100, len(flipped))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for one in damaged:
        try:
            messages(one)
        except UnreadableSource:
            pass


def test_odd_values_are_read_leniently() -> None:
    odd: list[object] = ["text", b"\xff\0", 1e300, -(1 << 63), None, float("inf")]
    rows = [apple(1 + at, 1, "K", ZMESSAGEDATE=one, ZMESSAGETYPE=one, ZISFROMME=one, ZGROUPMEMBER=one, ZFROMJID=one)
            for at, one in enumerate(odd)]  # fmt: skip
    media = [{"Z_PK": 1 + at, "ZMESSAGE": 1 + at, "ZMEDIALOCALPATH": one, "ZFILESIZE": one, "ZMETADATA": one,
              "ZTITLE": one} for at, one in enumerate(odd)]  # fmt: skip
    assert len(messages(ios(rows, ZWAMEDIAITEM=media))) == len(odd)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the sample files of KEEPSTONE_FIXTURES")
def test_a_real_phone_is_read_without_loss() -> None:
    files: dict[str, bytes] = {}
    for path in (FIXTURES / "whatsapp-ios").glob("*.zip"):
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            files |= {
                name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if not name.endswith("-shm")
            }
    found = items(MemoryFolder(files))
    said = [item for item in found if isinstance(item, Message)]
    assert not [item for item in found if isinstance(item, Loss)]
    assert len(said) == 32
    assert [one.kind for one in said].count("location") == 4
    assert [one.reply_to for one in said if one.reply_to] == ["3A26649A0A496377CB01"]
    assert len([item for item in found if isinstance(item, Call)]) == 4
