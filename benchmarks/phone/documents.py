"""Zip files people have: documents that grow while they are written, and chats they export.

A document's paragraphs follow from the seed and its number, and how many there are from the days it has lived. Members
are deflated as office programs do it, pictures stored; a document's dates are those of 1980, as such programs write.
"""

from __future__ import annotations

import io
import random
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from xml.sax.saxutils import escape

from . import media
from .calendar import month_day, parts
from .media import PHOTO
from .people import Chat, People

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer  # collections.abc has Buffer from Python 3.12 on.

EVERY = 6
"""Days from one new document to the next."""
WRITTEN_FOR = 20
"""Days in which a document is still edited."""
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = (
    _XML + '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Default Extension="jpeg" ContentType="image/jpeg"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    _XML + '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"'
    ' Target="word/document.xml"/></Relationships>'
)


def due(seed: int, day: int) -> Iterator[tuple[int, int]]:
    """Yield the documents saved on a day of a life: number, and how often each was saved before."""
    newest = day // EVERY
    for number in range(max(0, newest - WRITTEN_FOR // EVERY), newest + 1):
        saved = [day_ for day_ in range(number * EVERY, day + 1) if _is_saved(seed, number, day_)]
        if saved and saved[-1] == day:
            yield number, len(saved) - 1


def _is_saved(seed: int, number: int, day: int) -> bool:
    return day == number * EVERY or random.Random(f"{seed}/document/{number}/{day}").random() < 0.2


def write(path: Path, seed: int, people: People, number: int, version: int, time: int) -> None:
    """Write a document as it is saved for the `version`-th time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{seed}/document/{number}")
    language = people.chat(rng).language
    paragraphs = [language.say(rng, rng.randint(20, 120)) for _ in range(rng.randint(20, 90) + 3 * version)]
    body = "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs)
    styles = "".join(f'<w:style w:styleId="s{n}"><w:name w:val="Style {n}"/></w:style>' for n in range(60))
    members: dict[str, str] = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _RELATIONS,
        "word/document.xml": f'{_XML}<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
        "word/styles.xml": f'{_XML}<w:styles xmlns:w="{_WORD}">{styles}</w:styles>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(_member(name, zipfile.ZIP_DEFLATED), text)
        size, label = PHOTO.size(rng), f"document/{number}"
        with archive.open(_member("word/media/image1.jpeg", zipfile.ZIP_STORED), "w") as file:
            for piece in media.content(seed, label, PHOTO, size):
                file.write(piece)
    media.stamp(path, time)


def _member(name: str, method: int, time: int | None = None) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name) if time is None else zipfile.ZipInfo(name, parts(time)[:6])
    info.compress_type = method
    info.create_system = 0  # Else the zip says which system made it.
    return info


class _Forward(io.RawIOBase):
    """A file that cannot go back, as Java writes zips: sizes stand behind the members, in data descriptors."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        return self.file.write(data)


def export_chat(folder: Path, database: Path, phone: Path, chat: Chat, time: int) -> Path:
    """Export a chat as WhatsApp does: its newest texts and some of its media in one zip; return its path."""
    names = {member.row: member.name for member in chat.members}
    title = chat.subject or chat.members[0].name
    path = folder / f"WhatsApp Chat with {title}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    query = (
        "select from_me, sender_jid_row_id, timestamp, text_data, file_path from message left join message_media"
        " on message_row_id = _id where message.chat_row_id=? order by _id desc limit 10000"
    )
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = db.execute(query, (chat.row,)).fetchall()[::-1]
    finally:
        db.close()
    files: list[Path] = []
    lines = []
    for from_me, sender, when, said, where in rows:
        who = "Me" if from_me else names.get(sender, title)
        if where:
            medium = phone / where
            present = medium.is_file() and medium.stat().st_size < 2_000_000
            files += [medium] if present else []
            said = f"{medium.name} (file attached)" if present else "<Media omitted>"
        lines.append(f"{month_day(when)} - {who}: {said or 'This message was deleted'}\n")
    with path.open("wb") as file, zipfile.ZipFile(_Forward(file), "w", zipfile.ZIP_DEFLATED) as archive:
        member = _member(f"WhatsApp Chat with {title}.txt", zipfile.ZIP_DEFLATED, time)
        archive.writestr(member, "".join(lines))
        for medium in files[-25:]:
            archive.writestr(_member(medium.name, zipfile.ZIP_DEFLATED, time), medium.read_bytes())
    media.stamp(path, time)
    return path


def busiest(people: People, seed: int, day: int) -> Chat:
    """Return the chat to export: one that is used."""
    return people.chat(random.Random(f"{seed}/export/{day}"))
