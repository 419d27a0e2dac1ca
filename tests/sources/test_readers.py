"""Every reader is known by its name, and a file by its content."""

from __future__ import annotations

import pytest

from keepstone.sources.readers import depth_of, reader_for, reader_named, readers
from keepstone.sources.reading import MemoryFolder, Reader
from support import noise, words


def test_readers_have_names_of_their_own() -> None:
    names = [reader.NAME for reader in readers()]
    assert len(set(names)) == len(names)
    for reader in readers():
        assert reader_named(reader.NAME) is reader
    assert reader_named("none") is None


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.NAME)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0", b"{", b"[", b"[[[[", b"<", b"<?xml", b"SQLite format 3\0", b"PK\x03\x04", b"\xff\xfe",
        b"\xef\xbb\xbf", noise(1, 5_000), words(2, 5_000), b"[" * 5_000, b'{"a":' * 900, b"<a>" * 1_500,
        b"12/31/21, 11:40 PM - ", b"12/31/21, 11:40 PM - A: b\n" * 2,
        "\u200e[31.12.21, 11:40:26] A: b\r\n".encode(),
    ],
    ids=range(19),
)  # fmt: skip
def test_no_content_makes_recognising_fail(reader: Reader, content: bytes) -> None:
    for name in ("msgstore.db", "result.json", "_chat.txt", "sms-1.xml", "main.jsonl", "x"):
        reader.recognises(name, content[:4096], MemoryFolder({name: content}))


@pytest.mark.parametrize(
    ("path", "depth"),
    [
        (b"/a/result.json", 1), (b"/sms.db", 1), (b"/b/HomeDomain/Library/SMS/sms.db", 3), (b"/Library/SMS/sms.db", 1),
        (b"/x/your_instagram_activity/messages/inbox/zo_1/message_1.json", 4), (b"/inbox/zo/message_12.json", 2),
        (b"/x/messages/archived_threads/zo_1/message_1.json", 3), (b"/p/Messages/c12/messages.csv", 2),
        (b"/p/c12/messages.json", 1),
    ],
)  # fmt: skip
def test_a_reader_sees_as_far_up_as_an_export_goes(path: bytes, depth: int) -> None:
    assert depth_of(path) == depth


def test_what_is_no_message_history_has_no_reader() -> None:
    files = {
        "a.json": b'{"name": "a", "version": 1, "messages": 3}', "b.json": b"[1, 2, 3]", "c.txt": words(1, 3_000),
        "d.xml": b"<?xml version='1.0'?><project><a/></project>", "e": noise(1, 3_000), "empty": b"",
        "f.csv": b"date,text\n2024-01-01,hello\n", "g.log": b"2024-01-01 12:00:00 - main: started\n" * 9,
        "h.md": b"# Notes\n\n- 2024-01-01: a: b\n", "package.json": b'{"name":"x","dependencies":{}}',
    }  # fmt: skip
    folder = MemoryFolder(files)
    for name in files:
        assert reader_for(name, folder) is None, name
    assert reader_for("none", folder) is None
