"""What a run has read is not fetched again for its messages; whatever of that is lost, the archive is the same."""

from __future__ import annotations

import io
import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from containers import writers
from keepstone.chunking import secrets_for
from keepstone.errors import ChunkMissing
from keepstone.hashing import chunk_id
from keepstone.history.content import ContentWriter
from keepstone.history.recipe import pieces
from keepstone.ids import ChunkId
from keepstone.repo.kept import Kept
from keepstone.repo.writer import writing
from keepstone.store.memory import MemoryStore
from keepstone.work import at_hand, gather
from keepstone.work.at_hand import AtHand
from keepstone.work.original import Original
from support import Place, noise, report
from work.test_gather import whatsapp

FIRST, NEW = 3_000, 40
FEW = 300_000
"""Bytes that a night may read: listings' ends, logs, trees. The database is stored in several times as many."""
FORMS = ("encrypted", "plain", "live")


class CountingStore(MemoryStore):
    """A store that counts what is read of it."""

    reads = read_bytes = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        self.reads += 1
        self.read_bytes += len(data)
        return data


class Phone:
    """A folder with a chat database and a photo, to be saved night by night in one of the forms."""

    def __init__(self, base: Path, form: str) -> None:
        self.form, self.store = form, CountingStore()
        self.place = Place(base, self.store).init()
        self.folder = base / "source"
        (self.folder / "Databases").mkdir(parents=True)
        (self.folder / "Media" / "WhatsApp Images").mkdir(parents=True)
        photo = noise(1, 300_000)
        (self.folder / "Media" / "WhatsApp Images" / "p.jpg").write_bytes(photo)
        self.database = base / "msgstore.db" if form == "encrypted" else self.folder / "Databases" / "msgstore.db"
        whatsapp(self.database, photo)
        self.count = 2
        self._open = sqlite3.connect(self.database, isolation_level=None)
        if form == "live":
            self._open.execute("PRAGMA journal_mode=WAL")
            self._open.execute("PRAGMA wal_autocheckpoint=0")
        with self.place.open() as client:
            client.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
        self.live(FIRST)

    def live(self, messages: int) -> None:
        """Receive some messages."""
        rows = [
            (10 + self.count + n, f"K{self.count + n}", 1_700_000_100_000 + 60_000 * (self.count + n),
             noise((self.count, n), 150).hex()) for n in range(messages)
        ]  # fmt: skip
        self._open.execute("BEGIN")
        self._open.executemany("INSERT INTO message VALUES (?, 1, 0, ?, 0, 0, ?, 0, ?)", rows)
        self._open.execute("COMMIT")
        self.count += messages
        if self.form == "encrypted":
            packed = writers.zlib_of(self.database.read_bytes(), 1)
            data = writers.crypt15(packed, random.Random(self.count))
            (self.folder / "Databases" / "msgstore.db.crypt15").write_bytes(data)

    def night(self, messages: bool = True) -> int:
        """Save the phone and return how many bytes were read of the store; the archive must then have all."""
        before = self.store.read_bytes
        result = self.place.backup([self.folder], messages=messages)
        read = self.store.read_bytes - before
        assert not result.problems
        if messages:
            assert (result.gathered.messages, result.gathered.lost) == (self.count, 0)
            assert self.shown() == self.count
        return read

    def shown(self) -> int:
        """Return how many messages somebody sees who has nothing but the store, the photo among them."""
        with self.place.open(in_memory=True) as client:
            archive = client.messages()
            (chat,) = archive.chats()
            found = archive.messages(chat)
            photo = client.attachment_opener(archive)(found[1].message.attachments[0])
            assert photo is not None
            with photo:
                assert photo.read() == noise(1, 300_000)
            return len(found)


@pytest.mark.parametrize("form", FORMS)
def test_a_night_reads_little_more_for_the_messages_in_a_changed_database(tmp_path: Path, form: str) -> None:
    phone = Phone(tmp_path, form)
    first = phone.night()
    phone.live(NEW)
    second = phone.night()
    phone.live(NEW)
    without = phone.night(messages=False)
    report(f"{form}: {first} bytes read in the first night, {second} in the second, {without} without messages")
    assert first < FEW
    assert second < min(FEW, without + 200_000)


def lose(what: str, phone: Phone, patch: pytest.MonkeyPatch) -> None:
    """See to it that something of what is at hand is lost in the next night, some of it before messages are read."""
    everything = what == "everything"
    if everything or what == "the cache":
        shutil.rmtree(phone.place.base / "cache")
    if everything or what == "room":
        patch.setattr(at_hand, "MOST_CHUNKS", 0)
    taken = gather.gather

    def later(*arguments: Any) -> Any:
        if everything or what == "the original":
            for path in [path for path in phone.folder.rglob("*") if path.is_file()]:
                with path.open("r+b") as file:
                    file.seek(path.stat().st_size // 3)
                    file.write(noise(3, path.stat().st_size // 3))
        if everything or what == "the copy":
            copy = arguments[-1]._file
            for at in range(0, os.fstat(copy.fileno()).st_size, 50_000) if copy else ():
                os.pwrite(copy.fileno(), b"?" * 100, at)
        if everything:
            patch.setattr(Kept, "get", lambda self, name: None)
        return taken(*arguments)

    patch.setattr(gather, "gather", later)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["the cache", "room", "the original", "the copy", "everything"])
def test_whatever_is_lost_of_what_is_at_hand_the_archive_is_the_same(
    tmp_path: Path, form: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = Phone(tmp_path, form)
    phone.night()
    phone.live(NEW)
    with monkeypatch.context() as patch:
        lose(what, phone, patch)
        read = phone.night()
    report(f"{form} without {what}: {read} bytes read")
    if what in ("the cache", "everything"):
        assert read > 2 * FEW, "what is lost is fetched"
    else:
        assert read < FEW, "the rest makes up for it"


def test_what_is_copied_is_read_back_and_is_on_no_disk_in_plain(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    chunks = [noise(number, 1_000 + number) for number in range(50)]
    with place.open() as client, AtHand(client._repository) as near:
        scratch = client._repository.state.scratch_folder()
        add = near.adding(lambda data, bases=None: chunk_id(client._repository.keys.chunk_id, data))
        with near.taking():
            names = [add(chunk) for chunk in chunks]
        assert near._file is not None
        written = os.pread(near._file.fileno(), 1 << 20, 0)
        assert len(written) > sum(map(len, chunks))
        assert not any(chunk[at : at + 16] in written for chunk in chunks for at in range(0, 1_000, 100))
        assert not list(scratch.iterdir()), "the file has no name"
        assert [near.read_chunk(name) for name in names] == chunks
        ignored = add(b"not taken" * 9)
        with pytest.raises(ChunkMissing):
            near.read_chunk(ignored)


def test_on_a_full_disk_nothing_is_copied_and_all_is_read_from_elsewhere(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    data = noise(1, 9_000)
    with place.open() as client, AtHand(client._repository) as near:
        with writing(client._repository, 3) as writer:
            near._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
            with near.taking():
                chunk = near.adding(writer.add)(data)
            writer.flush()
        assert not near._places
        assert near.read_chunk(chunk) == data


def test_a_chunk_is_taken_from_the_original_only_if_it_is_the_chunk(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    data = noise(1, 3_000_000)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with place.open() as client:
        repository = client._repository
        asked: list[ChunkId] = []

        class Noting:
            def read_chunk(self, chunk: ChunkId) -> bytes:
                asked.append(chunk)
                return repository.read_chunk(chunk)

        with writing(repository, 3) as writer:
            secrets = secrets_for(repository.config.chunker.algorithm, repository.keys.chunker)
            recipe, _ = ContentWriter(writer.add, writer.add_tree, secrets).write(io.BytesIO(data))
            writer.flush()
        key = repository.keys.chunk_id
        wanted = [piece.chunk for piece in pieces(recipe, repository, "it")]
        assert len(wanted) > 10

        def read() -> bytes:
            asked.clear()
            original = Original(os.fsencode(path), recipe, key, Noting(), "it")
            return b"".join(map(original.read_chunk, wanted))

        assert read() == data
        assert not asked
        path.write_bytes(data[:1_000_000] + b"?" + data[1_000_001:])
        assert read() == data
        assert 0 < len(asked) < len(wanted), "what is before the change is read there"
        path.unlink()
        assert read() == data
        path.symlink_to("/dev/zero")
        assert read() == data
        assert asked == wanted
