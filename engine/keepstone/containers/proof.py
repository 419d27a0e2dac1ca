"""A proof that goes on in a thread of its own while what it is to prove is already made use of.

Encoding a large stream again takes longer than all else that is done with its plaintext, and needs no interpreter.
Nothing counts before the proof has ended well; if it does not, what was stored meanwhile was stored in vain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from keepstone.containers.source import Broken

LIKELY: int = 1024 * 1024
"""Bytes that are encoded as they were before anything is made use of."""

T = TypeVar("T")


class Proof(Generic[T]):
    """One proof under way.

    Args:
        run: proves; it tells `passed` how far it is.
    """

    def __init__(self, run: Callable[[Proof[T]], T]) -> None:
        self._run = run
        self._passed = 0
        self._likely = threading.Event()
        self._stopped = False
        self._expected: T | None = None
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="containers-proof", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._result.append(self._run(self))
        except BaseException as error:
            self._error = error
        self._likely.set()

    def passed(self, size: int) -> None:
        """Say that so many bytes more are as they were.

        Raises:
            Broken: nobody waits for it any more.
        """
        if self._stopped:
            raise Broken("the proof was given up")
        self._passed += size
        if self._passed >= LIKELY:
            self._likely.set()

    def likely(self) -> bool:
        """Wait until it is likely to end well; False if it has ended, however."""
        self._likely.wait()
        return self._thread.is_alive() and not self._result and self._error is None

    def expect(self, result: T) -> None:
        """Say what is made use of meanwhile."""
        self._expected = result

    def holds(self) -> bool:
        """Wait for its end and return whether it proves what was made use of.

        Raises:
            SourceError: what it reads cannot be read.
        """
        try:
            return self.result() == self._expected
        except Broken:
            return False

    def result(self) -> T:
        """Wait for its end and return what `run` returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def stop(self) -> None:
        """End it soon, whatever it would have said."""
        self._stopped = True
        self._thread.join()
