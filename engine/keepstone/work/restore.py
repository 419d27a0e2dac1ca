"""Restore: recreate what a snapshot holds, below a target folder and nowhere else.

Files are written under a temporary name and renamed when they are whole; what stands there already is compared
piece by piece, and only pieces that differ are fetched. Folders get their metadata last, deepest first. What cannot be
restored is reported, and the rest is restored all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from keepstone import events
from keepstone.errors import ContainerKeyMissing, Damaged, KeepstoneError, PathNotFound, TargetError, Unsupported
from keepstone.hashing import chunk_id
from keepstone.history import expression, tree
from keepstone.history.container_keys import container_keys
from keepstone.history.recipe import Piece, decode, expected, few_pieces, is_list, pieces
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import Entry, printable
from keepstone.repo.repository import Repository
from keepstone.sources.exclude import Exclusions
from keepstone.sources.metadata import Attributes
from keepstone.work.target import Existing, Standing, Target

OVERWRITE = ("always", "if-changed", "never")

Parts = tuple[bytes, ...]
_MOST_AHEAD = 2000
"""Entries of a folder, and chunks of them, that are looked up together."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What to restore, and where."""

    target: bytes
    path: bytes = b"/"
    """Path in the snapshot. A folder's content goes directly into the target, a file under its name."""
    include: Exclusions | None = None
    """If given, only what it names (and the folders above)."""
    exclude: Exclusions | None = None
    overwrite: str = "always"
    verify: bool = False
    """Read every restored file again and compare it with its chunks."""
    numeric_ids: bool = False
    privileged: bool = False
    """Also restore security.* and trusted.* attributes."""


@dataclass(slots=True)
class RestoreResult:
    """What a restore did."""

    files_restored: int = 0
    files_skipped: int = 0
    files_identical: int = 0
    folders: int = 0
    bytes_restored: int = 0
    bytes_fetched: int = 0
    """Bytes that came from the repository; the rest stood in the target already."""
    files_verified: int = 0
    problems: list[events.Problem] = field(default_factory=list)
    duration: float = 0.0


def restore(
    repository: Repository,
    snapshot: Snapshot,
    options: RestoreOptions,
    listener: events.Listener = events.ignore,
) -> RestoreResult:
    """Restore a snapshot or a path of it.

    Raises:
        PathNotFound: the snapshot does not hold the path.
        TargetError: the target folder cannot be used at all.
    """
    if options.overwrite not in OVERWRITE:
        raise TargetError(f"There is no way {options.overwrite!r} to overwrite.", f"Use {', '.join(OVERWRITE)}.")
    return _Restore(repository, snapshot, options, listener).run()


class _Restore:
    def __init__(
        self, repository: Repository, snapshot: Snapshot, options: RestoreOptions, listener: events.Listener
    ) -> None:
        self.repository, self.snapshot, self.options, self.listener = repository, snapshot, options, listener
        self.name = snapshot.name
        self.container_keys = container_keys(repository.log)
        self.result = RestoreResult()
        self.target = Target(options.target, privileged=options.privileged)
        self.links: dict[tuple[int, int], Parts] = {}
        self.late: list[tuple[Parts, Entry]] = []
        self.folders: list[tuple[Parts, Entry]] = []
        self.restored: list[tuple[Parts, Entry]] = []
        self.files_total: int | None = None
        self.bytes_total: int | None = None
        self.is_new = False
        """Whether nothing stands in the folder of the entry at hand that could matter."""
        self.known: list[Piece] | None = None
        """The pieces of the entry at hand, if the repository knows that they are read next."""

    def run(self) -> RestoreResult:
        clock = self.repository.clock
        started = clock.monotonic()
        parts = tree.parts_of(self.options.path)
        entry = tree.find(self.snapshot.body.root, parts, self.repository, self.name)
        with self.target:
            if entry is None:
                counts = self.snapshot.body.counts
                self.files_total, self.bytes_total = counts.files, counts.bytes
                self._folder((), (), self.snapshot.body.root)
            elif entry.kind == tree.FOLDER:
                self.files_total, self.bytes_total = entry.files, entry.size
                self._folder((), parts, entry.content)
            else:
                self.files_total, self.bytes_total = 1, entry.size
                self._entry((entry.name,), parts, entry)
            # Symbolic links come after everything else, so that nothing is ever written through one of them.
            for place, link in self.late:
                self._guarded(place, lambda p=place, e=link: self._symlink(p, e))  # type: ignore[misc]
            for place, folder in reversed(self.folders):
                self._guarded(place, lambda p=place, e=folder: self._finish_folder(p, e))  # type: ignore[misc]
            if self.options.verify:
                self._verify_all()
        self.result.duration = clock.monotonic() - started
        return self.result

    # Walking ---------------------------------------------------------------------------------------------

    def _folder(self, place: Parts, path: Parts, content: bytes) -> None:
        """Restore the content of a folder. An explicit stack: no depth of folders ends the program."""
        stack = [(place, path, self._entries(place, path, content))]
        while stack:
            place, path, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            below, at = (*place, entry.name), (*path, entry.name)
            if entry.kind != tree.FOLDER:
                self._entry(below, at, entry)
            elif self._wanted_folder(at) and self._guarded(below, lambda p=below: self._make_folder(p)):  # type: ignore[misc]
                self.folders.append((below, entry))
                stack.append((below, at, self._entries(below, at, entry.content)))

    def _entries(self, place: Parts, path: Parts, content: bytes) -> Iterator[Entry]:
        """Yield the entries of a folder. If nothing stands in it, the repository hears what is read next."""
        try:
            entries = tree.read_tree(content, self.repository, self.name)
            if not self.target.is_empty(place):
                yield from entries
            while ahead := list(self._ahead(path, entries)):
                self.repository.expect([one.chunk for _, found in ahead for one in found or () if not one.is_hole])
                for entry, found in ahead:
                    self.is_new, self.known = self.options.overwrite == "always", found
                    yield entry
                    self.is_new, self.known = False, None
        except (Damaged, Unsupported) as error:
            self._problem(place, error)

    def _ahead(self, path: Parts, entries: Iterator[Entry]) -> Iterator[tuple[Entry, list[Piece] | None]]:
        """Yield entries with what they are read from, up to a folder, a container, or what has very many chunks."""
        left = _MOST_AHEAD
        for entry in entries:
            found = None
            if entry.kind == tree.FILE and self._wanted((*path, entry.name)):
                try:
                    found = few_pieces(entry.content, self.name, entry.size)
                    if found is None:
                        found = list(islice(self._pieces(entry), left + 1))
                    left -= len(found)
                except (Damaged, Unsupported):
                    left = 0  # Whoever restores it says so.
            left -= 1
            yield entry, found if left >= 0 else None
            if entry.kind == tree.FOLDER or left <= 0:
                return

    def _wanted_folder(self, path: Parts) -> bool:
        exclude = self.options.exclude
        return exclude is None or not exclude.excluded(_joined(path), True)

    def _wanted(self, path: Parts) -> bool:
        include, exclude = self.options.include, self.options.exclude
        if exclude is not None and exclude.excluded(_joined(path), False):
            return False
        if include is None:
            return True
        return any(include.excluded(_joined(path[:length]), length < len(path)) for length in range(1, len(path) + 1))

    def _guarded(self, place: Parts, action: Callable[[], object]) -> bool:
        try:
            action()
        except (TargetError, Damaged, Unsupported, ContainerKeyMissing) as error:
            self._problem(place, error)
            return False
        return True

    def _problem(self, place: Parts, error: KeepstoneError) -> None:
        problem = events.Problem(_joined(place), "restore", error)
        self.result.problems.append(problem)
        self.listener(problem)

    def _entry(self, place: Parts, path: Parts, entry: Entry) -> None:
        if not self._wanted(path):
            return
        if len(place) > 1 and self.options.include is not None:
            self._guarded(place, lambda: self._make_folder(place[:-1]))
        shown = _joined(place)
        self._guarded(place, lambda: self._restore_entry(place, entry, shown))
        result = self.result
        done = result.files_restored + result.files_skipped + result.files_identical
        self.listener(events.Progress(done, result.bytes_restored, self.files_total, self.bytes_total, shown))

    # One entry -------------------------------------------------------------------------------------------

    def _make_folder(self, place: Parts) -> None:
        if self.target.make_folder(place, replace=self.options.overwrite != "never"):
            self.result.folders += 1

    def _restore_entry(self, place: Parts, entry: Entry, shown: bytes) -> None:
        existing = None if self.is_new else self.target.existing(place)
        if existing is not None and self._keep(existing, entry):
            self.result.files_skipped += 1
            self.listener(events.FileDone(shown, "skipped", entry.size))
            return
        if entry.kind == tree.SYMLINK:
            self.late.append((place, entry))
            return
        if entry.kind == tree.SOCKET:
            self.listener(events.Notice("A socket exists only while its program runs; it is not restored.", shown))
            return
        first = self.links.get((entry.device, entry.inode)) if entry.links > 1 else None
        if first is not None:
            self.target.remove_existing(place)
            self.target.make_hardlink(place, first)
            action = "linked"
            self.result.files_restored += 1
        elif entry.kind == tree.FILE:
            action = self._file(place, entry)
        else:
            self.target.remove_existing(place)
            self._report(place, self.target.make_special(place, entry.kind, entry.special, self._attributes(entry)))
            action = "restored"
            self.result.files_restored += 1
        if entry.links > 1 and first is None:
            self.links[entry.device, entry.inode] = place
        self.listener(events.FileDone(shown, action, entry.size))

    def _keep(self, existing: Existing, entry: Entry) -> bool:
        if self.options.overwrite == "never":
            return True
        return (
            self.options.overwrite == "if-changed"
            and entry.kind == tree.FILE
            and existing.is_file
            and existing.size == entry.size
            and existing.mtime_ns == entry.mtime_ns
        )

    def _file(self, place: Parts, entry: Entry) -> str:
        """Restore one file, taking from what stands there what is the same."""
        known = self.known
        if known is None and self._is_container(entry):
            return self._container(place, entry)
        result = self.result
        with nullcontext() if self.is_new else self.target.open_existing(place) as standing:
            wanted = list(self._fetch_plan(entry, standing)) if standing is not None and standing.size else None
            if wanted is not None and standing is not None and standing.size == entry.size and all(wanted):
                self._report(place, self.target.apply(place, self._attributes(entry)))
                result.files_identical += 1
                self._restored(place, entry)
                return "identical"
            with self.target.create_file(place) as file:
                offset = end = 0
                found: Iterable[Piece] = self._pieces(entry) if known is None else known
                if wanted is None and known is None:  # What stands there already is not read.
                    found = expected(iter(found), self.repository)
                for number, piece in enumerate(found):
                    if not piece.is_hole:
                        if wanted is not None and standing is not None and wanted[number]:
                            data = standing.read(offset, piece.length)
                        else:
                            data = self.repository.read_chunk(piece.chunk)
                            result.bytes_fetched += len(data)
                        if len(data) != piece.length:
                            raise Unsupported(self.name, "has a recipe whose lengths do not fit its chunks")
                        file.write_at(offset, data)
                        end = offset + piece.length
                    offset += piece.length
                    result.bytes_restored += piece.length
                    if number % 16 == 15:
                        self.listener(
                            events.Progress(
                                result.files_restored,
                                result.bytes_restored,
                                self.files_total,
                                self.bytes_total,
                            )
                        )
                if offset != entry.size:
                    raise Unsupported(self.name, "has a recipe whose lengths do not fit the file")
                if end != offset:
                    file.set_size(offset)
                self._report(place, file.commit(self._attributes(entry)))
        result.files_restored += 1
        self._restored(place, entry)
        return "restored"

    def _container(self, place: Parts, entry: Entry) -> str:
        """Restore one file that was unwrapped: nothing of it if it stands there, else its bytes in one run."""
        result = self.result
        with self.target.open_existing(place) as standing:
            if standing is not None and standing.size == entry.size and self._unwraps(place, entry, standing):
                self._report(place, self.target.apply(place, self._attributes(entry)))
                result.files_identical += 1
                self._restored(place, entry)
                return "identical"
        with self.target.create_file(place) as file:
            offset = 0
            for data in self._bytes(entry):
                file.write_at(offset, data)
                offset += len(data)
                result.bytes_restored += len(data)
                result.bytes_fetched += len(data)
            file.set_size(offset)
            self._report(place, file.commit(self._attributes(entry)))
        result.files_restored += 1
        self._restored(place, entry)
        return "restored"

    def _is_container(self, entry: Entry) -> bool:
        return bool(entry.content) and not is_list(decode(entry.content, self.name))

    def _bytes(self, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of a file; no more of them and no fewer than its length says."""
        left = entry.size
        for data in expression.read(entry.content, self.repository, self.name, self.container_keys):
            left -= len(data)
            if left < 0:
                break
            yield data
        if left:
            raise Unsupported(self.name, "has a recipe whose lengths do not fit the file")

    def _unwraps(self, place: Parts, entry: Entry, standing: Standing) -> bool:
        """Return whether a standing file was proven to be a container, without fetching what is inside."""
        from keepstone.containers import METADATA_LIMIT, companion_of  # Most restores meet no container.
        from keepstone.work.standing import unwraps_to

        companion, beside = b"", companion_of(place[-1])
        if beside is not None:
            with self.target.open_existing((*place[:-1], beside)) as metadata:
                if metadata is not None and metadata.size <= METADATA_LIMIT:
                    companion = metadata.read(0, metadata.size)
        return unwraps_to(entry.content, standing, self.repository, self.name, self.container_keys, companion)

    def _same(self, entry: Entry, standing: Standing) -> bool:
        """Return whether a standing file has the bytes of a container."""
        if standing.size != entry.size:
            return False
        offset = 0
        for data in self._bytes(entry):
            if standing.read(offset, len(data)) != data:
                return False
            offset += len(data)
        return True

    def _restored(self, place: Parts, entry: Entry) -> None:
        if self.options.verify:
            self.restored.append((place, entry))

    def _pieces(self, entry: Entry) -> Iterator[Piece]:
        return pieces(entry.content, self.repository, self.name, entry.size) if entry.content else iter(())

    def _fetch_plan(self, entry: Entry, standing: Standing) -> Iterator[bool]:
        """Yield for each piece whether the standing file has it at its place already."""
        offset = 0
        key = self.repository.keys.chunk_id
        for piece in self._pieces(entry):
            if piece.is_hole:
                yield standing.is_zero(offset, piece.length)
            else:
                data = standing.read(offset, piece.length)
                yield len(data) == piece.length and chunk_id(key, data) == piece.chunk
            offset += piece.length

    def _symlink(self, place: Parts, entry: Entry) -> None:
        self.target.remove_existing(place)
        self._report(place, self.target.make_symlink(place, entry.target, self._attributes(entry)))
        self.result.files_restored += 1
        self.listener(events.FileDone(_joined(place), "restored", 0))

    def _finish_folder(self, place: Parts, entry: Entry) -> None:
        if entry.flags & tree.ABOVE_SOURCES:
            entry = msgspec.structs.replace(entry, mtime_ns=self.snapshot.body.time_ns)
        self._report(place, self.target.set_folder_attributes(place, self._attributes(entry)))

    def _report(self, place: Parts, problems: Sequence[TargetError]) -> None:
        for problem in problems:
            self._problem(place, problem)

    def _attributes(self, entry: Entry) -> Attributes:
        return Attributes(
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            user=None if self.options.numeric_ids else entry.user,
            group=None if self.options.numeric_ids else entry.group,
            mtime_ns=entry.mtime_ns,
            xattrs=tuple(entry.xattrs),
        )

    # Verifying -------------------------------------------------------------------------------------------

    def _verify_all(self) -> None:
        for place, entry in self.restored:
            self._guarded(place, lambda p=place, e=entry: self._verify(p, e))  # type: ignore[misc]

    def _stands(self, place: Parts, entry: Entry, standing: Standing) -> bool:
        if self._is_container(entry):
            return self._unwraps(place, entry, standing) or self._same(entry, standing)
        return standing.size == entry.size and all(self._fetch_plan(entry, standing))

    def _verify(self, place: Parts, entry: Entry) -> None:
        with self.target.open_existing(place) as standing:
            if standing is None or not self._stands(place, entry, standing):
                raise TargetError(f"{printable(_joined(place))} does not read back as it was restored.")
        self.result.files_verified += 1


def _joined(parts: Parts) -> bytes:
    return b"/" + b"/".join(parts)


__all__ = ["OVERWRITE", "PathNotFound", "RestoreOptions", "RestoreResult", "restore"]
