"""Media files: real names, real magic, realistic sizes, and bytes that no program can compress.

The bytes of a file follow from the seed and a label, so a file that two programs hold (a photo on the card and in a
message, a photo forwarded) is made twice without being kept. AES in counter mode is the generator: it gives gigabytes
a second and the same bytes everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

PIECE = 3 << 18
"""Bytes made at a time; a multiple of 3, so pieces can be written in base64 one by one."""
_ZEROS = bytes(PIECE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of media as WhatsApp files it."""

    name: str
    message_type: int
    folder: str
    prefix: str
    suffix: str
    mime: str
    magic: bytes
    median: int
    spread: float
    """Sigma of the logarithm of the size."""
    largest: int

    def size(self, rng: random.Random) -> int:
        """Draw the size of a file."""
        return max(800, min(self.largest, int(self.median * rng.lognormvariate(0, self.spread))))


_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xdb\x00C\x00"
_MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42"
PHOTO = Kind("photo", 1, "WhatsApp Images", "IMG", ".jpg", "image/jpeg", _JPEG, 110_000, 0.7, 600_000)
VOICE = Kind(
    "voice", 2, "WhatsApp Voice Notes", "PTT", ".opus", "audio/ogg; codecs=opus", b"OggS\x00\x02", 22_000, 0.9, 900_000
)
VIDEO = Kind("video", 3, "WhatsApp Video", "VID", ".mp4", "video/mp4", _MP4, 1_300_000, 1.0, 16_000_000)
DOCUMENT = Kind(
    "document", 9, "WhatsApp Documents", "DOC", ".pdf", "application/pdf", b"%PDF-1.5\n%", 180_000, 1.2, 8_000_000
)
GIF = Kind("gif", 13, "WhatsApp Animated Gifs", "VID", ".mp4", "video/mp4", _MP4, 220_000, 0.6, 1_500_000)
STICKER = Kind(
    "sticker",
    20,
    "WhatsApp Stickers",
    "STK",
    ".webp",
    "image/webp",
    b"RIFF\x00\x00\x01\x00WEBPVP8X",
    24_000,
    0.6,
    90_000,
)
KINDS = (PHOTO, VOICE, STICKER, VIDEO, GIF, DOCUMENT)
SHARES = (46, 24, 20, 5, 2, 3)
"""How often each kind is sent, per cent, in the order of KINDS."""
CAMERA = Kind("camera", 1, "DCIM/Camera", "IMG", ".jpg", "image/jpeg", _JPEG, 2_300_000, 0.35, 6_000_000)
MMS_PHOTO = Kind("mms", 1, "DCIM/Camera", "IMG", ".jpg", "image/jpeg", _JPEG, 240_000, 0.5, 900_000)


def content(seed: int, label: object, kind: Kind, size: int) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    key = hashlib.blake2b(f"{seed}/media/{label}".encode(), digest_size=32).digest()
    stream = Cipher(AES(key[:16]), CTR(key[16:])).encryptor()
    head = kind.magic[:size]
    while size:
        length = min(size, PIECE)
        piece = stream.update(_ZEROS[:length])
        yield head + piece[len(head) :] if head else piece
        head = b""
        size -= length


def digest(pieces: Iterator[bytes]) -> str:
    """Return the SHA-256 in base64, as WhatsApp keeps it."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return base64.b64encode(found.digest()).decode()


def write(path: Path, pieces: Iterator[bytes], time: int) -> str:
    """Write a file with its modification time (ms) and return its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            found.update(piece)
            file.write(piece)
    stamp(path, time)
    return base64.b64encode(found.digest()).decode()


def stamp(path: Path, time: int) -> None:
    """Give a file a modification time (ms)."""
    os.utime(path, ns=(time * 1_000_000, time * 1_000_000))
