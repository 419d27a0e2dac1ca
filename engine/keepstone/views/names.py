"""Names of files that are made from what people wrote: titles of chats, names of attachments.

Such a name stays in its folder, is one that every system takes, and looks like what it is: nothing in it separates
folders, turns the direction of writing round, hides an ending, or has a meaning of its own somewhere, be it as an
option of a command.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Final

MOST_BYTES: Final = 120
"""Of a name in UTF-8. Systems take 255, encrypted ones of them 143; a number may still be added."""
MOST_ENDING: Final = 16
"""Bytes of what is taken for a file's ending."""

_TYPES: Final = mimetypes.MimeTypes(filenames=())
"""What Python knows by itself, so that names are the same on every computer."""
_FORBIDDEN: Final = re.compile(
    '[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]'
)
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL)
"""Devices of Windows."""


def safe_name(name: str, otherwise: str = "file") -> str:
    """Return a name like this one that a file can have anywhere.

    Args:
        otherwise: the name if nothing is left.
    """
    stem, ending = split_ending(_FORBIDDEN.sub("_", name).strip(". "))
    plain = (_cut(stem, MOST_BYTES - len(ending.encode())) + ending).strip(". ") or otherwise
    return f"_{plain}" if plain.startswith("-") or _RESERVED.fullmatch(plain) else plain


def split_ending(name: str) -> tuple[str, str]:
    """Return a name in two: what its last dot begins is its ending, if it is short and has letters and digits only."""
    stem, dot, ending = name.rpartition(".")
    if not stem or not ending.isalnum() or len(ending.encode()) >= MOST_ENDING:
        return name, ""
    return stem, dot + ending


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text that takes no more bytes; a letter keeps its marks or goes with them."""
    if len(text.encode()) <= most:
        return text
    cut = text.encode()[:most].decode("utf-8", "ignore")
    if unicodedata.combining(text[len(cut)]) or text[len(cut)] in "\u200d\ufe0f":
        while len(cut) > 1 and (unicodedata.combining(cut[-1]) or cut[-1] in "\u200d\ufe0f"):
            cut = cut[:-1]
        cut = cut[:-1]
    return cut


def ending_for(mime: str) -> str:
    """Return the ending that files of a type have; nothing for what is not known."""
    return _TYPES.guess_extension(mime.partition(";")[0].strip().lower()) or ""


class Names:
    """The names of one folder: each is given once, whether or not the system tells cases and compositions apart."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def unused(self, name: str) -> str:
        """Return a safe name, with a number if it was given before."""
        plain = safe_name(name)
        stem, ending = split_ending(plain)
        found, key = plain, _folded(plain)
        while _folded(found) in self._taken:
            number = self._next.get(key, 1) + 1
            self._next[key] = number
            found = f"{stem} ({number}){ending}"
        self._taken.add(_folded(found))
        return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
