"""SMS Backup & Restore: one XML file in which the parts of an MMS stand as base64 in an attribute.

The file is searched, not parsed: an attribute `data="..."` whose value is base64 in its only canonical form, at least
`SHORTEST` characters long, becomes a stream of its own, so that a photo sent by MMS is the photo that lies on the
disk. Everything else, entities, quirks and missing ends included, stays as it is.
"""

from __future__ import annotations

import re
import string

from keepstone.containers import transforms
from keepstone.containers.context import Context, Counted, Plaintext, assemble
from keepstone.containers.nodes import Base64, Node, Span
from keepstone.containers.source import Broken, Source

SHORTEST = 256
_ROOT = re.compile(rb"<(smses|mms|sms|calls)[ >]")
_OPEN = re.compile(rb"""\sdata=(["'])""")
_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
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
        at, plain = _value(source, start, context)
        if at - start < SHORTEST:
            continue
        if not context.found(at - start):
            break
        if plain is None:
            continue
        context.proved(at - start)
        node = Base64(Span(start, at - start), 0, 0, b"", Span(0, plain.size))
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


def _value(source: Source, at: int, context: Context) -> tuple[int, Plaintext | None]:
    """Return where a run of base64 ends, and what it stands for if encoding that makes the same text.

    One pass forwards: what is read may have to be inflated for it.
    """
    canonical, plain, ended = True, Counted(), False
    while not ended and (window := source.read_at(at, _WINDOW)):
        others = window.translate(None, _BASE64)  # ten times faster than a regular expression
        ended = bool(others)
        text = window[: window.find(others[:1])] if ended else window
        if ended:
            # The padding ends it. It may lie beyond this window.
            padding = source.read_at(at + len(text), 2)
            text += b"==" if padding == b"==" else padding[:1] if padding[:1] == b"=" else b""
        at += len(text)
        context.spend(len(text))
        canonical = canonical and _is_canonical(text, plain)
    return at, plain.plaintext() if canonical else None


def _is_canonical(text: bytes, plain: Counted) -> bool:
    try:
        data = b"".join(plain.of(transforms.decode_base64(0, 0, b"", iter([text]))))
    except Broken:
        return False
    return b"".join(transforms.encode_base64(0, 0, b"", iter([data]))) == text
