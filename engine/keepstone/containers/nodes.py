"""The expression tree: how a container's bytes come from the plaintext inside it.

Each node stands for a run of some *stream*: the container itself, or the plaintext of the transform around it. `Span`
and `span` count in that stream. A transform opens a new stream, its plaintext, in which its `inner` counts from 0; the
parts of a `Concat` follow one another without gaps. So a tree is read in one pass, front to back, at any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

LITERAL_LIMIT = 256
"""Bytes between two transforms up to this length are kept in the expression; longer runs are leaves."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of the stream as it is. Its ends are where a chunker should cut."""

    offset: int
    length: int
    kept: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    """Its bytes, if they are in memory anyway and are all that is inside a transform."""

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Literal:
    """A few bytes of the stream, kept in the expression itself."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Concat:
    """Runs that follow one another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class DeflateSettings:
    """Everything that a deflate encoder's output depends on, besides its input."""

    encoder: int
    level: int
    wbits: int
    mem_level: int
    strategy: int


@dataclass(frozen=True, slots=True)
class Deflate:
    """The inner bytes, deflated: transform 16, or 20 if the encoder was flushed on the way."""

    span: Span
    settings: DeflateSettings
    inner: Node
    sections: tuple[int, ...] = ()
    """Lengths of the runs of inner bytes after each of which came a full flush."""


@dataclass(frozen=True, slots=True)
class AesGcm:
    """The inner bytes, encrypted with AES-GCM, then the tag: transform 17."""

    span: Span
    key_ref: bytes
    iv: bytes
    aad: bytes
    tag_length: int
    inner: Node


@dataclass(frozen=True, slots=True)
class Base64:
    """The inner bytes in base64: transform 18. A line length of 0 is one line without an end."""

    span: Span
    alphabet: int
    line_length: int
    line_end: bytes
    inner: Node


@dataclass(frozen=True, slots=True)
class SignalFrames:
    """The inner records, encrypted as a Signal Android backup does it: transform 19."""

    span: Span
    key_ref: bytes
    salt: bytes
    iv: bytes
    version: int
    inner: Node


@dataclass(frozen=True, slots=True)
class SignalArchive:
    """The inner bytes, encrypted as the main file of Signal's backup folder: transform 21."""

    span: Span
    key_ref: bytes
    backup_id: bytes
    iv: bytes
    inner: Node


Transform = Deflate | AesGcm | Base64 | SignalFrames | SignalArchive
Node = Span | Literal | Concat | Transform


def length(node: Node) -> int:
    """Return how many bytes of its stream a node stands for."""
    if isinstance(node, Span):
        return node.length
    if isinstance(node, Literal):
        return len(node.data)
    if isinstance(node, Concat):
        return sum(length(part) for part in node.parts)
    return node.span.length


def covers(node: Node, size: int) -> bool:
    """Return whether a node stands for a whole stream of this size, each byte of it once."""
    return _end(node, 0) == size


def _end(node: Node, at: int) -> int | None:
    """Return where a node that begins at an offset ends; None if it does not begin there, or has gaps."""
    if isinstance(node, Literal):
        return at + len(node.data)
    if isinstance(node, Span):
        return node.end if node.offset == at and node.length >= 0 else None
    if isinstance(node, Concat):
        end: int | None = at
        for part in node.parts:
            end = None if end is None else _end(part, end)
        return end
    inside = _end(node.inner, 0)
    return node.span.end if node.span.offset == at and node.span.length >= 0 and inside is not None else None


def spans(node: Node) -> Iterator[Span]:
    """Yield the leaves, in the order in which they are read."""
    if isinstance(node, Span):
        yield node
    elif isinstance(node, Concat):
        for part in node.parts:
            yield from spans(part)
    elif not isinstance(node, Literal):
        yield from spans(node.inner)


def with_inner(node: Transform, inner: Node) -> Transform:
    """Return the same transform around something else."""
    return replace(node, inner=inner)


def shifted(node: Node, offset: int) -> Node:
    """Return a node that was found in a part of a stream, as a node of the whole stream."""
    if isinstance(node, Literal):
        return node
    if isinstance(node, Span):
        return replace(node, offset=node.offset + offset)
    if isinstance(node, Concat):
        return Concat(tuple(shifted(part, offset) for part in node.parts))
    return replace(node, span=Span(node.span.offset + offset, node.span.length))
