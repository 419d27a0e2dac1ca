"""The writer of Signal's backup folders, which follow its single files: each night a `main` of all messages.

`main` is gzip that is flushed after the header, the account, each contact, and then ever less often among the
messages; padded with zeros; encrypted with AES-256-CBC under a fresh IV; with an HMAC at the end. Its keys follow from
the account's recovery key and an id that `metadata` holds encrypted. Media lie in a store that all nights share, each
under a key of its own that the message tells. The messages and photos are those of `signal`.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import shutil
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

from . import media
from .calendar import parts
from .container import field, varint
from .media import PHOTO
from .people import People
from .signal import Message, messages

KEPT = 2
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def recovery_key(seed: int) -> str:
    """Return the account's key of 64 characters."""
    return "".join(random.Random(f"{seed}/recovery key").choices(_CHARACTERS, k=64))


def keys(recovery: str, backup_id: bytes) -> tuple[bytes, bytes]:
    """Derive the keys of cipher and MAC from the recovery key."""
    both = _hkdf(_backup_key(recovery), b"20241007_SIGNAL_BACKUP_ENCRYPT_MESSAGE_BACKUP:" + backup_id, 64)
    return both[32:], both[:32]


def _backup_key(recovery: str) -> bytes:
    return _hkdf(recovery.encode(), b"20240801_SIGNAL_BACKUP_KEY", 32)


def _hkdf(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, None, info).derive(key)


class _Sealed:
    """A file that is encrypted as it is written."""

    def __init__(self, file: BinaryIO, cipher_key: bytes, mac_key: bytes, iv: bytes) -> None:
        self._file, self._mac = file, hmac.new(mac_key, iv, "sha256")
        self._cipher, self._padder = Cipher(AES(cipher_key), CBC(iv)).encryptor(), PKCS7(128).padder()
        file.write(iv)

    def write(self, data: bytes) -> None:
        self._put(self._cipher.update(self._padder.update(data)))

    def finish(self) -> None:
        self._put(self._cipher.update(self._padder.finalize()))
        self._file.write(self._mac.digest())

    def _put(self, sealed: bytes) -> None:
        self._mac.update(sealed)
        self._file.write(sealed)


class _Main:
    """The frames of `main`, compressed in sections."""

    def __init__(self, out: _Sealed) -> None:
        self._out, self._deflate = out, zlib.compressobj(6, zlib.DEFLATED, -15)
        self._sum = self._read = self._written = self._section = 0
        self._region = -1
        self._put(b"\x1f\x8b\x08" + bytes(7))

    def frame(self, content: bytes, *, alone: bool = False) -> None:
        """Write a frame; one that is alone is a section of its own."""
        data = varint(len(content)) + content
        self._sum, self._read = zlib.crc32(data, self._sum), self._read + len(data)
        while data:
            room = self._limit() - self._section if self._region >= 0 else len(data)
            part, data = data[:room], data[room:]
            self._put(self._deflate.compress(part))
            self._section += len(part)
            if self._region >= 0:
                self._region += len(part)
                if self._section >= self._limit():
                    self._flush()
        if alone:
            self._flush()

    def begin_messages(self) -> None:
        self._flush()
        self._region = 0

    def finish(self) -> None:
        self._put(self._deflate.flush() + struct.pack("<2I", self._sum, self._read & 0xFFFFFFFF))
        self._out.write(bytes(max(65_536 - self._written, self._written // 40)))
        self._out.finish()

    def _limit(self) -> int:
        return max(8192, int(36.95 * self._region**0.5))

    def _flush(self) -> None:
        if self._section:
            self._put(self._deflate.flush(zlib.Z_FULL_FLUSH))
        self._section = 0

    def _put(self, data: bytes) -> None:
        self._written += len(data)
        self._out.write(data)


def backup(folder: Path, seed: int, people: People, first: int, today: int, now: int) -> None:
    """Write everything Signal knows at the end of a day, and delete the oldest night."""
    fresh, recovery = random.Random(f"{seed}/signal folder/fresh/{now}"), recovery_key(seed)
    when = parts(now)
    clock = f"{when.tm_hour:02}-{when.tm_min:02}-{when.tm_sec:02}"
    night = folder / f"signal-backup-{when.tm_year}-{when.tm_mon:02}-{when.tm_mday:02}-{clock}"
    night.mkdir(parents=True)
    backup_id, iv = random.Random(f"{seed}/backup id").randbytes(16), fresh.randbytes(12)
    key = _hkdf(_backup_key(recovery), b"20241011_SIGNAL_LOCAL_BACKUP_METADATA_KEY", 32)
    sealed_id = Cipher(AES(key), CTR(iv + bytes(4))).encryptor().update(backup_id)
    (night / "metadata").write_bytes(field(1, 1) + field(2, field(1, iv) + field(2, sealed_id)))
    names = []
    with (night / "main").open("wb") as file:
        out = _Main(_Sealed(file, *keys(recovery, backup_id), fresh.randbytes(16)))
        out.frame(field(1, 1) + field(2, now) + field(3, random.Random(f"{seed}/media root").randbytes(32)), alone=True)
        out.frame(field(1, field(1, random.Random(f"{seed}/profile").randbytes(32))), alone=True)
        for contact in people.contacts:
            who = field(3, int(contact.number)) + field(10, contact.name)
            out.frame(field(2, field(1, contact.row) + field(2, who)), alone=True)
        for contact in people.contacts:
            out.frame(field(3, field(1, contact.row) + field(2, contact.row)))
        out.begin_messages()
        for found in messages(seed, people, first, today):
            name = _store(folder / "files", seed, found) if found.photo else ""
            names += [name] if name else []
            out.frame(field(4, _chat_item(seed, found, today)))
        out.finish()
    (night / "files").write_bytes(b"".join(varint(66) + field(1, name) for name in fresh.sample(names, len(names))))
    for path in (night / "metadata", night / "main", night / "files"):
        media.stamp(path, now)
    for old in sorted(folder.glob("signal-backup-*"))[:-KEPT]:
        shutil.rmtree(old)


def _chat_item(seed: int, found: Message, today: int) -> bytes:
    """Return a message; one of the last days may not have been read."""
    read = field(1, found.time + 400) + field(3, int(found.time < today))
    photo = field(2, PHOTO.mime) + field(11, _local_key(seed, found)) if found.photo else b""
    text = field(2, field(1, found.body)) + (field(3, photo) if photo else b"")
    author = 1 if found.mine else found.contact.row
    return field(1, found.contact.row) + field(2, author) + field(3, found.time) + field(8, read) + field(11, text)


def _local_key(seed: int, found: Message) -> bytes:
    return random.Random(f"{seed}/local key/{found.label}").randbytes(64)


def _store(files: Path, seed: int, found: Message) -> str:
    """Put a photo in the store, if it is not there, and return its name."""
    key, hashed = _local_key(seed, found), hashlib.sha256()
    for piece in media.content(seed, found.label, PHOTO, found.photo):
        hashed.update(piece)
    name = hashlib.sha256(hashed.digest() + key).hexdigest()
    path = files / name[:2] / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            out = _Sealed(file, key[:32], key[32:], random.Random(f"{seed}/media iv/{name}").randbytes(16))
            for piece in media.content(seed, found.label, PHOTO, found.photo):
                out.write(piece)
            out.finish()
        media.stamp(path, found.time)
    return name
