"""Apple's archived texts: the plain text of an `attributedBody`, and property lists that may be hostile.

An attributed string is a typedstream: after the header, class names, then the string as a value of type `+`: a length
and UTF-8. What follows are its attributes, of which messages keep nothing that their other columns do not say.
"""

from __future__ import annotations

import plistlib
import re
from typing import Final

MAX_PLIST: Final = 1024 * 1024
"""Bytes of a property list that are looked at."""

_MAGIC: Final = b"streamtyped"
_STRING: Final = b"\x01+"
_END: Final = re.compile(rb"(?<![\xc0-\xff])(?<![\xf0-\xff][\x80-\xbf])\x86\x84")
"""What stands behind the string; within one the same two bytes end many a character of Chinese and Korean."""


def attributed_text(data: bytes) -> str | None:
    """Return the text of an archived attributed string; None if there is none.

    A length that says more than there is ends where the attributes begin.
    """
    if data[2:13] != _MAGIC:
        return None
    start = data.find(_STRING, data.find(b"String")) + len(_STRING)
    if start < len(_STRING) or start >= len(data):
        return None
    length, width = data[start], 0
    if length in (0x81, 0x82):
        width = 2 if length == 0x81 else 4
        length = int.from_bytes(data[start + 1 : start + 1 + width], "little")
    elif length > 0x82:
        return None
    body = data[start + 1 + width : start + 1 + width + length]
    return _END.split(body, maxsplit=1)[0].decode("utf-8", "replace")


def property_list(data: bytes) -> dict[str, object]:
    """Return the dictionary that a binary property list holds; an empty one if it is none."""
    if len(data) > MAX_PLIST or not data.startswith(b"bplist00"):
        return {}
    try:
        found = plistlib.loads(data, fmt=plistlib.FMT_BINARY)
    except (plistlib.InvalidFileException, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str)} if isinstance(found, dict) else {}
