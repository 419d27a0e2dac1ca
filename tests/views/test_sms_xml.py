"""What is written for a phone is read back as it was."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Call, Conversation, Item, Loss, Message, Person
from keepstone.sources import sms_backup_restore
from keepstone.sources.reading import MemoryFolder, Options
from keepstone.views.chat import Chat
from keepstone.views.sms_xml import calls_xml, messages_xml
from sources.test_sms_backup_restore import backup, mms, sms
from support import noise

FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[3] / "shared" / "fixtures")) / "sms"


def read(content: bytes) -> list[Item]:
    return list(sms_backup_restore.read("a", MemoryFolder({"a": content}), Options()))


def written(content: bytes, items: Iterable[Item]) -> bytes:
    """Write what was read from content."""
    folder = MemoryFolder({"a": content})
    chats: dict[str, tuple[Conversation, list[Message]]] = {}
    for item in items:
        if isinstance(item, Conversation):
            chats[item.key] = (item, [])
        elif isinstance(item, Message):
            chats[item.chat][1].append(item)
    calls = [item for item in items if isinstance(item, Call)]
    if calls:
        return b"".join(calls_xml(calls, count=len(calls)))
    return b"".join(
        messages_xml(
            (Chat(conversation, messages) for conversation, messages in chats.values()),
            lambda attachment: sms_backup_restore.open_attachment("a", folder, attachment),
            count=sum(len(messages) for _, messages in chats.values()),
        )
    )


def in_any_order(items: Iterable[Item]) -> list[bytes]:
    return sorted(msgspec.json.encode(item, order="deterministic") for item in items if not isinstance(item, Loss))


@pytest.mark.parametrize("name", ["calls", "sms-edge-cases", "sms_small", "sample_mms", "sms_and_mms"])
def test_real_backups_come_back_in_every_field(name: str) -> None:
    if not FIXTURES.is_dir():
        pytest.skip("needs the sample files in KEEPSTONE_FIXTURES")
    content = (FIXTURES / f"{name}.xml").read_bytes()
    items = read(content)
    again = read(written(content, items))
    assert in_any_order(again) == in_any_order(items)
    assert not any(isinstance(item, Loss) for item in again)


def test_files_of_any_length_come_back() -> None:
    content = backup(*(mms(noise(size, size), date=1_000_000 * (size + 1)) for size in (0, 1, 2, 3, 1_500_001)))
    items = read(content)
    assert in_any_order(read(written(content, items))) == in_any_order(items)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\n"))


@given(
    st.lists(
        st.tuples(
            texts, st.sampled_from("0123456789"), st.integers(-(10**14), 10**14), texts,
            st.sampled_from(["-1", "0", "32", "64"]), st.sampled_from(["0", "1"]),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_any_text_number_and_state_come_back(rows: list[tuple[str, str, int, str, str, str]]) -> None:
    records = (
        sms(f'"{"".join(f"&#{ord(ch)};" for ch in body)}"', date, type=box, address=address, status=status, read=seen)
        for body, box, date, address, status, seen in rows
    )
    content = backup(*records)
    items = read(content)
    assert in_any_order(read(written(content, items))) == in_any_order(items)


def test_a_message_from_elsewhere_is_one_that_a_phone_takes() -> None:
    people = (Person(address="+15550000001"), Person(address="+15550000002"))
    chat = Conversation(service="sms", key="550000001~550000002", kind="group", people=people)
    photo = Attachment(mime="image/png", name="a.png", size=3, sha256=bytes(32))
    message = Message(
        identity=bytes(16), service="sms", chat=chat.key, time_ms=1_500_000_000_000, direction="in", text="\x00<&>\n",
        author="+15550000002", attachments=(photo,),
    )  # fmt: skip
    content = b"".join(messages_xml([Chat(chat, [message])], lambda _: io.BytesIO(b"abc")))
    found_chat, found = read(content)
    assert found_chat == chat
    assert isinstance(found, Message)
    assert (found.text, found.author, found.attachments[0].name) == ("\ufffd<&>\n", "+15550000002", "a.png")


def test_chats_of_other_services_are_left_out() -> None:
    chat = Conversation(service="signal", key="x")
    message = Message(identity=bytes(16), service="signal", chat="x", time_ms=0)
    assert read(b"".join(messages_xml([Chat(chat, [message])], lambda _: None))) == []
