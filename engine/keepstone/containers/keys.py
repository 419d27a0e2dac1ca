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


@dataclass(slots=True, repr=False)
class Keys:
    """Every key at hand. One object serves all files, so that a slow derivation is done once."""

    whatsapp: tuple[WhatsAppKey, ...] = ()
    signal: tuple[SignalKey, ...] = ()
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
