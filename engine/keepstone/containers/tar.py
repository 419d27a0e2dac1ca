"""tar: members are runs of their own, so a file is cut in an archive where it is cut on disk."""

from __future__ import annotations

from keepstone.containers.context import Context, assemble
from keepstone.containers.nodes import Node
from keepstone.containers.source import Source

MAGIC, MAGIC_AT = b"ustar", 257
HEADER = 512
SMALLEST = 4096
"""Smaller members are not worth a cut."""


def unwrap_tar(source: Source, context: Context, depth: int) -> Node | None:
    """Return a tar archive's expression, up to the first header that is damaged."""
    parts: list[Node] = []
    at = 0
    context.entered("tar")
    while (header := source.read_at(at, HEADER)) and (size := _member_size(header)) is not None:
        start = at + HEADER
        if start + size > source.size:
            break
        # Links and folders may state a size that no data follow; the next header then proves it.
        regular = header[156:157] in b"0\0 7"
        if regular and size >= SMALLEST:
            if not context.found(size):
                break
            context.proved(size)
            parts.append(context.part(source, start, size, depth))
        at = start + (-(-size // HEADER) * HEADER if regular or header[156:157] in b"xgLKSV" else 0)
    return assemble(source, parts, source.size)


def _member_size(header: bytes) -> int | None:
    """Return the size a header states; None if it is no header."""
    if len(header) < HEADER or not any(header[:100]):
        return None
    total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    if _octal(header[148:156]) != total:
        return None
    field = header[124:136]
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big") if not field[0] & 0x7F and not any(field[1:5]) else None
    return _octal(field)


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None
