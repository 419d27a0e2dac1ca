"""SMS Backup & Restore's XML is read whole, however it is written, cut or damaged."""

from __future__ import annotations

import base64
import os
from hashlib import sha256
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Call, Conversation, Item, Loss, Message
from keepstone.sources import backup_xml, sms_backup_restore
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from keepstone.sources.references import Mended
from support import noise

FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[3] / "shared" / "fixtures")) / "sms"
READER: Reader = sms_backup_restore


def items(content: bytes) -> list[Item]:
    return list(READER.read("a", MemoryFolder({"a": content}), Options()))


def messages(content: bytes) -> list[Message]:
    return [item for item in items(content) if isinstance(item, Message)]


def losses(content: bytes) -> list[Loss]:
    return [item for item in items(content) if isinstance(item, Loss)]


def fixture(name: str) -> bytes:
    if not FIXTURES.is_dir():
        pytest.skip("needs the sample files in KEEPSTONE_FIXTURES")
    return (FIXTURES / name).read_bytes()


def sms(body: str = "a", date: int = 1_500_000_000_000, **attributes: str) -> str:
    given = {"address": "+15550000001", "date": str(date), "type": "1", "read": "1"} | attributes
    return f"<sms {' '.join(f'{key}={quoteattr(value)}' for key, value in given.items())} body={body} />\n"


def backup(*records: str, count: int | None = None) -> bytes:
    said = len(records) if count is None else count
    return f"<?xml version='1.0' encoding='UTF-8' ?>\n<smses count=\"{said}\">\n{''.join(records)}</smses>".encode()


def mms(content: bytes, name: str = "a.png", date: int = 1_500_000_000_000) -> str:
    data = base64.b64encode(content).decode()
    return (
        f'<mms date="{date}" msg_box="1" address="+15550000001" m_id="null" tr_id="t" read="0"><parts>'
        f'<part seq="0" ct="image/png" cl="{name}" text="null" data="{data}"/>'
        '<part seq="0" ct="text/plain" text="hi"/></parts>'
        '<addrs><addr address="+15550000001" type="137"/></addrs></mms>\n'
    )


def test_a_cut_file_gives_every_complete_record() -> None:
    content = fixture("sms_and_mms.xml")
    found = messages(content)
    assert len(found) == 49
    assert sum("m_type" in message.extra for message in found) == 8
    assert [loss.records for loss in losses(content)] == [9]


def test_a_group_of_rcs_is_one_conversation_with_authors() -> None:
    content = fixture("sms_and_mms.xml")
    group = [message for message in messages(content) if message.chat == "group_8@rcs.google.com"]
    assert [message.author for message in group] == ["+15550000009", "+15550000007", "+15550000010"]
    kinds = {one.key: one.kind for one in items(content) if isinstance(one, Conversation)}
    assert kinds["group_8@rcs.google.com"] == "group"


def test_what_xml_forbids_is_read_as_far_as_it_says_something() -> None:
    assert [message.text for message in messages(fixture("sms-edge-cases.xml"))] == [
        "surrogate pair \U0001f600 end", "lone high \ufffd then text", "control \ufffd\ufffd chars", "null",
        'single-quoted "attr" & \nnewline',
    ]  # fmt: skip


def test_calls_are_read_with_their_outcomes() -> None:
    calls = [item for item in items(fixture("calls.xml")) if isinstance(item, Call)]
    assert [(call.outcome, call.seconds, len(call.people)) for call in calls] == [
        ("answered", 72, 1), ("missed", 0, 1), ("rejected", 0, 0),
    ]  # fmt: skip


def test_files_of_an_mms_come_back() -> None:
    big = noise(1, 300_000)
    content = backup(mms(b"first"), mms(big), mms(b"", date=3))
    found = [attachment for message in messages(content) for attachment in message.attachments]
    assert [one.sha256 for one in found] == [sha256(data).digest() for data in (b"first", big, b"")]
    for one, data in zip(found, (b"first", big, b""), strict=True):
        opened = READER.open_attachment("a", MemoryFolder({"a": content}), one)
        assert opened is not None
        assert opened.read() == data
    missing = Attachment(place="1/0", sha256=bytes(32))
    assert READER.open_attachment("a", MemoryFolder({"a": content}), missing) is None


def test_a_wrong_count_is_a_loss() -> None:
    assert [loss.records for loss in losses(backup(sms('"a"'), count=7))] == [6]
    assert losses(backup(sms('"a"'), sms('"b"'), count=1)) == []


def test_one_bad_record_costs_one_record() -> None:
    bad = '<sms address="1" date="1" type="1" body="a" body="b"/>\n'
    for damage in (bad, '<sms address="1" body="', "<mms><parts><part", "</mms>", "&unknown;", "<sms <sms "):
        content = backup(sms('"1"'), damage, sms('"2"', date=2), sms('"3"', date=3))
        assert [message.text for message in messages(content)] == ["1", "2", "3"], damage
        assert len(losses(content)) == 1


def test_a_document_type_is_refused() -> None:
    for declared in ("<!DOCTYPE smses>", '<!DOCTYPE smses [<!ENTITY a "b">]>'):
        with pytest.raises(UnreadableSource):
            items(declared.encode() + backup(sms('"a"')))


def test_endless_nesting_and_endless_values_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert messages(b"<smses>" + b"<a>" * 100_000 + sms('"x"').encode()) != []
    monkeypatch.setattr(backup_xml, "MAX_TAG", 1_000_000)
    long = backup(sms(quoteattr("x" * 5_000_000)), sms('"b"', date=2))
    assert [message.text[-1:] for message in messages(long)] == ["x", "b"]
    assert len(losses(long)) == 1
    video = noise(3, 3_000_000)
    (whole, _) = messages(backup(mms(video), sms('"b"')))
    assert (whole.attachments[0].sha256, whole.attachments[0].size) == (sha256(video).digest(), len(video))
    (cut, _) = messages(backup(mms(video), sms('"b"')).decode().encode("utf-16"))
    assert (cut.attachments[0].sha256, cut.attachments[0].size) == (b"", -1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_read(encoding: str) -> None:
    content = backup(sms('"ö😀"')).decode().encode(encoding)
    assert READER.recognises("a", content[:4096], MemoryFolder({}))
    assert [message.text for message in messages(content)] == ["ö😀"]


def test_every_cut_of_a_file_is_read_up_to_there() -> None:
    content = backup(sms('"1&#55357;&#56832;"'), mms(b"abc"), sms('"3"'), '<call number="1" date="1" type="3"/>')
    before = 0
    for end in range(content.index(b"<smses") + 20, len(content)):
        found = items(content[:end])
        records = [item for item in found if isinstance(item, Message | Call)]
        assert len(records) >= before
        before = len(records)
        assert isinstance(found[-1], Loss) or len(records) == 4
    assert before == 4


@given(st.binary(max_size=40), st.integers(0, 900), st.integers(0, 255))
def test_damage_never_fails(junk: bytes, place: int, flip: int) -> None:
    content = bytearray(backup(sms('"1"'), mms(b"abc"), sms('"3"')))
    place %= len(content)
    content[place] ^= flip
    content[place:place] = junk
    try:
        items(bytes(content))
    except UnreadableSource:
        pass


def _java(text: str) -> str:
    """Write text as Java programs do: references for whatever is not plain."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 and chr(code) not in "<&\"'" else f"&#{code};" for code in codes)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(texts, max_size=5))
def test_any_text_that_xml_can_say_comes_back(bodies: list[str]) -> None:
    content = backup(*(sms(f'"{_java(body)}"', date=number) for number, body in enumerate(bodies)))
    allowed = ["".join(ch if _sayable(ch) else "\ufffd" for ch in body) for body in bodies]
    assert [message.text for message in messages(content)] == allowed


def _sayable(character: str) -> bool:
    return character in "\t\n\r" or (character >= " " and character not in "\ufffe\uffff")


@given(
    st.text(st.sampled_from("ab&#;\U0001f600ö"), max_size=20), st.lists(st.integers(0, 70_000), max_size=5), st.data()
)
def test_blocks_may_end_anywhere(text: str, codes: list[int], data: st.DataObject) -> None:
    units = "".join(f"&#{code};&#x{code:x};" for code in [*codes, 0xD83D, 0xDE00, 0xD83D, 0xD83D, 0xDE00])
    content = (text + units + text).encode()
    ends = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    mended = Mended(b"")
    parts = [mended.feed(content[a:b]) for a, b in zip([0, *ends], [*ends, len(content)], strict=True)]
    assert b"".join(parts) + mended.feed(b"", True) == Mended(b"").feed(content, True)


def test_the_same_message_is_the_same_in_the_next_backup() -> None:
    one, later = sms('"a"', type="4", sub_id="1"), sms('"a"', type="2", address="0015550000001", status="0")
    assert messages(backup(one))[0].identity == messages(backup(sms('"x"', date=1), later))[1].identity
    assert messages(backup(later))[0].state == "delivered"
    assert messages(backup(mms(b"a")))[0] == messages(backup(sms('"x"', date=1), mms(b"a")))[1]
    assert messages(backup(mms(b"a")))[0].identity != messages(backup(mms(b"b")))[0].identity


def test_unknown_types_keep_their_number_and_text() -> None:
    (message,) = messages(backup(sms('"a"', type="19", date=1, new_attribute="b")))
    assert (message.text, message.direction) == ("a", "unknown")
    assert message.extra == {"type": "19", "new_attribute": "b"}
    (call,) = items(b'<calls><call number="1" date="99999999999999999999999" type="99" duration="x"/></calls>')
    assert isinstance(call, Call)
    assert call.extra == {"type": "99", "date": "9" * 23}
