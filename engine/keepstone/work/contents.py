"""Where the contents of attachments are: which unit of the catalogue holds each, found once for all of them.

Contents stand under the months of their messages, so without a table every look-up would read all months. The table has
16 bytes for each content, whatever the attachments' sizes; of the units themselves a few are held, as whoever asks for
one attachment asks for its neighbours next.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from keepstone.history.catalogue import CONTENTS, Catalogue
from keepstone.messages import blocks
from keepstone.messages.merge import State
from keepstone.work.units import NAME, OldEntries, all_units

HELD_UNITS: Final = 8
_SHORT: Final = 8
"""Bytes of a hash in the table; what is found by them is compared whole."""


class Contents:
    """The contents that catalogues know.

    Args:
        read: returns what the catalogues say of a unit together.
    """

    def __init__(self, known: Sequence[Catalogue], read: Callable[[OldEntries], State]) -> None:
        self._known, self._read = known, read
        self._units: list[OldEntries] | None = None
        self._held: dict[int, dict[bytes, bytes]] = {}
        self._names, self._places = array("Q"), array("L")

    def recipe(self, sha256: bytes) -> bytes | None:
        """Return the recipe of a content; None if there is none of this hash."""
        if self._units is None:
            self._units = self._find_all()
        name = int.from_bytes(sha256[:_SHORT], "big")
        at = bisect_left(self._names, name)
        while at < len(self._names) and self._names[at] == name:
            recipe = self._unit(self._units, self._places[at]).get(sha256)
            if recipe is not None:
                return recipe
            at += 1
        return None

    def _find_all(self) -> list[OldEntries]:
        units = [old for (_, kind), _, old in all_units(self._known) if kind == CONTENTS]
        found: list[int] = []
        for number in range(len(units)):
            found += [int.from_bytes(name[:_SHORT], "big") << 32 | number for name in self._unit(units, number)]
        found.sort()
        self._names = array("Q", (one >> 32 for one in found))
        self._places = array("L", (one & 0xFFFFFFFF for one in found))
        return units

    def _unit(self, units: Sequence[OldEntries], number: int) -> dict[bytes, bytes]:
        """Return the recipes of a unit by their hashes."""
        held = self._held.pop(number, None)
        if held is None:
            held = dict(_contents(self._read(units[number])))
            if len(self._held) >= HELD_UNITS:
                del self._held[next(iter(self._held))]
        self._held[number] = held
        return held


def _contents(rows: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return (blocks.read_content(row[blocks.NAME_LENGTH :], NAME) for row in rows)
