"""Keepstone's own export: JSON lines that hold every field of every record, read back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from keepstone.messages.model import VERSION, Attachment, Call, Conversation, Item, Loss, Message
from keepstone.sources.reading import MAX_TEXT, Folder, Options, UnreadableSource

NAME = "keepstone-jsonl"

_START = b'{"keepstone":"messages"'


class _Header(msgspec.Struct):
    keepstone: str
    version: int


class _Line(msgspec.Struct):
    conversation: Conversation | None = None
    message: Message | None = None
    call: Call | None = None


_header = msgspec.json.Decoder(_Header)
_line = msgspec.json.Decoder(_Line)


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
    return None
