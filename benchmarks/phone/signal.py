"""The writer of Signal's Android backup, version 1: SQL statements and attachments, each in a frame of its own.

Every frame is AES-256-CTR under a counter that grows by one, and ends in ten bytes of an HMAC; the length of a frame
is enciphered with it. Salt and IV are fresh in every file, so nothing of a file stands in the next one. The messages
follow from the seed and the day, like those of SMS.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import media
from .calendar import DAY
from .container import field, varint
from .media import PHOTO
from .people import Contact, People

ROUNDS = 250_000
MAC = 10
_TABLES = (
    "CREATE TABLE thread (_id INTEGER PRIMARY KEY, date INTEGER, recipient_id INTEGER, snippet TEXT)",
    "CREATE TABLE recipient (_id INTEGER PRIMARY KEY, e164 TEXT, profile_joined_name TEXT)",
    "CREATE TABLE message (_id INTEGER PRIMARY KEY, date_sent INTEGER, date_received INTEGER, thread_id INTEGER,"
    " from_recipient_id INTEGER, type INTEGER, body TEXT, read INTEGER)",
    "CREATE TABLE attachment (_id INTEGER PRIMARY KEY, message_id INTEGER, content_type TEXT, data_size INTEGER,"
    " data_hash_end TEXT)",
    "CREATE INDEX message_thread ON message (thread_id, date_received)",
)


def keys(passphrase: str, salt: bytes) -> tuple[bytes, bytes]:
    """Derive the keys of cipher and MAC from the 30 digits."""
    digits = passphrase.encode()
    found = digits
    state = hashlib.sha512(salt)
    for _ in range(ROUNDS):
        state.update(found + digits)
        found = state.digest()
        state = hashlib.sha512()
    both = HKDF(SHA256(), 64, None, b"Backup Export").derive(found[:32])
    return both[:32], both[32:]


class Writer:
    """Writes frames to a file."""

    def __init__(self, file: BinaryIO, passphrase: str, salt: bytes, iv: bytes) -> None:
        self.file = file
        self.cipher_key, self.mac_key = keys(passphrase, salt)
        self.counter, self.rest = int.from_bytes(iv[:4], "big"), iv[4:]
        header = field(1, field(1, iv) + field(2, salt) + field(3, 1))
        file.write(len(header).to_bytes(4, "big") + header)

    def _iv(self) -> bytes:
        iv = self.counter.to_bytes(4, "big") + self.rest
        self.counter = (self.counter + 1) & 0xFFFFFFFF
        return iv

    def frame(self, content: bytes) -> None:
        """Write one frame; its length counts the MAC."""
        plain = (len(content) + MAC).to_bytes(4, "big") + content
        sealed = Cipher(AES(self.cipher_key), CTR(self._iv())).encryptor().update(plain)
        self.file.write(sealed + hmac.digest(self.mac_key, sealed, "sha256")[:MAC])

    def stream(self, pieces: Iterator[bytes]) -> None:
        """Write the bytes that belong to the frame before."""
        iv = self._iv()
        cipher = Cipher(AES(self.cipher_key), CTR(iv)).encryptor()
        mac = hmac.new(self.mac_key, iv, "sha256")
        for piece in pieces:
            sealed = cipher.update(piece)
            mac.update(sealed)
            self.file.write(sealed)
        self.file.write(mac.digest()[:MAC])

    def sql(self, statement: str, *values: object) -> None:
        self.frame(field(2, field(1, statement) + b"".join(field(2, _parameter(value)) for value in values)))

    def insert(self, table: str, *values: object) -> None:
        self.sql(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", *values)


def _parameter(value: object) -> bytes:
    if value is None:
        return field(5, 1)
    if isinstance(value, int):
        return field(2, value)
    if isinstance(value, float):
        return varint(3 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, bytes):
        return field(4, value)
    return field(1, str(value))


def backup(path: Path, seed: int, people: People, first: int, today: int, now: int, passphrase: str) -> None:
    """Write everything Signal knows at the end of a day."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = random.Random(f"{seed}/signal/fresh/{now}")
    with path.open("wb") as file:
        out = Writer(file, passphrase, fresh.randbytes(32), fresh.randbytes(16))
        out.frame(field(5, field(1, 200)))
        for statement in _TABLES:
            out.sql(statement)
        for contact in people.contacts:
            out.insert("recipient", contact.row, f"+{contact.number}", contact.name)
            out.insert("thread", contact.row, now, contact.row, None)
        _messages(out, seed, people, first, today)
        for name, value in (("pref_theme", "system"), ("pref_language", "zz"), ("pref_backup_passphrase", "saved")):
            out.frame(field(3, field(1, "signal_preferences") + field(2, name) + field(3, value)))
        out.frame(field(9, field(1, "backup.last_time") + field(6, now)))
        out.frame(field(6, 1))
    media.stamp(path, now)


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the size of its photo is 0 if it has none."""

    time: int
    contact: Contact
    mine: bool
    body: str
    photo: int

    @property
    def label(self) -> str:
        """What the bytes of the photo follow from."""
        return f"signal/{self.time}"


def messages(seed: int, people: People, first: int, today: int) -> Iterator[Message]:
    """Yield all messages up to the end of a day, oldest first."""
    for start in range(first, today + 1, DAY):
        rng = random.Random(f"{seed}/signal/{start}")
        for time in sorted(start + rng.randrange(DAY) for _ in range(rng.randint(5, 60))):
            contact = people.chat(rng).members[0]
            mine = rng.random() < 0.5
            body = contact.language.sentence(rng)
            yield Message(time, contact, mine, body, PHOTO.size(rng) if rng.random() < 0.03 else 0)


def _messages(out: Writer, seed: int, people: People, first: int, today: int) -> None:
    attachments = 0
    for number, found in enumerate(messages(seed, people, first, today), 1):
        row, kind = found.contact.row, 10485783 if found.mine else 10485780
        sender = 1 if found.mine else row
        out.insert("message", number, found.time, found.time + 400, row, sender, kind, found.body, 1)
        if found.photo:
            attachments += 1
            hashed = media.digest(media.content(seed, found.label, PHOTO, found.photo))
            out.insert("attachment", attachments, number, PHOTO.mime, found.photo, hashed)
            out.frame(field(4, field(1, attachments) + field(2, attachments) + field(3, found.photo)))
            out.stream(media.content(seed, found.label, PHOTO, found.photo))
