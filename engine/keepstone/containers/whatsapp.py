"""WhatsApp for Android: crypt12, crypt14, crypt15, and the keys that open them.

A header, then AES-256-GCM with a 16-byte IV, then its tag, then an MD5 of all that (which backups in several files
leave out), and in crypt12 four bytes of the phone number. The header of crypt14 and crypt15 is a protobuf message after
its length. Inside is a zlib stream of a database, or a zip archive, bare or deflated, or something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from keepstone.containers.context import Context, assemble, reproduces
from keepstone.containers.keys import WhatsAppKey, hkdf
from keepstone.containers.nodes import AesGcm, Node, Span
from keepstone.containers.source import Broken, Source
from keepstone.containers.transforms import protobuf_fields, varint

TAG = 16
_MD5 = 16
_CRYPT12 = 67
_FOOTER = 4
_PREFIX_LIMIT = 64 * 1024
_IV = 16
_KEY_ATTEMPTS = 8

_SERIALIZED = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


def parse_key(data: bytes) -> tuple[WhatsAppKey, ...] | None:
    """Return the keys that a key file or 64 typed digits stand for; None if it is neither.

    `encrypted_backup.key` and the digits are a root key, of which the key of crypt15 is derived; the same digits may
    also be the plain key of an older file. `key` holds the key of crypt12 and crypt14.
    """
    body = data
    if data.startswith(_SERIALIZED) and len(data) >= len(_SERIALIZED) + 4:
        body = data[len(_SERIALIZED) + 4 :]
        if int.from_bytes(data[len(_SERIALIZED) : len(_SERIALIZED) + 4], "big") != len(body):
            return None
        if len(body) == 131:
            return (WhatsAppKey(body[99:], end_to_end=False, server_salt=body[3:35]),)
        return _of_root(body) if len(body) == 32 else None
    text = "".join(data.decode("ascii", "replace").split())
    return _of_root(bytes.fromhex(text)) if _HEX_KEY.fullmatch(text) else None


def _of_root(root: bytes) -> tuple[WhatsAppKey, ...]:
    derived = WhatsAppKey(hkdf(root, b"backup encryption", 32), end_to_end=True)
    return derived, WhatsAppKey(root, end_to_end=False)


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    length: int
    iv: bytes
    end_to_end: bool
    server_salt: bytes
    endings: tuple[int, ...]
    """How many bytes may follow the tag."""


def looks_like_whatsapp(head: bytes) -> bool:
    """Return whether a file that begins like this is an encrypted backup."""
    try:
        _header(head)
    except Broken:
        return False
    return True


def unwrap_whatsapp(source: Source, context: Context, depth: int) -> Node | None:
    """Return the expression of an encrypted backup.

    Raises:
        Broken: no key opens it.
    """
    header = _header(source.read_at(0, _PREFIX_LIMIT))
    context.entered(header.name)
    keys = _fitting(header, context)
    if not keys:
        raise Broken("there is no key for it")
    for key in keys[:_KEY_ATTEMPTS]:
        for ending in header.endings:
            span = Span(header.length, source.size - header.length - ending)
            if span.length <= TAG:
                continue
            node = AesGcm(span, key.ref, header.iv, b"", TAG, Span(0, 0))
            try:
                plain = reproduces(node, source, context)
            except Broken:
                continue
            return assemble(source, [context.descend(node, plain, source, depth)], source.size)
    raise Broken("no key opens it, or it is damaged")


def _fitting(header: _Header, context: Context) -> list[WhatsAppKey]:
    keys = [key for key in context.keys.whatsapp if key.end_to_end == header.end_to_end]
    return sorted(
        (key for key in keys if not key.server_salt or key.server_salt == header.server_salt),
        key=lambda key: not key.server_salt,
    )


def _header(head: bytes) -> _Header:
    if head.startswith(b"\0\1"):
        if len(head) < _CRYPT12 or head[2] not in (1, 2, 3):
            raise Broken("it is no crypt12 file")
        endings = (_MD5 + _FOOTER, _FOOTER)
        return _Header("crypt12", _CRYPT12, head[51:_CRYPT12], False, head[3:35], endings)
    size, at = varint(head[:10], 0)
    if not 0 < size <= len(head) - at or not head[at : at + 1] or head[at] not in b"\x08\x12\x1a":
        raise Broken("it is no crypt14 or crypt15 file")
    fields = dict(protobuf_fields(head[at : at + size]))
    cipher, envelope = fields.get(2), fields.get(3)
    if isinstance(cipher, bytes):
        inner = dict(protobuf_fields(cipher))
        salt, iv = inner.get(3), inner.get(5)
        name = "crypt14"
    elif isinstance(envelope, bytes):
        salt, iv = b"", dict(protobuf_fields(envelope)).get(1)
        name = "crypt15"
    else:
        raise Broken("it is no crypt14 or crypt15 file")
    if not isinstance(iv, bytes) or len(iv) != _IV or not isinstance(salt, bytes):
        raise Broken("it is no crypt14 or crypt15 file")
    return _Header(name, at + size, iv, name == "crypt15", salt, (_MD5, 0))
