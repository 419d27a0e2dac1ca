"""The message archive: take in what sources show, join it with what every writer knows, store what is new.

A run takes one source after another; their rows are sorted by month and conversation on the way (`spool`). At the end
the sorted rows and the old catalogues are gone through side by side. Where a source says what it said before, or
nothing was said, the old entry is taken as it is and its blocks are not read. Everything else is joined
(`messages.merge`), and blocks that changed are stored, standing on the ones before.

Nothing is ever left out of the join, so a catalogue holds the only copy of nothing that a newer one does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge as merge_sorted
from itertools import chain, groupby
from types import TracebackType

from blake3 import blake3

from keepstone.history.catalogue import (
    CALLS,
    CONTENTS,
    CONVERSATIONS,
    MESSAGES,
    Block,
    Catalogue,
    CatalogueEntry,
    Mark,
    Source,
    source_id,
    write_catalogue,
)
from keepstone.history.content import ContentWriter
from keepstone.history.recipe import AddChunk, ChunkReader, PieceWriter, pieces
from keepstone.ids import ChunkId
from keepstone.messages import blocks, splitting
from keepstone.messages.identity import LENGTH
from keepstone.messages.merge import Scans, State, Times, join, join_scans, scan
from keepstone.messages.model import Call, Conversation, Item, Loss, Message
from keepstone.work.spool import Spool
from keepstone.work.units import (
    NAME,
    OldEntries,
    Said,
    first,
    join_old,
    numbered,
    read_state,
    side_by_side,
    units,
    unlike,
)

WHOLE_CHUNK = 4 * 1024 * 1024
"""A longer block is cut into chunks of this length."""
MOST_BASE_BYTES = 4 * 1024 * 1024
_CHECK_EVERY = 1024
"""Rows between two looks at how much memory they take."""
_NO_SOURCE = -1

FindContent = Callable[[bytes], bytes | None]
"""Returns the recipe of the content with a SHA-256; None if the repository does not have it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a caller says of a source."""

    name: str
    format: str
    whole: bool = True
    """See `catalogue.Source`."""


@dataclass(slots=True)
class Taken:
    """What a source showed."""

    conversations: int = 0
    messages: int = 0
    calls: int = 0
    losses: list[Loss] = field(default_factory=list)


@dataclass(slots=True)
class Work:
    """What a run had to do."""

    entries: int = 0
    """Entries of the new catalogue."""
    joined: int = 0
    """Entries that differ from the old ones, or had to be compared with them."""
    blocks_read: int = 0
    rows_new: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    """One source in this run."""

    id: bytes
    origin: Origin
    whole: bool
    time_ms: int


class Ingest:
    """One run: `take` each source, then `finish`. A context manager."""

    def __init__(
        self,
        known: Sequence[Catalogue],
        reader: ChunkReader,
        add: AddChunk,
        content: ContentWriter,
        scratch: str,
        find_content: FindContent = lambda sha256: None,
    ) -> None:
        """Args:
        known: the newest catalogue of every writer, see `newest_catalogues`.
        add: stores a chunk; `content` stores streams, and through the same writer.
        scratch: a folder for sealed runs of rows.
        """
        self.work = Work()
        self._known, self._reader, self._add, self._content = list(known), reader, add, content
        self._find = find_content
        self._spool = Spool(scratch)
        self._readings: list[_Reading] = []

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.__exit__(kind, error, trace)

    # Taking in -------------------------------------------------------------------------------------------

    def take(self, origin: Origin, time_ms: int, items: Iterable[Item]) -> Taken:
        """Read a source to its end.

        Args:
            time_ms: when the source was as it is: the snapshot's time.
        """
        intake = _Intake(self._spool, len(self._readings))
        for item in items:
            if type(item) is Message:
                intake.message(item)
            elif type(item) is Conversation:
                intake.conversation(item)
            elif type(item) is Call:
                intake.call(item)
            elif type(item) is Loss:
                intake.taken.losses.append(item)
        intake.finish()
        # What a source could not show for being damaged is not gone from it.
        whole = origin.whole and not intake.taken.losses
        name = source_id(origin.name, origin.format, whole=whole)
        self._readings.append(_Reading(name, origin, whole, time_ms))
        return intake.taken

    # Joining ---------------------------------------------------------------------------------------------

    def finish(self) -> bytes:
        """Store what is new and return the recipe of the new catalogue; empty if there is nothing to keep."""
        if not self._known and not self._readings:
            return b""
        plan = _Plan(self._known, self._readings)
        return write_catalogue(self._entries(plan), plan.sources(), self._content, self._newest())

    def _newest(self) -> Catalogue | None:
        """Return the catalogue for the new one to stand on: the one that was read most recently."""
        times = [max((s.read_ms for s in known.sources.values()), default=0) for known in self._known]
        return self._known[times.index(max(times))] if times else None

    def _entries(self, plan: _Plan) -> Iterator[CatalogueEntry]:
        """Yield the entries of the join, in order."""
        olds = [numbered(number, known) for number, known in enumerate(self._known)]
        old = groupby(merge_sorted(*olds, key=lambda one: one[2].key), key=lambda one: one[0])
        new = groupby(self._spool, key=lambda one: one[0][:2])
        for (month, kind), entries, rows in side_by_side(old, new):
            for prefix, before, said in units(entries, rows):
                for entry in self._unit(plan, month, kind, prefix, before, said):
                    self.work.entries += 1
                    yield entry

    def _unit(
        self, plan: _Plan, month: str, kind: str, prefix: str, old: OldEntries, rows: Mapping[int, Said]
    ) -> Iterator[CatalogueEntry]:
        fresh = {number: {name: sorted(set(found)) for name, found in said.items()} for number, said in rows.items()}
        if kind == CONTENTS:
            yield from self._contents(month, prefix, old, fresh.get(_NO_SOURCE, {}))
            return
        prints = {number: _fingerprint(said) for number, said in fresh.items()}
        marks = plan.marks(old, prints)
        if old and not plan.changes(old, prints):
            yield CatalogueEntry(month, kind, prefix, first(old)[0].blocks, marks)
            return
        self.work.joined += 1
        state, scans = join_old(plan.scans, old, self._read)
        before = len(state)
        for number, reading in enumerate(self._readings):
            if number not in fresh and not reading.whole:
                continue
            keys = ((name + row[:-1], row[-1]) for name, found in fresh.get(number, {}).items() for row in found)
            of_this: Scans = {reading.id: (reading.time_ms,)} if reading.whole else {}
            state = join(state, scan(keys, reading.id, reading.time_ms), scans, of_this)
            scans = join_scans(scans, of_this)
        self.work.rows_new += len(state) - before
        for unit in splitting.split(month, prefix, state, NAME):
            if unit.prefix != prefix:
                marks = plan.marks_of_part(marks, {n: _part(said, unit.prefix) for n, said in fresh.items()})
            yield CatalogueEntry(month, kind, unit.prefix, self._store(unit, old), marks)

    def _read(self, entries: Iterable[CatalogueEntry]) -> State:
        found = list(entries)
        self.work.blocks_read += sum(len(entry.blocks) for entry in found)
        return read_state(found, self._reader)

    def _contents(self, month: str, prefix: str, old: OldEntries, wanted: Said) -> Iterator[CatalogueEntry]:
        """Yield the entries that say where the attachments of a month are."""
        hashes = [sha256 for _, found in wanted.items() for sha256 in found]
        mark = Mark(b"", _fingerprint(wanted))
        if old and not unlike(old) and (not hashes or mark in first(old)[0].marks):
            yield first(old)[0]
            return
        state: State = {}
        for entries in old.values():
            state = join(state, self._read(entries), {}, {})
        found = {blocks.read_content(key[blocks.NAME_LENGTH :], NAME)[0] for key in state}
        for sha256 in hashes:
            recipe = None if sha256 in found else self._find(sha256)
            if recipe is not None:
                state[sha256[: blocks.NAME_LENGTH] + blocks.content_row(sha256, recipe)[:-1]] = (0, ())
                found.add(sha256)
        units = splitting.split(month, prefix, state, NAME)
        # Without a mark the next run looks again for what was not there.
        marks = [mark] if found.issuperset(hashes) and len(units) == 1 and units[0].prefix == prefix else []
        for unit in units:
            yield CatalogueEntry(month, CONTENTS, unit.prefix, self._store(unit, old), marks)

    # Storing ---------------------------------------------------------------------------------------------

    def _store(self, unit: splitting.Unit, old: OldEntries) -> list[Block]:
        before = {
            entry.prefix + block.prefix: block for found in old.values() for entry in found for block in entry.blocks
        }
        stored = []
        for prefix, data in unit.blocks:
            place = unit.prefix + prefix
            kin = before.get(place) or next(
                (b for p, b in sorted(before.items()) if p.startswith(place) or place.startswith(p)), None
            )
            stored.append(Block(prefix, self._store_block(data, kin)))
        return stored

    def _store_block(self, data: bytes, kin: Block | None) -> bytes:
        old = [] if kin is None else list(pieces(kin.recipe, self._reader, NAME))
        # The first chunks of a block that is larger than bases may be: rows are appended, so they mostly remain.
        bases: list[ChunkId] = []
        size = 0
        for piece in old:
            size += piece.length
            if size <= MOST_BASE_BYTES:
                bases.append(piece.chunk)
        writer = PieceWriter(self._add, self._content.tree_chunker)
        for at in range(0, len(data), WHOLE_CHUNK):
            part = data[at : at + WHOLE_CHUNK]
            writer.append(self._add(part, bases or None), len(part))
        return writer.finish()


class _Intake:
    """Turns the items of one source into rows, each where it belongs."""

    def __init__(self, spool: Spool, number: int) -> None:
        self.taken = Taken()
        self._spool, self._number = spool, number
        self._names: dict[tuple[str, str], bytes] = {}
        self._lists: dict[tuple[str, str, str], list[bytes]] = {}
        self._rows = self._size = 0

    def message(self, message: Message) -> None:
        month = splitting.month_of(message.time_ms)
        key = (month, message.service, message.chat)
        rows = self._lists.get(key)
        if rows is None:
            name = self._name(message)
            rows = self._lists[key] = self._spool.rows((month, MESSAGES, name, self._number))
        row = blocks.message_row(message)
        rows.append(row)
        self.taken.messages += 1
        if message.attachments:
            for attachment in message.attachments:
                if attachment.sha256:
                    name = attachment.sha256[: blocks.NAME_LENGTH]
                    self._add((month, CONTENTS, name, _NO_SOURCE), attachment.sha256)
        self._grow(len(row))

    def conversation(self, found: Conversation) -> None:
        row = blocks.conversation_row(found)
        name = blocks.conversation_id(found.service, found.account, found.key)
        if self._names.get((found.service, found.key)) != name:
            self._names[found.service, found.key] = name
            # Rows that came before were put where no account is told; the view brings both together.
            self._lists.clear()
        self._add(("", CONVERSATIONS, name, self._number), row)
        self.taken.conversations += 1

    def call(self, call: Call) -> None:
        key = (splitting.month_of(call.time_ms), CALLS, blocks.calls_id(call.service), self._number)
        self._add(key, blocks.call_row(call))
        self.taken.calls += 1

    def finish(self) -> None:
        self._spool.grown(self._rows, self._size)

    def _name(self, message: Message) -> bytes:
        name = self._names.get((message.service, message.chat))
        if name is None:
            self.conversation(Conversation(service=message.service, key=message.chat))
            name = self._names[message.service, message.chat]
        return name

    def _add(self, key: tuple[str, str, bytes, int], row: bytes) -> None:
        self._spool.rows(key).append(row)
        self._grow(len(row))

    def _grow(self, size: int) -> None:
        self._rows += 1
        self._size += size
        if self._rows >= _CHECK_EVERY:
            if self._spool.grown(self._rows, self._size):
                self._lists.clear()
            self._rows = self._size = 0


class _Plan:
    """Which entries must be joined, and what is remembered of each source."""

    def __init__(self, known: Sequence[Catalogue], readings: Sequence[_Reading]) -> None:
        self._known, self._readings = known, readings
        self.scans = [catalogue.scans for catalogue in known]
        self._latest = self._latest_of_old()
        whole = [reading for reading in readings if reading.whole]
        self._out_of_order = len({reading.id for reading in whole}) < len(whole) or any(
            reading.time_ms < self._read_ms(reading.id) for reading in whole
        )
        self._ahead = [self._scans_of_others(number) for number in range(len(known))]

    def _latest_of_old(self) -> dict[bytes, int]:
        """Return which catalogue read each source last; of several, the first."""
        latest: dict[bytes, int] = {}
        for number, catalogue in enumerate(self._known):
            for name, source in catalogue.sources.items():
                if name not in latest or source.read_ms > self._known[latest[name]].sources[name].read_ms:
                    latest[name] = number
        return latest

    def _read_ms(self, source: bytes) -> int:
        number = self._latest.get(source)
        return -1 if number is None else self._known[number].sources[source].read_ms

    def _scans_of_others(self, number: int) -> dict[bytes, bool]:
        """Return the sources that others have scanned when this catalogue had not; True if before its last scan."""
        ours = self.scans[number]
        found: dict[bytes, bool] = {}
        for theirs in self.scans:
            for source, times in theirs.items():
                own = ours.get(source, ())
                missing = set(times) - set(own)
                if missing and own:
                    found[source] = found.get(source, False) or min(missing) < own[-1]
        return found

    def changes(self, old: OldEntries, prints: Mapping[int, bytes]) -> bool:
        """Return whether a unit must be joined anew."""
        return self._out_of_order or self._differ(old) or self._said_other(old, prints)

    def _differ(self, old: OldEntries) -> bool:
        """Return whether the catalogues say different things of a unit.

        Blocks with equal bytes are equal whatever else was read. Where one catalogue does not have the unit, that says
        something only if it has read a source of it when the others had not.
        """
        if unlike(old):
            return True
        if len(old) == len(self._known):
            return False
        ahead = [self._ahead[number] for number in old]
        if any(before for sources in ahead for before in sources.values()):
            return True
        marked = {mark.source for mark in self._marks(old)}
        return any(not marked.isdisjoint(sources) for sources in ahead)

    def _said_other(self, old: OldEntries, prints: Mapping[int, bytes]) -> bool:
        said = self._old_marks(old)
        for number, reading in enumerate(self._readings):
            now = prints.get(number)
            if now is not None and (now != said.get(reading.id) or reading.time_ms < self._read_ms(reading.id)):
                return True
            if now is None and reading.whole and reading.id in said:
                return True
        return False

    @staticmethod
    def _marks(old: OldEntries) -> Iterator[Mark]:
        return (mark for entries in old.values() for entry in entries for mark in entry.marks)

    def _old_marks(self, old: OldEntries) -> dict[bytes, bytes]:
        """Return what each source said last, by the catalogue that read it last."""
        found: dict[bytes, bytes] = {}
        for number, entries in sorted(old.items(), reverse=True):
            for entry in entries:
                for mark in entry.marks:
                    known = self._known[number].sources.get(mark.source)
                    if known is not None and known.read_ms == self._read_ms(mark.source):
                        found[mark.source] = mark.fingerprint if len(entries) == 1 else _UNKNOWN
        return found

    def marks(self, old: OldEntries, prints: Mapping[int, bytes]) -> list[Mark]:
        """Return what is to be remembered of the sources of a unit."""
        return self._marked(self._old_marks(old), prints)

    def marks_of_part(self, marks: Sequence[Mark], said: Mapping[int, Said]) -> list[Mark]:
        """Return what is to be remembered of a part of a unit, which has `marks` as a whole."""
        unknown = {mark.source: _UNKNOWN for mark in marks}
        return self._marked(unknown, {number: _fingerprint(found) for number, found in said.items() if found})

    def _marked(self, found: dict[bytes, bytes], prints: Mapping[int, bytes]) -> list[Mark]:
        for number, reading in enumerate(self._readings):
            if reading.time_ms < self._read_ms(reading.id):
                continue
            now = prints.get(number)
            if now is not None:
                found[reading.id] = now
            else:
                found.pop(reading.id, None)
        return [Mark(*mark) for mark in sorted(found.items())]

    def sources(self) -> list[Source]:
        """Return all sources, with their scans."""
        scans: dict[bytes, Times] = {}
        for theirs in self.scans:
            scans = join_scans(scans, theirs)
        found: dict[bytes, Source] = {}
        for catalogue in self._known:
            for name, source in catalogue.sources.items():
                read_ms = max(source.read_ms, found[name].read_ms if name in found else 0)
                found[name] = Source(name, source.name, source.format, source.whole, read_ms, [])
        for reading in self._readings:
            if reading.whole:
                scans = join_scans(scans, {reading.id: (reading.time_ms,)})
            before = found.get(reading.id)
            read_ms = max(reading.time_ms, before.read_ms if before else 0)
            origin = reading.origin
            found[reading.id] = Source(reading.id, origin.name, origin.format, reading.whole, read_ms, [])
        return [Source(s.id, s.name, s.format, s.whole, s.read_ms, list(scans.get(s.id, ()))) for s in found.values()]


_UNKNOWN = b""
"""The fingerprint of what must be compared when its source is read again."""


def _fingerprint(said: Said) -> bytes:
    """Return what tells apart what sources say; rows come in order and without repetition."""
    return blake3(b"".join(chain.from_iterable(chain((name,), rows) for name, rows in said.items()))).digest(LENGTH)


def _part(said: Said, prefix: str) -> Said:
    return {name: rows for name, rows in said.items() if name.hex().startswith(prefix)}


__all__ = ["FindContent", "Ingest", "Origin", "Taken", "Work"]
