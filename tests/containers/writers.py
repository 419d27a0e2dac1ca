"""Writers of every container, of any size, from a seed: what the applications write, byte for byte."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import math
import random
import string
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepstone.containers import Concat, Keys, Literal, MemorySource, Node, Span, leaves, rebuild
from keepstone.containers.keys import derive_archive, derive_signal, hkdf, open_backup_id

WORDS = tuple(string.ascii_lowercase[at : at + 1 + at % 7] for at in range(26))

ROOT_KEY = bytes(range(32))
DIGITS = "123456789012345678901234567890"
RECOVERY_KEY = "0o1l" + "keepstone7" * 6
BACKUP_ID = bytes(range(16, 32))


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


def crypt15(
    plain: bytes, rng: random.Random, root: bytes = ROOT_KEY, with_md5: bool = True, features: int = 1
) -> bytes:
    """Return a crypt15 file around what is usually a zlib stream.

    Args:
        features: how many flags the header tells of the database; WhatsApp's have some 30, other files none.
    """
    iv = rng.randbytes(16)
    info = field(1, b"2.26.1.2") + field(3, b"67") + b"".join(field(6 + n, 1) for n in range(features))
    prefix = field(1, 1) + field(3, field(1, iv)) + field(4, info)
    key = hkdf(root, b"backup encryption", 32)
    return _sealed(varint(len(prefix)) + prefix, key, iv, plain, with_md5)


def crypt14(plain: bytes, rng: random.Random, key: bytes, salt: bytes, version: int = 2) -> bytes:
    """Return a crypt14 file."""
    iv = rng.randbytes(16)
    cipher = field(1, b"\0\1") + field(2, b"%d" % version) + field(3, salt) + field(4, rng.randbytes(16))
    cipher += field(5, iv)
    # A writer of protobuf leaves out what is 0.
    prefix = field(2, cipher) + field(4, field(1, b"2.22.5.13") + field(3, b"67"))
    return _sealed(varint(len(prefix)) + prefix, key, iv, plain, True)


def crypt12(plain: bytes, rng: random.Random, key: bytes, salt: bytes, version: int = 2) -> bytes:
    """Return a crypt12 file."""
    iv = rng.randbytes(16)
    return _sealed(b"\0\1" + bytes([version]) + salt + rng.randbytes(16) + iv, key, iv, plain, True) + b"--67"


def _sealed(header: bytes, key: bytes, iv: bytes, plain: bytes, with_md5: bool) -> bytes:
    # A test's own key and IV; nothing real is sealed with them.
    body = header + AESGCM(key).encrypt(iv, plain, None)
    return body + hashlib.md5(body).digest() if with_md5 else body


# Signal -----------------------------------------------------------------------------------------------------


def signal_backup(rng: random.Random, frames: int, blobs: list[bytes], version: int = 1) -> bytes:
    """Return a version 1 backup of some statements and attachments."""
    out = [field(5, field(1, 200))]
    for number in range(frames):
        out.append(field(2, field(1, b"INSERT INTO message VALUES (?, ?)") + field(2, field(2, number))))
        if number % max(1, frames // max(1, len(blobs))) == 0 and blobs:
            blob = blobs.pop()
            out += [field(4, field(1, number) + field(2, 1) + field(3, len(blob))), blob]
    return signal_file(rng, [*out, field(6, 1)], version)


def signal_file(rng: random.Random, frames: list[bytes], version: int = 1) -> bytes:
    """Return a version 1 backup of frames; behind one that announces an attachment comes its content."""
    iv, salt = rng.randbytes(16), rng.randbytes(32)
    aes, mac = derive_signal(DIGITS.encode(), salt)
    header = field(1, field(1, iv) + field(2, salt) + (field(3, version) if version else b""))
    out = bytearray(struct.pack(">I", len(header)) + header)
    counter = struct.unpack(">I", iv[:4])[0]
    is_blob = False
    for data in frames:
        used = struct.pack(">I", counter) + iv[4:]
        counter = (counter + 1) & 0xFFFFFFFF
        encryptor = Cipher(algorithms.AES(aes), modes.CTR(used)).encryptor()
        if is_blob:
            body = encryptor.update(data)
            out += body + hmac.digest(mac, used + body, "sha256")[:10]
        else:
            size = struct.pack(">I", len(data) + 10)
            if version:
                size = encryptor.update(size)
            body = encryptor.update(data)
            out += size + body + hmac.digest(mac, (size if version else b"") + body, "sha256")[:10]
        is_blob = not is_blob and data[:1] == b"\x22"
    return bytes(out)


FRAME_ACCOUNT, FRAME_RECIPIENT, FRAME_CHAT, FRAME_CHAT_ITEM = 1, 2, 3, 4


def signal_frames(messages: int, night: int = 0, contacts: int = 40) -> list[tuple[int, bytes]]:
    """Return the frames of a night, each with its kind. Later nights have the same messages, and more."""
    rng = random.Random(f"signal {contacts}")
    frames = [(FRAME_ACCOUNT, field(1, rng.randbytes(32)) + field(9, text(rng, 300)))]
    for number in range(contacts):
        contact = field(1, rng.randbytes(16)) + field(3, rng.randrange(10**12)) + field(10, text(rng, 20))
        frames.append((FRAME_RECIPIENT, field(1, number) + field(2, contact)))
    frames += [(FRAME_CHAT, field(1, number) + field(2, number)) for number in range(contacts)]
    for number in range(messages):
        time = 1_700_000_000_000 + number * 40_000 + rng.randrange(30_000)
        body = field(11, field(2, field(1, text(rng, rng.randrange(5, 120)))))
        read = field(8, field(1, time + 900) + field(3, int(number < messages - 20 - night)))
        frames.append((FRAME_CHAT_ITEM, field(1, rng.randrange(contacts)) + field(3, time) + read + body))
    return frames


def signal_plain(frames: list[tuple[int, bytes]], night: int = 0) -> list[tuple[int, bytes]]:
    """Return what is compressed: the header and the frames, each behind its length. The header's kind is 0."""
    header = field(1, 1) + field(2, 1_760_000_000_000 + night * 86_400_000) + field(3, bytes(range(32)))
    framed = [(0, header), *((kind, field(kind, frame)) for kind, frame in frames)]
    return [(kind, varint(len(data)) + data) for kind, data in framed]


def signal_gzip(plain: list[tuple[int, bytes]], flushed: bool) -> bytes:
    """Return it compressed and padded with zeros, as it stands in `main`.

    Args:
        flushed: as newer versions do it, with a full flush after the header, the account, each recipient, and then
            after every few kilobytes of messages.
    """
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    out = bytearray(b"\x1f\x8b\x08" + bytes(7))
    region, in_section, sum_, size = -1, 0, 0, 0
    for kind, data in plain:
        sum_, size = zlib.crc32(data, sum_), size + len(data)
        if flushed and kind == FRAME_CHAT_ITEM and region < 0:
            out += encoder.flush(zlib.Z_FULL_FLUSH) if in_section else b""
            region = in_section = 0
        while data:
            limit = max(8192, int(36.95 * region**0.5)) if flushed and region >= 0 else len(data) + in_section
            part = data[: limit - in_section]
            out += encoder.compress(part)
            in_section += len(part)
            data = data[len(part) :]
            region += len(part) if region >= 0 else 0
            if flushed and (in_section == limit if region >= 0 else kind in (0, FRAME_ACCOUNT, FRAME_RECIPIENT)):
                out += encoder.flush(zlib.Z_FULL_FLUSH)
                in_section = 0
    out += encoder.flush() + struct.pack("<II", sum_, size & 0xFFFFFFFF)
    return bytes(out.ljust(max(541, int(1.05 ** math.ceil(math.log(len(out), 1.05)))), b"\0"))


def signal_main(body: bytes, rng: random.Random, backup_id: bytes = BACKUP_ID) -> bytes:
    """Return a `main` around what is usually gzip and zeros."""
    aes, mac = derive_archive(RECOVERY_KEY.encode(), backup_id)
    return _cbc(aes, mac, body, rng)


def signal_night(rng: random.Random, messages: int, night: int = 0, flushed: bool = True) -> bytes:
    """Return the `main` of one night."""
    plain = signal_plain(signal_frames(messages, night), night)
    return signal_main(signal_gzip(plain, flushed), rng)


def signal_metadata(rng: random.Random, backup_id: bytes = BACKUP_ID) -> bytes:
    """Return the `metadata` beside it. Encrypting and decrypting the id are the same."""
    iv = rng.randbytes(12)
    return field(1, 1) + field(2, field(1, iv) + field(2, open_backup_id(RECOVERY_KEY.encode(), iv, backup_id)))


def signal_media(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Return the name and the bytes of a file of the media store."""
    key = rng.randbytes(64)
    name = hashlib.sha256(hashlib.sha256(data).digest() + key).hexdigest()
    return f"files/{name[:2]}/{name}", sealed_media(rng, data, key)


def sealed_media(rng: random.Random, data: bytes, key: bytes) -> bytes:
    """Return such a file, sealed by a key of its own, with zeros behind its content."""
    return _cbc(key[:32], key[32:], data + bytes(rng.randrange(1000)), rng)


def _cbc(aes: bytes, mac: bytes, plain: bytes, rng: random.Random) -> bytes:
    iv, padding = rng.randbytes(16), 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(aes), modes.CBC(iv)).encryptor()
    body = iv + encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()
    return body + hmac.digest(mac, body, "sha256")


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
    """Return the plaintext of every leaf, which is the same whether it was kept or is decoded again."""
    contents = [b"".join(leaf.pieces) for leaf in leaves(node, MemorySource(data), keys)]
    again = [b"".join(leaf.pieces) for leaf in leaves(forgotten(node), MemorySource(data), keys)]
    assert again == contents
    return contents


def forgotten(node: Node) -> Node:
    """Return the same expression with no plaintext in memory."""
    if isinstance(node, Span):
        return Span(node.offset, node.length)
    if isinstance(node, Literal):
        return node
    if isinstance(node, Concat):
        return Concat(tuple(map(forgotten, node.parts)))
    return replace(node, inner=forgotten(node.inner))


def rebuilt(node: Node, contents: list[bytes], keys: Keys) -> bytes:
    """Return what the leaves become again."""
    return b"".join(rebuild(node, iter([iter([content]) for content in contents]), keys))
