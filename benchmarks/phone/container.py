"""The writer of WhatsApp's `crypt15`: a protobuf with the IV, AES-256-GCM over zlib, the tag, an MD5 of it all.

The key that a user sees as 64 digits is the root key; the file's key is derived from it. Everything streams, so a
database of any size takes a few buffers.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_PREFIX = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
"""How Java serializes an array of bytes, up to its length."""
PIECE = 1 << 18
_APP_VERSION = "2.25.1.75"
_FEATURES = {5: 1, 6: 0, 7: 1, 8: 1, 9: 0, 10: 0, 11: 0, 12: 0, 13: 1, 14: 1, 15: 0, 16: 1, 17: 0, 18: 0, 19: 1}


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    """Return one protobuf field: a number as varint, anything else with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def prefix(iv: bytes) -> bytes:
    """Return the head of a file: a length and the message that holds the IV."""
    info = field(1, _APP_VERSION) + field(3, "42") + field(4, 0)
    info += b"".join(field(number, value) for number, value in _FEATURES.items())
    message = field(1, 1) + field(3, field(1, iv)) + field(4, info)
    return varint(len(message)) + message


def key_file(root: bytes) -> bytes:
    """Return `encrypted_backup.key`."""
    return KEY_PREFIX + len(root).to_bytes(4, "big") + root


def file_key(root: bytes) -> bytes:
    """Derive the key of the file from the root key."""
    return HKDF(SHA256(), 32, bytes(32), b"backup encryption").derive(root)


def write(source: Path, target: Path, root: bytes, iv: bytes, level: int) -> None:
    """Write a file as `crypt15`. The IV must be fresh: two files under one key and IV reveal each other."""
    cipher, deflate = Cipher(AES(file_key(root)), GCM(iv)).encryptor(), zlib.compressobj(level)
    md5 = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as plain, target.open("wb") as file:

        def put(data: bytes) -> None:
            md5.update(data)
            file.write(data)

        put(prefix(iv))
        while piece := plain.read(PIECE):
            put(cipher.update(deflate.compress(piece)))
        put(cipher.update(deflate.flush()))
        cipher.finalize()
        put(cipher.tag)
        file.write(md5.digest())
