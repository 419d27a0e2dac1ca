"""Authenticated encryption, in the two shapes the format knows.

*Sealed records* (config, log, index, local records): a salt is made of fresh randomness *and* the content, and a key
is derived from the salt, so each key seals exactly one plaintext even if the random generator is stuck. *Frames*: a
pack has a key of its own and its parts are numbered. In both, a commitment to the key stands before the
ciphertext and is compared first, so that no ciphertext opens under two keys (Len, Grubbs, Ristenpart, USENIX
Security 2021).

The AEADs are RFC 5116 AES-256-GCM and RFC 8439 ChaCha20-Poly1305.
"""

from __future__ import annotations

import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from keepstone.encoding import padme
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import keyed
from keepstone.ids import Buffer

AES_256_GCM = 1
CHACHA20_POLY1305 = 2
ALGORITHMS = {"aes-256-gcm": AES_256_GCM, "chacha20-poly1305": CHACHA20_POLY1305}

TAG_LENGTH = 16
SALT_LENGTH = 32
COMMITMENT_LENGTH = 32
SEAL_OVERHEAD = SALT_LENGTH + COMMITMENT_LENGTH + TAG_LENGTH
SMALLEST_PLAINTEXT = 256
"""Sealed records are padded to at least this many bytes, and to a Padmé class above."""

_ONLY_NONCE = bytes(12)
_LENGTH = struct.Struct("<I")


def aead(algorithm: int, key: bytes, name: str = "An object") -> AESGCM | ChaCha20Poly1305:
    """Return the cipher of an algorithm number; objects of it may be shared between threads."""
    if algorithm == AES_256_GCM:
        return AESGCM(key)
    if algorithm == CHACHA20_POLY1305:
        return ChaCha20Poly1305(key)
    raise Unsupported(name, f"is encrypted with algorithm {algorithm}, which this version does not know")


def random_bytes(length: int) -> bytes:
    """Return bytes of the operating system's generator. The only place that asks for them."""
    return os.urandom(length)


def seal(root: bytes, algorithm: int, associated: bytes, body: bytes) -> bytes:
    """Seal one record: salt, commitment, ciphertext. `associated` binds what and where it is."""
    plaintext = pad(body)
    salt = keyed(root, b"salt", random_bytes(32), _LENGTH.pack(len(associated)), associated, plaintext)
    key, commitment = _key_of_salt(root, salt)
    # The nonce is fixed: the key comes from the salt, and the salt is a keyed hash of 32 random bytes and of the
    # whole content, so one key never seals two different plaintexts, even if the 32 bytes repeat.
    return salt + commitment + aead(algorithm, key).encrypt(_ONLY_NONCE, plaintext, associated)


def unseal(root: bytes, algorithm: int, associated: bytes, sealed: Buffer, name: str) -> bytes:
    """Open a sealed record.

    Raises:
        Damaged: the bytes, or what they are bound to, are not what was sealed.
    """
    view = memoryview(sealed)
    if len(view) < SEAL_OVERHEAD + SMALLEST_PLAINTEXT:
        raise Damaged(name, "it is too short to be a sealed record")
    salt, commitment = bytes(view[:SALT_LENGTH]), bytes(view[SALT_LENGTH : SALT_LENGTH + COMMITMENT_LENGTH])
    key, expected = _key_of_salt(root, salt)
    if not hmac.compare_digest(commitment, expected):
        raise Damaged(name, "it was not sealed with this repository's key, or it was altered")
    try:
        plaintext = aead(algorithm, key, name).decrypt(_ONLY_NONCE, view[SALT_LENGTH + COMMITMENT_LENGTH :], associated)
    except InvalidTag:
        raise Damaged(name, "its seal does not match, so it was altered or moved") from None
    return unpad(plaintext, name)


def pad(body: bytes) -> bytes:
    """Return length, body and zeros up to the size class."""
    size = max(SMALLEST_PLAINTEXT, padme(_LENGTH.size + len(body)))
    return (_LENGTH.pack(len(body)) + body).ljust(size, b"\0")


def unpad(plaintext: bytes, name: str) -> bytes:
    """Return the body of a padded plaintext."""
    (length,) = _LENGTH.unpack_from(plaintext)
    if length > len(plaintext) - _LENGTH.size:
        raise Unsupported(name, "states a length beyond its end")
    return plaintext[_LENGTH.size : _LENGTH.size + length]


def _key_of_salt(root: bytes, salt: bytes) -> tuple[bytes, bytes]:
    stream = keyed(root, b"seal", salt, length=64)
    return stream[:32], stream[32:]


class FrameCipher:
    """Seals and opens the numbered parts of one pack.

    `header` is the pack's object header; with a part's role and ordinal it is the associated data, so that no part
    can stand for another one.
    """

    def __init__(self, pack_key: bytes, algorithm: int, header: bytes) -> None:
        stream = keyed(pack_key, b"frames", length=64)
        self.commitment = stream[32:]
        self._cipher = aead(algorithm, stream[:32])
        self._header = header

    def seal_into(self, role: int, ordinal: int, data: Buffer, target: memoryview) -> None:
        """Seal a part into `target`, which is longer than the data by one tag."""
        # The nonce is role and ordinal. A pack key is made anew for every pack from randomness and a hash of all
        # that the pack seals, and every part of a pack has another (role, ordinal), so no pair ever repeats.
        self._cipher.encrypt_into(_nonce(role, ordinal), data, self._header + _nonce(role, ordinal), target)

    def open(self, role: int, ordinal: int, sealed: Buffer, name: str) -> bytes:
        """Open a part.

        Raises:
            Damaged: it is not the part that was sealed at this place.
        """
        nonce = _nonce(role, ordinal)
        try:
            return self._cipher.decrypt(nonce, sealed, self._header + nonce)
        except InvalidTag:
            raise Damaged(name, f"part {ordinal} was altered") from None

    def open_into(self, role: int, ordinal: int, sealed: Buffer, name: str, scratch: bytearray) -> memoryview:
        """Open a part into memory that is used again and again, and is large enough.

        Raises:
            Damaged: as `open`.
        """
        view = memoryview(scratch)[: len(sealed) - TAG_LENGTH]
        nonce = _nonce(role, ordinal)
        try:
            self._cipher.decrypt_into(nonce, sealed, self._header + nonce, view)
        except InvalidTag:
            raise Damaged(name, f"part {ordinal} was altered") from None
        return view


def _nonce(role: int, ordinal: int) -> bytes:
    return struct.pack("<IQ", role, ordinal)
