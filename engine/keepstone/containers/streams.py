"""gzip and zlib streams: a header, one deflate stream, a checksum; gzip files may hold several in a row."""

from __future__ import annotations

from keepstone.containers.compressor import INFO_ZIP
from keepstone.containers.context import Context, assemble
from keepstone.containers.matching import RAW, match
from keepstone.containers.nodes import LITERAL_LIMIT, Node, Span
from keepstone.containers.source import Broken, Source

GZIP = b"\x1f\x8b\x08"
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""The headers of zlib's own levels with a full window."""

_HEADER_LIMIT = 64 * 1024
_TRAILER = 8


def unwrap_gzip(source: Source, context: Context, depth: int) -> Node | None:
    """Return the expression of a gzip file: each of its streams, and headers and checksums as they are.

    Raises:
        Broken: the first header is damaged.
    """
    parts: list[Node] = []
    at = 0
    context.entered("gzip")
    try:
        while at < source.size:
            start = at + _header_length(source.read_at(at, _HEADER_LIMIT))
            if not context.found(source.size - start):
                break
            node = match(source, start, source.size - start, RAW, context, depth, stranger=INFO_ZIP)
            parts.append(node)
            at = node.span.end + _TRAILER
    except Broken:
        if not parts:
            raise
    if parts and source.size - at > LITERAL_LIMIT:
        parts.append(Span(at, source.size - at))  # Padding is the same each day; the checksum before it is not.
    return assemble(source, parts, source.size) if parts and at <= source.size else None


def _header_length(head: bytes) -> int:
    if len(head) < 10 or not head.startswith(GZIP) or head[3] & 0xE0:
        raise Broken("a gzip header is damaged")
    at = 10
    if head[3] & 4:
        at += 2 + int.from_bytes(head[10:12], "little")
    for flag in (8, 16):
        if head[3] & flag:
            zero = head.find(b"\0", at)
            if zero < 0:
                raise Broken("a gzip header is too long")
            at = zero + 1
    if head[3] & 2:
        at += 2
    if at >= len(head):
        raise Broken("a gzip header is cut off")
    return at


def unwrap_zlib(source: Source, context: Context, depth: int) -> Node | None:
    """Return the expression of a zlib stream with whatever follows it.

    Raises:
        Broken: it is none, or none that a known encoder makes.
    """
    if not context.found(source.size):
        return None
    node = match(source, 0, source.size, 15, context, depth)
    context.entered("zlib")
    return assemble(source, [node], source.size)
