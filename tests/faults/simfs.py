"""A file system in memory that fails, and that loses power, at any operation.

What POSIX promises is kept, and nothing more. The bytes of a file are durable after a sync of the file; a name is
durable after a sync of its folder; neither implies the other, nor the durability of the folder's own name. What is
pending at a power cut survives or not, each name for itself and in any order; pending bytes tear at blocks of 512 and
4096 bytes, the rest reads as zeros or is cut off. Bytes whose sync failed are never durable, whatever sync comes later.

A folder's failed sync leaves its names pending: a journaling file system stops after such a failure, it does not go
on as if nothing had been.
"""

from __future__ import annotations

import copy
import errno
import itertools
import math
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from faults import SimulatedCrash
from keepstone.errors import ObjectExists
from keepstone.ids import Buffer
from keepstone.store.files import translate

T = TypeVar("T")

WRITING = frozenset({"make_folder", "create", "write", "sync", "close", "publish", "rename", "sync_folder", "unlink"})
READING = frozenset({"read", "size", "list"})
ANY = WRITING | READING

SECTOR, PAGE = 512, 4096
TORN_WAYS = ("whole", "empty", "zeros", "half", "holes")
Tear = str | int
"""One of TORN_WAYS, or the seed of a random tear."""


@dataclass(eq=False)
class File:
    """Bytes; `pending` are the ranges that are not durable, `lost` those of a failed sync, which never will be."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)

    @property
    def uncertain(self) -> list[tuple[int, int]]:
        return sorted(self.pending + self.lost)


@dataclass(eq=False)
class Folder:
    """Names; `pending` tells for each name that is not durable what it may be after a power cut."""

    entries: dict[str, Node] = field(default_factory=dict)
    pending: dict[str, list[Node | None]] = field(default_factory=dict)

    def set(self, name: str, node: Node | None) -> None:
        before = self.entries.pop(name, None)
        values = self.pending.setdefault(name, [before])
        if not any(value is node for value in values):
            values.append(node)
        if node is not None:
            self.entries[name] = node


Node = File | Folder


@dataclass
class Fault:
    """The `nth` operation (from 0) of certain kinds fails with `error`, and so do the next `times - 1` of them."""

    operations: frozenset[str]
    nth: int
    error: int
    times: int | None = 1
    seen: int = 0

    def strikes(self, operation: str) -> bool:
        if operation not in self.operations:
            return False
        self.seen += 1
        return self.nth < self.seen and (self.times is None or self.seen <= self.nth + self.times)


class SimFS:
    """Implements `keepstone.store.files.Files`; paths are absolute.

    `crash_at` is the number of the operation (from 0) at which the process stops, before its effect or, with
    `crash_after`, after it. From then on every operation raises `SimulatedCrash`. `after_each` is called after every
    operation that took place, to check invariants. `capacity` is how many bytes fit into all files together.
    """

    def __init__(self, *folders: str) -> None:
        self.root = Folder()
        self.operations = 0
        self.crash_at: int | None = None
        self.crash_after = False
        self.crashed = False
        self.faults: list[Fault] = []
        self.capacity: int | None = None
        self.trace: list[tuple[str, str]] = []
        self.after_each: Callable[[SimFS], None] | None = None
        self._handles: dict[int, File] = {}
        self._next_handle = itertools.count(3)
        self._lock = threading.RLock()
        for folder in folders:
            self.make_durable_folders(folder)

    # Files -----------------------------------------------------------------------------------------------

    def make_folder(self, path: str) -> bool:
        def effect() -> bool:
            parent, name = self._place(path)
            if name in parent.entries or not name:
                return False
            parent.set(name, Folder())
            return True

        return self._do("make_folder", path, effect)

    def create(self, path: str) -> int:
        def effect() -> int:
            parent, name = self._place(path)
            if name in parent.entries:
                _fail(errno.EEXIST, path)
            handle, file = next(self._next_handle), File()
            parent.set(name, file)
            self._handles[handle] = file
            return handle

        return self._do("create", path, effect)

    def write(self, handle: int, pieces: Sequence[Buffer]) -> None:
        data = b"".join(pieces)

        def effect(part: bytes = data) -> None:
            file = self._handles[handle]
            fits = self._fitting(part)
            if fits:
                file.pending.append((len(file.content), len(file.content) + len(fits)))
                file.content += fits
            if len(fits) < len(part):
                _fail(errno.ENOSPC, "A file")

        self._do("write", "", effect, on_fault=lambda: effect(data[: len(data) // 2]))

    def sync(self, handle: int) -> None:
        def effect() -> None:
            self._handles[handle].pending.clear()

        def lose() -> None:
            file = self._handles[handle]
            file.lost += file.pending
            file.pending.clear()

        self._do("sync", "", effect, on_fault=lose)

    def close(self, handle: int) -> None:
        def effect() -> None:
            del self._handles[handle]

        self._do("close", "", effect, on_fault=effect)

    def publish(self, old: str, new: str) -> None:
        def effect() -> None:
            parent, name = self._place(new)
            if name in parent.entries:
                raise ObjectExists(f"{new} exists already.")
            self._move(old, parent, name)

        self._do("publish", new, effect)

    def rename(self, old: str, new: str) -> None:
        self._do("rename", new, lambda: self._move(old, *self._place(new)))

    def sync_folder(self, path: str) -> None:
        self._do("sync_folder", path, lambda: self._folder(path).pending.clear())

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        def effect() -> bytes:
            data = bytes(self._file(path).content)
            return data[offset:] if length is None else data[offset : offset + length]

        return self._do("read", path, effect)

    def size(self, path: str) -> int:
        return self._do("size", path, lambda: len(self._file(path).content))

    def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
        def effect() -> tuple[tuple[str, bool, int], ...]:
            node = self._node(path)
            if not isinstance(node, Folder):
                return ()
            return tuple((n, isinstance(v, Folder), _length(v)) for n, v in node.entries.items())

        yield from self._do("list", path, effect)

    def unlink(self, path: str) -> None:
        def effect() -> None:
            self._file(path)
            parent, name = self._place(path)
            parent.set(name, None)

        self._do("unlink", path, effect)

    # Faults ----------------------------------------------------------------------------------------------

    def fail(self, error: int, nth: int = 0, operations: frozenset[str] | str = ANY, times: int | None = 1) -> Fault:
        """Let the nth operation from now of these kinds fail with this errno; `times=None`: all from there on.

        A failing write writes half, a failing sync makes nothing durable, a failing close closes.
        """
        kinds = frozenset({operations}) if isinstance(operations, str) else operations
        self.faults.append(Fault(kinds, nth, error, times))
        return self.faults[-1]

    def _do(self, operation: str, path: str, effect: Callable[[], T], on_fault: Callable[[], None] | None = None) -> T:
        with self._lock:
            if self.crashed:
                raise SimulatedCrash(f"{operation} after the crash")
            crash = self.operations == self.crash_at
            self.operations += 1
            self.trace.append((operation, path))
            if crash and not self.crash_after:
                self._crash(operation, path)
            try:
                strikes = [fault for fault in self.faults if fault.strikes(operation)]
                if strikes:
                    if on_fault is not None:
                        on_fault()
                    _fail(strikes[0].error, path)
                result = effect()
            except OSError as error:
                if not crash:
                    translate(error, path or "A file", writing=operation in WRITING)
            except ObjectExists:
                if not crash:
                    raise
            if crash:
                self._crash(operation, path)
            if self.after_each is not None:
                self.after_each(self)
            return result

    def _crash(self, operation: str, path: str) -> NoReturn:
        self.crashed = True
        raise SimulatedCrash(f"{operation} {path}")

    # After a crash ---------------------------------------------------------------------------------------

    def process_crash(self) -> SimFS:
        """Return what the next process finds if only this one ended: the system goes on, pending is pending."""
        root = copy.deepcopy(self.root)
        return _file_system(root)

    def crash_states(self, rng: random.Random, limit: int = 4096) -> Iterator[SimFS]:
        """Yield what the next process may find after a power cut now.

        All combinations if there are at most `limit` (12 pending yes-or-no choices), else the two extremes and a
        sample, with random tears besides the fixed ones.
        """
        names, files = self._pending()
        values = [folder.pending[name] for folder, name in names]
        if math.prod(map(len, values)) * len(TORN_WAYS) ** len(files) <= limit:
            for nodes in itertools.product(*values):
                for tears in itertools.product(TORN_WAYS, repeat=len(files)):
                    yield self._after(names, nodes, files, tears)
            return
        oldest = [folder.pending[name][0] for folder, name in names]
        newest = [folder.entries.get(name) for folder, name in names]
        yield self._after(names, oldest, files, ["empty"] * len(files))
        yield self._after(names, newest, files, ["whole"] * len(files))
        for _ in range(limit - 2):
            ways = [rng.choice((*TORN_WAYS, rng.getrandbits(48))) for _ in files]
            yield self._after(names, [rng.choice(options) for options in values], files, ways)

    def _pending(self) -> tuple[Sequence[tuple[Folder, str]], Sequence[File]]:
        """Return the names and the files that a power cut may change, as far as something could lead to them."""
        names, files = [], []
        seen: set[int] = set()
        stack: list[Node] = [self.root]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, File):
                if node.uncertain:
                    files.append(node)
                continue
            names += [(node, name) for name, values in node.pending.items() if len(values) > 1]
            stack += node.entries.values()
            stack += [value for values in node.pending.values() for value in values if value is not None]
        return names, files

    def _after(
        self,
        names: Sequence[tuple[Folder, str]],
        values: Sequence[Node | None],
        files: Sequence[File],
        ways: Sequence[Tear],
    ) -> SimFS:
        kept: dict[int, dict[str, Node | None]] = {}
        for (folder, name), value in zip(names, values, strict=True):
            kept.setdefault(id(folder), {})[name] = value
        torn = {id(file): _torn(file, way) for file, way in zip(files, ways, strict=True)}

        def build(node: Node) -> Node:
            if isinstance(node, File):
                return File(bytearray(torn.get(id(node), node.content)))
            entries: dict[str, Node | None] = {**node.entries, **kept.get(id(node), {})}
            return Folder({n: build(v) for n, v in entries.items() if v is not None})

        root = build(self.root)
        assert isinstance(root, Folder)
        return _file_system(root)

    # The tree --------------------------------------------------------------------------------------------

    def make_durable_folders(self, path: str) -> None:
        """Make a folder and those above it, as if long ago."""
        folder = self.root
        for part in _parts(path):
            found = folder.entries.setdefault(part, Folder())
            assert isinstance(found, Folder)
            folder = found

    def tree(self) -> dict[str, bytes]:
        """Return all files that are visible now, by path."""
        found: dict[str, bytes] = {}
        stack: list[tuple[str, Node]] = [("", self.root)]
        while stack:
            path, node = stack.pop()
            if isinstance(node, File):
                found[path] = bytes(node.content)
            else:
                stack += [(f"{path}/{name}", below) for name, below in node.entries.items()]
        return found

    def _node(self, path: str) -> Node | None:
        node: Node | None = self.root
        for part in _parts(path):
            node = node.entries.get(part) if isinstance(node, Folder) else None
        return node

    def _folder(self, path: str) -> Folder:
        node = self._node(path)
        return node if isinstance(node, Folder) else _fail(errno.ENOENT, path)

    def _file(self, path: str) -> File:
        node = self._node(path)
        return node if isinstance(node, File) else _fail(errno.ENOENT, path)

    def _fitting(self, data: bytes) -> bytes:
        if self.capacity is None:
            return data
        return data[: max(0, self.capacity - sum(map(len, self.tree().values())))]

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        return self._folder(parent), name

    def _move(self, old: str, folder: Folder, name: str) -> None:
        """Two changes, of which a power cut may keep either: not every file system renames in one."""
        file = self._file(old)
        source, old_name = self._place(old)
        folder.set(name, file)
        source.set(old_name, None)


def _file_system(root: Folder) -> SimFS:
    fs = SimFS()
    fs.root = root
    return fs


def _torn(file: File, way: Tear) -> bytes:
    """Return what a power cut leaves of a file."""
    content = bytearray(file.content)
    if way == "whole":
        return bytes(content)
    end = len(content)
    for start, stop in reversed(file.uncertain):
        if way == "half":
            keep = start + (stop - start) // 2 // SECTOR * SECTOR
        elif way == "holes":
            keep = stop
            for block in range(start, stop, 2 * PAGE):
                last = min(block + PAGE, stop)
                content[block:last] = bytes(last - block)
        elif isinstance(way, int):
            keep = _tear(content, start, stop, random.Random(way))
        else:
            keep = stop if way == "zeros" else start
            content[start:stop] = bytes(stop - start)
        if stop >= end:
            end = keep  # A tail is cut off; what lies before something durable can only be zeros.
        else:
            content[keep:stop] = bytes(stop - keep)
    return bytes(content[:end])


def _tear(content: bytearray, start: int, stop: int, rng: random.Random) -> int:
    grain = rng.choice((SECTOR, PAGE))
    for block in range(start, stop, grain):
        if rng.random() < 0.5:
            last = min(block + grain, stop)
            content[block:last] = bytes(last - block)
    return rng.choice((stop, min(stop, start + rng.randrange(0, stop - start + 1) // grain * grain)))


def _length(node: Node) -> int:
    return len(node.content) if isinstance(node, File) else 0


def _parts(path: str) -> Sequence[str]:
    return [part for part in path.split("/") if part]


def _fail(error: int, path: str) -> NoReturn:
    raise OSError(error, os.strerror(error), path)
