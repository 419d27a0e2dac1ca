"""Read an expression's leaves, and put them together again: both in one pass, front to back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keepstone.containers import transforms
from keepstone.containers.keys import Keys
from keepstone.containers.nodes import Concat, Literal, Node, Span
from keepstone.containers.source import PieceReader, Pieces, Source, Tape, ahead, pieces_of

AHEAD_FROM = 1024 * 1024
"""Leaves of this size are decoded in a thread of their own while what came before is stored."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A run of plaintext that is stored as if it were a file of its own."""

    length: int
    pieces: Pieces

    def reader(self) -> PieceReader:
        """Return the plaintext as a stream with `readinto`."""
        return PieceReader(self.pieces)


def leaves(node: Node, source: Source, keys: Keys) -> Iterator[Leaf]:
    """Yield the leaves of an expression, in order. Each must be used before the next is asked for.

    What is not read of a leaf is skipped.

    Raises:
        Broken: the source is no longer what was unwrapped. This is certain only for what authenticates itself.
        ContainerKeyMissing: the keys are no longer those it was unwrapped with.
    """
    tape = Tape(pieces_of(source, 0, source.size))
    yield from _leaves(node, tape, keys, inside=False)


def _leaves(node: Node, tape: Tape, keys: Keys, inside: bool) -> Iterator[Leaf]:
    if isinstance(node, Span):
        pieces = tape.take(node.length)
        if inside and node.length >= AHEAD_FROM:
            pieces = ahead(pieces)
        yield Leaf(node.length, pieces)
        _finish(pieces)
    elif isinstance(node, Literal):
        _finish(tape.take(len(node.data)))
    elif isinstance(node, Concat):
        for part in node.parts:
            yield from _leaves(part, tape, keys, inside)
    elif isinstance(node.inner, Span) and node.inner.kept:
        yield Leaf(node.inner.length, iter(node.inner.kept))
        _finish(tape.take(node.span.length))
    else:
        outer = tape.take(node.span.length)
        plain = Tape(transforms.decode(node, outer, keys))
        yield from _leaves(node.inner, plain, keys, inside=True)
        # Reading on to the end checks tags and checksums.
        _finish(plain.rest())
        _finish(outer)


def _finish(pieces: Pieces) -> None:
    for _ in pieces:
        pass


def rebuild(node: Node, contents: Iterator[Pieces], keys: Keys) -> Pieces:
    """Yield the bytes of an expression, given the contents of its leaves in their order.

    Raises:
        ContainerKeyMissing: a key that it needs is not at hand.
        Unsupported: an encoder that it needs is not known.
    """
    if isinstance(node, Span):
        yield from next(contents)
    elif isinstance(node, Literal):
        yield node.data
    elif isinstance(node, Concat):
        for part in node.parts:
            yield from rebuild(part, contents, keys)
    else:
        yield from transforms.encode(node, rebuild(node.inner, contents, keys), keys)
