"""The files that an XML backup of a phone holds as base64, taken out of its bytes before a parser sees them.

A video of an MMS is one attribute of any length. Here it becomes a hash, block by block, and in the text that is given
on stands a short token in its place. An attribute is a file's only where a well-formed tag `part` has it outside of
other attributes' values, so no text that looks like one is taken for one.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import re
import string
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from keepstone.sources.windows import Run, Window

BLOCK: Final = 64 * 1024
MAX_HELD: Final = 32 * 1024 * 1024
"""Bytes of a tag that are looked through for a file; in a longer one none is found."""

_TAG: Final = b"<part"
_ATTRIBUTE: Final = rb"(?>\s+(?!data\s*=)[\w:.-]+\s*=\s*(?>\"[^\"<]*\"|'[^'<]*'))*"
_OPEN: Final = re.compile(rb"<part" + _ATTRIBUTE + rb"\s+data\s*=\s*([\"'])")
_WHOLE: Final = re.compile(rb"<part" + _ATTRIBUTE + rb"\s*/?>")
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/=").encode()
_OTHERS: Final = bytes(set(range(256)) - set(_ALPHABET))
_NOTHING: Final = b"null"
_REFERENCE: Final = re.compile(rb"&#?\w{0,8};")
_LONGEST_REFERENCE: Final = 12


@dataclass(frozen=True, slots=True)
class InsideFile:
    """A file inside the backup. One that is no base64 has no hash."""

    sha256: bytes
    size: int
    at: int
    length: int
    """The run of the backup that its base64 is."""


class _Value:
    """Base64 in parts, hashed."""

    def __init__(self, at: int, quote: bytes) -> None:
        self.at, self.quote, self.length = at, quote, 0
        self._hash, self._size, self._rest, self._bad = hashlib.sha256(), 0, b"", False
        self._reference = b""

    def update(self, chunk: bytes, final: bool) -> None:
        self.length += len(chunk)
        if self._bad:
            return
        if self._reference or b"&" in chunk:
            chunk = self._without_references(self._reference + chunk, final)
        data = self._rest + chunk.translate(None, _OTHERS)
        whole = len(data) if final else len(data) & ~3
        self._rest = data[whole:]
        try:
            plain = binascii.a2b_base64(data[:whole])
        except binascii.Error:
            self._bad = True
            return
        self._size += len(plain)
        self._hash.update(plain)

    def _without_references(self, chunk: bytes, final: bool) -> bytes:
        """Leave out line ends that are written as references; half of one waits."""
        self._reference = b""
        start = chunk.rfind(b"&", max(0, len(chunk) - _LONGEST_REFERENCE))
        if not final and start >= 0 and b";" not in chunk[start:]:
            chunk, self._reference = chunk[:start], chunk[start:]
        return _REFERENCE.sub(b"", chunk)

    def file(self, broken: bool) -> InsideFile:
        self.update(b"", final=True)
        bad = self._bad or broken
        return InsideFile(b"" if bad else self._hash.digest(), -1 if bad else self._size, self.at, self.length)


class Extractor:
    """Blocks of a backup, without the files in them."""

    def __init__(self) -> None:
        self.files: dict[int, InsideFile] = {}
        """Those that were taken out since, by the number in their token. Whoever reads the tokens removes them."""
        self._count = 0
        self._held: list[bytes] = []
        self._held_size = 0
        self._tried = 0
        """How much was held when a tag was last looked at: it is looked at again when it has doubled."""
        self._base = 0
        self._value: _Value | None = None

    def feed(self, block: bytes, final: bool) -> bytes:
        """Return the next block. What may be the beginning of a file's tag is held back."""
        self._held.append(block)
        self._held_size += len(block)
        if not final and self._held_size < 2 * self._tried:
            return b""
        data = b"".join(self._held) if len(self._held) > 1 else block
        self._held, self._held_size, self._tried = [], 0, 0
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._value is not None:
                at = self._inside(self._value, data, at, out)
                continue
            start = data.find(_TAG, at)
            if start < 0:
                keep = 0 if final else _partial(data, at)
                out.append(data[at : len(data) - keep])
                self._hold(data[len(data) - keep :] if keep else b"", 0)
                break
            out.append(data[at:start])
            at = self._tag(data, start, final, out)
            if at < 0:
                self._hold(data[start:], len(data) - start)
                break
        self._base += len(data) - self._held_size
        return b"".join(out)

    def _hold(self, data: bytes, tried: int) -> None:
        if data:
            self._held, self._held_size, self._tried = [data], len(data), tried

    def _tag(self, data: bytes, start: int, final: bool, out: list[bytes]) -> int:
        """Give on a tag up to the file that it holds; return where to go on, or -1 if more of it is needed."""
        if data[start + 5 : start + 6] not in (b" ", b"\n", b"\t", b"\r", b""):
            out.append(_TAG)
            return start + len(_TAG)
        found = _OPEN.match(data, start)
        if found is not None:
            value = found.end()
            ended = data.find(found[1], value, value + 5)
            if ended >= 0 or len(data) - value >= 5:
                out.append(data[start:value])
                if data[value:ended] != _NOTHING or ended < 0:
                    self._value = _Value(self._base + value, found[1])
                return value
        elif (whole := _WHOLE.match(data, start)) is not None:
            out.append(whole[0])
            return whole.end()
        if final or data.find(b"<", start + 1) >= 0 or len(data) - start > MAX_HELD:
            out.append(_TAG)  # It is no tag that a file is taken from; whether it is XML is for the parser to say.
            return start + len(_TAG)
        return -1

    def _inside(self, value: _Value, data: bytes, at: int, out: list[bytes]) -> int:
        end = data.find(value.quote, at)
        broken = data.find(b"<", at, end if end >= 0 else len(data))
        stop = broken if broken >= 0 else end if end >= 0 else len(data)
        value.update(data[at:stop] if at or stop < len(data) else data, final=False)
        if stop < len(data):
            self.files[self._count] = value.file(broken >= 0)
            out.append(b"@%d" % self._count)
            self._count += 1
            self._value = None
        return stop


def _partial(data: bytes, at: int) -> int:
    """Return how many bytes at the end of data may be the beginning of a tag."""
    for length in range(min(len(_TAG) - 1, len(data) - at), 0, -1):
        if data.endswith(_TAG[:length]):
            return length
    return 0


def find_files(file: BinaryIO) -> dict[bytes, Run]:
    """Return where each file of a backup is, by its SHA-256."""
    extractor = Extractor()
    found: dict[bytes, Run] = {}
    while True:
        block = file.read(BLOCK)
        extractor.feed(block, not block)
        for inside in extractor.files.values():
            if inside.sha256:
                found[inside.sha256] = inside.at, inside.length
        extractor.files.clear()
        if not block:
            return found


def open_file(file: BinaryIO, run: Run) -> BinaryIO:
    """Return a file inside a backup; closing it closes the backup."""
    return cast(BinaryIO, io.BufferedReader(_Decoded(Window(file, *run)), BLOCK))


class _Decoded(io.RawIOBase):
    """What base64 stands for."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._text, self._data, self._ended = file, b"", b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # every buffer has a view
        while not self._data and not self._ended:
            block = self._file.read(BLOCK)
            self._ended = not block
            text = self._text + block
            # A reference has no more than these; it is whole, or waits.
            start = text.rfind(b"&", max(0, len(text) - _LONGEST_REFERENCE)) if block else -1
            text, held = (text[:start], text[start:]) if start >= 0 and b";" not in text[start:] else (text, b"")
            text = _REFERENCE.sub(b"", text).translate(None, _OTHERS) if b"&" in text else text.translate(None, _OTHERS)
            whole = len(text) if self._ended else len(text) & ~3
            self._text, self._data = text[whole:] + held, binascii.a2b_base64(text[:whole])
        data = self._data[: len(view)]
        self._data = self._data[len(data) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
