"""The previous version of what is being stored, as a place to find bases for its new chunks.

A new chunk most resembles what stood at its place before. Places shift when something is put in or taken out, so each
chunk that is met again tells how far old and new offsets are apart from there on. Only a window of the old pieces is
held, around the place that is being written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from keepstone.errors import Damaged, Unsupported
from keepstone.history.expression import all_pieces, leaves
from keepstone.history.recipe import ChunkReader, Piece, list_pieces
from keepstone.ids import ChunkId

WINDOW = 32 * 1024 * 1024
"""Bytes before and after the place being written whose pieces are held: at most some 32,000 pieces."""
MOST_BASES = 4


class Ancestor:
    """The pieces of a previous version, in step with the writing of a new one."""

    def __init__(self, pieces: Iterator[Piece], of_list: Ancestor | None = None) -> None:
        """Args:
        of_list: the same for the piece list itself, where that is long enough to be stored as chunks.
        """
        self.of_list = of_list
        self._pieces = pieces
        self._starts: list[int] = []
        self._held: list[Piece] = []
        self._places: dict[ChunkId, int] = {}
        self._end = 0
        self._shift = 0

    @classmethod
    def of_recipe(cls, recipe: bytes, reader: ChunkReader, name: str) -> Ancestor:
        """Return the ancestor that a recipe describes: the leaves of an expression count as one run of bytes."""
        try:
            found = list(islice(leaves(recipe, reader, name), 2))
        except (Damaged, Unsupported):
            return cls(iter(()))
        of_list = cls(list_pieces(found[0], name)) if len(found) == 1 else None
        return cls(all_pieces(recipe, reader, name), of_list)

    def met(self, chunk: ChunkId, offset: int) -> None:
        """Take notice of the chunk that the new version has at an offset."""
        self._move(offset + self._shift)
        place = self._places.get(chunk)
        if place is not None:
            self._shift = place - offset

    def bases(self, offset: int, length: int) -> list[ChunkId]:
        """Return the chunks that stood where the new version has this range, at most `MOST_BASES`."""
        start = max(offset + self._shift, 0)
        self._move(start)
        at = max(bisect_right(self._starts, start) - 1, 0)
        found: list[ChunkId] = []
        while at < len(self._starts) and self._starts[at] < start + length and len(found) < MOST_BASES:
            piece = self._held[at]
            if self._starts[at] + piece.length > start and not piece.is_hole:
                found.append(piece.chunk)
            at += 1
        return found

    def _move(self, to: int) -> None:
        while self._end < to + WINDOW:
            try:
                piece = next(self._pieces, None)
            except (Damaged, Unsupported):
                piece = None  # What cannot be read is no base; whoever needs it hears of it.
            if piece is None:
                self._pieces = iter(())
                break
            self._starts.append(self._end)
            self._held.append(piece)
            self._places.setdefault(piece.chunk, self._end)
            self._end += piece.length
        passed = bisect_right(self._starts, to - WINDOW)
        if passed * 2 > len(self._starts) + 64:
            for at, piece in zip(self._starts[:passed], self._held[:passed], strict=True):
                if self._places.get(piece.chunk) == at:
                    del self._places[piece.chunk]
            del self._starts[:passed], self._held[:passed]
