"""The readers that there are, and which one is for a file. Their modules are loaded when a file first asks for them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final, cast

from keepstone.errors import SourceError
from keepstone.sources.reading import HEAD, Folder, Reader, UnreadableSource

MODULES: Final = ("keepstone_jsonl", "sms_backup_restore", "sms_import_export", "android_telephony")
"""In the order in which they are asked."""


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
    except (OSError, SourceError, UnreadableSource):
        return None
