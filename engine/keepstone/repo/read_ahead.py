"""What will be read next, opened before it is asked for, by one thread: deciphering and hashing need no interpreter.

It is a guess and changes nothing but when work is done: what was not opened ahead is opened by who asks for it, what
was and is not asked for is dropped, and an error is raised when the thing is asked for, or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, NamedTuple, TypeVar

MOST_BYTES: Final = 12 * 1024 * 1024
"""What is opened and not yet asked for takes at most this, and one thing more."""
FEWEST: Final = 3
"""For fewer things no thread is woken."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Planned(NamedTuple, Generic[K, V]):
    """A thing that will be asked for: what it is asked for by, its bytes, and what opens it."""

    key: K
    size: int
    open_it: Callable[[], V]


class ReadAhead(Generic[K, V]):
    """Opens things in the order of a plan. Who uses it takes care that its methods run one at a time."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._order: deque[Planned[K, V]] = deque()
        self._coming: dict[K, tuple[Future[V], int]] = {}
        self._bytes = 0
        self._passed: set[K] = set()
        """What was asked for before it was its turn."""

    def plan(self, things: Iterable[Planned[K, V]]) -> None:
        """Learn what is read next, instead of what was learned before."""
        for future, _ in self._coming.values():
            future.cancel()
        self._coming.clear()
        self._passed.clear()
        self._bytes = 0
        self._order = deque(things)
        if len(self._order) < FEWEST:
            self._order.clear()
        self._fill()

    def take(self, key: K) -> Future[V] | None:
        """Return the thing that was planned, or its error, as it will be; None if it is not begun."""
        found = self._coming.pop(key, None)
        if found is None:
            if self._order:
                self._passed.add(key)
            return None
        future, size = found
        self._bytes -= size
        self._fill()
        return future

    def close(self) -> None:
        """Forget the plan, and end the thread."""
        self.plan(())
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _fill(self) -> None:
        while self._order and self._bytes < MOST_BYTES:
            thing = self._order.popleft()
            if thing.key in self._passed:
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, "keepstone-ahead")
            self._coming[thing.key] = self._pool.submit(thing.open_it), thing.size
            self._bytes += thing.size
