"""What the identities of the chat services are made of: the one place that all readers of a service share.

The same message has the same parts in every format of its service, on every device and in every version. Where the
service gives messages ids, the id and what it is unique in are enough; the text is no part, since it can be edited.
"""

from __future__ import annotations

from keepstone.messages.identity import identity
from keepstone.messages.model import Service


def numbered(service: Service, chat: str, native: str) -> bytes:
    """Return the identity of a message of Telegram, Discord or Slack: its id is unique in its chat."""
    return identity(service, chat, native)


def imessage(guid: str) -> bytes:
    """Return the identity of a message by its guid, which all devices of all who take part share."""
    return identity("imessage", guid.upper())


def signal(chat: str, author: str, sent_ms: int) -> bytes:
    """Return the identity of a message of Signal: an author sends no two messages at one time.

    Args:
        chat: the other's address, or the group's; the same in every format: see `signal_address`, `signal_group`.
        author: their address; empty for the owner, whose own address not every format tells.
    """
    return identity("signal", chat, author, sent_ms)


def signal_address(aci: bytes, number: str, pni: bytes = b"") -> str:
    """Return how one person is addressed: by the ACI in its usual form, by a number only where there is none."""
    known = aci or pni
    if len(known) == 16:
        digits = known.hex()
        address = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return address if aci else f"PNI:{address}"
    return f"+{number.lstrip('+')}" if number else ""


def signal_group(master_key: bytes) -> str:
    """Return how a group is addressed: by a hash of its master key, which opens it and so is kept out of sight."""
    return f"group:{identity('signal group', master_key).hex()}"


def unnumbered(service: Service, chat: str, author: str, time_ms: int, content: str, repeat: int) -> bytes:
    """Return the identity of a message of a service, or in a format, without ids.

    Args:
        content: the text, or where there is none what else the message holds, in the source's words.
        repeat: how many messages with the same other parts the source has before this one.
    """
    return identity(f"{service} without ids", chat, author, time_ms, content, repeat)


def call(service: Service, chat: str, native: str) -> bytes:
    """Return the identity of a call by the id that its service gives it, or the message that tells of it."""
    return identity(f"{service} call", chat, native)
