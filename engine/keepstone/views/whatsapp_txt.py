"""A chat as WhatsApp's own exported text, in Android's form, zipped with its media: what other programs can read.

The date comes first with its year, so that no reader has to guess. The form carries who wrote what, and to the minute
when. Nothing that somebody wrote, nor how they are called, can pass for another message: a line that would gets a space
before it. `carried` says whether a message comes back as it was from `keepstone.sources.whatsapp_export`; every message
is written.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import BinaryIO, Final

from keepstone.messages.model import Attachment, Conversation, Message
from keepstone.sources import whatsapp_export
from keepstone.views.chat import written_of
from keepstone.views.names import Names, ending_for, safe_name, split_ending

TITLE: Final = "WhatsApp Chat with "
OMITTED: Final = "<Media omitted>"
ATTACHED: Final = "(file attached)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = (1980, 1, 1, 0, 0, 0)
_MOST_ENDING: Final = 9
_COLON: Final = "\ua789"
"""Looks like a colon, and ends no name."""
_NAME_ENDS: Final = re.compile(r":(?=\s|$)")
_NO_NAME: Final = re.compile("[\0\r\n]+")
_NO_BRACKETS: Final = re.compile(r"[()<>]")


def write(
    out: BinaryIO,
    conversation: Conversation,
    messages: Iterable[Message],
    *,
    names: Callable[[str], str],
    content: Callable[[Attachment], BinaryIO | None],
    zone: tzinfo = UTC,
    title: str = "",
) -> int:
    """Write a chat as a zip of a text and its media, and return how many files that are.

    Args:
        names: the name of an address, as it is to be shown; of the owner, whose address is told as empty.
        content: opens an attachment's content, if it is to be had; it is closed here. Others are "omitted".
        zone: where the reader's clock hangs; times of a local clock stay as they are.
        title: what the chat is called, if not by its own title.
    """
    name = text_name(title or conversation.title or names(conversation.key))
    media = _Media(name, content)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(_info(name), "w", force_zip64=True) as text:
            for message in messages:
                text.write(line(message, names, zone, media.of(message)).encode("utf-8", "replace"))
        for name, attachment in media.files.items():
            if (file := content(attachment)) is not None:
                with file, archive.open(_info(name, zipfile.ZIP_STORED), "w", force_zip64=True) as member:
                    shutil.copyfileobj(file, member, 1024 * 1024)
    return len(media.files)


def text_name(title: str) -> str:
    """Return how the text of a chat is called: a reader has the chat's title from it."""
    return f"{TITLE}{safe_name(title, 'chat')}.txt"


def line(message: Message, names: Callable[[str], str], zone: tzinfo, files: list[str]) -> str:
    """Return a message's line, or lines, with their end. Files are named; an empty name is one left out."""
    start = f"{_local(message, zone)} - "
    text = "\n".join(written_of(message))
    if message.author or message.direction == "out":
        start += f"{_plain(names('' if message.direction == 'out' else message.author))}: "
    else:  # Nobody said it, and nobody is to look as if they had.
        text = _NAME_ENDS.sub(_COLON, text)
    written = [f"{name} {ATTACHED}" if name else OMITTED for name in files] or [""]
    if text or not files:
        written[0] += ("\n" if files else "") + text
    return "".join(f"{start}{_one_message(body)}\n" for body in written)


def _plain(name: str) -> str:
    """Return a name that does not end before its end, nor begins a line of its own."""
    return _NO_NAME.sub(" ", name).replace(":", _COLON) or "Unknown"


def _one_message(text: str) -> str:
    """Return a text no line of which begins a message: a space before such a line keeps it where it was said."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in text:
        return text
    first, *rest = text.split("\n")
    return "\n".join([first, *(f" {one}" if whatsapp_export.begins_message(one) else one for one in rest)])


def _local(message: Message, zone: tzinfo) -> str:
    try:
        when = _EPOCH + timedelta(milliseconds=message.time_ms)
        if message.zoned:
            when = when.astimezone(zone)
    except OverflowError:
        when = _EPOCH
    return f"{when.year:04}-{when.month:02}-{when.day:02}, {when.hour:02}:{when.minute:02}"


class _Media:
    """The files of a chat under the names that they get in the zip. The same content keeps one name."""

    def __init__(self, text: str, content: Callable[[Attachment], BinaryIO | None]) -> None:
        self.files: dict[str, Attachment] = {}
        self._content = content
        self._names = Names()
        self._names.unused(text)
        self._known: dict[bytes, str] = {}

    def of(self, message: Message) -> list[str]:
        """Return the names of a message's files; an empty one for what is not to be had."""
        return [self._name(attachment) for attachment in message.attachments]

    def _name(self, attachment: Attachment) -> str:
        known = self._known.get(attachment.sha256)
        if known is not None:
            return known
        file = self._content(attachment)
        if file is None:
            return ""
        file.close()
        wanted = safe_name(attachment.name or attachment.sha256.hex())
        stem, ending = split_ending(wanted)
        if not 1 < len(ending) <= _MOST_ENDING:  # Readers know a file by its ending.
            stem, ending = wanted, ending_for(attachment.mime) or ".bin"
        name = self._names.unused(_NO_BRACKETS.sub("_", stem) + ending)
        self.files[name] = attachment
        if attachment.sha256:
            self._known[attachment.sha256] = name
        return name


def _info(name: str, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _STAMP)  # The same chat makes the same zip, on any day.
    info.compress_type = method
    info.external_attr = 0o600 << 16
    return info


def carried(author: str, text: str) -> bool:
    """Return whether the form carries a text of somebody: whether reading it again gives the same."""
    return whatsapp_export.carries(author, text)
