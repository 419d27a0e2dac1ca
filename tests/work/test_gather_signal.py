"""Signal's encrypted backups give their chats and files to the archive, straight from the encrypted files."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from containers import writers
from sources import signal_android as build
from sources import signals
from sources.signal_android import message
from support import Place, noise

PHOTO = noise(3, 200_000)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "source").mkdir()
    return Place(tmp_path).init()


def given_key(place: Place, key: str) -> None:
    with place.open() as client:
        client.add_container_key("signal", key.encode())


def shown(place: Place) -> tuple[list[tuple[str, str]], bytes]:
    """Return the chats with their texts, and the content of the one file."""
    content = b""
    with place.open(in_memory=True) as client:
        archive = client.messages()
        found = []
        for chat in archive.chats():
            for entry in archive.messages(chat):
                found.append((chat.conversation.title, entry.message.text))
                for attachment in entry.message.attachments:
                    file = client.attachment_opener(archive)(attachment)
                    assert file is not None
                    with file:
                        content = file.read()
        assert client.check(read_data=1.0).healthy
    return sorted(found), content


@pytest.mark.parametrize("version", [0, 1])
def test_the_older_file_gives_its_chats_and_photos_with_the_passphrase(
    place: Place, tmp_path: Path, version: int
) -> None:
    given_key(place, writers.DIGITS)
    file = {"_id": 1, "message_id": 2, "content_type": "image/jpeg", "data_size": len(PHOTO)}
    frames = build.new([message(1), message(2, mine=True), message(3, thread=2)], attachment=[file])
    frames[-2:-2] = build.attached(1, PHOTO)
    (tmp_path / "source" / "signal-2024-01-01-10-00-00.backup").write_bytes(build.encrypted(frames, version=version))
    result = place.backup([tmp_path / "source"])
    assert (result.gathered.sources, result.gathered.messages, result.gathered.lost) == (1, 3, 0)
    assert shown(place) == ([("Ann", "text 1"), ("Ann", "text 2"), ("Trip", "text 3")], PHOTO)
    assert result.stored_bytes < 260_000, "the photo is stored once"
    assert place.backup([tmp_path / "source"]).gathered.sources == 0


def test_a_cut_older_file_gives_what_is_complete_and_tells_the_loss(place: Place, tmp_path: Path) -> None:
    given_key(place, writers.DIGITS)
    frames = build.new([message(number) for number in range(1, 50)], build.attached(1, PHOTO))
    data = build.encrypted(frames)
    (tmp_path / "source" / "signal.backup").write_bytes(data[:-150_000])
    assert place.backup([tmp_path / "source"]).gathered.messages == 49


def test_without_its_passphrase_the_older_file_is_stored_and_not_read(place: Place, tmp_path: Path) -> None:
    data = build.encrypted(build.new([message(1)]))
    (tmp_path / "source" / "signal.backup").write_bytes(data)
    assert place.backup([tmp_path / "source"]).gathered.sources == 0
    place.restore(tmp_path / "out", tmp_path / "source")
    assert (tmp_path / "out" / "signal.backup").read_bytes() == data


def test_a_key_that_comes_later_opens_what_was_stored_closed(place: Place, tmp_path: Path) -> None:
    place.clock.ns = 2 * 10**18  # long after every change
    data = build.encrypted(build.new([message(1), message(2)]))
    (tmp_path / "source" / "signal.backup").write_bytes(data)
    assert place.backup([tmp_path / "source"]).gathered.sources == 0
    given_key(place, writers.DIGITS)
    assert place.backup([tmp_path / "source"]).gathered.messages == 2
    assert place.backup([tmp_path / "source"]).counts.files_unmodified == 1
    place.restore(tmp_path / "out", tmp_path / "source")
    assert (tmp_path / "out" / "signal.backup").read_bytes() == data


def test_a_backup_folder_gives_its_chats_and_photos_with_the_recovery_key(place: Place, tmp_path: Path) -> None:
    given_key(place, writers.RECOVERY_KEY)
    rng = random.Random(4)
    root = tmp_path / "source" / "SignalBackups"
    key = b"k" * 64
    name = hashlib.sha256(hashlib.sha256(PHOTO).digest() + key).hexdigest()
    (root / "files" / name[:2]).mkdir(parents=True)
    (root / "files" / name[:2] / name).write_bytes(writers.sealed_media(rng, PHOTO, key))
    for night in range(2):
        folder = root / f"signal-backup-2026-01-0{night + 1}-02-00-00"
        folder.mkdir()
        frames = [signals.item(0, **signals.said("one")), signals.item(1, chat=2, **signals.said("two")),
                  signals.item(2, standardMessage={"attachments": [signals.attached(PHOTO)]})]  # fmt: skip
        frames += [signals.item(3, mine=True, **signals.said("three"))] * night
        body = writers.signal_gzip([(0, signals.backup(*frames))], flushed=False)
        (folder / "main").write_bytes(writers.signal_main(body, rng))
        (folder / "metadata").write_bytes(writers.signal_metadata(rng))
        (folder / "files").write_bytes(os.urandom(100))
        result = place.backup([tmp_path / "source"])
        assert (result.gathered.sources, result.gathered.messages) == (1, 3 + night)
    texts, content = shown(place)
    assert texts == [("Ann", ""), ("Ann", "one"), ("Ann", "three"), ("Trip", "two")]
    assert content == PHOTO
