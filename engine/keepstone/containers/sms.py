"""SMS Backup & Restore: one XML file in which the parts of an MMS stand as base64 in an attribute.

The file is searched, not parsed: an attribute `data="..."` whose value is base64 in its only canonical form, at least
`SHORTEST` characters long, becomes a stream of its own, so that a photo sent by MMS is the photo that lies on the
disk. Everything else, entities, quirks and missing ends included, stays as it is.
"""

from __future__ import annotations

import re

from keepstone.containers import transforms
from keepstone.containers.context import Context, assemble
from keepstone.containers.nodes import Base64, Node, Span
from keepstone.containers.source import BLOCK, Broken, Source, pieces_of, regroup

SHORTEST = 256
_ROOT = re.compile(rb"<(smses|mms|sms|calls)[ >]")
_OPEN = re.compile(rb"""\sdata=(["'])""")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_WINDOW = 256 * 1024
_HEAD = 4096


def looks_like_sms(head: bytes) -> bool:
    """Return whether a file that begins like this is one."""
    start = head[3:] if head.startswith(b"\xef\xbb\xbf") else head
    return start.lstrip().startswith(b"<") and _ROOT.search(head[:_HEAD]) is not None


def unwrap_sms(source: Source, context: Context, depth: int) -> Node | None:
    """Return the expression of a backup; None if it holds no base64."""
    parts: list[Node] = []
    context.entered("sms")
    at = 0
    while (start := _next_value(source, at, context)) is not None:
        end = _value_end(source, start, context)
        at = end
        if end - start < SHORTEST:
            continue
        if not context.found(end - start):
            break
        try:
            node = Base64(Span(start, end - start), 0, 0, b"", Span(0, 0))
            plain = _proved_size(node, source, context)
        except Broken:
            continue
        context.proved(end - start)
        parts.append(context.descend(node, plain, source, depth))
    return assemble(source, parts, source.size)


def _next_value(source: Source, at: int, context: Context) -> int | None:
    """Return where the next value of a `data` attribute begins."""
    while window := source.read_at(at, _WINDOW):
        if found := _OPEN.search(window):
            context.spend(found.end())
            return at + found.end()
        if len(window) < _WINDOW:
            return None
        context.spend(len(window) - 8)
        at += len(window) - 8  # The attribute's name may be cut by the window's end.
    return None


def _value_end(source: Source, at: int, context: Context) -> int:
    """Return where base64 ends, its padding included."""
    while window := source.read_at(at, _WINDOW):
        context.spend(len(window) // 4)
        found = _NOT_BASE64.search(window)
        if found:
            at += found.start()
            tail = source.read_at(at, 2)
            return at + (2 if tail == b"==" else 1 if tail[:1] == b"=" else 0)
        at += len(window)
    return at


def _proved_size(node: Base64, source: Source, context: Context) -> int:
    """Return the size of what base64 stands for, if encoding that makes the same text.

    Raises:
        Broken: the text is not the one form that the encoder makes.
    """
    plain, at = 0, node.span.offset
    for text in regroup(pieces_of(source, node.span.offset, node.span.length), BLOCK):
        context.spend(len(text))
        data = b"".join(transforms.decode_base64(0, 0, b"", iter([text])))
        if b"".join(transforms.encode_base64(0, 0, b"", iter([data]))) != text:
            raise Broken("it is not canonical base64")
        at += len(text)
        plain += len(data)
    return plain
