"""Stable identity: what makes two readings the same message, on whatever phone, in whatever format.

An identity is 16 bytes of BLAKE3 over a purpose and length-prefixed parts. It is no secret and no protection: it
stands in sealed records only, and a hostile source can make its own messages collide with each other, never with those
of another source's chat without knowing their ids.

    WhatsApp           chat, from me or not, key id (the stanza id on iOS), and in groups the sender
    iMessage           guid
    Telegram, Discord, Slack, Signal, Matrix      chat and the message's id there
    SMS                the other's number, box, time, text
    MMS                the numbers, box, time, id of the message, hashes of the parts
    calls              the service's call id, or number, direction, time
    no id at all       chat, author, local time, text, and the how manieth of these it is; not anchored
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from blake3 import blake3

LENGTH = 16


def identity(purpose: str, *parts: str | bytes | int) -> bytes:
    """Return the identity made of parts, in order. Each part is told from its neighbours and from other types."""
    return identity_of(_purpose(purpose), *parts)


def begin(purpose: str, *parts: str | bytes | int) -> bytes:
    """Return what `identity_of` needs in the place of a purpose and the parts that come first."""
    return b"".join((_purpose(purpose), *map(_encoded, parts)))


def identity_of(begin: bytes, *parts: str | bytes | int) -> bytes:
    """Return the identity made of a beginning and of further parts."""
    return blake3(b"".join((begin, *map(_encoded, parts)))).digest(LENGTH)


def _encoded(part: str | bytes | int) -> bytes:
    if isinstance(part, str):
        try:
            data = part.encode()
        except UnicodeEncodeError:
            data = part.encode("utf-8", "surrogatepass")
        return _PART(b"s", len(data)) + data
    if isinstance(part, int):
        data = b"%d" % part
        return _PART(b"i", len(data)) + data
    return _PART(b"b", len(part)) + part


_PART = struct.Struct("<cQ").pack


@cache
def _purpose(purpose: str) -> bytes:
    return f"keepstone 1 identity {purpose}".encode()


def number_key(address: str) -> str:
    """Return what two ways of writing one telephone number share: its last nine digits.

    `+49 171 1234567`, `0171/1234567` and `00491711234567` are one number, and no phone tells the country it is in.
    Short codes keep all their digits; what is no number (a sender's name, a mail address) is itself, in lower case.
    """
    digits = "".join(ch for ch in address if ch.isascii() and ch.isdigit())
    if not digits or any(ch.isalpha() or ch == "@" for ch in address):
        return address.strip().lower()
    return digits[-9:]


def chat_of_addresses(addresses: Iterable[str]) -> str:
    """Return the key of the conversation with these others: the same in any order and writing."""
    return "~".join(sorted({number_key(address) for address in addresses}))
