"""Several catalogues side by side: month by month, and unit by unit, where one may have split what another has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import TypeAlias

from keepstone.history.catalogue import Catalogue, CatalogueEntry, read_whole
from keepstone.history.recipe import ChunkReader
from keepstone.messages import blocks
from keepstone.messages.merge import Scans, State, Times, join, join_scans

NAME = "The message archive"

Said: TypeAlias = dict[bytes, list[bytes]]
"""What a source says of a unit: rows by the conversation's id, in ascending order of the ids."""
OldEntries: TypeAlias = dict[int, list[CatalogueEntry]]
"""What the old catalogues have of a unit, by the number of the catalogue."""


def read_state(entries: Iterable[CatalogueEntry], reader: ChunkReader, begin: bytes = b"") -> State:
    """Return what the blocks of entries say; only rows whose key begins as told."""
    found = (block for entry in entries for block in entry.blocks)
    return blocks.union_of((read_whole(one.recipe, reader, NAME, blocks.MAX_BLOCK) for one in found), NAME, begin)


def join_old(
    scans: Sequence[Scans], old: OldEntries, read: Callable[[Iterable[CatalogueEntry]], State]
) -> tuple[State, dict[bytes, Times]]:
    """Return the join of what all catalogues say of a unit; one that does not have it says it is empty.

    Args:
        scans: of each catalogue.
    """
    state: State = {}
    known: dict[bytes, Times] = {}
    for number, theirs in enumerate(scans):
        state, known = join(state, read(old.get(number, ())), known, theirs), join_scans(known, theirs)
    return state, known


def first(old: OldEntries) -> list[CatalogueEntry]:
    """Return the entries of a unit in the first catalogue that has it."""
    return next(iter(old.values()))


def unlike(old: OldEntries) -> bool:
    """Return whether catalogues have different blocks of a unit; two units that became one are always different."""
    one = first(old)
    return len(one) > 1 or any(len(found) > 1 or found[0].blocks != one[0].blocks for found in old.values())


_Place = tuple[str, str]
"""Month and kind."""
_Rows = Iterator[tuple[tuple[str, str, bytes, int], list[bytes]]]
_Entries = Iterator[tuple[_Place, int, CatalogueEntry]]


def numbered(number: int, known: Catalogue) -> _Entries:
    """Yield the entries of a catalogue with their places and its number."""
    return (((entry.month, entry.kind), number, entry) for entry in known.entries())


def side_by_side(
    old: Iterable[tuple[_Place, _Entries]], new: Iterable[tuple[_Place, _Rows]]
) -> Iterator[tuple[_Place, _Entries, _Rows]]:
    """Yield every month and kind of either side with what stands under it."""
    left, right = iter(old), iter(new)
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        place = min(side[0] for side in (one, two) if side is not None)
        ours, theirs = one is not None and one[0] == place, two is not None and two[0] == place
        yield place, one[1] if one and ours else iter(()), two[1] if two and theirs else iter(())
        one = next(left, None) if ours else one
        two = next(right, None) if theirs else two


def units(entries: _Entries, rows: _Rows) -> Iterator[tuple[str, OldEntries, dict[int, Said]]]:
    """Yield the units of a month with their old entries and what is said of them, in order.

    A unit is the largest that a catalogue has. Rows of conversations that are in none make a new one, as large as it
    may be beside the others.
    """
    olds = [(entry, number) for _, number, entry in entries]
    taken = sorted({entry.prefix for entry, _ in olds})
    left = [prefix for n, prefix in enumerate(taken) if not prefix.startswith(tuple(taken[:n]))]
    beside = list(left)
    news = groupby(rows, key=lambda one: one[0][2])
    new = next(news, None)
    while left or new is not None:
        if new is not None and (not left or (new[0].hex() < left[0] and not new[0].hex().startswith(left[0]))):
            prefix = _free(new[0].hex(), beside)
        else:
            prefix = left.pop(0)
        said: dict[int, Said] = {}
        while new is not None and new[0].hex().startswith(prefix):
            for place, found in new[1]:
                said.setdefault(place[3], {})[place[2]] = found
            new = next(news, None)
        old: OldEntries = {}
        for entry, number in olds:
            if entry.prefix.startswith(prefix):
                old.setdefault(number, []).append(entry)
        yield prefix, old, said


def all_units(known: Sequence[Catalogue]) -> Iterator[tuple[_Place, str, OldEntries]]:
    """Yield the units of catalogues, in order."""
    olds = merge(*[numbered(number, one) for number, one in enumerate(known)], key=lambda one: one[2].key)
    for place, entries in groupby(olds, key=lambda one: one[0]):
        for prefix, old, _ in units(entries, iter(())):
            yield place, prefix, old


def _free(digits: str, units: Sequence[str]) -> str:
    """Return the shortest beginning of an id that has no unit below it."""
    return next(digits[:n] for n in range(len(digits) + 1) if not any(unit.startswith(digits[:n]) for unit in units))
