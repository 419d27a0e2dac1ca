"""Looking into snapshots without restoring them: list, find, compare, read one file, measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keepstone.errors import PathNotFound
from keepstone.history import expression, tree
from keepstone.history.container_keys import container_keys
from keepstone.history.snapshot import Snapshot, snapshots
from keepstone.history.tree import Entry
from keepstone.repo.repository import Repository
from keepstone.sources.exclude import Exclusions


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry and where it is in its snapshot."""

    path: bytes
    entry: Entry


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a snapshot whose path matches."""

    snapshot: Snapshot
    path: bytes
    entry: Entry


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `+` added, `-` removed, `M` content, `U` metadata only, `T` kind."""

    path: bytes
    modifier: str
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What a repository holds and what that takes."""

    snapshots: int
    files: int
    """Over all snapshots."""
    restore_size: int
    """Bytes of all files of all snapshots."""
    chunks: int
    plain_size: int
    """Bytes of all chunks, each once, before compression."""
    packs: int
    stored_size: int
    """Bytes of all objects in the store."""
    objects: int

    @property
    def dedup_ratio(self) -> float:
        """Bytes of all snapshots over bytes of the chunks they consist of."""
        return self.restore_size / self.plain_size if self.plain_size else 1.0

    @property
    def compression_ratio(self) -> float:
        """Bytes of the chunks over bytes in the store."""
        return self.plain_size / self.stored_size if self.stored_size else 1.0


def list_entries(repository: Repository, snapshot: Snapshot, path: bytes, *, recursive: bool) -> Iterator[Listed]:
    """Yield the entry at a path, then what is below it: the folder's entries, or all of them.

    Raises:
        PathNotFound: the snapshot does not hold the path.
    """
    parts = tree.parts_of(path)
    entry = tree.find(snapshot.body.root, parts, repository, snapshot.name)
    at = b"/" + b"/".join(parts)
    if entry is not None:
        yield Listed(at, entry)
        if entry.kind != tree.FOLDER:
            return
    content = snapshot.body.root if entry is None else entry.content
    yield from walk(repository, snapshot, at.rstrip(b"/"), content, recursive=recursive)


def walk(
    repository: Repository, snapshot: Snapshot, path: bytes, content: bytes, *, recursive: bool = True
) -> Iterator[Listed]:
    """Yield everything below a tree, folders before what is in them."""
    stack = [(path, tree.read_tree(content, repository, snapshot.name))]
    while stack:
        path, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        below = path + b"/" + entry.name
        yield Listed(below, entry)
        if recursive and entry.kind == tree.FOLDER:
            stack.append((below, tree.read_tree(entry.content, repository, snapshot.name)))


def find(repository: Repository, pattern: bytes, *, only: Snapshot | None = None) -> Iterator[Found]:
    """Yield the entries whose name matches a pattern (`*`, `?`, `[...]`, `**`); with a slash, whose path does."""
    wanted = [only] if only is not None else snapshots(repository.log, repository.keys)
    matcher = Exclusions([pattern])  # The same patterns as everywhere: a star stays within a component.
    for snapshot in wanted:
        for listed in walk(repository, snapshot, b"", snapshot.body.root):
            if matcher.excluded(listed.path, listed.entry.kind == tree.FOLDER):
                yield Found(snapshot, listed.path, listed.entry)


def diff(repository: Repository, old: Snapshot, new: Snapshot, *, metadata: bool = False) -> Iterator[Change]:
    """Yield what differs between two snapshots; folders with the same tree are not walked."""
    yield from diff_trees(repository, old.body.root, new.body.root, (old.name, new.name), metadata=metadata)


def diff_trees(
    repository: Repository, old: bytes, new: bytes, names: tuple[str, str], *, metadata: bool = False
) -> Iterator[Change]:
    """Yield what differs between two root trees.

    Args:
        names: what errors call the two.
    """
    stack: list[tuple[bytes, bytes, bytes]] = [(b"", old, new)]
    while stack:
        path, left, right = stack.pop()
        if left == right:
            continue
        pairs = _merge(tree.read_tree(left, repository, names[0]), tree.read_tree(right, repository, names[1]))
        below = []
        for before, after in pairs:
            name = before.name if before is not None else after.name  # type: ignore[union-attr]  # one of them is there
            at = path + b"/" + name
            modifier = _modifier(before, after, metadata)
            if modifier:
                yield Change(at, modifier, before, after)
            before_tree = before.content if before is not None and before.kind == tree.FOLDER else b""
            after_tree = after.content if after is not None and after.kind == tree.FOLDER else b""
            if before_tree != after_tree:
                below.append((at, before_tree, after_tree))
        stack.extend(reversed(below))


def _modifier(before: Entry | None, after: Entry | None, metadata: bool) -> str:
    if before is None:
        return "+"
    if after is None:
        return "-"
    if before.kind != after.kind:
        return "T"
    if before.kind != tree.FOLDER and (before.content, before.target, before.special) != (
        after.content, after.target, after.special
    ):  # fmt: skip
        return "M"
    if metadata and _shown(before) != _shown(after):
        return "U"
    return ""


def _shown(entry: Entry) -> tuple[object, ...]:
    return (entry.mode, entry.uid, entry.gid, entry.user, entry.group, entry.mtime_ns, entry.xattrs)


def _merge(left: Iterator[Entry], right: Iterator[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pair the entries of two sorted trees by name."""
    before, after = next(left, None), next(right, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.name < after.name):
            yield before, None
            before = next(left, None)
        elif before is None or after.name < before.name:
            yield None, after
            after = next(right, None)
        else:
            yield before, after
            before, after = next(left, None), next(right, None)


def cat(repository: Repository, snapshot: Snapshot, path: bytes) -> Iterator[bytes]:
    """Yield the bytes of one file.

    Raises:
        PathNotFound: it is not a file of this snapshot.
    """
    entry = tree.find(snapshot.body.root, tree.parts_of(path), repository, snapshot.name)
    if entry is None or entry.kind != tree.FILE:
        raise PathNotFound(f"{tree.printable(path)} is not a file in this snapshot.")
    if entry.content:
        yield from expression.read(entry.content, repository, snapshot.name, container_keys(repository.log))


def stats(repository: Repository) -> Stats:
    """Measure a repository: snapshots from the logs, chunks from the pack directories, objects from the listing."""
    chunks = plain = 0
    for found, size in repository.ready_index().packs():
        directory, _ = repository.directory(found, size)
        for row in directory.frames:
            chunks += len(row.lengths) // 4
            plain += sum(memoryview(row.lengths).cast("I"))
    return measured(repository, chunks, plain, lambda name, size: None)


def measured(repository: Repository, chunks: int, plain: int, seen: Callable[[str, int], object]) -> Stats:
    """Return the measures of a repository whose chunks were counted.

    Args:
        seen: is told name and size of every object in the store.
    """
    known = snapshots(repository.log, repository.keys)
    objects = stored = packs = 0
    for name, size in repository.store.list(""):
        seen(name, size)
        objects += 1
        stored += size
        packs += name.startswith("packs/")
    return Stats(
        snapshots=len(known),
        files=sum(s.body.counts.files for s in known),
        restore_size=sum(s.body.counts.bytes for s in known),
        chunks=chunks,
        plain_size=plain,
        packs=packs,
        stored_size=stored,
        objects=objects,
    )
