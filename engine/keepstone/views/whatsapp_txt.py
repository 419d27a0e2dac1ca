"""A chat as WhatsApp's own exported text, in Android's form, zipped with its media: what other programs can read.

The date comes first with its year, so that no reader has to guess. The form carries who wrote what, and to the minute
when; a line's beginning can look like a new message, and then nothing in the form tells that it is not. `carried` says
whether a message comes back as it was from `keepstone.sources.whatsapp_export`; every message is written.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import BinaryIO

from keepstone.messages.model import Attachment, Conversation, Message
from keepstone.sources import whatsapp_export

OMITTED = "<Media omitted>"
ATTACHED = "(file attached)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = (1980, 1, 1, 0, 0, 0)
_FORBIDDEN = dict.fromkeys(map(ord, '\0/\\:*?"<>|\n\r\t'), "_")


def write(
    out: BinaryIO,
    conversation: Conversation,
    messages: Iterable[Message],
    *,
    names: Callable[[str], str],
    content: Callable[[Attachment], BinaryIO | None],
    zone: tzinfo = UTC,
) -> None:
    """Write a chat as a zip of a text and its media.

    Args:
        names: the name of an address, as it is to be shown.
        content: opens an attachment's content, if it is to be had; it is closed here. Others are "omitted".
        zone: where the reader's clock hangs; times of a local clock stay as they are.
    """
    media: dict[str, Attachment] = {}
    title = _safe(conversation.title or names(conversation.key))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(_info(f"WhatsApp Chat with {title}.txt"), "w", force_zip64=True) as text:
            for message in messages:
                text.write(line(message, names, zone, _files(message, media, content)).encode("utf-8", "replace"))
        for name, attachment in media.items():
            if (file := content(attachment)) is not None:
                with file, archive.open(_info(name, zipfile.ZIP_STORED), "w", force_zip64=True) as member:
                    shutil.copyfileobj(file, member, 1024 * 1024)


def line(message: Message, names: Callable[[str], str], zone: tzinfo, files: list[str]) -> str:
    """Return a message's line, or lines, with their end. Files are named; an empty name is one left out."""
    start = f"{_local(message, zone)} - "
    if message.author or message.direction == "out":
        start += f"{names(message.author)}: "
    written = [f"{name} {ATTACHED}" if name else OMITTED for name in files] or [""]
    if message.text or not files:
        written[0] += ("\n" if files else "") + message.text
    return "".join(f"{start}{body}\n" for body in written)


def _local(message: Message, zone: tzinfo) -> str:
    try:
        when = _EPOCH + timedelta(milliseconds=message.time_ms)
        if message.zoned:
            when = when.astimezone(zone)
    except OverflowError:
        when = _EPOCH
    return f"{when.year:04}-{when.month:02}-{when.day:02}, {when.hour:02}:{when.minute:02}"


def _files(
    message: Message, media: dict[str, Attachment], content: Callable[[Attachment], BinaryIO | None]
) -> list[str]:
    """Return the names that a message's files get in the zip; the same content keeps one name."""
    files = []
    for attachment in message.attachments:
        file = content(attachment)
        if file is None:
            files.append("")
            continue
        file.close()
        files.append(_unused(_safe(attachment.name or attachment.sha256.hex() or "file"), attachment, media))
    return files


def _unused(name: str, attachment: Attachment, media: dict[str, Attachment]) -> str:
    stem, dot, ending = name.rpartition(".")
    if not dot or not ending.isalnum() or len(ending) > 8:
        stem, ending = name, "bin"
    count, wanted = 1, f"{stem}.{ending}"
    while (known := media.setdefault(wanted, attachment)) != attachment:
        count += 1
        wanted = f"{stem}-{count}.{ending}"
    assert known == attachment
    return wanted


def _safe(name: str) -> str:
    """Return a name that every system takes, and that stays in its folder."""
    return name.translate(_FORBIDDEN).strip(". ")[:120].strip(". ") or "chat"


def _info(name: str, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _STAMP)  # The same chat makes the same zip, on any day.
    info.compress_type = method
    info.external_attr = 0o600 << 16
    return info


def carried(author: str, text: str) -> bool:
    """Return whether the form carries a text of somebody: whether reading it again gives the same."""
    return whatsapp_export.carries(author, text)
