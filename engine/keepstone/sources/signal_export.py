"""Signal's plaintext export: `main.jsonl`, a frame a line, and the files of messages below `files`.

The same frames as one array of JSON are read too: that is what Signal's own tools show of a backup.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from keepstone.messages.model import Attachment, Item, Loss
from keepstone.sources.exports import open_beside, walk
from keepstone.sources.json_stream import MAX_VALUE, JsonStream, Malformed
from keepstone.sources.reading import Folder, Options, UnreadableSource
from keepstone.sources.signal_frames import Frames

NAME = "signal-export"

_START = re.compile(
    rb'^(?:\[\s*)?\{\s*"(?:version|backupTimeMs)"\s*:[^{}]*"(?:backupTimeMs|version|mediaRootBackupKey)"\s*:'
)
_FRAMES: Final = frozenset(
    ("account", "recipient", "chat", "chatItem", "stickerPack", "adHocCall", "notificationProfile", "chatFolder")
)


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file begins with what an export says of itself."""
    return _START.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file that lies below `files`."""
    return open_beside(name, folder, attachment.place)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield the chats of an account in the order of its frames."""
    with folder.open(name) as file:
        lines = not file.read(100).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    frames = Frames(name, folder)
    return (
        _read_lines(name, folder, frames) if lines else walk(name, folder, lambda stream: _read_array(stream, frames))
    )


def _read_array(stream: JsonStream, frames: Frames) -> Iterator[Item]:
    for frame in stream.records(lambda found: bool(_FRAMES & found.keys())):
        yield from frames.take(frame)
    yield from frames.end()


def _read_lines(name: str, folder: Folder, frames: Frames) -> Iterator[Item]:
    found = damaged = 0
    with folder.open(name) as file:
        while line := file.readline(MAX_VALUE):
            try:
                frame = msgspec.json.decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                try:
                    frame = JsonStream(io.BytesIO(line)).value()
                except Malformed:
                    damaged += bool(line.strip())
                    continue
            if isinstance(frame, dict):
                found += 1
                yield from frames.take(frame)
    yield from frames.end()
    if damaged:
        yield Loss(what=f"{damaged} lines of {name} are cut off or damaged and were left out.", records=damaged)
    if not found:
        raise UnreadableSource(f"The file {name} holds no frame that can be read.")
