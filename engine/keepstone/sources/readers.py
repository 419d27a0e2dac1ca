"""The readers that there are, and which one is for a file. Their modules are loaded when a file first asks for them."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Final, cast

from keepstone.sources.reading import HEAD, Folder, Reader
from keepstone.sources.signs import shows_messages

MODULES: Final = (
    "sms_backup_restore", "sms_import_export", "android_telephony", "whatsapp_android", "whatsapp_ios", "imessage",
    "telegram", "meta", "discord", "slack", "signal_export", "signal_backup", "signal_android",
    "whatsapp_export", "keepstone_jsonl",
)  # fmt: skip
"""In the order in which they are asked."""


SMALLEST: Final = 18
"""Bytes that any file of messages has: an exported text of one short message has no more."""

_NAMES = re.compile(
    rb"[^.]*|.*\.(db|sqlite|sqlite3|storedata|xml|json|ndjson|jsonl|txt|csv|zip|crypt\d+|gz|backup)", re.I | re.S
)
"""Names of files that may hold messages. Copies of a phone have names without an ending."""
_ANY = re.compile(rb"main|.*\.(crypt\d+|gz|backup)", re.I | re.S)
"""Names of files that are packed or encrypted, and so begin as they like."""

_INSIDE = re.compile(
    rb"(?:^|/)((?:(?:your_[a-z]+_activity/)?messages/)?"
    rb"(?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+/message_\d+\.json"
    rb"|messages/c?\d+/messages\.(?:json|csv)|HomeDomain/Library/SMS/sms\.db)$", re.I | re.S
)  # fmt: skip
"""Files of exports that say further above whose they are, and of which service, or have their media there."""

TABLES = frozenset(
    (
        "jid", "messages", "chat_list", "handle", "ZWAMESSAGE", "ZWACDCALLEVENT", "ZCALLRECORD", "sms", "pdu", "calls",
    )
)  # fmt: skip
"""Of the tables that the readers of databases know, those without which none of them reads anything."""


def may_be_named(name: bytes) -> bool:
    """Return whether a file of this name may hold messages. Cheap: it is asked of every file."""
    return _NAMES.fullmatch(name) is not None


def depth_of(path: bytes) -> int:
    """Return how many folders above a file a reader is to see; media, too, lie beside the folder of a database."""
    found = _INSIDE.search(path)
    return found[1].count(b"/") if found else 1


def may_hold_messages(name: bytes, head: bytes) -> bool:
    """Return whether a file of this name that begins like this may hold messages.

    Args:
        head: its first `HEAD` bytes, or all of a shorter one.
    """
    return shows_messages(name, head) or _ANY.fullmatch(name) is not None


@cache
def readers() -> tuple[Reader, ...]:
    """Return all readers."""
    return tuple(cast(Reader, import_module(f"keepstone.sources.{name}")) for name in MODULES)


def reader_named(name: str) -> Reader | None:
    """Return the reader of a name, as records of the archive have it; None if there is none in this version."""
    return next((reader for reader in readers() if name == reader.NAME), None)


def reader_for(name: str, folder: Folder) -> Reader | None:
    """Return the reader that knows a file of a folder; None if none does, or the file cannot be read."""
    try:
        with folder.open(name) as file:
            head = file.read(HEAD)
        if not head:
            return None
        return next((reader for reader in readers() if reader.recognises(name, head, folder)), None)
    except Exception:  # Whatever somebody's file does to a reader: that it has none is never a reason for more.
        return None
