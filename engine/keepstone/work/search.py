"""Search in messages: the texts of all blocks, folded, in memory, and nowhere else.

A text is found by what it has in it, whatever the script, so words need no boundaries: every term must occur. What is
held of a block are its columns with the texts folded; looking for a term in them is one pass over memory, and no row is
decoded. Months are gone through from the newest on. Once there are as many hits as are ranked, the rest is only
counted. Beyond a bound blocks are not held but read again each time.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, repeat
from operator import contains

from keepstone.history.catalogue import MESSAGES, Catalogue, read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks
from keepstone.messages.blocks import SEPARATOR
from keepstone.work.folding import fold, fold_all
from keepstone.work.units import NAME

HELD_BYTES = 512 * 1024 * 1024
"""What folded texts may take in memory."""
RANKED = 1000
"""So many of the newest hits are ranked; older ones follow, the newest first."""
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


class _Folded:
    """The columns of a block, the texts folded."""

    def __init__(self, data: bytes) -> None:
        columns = blocks.columns_of(data, NAME)
        self.text = fold_all(columns.texts)
        self._times = columns.times
        self._identities = columns.identities
        self._names = [name for name, _ in columns.groups]
        self._first_of_name = list(accumulate((count for _, count in columns.groups[:-1]), initial=0))
        self._length = len(self._identities) // max(len(self._times), 1)
        self._starts: array[int] | None = None
        self.is_distinct = not columns.repeats

    @property
    def size(self) -> int:
        return sys.getsizeof(self.text) + len(self._identities) + len(self._times) * 16

    def has(self, terms: Sequence[bytes]) -> bool:
        """Return whether every term is somewhere."""
        return all(map(contains, repeat(self.text), terms))

    def find(self, terms: Sequence[bytes]) -> Iterator[_Hit]:
        """Yield the rows that have all terms."""
        starts = self._starts = self._starts or self._find_starts()
        rarest = min(terms, key=self.text.count) if len(terms) > 1 else terms[0]
        at = self.text.find(rarest)
        while at >= 0:
            number = bisect_right(starts, at) - 1
            start, end = starts[number], starts[number + 1] - 1
            if len(terms) == 1 or all(self.text.find(term, start, end) >= 0 for term in terms):
                name = self._names[bisect_right(self._first_of_name, number) - 1]
                identity = self._identities[number * self._length : (number + 1) * self._length]
                yield -self._times[number], name, identity, self.text[start:end]
            at = self.text.find(rarest, end)

    def count(self, terms: Sequence[bytes]) -> int:
        """Return how many rows have all terms."""
        if len(terms) == 1:
            pieces = self.text.split(terms[0])
            return sum(map(contains, pieces[1:-1], repeat(SEPARATOR))) + 1 if len(pieces) > 1 else 0
        rows = self.text.split(SEPARATOR)
        for term in terms:
            rows = [row for row in rows if term in row]
        return len(rows)

    def _find_starts(self) -> array[int]:
        return array("q", accumulate([len(part) + 1 for part in self.text.split(SEPARATOR)], initial=0))


class Search:
    """Looks for messages in catalogues."""

    def __init__(self, known: Sequence[Catalogue], reader: ChunkReader) -> None:
        self._reader = reader
        blocks_of: dict[str, set[bytes]] = {}
        owners: dict[str, set[frozenset[bytes]]] = {}
        for catalogue in known:
            theirs: dict[str, set[bytes]] = {}
            for entry in catalogue.entries():
                if entry.kind == MESSAGES:
                    theirs.setdefault(entry.month, set()).update(block.recipe for block in entry.blocks)
            for month, recipes in theirs.items():
                blocks_of.setdefault(month, set()).update(recipes)
                owners.setdefault(month, set()).add(frozenset(recipes))
        self._blocks = [(month, recipe) for month in sorted(blocks_of, reverse=True) for recipe in blocks_of[month]]
        self._alike = {month for month, found in owners.items() if len(found) == 1}
        """Months of which all catalogues that have them have the same blocks."""
        self._held: dict[bytes, _Folded] = {}
        self._size = 0

    def find(self, text: str, limit: int | None = None, within: Within | None = None) -> Page:
        """Return what has all terms of a text: the best of the newest, then the newest; each message once."""
        words = terms_of(text)
        if not words:
            return Page([], 0)
        terms = [word.encode() for word in words]
        within = within or Within()
        hits: list[tuple[str, list[_Hit]]] = []
        number = counted = 0
        for month, group in groupby(self._blocks, key=lambda one: one[0]):
            enough = limit is not None and number >= max(limit, RANKED)
            some = [block for _, recipe in group if (block := self._folded(recipe)).has(terms)]
            if enough and within.is_everywhere and self._is_distinct(month, some):
                counted += sum(block.count(terms) for block in some)
                continue
            readings: dict[tuple[bytes, bytes], list[_Hit]] = {}
            for hit in (hit for block in some for hit in block.find(terms)):
                readings.setdefault(hit[1:3], []).append(hit)
            wanted = [
                (month, one)
                for one in sorted(map(sorted, readings.values()))
                if within.is_everywhere or within.has(_found(month, one))
            ]
            if enough:
                counted += len(wanted)
            else:
                hits += wanted
                number = len(hits)
        ranked = sorted((_found(month, one, words) for month, one in hits[:RANKED]), key=lambda hit: hit.rank)
        page = ranked[:limit] + [_found(month, one, words) for month, one in hits[RANKED:limit]]
        return Page(page, len(hits) + counted)

    def _is_distinct(self, month: str, some: Sequence[_Folded]) -> bool:
        return month in self._alike and all(block.is_distinct for block in some)

    def _folded(self, recipe: bytes) -> _Folded:
        found = self._held.get(recipe)
        if found is None:
            found = _Folded(read_whole(recipe, self._reader, NAME, blocks.MAX_BLOCK))
            if self._size < HELD_BYTES:
                self._held[recipe] = found
                self._size += found.size
        return found


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


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the parts of a text that fold on their own: a letter with the marks after it."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or fold(text[start : at + 1]) == fold(text[start:at]) + fold(text[at]):
            yield start, at
            start = at
    if not text:
        return


__all__ = ["Found", "Page", "Search", "Within", "fold", "spans", "terms_of"]
