"""A store around another one that counts, stops, fails and lies as it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from faults import SimulatedCrash
from keepstone.errors import KeepstoneError, ObjectNotFound
from keepstone.ids import Buffer
from keepstone.store import Store

ALL = frozenset({"put", "get", "size", "list", "delete", "clean"})
CHANGING = frozenset({"put", "delete"})

Lie = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Operation:
    """One call: `size` is the bytes put or read, the size told, or the objects listed; 0 if it failed."""

    kind: str
    name: str
    size: int


@dataclass
class Plan:
    """At the `nth` operation (from 0) of these kinds below a prefix: fail with `error`, or crash if that is None.

    With `after`, the operation takes effect first; a listing is then cut off halfway.
    """

    nth: int
    error: KeepstoneError | None
    after: bool
    operations: frozenset[str]
    prefix: str
    times: int | None
    seen: int = 0

    def strikes(self, kind: str, name: str) -> bool:
        if kind not in self.operations or not name.startswith(self.prefix):
            return False
        self.seen += 1
        return self.nth < self.seen and (self.times is None or self.seen <= self.nth + self.times)


class FaultStore:
    """Implements `keepstone.store.Store`. After a crash every operation raises `SimulatedCrash`; `inner` lives on."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.location = inner.location
        self.crashed = False
        self.trace: list[Operation] = []
        self.bytes_read: Counter[str] = Counter()
        self.ranges: list[tuple[str, int, int]] = []
        """(name, offset, bytes that came) of every read."""
        self.lies: dict[str, Lie] = {}
        self.hidden: set[str] = set()
        self.observer: Callable[[Operation], None] | None = None
        """Called after every operation that took effect, on the thread that did it."""
        self.plans: list[Plan] = []
        self._lock = threading.RLock()
        self._started = 0

    @property
    def operations(self) -> int:
        """How many operations were begun."""
        return self._started

    # What goes wrong -------------------------------------------------------------------------------------

    def crash_at(
        self, nth: int, *, after: bool = False, operations: frozenset[str] | str = ALL, prefix: str = ""
    ) -> None:
        """Stop the process at the nth operation from now of these kinds, before or after its effect."""
        self.plans.append(Plan(nth, None, after, _kinds(operations), prefix, 1))

    def fail_at(
        self,
        nth: int,
        error: KeepstoneError,
        *,
        after: bool = False,
        operations: frozenset[str] | str = ALL,
        prefix: str = "",
        times: int | None = 1,
    ) -> None:
        """Let the nth operation from now of these kinds fail; `times=None`: all from there on."""
        self.plans.append(Plan(nth, error, after, _kinds(operations), prefix, times))

    def flip(self, name: str, bit: int) -> None:
        """Serve an object with one bit flipped."""

        def lie(data: bytes) -> bytes:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            return bytes(changed)

        self.lies[name] = lie

    def truncate(self, name: str, length: int) -> None:
        """Serve only the start of an object, and tell that size."""
        self.lies[name] = lambda data: data[:length]

    def stale(self, name: str, old: bytes) -> None:
        """Serve other bytes than were stored under this name."""
        self.lies[name] = lambda data: old

    def hide(self, *names: str) -> None:
        """Deny that these objects exist, in listings too."""
        self.hidden.update(names)

    # Store -----------------------------------------------------------------------------------------------

    def put(self, name: str, pieces: Sequence[Buffer]) -> int:
        plans = self._begin("put", name)
        size = self.inner.put(name, pieces)
        self._end(plans, Operation("put", name, size))
        return size

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        plans = self._begin("get", name)
        self._check_visible(name)
        if name in self.lies:
            data = self.lies[name](self.inner.get(name))
            data = data[offset:] if length is None else data[offset : offset + length]
        else:
            data = self.inner.get(name, offset, length)
        with self._lock:
            self.bytes_read[name] += len(data)
            self.ranges.append((name, offset, len(data)))
        self._end(plans, Operation("get", name, len(data)))
        return data

    def size(self, name: str) -> int:
        plans = self._begin("size", name)
        self._check_visible(name)
        size = self._told(name, self.inner.size(name))
        self._end(plans, Operation("size", name, size))
        return size

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        plans = self._begin("list", prefix)
        found = [(n, self._told(n, size)) for n, size in self.inner.list(prefix) if n not in self.hidden]
        yield from found[: len(found) // 2]
        self._end(plans, Operation("list", prefix, len(found)))
        yield from found[len(found) // 2 :]

    def delete(self, name: str) -> None:
        plans = self._begin("delete", name)
        self._check_visible(name)
        self.inner.delete(name)
        self._end(plans, Operation("delete", name, 0))

    def clean_temporary(self) -> int:
        plans = self._begin("clean", "")
        removed = self.inner.clean_temporary()
        self._end(plans, Operation("clean", "", removed))
        return removed

    def _begin(self, kind: str, name: str) -> Sequence[Plan]:
        """Count, strike before the effect, and return the plans that strike after it."""
        with self._lock:
            if self.crashed:
                raise SimulatedCrash(f"{kind} {name} after the crash")
            self._started += 1
            plans = [plan for plan in self.plans if plan.strikes(kind, name)]
            before = [plan for plan in plans if not plan.after]
            if before:
                self.trace.append(Operation(kind, name, 0))
                self._strike(before[0], kind, name)
            return plans

    def _end(self, plans: Sequence[Plan], operation: Operation) -> None:
        with self._lock:
            if self.crashed:
                raise SimulatedCrash(f"{operation.kind} {operation.name}: another thread crashed")
            self.trace.append(operation)
        if self.observer is not None:
            self.observer(operation)
        if plans:
            with self._lock:
                self._strike(plans[0], operation.kind, operation.name)

    def _strike(self, plan: Plan, kind: str, name: str) -> None:
        if plan.error is not None:
            raise plan.error
        self.crashed = True
        raise SimulatedCrash(f"{kind} {name}")

    def _check_visible(self, name: str) -> None:
        if name in self.hidden:
            raise ObjectNotFound(f"{name} does not exist.")

    def _told(self, name: str, size: int) -> int:
        return len(self.lies[name](self.inner.get(name))) if name in self.lies else size


def _kinds(operations: frozenset[str] | str) -> frozenset[str]:
    kinds = frozenset({operations}) if isinstance(operations, str) else operations
    assert kinds <= ALL, f"{kinds - ALL} are no operations of a store"
    return kinds
