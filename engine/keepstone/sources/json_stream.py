"""JSON of any size, read from the front: what a reader asks for is decoded, one value or one record at a time.

The reader walks: `members` goes through an object key by key, `items` through an array whose elements are walked in
their turn, `value` decodes what comes next, and `records` decodes an array's objects one by one. What is not asked for
is skipped. A value that does not fit into `MAX_VALUE` is not decoded, so memory has a bound; nesting ends at the
interpreter's own limit.

Real programs write JSON that is not: control characters as they are or as `\\x1F`, half a surrogate pair, bytes that
are no UTF-8. Those are read. A record that is damaged is left out, and reading goes on with the next object that looks
like one; where the text ends early, all that was complete before has been yielded. `losses` tells of both.

Records are decoded many at a time: the text up to the last place where one seems to end is given to the fast decoder as
one array. It accepts it only if that really was the end of a record, so a wrong guess costs time and nothing else.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import msgspec

from keepstone.messages.model import Extra, Raw
from keepstone.sources.reading import Folder

MAX_VALUE: Final = 4 * 1024 * 1024
"""Characters of one decoded value, at most; what it becomes in memory may be thirty times as large."""
MAX_DEPTH: Final = 64
"""How deep values are walked to skip what is too large to decode."""
Record = dict[str, object]

_BLOCK = 256 * 1024
_PARTIAL = 16
"""An error this near to the end of the text at hand may be only half of a token: \\ud83d\\ude00, -Infinity."""
_SEPARATOR = 1000
"""Characters that may stand between two records, at most."""
# The C scanner itself; the stubs leave it out. Unlike `raw_decode` it tells where the text ended.
_decode: Final[Callable[[str, int], tuple[object, int]]] = json.JSONDecoder(strict=False).scan_once  # type: ignore[attr-defined]
_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")
_FOREIGN_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\x([0-9A-Fa-f]{2})")
_SURROGATES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Malformed(ValueError):
    """The text is no JSON from here on."""


class CutOff(Malformed):
    """The text ends in the middle."""


class JsonStream:
    """A walk through one JSON text."""

    def __init__(self, file: BinaryIO, *, fast: bool = True) -> None:
        """Args: fast: False decodes record by record: the same, slower."""
        first = file.read(_BLOCK)
        utf16 = first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        self._decoder = codecs.getincrementaldecoder("utf-16" if utf16 else "utf-8-sig")("replace")
        self._file = file
        self._text = self._decoder.decode(first, final=not first)
        self._pos = 0
        self._ended = not first
        self._fast = fast
        self.damaged = 0
        """Records left out so far."""
        self._refused = False

    # Text at hand ---------------------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Take in more text, as much again as is waiting; return whether there was any."""
        if self._ended:
            return False
        data = self._file.read(max(_BLOCK, len(self._text) - self._pos))
        self._ended = not data
        self._refused = False
        self._text = self._text[self._pos :] + self._decoder.decode(data, final=self._ended)
        self._pos = 0
        return bool(data)

    def peek(self) -> str:
        """Return the next character that is no white space; nothing at the end of the text."""
        while True:
            found = _SPACE.match(self._text, self._pos)
            self._pos = found.end() if found else self._pos
            if self._pos < len(self._text):
                return self._text[self._pos]
            if not self._more():
                return ""

    def _expect(self, wanted: str) -> str:
        """Step over the next character, one of those wanted."""
        char = self.peek()
        if not char:
            raise CutOff
        if char not in wanted:
            raise Malformed
        self._pos += 1
        return char

    # Values ---------------------------------------------------------------------------------------------------

    def value(self) -> object:
        """Return the next value, decoded.

        Raises:
            Malformed: it is no JSON, nested too deep, or too large.
        """
        if not self.peek():
            raise CutOff
        repaired = False
        while True:
            try:
                value, end = _decode(self._text, self._pos)
                if end < len(self._text) or not self._more():
                    break
                continue  # A number may go on in the text to come.
            except StopIteration as error:
                place, partial = error.value, False
            except json.JSONDecodeError as error:
                place, partial = error.pos, error.msg.startswith("Unterminated string")
            except (RecursionError, ValueError):
                raise Malformed from None  # Endless nesting, or a number of thousands of digits.
            if not repaired and self._repair():
                repaired = True
            elif len(self._text) - self._pos >= MAX_VALUE or (not partial and place < len(self._text) - _PARTIAL):
                raise Malformed
            elif self._more():
                repaired = False
            else:
                raise CutOff
        if self._text.find("\\ud", self._pos, end) >= 0 or self._text.find("\\uD", self._pos, end) >= 0:
            value = _decode(_whole_surrogates(self._text[self._pos : end]), 0)[0]
        self._pos = end
        return value

    def _repair(self) -> bool:
        """Put `\\u001F` for the `\\x1F` that some programs write; return whether there was any."""
        if self._text.find("\\x", self._pos) < 0:
            return False
        text, count = _FOREIGN_ESCAPE.subn(r"\1\\u00\2", self._text[self._pos :])
        self._text, self._pos = text, 0
        return count > 0

    def skip(self, depth: int = 0) -> None:
        """Step over the next value, whatever its size."""
        try:
            self.value()
        except CutOff:
            raise
        except Malformed:
            char = self.peek()
            if depth >= MAX_DEPTH or char not in ("{", "["):
                raise
            for _ in self.members(depth) if char == "{" else self.items(depth):
                pass

    def members(self, depth: int = 0) -> Iterator[str]:
        """Walk through an object: yield each key while its value is next. A value left standing is skipped."""
        self._expect("{")
        if self.peek() == "}":
            self._pos += 1
            return
        while True:
            key = self.value() if self.peek() == '"' else self._expect('"')
            self._expect(":")
            yield from self._standing(str(key), depth)
            if self._expect(",}") == "}":
                return

    def items(self, depth: int = 0) -> Iterator[str]:
        """Walk through an array: yield the first character of each element while it is next."""
        self._expect("[")
        if self.peek() == "]":
            self._pos += 1
            return
        while True:
            yield from self._standing(self.peek(), depth)
            if self._expect(",]") == "]":
                return

    def _standing(self, given: str, depth: int) -> Iterator[str]:
        char = self.peek()
        text, place = self._text, self._pos
        yield given
        # Nothing is empty in JSON: a walk that has not moved has taken nothing.
        if self._text is text and self._pos == place and char:
            self.skip(depth + 1)

    # Records --------------------------------------------------------------------------------------------------

    def records(self, looks_right: Callable[[Record], bool], end: re.Pattern[str] | None = None) -> Iterator[Record]:
        """Yield the objects of an array. What is damaged is left out and counted.

        Args:
            looks_right: says of an object found after damage whether it is a record, and not a part of one.
            end: what only stands behind the array. No record is looked for beyond it.

        Raises:
            CutOff: the text ends before the array does.
            Malformed: no further record was found before `end`.
        """
        self._expect("[")
        if self.peek() == "]":
            self._pos += 1
            return
        separator, lost = "", False
        while True:
            try:
                if lost:
                    self._to_next(end)
                value = self.value()
                if lost and not (isinstance(value, dict) and looks_right(value)):
                    continue
                place, lost = self._pos, False
                if isinstance(value, dict):
                    yield value
                else:
                    self.damaged += 1
                if self._expect(",]") == "]":
                    return
            except CutOff:
                raise
            except _End:
                raise Malformed from None
            except Malformed:
                self.damaged += not lost
                lost = True
                continue
            if self._fast and not self._refused:
                separator = separator or self._separator(place)
                yield from self._batch(separator)

    def _separator(self, place: int) -> str:
        """Return what stands between the end of one record and the first value of the next, if it is at hand."""
        if self.peek() != "{" or not 0 < self._pos - place < _SEPARATOR:
            return ""
        colon = self._text.find(":", self._pos, self._pos + _SEPARATOR)
        return "}" + self._text[place : colon + 1] if colon > 0 and self._text[place - 1] == "}" else ""

    def _batch(self, separator: str) -> Iterator[Record]:
        """Yield the complete records of the text at hand, if the fast decoder accepts them; nothing otherwise."""
        end = self._text.rfind(separator, self._pos) + 1 if separator else 0
        if end <= self._pos:
            return
        try:
            found = msgspec.json.decode("[" + self._text[self._pos : end] + "]")
        except (msgspec.DecodeError, RecursionError, ValueError):
            self._refused = True  # By one record, or for the guess. The next text is looked at again.
            return
        self._pos = self._text.index(",", end) + 1
        for value in found:
            if isinstance(value, dict):
                yield value
            else:
                self.damaged += 1

    def _to_next(self, end: re.Pattern[str] | None) -> None:
        """Go to the next place where an object follows another one."""
        while True:
            found = _NEXT.search(self._text, self._pos)
            limit = found.end() if found else len(self._text)
            if end is not None:
                if len(self._text) - limit < _SEPARATOR and self._more():
                    continue  # What stands behind the array may be cut off here.
                stop = end.search(self._text, self._pos)
                if stop is not None and stop.start() <= limit:
                    self._pos = stop.start()
                    raise _End
            if found is not None:
                self._pos = found.end()
                return
            self._leave_tail()

    def find(self, pattern: re.Pattern[str]) -> None:
        """Go to where a pattern is found next.

        Raises:
            CutOff: nowhere.
        """
        while (found := pattern.search(self._text, self._pos)) is None:
            self._leave_tail()
        self._pos = found.start()

    def _leave_tail(self) -> None:
        """Take in more text, for a search that found nothing; the end of the old may be half of what it looks for."""
        self._pos = max(self._pos, len(self._text) - _SEPARATOR)
        if not self._more():
            raise CutOff


class _End(Malformed):
    """What only stands behind the array was found."""


def _whole_surrogates(text: str) -> str:
    """Return JSON text with U+FFFD for each half of a surrogate pair."""
    return _SURROGATES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)


def small_file(folder: Folder, name: str) -> object:
    """Return a file that is one small value; None if it is not there, too large, or no JSON."""
    try:
        with folder.open(name) as file:
            return JsonStream(file).value()
    except (FileNotFoundError, Malformed):
        return None


# What stands in a record ----------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Return a text as it is, a number as it is written, and nothing for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def whole(value: object) -> int | None:
    """Return a whole number of at most 63 bits, however it is written; None if it is none."""
    if isinstance(value, str) and len(value) < 25:
        try:
            value = int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(2**63) <= value < 2**63 else None


def record(value: object) -> Record:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def array(value: object) -> list[object]:
    """Return an array; an empty one for anything else."""
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Record]:
    """Return the objects of an array."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def raw(value: object) -> Raw:
    """Return a value for `extra`: what is no plain value, or a number too large, as JSON text."""
    if isinstance(value, str | bool | None) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""


def leftover(given: Record, known: frozenset[str]) -> Extra:
    """Return for `extra` what of a record is not known by another field, and says something."""
    return {
        key: raw(value)
        for key, value in given.items()
        if key not in known and value is not None and value is not False and value != "" and value != [] and value != {}
    }
