"""The photos that lie beside an exported chat are attachments of the archive, as those of a database are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from containers import writers
from sources import apple
from support import Place, noise

PHOTOS = [noise(number, 60_000) for number in range(3)]


def whatsapp(root: Path, packed: bool) -> None:
    lines = [f"[31/12/21, 23:40:0{n}] Ann: \u200e<attached: 0000000{n}-PHOTO.jpg>\r\n" for n in (2, 0, 1)]
    files = {"_chat.txt": "".join(lines).encode()}
    files |= {f"0000000{n}-PHOTO.jpg": photo for n, photo in enumerate(PHOTOS)}
    if packed:
        (root / "WhatsApp Chat - Ann.zip").write_bytes(writers.zip_of(files))
    else:
        write(root / "WhatsApp Chat - Ann", files)


def telegram(root: Path) -> None:
    messages = [
        {"id": n, "type": "message", "date": "2021-12-31T23:40:00", "date_unixtime": "1640994000", "from": "Ann",
         "from_id": "user2", "photo": f"photos/{n}.jpg", "text": ""} for n in range(3)
    ]  # fmt: skip
    chat = {"name": "Ann", "type": "personal_chat", "id": 2, "messages": messages}
    files = {"result.json": json.dumps(chat).encode()}
    write(root / "ChatExport", files | {f"photos/{n}.jpg": photo for n, photo in enumerate(PHOTOS)})


def messenger(root: Path) -> None:
    inside = "your_facebook_activity/messages/inbox/ann_123456"
    messages = [
        {"sender_name": "Ann", "timestamp_ms": 1640994000000 + n, "photos": [{"uri": f"{inside}/photos/{n}.jpg"}]}
        for n in range(3)
    ]
    thread = {"participants": [{"name": "Ann"}, {"name": "Me"}], "messages": messages, "title": "Ann"}
    files = {f"{inside}/message_1.json": json.dumps(thread).encode()}
    write(root / "facebook-me", files | {f"{inside}/photos/{n}.jpg": photo for n, photo in enumerate(PHOTOS)})


def imessage(root: Path) -> None:
    database = apple.Database()
    for number in range(3):
        row = database.add(guid=f"G{number}", text="\ufffc", handle_id=1, date=700_000_000 + number)
        database.attach(row, f"~/Library/Messages/Attachments/ab/{number}/{number}.jpg", "image/jpeg")
    files = {f"Attachments/ab/{n}/{n}.jpg": photo for n, photo in enumerate(PHOTOS)}
    write(root / "Library" / "Messages", {"chat.db": database.bytes(), **files})


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


@pytest.mark.parametrize("kind", ["whatsapp", "whatsapp-zip", "telegram", "messenger", "imessage"])
def test_photos_beside_an_exported_chat_are_in_the_archive(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if kind.startswith("whatsapp"):
        whatsapp(source, packed=kind.endswith("zip"))
    else:
        {"telegram": telegram, "messenger": messenger, "imessage": imessage}[kind](source)
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert (result.gathered.sources, result.gathered.messages) == (1, 3)
    assert result.stored_bytes < 3 * 70_000 + 40_000, "each photo is stored once"
    found = set()
    with place.open(in_memory=True) as client:
        archive = client.messages()
        chat, *_ = archive.chats()
        for entry in archive.messages(chat):
            file = client.attachment_opener(archive)(entry.message.attachments[0])
            assert file is not None
            with file:
                found.add(file.read())
    assert found == set(PHOTOS)


def test_an_unpacked_export_tells_whose_it_is_and_of_which_service(tmp_path: Path) -> None:
    source = tmp_path / "source"
    people = [{"name": "Ann"}, {"name": "Bob"}, {"name": "Me"}]
    thread = {"participants": people, "messages": [{"sender_name": "Me", "timestamp_ms": 5, "content": "x"}]}
    own = {"profile_user": [{"string_map_data": {"Name": {"value": "Me"}}}]}
    row = {"ID": 735000000000000000, "Timestamp": "2020-01-01 12:00:00", "Contents": "x", "Attachments": ""}
    files = {
        "ig/your_instagram_activity/messages/inbox/trip_123456/message_1.json": {**thread, "title": "Trip"},
        "ig/personal_information/personal_information/personal_information.json": own,
        "package/messages/c1/messages.json": [row],
        "package/messages/c1/channel.json": {"id": "1"},
        "package/account/user.json": {"id": "5", "username": "me"},
    }
    write(source, {name: json.dumps(value).encode() for name, value in files.items()})
    place = Place(tmp_path).init()
    place.backup([source])
    with place.open(in_memory=True) as client:
        archive = client.messages()
        found = {(chat.conversation.service, chat.conversation.account) for chat in archive.chats()}
        assert found == {("instagram", "~Me"), ("discord", "5")}
        assert all(entry.message.direction == "out" for chat in archive.chats() for entry in archive.messages(chat))


def test_a_chat_is_found_in_an_archive_of_very_many_photos(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    photos = {f"{number:08}-PHOTO.jpg": b"jpg" for number in range(2_500)}
    files = {**photos, "_chat.txt": b"[31/12/21, 23:40:02] Ann: <attached: 00002400-PHOTO.jpg>\r\n" * 2}
    (source / "WhatsApp Chat - Ann.zip").write_bytes(writers.zip_of(files))
    days = {f"export/all/20{n // 300:02}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}.json": b"[]" * 20 for n in range(2_500)}
    said = [{"type": "message", "user": "U1", "ts": "1355517523.000001", "text": "x"}]
    users = [{"id": "U1", "name": "bob", "profile": {}}]
    files = {"export/all/2012-12-14.json": json.dumps(said).encode(), "export/users.json": json.dumps(users).encode()}
    (source / "slack.zip").write_bytes(writers.zip_of({**days, **files}))
    result = Place(tmp_path).init().backup([source])
    assert result.gathered.sources == 2
