"""JSON lines give every record back; text, tables and mail show what was said and run nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import mailbox
from datetime import UTC
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Call, Conversation, Item, Loss, Message, Reaction
from keepstone.sources import keepstone_jsonl
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from keepstone.views import plain, whatsapp_txt
from keepstone.views.chat import Chat
from messages.strategies import CALLS, CONVERSATIONS, MESSAGES, TEXT

READER: Reader = keepstone_jsonl


def read_back(data: bytes) -> list[Item]:
    return list(READER.read("it", MemoryFolder({"it": data}), Options()))


def message(text: str, **fields: object) -> Message:
    chosen = {"author": "1", "direction": "in", "time_ms": 1_700_000_000_000} | fields
    return Message(identity=b"i" * 16, service="sms", chat="1", text=text, **chosen)  # type: ignore[arg-type]


def chat(*messages: Message, title: str = "Ana") -> Chat:
    return Chat(Conversation(service="sms", key="1", title=title), messages, {"1": "Ana"})


@settings(max_examples=200, deadline=None)
@given(CONVERSATIONS, st.lists(MESSAGES, max_size=4), st.lists(CALLS, max_size=2))
def test_json_lines_give_every_record_back(
    conversation: Conversation, messages: list[Message], calls: list[Call]
) -> None:
    data = b"".join(plain.jsonl([Chat(conversation, messages)], calls))
    assert READER.recognises("x", data[:4096], MemoryFolder({}))
    assert read_back(data) == [conversation, *messages, *calls]
    assert len(data.splitlines()) == 2 + len(messages) + len(calls)


def test_json_lines_that_are_cut_or_damaged_lose_the_line_and_say_so() -> None:
    messages = [message(f"text {number}") for number in range(20)]
    data = b"".join(plain.jsonl([chat(*messages)]))
    for cut in range(len(data.split(b"\n")[0]) + 1, len(data), 7):
        found = read_back(data[:cut])
        whole = data[:cut].count(b"\n") - 1
        assert len([item for item in found if not isinstance(item, Loss)]) in (whole, whole + 1)
    damaged = data.replace(b"text 7", b"text \xff")
    assert [item.records for item in read_back(damaged) if isinstance(item, Loss)] == [1]
    assert len(read_back(damaged)) == 21
    with pytest.raises(UnreadableSource):
        read_back(data.replace(b'"version":1', b'"version":2'))


def test_text_has_a_line_for_each_message_and_indents_the_rest() -> None:
    said = chat(message("one\ntwo"), message("Ana left", direction="none", kind="event"), message("", kind="deleted"))
    assert b"".join(plain.text([said])).decode() == (
        "=== Ana (sms) ===\n\n2023-11-14 22:13 Ana: one\n    two\n2023-11-14 22:13 Ana left\n"
        "2023-11-14 22:13 Ana: <deleted>\n\n"
    )


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_no_text_can_look_like_another_message(text: str, title: str) -> None:
    lines = b"".join(plain.text([chat(message(text), title=title)])).decode().split("\n")
    starts = [line for line in lines[2:] if line and not line.startswith("    ")]
    assert len(starts) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, max_size=3), TEXT)
def test_a_table_has_a_row_for_each_message_and_no_formula(messages: list[Message], title: str) -> None:
    data = b"".join(plain.csv_table([chat(*messages, title=title)])).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(data, newline="")))
    assert len(rows) == 1 + len(messages)
    for row in rows:
        assert len(row) == len(rows[0])
        for cell in row:
            assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0"])
def test_a_formula_in_a_table_is_text(formula: str) -> None:
    data = b"".join(plain.csv_table([chat(message(formula), title=formula)])).decode("utf-8-sig")
    (row,) = list(csv.reader(io.StringIO(data, newline="")))[1:]
    assert row[8].startswith("'")
    assert row[1].startswith("'")


def mails(tmp_path: Path, data: bytes) -> list[mailbox.mboxMessage]:
    (tmp_path / "box").write_bytes(data)
    return list(mailbox.mbox(tmp_path / "box"))


def test_a_mailbox_has_a_mail_for_each_message_with_its_files(tmp_path: Path) -> None:
    photo = b"\xff\xd8\xff photo"
    attachment = Attachment(
        sha256=hashlib.sha256(photo).digest(), name="p\u00e9.jpg", mime="image/jpeg", size=len(photo)
    )
    said = chat(
        message("From here on\n>From there"), message("see", attachments=(attachment, Attachment(name="lost"))),
        message("", reactions=(Reaction(author="1", emoji="x"),)),
    )  # fmt: skip
    found = mails(tmp_path, b"".join(plain.mbox([said], lambda a: io.BytesIO(photo) if a.sha256 else None)))
    assert len(found) == 3
    assert found[0]["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    body = found[0].get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.replace(b">From here", b"From here").startswith(b"From here on")
    parts = list(found[1].walk())
    assert [part.get_content_type() for part in parts] == ["multipart/mixed", "text/plain", "image/jpeg", "text/plain"]
    assert parts[2].get_payload(decode=True) == photo
    assert parts[2].get_filename() is not None


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, max_size=3), TEXT)
def test_no_text_makes_a_second_mail_or_a_header(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Message], title: str
) -> None:
    data = b"".join(plain.mbox([chat(*messages, title=title)], lambda _: None))
    found = mails(tmp_path_factory.mktemp("mail"), data)
    assert len(found) == len(messages)
    allowed = {
        "from", "to", "subject", "date", "message-id", "references", "content-type", "content-transfer-encoding",
        "mime-version",
    }  # fmt: skip
    for mail in found:
        assert {name.lower() for name in mail} <= allowed


def test_a_message_whose_source_tells_no_time_has_no_date() -> None:
    def chat_of(*said: Message) -> Chat:
        return Chat(Conversation(service="whatsapp", key="status@broadcast", title="Status"), said)

    undated = Message(identity=b"u" * 16, service="whatsapp", chat="status@broadcast", time_ms=0, text="hello")
    assert plain.text_of(chat_of(), undated, UTC).startswith(b"no date ")
    first = msgspec.structs.replace(undated, time_ms=-(2**52))
    assert plain.text_of(chat_of(), first, UTC).startswith(b"0001-01-02 00:00 ")
    (row,) = csv.DictReader(io.StringIO(b"".join(plain.csv_table([chat_of(undated)])).decode("utf-8-sig")))
    assert (row["time"], row["zone"]) == ("", "")
    assert b"Date:" not in b"".join(plain.mbox([chat_of(undated)], lambda _: None))


def test_a_subject_and_captions_are_part_of_what_is_said() -> None:
    files = (Attachment(name="a.jpg", caption="one"), Attachment(name="b.jpg", caption="two"))
    said = message("text", subject="Lunch", attachments=files)
    assert plain.text_of(chat(), said, UTC).decode() == (
        "2023-11-14 22:13 Ana: <a.jpg>\n    <b.jpg>\n    Lunch\n    one\n    two\n    text\n"
    )
    (row,) = csv.DictReader(io.StringIO(b"".join(plain.csv_table([chat(said)])).decode("utf-8-sig")))
    assert (row["subject"], row["captions"], row["text"], row["zone"]) == ("Lunch", "one\ntwo", "text", "UTC+0000")
    data = b"".join(plain.mbox([chat(said)], lambda _: None))
    assert all(part in data for part in (b"Lunch", b"one", b"two", b"text"))
    assert whatsapp_txt.line(said, str, UTC, []).endswith(": Lunch\none\ntwo\ntext\n")
