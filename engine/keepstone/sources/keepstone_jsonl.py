"""Keepstone's own export: JSON lines that hold every field of every record, read back as they were.

Lines may tell where the contents of attachments lie: in files beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

import msgspec

from keepstone.messages.model import VERSION, Attachment, Call, Conversation, Item, Loss, Message
from keepstone.sources.exports import open_beside
from keepstone.sources.reading import MAX_TEXT, Folder, Options, UnreadableSource
from keepstone.sources.windows import Places

NAME = "keepstone-jsonl"

MAX_FILES: Final = 1_000_000
"""Files beside one export that are looked for."""
_START = b'{"keepstone":"messages"'


class File(msgspec.Struct, frozen=True):
    """Where the content of an attachment lies."""

    sha256: bytes
    path: str
    """Relative to the folder that the lines are in, and inside of it; parts joined by `/`."""


class _Header(msgspec.Struct):
    keepstone: str
    version: int


class _Line(msgspec.Struct):
    conversation: Conversation | None = None
    message: Message | None = None
    call: Call | None = None


_header = msgspec.json.Decoder(_Header)


class _FileLine(msgspec.Struct):
    file: File


_line = msgspec.json.Decoder(_Line)
_file_line = msgspec.json.Decoder(_FileLine)
_FILE = b'{"file":'


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    return head.startswith(_START)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with folder.open(name) as file:
        try:
            header = _header.decode(file.readline(4096))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreadableSource(f"The file {name!r} is no export of Keepstone.") from error
        if header.version > VERSION:
            raise UnreadableSource(f"The export {name!r} is of a newer version of Keepstone.")
        number = 1
        while line := file.readline(MAX_TEXT):
            number += 1
            try:
                found = _line.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield Loss(what=f"Line {number} is damaged or cut off.", records=1)
                continue
            item = found.conversation or found.message or found.call
            if item is not None:
                yield item


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    place = _PLACES.of(name, folder).get(attachment.sha256)
    if place is None or ".." in place.replace("\\", "/").split("/"):
        return None
    return open_beside(name, folder, place)


def _find_files(name: str, folder: Folder) -> dict[bytes, str]:
    """Return where the contents are that lines tell of, as many as are looked at."""
    found: dict[bytes, str] = {}
    with folder.open(name) as file:
        while len(found) < MAX_FILES and (line := file.readline(MAX_TEXT)):
            if line.startswith(_FILE):
                with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    one = _file_line.decode(line).file
                    found.setdefault(one.sha256, one.path)
    return found


_PLACES: Final = Places(_find_files)
