"""The canonical model: what a message, a call or a conversation is, whatever program it comes from.

A record is a *reading*: what one source says of a thing at one time. Two readings of the same message have the same
`identity`; the archive keeps every distinct reading and never decides which one is true, so records hold what the
source says and nothing that depends on when, where or in which order it was read: no row numbers, no paths of this
computer, no time of reading.

Text is kept exactly: no normalisation, no trimming, line breaks and control characters as they are. Whatever a source
says that has no field here goes to `extra`, under the source's own name for it. What a source does not say is the
field's default. Records are immutable, ordered by nothing, and compare by value; VERSION counts changes of the model.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

VERSION: Final = 1

Service = Literal[
    "sms", "phone", "whatsapp", "signal", "telegram", "imessage", "messenger", "instagram", "discord", "slack"
]
"""Where people write to each other. `sms` is SMS, MMS and RCS as a phone keeps them; `phone` are a phone's calls."""

ConversationKind = Literal["person", "group", "broadcast", "channel", "unknown"]
Direction = Literal["in", "out", "none", "unknown"]
"""`none` is what nobody sent: a group's event, a notice of the program."""
MessageKind = Literal[
    "text", "image", "video", "audio", "voice", "animation", "sticker", "document", "contact", "location", "poll",
    "event", "call", "deleted", "empty", "unknown",
]  # fmt: skip
"""`event` is a notice (somebody joined); `deleted` is what a source shows in the place of a deleted message; `empty`
has no content that the source would show (view-once, undecryptable); `unknown` is a type that the reader does not know:
its number is in `extra` under `type`, its text is kept."""
State = Literal["", "draft", "queued", "failed", "sent", "delivered", "read", "played"]
STATES: Final[tuple[State, ...]] = ("", "draft", "queued", "failed", "sent", "delivered", "read", "played")
"""From least to most: of readings that differ in this alone, the later one holds."""
CallOutcome = Literal[
    "answered", "missed", "rejected", "blocked", "voicemail", "elsewhere", "cancelled", "failed", "unknown"
]

Raw = str | int | float | bool | None
Extra = dict[str, Raw]
"""What a source calls it, and what it says; bytes as hexadecimal digits."""


class Person(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Somebody as a source names them."""

    address: str
    """Their stable address in the service, as the source writes it: a number, a JID, a user id. Where a source knows
    people by a name alone (an exported text), the name after a `~`."""
    name: str = ""


class Conversation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A chat: what the messages of one `key` share."""

    service: Service
    account: str = ""
    """The owner's own address in the service, if the source tells."""
    key: str
    """The chat's stable id in its service: a JID, a channel's or group's id, `identity.chat_of_addresses` of the
    others' numbers. Where a source knows a chat by its title alone, the title after a `~`."""
    kind: ConversationKind = "unknown"
    title: str = ""
    people: tuple[Person, ...] = ()
    """Whom the source names, the owner included if it does, in the order of their addresses."""
    extra: Extra = {}


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A file of a message. Its bytes are found by their hash, wherever they lie."""

    sha256: bytes = b""
    """SHA-256 of the content, 32 bytes; empty if neither the source nor the file at hand tells."""
    size: int = -1
    """Bytes; -1 if unknown."""
    mime: str = ""
    name: str = ""
    """The file's name as people see it."""
    caption: str = ""
    """What was written under this one file; the text of the message otherwise."""
    place: str = ""
    """Where the source keeps it, in the source's own words: a path inside it, or a link."""
    extra: Extra = {}


class Reaction(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An emoji that somebody gave a message."""

    author: str
    emoji: str
    time_ms: int = 0


class Edit(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An earlier text of a message, and until when it stood; 0 if unknown."""

    text: str
    time_ms: int = 0


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One message, or one event of a chat."""

    identity: bytes
    """16 bytes: the same for the same message in every source that knows its id: see `identity`."""
    anchored: bool = True
    """Whether the identity rests on an id or on content precise enough. False for an exported text, whose messages are
    matched with those of other sources by the archive."""
    service: Service
    chat: str
    """The conversation's `key`."""
    native: str = ""
    """The message's id in its service, for replies and for going back to the source."""
    time_ms: int
    """When it was sent (received, if nothing else is known): milliseconds since 1970 UTC, or by a local clock if not
    `zoned`; 0 if the source does not tell."""
    zoned: bool = True
    precision_ms: int = 1
    """What the source rounds times down to: 1, 1000 or 60000."""
    order: int = 0
    """The number among messages of the same chat and `time_ms` in the source's order, from 0."""
    author: str = ""
    """Their `Person.address`; empty where nobody sent it, and for an owner whose address the source does not tell."""
    direction: Direction = "unknown"
    kind: MessageKind = "text"
    text: str = ""
    subject: str = ""
    reply_to: str = ""
    """The `native` id of the message it answers."""
    forwarded: bool = False
    starred: bool = False
    state: State = ""
    attachments: tuple[Attachment, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    """In the order of author, time, emoji."""
    edits: tuple[Edit, ...] = ()
    """Oldest first; `text` is the newest."""
    extra: Extra = {}


class Call(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One call."""

    identity: bytes
    service: Service
    chat: str = ""
    """The conversation's `key` where the service has one."""
    native: str = ""
    time_ms: int
    seconds: int = 0
    direction: Direction
    outcome: CallOutcome = "unknown"
    video: bool = False
    people: tuple[Person, ...] = ()
    """The others, in the order of their addresses."""
    extra: Extra = {}


class Loss(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a reader could not read: said to the user, never kept."""

    what: str
    """One sentence: `Record 49 of 58 is cut off.`"""
    records: int = 0
    """How many records are lost by it, if known."""


Item = Conversation | Message | Call | Loss
