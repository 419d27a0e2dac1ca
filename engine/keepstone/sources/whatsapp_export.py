"""WhatsApp's "Export chat": a text for people, with media files beside it if they were exported too.

Every phone writes dates its own way, so a file's first line gives a shape (brackets, separators, seconds, halves of the
day), and only lines of that shape begin a message; all others go on with the last. Whether day or month comes first is
decided once, from all lines. There are no ids, no time zone, and minutes mostly: identities are not anchored.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, Literal

from keepstone.messages.identity import identity
from keepstone.messages.model import Attachment, Conversation, Direction, Item, Loss, Message, MessageKind
from keepstone.sources import whatsapp_words as words
from keepstone.sources.exports import hashed
from keepstone.sources.reading import MAX_TEXT, Folder, Options, UnreadableSource
from keepstone.sources.whatsapp import fitting

NAME = "whatsapp-export"

Order = Literal["dmy", "mdy", "ymd"]
_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_SPACE = r"[ \t\u00a0\u2009\u202f]"
_DASH = "\\-\u2013\u2014"
_WORD = rf"[^\W\d_](?:[^\s\d:\[\]{_DASH}]|{_SPACE}(?![{_DASH}\d])){{0,15}}"
"""A half of the day, or what stands between date and time. Letters of many scripts are followed by marks."""
_HEAD = (
    rf"[{_MARKS}]*(\[?)[{_MARKS}]*(\d{{1,4}})[{_MARKS}]*([-/.]){_SPACE}?(\d{{1,2}})[{_MARKS}]*\3{_SPACE}?(\d{{1,4}})"
    rf"(?:{_SPACE}?(?:{'|'.join(words.YEARS)}))?(\.?[,،]?)[{_MARKS}]*{_SPACE}[{_MARKS}]*"
    rf"(?:(?:{'|'.join(words.AT)}){_SPACE})?({_WORD}?)?{_SPACE}?"
    rf"(\d{{1,2}})([:.])(\d{{2}})(?:\9(\d{{2}}))?(?:{_SPACE}?(?:{'|'.join(words.CLOCK)})(?=[\s\]]))?"
)
_HEADER = re.compile(
    _HEAD + rf"(?:{_SPACE}?({_WORD}?))?[{_MARKS}]*(\]|:(?={_SPACE})|{_SPACE}[{_DASH}](?=\s|$)){_SPACE}?(.*)",
    re.DOTALL,
)
_BARE = re.compile(_HEAD + rf"()(){_SPACE}(.*)", re.DOTALL)
"""The same where nothing but a space stands behind the time, as some phones of ten years ago wrote it."""
_LOG = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
"""How the lines of a program's log begin. WhatsApp puts a comma there, or no seconds."""
_ATTACHED = re.compile(rf"[{_MARKS}]*([^\n]*\.\w{{1,8}}) \(([^()\n]+)\)(?:\n|$)")
_ATTACHED_IOS = re.compile(rf"[{_MARKS}]*<([^<>:\n]{{1,40}}): ?([^<>\n]*\.\w{{1,8}})>")
_TRIM = dict.fromkeys(map(ord, _MARKS))
_LOCATION = "https://maps.google.com/?q="
_REMEMBERED = 4096
"""Different times whose messages are told apart; clocks that go back never go so far."""


_SHORT = 256
"""Characters of a text that is remembered as it is, and not by a hash."""
_ORDERS: dict[Order, tuple[int, int, int]] = {"ymd": (0, 1, 2), "dmy": (2, 1, 0), "mdy": (2, 0, 1)}


@lru_cache(maxsize=64)
def _half(said: str) -> str:
    """Return a half of the day without dots and spaces."""
    return re.sub(r"[.\s\u00a0\u2009\u202f]", "", said).casefold()


def _folded(said: str) -> str:
    return said.translate(_TRIM).strip().strip("<> ").casefold()


_OMITTED: dict[str, MessageKind] = {
    **{_folded(one): "unknown" for several in words.MEDIA_OMITTED.values() for one in several},
    **{_folded(one): kind for kind, several in words.KIND_OMITTED.items() for one in several},
}
_ATTACHED_WORDS = frozenset(map(_folded, words.ATTACHED))
_DELETED = frozenset(_folded(one).rstrip(".") for one in words.DELETED)
_HALVES = frozenset((*words.MORNING, *words.AFTERNOON))
_LAST_OF_OMITTED = tuple({form for one in _OMITTED for form in (one[-1], one[-1].upper(), one[-1] + ">")} | {">"})
"""How a text ends that may stand for a file."""
_DELETED_BY = tuple(map(str.casefold, words.DELETED_BY))
_POLLS = tuple(mark + one for one in words.POLLS for mark in ("", "\u200e"))
_OPTION = re.compile(rf"\n[{_MARKS}]*(?:{'|'.join(words.OPTIONS)}) ?: ")
_EDITED = tuple(f"<{one}>" for one in words.EDITED)
_KINDS: tuple[tuple[MessageKind, str], ...] = (
    ("sticker", r"STK-|.*-STICKER-|.*\.webp$"),
    ("voice", r"PTT-|.*\.opus$"),
    ("animation", r".*-GIF-|.*\.gif$"),
    ("image", r".*\.(?:jpe?g|png|heic|bmp|tiff?)$"),
    ("video", r".*\.(?:mp4|mov|3gp|mkv|avi|webm)$"),
    ("audio", r".*\.(?:mp3|m4a|aac|ogg|wav|amr|flac)$"),
    ("contact", r".*\.vcf$"),
)
_KIND_OF_NAME = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _KINDS)


def _header(line: str) -> re.Match[str] | None:
    """Return what a line that begins a message has before its text."""
    found = _HEADER.match(line)
    said = found[12] if found is not None and found[13] == ":" else None
    if found is None or (said and _half(said) not in _HALVES):  # What stands before the colon is an author.
        bare = _BARE.match(line)
        return bare if bare is not None and bare[11] else found
    return found


def _kind_of(name: str) -> MessageKind:
    return next((kind for kind, pattern in _KIND_OF_NAME if pattern.match(name)), "document")


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    said = head.decode("utf-8", "ignore")
    if "\0" in said:
        return False
    lines = said.split("\n")[:20]
    found = [match for line in lines if (match := _header(line))]
    if not found or not _header(lines[0]) or _LOG.match(lines[0]):
        return False
    known = name.rpartition("/")[2]
    if known == "_chat.txt" or _title(name) != known.removesuffix(".txt"):
        return True
    return (len(found) > 1 or len(lines) == 1) and bool(found[0][13])


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    return hashed(_read(name, folder, options), name, folder, open_attachment)


def _read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with closing(folder.open(name)) as file:
        shape, order = _shape(file, options)
        file.seek(0)
        title = _title(name)
        yield Conversation(service="whatsapp", key=f"~{title}", title=title)
        export = _Export(name, folder, title, shape, order, options)
        losses: list[Loss] = []
        for header, body in _entries(file, shape, losses):
            yield export.message(header, body)
        yield from losses
        for half in sorted(export.unknown)[:10]:
            yield Loss(what=f"Which half of the day {half!r} is, is not known: its times may be twelve hours off.")
        if export.undated:
            yield Loss(what="Some dates do not exist; their messages are kept without a time.", records=export.undated)


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    here = name.rpartition("/")[0]
    return fitting(folder, f"{here}/{attachment.place}" if here else attachment.place, attachment)


def begins_message(line: str) -> bool:
    """Return whether a line of a text is taken for the beginning of a message."""
    return _header(line) is not None


def carries(author: str, said: str) -> bool:
    """Return whether an exported text can tell what somebody said: nothing in it is taken for something else.

    An author's name has no colon and no marks; no line of the text begins like a message; the text is not one of the
    program's own.
    """
    plain = author == author.translate(_TRIM).lstrip("~\u00a0\u202f ") and ":" not in author and "\n" not in author
    if not plain or _unfinished(author) or len(author) > 200 or "\r" in author + said or "\0" in author + said:
        return False
    if any(_header(line) for line in said.split("\n")[1:]) or _LOCATION in said or len(said) > MAX_TEXT // 8:
        return False
    folded = _folded(said)
    ended = any(said.endswith(one) for one in _EDITED)
    named = _ATTACHED.match(said) or _ATTACHED_IOS.search(said)
    if said.startswith((*_POLLS, "\u200e")) or folded.startswith(_DELETED_BY):
        return False
    left_out = _folded(said.rpartition("\u200e")[2]) in _OMITTED
    return not (ended or named or left_out or folded in _OMITTED or folded.rstrip(".") in _DELETED)


def _title(name: str) -> str:
    """Return the chat's title by the name of the file, or of its folder where the file's says nothing."""
    here, _, last = name.rpartition("/")
    said = here.rpartition("/")[2].removesuffix(".zip") if last == "_chat.txt" and here else last.removesuffix(".txt")
    for before in words.TITLES:
        for known in (before, before.replace(" ", "_")):
            if said.casefold().startswith(known.casefold()):
                return said[len(known) :]
    return said


def _lines(file: BinaryIO) -> Iterator[str]:
    first = True
    while line := file.readline(MAX_TEXT):
        said = line.decode("utf-8", "replace")
        yield said.removeprefix("\ufeff") if first else said
        first = False


def _shape_of(header: re.Match[str]) -> tuple[object, ...]:
    half = bool(header[7] or header[12])
    return header[1], header[3], len(header[2]) == 4, header[6], header[9], header[11] is None, half, header[13]


def _shape(file: BinaryIO, options: Options) -> tuple[tuple[object, ...], Order]:
    """Return the shape of the file's headers, and the order of its dates: decided by the first that allows only one."""
    shape: tuple[object, ...] | None = None
    previous, backwards = (0, 0, 0), {"dmy": 0, "mdy": 0}
    for line in _lines(file):
        header = _header(line)
        if header is None:
            continue
        if shape is None:
            shape = _shape_of(header)
        elif shape != _shape_of(header):
            continue
        if shape[2]:
            return shape, "ymd"
        one, two, year = int(header[2]), int(header[4]), int(header[5])
        if one > 12 or two > 12:
            ymd = one > 31 or (options.date_order == "ymd" and two <= 12)
            return shape, "ymd" if ymd else "dmy" if one > 12 else "mdy"
        for order, now, then in (("dmy", (year, two, one), (previous[0], previous[2], previous[1])),
                                 ("mdy", (year, one, two), previous)):  # fmt: skip
            backwards[order] += now < then
        previous = (year, one, two)
    if shape is None:
        raise UnreadableSource("No line of the text begins with a date.")
    if options.date_order:
        return shape, options.date_order
    return shape, "mdy" if backwards["mdy"] < backwards["dmy"] or (shape[6] and shape[3] == "/") else "dmy"


def _entries(file: BinaryIO, shape: tuple[object, ...], losses: list[Loss]) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each message's header and what follows it, line ends included but the last."""
    header: re.Match[str] | None = None
    parts: list[str] = []
    size, crlf, before = 0, False, 0
    for line in _lines(file):
        found = _header(line)
        if found is not None and _shape_of(found) == shape:
            if header is not None:
                yield header, _joined(parts, crlf)
            else:
                crlf = line.endswith("\r\n")
            header, parts, size = found, [found[14]], len(line)
        elif header is None:
            before += 1
        elif size < MAX_TEXT:
            parts.append(line)
            size += len(line)
            if size >= MAX_TEXT:
                losses.append(Loss(what="A text is too long; its end is left out.", records=1))
    if header is not None:
        yield header, _joined(parts, crlf)
    if before:
        losses.append(Loss(what=f"{before} lines before the first message belong to none."))


def _joined(parts: list[str], crlf: bool) -> str:
    said = "".join(parts)
    if crlf:
        said = said.replace("\r\n", "\n")
    return said.removesuffix("\n")


class _Export:
    """What is known of a file while its messages are read."""

    def __init__(
        self, name: str, folder: Folder, title: str, shape: tuple[object, ...], order: Order, options: Options
    ) -> None:
        self.folder, self.title, self.owner, self.order = folder, title, options.owner.removeprefix("~"), order
        self.here = name.rpartition("/")[0]
        self.precision = 60000 if shape[5] else 1000
        self.undated = 0
        self.unknown: set[str] = set()
        """Words that stand for a half of the day, most likely."""
        self._plain: dict[str, str] = {}
        """Authors met, and their names without marks."""
        self._last_day: tuple[tuple[str, str, str], int | None] = ("", "", ""), None
        self._times: OrderedDict[int, tuple[list[int], dict[tuple[str, str | bytes], int]]] = OrderedDict()

    def message(self, header: re.Match[str], said: str) -> Message:
        time = self._time(header)
        author, body = self._author(said)
        kind, text, attachments, extra = self._content(body, author)
        chat, who = f"~{self.title}", f"~{author}" if author else ""
        direction: Direction = "none" if kind == "event" else "unknown"
        if author and direction == "unknown" and (self.owner or author == self.title):
            direction = "out" if author == self.owner else "in"
        number, repeat = self._ordinal(time, who, body)
        return Message(
            identity=identity("whatsapp export", chat, who, time, body, repeat), anchored=False,
            service="whatsapp", chat=chat, time_ms=time, zoned=False, precision_ms=self.precision, order=number,
            author=who, direction=direction, kind=kind, text=text, attachments=attachments, extra=extra,
        )  # fmt: skip

    def _time(self, header: re.Match[str]) -> int:
        day = self._day(header[2], header[4], header[5])
        hour, minute, second = int(header[8]), int(header[10]), int(header[11] or 0)
        if half := header[7] or header[12]:
            half = _half(half)
            if half in words.AFTERNOON:
                hour += 12 if hour < 12 else 0
            elif half in words.MORNING:
                hour = 0 if hour == 12 else hour
            elif len(self.unknown) < _REMEMBERED:
                self.unknown.add(half)
        if day is None or hour > 23 or minute > 59 or second > 59:
            self.undated += 1
            return 0
        return day + ((hour * 60 + minute) * 60 + second) * 1000

    def _day(self, one: str, two: str, three: str) -> int | None:
        """Return when a day begins; None if there is no such day. Many messages are of the day before."""
        if self._last_day[0] != (one, two, three):
            fields = int(one), int(two), int(three)
            year, month, day = (fields[at] for at in _ORDERS[self.order])
            year += 2000 if year < 100 else -543 if year > 2400 else 0
            try:
                when: int | None = int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000
            except ValueError:
                when = None
            self._last_day = (one, two, three), when
        return self._last_day[1]

    def _author(self, said: str) -> tuple[str, str]:
        """Return the author and the text; a notice has no author. A line's end belongs to the text."""
        first = said.partition("\n")[0]
        author, found, _ = first.partition(": ")
        if found and (plain := self._plain.get(author)) is not None:
            return plain, said[len(author) + 2 :]
        if found and not _unfinished(author):
            plain = author.translate(_TRIM).lstrip("~\u00a0\u202f ") or author
            if len(self._plain) < _REMEMBERED:
                self._plain[author] = plain
            return plain, said[len(author) + 2 :]
        author, found, rest = first.partition(":")
        if found and author in self._plain and not rest.strip():  # An empty text whose space was trimmed.
            return author.translate(_TRIM), said[len(author) + 1 :]
        return "", said

    def _content(self, body: str, author: str) -> tuple[MessageKind, str, tuple[Attachment, ...], dict[str, Any]]:
        extra: dict[str, Any] = {}
        if not author:
            return "event", body, (), extra
        if ("(" in body or "<" in body) and (found := self._file(body)) is not None:
            name, text = found
            return _kind_of(name), text, (self._attachment(name),), extra
        if body.endswith(_LAST_OF_OMITTED) and (left := self._left_out(body)) is not None:
            return left
        if len(body) < 200:
            folded = _folded(body).rstrip(".")
            if folded in _DELETED or folded.startswith(_DELETED_BY):
                return "deleted", body, (), extra
            if _LOCATION in body:
                return "location", body, (), extra
        if body.startswith(_POLLS) and _OPTION.search(body):
            return "poll", body, (), extra
        if body.startswith("\u200e") and author == self.title:  # An iPhone lets the chat itself tell its notices.
            return "event", body, (), extra
        if body.endswith(_EDITED):
            for said in filter(body.endswith, _EDITED):
                extra["edited"] = said
                return "text", body[: -len(said)].rstrip(_MARKS).removesuffix(" "), (), extra
        return "text", body, (), extra

    def _left_out(self, body: str) -> tuple[MessageKind, str, tuple[Attachment, ...], dict[str, Any]] | None:
        """Return what stands for a file that was not exported; an iPhone puts a caption, or a name, before a mark."""
        caption, mark, said = body.rpartition("\u200e")
        if len(said) > 200 or (kind := _OMITTED.get(_folded(said))) is None or (kind == "unknown" and "<" not in said):
            return None
        extra = {"type": "media"} if kind == "unknown" else {}
        caption = caption.translate(_TRIM).strip()
        return kind, caption, (Attachment(extra={"omitted": mark + said if caption else body}),), extra

    def _file(self, body: str) -> tuple[str, str] | None:
        """Return the name of a file that a text names, and what else it says."""
        if found := _ATTACHED.match(body):
            if _folded(found[2]) in _ATTACHED_WORDS or self._size(found[1]) >= 0:
                return found[1], body[found.end() :]
        elif (found := _ATTACHED_IOS.search(body)) and found.end() == len(body.rstrip()):
            return found[2].strip(), body[: found.start()].removesuffix(" ")
        return None

    def _size(self, name: str) -> int:
        try:
            return self.folder.size(f"{self.here}/{name}" if self.here else name)
        except (OSError, ValueError):
            return -1

    def _attachment(self, name: str) -> Attachment:
        return Attachment(name=name, place=name, size=self._size(name))

    def _ordinal(self, time: int, author: str, body: str) -> tuple[int, int]:
        """Return how many messages of this time came before, and how many of them were the same."""
        counts, same = self._times.setdefault(time, ([0], {}))
        if len(self._times) > _REMEMBERED:
            self._times.popitem(last=False)
        number = counts[0]
        counts[0] += 1
        key = (author, body if len(body) < _SHORT else identity("same", body))
        repeat = same.get(key, 0)
        same[key] = repeat + 1
        return number, repeat


def _unfinished(author: str) -> bool:
    """Return whether what stands before a colon is the beginning of a notice, not a name."""
    return not author or len(author) > 200 or author.count('"') % 2 == 1 or author.count("“") != author.count("”")
