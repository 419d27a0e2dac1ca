"""XML as phones write it, made XML: a stream of bytes becomes text in which every character may stand.

Java programs write a character beyond 16 bits as two references to surrogates, and control characters as references to
what XML forbids. Pairs become their character; what no XML can say becomes U+FFFD. A reference may lie across the
border of two blocks. The text is given back as UTF-8.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_ONE: Final = "&#(?:[0-9]{1,10}|[xX][0-9A-Fa-f]{1,10});"
_REFERENCES: Final = re.compile(f"{_ONE}(?:{_ONE})*")
_OPEN: Final = re.compile(r"&(?:#[0-9A-Fa-fxX]{0,12})?\Z")
_LAST: Final = re.compile(r"&#([0-9]{1,10}|[xX][0-9A-Fa-f]{1,10});\Z")
_TAIL: Final = 16
"""More than the longest reference."""
_CONTROLS: Final = bytes(number for number in range(32) if number not in (9, 10, 13))
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_ENCODINGS: Final = {"iso8859-1": "cp1252", "cp1252": "cp1252", "iso8859-15": "iso8859-15"}
"""What else than UTF-8 a declaration may call for. Latin-1 is read as browsers read it."""
REPLACEMENT: Final = "\ufffd"


def encoding_of(head: bytes) -> str:
    """Return the encoding of a file that begins so."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith((b"<\0", b"\0<")):
        return "utf-16-le" if head[0] else "utf-16-be"
    declared = _DECLARED.match(head)
    try:
        name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    except LookupError:
        return "utf-8"
    return _ENCODINGS.get(name, "utf-8")


class Mended:
    """Blocks of a file, mended one by one."""

    def __init__(self, head: bytes) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding_of(head))("replace")
        self._held = ""

    def feed(self, block: bytes, final: bool = False) -> bytes:
        """Return the next block. What may go on in the next one is held back until then."""
        text = self._held + self._decoder.decode(block, final)
        self._held = ""
        if not final:
            text = self._hold(text)
        if "&#" in text:
            text = _REFERENCES.sub(_mended, text)
        if len(block.translate(None, _CONTROLS)) != len(block) or "\ufffe" in text or "\uffff" in text:
            text = _FORBIDDEN.sub(REPLACEMENT, text)
        return text.encode("utf-8", "replace")

    def _hold(self, text: str) -> str:
        start = max(0, len(text) - _TAIL)
        if text.find("&", start) >= 0:
            if found := _OPEN.search(text, start):
                self._held, text = text[found.start() :], text[: found.start()]
            last = _LAST.search(text, max(0, len(text) - _TAIL))
            if last and 0xD800 <= _code(last[1]) < 0xDC00:
                self._held, text = text[last.start() :] + self._held, text[: last.start()]
        return text


def _code(digits: str) -> int:
    return int(digits[1:], 16) if digits[0] in "xX" else int(digits)


def _mended(found: re.Match[str]) -> str:
    """Return a run of references without forbidden ones. What is allowed stays a reference: a line break must."""
    if found[0] == "&#10;":
        return "&#10;"
    out: list[str] = []
    high = 0
    for reference in found[0].split(";")[:-1]:
        code = _code(reference[2:])
        if high and 0xDC00 <= code < 0xE000:
            out[-1] = chr(0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00))
            high = 0
            continue
        high = code if 0xD800 <= code < 0xDC00 else 0
        out.append(f"&#{code};" if _allowed(code) else REPLACEMENT)
    return "".join(out)


def _allowed(code: int) -> bool:
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000
