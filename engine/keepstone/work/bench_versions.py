"""Versions to measure dedup with: files and folders as they lie there, and snapshots of a repository.

A version is a row of streams, one for each file, in a fixed order. Nothing of it is kept in memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from keepstone.errors import KeepstoneError, SourceError
from keepstone.history import tree
from keepstone.history.snapshot import Snapshot
from keepstone.sources import files
from keepstone.sources.metadata import unreadable
from keepstone.work.client import Client

Problem = Callable[[bytes, KeepstoneError], None]
"""Is told what cannot be read."""


class Stream(Protocol):
    """The bytes of one file."""

    def readinto(self, buffer: memoryview, /) -> int: ...


class Version(Protocol):
    """One state of what is saved again and again."""

    @property
    def size(self) -> tuple[int, int]:
        """The number of files, and of their bytes."""

    def streams(self, problem: Problem) -> Iterator[AbstractContextManager[Stream]]:
        """Yield the files, in a fixed order; what cannot be read is told."""


@dataclass(frozen=True, slots=True)
class PathVersion:
    """A file, or all regular files of a folder, sorted; each is a stream of its own. Links are not followed."""

    path: bytes

    @property
    def size(self) -> tuple[int, int]:
        sizes = [size for _, size in self._files(lambda path, error: None)]
        return len(sizes), sum(sizes)

    def streams(self, problem: Problem) -> Iterator[AbstractContextManager[Stream]]:
        for path, _ in self._files(problem):
            try:
                yield files.open_file(path)
            except SourceError as error:
                problem(path, error)

    def _files(self, problem: Problem) -> Iterator[tuple[bytes, int]]:
        def look(path: bytes) -> os.stat_result | None:
            try:
                return os.lstat(path)
            except OSError as error:
                problem(path, unreadable(path, error))
                return None

        def unlisted(error: OSError) -> None:
            path = os.fsencode(error.filename or b"")
            problem(path, unreadable(path, error, "listed"))

        status = look(self.path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            yield self.path, status.st_size
            return
        for at, folders, names in os.walk(self.path, onerror=unlisted):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(at, name)
                status = look(path)
                if status is not None and stat.S_ISREG(status.st_mode):
                    yield path, status.st_size


def path_versions(paths: Sequence[bytes]) -> list[Version]:
    """Return a version for each path; a folder by itself stands for its children, sorted.

    Raises:
        SourceError: a path is not there or cannot be listed.
    """
    try:
        for path in paths:
            os.lstat(path)
        if len(paths) == 1 and os.path.isdir(paths[0]):
            paths = [os.path.join(paths[0], name) for name in sorted(os.listdir(paths[0]))]
    except OSError as error:
        raise unreadable(os.fsencode(error.filename or b""), error) from error
    return [PathVersion(path) for path in paths]


@dataclass(frozen=True, slots=True)
class SnapshotVersion:
    """All files of a snapshot."""

    client: Client
    snapshot: Snapshot

    @property
    def size(self) -> tuple[int, int]:
        return self.snapshot.body.counts.files, self.snapshot.body.counts.bytes

    def streams(self, problem: Problem) -> Iterator[AbstractContextManager[Stream]]:
        del problem  # A repository that does not read is an error, not a part to leave out.
        for listed in self.client.ls(self.snapshot):
            if listed.entry.kind == tree.FILE:
                yield nullcontext(_Pieces(self.client.read(self.snapshot, listed.entry)))


class _Pieces:
    """Reads from pieces of bytes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length
