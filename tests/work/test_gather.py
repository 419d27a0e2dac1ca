"""A backup finds messages wherever they lie, takes in what is new, and never fails because of them."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import zipfile
from pathlib import Path

import pytest

import keepstone
from containers import writers
from keepstone import events
from keepstone.chunking import Secrets
from keepstone.history.content import ContentWriter
from keepstone.ids import Buffer, ChunkId
from keepstone.messages.identity import identity
from keepstone.messages.model import Conversation, Message
from keepstone.sources.apart import Apart
from keepstone.sources.reading import Folder, Reader
from keepstone.views import plain
from keepstone.views.chat import Chat
from support import Place, noise, words


def export(count: int, title: str = "Ana") -> bytes:
    """Return messages in Keepstone's own form."""
    messages = [
        Message(
            identity=identity("t", title, number), service="signal", chat=title, time_ms=1_700_000_000_000 + number,
            text=f"message {number}", direction="in", author="1",
        )
        for number in range(count)
    ]  # fmt: skip
    return b"".join(plain.jsonl([Chat(Conversation(service="signal", key=title, title=title), messages)]))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "source" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "source" / "notes.txt").write_bytes(words(1, 5_000))
    (tmp_path / "source" / "data.json").write_bytes(b'{"messages": 1, "a": [1, 2, 3]}' * 9)
    return Place(tmp_path).init()


def counts(place: Place, snapshot: str | None = None) -> dict[str, int]:
    with place.open(in_memory=True) as client:
        archive = client.messages(None if snapshot is None else client.snapshot(snapshot))
        return {chat.conversation.title: len(archive.messages(chat)) for chat in archive.chats()}


def test_messages_are_found_by_content_wherever_they_lie(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er" / "of any name").write_bytes(export(30))
    with zipfile.ZipFile(source / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/it.jsonl", export(20, "Bo"))
    result = place.backup([source])
    assert (result.gathered.sources, result.gathered.messages) == (2, 50)
    assert counts(place) == {"Ana": 30, "Bo": 20}


def test_a_process_apart_is_asked_of_those_files_only_that_may_be_chats(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    recognise = Apart.recognise

    def noting(self: Apart, name: str, folder: Folder) -> Reader | None:
        asked.append(name.rpartition("/")[2])
        return recognise(self, name, folder)

    monkeypatch.setattr(Apart, "recognise", noting)
    source = tmp_path / "source"
    texts = ("[1, 2, 3]\n", "2026-01-01 log line\n", '{"a": 1}\n', "12,5;x\n", "<a><b>1</b></a>\n")
    plain_files = {f"{n}.{ending}": text.encode() * 20 for n, text in enumerate(texts) for ending in ("txt", "json")}
    chat = b"12/31/21, 11:40 PM - Ann: hello\n12/31/21, 11:41 PM - Bob: there\n"
    for name, content in plain_files.items():
        (source / name).write_bytes(content)
    (source / "Ann.txt").write_bytes(chat)
    damaged = bytearray(
        writers.zip_of({**plain_files, "Bob.txt": chat.replace(b"hello", noise(1, 900).hex().encode())})
    )
    damaged[damaged.index(b"Bob.txt") + 60] ^= 0xFF
    (source / "damaged.zip").write_bytes(damaged)
    (source / "packed.zip").write_bytes(writers.zip_of({**plain_files, "Eve.txt": chat}))
    result = place.backup([source])
    assert sorted(asked) == ["Ann.txt", "Eve.txt"]
    assert (result.gathered.sources, result.gathered.messages) == (2, 4)


def test_an_unchanged_run_reads_nothing_and_keeps_the_archive(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source" / "x.jsonl").write_bytes(export(30))
    first = place.backup([tmp_path / "source"])
    second = place.backup([tmp_path / "source"])
    assert (second.gathered.sources, second.gathered.messages) == (0, 0)
    assert second.gathered.catalogue == first.gathered.catalogue != b""
    assert counts(place, "latest") == {"Ana": 30}


def test_a_file_without_messages_that_changes_keeps_the_archive(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source" / "x.jsonl").write_bytes(export(30))
    place.backup([tmp_path / "source"])
    (tmp_path / "source" / "notes.txt").write_bytes(words(2, 5_000))
    assert place.backup([tmp_path / "source"]).gathered.sources == 0
    assert counts(place, "latest") == {"Ana": 30}


def test_what_a_later_export_leaves_out_is_kept(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source" / "x.jsonl").write_bytes(export(30))
    place.backup([tmp_path / "source"])
    (tmp_path / "source" / "x.jsonl").write_bytes(export(10))
    place.backup([tmp_path / "source"])
    (tmp_path / "source" / "x.jsonl").unlink()
    place.backup([tmp_path / "source"])
    assert counts(place) == {"Ana": 30}


def test_messages_can_be_left_out(place: Place, tmp_path: Path) -> None:
    (tmp_path / "source" / "x.jsonl").write_bytes(export(30))
    result = place.backup([tmp_path / "source"], messages=False)
    assert result.gathered.catalogue == b""
    assert counts(place) == {}
    # What was left out once is taken in when its file changes.
    (tmp_path / "source" / "x.jsonl").write_bytes(export(31))
    place.backup([tmp_path / "source"])
    assert counts(place) == {"Ana": 31}


def test_what_cannot_be_read_is_told_and_stored_all_the_same(place: Place, tmp_path: Path) -> None:
    data = export(30)
    (tmp_path / "source" / "cut.jsonl").write_bytes(data[: len(data) * 2 // 3])
    told: list[events.Event] = []
    with place.open() as client:
        result = client.backup(keepstone.BackupOptions(sources=[bytes(tmp_path / "source")]), told.append)
    assert result.problems == []
    assert 10 < result.gathered.messages < 30
    assert [event.path for event in told if isinstance(event, events.Notice)] == [
        bytes(tmp_path / "source" / "cut.jsonl")
    ]
    place.restore(tmp_path / "out", tmp_path / "source")
    assert (tmp_path / "out" / "cut.jsonl").read_bytes() == data[: len(data) * 2 // 3]


def whatsapp(path: Path, photo: bytes) -> None:
    """Make a small database of the present generation with a photo."""
    sha256 = hashlib.sha256(photo).digest()
    with sqlite3.connect(path) as database:
        database.executescript(
            """
            CREATE TABLE jid (_id INTEGER PRIMARY KEY, user TEXT, server TEXT, raw_string TEXT, type INTEGER);
            CREATE TABLE chat (_id INTEGER PRIMARY KEY, jid_row_id INTEGER, subject TEXT);
            CREATE TABLE message (_id INTEGER PRIMARY KEY, chat_row_id INTEGER, from_me INTEGER, key_id TEXT,
                sender_jid_row_id INTEGER, status INTEGER, timestamp INTEGER, message_type INTEGER, text_data TEXT);
            CREATE TABLE message_media (message_row_id INTEGER PRIMARY KEY, chat_row_id INTEGER, file_path TEXT,
                file_size INTEGER, mime_type TEXT, media_name TEXT, file_hash TEXT);
            INSERT INTO jid VALUES (1, '491711', 's.whatsapp.net', '491711@s.whatsapp.net', 0);
            INSERT INTO chat VALUES (1, 1, NULL);
            INSERT INTO message VALUES (1, -1, 0, '-1', 0, -1, 0, -1, NULL);
            INSERT INTO message VALUES (2, 1, 0, 'AA', 0, 0, 1700000000000, 0, 'hello');
            INSERT INTO message VALUES (3, 1, 1, 'BB', 0, 13, 1700000060000, 1, NULL);
            """
        )
        import base64

        database.execute(
            "INSERT INTO message_media VALUES (3, 1, 'Media/WhatsApp Images/p.jpg', ?, 'image/jpeg', NULL, ?)",
            (len(photo), base64.b64encode(sha256).decode()),
        )
    database.close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_chat_database_and_its_photo_are_one_archive(place: Place, tmp_path: Path, encrypted: bool) -> None:
    """The photo is stored once; the archive refers to the same chunks. Of an encrypted one the key is given once."""
    import random

    photo = noise(1, 200_000)
    folder = tmp_path / "source" / "WhatsApp"
    (folder / "Media" / "WhatsApp Images").mkdir(parents=True)
    (folder / "Databases").mkdir()
    (folder / "Media" / "WhatsApp Images" / "p.jpg").write_bytes(photo)
    whatsapp(tmp_path / "msgstore.db", photo)
    data = (tmp_path / "msgstore.db").read_bytes()
    if encrypted:
        with place.open() as client:
            client.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
        data = writers.crypt15(writers.zlib_of(data), random.Random(1))
    (folder / "Databases" / ("msgstore.db.crypt15" if encrypted else "msgstore.db")).write_bytes(data)
    result = place.backup([tmp_path / "source"])
    assert (result.gathered.sources, result.gathered.messages, result.gathered.lost) == (1, 2, 0)
    assert result.stored_bytes < 260_000
    with place.open(in_memory=True) as client:
        archive = client.messages()
        (chat,) = archive.chats()
        sent = archive.messages(chat)[1].message
        file = client.attachment_opener(archive)(sent.attachments[0])
        assert file is not None
        with file:
            assert file.read() == photo
        assert client.check(read_data=1.0).healthy
        explained = client.explain()
        assert 0 < explained.parts.messages < 20_000
        assert explained.parts.total == client.stats().stored_size


def test_a_writer_that_is_writing_cannot_be_written_with() -> None:
    """Its buffer holds the outer stream; mixing the two gave a catalogue of the wrong bytes."""

    def add(data: Buffer, bases: object = None) -> ChunkId:
        return ChunkId(bytes(32))

    writer = ContentWriter(add, add, Secrets.derive(bytes(32)))

    class Nested(io.RawIOBase):
        def readinto(self, buffer: object) -> int:
            writer.write(io.BytesIO(b"inner"))
            return 0

    with pytest.raises(AssertionError):
        writer.write(Nested())
    assert writer.write(io.BytesIO(b"again"))[1] == 5


def test_what_no_messages_left_is_read_by_the_next_backup_that_reads_messages(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    place.clock.ns = 2 * 10**18  # long after every change
    (source / "deep" / "one.jsonl").write_bytes(export(3))
    place.backup([source])
    (source / "deep" / "two.jsonl").write_bytes(export(4, "Bo"))
    for _ in range(2):
        assert place.backup([source], messages=False).gathered.sources == 0
    assert place.backup([source]).gathered.messages == 7
    assert counts(place) == {"Ana": 3, "Bo": 4}
    assert place.backup([source]).gathered.sources == 0, "it is read once"
    assert place.backup([source], force=True).gathered.messages == 7, "everything again, if that is asked for"
    assert counts(place) == {"Ana": 3, "Bo": 4}
