"""Search in messages: the texts of all blocks, folded, in memory, and nowhere else.

A text is found by what it has in it, whatever the script, so words need no boundaries: every term must occur. What is
held of a block are its columns with the texts folded; looking for a term in them is one pass over memory, and no row is
decoded. Months are gone through from the newest on. Once there are as many hits as are ranked, the rest is only
counted, and that only as far as anybody cares. Beyond a bound months are not held but read again each time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from operator import contains

from keepstone.history.catalogue import read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks
from keepstone.messages.blocks import SEPARATOR
from keepstone.work.folding import fold, fold_all
from keepstone.work.units import NAME, OldEntries

HELD_BYTES = 512 * 1024 * 1024
"""What folded texts may take in memory."""
RANKED = 1000
"""So many of the newest hits are ranked; older ones follow, the newest first."""
COUNTED = 10_000
"""With so many hits a search for the first of them does not look into older months."""
NEAR = 16
"""Characters beside the terms themselves that may lie between terms near each other."""
_END = "\0"
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found."""

    conversation: bytes
    """Its id in the archive."""
    month: str
    identity: bytes
    time_ms: int
    rank: int = 0
    """0 if all terms are whole words near each other; 1 if they are whole words; 2 if they are near; 3."""


@dataclass(frozen=True, slots=True)
class Page:
    """The first hits of a search, and how many there are."""

    hits: list[Found]
    total: int
    is_whole: bool = True
    """Whether all were counted; if not, there may be more."""

    def __iter__(self) -> Iterator[Found]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class Within:
    """Where to look."""

    conversations: Collection[bytes] | None = None
    """Ids; None is everywhere."""
    from_ms: int | None = None
    to_ms: int | None = None
    """The first millisecond that is too late."""
    holds: Callable[[Found], bool] | None = None
    """What else a message must be; it is asked of every hit."""

    def has(self, hit: Found) -> bool:
        """Return whether a hit is to be shown."""
        return (
            (self.conversations is None or hit.conversation in self.conversations)
            and (self.from_ms is None or hit.time_ms >= self.from_ms)
            and (self.to_ms is None or hit.time_ms < self.to_ms)
            and (self.holds is None or self.holds(hit))
        )

    @property
    def is_everywhere(self) -> bool:
        """Whether nothing is asked of a hit."""
        return self == Within()


_Hit = tuple[int, bytes, bytes, bytes]
"""Time, negative, so that the newest is the least; conversation; identity; the folded text."""


class _Month:
    """The columns of the blocks of a month, the texts folded and put together."""

    def __init__(self, blocks_of: Iterable[bytes]) -> None:
        self._parts = [blocks.columns_of(data, NAME) for data in blocks_of]
        self.text = fold_all(SEPARATOR.join([part.texts for part in self._parts]))
        self.is_distinct = not any(part.repeats for part in self._parts)
        for part in self._parts:
            part.texts = b""
        self._ends = list(accumulate(part.rows for part in self._parts))
        """Rows up to and with each part."""
        self._groups: dict[int, list[int]] = {}
        """Rows of a part up to and with each of its conversations, of parts with hits."""

    @property
    def size(self) -> int:
        return len(self.text) + sum(len(part.identities) + len(part.times) for part in self._parts)

    def has(self, terms: Sequence[bytes]) -> bool:
        """Return whether every term is somewhere."""
        return all(map(contains, repeat(self.text), terms))

    def find(self, terms: Sequence[bytes]) -> Iterator[_Hit]:
        """Yield the rows that have all terms."""
        text = self.text
        rarest = min(terms, key=text.count) if len(terms) > 1 else terms[0]
        row = counted = 0
        at = text.find(rarest)
        while at >= 0:
            row += text.count(SEPARATOR, counted, at)
            counted = at
            start, end = text.rfind(SEPARATOR, 0, at) + 1, text.find(SEPARATOR, at)
            end = len(text) if end < 0 else end
            if len(terms) == 1 or all(text.find(term, start, end) >= 0 for term in terms):
                yield self._hit(row, text[start:end])
            at = text.find(rarest, end)

    def _hit(self, row: int, text: bytes) -> _Hit:
        number = bisect_right(self._ends, row)
        part = self._parts[number]
        row -= self._ends[number] - part.rows
        groups = self._groups.get(number)
        if groups is None:
            groups = self._groups[number] = list(accumulate(rows for _, rows in part.groups))
        return -part.time(row), part.groups[bisect_right(groups, row)][0], part.identity(row), text

    def count(self, terms: Sequence[bytes]) -> int:
        """Return how many rows have all terms."""
        if len(terms) == 1:
            pieces = self.text.split(terms[0])
            return sum(map(contains, pieces[1:-1], repeat(SEPARATOR))) + 1 if len(pieces) > 1 else 0
        rows = self.text.split(SEPARATOR)
        for term in terms:
            rows = [row for row in rows if term in row]
        return len(rows)


class Search:
    """Looks for messages in units of the archive."""

    def __init__(self, units: Mapping[str, Iterable[OldEntries]], reader: ChunkReader) -> None:
        """Take the units of messages by month."""
        self._reader = reader
        self._blocks: dict[str, tuple[bytes, ...]] = {}
        self._alike: set[str] = set()
        for month in sorted(units, reverse=True):
            theirs: dict[int, set[bytes]] = {}
            for old in units[month]:
                for number, entries in old.items():
                    theirs.setdefault(number, set()).update(block.recipe for one in entries for block in one.blocks)
            self._blocks[month] = tuple(set().union(*theirs.values()))
            if all(recipes == theirs[min(theirs)] for recipes in theirs.values()):
                self._alike.add(month)
        """Months of which all catalogues that have them have the same blocks."""
        self._held: dict[str, _Month] = {}
        self._size = 0

    def find(self, text: str, limit: int | None = None, within: Within | None = None) -> Page:
        """Return what has all terms of a text: the best of the newest, then the newest; each message once."""
        words = terms_of(text)
        if not words:
            return Page([], 0)
        terms = [word.encode() for word in words]
        within = within or Within()
        hits: list[tuple[str, list[_Hit]]] = []
        total, is_whole = 0, True
        for name, month in self._months():
            enough = limit is not None and len(hits) >= max(limit, RANKED)
            if enough and (total >= COUNTED or within.holds is not None):
                is_whole = False
                break
            if not month.has(terms):
                continue
            if enough and within.is_everywhere and name in self._alike and month.is_distinct:
                total += month.count(terms)
                continue
            readings: dict[tuple[bytes, bytes], list[_Hit]] = {}
            for hit in month.find(terms):
                readings.setdefault(hit[1:3], []).append(hit)
            found = [(name, one) for one in sorted(map(sorted, readings.values()))]
            wanted = [one for one in found if within.is_everywhere or within.has(_found(*one))]
            total += len(wanted)
            if not enough:
                hits += wanted
        ranked = sorted((_found(name, one, words) for name, one in hits[:RANKED]), key=lambda hit: hit.rank)
        page = ranked[:limit] + [_found(name, one, words) for name, one in hits[RANKED:limit]]
        return Page(page, total, is_whole)

    def _months(self) -> Iterator[tuple[str, _Month]]:
        """Yield the months, the newest first.

        Nothing is read ahead by a thread: what is done to a month is mostly done under the interpreter's one lock, so
        that two threads take longer than one.
        """
        for name, recipes in self._blocks.items():
            month = self._held.get(name)
            if month is None:
                month = _Month([read_whole(recipe, self._reader, NAME, blocks.MAX_BLOCK) for recipe in recipes])
                if self._size < HELD_BYTES:
                    self._held[name] = month
                    self._size += month.size
            yield name, month


def _found(month: str, readings: Sequence[_Hit], words: Sequence[str] = ()) -> Found:
    """Return the message of some readings, ranked by words if there are some."""
    time, conversation, identity, _ = readings[0]
    rank = min(_rank(hit[3].decode("utf-8", "replace"), words) for hit in readings) if words else 0
    return Found(conversation, month, identity, -time, rank)


def terms_of(text: str) -> list[str]:
    """Return the words and "phrases in quotes" of a search, folded."""
    parts = [phrase or word for phrase, word in _TERM.findall(text)]
    folded = (fold(part.replace(_END, "").encode("utf-8", "replace").decode()) for part in parts)
    return list(dict.fromkeys(term for term in folded if term))


def _rank(text: str, words: Sequence[str]) -> int:
    """Return how well a folded text has words that it has."""
    places = [_place(text, word) for word in words]
    begin, end = min(at for at, _ in places), max(at + len(word) for (at, _), word in zip(places, words, strict=True))
    is_near = end - begin <= sum(map(len, words)) + NEAR
    return 2 * (not all(whole for _, whole in places)) + (not is_near)


def _place(text: str, word: str) -> tuple[int, bool]:
    """Return where a text has a word, as a whole word if it can be, and whether it is one."""
    first = at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if not (text[at - 1 : at].isalnum() and word[0].isalnum()) and not (
            text[end : end + 1].isalnum() and word[-1].isalnum()
        ):
            return at, True
        at = text.find(word, at + 1)
    return first, False


def spans(text: str, query: str) -> list[tuple[int, int]]:
    """Return where the terms of a search stand in a text as it was written: begins and ends, apart and in order."""
    folded, origin = "", [0]
    for start, end in _clusters(text):
        part = fold(text[start:end])
        if end - start > 1 and text[start:end].isascii():
            origin += range(start + 1, end + 1)
        else:
            origin += [start] * (len(part) - 1) + [end] if part else []
        folded += part
    marked: set[tuple[int, int]] = set()
    for term in terms_of(query):
        at = folded.find(term)
        while at >= 0:
            last = at + len(term)
            begin = origin[at]
            close = origin[last] if last < len(origin) else len(text)
            marked.add((begin, max(close, begin + 1)))
            at = folded.find(term, last)
    result: list[tuple[int, int]] = []
    for begin, close in sorted(marked):
        if result and begin <= result[-1][1]:
            result[-1] = result[-1][0], max(close, result[-1][1])
        else:
            result.append((begin, close))
    return result


_ASCII_RUN = re.compile("[\\x00-\\x7f]{2,}")


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the parts of a text that fold on their own: a letter with the marks after it, or a run of ASCII letters."""
    start, size = 0, len(text)
    while start < size:
        if run := _ASCII_RUN.match(text, start):
            end = size if run.end() == size else run.end() - 1  # A mark may belong to its last letter.
        else:
            end = start + 1
            while end < size and fold(text[start : end + 1]) != fold(text[start:end]) + fold(text[end]):
                end += 1
        yield start, end
        start = end


__all__ = ["Found", "Page", "Search", "Within", "fold", "spans", "terms_of"]
