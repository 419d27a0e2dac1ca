"""Builders of Signal's frames: one account, as the plaintext export and as the encrypted backup write it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from keepstone.sources.signal_backup import MESSAGES

ACI = bytes(range(16))
MASTER = bytes([7]) * 32
PHOTO = b"jpg"
TIME_MS = 1_700_000_000_000
Frame = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


INFO: Frame = {"version": "1", "backupTimeMs": "1715636551000", "mediaRootBackupKey": b64(b"\xab" * 32)}
PEOPLE: list[Frame] = [
    {"account": {"username": "me.01", "givenName": "Me"}},
    {"recipient": {"id": "1", "self": {}}},
    {"recipient": {"id": "2", "contact": {"aci": b64(ACI), "e164": "491711234567", "profileGivenName": "Ann"}}},
    {"recipient": {"id": "3", "group": {"masterKey": b64(MASTER), "snapshot": {
        "title": {"title": "Trip"}, "members": [{"userId": b64(ACI)}]}}}},
    {"chat": {"id": "1", "recipientId": "2"}},
    {"chat": {"id": "2", "recipientId": "3", "archived": True}},
]  # fmt: skip
ADDRESS = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def item(number: int, *, mine: bool = False, chat: int = 1, **content: Any) -> Frame:
    """Return a message, sent so many milliseconds after `TIME_MS`."""
    way = {"outgoing": {"sendStatus": [{"recipientId": "2", "read": {}}]}} if mine else {"incoming": {"read": True}}
    author = "1" if mine else "2"
    return {"chatItem": {"chatId": str(chat), "authorId": author, "dateSent": str(TIME_MS + number), **way, **content}}


def said(text: str, **more: Any) -> Frame:
    return {"standardMessage": {"text": {"body": text} if text else {}, **more}}


def attached(data: bytes = PHOTO, name: str = "a.jpg", flag: str | None = None) -> Frame:
    located = {"size": len(data), "plaintextHash": b64(hashlib.sha256(data).digest()), "localKey": b64(b"k" * 64)}
    pointer = {"contentType": "image/jpeg", "fileName": name, "locatorInfo": located}
    return {"pointer": pointer, **({"flag": flag} if flag else {})}


def stored(data: bytes = PHOTO) -> str:
    """Return the name under which a file lies in an export."""
    name = hashlib.sha256(hashlib.sha256(data).digest() + b"k" * 64).hexdigest()
    return f"files/{name[:2]}/{name}.jpg"


def export(*frames: Frame, indent: bool = False) -> bytes:
    lines = [INFO, *PEOPLE, *frames]
    if indent:
        return json.dumps(lines, indent=2, ensure_ascii=False).encode()
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def backup(*frames: Frame) -> bytes:
    info = varint(1 << 3) + varint(1) + varint(2 << 3) + varint(1715636551000) + b"\x1a\x20" + b"\xab" * 32
    return b"".join(varint(len(data)) + data for data in (info, *(encoded(each) for each in [*PEOPLE, *frames])))


def encoded(value: Frame, message: str = "Frame") -> bytes:
    """Return a record as protobuf: the inverse of `signal_backup.decode`."""
    out = b""
    for number, field in MESSAGES[message].items():
        given = value.get(field.name)
        for each in given if field.repeated and given else [] if given is None else [given]:
            if field.kind in ("u", "v", "f"):
                out += varint(number << 3) + varint(int(each))
            elif field.kind == "e":
                out += varint(number << 3) + varint(field.names.index(each))
            else:
                data = each.encode() if field.kind == "s" else base64.b64decode(each) if field.kind == "b" else None
                data = encoded(each, field.kind) if data is None else data
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])
