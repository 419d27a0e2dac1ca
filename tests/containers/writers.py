"""Writers of every container, of any size, from a seed: what the applications write, byte for byte."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import random
import string
import struct
import tarfile
import zipfile
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepstone.containers import Keys, MemorySource, Node, leaves, rebuild
from keepstone.containers.keys import derive_signal, hkdf

WORDS = tuple(string.ascii_lowercase[at : at + 1 + at % 7] for at in range(26))

ROOT_KEY = bytes(range(32))
DIGITS = "123456789012345678901234567890"


def text(rng: random.Random, size: int) -> bytes:
    """Return prose of about this kind, and exactly this size."""
    lines = [" ".join((*rng.choices(WORDS, k=9), str(rng.randrange(10**6)))).encode() for _ in range(size // 40 + 1)]
    return b"\n".join(lines)[:size].ljust(size, b".")


def content(rng: random.Random, size: int) -> bytes:
    """Return bytes of some kind: prose, noise, zeros, or a mixture."""
    kind = rng.randrange(4)
    if kind == 0:
        return text(rng, size)
    if kind == 1:
        return rng.randbytes(size)
    if kind == 2:
        return bytes(size)
    half = size // 2
    return text(rng, half) + rng.randbytes(size - half)


# WhatsApp ---------------------------------------------------------------------------------------------------


def field(number: int, value: bytes | int) -> bytes:
    """Return one protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def crypt15(plain: bytes, rng: random.Random, root: bytes = ROOT_KEY, with_md5: bool = True) -> bytes:
    """Return a crypt15 file around what is usually a zlib stream."""
    iv = rng.randbytes(16)
    prefix = field(1, 1) + field(3, field(1, iv)) + field(4, field(1, b"2.26.1.2") + field(3, b"67") + field(6, 1))
    key = hkdf(root, b"backup encryption", 32)
    return _sealed(varint(len(prefix)) + prefix, key, iv, plain, with_md5)


def crypt14(plain: bytes, rng: random.Random, key: bytes, salt: bytes) -> bytes:
    """Return a crypt14 file."""
    iv = rng.randbytes(16)
    cipher = field(1, b"\0\1") + field(2, b"2") + field(3, salt) + field(4, rng.randbytes(16)) + field(5, iv)
    prefix = field(1, 0) + field(2, cipher) + field(4, field(1, b"2.22.5.13") + field(3, b"67"))
    return _sealed(varint(len(prefix)) + prefix, key, iv, plain, True)


def crypt12(plain: bytes, rng: random.Random, key: bytes, salt: bytes) -> bytes:
    """Return a crypt12 file."""
    iv = rng.randbytes(16)
    return _sealed(b"\0\1\2" + salt + rng.randbytes(16) + iv, key, iv, plain, True) + b"--67"


def _sealed(header: bytes, key: bytes, iv: bytes, plain: bytes, with_md5: bool) -> bytes:
    # A test's own key and IV; nothing real is sealed with them.
    body = header + AESGCM(key).encrypt(iv, plain, None)
    return body + hashlib.md5(body).digest() if with_md5 else body


# Signal -----------------------------------------------------------------------------------------------------


def signal_backup(rng: random.Random, frames: int, blobs: list[bytes], version: int = 1) -> bytes:
    """Return a version 1 backup of some statements and attachments."""
    iv, salt = rng.randbytes(16), rng.randbytes(32)
    aes, mac = derive_signal(DIGITS.encode(), salt)
    header = field(1, field(1, iv) + field(2, salt) + (field(3, version) if version else b""))
    out = bytearray(struct.pack(">I", len(header)) + header)
    counter = struct.unpack(">I", iv[:4])[0]

    def stream() -> tuple[bytes, Cipher[modes.CTR]]:
        nonlocal counter
        used = struct.pack(">I", counter) + iv[4:]
        counter = (counter + 1) & 0xFFFFFFFF
        return used, Cipher(algorithms.AES(aes), modes.CTR(used))

    def write(frame: bytes) -> None:
        encryptor = stream()[1].encryptor()
        size = struct.pack(">I", len(frame) + 10)
        if version:
            size = encryptor.update(size)
        body = encryptor.update(frame)
        out.extend(size + body + hmac.digest(mac, (size if version else b"") + body, "sha256")[:10])

    write(field(5, field(1, 200)))
    for number in range(frames):
        write(field(2, field(1, b"INSERT INTO message VALUES (?, ?)") + field(2, field(2, number))))
        if number % max(1, frames // max(1, len(blobs))) == 0 and blobs:
            blob = blobs.pop()
            write(field(4, field(1, number) + field(2, 1) + field(3, len(blob))))
            used, cipher = stream()
            body = cipher.encryptor().update(blob)
            out.extend(body + hmac.digest(mac, used + body, "sha256")[:10])
    write(field(6, 1))
    return bytes(out)


# SMS --------------------------------------------------------------------------------------------------------


def sms_xml(rng: random.Random, photos: list[bytes]) -> bytes:
    """Return a backup with one message and one MMS for each photo."""
    out = io.BytesIO()
    out.write(b"<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n")
    out.write(b'<smses count="%d" type="full">\n' % (2 * len(photos)))
    for number, photo in enumerate(photos):
        out.write(b'  <sms address="+1555%07d" date="%d" type="1" body="%s &#55357;&#56832;" />\n'
                  % (number, rng.randrange(10**12), text(rng, 40)))  # fmt: skip
        out.write(b'  <mms address="+1555%07d" m_type="132">\n    <parts>\n' % number)
        out.write(b'      <part seq="-1" ct="application/smil" text="&lt;smil/&gt;" />\n')
        out.write(b'      <part seq="0" ct="image/jpeg" data="' + base64.b64encode(photo) + b'" />\n')
        out.write(b"    </parts>\n  </mms>\n")
    out.write(b"</smses>")
    return out.getvalue()


# Archives ---------------------------------------------------------------------------------------------------


class Unseekable(io.RawIOBase):
    """Where only data descriptors can tell sizes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]  # A buffer, as RawIOBase has it.
        return len(bytes(data))  # type: ignore[call-overload]


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, level: int = 6) -> bytes:
    """Return a zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=level) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method, level)
    return out.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def gzip_of(data: bytes, level: int = 6) -> bytes:
    """Return a gzip file as Python writes it."""
    return gzip.compress(data, level, mtime=1)


def zlib_of(data: bytes, level: int = 6) -> bytes:
    """Return a zlib stream."""
    return zlib.compress(data, level)


# Checking ---------------------------------------------------------------------------------------------------


def read_leaves(node: Node, data: bytes, keys: Keys) -> list[bytes]:
    """Return the plaintext of every leaf."""
    return [b"".join(leaf.pieces) for leaf in leaves(node, MemorySource(data), keys)]


def rebuilt(node: Node, contents: list[bytes], keys: Keys) -> bytes:
    """Return what the leaves become again."""
    return b"".join(rebuild(node, iter([iter([content]) for content in contents]), keys))
