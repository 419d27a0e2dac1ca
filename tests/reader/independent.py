"""A second reader, written from docs/format.md alone: it imports nothing of Keepstone.

    python independent.py REPOSITORY TARGET [SNAPSHOT]      secret in KEEPSTONE_PASSWORD, or 64 digits in KEEPSTONE_KEY

It restores files, folders and symbolic links of a snapshot (the newest by default), with modes and times.
"""

from __future__ import annotations

import base64
import hmac
import os
import struct
import sys
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha512
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HOLE = bytes(32)
PACK_HEADER = 32 + 4 + 80 + 32
TRAILER = PACK_HEADER + 24 + 4


class FormatError(Exception):
    """The bytes are not what docs/format.md says."""


def need(condition: object, what: str) -> None:
    if not condition:
        raise FormatError(f"{what} is not as the format says")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a library says of damaged bytes into one error that names the object they stand in."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None
    except InvalidTag:
        raise FormatError(f"{name}: a seal does not match, so it was altered or moved") from None
    except InvalidSignature:
        raise FormatError(f"{name}: its signature does not match") from None
    except (struct.error, IndexError):
        raise FormatError(f"{name}: it is cut off") from None
    except (msgspec.DecodeError, zstandard.ZstdError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{name}: it does not decode ({error})") from None


def b3(data: bytes) -> bytes:
    return blake3(data).digest()


def b3k(key: bytes, data: bytes, length: int = 32) -> bytes:
    return blake3(data, key=key).digest(length=length)


def derive(material: bytes, purpose: str) -> bytes:
    return blake3(material, derive_key_context="keepstone 1 " + purpose).digest()


def decrypt(algorithm: int, key: bytes, nonce: bytes, aad: bytes, data: bytes) -> bytes:
    need(algorithm in (1, 2), f"algorithm {algorithm}")
    return (AESGCM if algorithm == 1 else ChaCha20Poly1305)(key).decrypt(nonce, data, aad)


def record(data: bytes) -> Any:
    return msgspec.msgpack.decode(data)


def check_header(data: bytes, kind: int, repository: bytes | None = None) -> int:
    """Return the algorithm."""
    magic, version, found, algorithm, zero, epoch, owner = struct.unpack_from("<8sBBBBI16s", data)
    need(magic == b"KEEPSTON" and version == 1 and found == kind and zero == 0 and epoch == 0, "its header")
    need(repository in (None, owner), "the repository it names")
    return algorithm


def unseal(root: bytes, data: bytes, kind: int, place: bytes = b"") -> bytes:
    algorithm = check_header(data, kind)
    salt, commitment, ciphertext = data[32:64], data[64:96], data[96:]
    stream = b3k(root, b"seal" + salt, 64)
    need(stream[32:] == commitment, "its commitment")
    plaintext = decrypt(algorithm, stream[:32], bytes(12), data[:32] + place, ciphertext)
    (length,) = struct.unpack_from("<I", plaintext)
    return plaintext[4 : 4 + length]


def open_keyslot(data: bytes, password: str | None, digits: bytes | None) -> bytes | None:
    """Return the master key, or None if the secret does not fit."""
    algorithm = check_header(data, 2)
    need(b3(data[:-32]) == data[-32:], "its checksum")
    (n,) = struct.unpack_from("<H", data, 32)
    clear_bytes = data[34 : 34 + n]
    clear = record(clear_bytes)
    need(clear["v"] == 1, "its version")
    if clear["k"] == "password" and password is not None:
        need(65536 <= clear["m"] <= 4 << 20 and 3 <= clear["t"] <= 16 and 1 <= clear["p"] <= 16, "its cost")
        kdf = Argon2id(salt=clear["s"], length=32, iterations=clear["t"], lanes=clear["p"], memory_cost=clear["m"])
        material = kdf.derive(unicodedata.normalize("NFC", password).encode())
    elif clear["k"] == "digits" and digits is not None:
        material = digits
    else:
        return None
    bound = data[:32] + clear_bytes
    stream = b3k(material, b"keyslot" + clear["s"] + bound, 64)
    commitment, sealed = data[34 + n : 66 + n], data[66 + n : -32]
    if stream[32:] != commitment:
        return None
    plaintext = decrypt(algorithm, stream[:32], bytes(12), bound, sealed)
    (n,) = struct.unpack_from("<H", plaintext)
    master: bytes = record(plaintext[2 : 2 + n])["m"]
    return master


def hkdf(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=bytes(32), info=info).derive(key)


def deflated(inner: bytes, settings: list[int], sections: bytes) -> bytes:
    level, *others = settings
    deflate = zlib.compressobj(level, zlib.DEFLATED, *others)
    out, at = [], 0
    for (length,) in struct.iter_unpack("<I", sections):
        # zlib itself says nothing twice, so an empty section is written by hand.
        flushed = deflate.compress(inner[at : at + length]) + deflate.flush(zlib.Z_FULL_FLUSH)
        out.append(flushed if length else b"\0\0\0\xff\xff")
        at += length
    need(at <= len(inner), "the sections of a stream")
    out += [deflate.compress(inner[start : start + 65536]) for start in range(at, len(inner), 65536)]
    return b"".join([*out, deflate.flush()])


def container_keys(k: str, m: bytes, **_: Any) -> list[tuple[str, bytes]]:
    """Return the keys that were given, each with what it is for."""
    text = b"".join(m.split()).lower()
    if k == "signal":
        return [("signal", text), ("signal recovery", text.replace(b"#", b"o").replace(b"=", b"0"))]
    if len(m) == 158:
        return [("aes", m[-32:])]
    root = m[-32:] if len(m) == 59 else bytes.fromhex(text.decode())
    return [("aes", hkdf(root, b"backup encryption", 32)), ("aes", root)]


def frames_of(directory: Any) -> tuple[list[tuple[int, int, bytes, bytes, bytes]], int]:
    """Return the frames of a directory, (method, stored, ids, lengths, stems of bases), and its pack's padding."""
    if directory[0] == 1:
        frames = []
        for method, stored, ids, sizes, bases in directory[1]:
            frames.append(
                (method, stored, ids, sizes, b"".join(bases[at : at + 16] for at in range(0, len(bases), 32)))
            )
        return frames, struct.unpack("<I", directory[2])[0]
    version, padding, length, columns, ids = directory
    need(version == 2, "its directory")
    if len(columns) != length:
        need(zstandard.frame_content_size(columns) == length <= 32 << 20, "its directory's size")
        columns = zstandard.ZstdDecompressor().decompress(columns)
    methods, stored, chunks, sizes, counts, stems = record(columns)

    def numbers(planes: bytes) -> list[int]:
        count = len(planes) // 4
        return [int.from_bytes(planes[at::count], "little") for at in range(count)]

    frames, chunk, base, each = [], 0, 0, numbers(sizes)
    for method, size, count, below in zip(methods, numbers(stored), numbers(chunks), numbers(counts), strict=True):
        lengths = struct.pack(f"<{count}I", *each[chunk : chunk + count])
        mine = ids[32 * chunk : 32 * (chunk + count)]
        frames.append((method, size, mine, lengths, stems[16 * base : 16 * (base + below)]))
        chunk, base = chunk + count, base + below
    need(not frames or frames[-1][0] != 4, "its last frame")
    need(len(ids) == 32 * chunk and len(each) == chunk and len(stems) == 16 * base, "its directory's columns")
    return frames, struct.unpack("<I", padding)[0]


class Pack:
    """An opened pack."""

    def __init__(self, data: bytes, name: str, epoch_key: bytes, repository: bytes) -> None:
        need(b3(data).hex() == name, "its name")
        algorithm = check_header(data, 3, repository)
        (trailer,) = struct.unpack("<I", data[-4:])
        need(trailer == TRAILER and data[-TRAILER : -TRAILER + PACK_HEADER] == data[:PACK_HEADER], "its trailer")
        kind, length = struct.unpack_from("<HH", data, 32)
        need(kind == 1 and length == 80, "its envelope")
        salt, wrapped, commitment = data[36:68], data[68:116], data[116:148]
        pack_key = decrypt(algorithm, b3k(epoch_key, b"wrap" + salt), bytes(12), data[:32], wrapped)
        stream = b3k(pack_key, b"frames", 64)
        need(stream[32:] == commitment, "its commitment")
        self._data, self._algorithm, self._key = data, algorithm, stream[:32]
        (size,) = struct.unpack("<Q", self.part(3, 0, data[-28:-4]))
        end = len(data) - TRAILER
        directory = self.part(2, 0, data[end - size : end])
        self.frames, padding = frames_of(record(directory))
        self.offsets = [PACK_HEADER]
        for frame in self.frames:
            self.offsets.append(self.offsets[-1] + frame[1])
        padded = self.offsets[-1] + padding
        need(padded == end - size, "the sum of its parts")
        need(not self.part(1, 0, data[self.offsets[-1] : padded]).strip(b"\0"), "its padding")

    def part(self, role: int, ordinal: int, sealed: bytes) -> bytes:
        nonce = struct.pack("<IQ", role, ordinal)
        return decrypt(self._algorithm, self._key, nonce, self._data[:32] + nonce, sealed)

    def chunks(self) -> list[tuple[bytes, int, int, int]]:
        """Return (chunk id, frame, offset in the frame, length)."""
        found = []
        for ordinal, (_, _, ids, lengths, _) in enumerate(self.frames):
            at = 0
            for number, (length,) in enumerate(struct.iter_unpack("<I", lengths)):
                found.append((ids[32 * number : 32 * number + 32], ordinal, at, length))
                at += length
        return found

    def frame(self, ordinal: int, base: Any) -> bytes:
        method, _, _, lengths, bases = self.frames[ordinal]
        first = last = ordinal
        while first and self.frames[first - 1][0] == 4:
            first -= 1
        while self.frames[last][0] == 4:
            last += 1
        payload = self.part(0, last, self._data[self.offsets[first] : self.offsets[last + 1]])
        start = self.offsets[ordinal] - self.offsets[first]
        payload = payload[start:][: self.frames[ordinal][1]] if ordinal < last else payload[start:]
        if method in (3, 4):
            method, payload = 2, bytes.fromhex("28b52ffd") + payload
        size = sum(length for (length,) in struct.iter_unpack("<I", lengths))
        if method == 0:
            need(len(payload) == size, "a raw frame")
            return payload
        need(method in (1, 2) and zstandard.frame_content_size(payload) == size <= 32 << 20, "a frame's size")
        prefix = b"".join(base(bases[at : at + 16]) for at in range(0, len(bases), 16))
        if method == 1:
            return zstandard.ZstdDecompressor().decompress(payload)
        dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(payload)


class Repository:
    """A repository in a folder."""

    def __init__(self, folder: Path, password: str | None = None, digits: bytes | None = None) -> None:
        self._folder = folder
        config = (folder / "config").read_bytes()
        with reading("config"):
            need(b3(config[:-32]) == config[-32:], "its checksum")
            check_header(config, 1)
        self.id = config[16:32]
        self.slots = {}
        for path in sorted((folder / "keyslots").iterdir()):
            with reading(f"keyslots/{path.name}"):
                master = open_keyslot(path.read_bytes(), password, digits)
                if master is not None:
                    self.slots[bytes.fromhex(path.name)] = master
        if not self.slots:
            raise FormatError("the secret opens no keyslot")
        master = next(iter(self.slots.values()))
        self.chunk_key = derive(master, "chunk id")
        with reading("config"):
            self.config = record(unseal(derive(master, "config"), config[:-32], 1))
            need(self.config["v"] == 1 and not self.config.get("f"), "its version")
        self.records = self._read_logs(derive(master, "log"))
        self._check_slot()
        self._places: dict[bytes, tuple[Path, int, int, int]] = {}
        self._epoch = derive(master, "epoch")
        self._packs: dict[Path, Pack] = {}
        self._frames: dict[tuple[Path, int], bytes] = {}
        for path in sorted((folder / "packs").glob("*/*")):
            pack = self._pack(path)
            for chunk, ordinal, at, length in pack.chunks():
                if pack.frames[ordinal][0] != 2 or chunk[:16] not in self._places:
                    self._places[chunk[:16]] = (path, ordinal, at, length)

    def _read_logs(self, key: bytes) -> list[dict[str, Any]]:
        found = []
        for log in sorted((self._folder / "log").iterdir()):
            previous = bytes(32)
            for sequence, path in enumerate(sorted(log.iterdir()), 1):
                with reading(f"log/{log.name}/{path.name}"):
                    need(int(path.name, 16) == sequence, f"record {sequence} is missing: the log")
                    data = path.read_bytes()
                    place = bytes.fromhex(log.name) + struct.pack("<Q", sequence)
                    found.append(self._open_record(unseal(key, data, 5, place), log.name, sequence, previous))
                    previous = b3(data)
        return found

    def _open_record(self, signed: bytes, writer: str, sequence: int, previous: bytes) -> dict[str, Any]:
        encoded, signature = record(signed)
        entry: dict[str, Any] = record(encoded)
        need(entry["v"] == 1 and entry["p"] == previous and entry["w"].hex() == writer, "its place in the log")
        need(b3(entry["q"])[:16] == entry["w"] and entry["s"] == sequence, "its writer")
        Ed25519PublicKey.from_public_bytes(entry["q"]).verify(
            signature, b"keepstone 1 log record\0" + self.id + encoded
        )
        return entry

    def _check_slot(self) -> None:
        live, gone = set(self.config["k"]), set()
        for entry in self.records:
            if entry["k"] == "keyslots":
                body = record(entry["b"])
                live.update(body.get("a", []))
                gone.update(body.get("r", []))
        if not self.slots.keys() & (live - gone):
            raise FormatError("the keyslot was removed")

    def _pack(self, path: Path) -> Pack:
        if path not in self._packs:
            if len(self._packs) > 3:
                self._packs.clear()
            with reading(f"packs/{path.parent.name}/{path.name}"):
                self._packs[path] = Pack(path.read_bytes(), path.name, self._epoch, self.id)
        return self._packs[path]

    def chunk(self, chunk: bytes) -> bytes:
        """Return a chunk by its id, or by the first 16 bytes of it."""
        if chunk[:16] not in self._places:
            raise FormatError(f"chunk {chunk.hex()} is in no pack")
        path, ordinal, at, length = self._places[chunk[:16]]
        with reading(f"packs/{path.parent.name}/{path.name}"):
            if (path, ordinal) not in self._frames:
                if len(self._frames) > 64:
                    self._frames.clear()
                self._frames[path, ordinal] = self._pack(path).frame(ordinal, self.chunk)
            data = self._frames[path, ordinal][at : at + length]
            need(b3k(self.chunk_key, data).startswith(chunk), "a chunk's id")
        return data

    def content(self, recipe: bytes) -> Any:
        """Yield the bytes of a recipe; None and a length for a hole."""
        if not recipe:
            return
        kind, *rest = record(recipe)
        if kind > 1:
            data = self.expression([kind, *rest])
            yield data, len(data)
            return
        pieces = rest[-1]
        for _ in range(rest[0] if kind == 1 else 0):
            pieces = b"".join(self.chunk(chunk) for chunk, _ in struct.iter_unpack("<32sQ", pieces))
        for chunk, length in struct.iter_unpack("<32sQ", pieces):
            if chunk == HOLE:
                yield None, length
            else:
                data = self.chunk(chunk)
                need(len(data) == length, "a piece's length")
                yield data, length

    def expression(self, value: Any) -> bytes:
        """Return the bytes of a recipe that has been decoded, all at once."""
        kind, *rest = value
        if kind in (0, 1):
            return b"".join(
                bytes(length) if data is None else data for data, length in self.content(msgspec.msgpack.encode(value))
            )
        if kind == 2:
            return b"".join(self.expression(part) for part in rest[0])
        if kind == 3:
            return bytes(rest[0])
        if kind == 4:
            return self.expression(record(self.expression(rest[0])))
        inner = self.expression(rest.pop())
        if kind in (16, 20):
            need(rest[0] == 0, f"encoder {rest[0]}, which this reader does not have,")
            return deflated(inner, rest[1:5], rest[5] if kind == 20 else b"")
        if kind == 19:
            return self.signal_backup(inner, *rest)
        if kind == 21:
            return self.signal_main(inner, *rest)
        if kind == 17:
            ref, iv, aad, tag = rest
            sealed = AESGCM(self.container_key(ref)).encrypt(iv, inner, aad or None)
            return sealed[: len(sealed) - 16 + tag]
        need(kind == 18, f"recipe of kind {kind}")
        alphabet, line, end = rest
        text = (base64.urlsafe_b64encode if alphabet else base64.b64encode)(inner)
        return end.join(text[at : at + line] for at in range(0, len(text), line)) if line else text

    def signal_backup(self, inner: bytes, ref: bytes, salt: bytes, iv: bytes, version: int) -> bytes:
        digits = self.container_key(ref)
        h = sha512(salt + digits + digits).digest()
        for _ in range(249_999):
            h = sha512(h + digits).digest()
        keys = hkdf(h[:32], b"Backup Export", 64)
        (counter,) = struct.unpack_from(">I", iv)
        out, at = [], 0
        while at < len(inner):
            (n,) = struct.unpack_from(">I", inner, at)
            n, is_blob = n & 0x7FFFFFFF, n >> 31
            data, size = inner[at + 4 : at + 4 + n], struct.pack(">I", n + 10)
            need(len(data) == n, "a record of Signal")
            block = struct.pack(">I", counter) + iv[4:]
            counter, at = (counter + 1) % (1 << 32), at + 4 + n
            covered = size if version and not is_blob else b""
            body = Cipher(algorithms.AES(keys[:32]), modes.CTR(block)).encryptor().update(covered + data)
            mac = hmac.digest(keys[32:], (block if is_blob else b"") + body, "sha256")[:10]
            out.append((b"" if is_blob or version else size) + body + mac)
        return b"".join(out)

    def signal_main(self, inner: bytes, ref: bytes, backup_id: bytes, iv: bytes) -> bytes:
        backup_key = hkdf(self.container_key(ref), b"20240801_SIGNAL_BACKUP_KEY", 32)
        keys = hkdf(backup_key, b"20241007_SIGNAL_BACKUP_ENCRYPT_MESSAGE_BACKUP:" + backup_id, 64)
        padding = 16 - len(inner) % 16
        encryptor = Cipher(algorithms.AES(keys[32:]), modes.CBC(iv)).encryptor()
        sealed = iv + encryptor.update(inner + bytes([padding]) * padding)
        return sealed + hmac.digest(keys[:32], sealed, "sha256")

    def container_key(self, ref: bytes) -> bytes:
        for entry in self.records:
            if entry["k"] != "container-key":
                continue
            for purpose, key in container_keys(**record(entry["b"])):
                if derive(key, f"container key {purpose}")[:16] == ref:
                    return key
        raise FormatError(f"the container key {ref.hex()} is not there")

    def tree(self, recipe: bytes) -> list[dict[str, Any]]:
        data = b"".join(part for part, _ in self.content(recipe))
        entries, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            entries.append(record(data[at + 4 : at + 4 + length]))
            at += 4 + length
        for entry in entries:
            need(b"/" not in entry["n"] and entry["n"] not in (b"", b".", b".."), "a name")
        return entries

    def snapshots(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Return (id, body), oldest first."""
        found = [
            (b3k(self.chunk_key, b"snapshot\0" + entry["b"]), record(entry["b"]))
            for entry in self.records
            if entry["k"] == "snapshot"
        ]
        return sorted(found, key=lambda pair: pair[1]["t"])

    def restore(self, recipe: bytes, target: bytes) -> None:
        os.makedirs(target, exist_ok=True)
        for entry in self.tree(recipe):
            path = os.path.join(target, entry["n"])
            if entry["k"] == "d":
                self.restore(entry.get("c", b""), path)
            elif entry["k"] == "l":
                os.symlink(entry["L"], path)
                os.utime(path, ns=(entry.get("t", 0),) * 2, follow_symlinks=False)
                continue
            elif entry["k"] == "f":
                with open(path, "wb") as file:
                    for data, length in self.content(entry.get("c", b"")):
                        if data is None:
                            file.seek(length, 1)
                        else:
                            file.write(data)
                    file.truncate()
                need(os.path.getsize(path) == entry.get("s", 0), "a file's size")
            else:
                continue
            os.chmod(path, entry.get("m", 0))
            os.utime(path, ns=(entry.get("t", 0),) * 2)


def main() -> None:
    digits = os.environ.get("KEEPSTONE_KEY")
    repository = Repository(
        Path(sys.argv[1]), os.environ.get("KEEPSTONE_PASSWORD"), bytes.fromhex(digits) if digits else None
    )
    wanted = sys.argv[3] if len(sys.argv) > 3 else ""
    found = [body for id_, body in repository.snapshots() if id_.hex().startswith(wanted)]
    if not found:
        raise FormatError("no such snapshot")
    repository.restore(found[-1].get("r", b""), os.fsencode(sys.argv[2]))


if __name__ == "__main__":
    try:
        main()
    except FormatError as error:
        sys.exit(f"Error: {error}.")
