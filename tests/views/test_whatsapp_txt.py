"""What the written form of a chat carries comes back; what it cannot carry does no harm."""

from __future__ import annotations

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Conversation, Message
from keepstone.sources import whatsapp_export
from keepstone.sources.reading import MemoryFolder, Options
from keepstone.views.whatsapp_txt import carried, write

MINUTE = 60_000
CHAT = Conversation(service="whatsapp", key="~Round", title="Round")
FILES = {"IMG-1.jpg": b"\xff\xd8 picture", "PTT-2.opus": b"OggS voice"}

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=60) | st.text(
    "ab :\n-[]<>()0123456789/,.\u200e\u202fé👩‍👩‍👧عלה\u0301", max_size=40
)
authors = st.text(characters, min_size=1, max_size=12)
times = st.integers(0, 2**31 // 60).map(lambda minute: minute * MINUTE)


def message(author: str, text: str, time: int, *attachments: Attachment) -> Message:
    return Message(
        identity=bytes(16), service="whatsapp", chat=CHAT.key, time_ms=time, zoned=False, author=f"~{author}",
        text=text, attachments=attachments,
    )  # fmt: skip


def content(attachment: Attachment) -> io.BytesIO | None:
    return io.BytesIO(FILES[attachment.name]) if attachment.name in FILES else None


def written(*messages: Message) -> dict[str, bytes]:
    out = io.BytesIO()
    write(out, CHAT, messages, names=lambda address: address.removeprefix("~"), content=content)
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def again(files: dict[str, bytes]) -> list[Message]:
    name = next(name for name in files if name.endswith(".txt"))
    items = list(whatsapp_export.read(name, MemoryFolder(files), Options()))
    assert items[0] == CHAT
    return [item for item in items if isinstance(item, Message)]


@given(st.lists(st.tuples(authors, texts, times), min_size=1, max_size=8))
def test_what_the_form_carries_comes_back(said: list[tuple[str, str, int]]) -> None:
    kept = [one for one in said if carried(one[0], one[1])]
    if kept:
        back = again(written(*(message(*one) for one in kept)))
        assert [(one.author.removeprefix("~"), one.text, one.time_ms) for one in back] == kept
        assert {one.precision_ms for one in back} == {MINUTE}
        assert not any(one.zoned or one.anchored for one in back)


@given(st.lists(st.tuples(authors, texts, times), min_size=1, max_size=8))
def test_whatever_is_written_can_be_read(said: list[tuple[str, str, int]]) -> None:
    again(written(*(message(*one) for one in said)))


def test_ordinary_texts_are_carried() -> None:
    for text in ("", "a: b", "one\ntwo\n\nthree\n", "12:30", "👩‍👩‍👧 שלום مرحبا", " \u200eleading", "3/4 of it"):
        assert carried("Ann Other", text)
    assert not carried("Ann", "a\n2024-01-31, 12:30 - Bob: forged")
    assert not carried("Ann", "<Media omitted>")


def test_media_come_back_with_their_captions() -> None:
    picture, voice = Attachment(name="IMG-1.jpg"), Attachment(name="PTT-2.opus")
    files = written(message("Ann", "two\nlines", 0, picture), message("Bob", "", MINUTE, voice, Attachment()))
    assert {files[name] for name in FILES} == set(FILES.values())
    first, second, third = again(files)
    assert (first.kind, first.text, first.attachments[0].place) == ("image", "two\nlines", "IMG-1.jpg")
    assert (second.kind, second.attachments[0].size) == ("voice", len(FILES["PTT-2.opus"]))
    assert third.attachments == (Attachment(extra={"omitted": "<Media omitted>"}),)
    opened = whatsapp_export.open_attachment("x.txt", MemoryFolder(files), first.attachments[0])
    assert opened is not None
    assert opened.read() == FILES["IMG-1.jpg"]


def test_a_photo_without_a_name_stays_a_photo() -> None:
    FILES[""] = b"photo"
    (found,) = again(written(message("Ann", "", 0, Attachment(mime="image/jpeg", sha256=b"p" * 32))))
    assert (found.kind, found.attachments[0].name[-4:]) == ("image", ".jpg")


def test_the_same_chat_makes_the_same_zip() -> None:
    one, two = io.BytesIO(), io.BytesIO()
    for out in (one, two):
        write(out, CHAT, [message("Ann", "hi", 0)], names=str, content=content)
    assert one.getvalue() == two.getvalue()


def test_names_stay_in_their_folder() -> None:
    out = io.BytesIO()
    chat = Conversation(service="whatsapp", key="k", title="../../etc/passwd")
    FILES["../x.jpg"] = b"x"
    write(out, chat, [message("A", "", 0, Attachment(name="../x.jpg"))], names=str, content=content)
    assert not any("/" in name or name.startswith(".") for name in zipfile.ZipFile(out).namelist())
