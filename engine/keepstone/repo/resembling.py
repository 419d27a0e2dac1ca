"""New chunks that resemble stored ones: which of those to stand on, and the frames that come of it.

A chunk stands on what was at its place. Databases also move rows from page to page, so where that gains little, a chunk
also stands on those old chunks of its batch with which it shares the most short runs of bytes. The runs are anchored
by content, as chunks are, so they are found wherever they went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from keepstone.chunking import Chunker, Parameters, Secrets, kernels
from keepstone.compression import LEVELS
from keepstone.ids import STEM_LENGTH, ChunkId
from keepstone.repo import format as layout
from keepstone.repo import pack

BATCH_BYTES = 64 * 1024 * 1024
"""New and old bytes that are looked at together: all that a day changes in a database of 80 MB takes half of it, and
what a VACUUM moves may come from far."""
MOST_BASES = 16
_OTHERS = 12
_POOR = 128
"""A delta of more than this part of its chunk is worth looking further."""

HARD_LEVEL = 19
HARD_BYTES = 32 * 1024 * 1024
"""So much of a run is compressed as hard as can be: about what a day changes in a database beyond recognition. It
takes a tenth off what the night stores, for a second of one core."""

_CLIMBED = 2048
"""A chunk gets further bases only while a reader holds no more than this for it, in units of `CLIMB_UNIT`."""

_RUN = 16
_COMMON = 16
"""A run that stands in more old chunks than this tells none of them from another."""
_ANCHORS = Parameters(
    mean=256, minimum=64, maximum=1024, normal=512, mask_bits=0, strict=(1 << 64) - 1, loose=(1 << 64) - 1
)  # fmt: skip
"""Every candidate of the filter, one position in 256, is an anchor."""


@dataclass(frozen=True, slots=True)
class Resembling:
    """A new chunk with the stored chunks that it resembles."""

    chunk: ChunkId
    data: bytes
    bases: bytes
    """Stems of the base chunks, concatenated; none if nothing was at its place."""
    prefix: bytes
    """Their bytes."""
    climb: int
    """What a reader opens for the bases, as `Repository.climb` has it."""


class Kinship:
    """Finds out what resembles what. One for a writer; threads may share it."""

    def __init__(self, key: bytes) -> None:
        # The fastest kernel, whatever a user demands for the cuts: these are no cuts, and nobody sees them.
        self._chunker = Chunker(Secrets.derive(key), _ANCHORS, kernels()[0])
        self._hard = HARD_BYTES
        """What is left of it. Threads that take from it at once may take a little more."""

    def frames(self, batch: Sequence[Resembling], level: int) -> Iterator[pack.Frame]:
        """Yield a delta frame for each chunk that gains by it, and common frames for the others."""
        old: dict[bytes, list[int]] | None = None
        rest: list[tuple[ChunkId, bytes]] = []
        size = 0
        for number, new in enumerate(batch):
            frame = pack.make_delta(new.chunk, new.data, new.bases, new.prefix, level) if new.bases else None
            if frame is None or len(frame.payload) > len(new.data) // _POOR:
                old = self._old_runs(batch) if old is None else old
                wider = self._widened(number, batch, old)
                if wider is not None:
                    other = pack.make_delta(wider.chunk, wider.data, wider.bases, wider.prefix, level)
                    frame = min((f for f in (frame, other) if f is not None), key=_cost, default=None)
                    new = wider if frame is other else new
                if frame is not None and len(frame.payload) > len(new.data) // _POOR:
                    hard = self._level(level, len(new.data), 1)
                    if hard > 1:
                        frame = pack.make_delta(new.chunk, new.data, new.bases, new.prefix, level, hard) or frame
            if frame is not None:
                yield frame
                continue
            rest.append((new.chunk, new.data))
            size += len(new.data)
            if size >= layout.FRAME_TARGET:
                yield pack.make_frame(rest, self._level(level, size, level))
                rest, size = [], 0
        if rest:
            yield pack.make_frame(rest, self._level(level, size, level))

    def _level(self, chosen: int, size: int, otherwise: int) -> int:
        """Return the hard level while some of its bytes are left; not for whoever chose to compress little."""
        if chosen < LEVELS["default"] or size > self._hard:
            return otherwise
        self._hard -= size
        return max(chosen, HARD_LEVEL)

    def _old_runs(self, batch: Sequence[Resembling]) -> dict[bytes, list[int]]:
        """Return in which old chunks of a batch each run stands."""
        found: dict[bytes, list[int]] = {}
        for number, new in enumerate(batch):
            for run in self._runs(new.prefix):
                places = found.setdefault(run, [])
                if len(places) <= _COMMON and (not places or places[-1] != number):
                    places.append(number)
        return found

    def _widened(self, number: int, batch: Sequence[Resembling], old: dict[bytes, list[int]]) -> Resembling | None:
        """Return a chunk with further bases; None if nothing else resembles it.

        Each is the one with the most runs that no base before it has; of equals, the nearest.
        """
        shared: dict[int, set[bytes]] = {}
        for run in self._runs(batch[number].data):
            places = old.get(run, ())
            if len(places) <= _COMMON and number not in places:
                for place in places:
                    shared.setdefault(place, set()).add(run)
        new = batch[number]
        bases, prefix, climb = new.bases, new.prefix, new.climb
        for _ in range(_OTHERS):
            other = max(shared, key=lambda place: (len(shared[place]), -abs(place - number), place), default=number)
            if not (gained := shared.pop(other, set())):
                break
            more = batch[other]
            fits = len(bases + more.bases) <= MOST_BASES * STEM_LENGTH
            if more.bases not in bases and fits and (climb | more.climb).bit_count() <= _CLIMBED:
                # The likeliest base comes last: what is near is cheaper to refer to.
                bases, prefix, climb = more.bases + bases, more.prefix + prefix, climb | more.climb
                for runs in shared.values():
                    runs -= gained
        return None if bases == new.bases else replace(new, bases=bases, prefix=prefix, climb=climb)

    def _runs(self, data: bytes) -> list[bytes]:
        return [data[end - _RUN : end] for end in self._chunker.cuts(data, False)]


def _cost(frame: pack.Frame) -> int:
    return len(frame.payload) + len(frame.bases)
