"""What an export is made of: chats with their messages, and where attachments come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import BinaryIO

from keepstone.messages.model import Attachment, Conversation, Message

OpenAttachment = Callable[[Attachment], BinaryIO | None]
"""Returns the content of an attachment, or None where nobody has it."""

_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_MINUTE = len("2026-11-23 18:00")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to export. Its messages can be gone through once, in order."""

    conversation: Conversation
    messages: Iterable[Message]
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of people by address, where known better than by the conversation itself."""

    @property
    def title(self) -> str:
        """How people call the chat."""
        return self.conversation.title or ", ".join(
            person.name or self.name_of(person.address) for person in self.conversation.people
        ) or self.name_of(self.conversation.key)  # fmt: skip

    def name_of(self, address: str) -> str:
        """Return the name of somebody, or their address where nobody knows a name."""
        known = self.names.get(address, "")
        if not known:
            known = next((p.name for p in self.conversation.people if p.address == address), "")
        return known or address.removeprefix("~").partition("@")[0]

    def author_of(self, message: Message) -> str:
        """Return who sent a message, as people call them. In a chat of two a source need not name the other."""
        if message.direction == "out":
            return "You"
        return self.name_of(message.author) if message.author else self.title


def local_time(message: Message, zone: tzinfo) -> datetime:
    """Return when a message was sent, in a zone; as the source's own clock told it, if its zone is not known.

    A time beyond what a calendar here has becomes the first or last of it.
    """
    return time_of(message.time_ms, zone if message.zoned else UTC)


def time_of(time_ms: int, zone: tzinfo) -> datetime:
    """Return a time in milliseconds since 1970 as a date in a zone, within the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        moment = _LATEST if time_ms > 0 else _EARLIEST
    return min(max(moment, _EARLIEST), _LATEST).astimezone(zone)


def shown_time(time_ms: int, zone: tzinfo) -> str:
    """Return a time as people read it, to the minute; of 0, which is what a source that tells none has, no date."""
    return time_of(time_ms, zone).isoformat(" ", "minutes")[:_MINUTE] if time_ms else "no date"


def minute_of(message: Message, zone: tzinfo) -> str:
    """Return when a message was sent as people read it."""
    return shown_time(message.time_ms, zone if message.zoned else UTC)


def written_of(message: Message) -> list[str]:
    """Return what somebody wrote, in the order in which it is shown: the subject, captions, the text."""
    captions = (attachment.caption for attachment in message.attachments)
    return [text for text in (message.subject, *captions, message.text) if text]


def content_of(attachment: Attachment, open_attachment: OpenAttachment) -> Iterator[bytes]:
    """Yield the bytes of an attachment, block by block; nothing where nobody has it."""
    file = open_attachment(attachment)
    if file is not None:
        with file:
            while block := file.read(1024 * 1024):
                yield block
