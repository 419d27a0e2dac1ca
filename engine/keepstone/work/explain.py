"""Where the space goes: from the bytes of all files to the bytes in the store, in steps that add up to the byte.

Going down: the files' bytes; less their holes, more what unwrapping containers adds: their *content*. Each chunk of it
once (what dedup saved); of chunks in delta frames, their differences (delta); of all others, compressed (compression).
What remains is in the store, and so are folders, recipes, seals, padding and the rest, each by its name.

Rules. A chunk belongs to whom needs it first: snapshots oldest first, files in the order of their trees. To that file's
type and container it is counted, and to that snapshot as *new*; new is *unique*, if no other snapshot needs it, or
*shared*. A frame's bytes are shared among its chunks by their lengths.

A tree, or a long recipe, is walked for the first snapshot that has it and for the second, to mark its chunks as shared,
and never again; what is counted below it was noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from keepstone import events
from keepstone.hashing import keyed
from keepstone.history import expression, tree
from keepstone.history.catalogue import Catalogue
from keepstone.history.recipe import PIECES, Piece, Recipe, decode, short_pieces
from keepstone.history.snapshot import Snapshot, snapshots
from keepstone.ids import ChunkId
from keepstone.repo.pack import PACK_HEADER_LENGTH, TRAILER_LENGTH
from keepstone.repo.repository import Repository
from keepstone.work.explain_table import Note, Sums, Table
from keepstone.work.kinds import CONTAINERS, TYPES, container_of, type_of
from keepstone.work.query import Stats, measured


@dataclass(slots=True)
class Share:
    """What the files of one type, or of one container, take; or all of them."""

    name: str
    files: int = 0
    """Over all snapshots, as all that is not said to be new."""
    bytes: int = 0
    content: int = 0
    """Bytes that were cut into chunks: unwrapped, without holes."""
    holes: int = 0
    chunks: int = 0
    """New ones, as all that follows."""
    plain: int = 0
    stored: int = 0
    delta_plain: int = 0
    """Of the plain bytes, those in delta frames."""
    delta_stored: int = 0
    delta_alone: int = 0
    """An estimate: what the chunks in delta frames would take if they were compressed as the others of their type."""

    @property
    def unwrapped(self) -> int:
        """What unwrapping containers adds to their bytes; less than nothing if it takes away."""
        return self.content + self.holes - self.bytes

    @property
    def dedup_saved(self) -> int:
        return self.content - self.plain

    @property
    def delta_saved(self) -> int:
        """Plain bytes of the chunks in delta frames less the bytes of these: it holds what compression did there."""
        return self.delta_plain - self.delta_stored

    @property
    def compression_saved(self) -> int:
        return self.plain - self.delta_plain - (self.stored - self.delta_stored)

    def take(self, other: Share) -> None:
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTED = (
    "files", "bytes", "content", "holes", "chunks", "plain", "stored", "delta_plain", "delta_stored", "delta_alone",
)  # fmt: skip


@dataclass(slots=True)
class SnapshotShare:
    """What one snapshot takes, its folders and recipes included."""

    snapshot: Snapshot
    files: int = 0
    bytes: int = 0
    new: int = 0
    """Stored bytes of the chunks that no earlier snapshot needs."""
    unique: int = 0
    """Of these, what no other snapshot needs."""

    @property
    def shared(self) -> int:
        """Of what is new, what later snapshots need too."""
        return self.new - self.unique


@dataclass(slots=True)
class Parts:
    """What the bytes in the store are. They add up to `Stats.stored_size`."""

    content: int = 0
    """Content of files."""
    folders: int = 0
    """Trees: names, metadata and short recipes."""
    recipes: int = 0
    """Long recipes, and how containers are made again."""
    messages: int = 0
    """The message archive, and attachments that are in no file."""
    unneeded: int = 0
    """Chunks that none of the snapshots needs, and second copies."""
    seals: int = 0
    """16 bytes for each frame."""
    headers: int = 0
    """Headers and trailers of packs."""
    directories: int = 0
    padding: int = 0
    unread_packs: int = 0
    """Packs that the index does not know: damaged, or stored meanwhile."""
    index: int = 0
    log: int = 0
    other: int = 0
    """Config, keyslots, and what does not belong there."""

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in PART_NAMES)


PART_NAMES = (
    "content", "folders", "recipes", "messages", "unneeded", "seals", "headers", "directories", "padding",
    "unread_packs", "index", "log", "other",
)  # fmt: skip


@dataclass(slots=True)
class Explanation:
    """Where the space of a repository goes."""

    stats: Stats
    """Of the whole repository."""
    total: Share
    types: list[Share]
    """Those that there are, in the order of their names in `kinds`."""
    containers: list[Share]
    snapshots: list[SnapshotShare]
    """Oldest first."""
    parts: Parts


def explain(
    repository: Repository, chosen: Sequence[Snapshot] = (), listener: events.Listener = events.ignore
) -> Explanation:
    """Explain the space a repository takes.

    Args:
        chosen: only these snapshots; what only others need is then among what is not needed.

    Raises:
        Damaged, ChunkMissing: a tree or a recipe cannot be read.
        StoreFull: the temporary folder has no space left.
    """
    known = snapshots(repository.log, repository.keys)
    wanted = {snapshot.id for snapshot in chosen} or {snapshot.id for snapshot in known}
    parts = Parts()
    with Table() as table:
        _read_packs(repository, table, parts)
        walk = _Walk(repository, table, [s for s in known if s.id in wanted], listener)
        walk.run()
        stats = measured(repository, table.columns.count, table.columns.plain_size, _count_objects(parts))
        needed = walk.content + walk.folders + walk.recipes + walk.messages
        parts.unneeded = table.columns.payload - needed
    parts.content, parts.folders, parts.recipes = walk.content, walk.folders, walk.recipes
    parts.messages = walk.messages
    by_class = walk.shares()
    total = Share("all")
    for share in by_class.values():
        total.take(share)
    return Explanation(
        stats=stats,
        total=total,
        types=_grouped(TYPES, {key: key // _WIDTH for key in by_class}, by_class),
        containers=_grouped(CONTAINERS, {key: key % _WIDTH for key in by_class}, by_class),
        snapshots=walk.snapshots,
        parts=parts,
    )


_WIDTH = 32
"""A file's class is the number of its type times this, plus that of its container."""
assert len(CONTAINERS) <= _WIDTH


def _grouped(names: Sequence[str], group: dict[int, int], by_class: dict[int, Share]) -> list[Share]:
    found: dict[int, Share] = {}
    for key, share in by_class.items():
        found.setdefault(group[key], Share(names[group[key]])).take(share)
    return [found[number] for number in sorted(found)]


def _read_packs(repository: Repository, table: Table, parts: Parts) -> None:
    """Number all chunks, and count what packs consist of besides them."""
    columns = table.columns
    for number, found, size in repository.ready_index().numbered_packs():
        directory, _ = repository.directory(found, size)
        columns.add_pack(number, directory.frames)
        frames = sum(row.stored for row in directory.frames)
        length = directory.length
        parts.headers += PACK_HEADER_LENGTH + TRAILER_LENGTH
        parts.directories += length
        parts.padding += size - frames - length - PACK_HEADER_LENGTH - TRAILER_LENGTH
        parts.unread_packs -= size
    parts.seals = columns.seals
    columns.map()


def _count_objects(parts: Parts) -> Callable[[str, int], None]:
    """Return what counts the store's objects by their kind."""

    def count(name: str, size: int) -> None:
        kind = _KINDS.get(name.partition("/")[0], "other")
        setattr(parts, kind, getattr(parts, kind) + size)

    return count


_KINDS = {"packs": "unread_packs", "index": "index", "log": "log"}
"""All packs, less those that were read, are unread."""


_TELL_EACH = 100
"""Files from one event to the next."""


# Walking ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Noting:
    """Reads chunks, and counts them to folders, recipes or messages."""

    walk: _Walk
    into: str

    def read_chunk(self, chunk: ChunkId) -> bytes:
        self.count(chunk)
        return self.walk.repository.read_chunk(chunk)

    def count(self, chunk: ChunkId) -> None:
        walk = self.walk
        new = walk.touch(chunk)
        if new is not None:
            setattr(walk, self.into, getattr(walk, self.into) + walk.stored[new])


@dataclass(slots=True)
class _Open:
    """A folder that is being walked."""

    key: bytes
    entries: Iterator[tree.Entry]
    again: bool
    sums: dict[int, Sums] = field(default_factory=dict)


class _Walk:
    """Walks the snapshots and gives every chunk to whom needs it first."""

    def __init__(
        self, repository: Repository, table: Table, wanted: Sequence[Snapshot], listener: events.Listener
    ) -> None:
        self.repository, self._listener = repository, listener
        self._index = repository.ready_index()
        self._columns, self._notes = table.columns, table.notes
        self.stored = self._columns.stored
        self.snapshots = [SnapshotShare(snapshot) for snapshot in wanted]
        self.content = self.folders = self.recipes = self.messages = 0
        """Stored bytes."""
        self._holder = 0
        """The number of the snapshot that is walked, from 1."""
        self._name = ""
        self._shares: dict[int, Share] = {}
        self._trees, self._lists = _Noting(self, "folders"), _Noting(self, "recipes")
        self._files_done = self._bytes_done = self._tell_at = 0
        counts = [snapshot.body.counts for snapshot in wanted]
        self._totals = sum(c.files for c in counts), sum(c.bytes for c in counts)

    def run(self) -> None:
        for number, share in enumerate(self.snapshots, 1):
            self._holder, self._name = number, share.snapshot.name
            sums = self._folder(share.snapshot.body.root)
            if share.snapshot.body.catalogue:
                self._archive(share.snapshot.body.catalogue)
            for key, below in sums.items():
                _merge(self._share(key), below)
                share.files += below.files
                share.bytes += below.bytes
            self._tell()

    def _archive(self, catalogue: bytes) -> None:
        """Count the message archive. What files have as well is theirs."""
        noting = _Noting(self, "messages")
        for recipe in Catalogue(catalogue, noting, self._name).recipes():
            for piece in self._pieces(recipe, noting):
                if not piece.is_hole:
                    noting.count(piece.chunk)

    def shares(self) -> dict[int, Share]:
        """Return what was counted, by class; with the estimates, for which all has to be known."""
        whole: dict[int, tuple[int, int]] = {}
        for key, share in self._shares.items():
            for group in (key // _WIDTH, -1):
                stored, plain = whole.get(group, (0, 0))
                whole[group] = (
                    stored + share.stored - share.delta_stored,
                    plain + share.plain - share.delta_plain,
                )
        for key, share in self._shares.items():
            stored, plain = next((whole[g] for g in (key // _WIDTH, -1) if whole[g][1]), (1, 1))
            share.delta_alone = share.delta_plain * stored // plain
        return self._shares

    def _share(self, key: int) -> Share:
        found = self._shares.get(key)
        if found is None:
            found = self._shares[key] = Share("")
        return found

    def touch(self, chunk: ChunkId) -> int | None:
        """Note that the snapshot needs a chunk; return the chunk's number if nobody needed it before."""
        number = self._columns.number(chunk, self._index)
        holders = self._columns.holder
        holder, mine = holders[number], self._holder
        if holder == 0:
            holders[number] = mine
            share = self.snapshots[mine - 1]
            share.new += self.stored[number]
            share.unique += self.stored[number]
            return number
        if holder > 0 and holder != mine:
            holders[number] = -holder
            self.snapshots[holder - 1].unique -= self.stored[number]
        return None

    def _known(self, key: bytes) -> tuple[Note | None, bool]:
        """Return the note of a tree or recipe, and whether it says enough: nothing below is news to a chunk."""
        note = self._notes.get(key)
        return note, note is not None and (note.shared or note.holder == self._holder)

    def _key(self, content: bytes) -> bytes:
        return keyed(self.repository.keys.cache, content)[:16]

    def _folder(self, content: bytes) -> dict[int, Sums]:
        """Count everything below a tree. The stack is ours: folders may be nested deeper than calls."""
        key = self._key(content)
        note, enough = self._known(key)
        if note is not None and enough:
            for below in note.sums.values():
                self._done(below)
            return note.sums
        stack = [_Open(key, tree.read_tree(content, self._trees, self._name), note is not None)]
        while True:
            at = stack[-1]
            entry = next(at.entries, None)
            if entry is None:
                self._notes.put(at.key, Note(self._holder, at.again, at.sums))
                stack.pop()
                if not stack:
                    return at.sums
                _merge_all(stack[-1].sums, at.sums)
            elif entry.kind == tree.FILE:
                kind, sums = self._file(entry)
                at.sums.setdefault(kind, Sums()).add(sums)
                self._done(sums)
            elif entry.kind == tree.FOLDER and entry.content:
                key = self._key(entry.content)
                note, enough = self._known(key)
                if note is not None and enough:
                    _merge_all(at.sums, note.sums)
                    for below in note.sums.values():
                        self._done(below)
                else:
                    entries = tree.read_tree(entry.content, self._trees, self._name)
                    stack.append(_Open(key, entries, note is not None))

    def _done(self, below: Sums) -> None:
        self._files_done += below.files
        self._bytes_done += below.bytes
        if self._files_done >= self._tell_at:
            self._tell_at = self._files_done + _TELL_EACH
            self._tell()

    def _tell(self) -> None:
        self._listener(events.Progress(self._files_done, self._bytes_done, *self._totals))

    def _file(self, entry: tree.Entry) -> tuple[int, Sums]:
        """Count a file; return its class, and what it consists of."""
        kind = TYPES.index(type_of(entry.name)) * _WIDTH
        if not entry.content:
            return kind, Sums(1, entry.size)
        recipe = decode(entry.content, self._name)
        if recipe[0] == PIECES:
            content, holes = self._content(recipe, kind, entry.content)
            return kind, Sums(1, entry.size, content, holes)
        key = self._key(b"recipe" + entry.content)
        note, enough = self._known(key)
        if note is None or not enough:
            node = expression.outermost(entry.content, self._lists, self._name)
            container = CONTAINERS.index(container_of(entry.name, node))
            content, holes = self._content(recipe, kind + container, entry.content)
            note = Note(self._holder, note is not None, {container: Sums(0, 0, content, holes)})
            self._notes.put(key, note)
        ((container, found),) = note.sums.items()
        return kind + container, Sums(1, entry.size, found.content, found.holes)

    def _content(self, recipe: Recipe, kind: int, encoded: bytes) -> tuple[int, int]:
        """Count the chunks of a recipe; return the bytes of its content and of its holes."""
        content = holes = 0
        share = self._share(kind)
        columns = self._columns
        found = short_pieces(recipe, self._name) if recipe[0] == PIECES else self._pieces(encoded, self._lists)
        for piece in found:
            if piece.is_hole:
                holes += piece.length
                continue
            content += piece.length
            number = self.touch(piece.chunk)
            if number is None:
                continue
            plain, stored = columns.plain[number], columns.stored[number]
            self.content += stored
            share.chunks += 1
            share.plain += plain
            share.stored += stored
            if columns.delta[number]:
                share.delta_plain += plain
                share.delta_stored += stored
        return content, holes

    def _pieces(self, encoded: bytes, reader: _Noting) -> Iterator[Piece]:
        return expression.all_pieces(encoded, reader, self._name)


def _merge(share: Share, below: Sums) -> None:
    share.files += below.files
    share.bytes += below.bytes
    share.content += below.content
    share.holes += below.holes


def _merge_all(sums: dict[int, Sums], below: dict[int, Sums]) -> None:
    for key, found in below.items():
        sums.setdefault(key, Sums()).add(found)
