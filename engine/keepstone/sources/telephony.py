"""What a phone's readers share: how Android numbers boxes, addresses and calls, and what makes its messages the same.

SMS, MMS and RCS are one service, whichever program wrote them down. A message's time is the phone's own (`date`), which
orders the chat on the phone and is in every format; the sender's clock (`date_sent`) stays in `extra`. A box that a
message passes through on its way out (outbox, queued, failed) is not part of its identity: one that was queued in one
backup is sent in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from keepstone.messages.identity import begin, chat_of_addresses, identity, identity_of, number_key
from keepstone.messages.model import (
    Attachment,
    CallOutcome,
    Conversation,
    ConversationKind,
    Direction,
    MessageKind,
    Person,
    State,
)

BOXES: Final[dict[str, tuple[Direction, State]]] = {
    "1": ("in", ""), "2": ("out", "sent"), "3": ("out", "draft"), "4": ("out", "queued"), "5": ("out", "failed"),
    "6": ("out", "queued"),
}  # fmt: skip
CALLS: Final[dict[str, tuple[Direction, CallOutcome]]] = {
    "1": ("in", "answered"), "2": ("out", "unknown"), "3": ("in", "missed"), "4": ("in", "voicemail"),
    "5": ("in", "rejected"), "6": ("in", "blocked"), "7": ("in", "elsewhere"),
}  # fmt: skip
FROM: Final = "137"
TO: Final = "151"
CC: Final = "130"
BCC: Final = "129"
COMPLETE: Final = "0"
"""The status of an SMS that the network says to have delivered."""
OWN: Final = "insert-address-token"
"""What Android writes for the owner's number."""
HIDDEN: Final = ("", "-1", "-2", "-3")
"""What stands for a caller's number that is unknown, withheld, or a telephone box's."""
UNKNOWN_NAME: Final = "(Unknown)"
UTF8: Final = "106"
"""The character set of a subject as MMS numbers it."""

_SIDES: Final = {"1": "1", "2": "2", "4": "2", "5": "2", "6": "2"}
_KINDS: Final[tuple[tuple[str, MessageKind], ...]] = (
    ("image/", "image"), ("video/", "video"), ("audio/", "audio"),
    ("text/x-vcard", "contact"), ("text/vcard", "contact"),
)  # fmt: skip
_GROUP_SIGNS: Final = ("@rcs.google.com", "@rcs-conference.google.com")
_LIMIT: Final = 1 << 53


def sms_begin(chat: str, box: str) -> bytes:
    """Return what the identities of SMS in the conversation of a key are made of, but for time and text."""
    return begin("sms", chat, _SIDES.get(box, box))


def sms_identity(begin: bytes, time_ms: int, body: str) -> bytes:
    """Return the identity of an SMS."""
    return identity_of(begin, time_ms, body)


def mms_identity(
    box: str, addresses: Iterable[tuple[str, str]], chat: str, seconds: int, native: str, contents: Iterable[bytes]
) -> bytes:
    """Return the identity of an MMS.

    Args:
        addresses: Each with its type. Who sent it counts, or to whom the owner did: a phone does not always know its
            own number. Where none is told, the conversation's key stands for them.
        native: The message's id in the network, or that of its transaction.
        contents: SHA-256 of the text and of each file.
    """
    wanted = (FROM,) if box == "1" else (TO, CC, BCC)
    numbers = chat_of_addresses(one for one, kind in addresses if kind in wanted and one != OWN)
    return identity("mms", numbers or chat, _SIDES.get(box, box), seconds, native, b"".join(sorted(contents)))


def call_identity(number: str, kind: str, time_ms: int) -> bytes:
    """Return the identity of a call of one of `CALLS`' types."""
    return identity("call", number_key(number), CALLS[kind][0] if kind in CALLS else kind, time_ms)


def whole(text: str) -> int | None:
    """Return the number that a text is; None if it is none, or beyond what a time or size can be."""
    try:
        number = int(text) if len(text) < 20 else _LIMIT
    except ValueError:
        return None
    return number if -_LIMIT < number < _LIMIT else None


def subject_of(stored: str, charset: str) -> str:
    """Return an MMS's subject. Android stores its bytes as if they were Latin-1."""
    if charset == UTF8 and not stored.isascii():
        try:
            return stored.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
    return stored


def kind_of(text: str, attachments: Sequence[Attachment]) -> MessageKind:
    """Return the kind of a message by its first file."""
    if not attachments:
        return "text" if text else "empty"
    mime = attachments[0].mime.lower()
    return next((kind for start, kind in _KINDS if mime.startswith(start)), "document")


class Chats:
    """The conversations of one source, each met by its address, and the last time in each."""

    def __init__(self) -> None:
        self._by_address: dict[str, Conversation] = {}
        self._by_key: dict[str, Conversation] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def of(self, address: str, names: str) -> tuple[Conversation, bool]:
        """Return the conversation with an address, or several joined by `~`, and whether it is new."""
        known = self._by_address.get(address)
        if known is not None:
            return known, False
        conversation = _conversation(address, names)
        key = conversation.key
        new = key not in self._by_key
        known = self._by_address[address] = self._by_key.setdefault(key, conversation)
        return known, new

    def order(self, key: str, time_ms: int) -> int:
        """Return the number of a message among those of the same chat and time, in the source's order."""
        last = self._last.get(key)
        order = last[1] + 1 if last is not None and last[0] == time_ms else 0
        self._last[key] = (time_ms, order)
        return order


def address_of(conversation: Conversation) -> str:
    """Return the addresses of a conversation, as a phone joins them."""
    return "~".join(person.address for person in conversation.people)


def _conversation(address: str, names: str) -> Conversation:
    addresses = address.split("~")
    title = "" if names == UNKNOWN_NAME else names
    each = [title] if len(addresses) == 1 else title.split(", ")
    if len(each) != len(addresses):
        each = [""] * len(addresses)
    people = sorted(zip(addresses, each, strict=True))
    group = len(addresses) > 1 or address.endswith(_GROUP_SIGNS)
    kind: ConversationKind = "group" if group else "person" if address else "unknown"
    return Conversation(
        service="sms",
        key=chat_of_addresses(addresses),
        kind=kind,
        title=title,
        people=tuple(Person(address=one, name="" if name == UNKNOWN_NAME else name) for one, name in people if one),
    )
