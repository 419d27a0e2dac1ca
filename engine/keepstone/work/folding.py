"""Texts without what does not tell words apart: case, how letters are composed, and marks that people leave out.

`fold` says what that is, for one text. `fold_all` gives the same for the texts of a block at once, as bytes: ASCII is
lowered in one pass, and only letters that are not as they should be cost more.
"""

from __future__ import annotations

import re
import string
import unicodedata
from functools import lru_cache
from typing import Final

from keepstone.messages.blocks import SEPARATOR

_LEFT_OUT = re.compile(
    "[\u00ad\u034f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c7\u0610-\u061a\u061c\u0640\u064b-\u065f\u0670"
    "\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
"""Vowel signs of Arabic and Hebrew, invisible marks, how an emoji is to look."""
_COMMON = re.compile(
    "[\u00a1-\u00a7\u00a9\u00ab\u00ac\u00ae\u00b0-\u00b4\u00b6-\u00bf\u00e0-\u00f6\u00f8-\u00ff"
    "\u03b1-\u03c1\u03c3-\u03c9\u0430-\u045f\u05d0-\u05ea\u0621-\u063f\u0641-\u064a\u0660-\u0669\u0904-\u0939\u093e-\u094c"
    "\u0e01-\u0e30\u2010-\u2027\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3\U0001f300-\U0001f9ff]+"
)
"""Characters that stay as they are; others are looked at one by one."""
_ASCII: Final = bytes(range(128)) + SEPARATOR
_LINES: Final = b"\t\n\v\f\r"
_LOWERED: Final = bytes.maketrans(
    string.ascii_uppercase.encode() + _LINES, string.ascii_lowercase.encode() + b" " * len(_LINES)
)
_SPACED: Final = dict.fromkeys((*_LINES, 0x00A0, 0x202F), " ")
"""What a phrase goes on after as after a space: lines, and spaces that do not break them."""
_MOST_REPLACED = 8
"""Different letters of a block that are replaced one by one; more are folded together."""


def fold(text: str) -> str:
    """Return a text without what does not tell words apart."""
    if text.isascii():
        return text.lower().translate(_SPACED)
    composed = unicodedata.normalize("NFC", text)
    folded = _LEFT_OUT.sub("", unicodedata.normalize("NFC", composed.casefold()))
    # Of the Turkish capital I with a dot, case folding leaves a dot of its own; the one without has none.
    folded = folded.replace("\u0131", "i").replace("i\u0307", "i")
    return unicodedata.normalize("NFC", folded.translate(_SPACED))


def fold_all(texts: bytes) -> bytes:
    """Return texts of a block, which have `SEPARATOR` between them, each folded."""
    lowered = texts.translate(_LOWERED)
    others = lowered.translate(None, _ASCII)
    if not others:
        return lowered
    # A text that was cut off in a letter is no UTF-8; it stays what it is.
    known = {char: _folded(char) for char in set(_COMMON.sub("", others.decode("utf-8", "surrogateescape")))}
    changed = [(char, to) for char, to in known.items() if char != to]
    if any(to is None for to in known.values()) or len(changed) > _MOST_REPLACED:
        whole = lowered.decode("utf-8", "surrogateescape")
        return fold(whole).encode("utf-8", "surrogateescape")
    for char, to in changed:
        lowered = lowered.replace(char.encode(), (to or "").encode())
    return lowered


@lru_cache(maxsize=1 << 14)
def _folded(char: str) -> str | None:
    """Return what a character becomes wherever it stands; None if that depends on what stands beside it."""
    folded = fold(char)
    return folded if all(_stands_alone(one) for one in folded) and (not folded or _stands_alone(char)) else None


def _stands_alone(char: str) -> bool:
    """Return whether a character never changes, nor is changed by, one of its kind beside it."""
    if "\u0900" <= char <= "\u097f":
        return not unicodedata.combining(char)  # What composes in this script is what has a class.
    hangul = "\u1100" <= char <= "\u11ff"
    return char.isascii() or not (hangul or unicodedata.category(char) in ("Mn", "Mc", "Me", "Cs"))
