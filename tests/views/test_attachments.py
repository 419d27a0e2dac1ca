"""An attachment that is damaged in the repository is told and left out; everything else is written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from keepstone import events
from keepstone.errors import Damaged
from keepstone.messages.model import Attachment, Conversation, Message
from keepstone.sources import keepstone_jsonl
from keepstone.sources.reading import MemoryFolder
from keepstone.views import plain, sms_xml, whatsapp_txt
from keepstone.views.attachments import Opened
from keepstone.views.chat import Chat
from keepstone.views.html import export_html
from support import noise

WHOLE, HALF = noise(1, 3_000_000), noise(2, 3_000_000)


class Broken(io.BytesIO):
    """A content whose second half cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > len(HALF) // 2:
            raise Damaged("A pack", "does not open")
        return super().read(min(size or 0, 1_000_000))


def opened(attachment: Attachment) -> BinaryIO | None:
    return Broken(HALF) if attachment.name == "half.jpg" else io.BytesIO(WHOLE)


ATTACHMENTS = tuple(
    Attachment(name=name, mime="image/jpeg", size=3_000_000, sha256=name.encode().ljust(32))
    for name in ("half.jpg", "whole.jpg")
)
CHAT = Conversation(service="sms", key="1", title="Ann")
MESSAGE = Message(
    identity=bytes(16), service="sms", chat="1", time_ms=0, author="1", direction="in", text="look",
    attachments=(ATTACHMENTS[0], *ATTACHMENTS),
)  # fmt: skip


def told(write: Callable[[Opened], object]) -> None:
    heard: list[events.Event] = []
    guarded = Opened(opened, "export", heard.append)
    write(guarded)
    assert [problem.path for problem in guarded.problems] == [b"half.jpg"]
    assert heard == guarded.problems


def test_pages_show_a_damaged_photo_as_missing(tmp_path: Path) -> None:
    told(lambda guarded: export_html([Chat(CHAT, [MESSAGE])], tmp_path, guarded))
    (photo,) = (tmp_path / "media").iterdir()
    assert photo.read_bytes() == WHOLE
    assert "look" in (tmp_path / "chat-00001-ann.html").read_text("utf-8")


def test_a_zip_leaves_a_damaged_photo_out() -> None:
    out = io.BytesIO()
    told(lambda guarded: whatsapp_txt.write(out, CHAT, [MESSAGE], names=lambda _: "Ann", content=guarded))
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["WhatsApp Chat with Ann.txt", "whole.jpg"]
        assert archive.read("whole.jpg") == WHOLE
        assert archive.read("WhatsApp Chat with Ann.txt").count(b"<Media omitted>") == 2


def test_a_phones_form_and_a_mailbox_leave_a_damaged_photo_out() -> None:
    told(lambda guarded: b"".join(sms_xml.messages_xml([Chat(CHAT, [MESSAGE])], guarded)).index(b"look"))
    told(lambda guarded: b"".join(plain.mbox([Chat(CHAT, [MESSAGE])], guarded)).index(b"look"))


def test_what_a_source_said_besides_never_replaces_what_a_message_says() -> None:
    extra = {"body": "evil", "date": "7", "sub": "evil", "xmlns:x": "1", "xml": "1", "a:b": "1", "sub_id": "3"}
    message = Message(
        identity=bytes(16), service="sms", chat="1", time_ms=5, direction="in", text="good", extra=dict(extra)
    )
    xml = b"".join(sms_xml.messages_xml([Chat(CHAT, [message])], lambda _: None))
    assert b'body="good"' in xml
    assert b'date="5"' in xml
    assert b'sub_id="3"' in xml
    assert not any(bad in xml for bad in (b"evil", b"xml=", b":b", b"xmlns"))


def test_names_cannot_turn_the_rest_of_a_line_round() -> None:
    chat = Chat(Conversation(service="signal", key="1", title="\u202egpj\u2066"), [MESSAGE], {"1": "\u202eevil"})
    text = b"".join(plain.text([chat])).decode()
    assert "\u202e" not in text
    assert "\u2066" not in text


def test_a_line_that_names_a_file_elsewhere_opens_nothing() -> None:
    found = Attachment(sha256=b"x" * 32)
    for path in ("../secret", "/secret", "a/../../secret", "..", "", "\0"):
        head = plain.jsonl_head() + plain.jsonl_line("file", keepstone_jsonl.File(found.sha256, path))
        folder = MemoryFolder({"in/a.jsonl": head, "secret": b"secret"})
        file = keepstone_jsonl.open_attachment("in/a.jsonl", folder, found)
        assert file is None, path
    assert keepstone_jsonl.open_attachment("a.jsonl", MemoryFolder({"a.jsonl": b"{", "secret": b""}), found) is None
