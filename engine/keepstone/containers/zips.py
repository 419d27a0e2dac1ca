"""Zip: every member is a stream of its own; names, extra fields and directories stay as they are.

The directory at the end tells where members are; nothing else in it is believed. A member counts only if its local
header stands there, its data end where the directory says, and it overlaps no other. Bytes before the first header
(a program that unpacks itself) move all offsets by the same amount.
"""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from keepstone.containers.context import Context, assemble
from keepstone.containers.matching import RAW, match
from keepstone.containers.nodes import Node, length
from keepstone.containers.source import BLOCK, Broken, Source

MAGIC = b"PK\x03\x04"
EMPTY = b"PK\x05\x06"

_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041
"""Flags of a member that is encrypted, strongly encrypted, or whose header is masked."""
_COMMENT = 0xFFFF
_PARALLEL_FROM = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Member:
    header: int
    size: int
    method: int


def unwrap_zip(source: Source, context: Context, depth: int) -> Node | None:
    """Return a zip archive's expression, or None if it is none or nothing in it can be unwrapped.

    Raises:
        Broken: its directory is not what it should be.
    """
    begin, end, shift = _directory(source)
    members = sorted(_members(source, begin, end, shift, context), key=lambda member: member.header)
    context.entered("zip")
    last = 0
    apart: list[_Member] = []
    for member in members:
        if member.header >= last and member.header + _LOCAL.size + member.size <= begin:
            apart.append(member)
            last = member.header + _LOCAL.size + member.size
    many = depth == 0 and source.parallel and sum(member.size for member in apart) >= _PARALLEL_FROM
    if many and context.budget.threads > 1:
        with ThreadPoolExecutor(context.budget.threads) as pool:
            found = list(pool.map(lambda member: _unwrap_member(source, member, begin, context, depth), apart))
    else:
        found = [_unwrap_member(source, member, begin, context, depth) for member in apart]
    parts: list[Node] = []
    last = 0
    for part in found:
        if part is not None and part[0] >= last:
            parts.append(part[1])
            last = part[0] + length(part[1])
    return assemble(source, parts, source.size)


def _directory(source: Source) -> tuple[int, int, int]:
    """Return where the directory begins and ends, and by how much all offsets are off."""
    start = max(0, source.size - _END.size - _COMMENT)
    tail = source.read_at(start, source.size - start)
    at = tail.rfind(EMPTY, 0, max(0, len(tail) - _END.size + len(EMPTY)))
    if at < 0:
        raise Broken("a zip archive has no directory")
    _, disk, first, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = start + at
    if (disk or first) and disk != 0xFFFF and first != 0xFFFF:
        raise Broken("a zip archive in several parts")
    located = source.read_at(end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if len(located) == _LOCATOR.size and located.startswith(b"PK\x06\x07"):
        end, size, offset = _directory64(source, end - _LOCATOR.size, _LOCATOR.unpack(located)[2])
    if size > end or offset > end - size:
        raise Broken("a zip archive's directory is cut off")
    return end - size, end, end - size - offset


def _directory64(source: Source, locator: int, stated: int) -> tuple[int, int, int]:
    # What stands before the archive moves this record too: if it is not where it should be, it is the one that
    # ends where the locator begins.
    for at in (stated, locator - _END64.size):
        record = source.read_at(at, _END64.size) if 0 <= at <= locator - _END64.size else b""
        if len(record) == _END64.size and record.startswith(b"PK\x06\x06"):
            fields = _END64.unpack(record)
            return at, fields[8], fields[9]
    raise Broken("a zip archive's directory is cut off")


def _members(source: Source, begin: int, end: int, shift: int, context: Context) -> list[_Member]:
    """Return what the directory lists, up to the number of members that are allowed."""
    members: list[_Member] = []
    buffer, at, loaded = b"", 0, begin
    while len(members) < context.budget.members:
        if len(buffer) - at < BLOCK and loaded < end:
            # An entry is at most 46 bytes and three fields of 65535: one refill always covers the next one.
            step = source.read_at(loaded, min(4 * BLOCK, end - loaded))
            if not step:
                raise Broken("a zip archive's directory is cut off")
            buffer, at, loaded = buffer[at:] + step, 0, loaded + len(step)
            continue
        if len(buffer) - at < _ENTRY.size:
            break
        fields = _ENTRY.unpack_from(buffer, at)
        if fields[0] != b"PK\x01\x02":
            break
        flags, method, size, plain, offset = fields[3], fields[4], fields[8], fields[9], fields[16]
        names, extra, comment = fields[10:13]
        extras = buffer[at + _ENTRY.size + names : at + _ENTRY.size + names + extra]
        at += _ENTRY.size + names + extra + comment
        if 0xFFFFFFFF in (size, plain, offset):
            size, offset = _large(extras, size, plain, offset)
        if flags & _ENCRYPTED == 0 and size and plain and method in (_STORED, _DEFLATED):
            members.append(_Member(offset + shift, size, method))
    return members


def _large(extras: bytes, size: int, plain: int, offset: int) -> tuple[int, int]:
    """Return the size and the offset that the Zip64 field tells, where the entry has no room for them."""
    at = 0
    while at + 4 <= len(extras):
        tag, count = struct.unpack_from("<2H", extras, at)
        if tag == 1:
            values = iter(struct.unpack_from(f"<{count // 8}Q", extras[at + 4 : at + 4 + count // 8 * 8].ljust(count)))
            if plain == 0xFFFFFFFF:
                next(values, 0)
            size = next(values, size) if size == 0xFFFFFFFF else size
            offset = next(values, offset) if offset == 0xFFFFFFFF else offset
            break
        at += 4 + count
    return size, offset


def _unwrap_member(
    source: Source, member: _Member, limit: int, context: Context, depth: int
) -> tuple[int, Node] | None:
    """Return a member's data and where they begin; None leaves them as they are."""
    if not context.found(member.size):
        return None
    try:
        header = source.read_at(member.header, _LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(MAGIC):
            return None
        fields = _LOCAL.unpack(header)
        start = member.header + _LOCAL.size + fields[9] + fields[10]
        if fields[3] != member.method or start + member.size > limit:
            return None
        if member.method == _STORED:
            context.proved(member.size)
            return start, context.part(source, start, member.size, depth)
        node = match(source, start, member.size, RAW, context, depth)
        if node.span.length != member.size:
            return None
        return start, node
    except Broken:
        return None
