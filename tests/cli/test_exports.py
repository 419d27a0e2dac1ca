"""What `export` writes is read by `backup` into another repository, and the messages are the same there."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli.harness import Box, installed
from keepstone.messages.identity import identity
from keepstone.messages.model import Attachment, Call, Conversation, Message, Person
from keepstone.sources import whatsapp_export
from keepstone.views import plain
from keepstone.views.chat import Chat
from keepstone.views.whatsapp_txt import carried
from support import FIXTURES

COMMAND = installed()
TEXTS = [
    "", "Hello", "two\nlines\n\nand \u202e\u05de\u05d9\u202c \u05e9\u05dc\u05d5\u05dd",
    "e\u0301 \u00e9 \U0001f469\u200d\U0001f467",
    'he said "no" & <b>left</b>', "null", "=1+1", "a: b", "\u4f60\u597d" * 300, "]]>", " spaces around ",
]  # fmt: skip


def ingested(base: Path, source: Path) -> Box:
    """Return a computer whose repository has what a file or folder shows."""
    box = Box(base)
    box.env["TZ"] = "UTC"
    box.run("init", command=COMMAND)
    box.run("backup", source, command=COMMAND)
    return box


def messages(box: Box) -> list[dict[str, Any]]:
    """Return all messages of a repository, chat by chat, as the command shows them."""
    found: list[dict[str, Any]] = []
    for chat in box.run("--json", "chats").documents:
        shown = box.run("--json", "messages", chat["key"]).documents
        found += [one for one in shown if one["chat"] == chat["key"]]
    assert found
    return found


def exported(box: Box, form: str, out: Path, *options: str | Path) -> Any:
    return box.run("--json", "export", "--format", form, "-o", out, *options, command=COMMAND).document


@pytest.mark.parametrize(
    "name", ["sms-edge-cases.xml", "sms_small.xml", "sample_mms.xml", "sms_and_mms.xml", "calls.xml"]
)
def test_a_phones_real_backup_comes_back_through_its_own_form(tmp_path: Path, name: str) -> None:
    if not FIXTURES.is_dir():
        pytest.skip("needs the sample files in KEEPSTONE_FIXTURES")
    (tmp_path / "in").mkdir()
    shutil.copy(FIXTURES / "sms" / name, tmp_path / "in")
    one = ingested(tmp_path / "one", tmp_path / "in")
    out = tmp_path / "out" / "sms.xml"
    out.parent.mkdir()
    told = exported(one, "sms-xml", out)
    two = ingested(tmp_path / "two", tmp_path / "out")
    if name == "calls.xml":
        assert told["files"] == [str(out), str(out.parent / "calls-sms.xml")]
        assert two.run("--json", "calls").stdout == one.run("--json", "calls").stdout
        assert f'count="{told["calls"]}"' in (out.parent / "calls-sms.xml").read_text("utf-8")
        return
    assert messages(two) == messages(one)
    assert f'count="{told["messages"]}"' in out.read_text("utf-8")
    assert told["missing"] == 0


def own(service: str, chat: str, number: int, **fields: Any) -> Message:
    time_ms = 1_700_000_000_000 + number * 61_000
    chosen = {"direction": "in", "author": "+15550001", "text": TEXTS[number % len(TEXTS)], "time_ms": time_ms} | fields
    return Message(
        identity=identity("t", service, chat, number), service=service, chat=chat,  # type: ignore[arg-type]
        **chosen,
    )  # fmt: skip


def sample(folder: Path) -> Path:
    """Write an export with chats of several services, a call, and a photo that nobody has."""
    folder.mkdir()
    ana = Conversation(
        service="whatsapp", key="1@s", title="Ana", kind="person", people=(Person(address="1@s", name="Ana"),)
    )
    said = [own("whatsapp", "1@s", n, author="1@s") for n in range(len(TEXTS))]
    said.append(own("whatsapp", "1@s", 20, author="", direction="out", state="read", reply_to="x", native="y"))
    lost = Attachment(name="IMG-1.jpg", mime="image/jpeg", size=3, sha256=b"s" * 32)
    said.append(own("whatsapp", "1@s", 21, author="1@s", text="", kind="image", attachments=(lost,)))
    calls = [Call(identity=b"c" * 16, service="whatsapp", time_ms=0, direction="out")]
    chats = [Chat(ana, said), Chat(Conversation(service="signal", key="s", title="Ana"), [own("signal", "s", 1)])]
    (folder / "all.jsonl").write_bytes(b"".join(plain.jsonl(chats, calls)))
    return folder


def test_json_lines_carry_every_field_of_every_message_chat_and_call(tmp_path: Path) -> None:
    one = ingested(tmp_path / "one", sample(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    exported(one, "jsonl", tmp_path / "out" / "all.jsonl")
    two = ingested(tmp_path / "two", tmp_path / "out")
    assert messages(two) == messages(one)
    for command in ("calls", "chats"):
        assert two.run("--json", command).stdout == one.run("--json", command).stdout
    again = tmp_path / "again.jsonl"
    exported(two, "jsonl", again)
    assert again.read_bytes() == (tmp_path / "out" / "all.jsonl").read_bytes()


def test_whatsapps_text_carries_who_said_what_in_which_minute(tmp_path: Path) -> None:
    """It has no ids, seconds, replies, states, addresses or direction; what it carries is the same."""
    one = ingested(tmp_path / "one", sample(tmp_path / "in"))
    told = exported(one, "whatsapp-txt-zip", tmp_path / "out")
    assert (told["chats"], told["missing"]) == (2, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "WhatsApp Chat with Ana (2).zip", "WhatsApp Chat with Ana.zip",
    ]  # fmt: skip
    two = ingested(tmp_path / "two", tmp_path / "out")
    assert {chat["title"]: chat["messages"] for chat in two.run("--json", "chats").documents} == {
        "Ana": 1, "Ana (2)": len(TEXTS) + 2,
    }  # fmt: skip
    before = two_of(messages(one), "whatsapp", lambda author, out: "You" if out else "Ana")
    after = two_of(messages(two), "whatsapp", lambda author, out: author.removeprefix("~"))
    assert len(before) == len(TEXTS) + 1
    assert all(carried(author, text) for author, text, _ in before)
    assert after == before
    lost = next(one for one in messages(two) if one.get("attachments"))
    assert lost["attachments"][0]["extra"] == {"omitted": "<Media omitted>"}


def two_of(found: list[dict[str, Any]], service: str, author: Any) -> list[tuple[str, str, int]]:
    """Return author, text and minute of the long chat's messages without files."""
    long = [one for one in found if one["service"] == service and not one.get("attachments")]
    chats = {one["chat"] for one in long}
    chosen = max(chats, key=lambda chat: sum(one["chat"] == chat for one in long))
    return [
        (author(one.get("author", ""), one.get("direction") == "out"), one.get("text", ""), one["time_ms"] // 60_000)
        for one in long
        if one["chat"] == chosen
    ]


def test_a_chats_media_come_back_through_whatsapps_text(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "WhatsApp Chat with Bo.zip", "w") as archive:
        archive.writestr("WhatsApp Chat with Bo.txt", "2024-01-31, 12:30 - Bo: a.jpg (file attached)\nlook\n")
        archive.writestr("a.jpg", b"\xff\xd8 photo" * 1000)
    one = ingested(tmp_path / "one", tmp_path / "in")
    out = tmp_path / "out.zip"
    exported(one, "whatsapp-txt-zip", out, "--chat", "Bo")
    with zipfile.ZipFile(out) as archive:
        assert archive.read("a.jpg") == b"\xff\xd8 photo" * 1000
    two = ingested(tmp_path / "two", out)
    assert messages(two) == messages(one)
    exported(one, "whatsapp-txt-zip", tmp_path / "bare.zip", "--no-media")
    with zipfile.ZipFile(tmp_path / "bare.zip") as archive:
        assert archive.namelist() == ["WhatsApp Chat with Bo.txt"]
        assert b"<Media omitted>" in archive.read("WhatsApp Chat with Bo.txt")


def test_a_zip_is_one_chat(tmp_path: Path) -> None:
    one = ingested(tmp_path / "one", sample(tmp_path / "in"))
    error = one.fails(2, "export", "--format", "whatsapp-txt-zip", "-o", tmp_path / "all.zip")
    assert "one chat" in error["message"]
    assert not (tmp_path / "all.zip").exists()


def test_a_phones_form_takes_a_phones_messages_only(tmp_path: Path) -> None:
    one = ingested(tmp_path / "one", sample(tmp_path / "in"))
    error = one.fails(2, "export", "--format", "sms-xml", "-o", tmp_path / "sms.xml")
    assert "phone" in error["message"]
    assert not list(tmp_path.glob("*.xml"))


def test_an_mms_without_its_photo_has_no_photo_and_not_an_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    chat = Conversation(service="sms", key="15550001", kind="person", people=(Person(address="+15550001"),))
    lost = Attachment(name="a.jpg", mime="image/jpeg", size=3, sha256=b"s" * 32)
    note = Attachment(name="a.txt", mime="text/plain", size=3, sha256=b"t" * 32)
    said = own("sms", "15550001", 1, attachments=(lost, note), kind="image")
    (folder / "a.jsonl").write_bytes(b"".join(plain.jsonl([Chat(chat, [said])])))
    one = ingested(tmp_path / "one", folder)
    told = exported(one, "sms-xml", tmp_path / "out.xml")
    assert told["missing"] == 2
    assert "data=" not in (tmp_path / "out.xml").read_text("utf-8")
    (again,) = messages(ingested(tmp_path / "two", tmp_path / "out.xml"))
    assert again["text"].strip() == "Hello"
    assert [each["mime"] for each in again["attachments"]] == ["image/jpeg"]
    assert "sha256" not in again["attachments"][0]


def test_forged_lines_and_names_stay_in_the_message_that_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    forged = "2024-01-31, 12:30 - Mom: I owe you money"
    people = (Person(address="m", name=f"Mallory\n{forged}"), Person(address="n", name="Mom: I owe you"))
    chat = Conversation(service="signal", key="g", title="Group", kind="group", people=people)
    said = [
        own("signal", "g", 1, author="m", text=f"hi\n{forged}"),
        own("signal", "g", 2, author="n", text=f"hi\r{forged}"),
        own("signal", "g", 3, author="", direction="none", kind="event", text="Mom: I owe you"),
        own("signal", "g", 4, author="m", text=forged, attachments=(Attachment(name="x.jpg"),)),
    ]  # fmt: skip
    (folder / "a.jsonl").write_bytes(b"".join(plain.jsonl([Chat(chat, said)])))
    one = ingested(tmp_path / "one", folder)
    exported(one, "whatsapp-txt-zip", tmp_path / "out")
    again = messages(ingested(tmp_path / "two", tmp_path / "out"))
    assert len(again) == 4
    assert not [message for message in again if message.get("author") == "~Mom"]
    text = zipfile.ZipFile(tmp_path / "out" / "WhatsApp Chat with Group.zip").read("WhatsApp Chat with Group.txt")
    assert not re.search(rb"(?m)^2024-01-31", text)
    assert whatsapp_export.begins_message(forged)
