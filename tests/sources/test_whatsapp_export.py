"""An exported chat is read in the forms that phones write, and a text cannot pass for another message."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keepstone.messages.model import Item, Loss, Message
from keepstone.sources import whatsapp_export, whatsapp_words
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from sources.whatsapp_heads import LATE

READER: Reader = whatsapp_export
FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2].parent / "shared" / "fixtures"))


def items(text: str | bytes, options: Options | None = None, **beside: bytes) -> list[Item]:
    content = text.encode() if isinstance(text, str) else text
    folder = MemoryFolder({"chat.txt": content} | {name.replace("__", "."): data for name, data in beside.items()})
    return list(READER.read("chat.txt", folder, options or Options()))


def messages(text: str | bytes, options: Options | None = None, **beside: bytes) -> list[Message]:
    return [item for item in items(text, options, **beside) if isinstance(item, Message)]


def when(message: Message) -> str:
    return datetime.fromtimestamp(message.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("12/31/21, 11:40 PM - Ann: hi", "2021-12-31 23:40:00"),
        ("28/3/2025, 9:29 p. m. - Ann: hi", "2025-03-28 21:29:00"),
        ("2023-12-20, 5:46 p.m. - Ann: hi", "2023-12-20 17:46:00"),
        ("2023/12/20, 12:46 am - Ann: hi", "2023-12-20 00:46:00"),
        ("15.04.2016, 15:04 - Ann: hi", "2016-04-15 15:04:00"),
        ("13.6.2018 klo 21.25.15 - Ann: hi", "2018-06-13 21:25:15"),
        ("13. 6. 2018. 21:25:15 Ann: hi", "2018-06-13 21:25:15"),
        ("[31/12/2022, 11:40:26] Ann: hi", "2022-12-31 11:40:26"),
        ("[27.03.26, 21:22:39] Ann: hi", "2026-03-27 21:22:39"),
        ("\u200e[14/10/2021, 3:34:09\u202fPM] Ann: hi", "2021-10-14 15:34:09"),
        ("24/3/14, 13:59:59: Ann: hi", "2014-03-24 13:59:59"),
        ("2023/12/20 下午5:46 - Ann: hi", "2023-12-20 17:46:00"),
        ("2023. 12. 20. 오후 5:46 - Ann: hi", "2023-12-20 17:46:00"),
        ("٢٠\u200f/١٢\u200f/٢٠٢٣، ٥:٤٦ \u0645 - Ann: hi", "2023-12-20 17:46:00"),
        ("20/12/2566 17:46 - Ann: hi", "2023-12-20 17:46:00"),
    ],
)
def test_every_phone_writes_dates_its_own_way(line: str, time: str) -> None:
    (said,) = messages(line)
    assert (when(said), said.author, said.text) == (time, "~Ann", "hi")
    assert (said.zoned, said.anchored) == (False, False)
    content = line.encode()
    assert READER.recognises("WhatsApp Chat with X.txt", content, MemoryFolder({}))


@pytest.mark.parametrize("head", LATE)
def test_the_last_evening_of_2021_is_read_from_any_phone(head: str) -> None:
    (said,) = messages(f"{head}Ann: hi")
    assert when(said)[:16] == "2021-12-31 23:40"
    assert (said.author, said.text) == ("~Ann", "hi")
    content = f"{head}Ann: hi\n{head}Bob: ho\n".encode()
    assert READER.recognises("of any name.txt", content, MemoryFolder({}))


def test_a_word_that_may_be_either_half_of_the_day_is_told() -> None:
    found = items("31/12/21, রাত 11:40 - Ann: hi\n31/12/21, রাত 10:40 - Ann: hi")
    assert [item.what.count("রাত") for item in found if isinstance(item, Loss)] == [1]


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("\u200eReport.pdf • \u200e3 pages \u200edocument omitted", "document", "Report.pdf • 3 pages"),
        ("look \u200eimage omitted", "image", "look"),
        ("\u200evideo note omitted", "video", ""),
        ("I said image omitted", "text", "I said image omitted"),
        ("POLL:\nWhere?\nOPTION: here (2 votes)", "poll", "POLL:\nWhere?\nOPTION: here (2 votes)"),
        ("POLL: I did not vote", "text", "POLL: I did not vote"),
        ("This message was deleted by admin Bob.", "deleted", "This message was deleted by admin Bob."),
    ],
)
def test_what_a_phone_writes_in_the_place_of_other_things(said: str, kind: str, text: str) -> None:
    (message,) = messages(f"[31/12/21, 23:40:05] Ann: {said}\n")
    assert (message.kind, message.text) == (kind, text)


def test_a_group_that_speaks_itself_tells_notices() -> None:
    notice = "\u200eMessages and calls are end-to-end encrypted."
    text = f"[31/12/21, 23:40:05] chat: {notice}\n[31/12/21, 23:40:06] Ann: \u200eWelcome\n"
    assert [one.kind for one in messages(text)] == ["event", "text"]


def test_the_order_of_dates_is_decided_once() -> None:
    text = "01/02/23, 10:00 - Ann: a\n03/02/23, 10:00 - Ann: b\n13/02/23, 10:00 - Ann: c\n"
    assert [when(one)[:10] for one in messages(text)] == ["2023-02-01", "2023-02-03", "2023-02-13"]
    unclear = "01/02/23, 10:00 - Ann: a\n01/03/23, 10:00 - Ann: b\n02/01/23, 10:00 - Ann: c\n"
    assert [when(one)[:10] for one in messages(unclear)] == ["2023-01-02", "2023-01-03", "2023-02-01"]
    chosen = messages(unclear, Options(date_order="dmy"))
    assert when(chosen[0])[:10] == "2023-02-01"


def test_lines_go_on_until_one_of_the_same_shape() -> None:
    text = "[01/31/23, 10:00:00] Ann: one\r\n\n12/31/22, 10:00 - Bob: quoted\n[x] three\r\n"
    text += "[01/31/23, 10:00:05] Bob: two\r\n"
    first, second = messages(text)
    assert first.text == "one\n\n12/31/22, 10:00 - Bob: quoted\n[x] three"
    assert second.text == "two"


def test_notices_have_no_author() -> None:
    text = (
        '1/31/23, 10:00 - Ann created group "a: b"\n1/31/23, 10:00 - Ann: x\n1/31/23, 10:01 - Ann:\n'
        '1/31/23, 10:02 - Ann changed the subject from "a: b" to "c"\n'
    )
    assert [(one.kind, one.author) for one in messages(text)] == [
        ("event", ""), ("text", "~Ann"), ("text", "~Ann"), ("event", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("said", [one for several in whatsapp_words.MEDIA_OMITTED.values() for one in several])
def test_media_left_out_is_known_in_every_language(said: str) -> None:
    (message,) = messages(f"1/31/23, 10:00 - Ann: <{said}>")
    assert (message.text, message.attachments[0].extra) == ("", {"omitted": f"<{said}>"})


def test_files_are_known_by_word_or_because_they_are_there() -> None:
    text = (
        "1/31/23, 10:00 - Ann: \u200eIMG-1.jpg (Datei angehängt)\ncaption\n1/31/23, 10:00 - Ann: PTT-1.opus (xyz)\n"
        "1/31/23, 10:00 - Ann: no file.txt (xyz)\n1/31/23, 10:00 - Ann: \u200e<attached: 1-STICKER-2.webp>\n"
    )
    image, voice, text_only, sticker = messages(text, None, **{"PTT-1__opus": b"voice"})
    assert (image.kind, image.text, image.attachments[0].size) == ("image", "caption", -1)
    assert (voice.kind, voice.attachments[0].size) == ("voice", 5)
    assert (text_only.kind, text_only.attachments) == ("text", ())
    assert (sticker.kind, sticker.attachments[0].place) == ("sticker", "1-STICKER-2.webp")


def test_deleted_edited_and_shared_places_are_told() -> None:
    texts = ["This message was deleted", "x <This message was edited>", "location: https://maps.google.com/?q=1,2"]
    said = messages("".join(f"1/31/23, 10:0{at} - Ann: {one}\n" for at, one in enumerate(texts)))
    assert [one.kind for one in said] == ["deleted", "text", "location"]
    assert (said[1].text, said[1].extra) == ("x", {"edited": "<This message was edited>"})


def test_the_same_words_in_the_same_minute_are_told_apart() -> None:
    said = messages("1/31/23, 10:00 - Ann: x\n" * 3)
    assert [one.order for one in said] == [0, 1, 2]
    assert len({one.identity for one in said}) == 3
    assert said == messages("1/31/23, 10:00 - Ann: x\n" * 3)


def test_the_owner_is_whom_the_user_names() -> None:
    said = messages("1/31/23, 10:00 - Ann: x\n1/31/23, 10:00 - Bob: y", Options(owner="Ann"))
    assert [one.direction for one in said] == ["out", "in"]


def test_the_title_is_in_the_name() -> None:
    content = b"[31/01/2023, 10:00:00] Ann: x"
    for name in (
        "WhatsApp Chat - Round.zip/_chat.txt",
        "WhatsApp Chat mit Round.txt",
        "a/Chat de WhatsApp con Round.txt",
    ):
        folder = MemoryFolder({name: content})
        assert READER.recognises(name, content, folder)
        assert next(iter(READER.read(name, folder, Options()))).title == "Round"  # type: ignore[union-attr]


def test_other_texts_are_not_taken() -> None:
    for content in (b"", b"hello\nworld", b"\xff\xfe\0", b"2024-01-01 12:00:00 INFO started\n" * 3, b"%PDF-1.4"):
        assert not READER.recognises("notes.txt", content, MemoryFolder({}))
    with pytest.raises(UnreadableSource):
        items("no dates here")


def test_dates_that_do_not_exist_are_told() -> None:
    found = items("31/02/23, 10:00 - Ann: x\n1/02/23, 99:00 - Ann: y")
    assert [item.records for item in found if isinstance(item, Loss)] == [2]


def test_cut_off_or_flipped_it_never_fails_otherwise() -> None:
    content = ("\ufeff[31/01/2023, 10:00:00] Ann: x\u200e<attached: a.jpg>\r\n" * 3).encode()
    rng = random.Random(22)
    damaged = [content[:end] for end in range(len(content))]
    for _ in range(300):
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for one in damaged:
        try:
            items(one)
        except UnreadableSource:
            pass


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the sample files of KEEPSTONE_FIXTURES")
@pytest.mark.parametrize("name", ["test_[mmddyy]_24hrs.txt", "test_ddmmyy_24hrs.txt", "test_mmddyyyy_12hrs.txt"])
def test_sample_files_hold_what_is_known_of_them(name: str) -> None:
    folder = FIXTURES / "whatsapp-export"
    known = {
        (one["timestamp"].replace("T", " "), one["author"], one["message"])
        for one in json.loads((folder / "target.json").read_text())
    }
    said = messages((folder / name).read_bytes())
    spoken = {(when(one), one.author[1:], one.text.replace("\n", " ")) for one in said if one.kind != "event"}
    assert spoken == known
    assert [one.kind for one in said].count("event") == 3
