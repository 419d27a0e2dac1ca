"""The keys that open containers, and the names by which an expression refers to them.

A reference is 16 bytes of a one-way hash: it tells which key is needed and nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keepstone import hashing
from keepstone.errors import ContainerKeyMissing

REF_LENGTH = 16
_ROUNDS = 250_000


def key_ref(kind: str, material: bytes) -> bytes:
    """Return the reference of a key of one kind (`aes` or `signal`)."""
    return hashing.derive(material, f"container key {kind}")[:REF_LENGTH]


@dataclass(frozen=True, slots=True, repr=False)
class WhatsAppKey:
    """One AES key of WhatsApp; the salts, where known, tell for which crypt12 and crypt14 files it is."""

    aes: bytes
    end_to_end: bool
    server_salt: bytes = b""

    @property
    def ref(self) -> bytes:
        return key_ref("aes", self.aes)


@dataclass(frozen=True, slots=True, repr=False)
class SignalKey:
    """The passphrase of a Signal Android backup: 30 digits."""

    digits: bytes

    @property
    def ref(self) -> bytes:
        return key_ref("signal", self.digits)


@dataclass(frozen=True, slots=True, repr=False)
class SignalRecoveryKey:
    """The recovery key of a Signal account, which opens its backup folders: 64 letters and digits."""

    characters: bytes

    @property
    def ref(self) -> bytes:
        return key_ref("signal recovery", self.characters)


@dataclass(slots=True, repr=False)
class Keys:
    """Every key at hand. One object serves all files, so that a slow derivation is done once."""

    whatsapp: tuple[WhatsAppKey, ...] = ()
    signal: tuple[SignalKey, ...] = ()
    recovery: tuple[SignalRecoveryKey, ...] = ()
    _derived: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = field(default_factory=dict)

    def aes(self, ref: bytes) -> bytes:
        """Return the AES key of a reference.

        Raises:
            ContainerKeyMissing: it is not here.
        """
        for key in self.whatsapp:
            if key.ref == ref:
                return key.aes
        raise ContainerKeyMissing(f"The key {ref.hex()} of an encrypted file is not at hand.")

    def signal_pair(self, ref: bytes, salt: bytes) -> tuple[bytes, bytes]:
        """Return the AES key and the HMAC key of a Signal backup with this salt; takes a quarter of a second once.

        Raises:
            ContainerKeyMissing: the passphrase is not here.
        """
        found = self._derived.get((ref, salt))
        if found is None:
            for key in self.signal:
                if key.ref == ref:
                    found = self._derived[ref, salt] = derive_signal(key.digits, salt)
                    break
            else:
                raise ContainerKeyMissing(f"The passphrase {ref.hex()} of a Signal backup is not at hand.")
        return found

    def archive_pair(self, ref: bytes, backup_id: bytes) -> tuple[bytes, bytes]:
        """Return the AES key and the HMAC key of the main file of a Signal backup folder.

        Raises:
            ContainerKeyMissing: the recovery key is not here.
        """
        for key in self.recovery:
            if key.ref == ref:
                return derive_archive(key.characters, backup_id)
        raise ContainerKeyMissing(f"The recovery key {ref.hex()} of a Signal backup is not at hand.")


def hkdf(material: bytes, info: bytes, length: int) -> bytes:
    """Return HKDF-SHA256 (RFC 5869) with a salt of zeros."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=hashes.SHA256(), length=length, salt=bytes(32), info=info).derive(material)


def derive_signal(digits: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return the AES key and the HMAC key that Signal makes of a passphrase."""
    from hashlib import sha512

    digest = sha512(salt + digits + digits).digest()
    for _ in range(_ROUNDS - 1):
        digest = sha512(digest + digits).digest()
    both = hkdf(digest[:32], b"Backup Export", 64)
    return both[:32], both[32:]


def derive_archive(characters: bytes, backup_id: bytes) -> tuple[bytes, bytes]:
    """Return the AES key and the HMAC key that Signal makes of a recovery key for one backup id."""
    both = hkdf(_backup_key(characters), b"20241007_SIGNAL_BACKUP_ENCRYPT_MESSAGE_BACKUP:" + backup_id, 64)
    return both[32:], both[:32]


def open_backup_id(characters: bytes, iv: bytes, sealed: bytes) -> bytes:
    """Return the backup id that stands encrypted in a folder's `metadata`. A wrong key gives a wrong id."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = hkdf(_backup_key(characters), b"20241011_SIGNAL_LOCAL_BACKUP_METADATA_KEY", 32)
    return Cipher(algorithms.AES(key), modes.CTR(iv + bytes(4))).decryptor().update(sealed)


def _backup_key(characters: bytes) -> bytes:
    return hkdf(characters, b"20240801_SIGNAL_BACKUP_KEY", 32)
