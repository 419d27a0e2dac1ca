"""The records of an XML backup of a phone, one by one, out of a stream that may be damaged anywhere.

The parser is fed blocks and its handlers fill a queue, emptied after each block. Where the parser stops, a new one
goes on at the next record that begins behind that place, so one bad byte costs one record. There is no DTD and no
entity; nesting, a tag's length and a record's size are bounded. Files in parts are taken out of the bytes before
(`xml_files`), hashed and never held; only in UTF-16, which no phone writes, do they come through the parser.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import BinaryIO, Final
from xml.parsers import expat

from keepstone.sources.reading import UnreadableSource
from keepstone.sources.references import Mended, encoding_of
from keepstone.sources.telephony_rows import Attributes, Part, Record
from keepstone.sources.xml_files import BLOCK, Extractor

MAX_TAG: Final = 32 * 1024 * 1024
"""Bytes of one tag with its attributes; a longer value is cut."""
MAX_DEPTH: Final = 32
MAX_PARTS: Final = 4096
MAX_DAMAGES: Final = 10_000
"""After how many damaged places a file is given up."""

_RECORD: Final = re.compile(rb"<(?:sms|mms|call)\s")
_RECORD_TAIL: Final = 5
_QUOTE: Final = re.compile(rb"[\"']")

OnFile = Callable[[Record, int, bytes], None]
"""Is given each file: its record, the number of its part, its content."""


class _Damage(Exception):
    """What the parser bears and this does not."""


class Records:
    """The records of a file, and after them what was wrong with it."""

    def __init__(self, file: BinaryIO, on_file: OnFile | None = None) -> None:
        self.root: Attributes = {}
        self.root_name = ""
        self.damages = 0
        """Places where something is missing."""
        self.cut_off = False
        self.too_long = 0
        """Values that were cut."""
        self.bad_files = 0
        self._file = file
        self._extractor = Extractor()
        self._on_file = on_file
        self._queue: deque[tuple[str, Attributes] | Record] = deque()
        self._mms: Record | None = None
        self._mms_size = 0
        self._depth = 0
        self._moved = False
        self._shortened = False
        self._cut = False
        self._parser: expat.XMLParserType | None = self._new_parser()
        self._fed = 0
        self._rest = b""

    def __iter__(self) -> Iterator[tuple[str, Attributes] | Record]:
        head = _without_space(self._file.read(BLOCK))
        mended = Mended(head)
        queue = self._queue
        held: list[bytes] = []
        size = unmoved = 0
        block = head
        in_utf8 = not encoding_of(head).startswith("utf-16")
        while self.damages <= MAX_DAMAGES:
            data = mended.feed(self._extractor.feed(block, not block) if in_utf8 else block, not block)
            if unmoved + size + len(data) > MAX_TAG:
                data = self._shorten(data, unmoved)
            held.append(data)
            size += len(data)
            if size >= unmoved or not block:  # Each try looks at the whole tag again: it must have grown by much.
                chunk = b"".join(held)
                held, size = [], 0
                self._moved = False
                self._feed(chunk, not block)
                unmoved = 0 if self._moved else unmoved + len(chunk)
                while queue:
                    yield queue.popleft()
            if not block:
                return
            block = self._file.read(BLOCK)
        self.cut_off = True

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        return parser

    def _shorten(self, data: bytes, unmoved: int) -> bytes:
        """Return what is left of a block inside a tag that is too long: from the end of its value on."""
        self._shortened = True
        end = _QUOTE.search(data)
        return data[end.start() :] if end is not None and unmoved < 2 * MAX_TAG else b""

    def _feed(self, data: bytes, final: bool) -> None:
        """Parse data, with a new parser behind each place where one stops."""
        at = 0
        if self._parser is None:
            data = self._rest + data
        while self.damages <= MAX_DAMAGES:
            if self._parser is None:
                found = _RECORD.search(data, at)
                if found is None:
                    self._rest = data[max(at, len(data) - _RECORD_TAIL) :]
                    self._moved = True
                    return
                at = found.start()
                self._resume()
            assert self._parser is not None
            try:
                self._parser.Parse(data[at:] if at else data, final)
                self._fed += len(data) - at
                return
            except (expat.ExpatError, _Damage) as error:
                if not self.root_name:
                    raise UnreadableSource("The file is no XML that a phone's backup could be.") from error
                if self._at_end(error, final):
                    self.cut_off = True
                    return
                here = self._place(error) - self._fed
                at += max(here, 1)
                self._drop()

    def _at_end(self, error: Exception, final: bool) -> bool:
        missing = (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN)
        return (
            final
            and isinstance(error, expat.ExpatError)
            and (expat.ErrorString(error.code) in missing or expat.ErrorString(error.code) == "unclosed token")
            and self._depth >= 0
        )

    def _place(self, error: Exception) -> int:
        assert self._parser is not None
        return self._parser.CurrentByteIndex if isinstance(error, _Damage) else self._parser.ErrorByteIndex

    def _drop(self) -> None:
        self.damages += 1
        self._parser = None
        self._mms = None
        self._moved = True

    def _resume(self) -> None:
        self._parser = self._new_parser()
        start = f"<{self.root_name}>".encode()
        self._depth = 0
        self._parser.Parse(start, False)
        self._fed = len(start)

    def _start(self, name: str, attributes: Attributes) -> None:
        self._moved = True
        self._depth += 1
        self._cut = self._shortened
        if self._cut:
            self._shortened = False
            self.too_long += 1
        if name == "sms" or name == "call":
            self._queue.append((name, attributes))
        elif name == "mms":
            self._mms, self._mms_size = Record(name, attributes), 0
        elif self._mms is not None:
            self._inside(self._mms, name, attributes)
        elif self._depth == 1 and not self.root_name:
            self.root_name, self.root = name, attributes
        if self._depth > MAX_DEPTH:
            raise _Damage

    def _inside(self, mms: Record, name: str, attributes: Attributes) -> None:
        data = attributes.pop("data", "null") if name == "part" else "null"
        self._mms_size += sum(map(len, attributes.values()))
        if len(mms.parts) + len(mms.addresses) >= MAX_PARTS or self._mms_size > MAX_TAG:
            raise _Damage
        if name == "part":
            part = Part(attributes)
            mms.parts.append(part)
            if data != "null":
                self._content(mms, part, data)
        elif name == "addr":
            mms.addresses.append(attributes)

    def _content(self, mms: Record, part: Part, data: str) -> None:
        part.binary = True
        if self._cut:
            return  # Half of a file is none: it keeps its place and has no hash.
        if data.startswith("@"):
            found = self._extractor.files.pop(int(data[1:]) if data[1:].isdecimal() and len(data) < 18 else -1, None)
            part.sha256, part.size = (found.sha256, found.size) if found else (b"", -1)
            self.bad_files += not part.sha256
            return
        try:
            content = binascii.a2b_base64(data.encode())
        except (binascii.Error, ValueError):
            self.bad_files += 1
            return
        part.sha256, part.size = sha256(content).digest(), len(content)
        if self._on_file is not None:
            self._on_file(mms, len(mms.parts) - 1, content)

    def _end(self, name: str) -> None:
        self._moved = True
        self._depth -= 1
        if name == "mms" and self._mms is not None:
            self._queue.append(self._mms)
            self._mms = None


def _without_space(head: bytes) -> bytes:
    """Return a file's beginning without what must not stand before a declaration, and what some editor put there."""
    mark = codecs.BOM_UTF8 if head.startswith(codecs.BOM_UTF8) else b""
    rest = head[len(mark) :].lstrip(b" \t\r\n")
    return mark + rest if rest.startswith(b"<?") else head


def _refuse(*_: object) -> None:
    raise UnreadableSource("The file has a document type, which no backup of a phone has.")
