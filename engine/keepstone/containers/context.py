"""What one unwrapping has to share: keys, limits, what was found so far.

Hostile containers are bounded three ways: by the plaintext that may be decoded, in proportion to the file; by the
number of members; and by the time, because an encoder can be made a thousand times slower than it is on honest
content. When a bound is reached, what was proven until then is used and the rest stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from keepstone.clock import SYSTEM, Clock
from keepstone.containers import transforms
from keepstone.containers.keys import Keys
from keepstone.containers.nodes import (
    LITERAL_LIMIT,
    Concat,
    DeflateSettings,
    Literal,
    Node,
    Span,
    Transform,
    length,
    shifted,
    with_inner,
)
from keepstone.containers.source import (
    BLOCK,
    Broken,
    MemorySource,
    PartSource,
    Pieces,
    Source,
    StreamSource,
    pieces_of,
)


@dataclass(slots=True)
class Patience:
    """How much plaintext the encoders in plain Python may still go through, where no compiled ones are: they are slow.

    One for a whole backup; each container has a part of it.
    """

    left: int = 256 * 1024
    each: int = 16 * 1024
    highest: int = 6
    """The highest level that is tried; hostile content makes those above another thirty times slower."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one unwrapping."""

    depth: int = 4
    """Transforms and archives inside one another."""
    members: int = 65_536
    expansion: int = 256
    """Bytes decoded for each byte of the file, at most, all passes counted."""
    allowance: int = 2 * 1024 * 1024
    """Bytes that may be decoded whatever the size."""
    smallest: int = 64
    """Members with fewer bytes than this are not worth an expression."""
    failures: int = 12
    """After so many members in a row that no encoder made, only the likeliest are tried."""
    seconds: float = 1.0
    """Time that may pass whatever the size, and after it a second for each `pace` bytes decoded."""
    pace: int = 1_000_000
    in_memory: int = 4 * 1024 * 1024
    """Plaintext up to this size that is a container itself is decoded once."""
    kept: int = 48 * 1024 * 1024
    """So much plaintext stays in memory from its proof until it is stored; what exceeds it is decoded again."""
    threads: int = 2


@dataclass(slots=True)
class Report:
    """What an unwrapping found."""

    members: int = 0
    """Streams that could hide their content, at any depth."""
    reproduced: int = 0
    small: int = 0
    """Members that were left as they are because they are tiny."""
    member_bytes: int = 0
    reproduced_bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    settings: dict[DeflateSettings, int] = field(default_factory=dict)
    reason: str = ""
    """Why nothing, or not everything, was unwrapped."""


HEAD = 4096
"""Bytes that are enough to recognise every format."""


@dataclass(frozen=True, slots=True)
class Plaintext:
    """What is known of a transform's plaintext once it is proven."""

    size: int
    head: bytes
    kept: tuple[bytes, ...] = ()
    """All of it, if there was room."""


Result = TypeVar("Result")
Examine = Callable[[Source, "Context", int], Node | None]
Recognise = Callable[[bytes], bool]


class Context:
    """One unwrapping. Threads share it."""

    def __init__(
        self,
        size: int,
        keys: Keys,
        budget: Budget,
        examine: Examine,
        recognise: Recognise,
        clock: Clock = SYSTEM,
        patience: Patience | None = None,
    ) -> None:
        self.keys, self.budget, self.report = keys, budget, Report()
        self.recent: tuple[DeflateSettings, ...] = ()
        self.failed_in_a_row = 0
        self._examine, self._recognise, self._clock = examine, recognise, clock
        self.patience = patience or Patience()
        self._patient = min(self.patience.each, self.patience.left)
        self._left = budget.allowance + budget.expansion * size
        self._began = clock.monotonic()
        self._done = 0
        self._room = budget.kept
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Account for bytes that were decoded or encoded.

        Raises:
            Broken: that was more, or took longer, than a file of this size may.
        """
        with self._lock:
            self._left -= count
            self._done += count
            if self._left < 0:
                self.report.reason = "it expands to more than is allowed"
            elif self._clock.monotonic() - self._began > self.budget.seconds + self._done / self.budget.pace:
                self._left = -1
                self.report.reason = "it takes too long"
            else:
                return
        raise Broken(self.report.reason)

    def untimed(self, work: Callable[[], Result]) -> Result:
        """Do what takes its time whatever the container: deriving a key is slow on purpose."""
        began = self._clock.monotonic()
        try:
            return work()
        finally:
            with self._lock:
                self._began += self._clock.monotonic() - began

    def take_room(self, count: int) -> bool:
        """Return whether so many bytes may be kept; a negative count gives room back."""
        with self._lock:
            if count > self._room:
                return False
            self._room -= count
            return True

    def metered(self, pieces: Pieces) -> Pieces:
        """Yield the same pieces, each accounted for."""
        for piece in pieces:
            self.spend(len(piece))
            yield piece

    def patient(self, pieces: Pieces) -> Pieces:
        """Yield the same pieces, for an encoder in plain Python, as long as there is patience with it.

        Raises:
            Broken: there is none left.
        """
        for piece in pieces:
            with self._lock:
                self._patient -= len(piece)
                if self._patient < 0:
                    self.report.reason = "it takes too long without the compiled encoders"
                    raise Broken(self.report.reason)
                self.patience.left -= len(piece)
            yield piece

    def entered(self, name: str) -> None:
        """Count a container of one format."""
        with self._lock:
            self.report.formats[name] = self.report.formats.get(name, 0) + 1

    def found(self, size: int) -> bool:
        """Count a member; return whether it is to be unwrapped."""
        with self._lock:
            if self.report.members >= self.budget.members:
                self.report.reason = "it has too many members"
                return False
            self.report.members += 1
            self.report.member_bytes += size
            if size < self.budget.smallest:
                self.report.small += 1
                return False
            return True

    def proved(self, size: int, settings: DeflateSettings | None = None) -> None:
        """Count a member that is reproduced, and remember what made it."""
        with self._lock:
            self.report.reproduced += 1
            self.report.reproduced_bytes += size
            if settings is not None:
                self.failed_in_a_row = 0
                self.report.settings[settings] = self.report.settings.get(settings, 0) + 1
                if self.recent[:1] != (settings,):
                    self.recent = (settings, *(other for other in self.recent if other != settings))[:4]

    def failed(self) -> None:
        """Count a deflate stream that no known encoder made."""
        with self._lock:
            self.failed_in_a_row += 1

    def open(self, node: Transform, source: Source) -> Pieces:
        """Yield the plaintext of a transform, accounted for."""
        outer = pieces_of(source, node.span.offset, node.span.length)
        return self.metered(transforms.decode(node, outer, self.keys))

    def descend(self, node: Transform, plain: Plaintext, source: Source, depth: int) -> Transform:
        """Return a proven transform around its plaintext, which may be a container too."""
        inner: Node = (leaf := Span(0, plain.size, plain.kept))

        def reopen() -> Pieces:
            return self.metered(iter(plain.kept)) if plain.kept else self.open(node, source)

        if depth < self.budget.depth and plain.size >= self.budget.smallest and self._recognise(plain.head):
            try:
                if plain.size <= self.budget.in_memory:
                    inside: Source = MemorySource(b"".join(reopen()))
                else:
                    inside = StreamSource(plain.size, reopen)
                inner = self._examine(inside, self, depth + 1) or inner
            except Broken:
                pass
            if plain.kept and inner is not leaf:
                self.take_room(-plain.size)
        return with_inner(node, inner)

    def part(self, source: Source, offset: int, size: int, depth: int) -> Node:
        """Return what is known about a run of a stream that is itself a file."""
        if depth < self.budget.depth:
            try:
                found = self._examine(PartSource(source, offset, size), self, depth + 1)
            except Broken:
                found = None
            if found is not None:
                return shifted(found, offset)
        return Span(offset, size)


class Counted:
    """Pieces that pass by: their size, their first bytes, and as long as there is room for them, all of them."""

    def __init__(self, context: Context | None = None) -> None:
        self.size = 0
        self.head = b""
        self._context = context
        self._kept: list[bytes] = []

    def of(self, pieces: Pieces) -> Pieces:
        """Yield the same pieces."""
        for piece in pieces:
            self.size += len(piece)
            if len(self.head) < HEAD:
                self.head += piece[: HEAD - len(self.head)]
            if self._context is not None:
                if self._context.take_room(len(piece)):
                    self._kept.append(piece)
                else:
                    self.drop()
            yield piece

    def drop(self) -> None:
        """Keep nothing, from now on."""
        if self._context is not None:
            self._context.take_room(-sum(map(len, self._kept)))
        self._kept.clear()
        self._context = None

    def plaintext(self) -> Plaintext:
        return Plaintext(self.size, self.head, tuple(self._kept))


def reproduces(node: Transform, source: Source, context: Context) -> Plaintext:
    """Decode, encode again, compare with every original byte.

    Raises:
        Broken: it is not the same.
    """
    plain = Counted()
    at = node.span.offset
    for out in transforms.encode(node, plain.of(context.open(node, source)), context.keys):
        for start in range(0, len(out), BLOCK):
            part = out[start : start + BLOCK]
            if at + len(part) > node.span.end or source.read_at(at, len(part)) != part:
                raise Broken("it was not made like this")
            at += len(part)
    if at != node.span.end:
        raise Broken("it was not made like this")
    return plain.plaintext()


def assemble(source: Source, parts: list[Node], size: int) -> Node | None:
    """Return a stream of which some runs are known, in their order; None if nothing is but the stream itself.

    What lies between stays as it is: a few bytes in the expression, more as a leaf.
    """
    done: list[Node] = []
    at = 0
    for part in parts:
        begin = offset_of(part)
        _fill(source, done, at, begin)
        done.append(part)
        at = begin + length(part)
    _fill(source, done, at, size)
    if not parts or (len(done) == 1 and isinstance(done[0], Span)):
        return None
    return done[0] if len(done) == 1 else Concat(tuple(done))


def offset_of(node: Node) -> int:
    """Return where a node begins in its stream. A literal does not know it."""
    if isinstance(node, Span):
        return node.offset
    if isinstance(node, Concat):
        before = 0
        for part in node.parts:
            if not isinstance(part, Literal):
                return offset_of(part) - before
            before += len(part.data)
        raise AssertionError("a stream of nothing but literals is never built")
    assert not isinstance(node, Literal)
    return node.span.offset


def _fill(source: Source, done: list[Node], at: int, end: int) -> None:
    if end - at > LITERAL_LIMIT:
        done.append(Span(at, end - at))
    elif end > at:
        data = source.read_at(at, end - at)
        if len(data) != end - at:
            raise Broken("the file ends too soon")
        done.append(Literal(data))
