"""Search in messages: the texts of all blocks, folded, in memory, and nowhere else.

A text is found by what it has in it, whatever the script, so words need no boundaries: every term must occur. What is
held of a block is one folded string and where each message begins in it; looking for a term in that is one pass over
memory. Beyond a bound blocks are not held but read again each time.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from keepstone.history.catalogue import MESSAGES, Catalogue, read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks
from keepstone.messages.identity import LENGTH
from keepstone.work.units import NAME

HELD_BYTES = 512 * 1024 * 1024
"""What folded texts may take in memory."""
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


@dataclass(frozen=True, slots=True)
class _Places:
    """Which messages the texts of a block are."""

    starts: array[int]
    times: array[int]
    identities: bytes
    names: list[bytes]
    first_of_name: list[int]


class _Folded:
    """The texts of a block; whose they are is found out when one of them is found."""

    def __init__(self, data: bytes, again: Callable[[], bytes]) -> None:
        heads = _heads(data)
        joined = _END.join([head.text for head in heads])
        if joined.count(_END) != len(heads) - 1:
            joined = _END.join([head.text.replace(_END, " ") for head in heads])
        self.text = fold(joined)
        self._again = again
        self._places: _Places | None = None

    def find(self, terms: Sequence[str], month: str) -> Iterator[Found]:
        longest = max(terms, key=len)
        at = self.text.find(longest)
        if at < 0:
            return
        places = self._places = self._places or self._find_places()
        while at >= 0:
            number = bisect_right(places.starts, at) - 1
            start, end = places.starts[number], places.starts[number + 1]
            if all(self.text.find(term, start, end) >= 0 for term in terms):
                name = places.names[bisect_right(places.first_of_name, number) - 1]
                identity = places.identities[number * LENGTH : number * LENGTH + LENGTH]
                yield Found(name, month, identity, places.times[number])
            at = self.text.find(longest, end)

    def _find_places(self) -> _Places:
        groups = blocks.decode_heads(self._again(), NAME)
        heads = [head for _, group in groups for head in group]
        return _Places(
            array("q", accumulate([len(part) + 1 for part in self.text.split(_END)], initial=0)),
            array("q", [head.time_ms for head in heads]),
            b"".join([head.identity for head in heads]),
            [name for name, _ in groups],
            list(accumulate((len(group) for _, group in groups[:-1]), initial=0)),
        )


def _heads(data: bytes) -> list[blocks.Head]:
    return [head for _, group in blocks.decode_heads(data, NAME) for head in group]


class Search:
    """Looks for messages in catalogues."""

    def __init__(self, known: Sequence[Catalogue], reader: ChunkReader) -> None:
        self._reader = reader
        blocks_of: dict[str, set[bytes]] = {}
        for catalogue in known:
            for entry in catalogue.entries():
                if entry.kind == MESSAGES:
                    blocks_of.setdefault(entry.month, set()).update(block.recipe for block in entry.blocks)
        self._blocks = [(month, recipe) for month in sorted(blocks_of, reverse=True) for recipe in blocks_of[month]]
        self._held: dict[bytes, _Folded] = {}
        self._size = 0

    def find(self, text: str) -> Iterator[Found]:
        """Yield what has all terms of a text, the newest first; each message once in its month."""
        terms = terms_of(text)
        if not terms:
            return
        for month, group in groupby(self._blocks, key=lambda one: one[0]):
            hits = {
                (f.conversation, f.identity): f for _, recipe in group for f in self._folded(recipe).find(terms, month)
            }
            yield from sorted(hits.values(), key=lambda f: (-f.time_ms, f.conversation, f.identity))

    def _folded(self, recipe: bytes) -> _Folded:
        found = self._held.get(recipe)
        if found is None:
            found = _Folded(self._read(recipe), lambda: self._read(recipe))
            if self._size < HELD_BYTES:
                self._held[recipe] = found
                self._size += sys.getsizeof(found.text)
        return found

    def _read(self, recipe: bytes) -> bytes:
        return read_whole(recipe, self._reader, NAME, blocks.MAX_BLOCK)


def fold(text: str) -> str:
    """Return a text without what does not tell words apart: case, and how letters are composed."""
    folded = text.casefold()
    return folded if unicodedata.is_normalized("NFC", folded) else unicodedata.normalize("NFC", folded)


def terms_of(text: str) -> list[str]:
    """Return the words and "phrases in quotes" of a search, folded."""
    parts = [phrase or word for phrase, word in _TERM.findall(text)]
    return [term for term in (fold(part.replace(_END, "")) for part in parts) if term]
