"""What the exports of chat services have in common: JSON that may be cut off, files beside it, times as text.

A service names its people in its messages. So a reader yields a conversation before its messages with whom it knows by
then, and once more behind them if they named others: the later one says more.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Final, Literal

import msgspec

from keepstone.messages.model import Attachment, Conversation, Item, Loss, Message, MessageKind, Person
from keepstone.sources.json_stream import JsonStream, Malformed
from keepstone.sources.reading import Folder, UnreadableSource

MAX_PEOPLE: Final = 100_000
"""People of one conversation that a reader remembers."""
_BLOCK: Final = 1024 * 1024
LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no message is younger, and a time that says so is none."""


def walk(name: str, folder: Folder, read: Callable[[JsonStream], Iterator[Item]]) -> Iterator[Item]:
    """Yield what is read from a JSON file, and what was lost of it.

    Raises:
        UnreadableSource: it is cut off or damaged before its first record.
    """
    with folder.open(name) as file:
        stream, count = JsonStream(file), 0
        try:
            for item in read(stream):
                count += 1
                yield item
        except Malformed:
            if not count:
                raise UnreadableSource(f"The file {name} is damaged before its first record.") from None
            yield Loss(what=f"The file {name} is cut off, or damaged in a way that hides what follows.")
        if stream.damaged:
            yield Loss(what=f"{stream.damaged} damaged records of {name} were left out.", records=stream.damaged)


def no_messages(name: str) -> Loss:
    """Return what is said of a file that should have a list of messages and has none."""
    return Loss(what=f"The file {name} has no list of messages; what is in its place was not read.")


def open_beside(name: str, folder: Folder, place: str) -> BinaryIO | None:
    """Return a file that an export names relative to the folder of the file `name`; None if it is not there."""
    if not place or "://" in place or "\0" in place:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), place.replace("\\", "/")))
    if path.startswith(("/", "../")) or path in ("..", "."):
        return None
    try:
        return folder.open(path)
    except FileNotFoundError:
        return None


def hashed(
    items: Iterator[Item], name: str, folder: Folder, opened: Callable[[str, Folder, Attachment], BinaryIO | None]
) -> Iterator[Item]:
    """Yield the same items; what lies in the export of a message's files has its hash and length.

    Args:
        opened: the reader's `open_attachment`.
    """
    for item in items:
        if type(item) is Message and item.attachments:
            files = tuple(_hashed(each, opened(name, folder, each)) for each in item.attachments)
            if files != item.attachments:
                item = msgspec.structs.replace(item, attachments=files)
        yield item


def _hashed(known: Attachment, file: BinaryIO | None) -> Attachment:
    if file is None:
        return known
    hasher, size = hashlib.sha256(), 0
    with file:
        while block := file.read(_BLOCK):
            hasher.update(block)
            size += len(block)
    return msgspec.structs.replace(known, sha256=hasher.digest(), size=size)


def time_of(seconds_or_ms: int | None, unit_ms: int = 1) -> int:
    """Return milliseconds since 1970; 0 for what is no time of messages."""
    ms = (seconds_or_ms or 0) * unit_ms
    return ms if 0 < ms <= LATEST_MS else 0


def iso_time(value: object) -> tuple[int, bool]:
    """Return the time that an ISO 8601 text says, in milliseconds, and whether it names its zone; 0 if it says none."""
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return 0, False
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return 0, False
    zoned = moment.tzinfo is not None
    since = (moment if zoned else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000, zoned


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Order:
    """Numbers the messages of a chat that have one time, in the order in which they come."""

    def __init__(self) -> None:
        self._time_ms = -1
        self._number = 0

    def number(self, time_ms: int) -> int:
        self._number = self._number + 1 if time_ms == self._time_ms else 0
        self._time_ms = time_ms
        return self._number


class Repeats:
    """Counts equal messages of one time, for services without ids."""

    def __init__(self) -> None:
        self._time_ms = -1
        self._seen: dict[tuple[str, ...], int] = {}

    def count(self, time_ms: int, *parts: str) -> int:
        """Return how many messages of this time with these parts came before."""
        if time_ms != self._time_ms or len(self._seen) > MAX_PEOPLE:
            self._time_ms, self._seen = time_ms, {}
        before = self._seen.get(parts, 0)
        self._seen[parts] = before + 1
        return before


class People:
    """Who takes part in a conversation, as far as it is known."""

    def __init__(self, known: Conversation) -> None:
        self._conversation = known
        self._names = {person.address: person.name for person in known.people}

    def named(self, address: str, name: str) -> None:
        if address and (name or address not in self._names) and len(self._names) < MAX_PEOPLE:
            self._names[address] = name

    def more(self) -> Iterator[Conversation]:
        """Yield the conversation once more, if people were named since."""
        people = tuple(Person(address=address, name=self._names[address]) for address in sorted(self._names))
        if people != self._conversation.people:
            yield msgspec.structs.replace(self._conversation, people=people)


def direction_of(author: str, owner: str, other: str) -> Literal["in", "out", "unknown"]:
    """Return which way a message went, by whichever of the two is known; `other` is the only other one."""
    if not author or not (owner or other):
        return "unknown"
    if owner:
        return "out" if author == owner else "in"
    return "in" if author == other else "out"


def kind_of_file(mime: str, name: str = "") -> MessageKind:
    """Return what a message with this file is: by the file's type, or the end of its name."""
    group, _, form = mime.partition("/")
    if not mime:
        return _KIND_OF_NAME.get(name.rpartition(".")[2].lower(), "document")
    if form == "gif":
        return "animation"
    return "image" if group == "image" else "video" if group == "video" else "audio" if group == "audio" else "document"


_KIND_OF_NAME: Final[dict[str, MessageKind]] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "heic", "avif"), "image"),
    **dict.fromkeys(("mp4", "mov", "webm", "mkv"), "video"),
    **dict.fromkeys(("mp3", "m4a", "aac", "ogg", "opus", "wav", "flac"), "audio"),
    "gif": "animation",
}


def file_name(place: str) -> str:
    """Return the last part of a path or link."""
    return place.partition("?")[0].rpartition("/")[2] if "://" in place else place.rpartition("/")[2]


def attachment(place: str, size: int | None = None, mime: str = "", name: str = "") -> Attachment:
    """Return a file that is named by its place."""
    known = size if size is not None and size >= 0 else -1
    return Attachment(place=place, size=known, mime=mime, name=name or file_name(place))
