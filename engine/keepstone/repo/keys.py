"""Keyslots: the ways to get from what a user has to the repository's master key.

The master key is 32 random bytes and never changes. A keyslot wraps it under a key made from a password (Argon2id,
RFC 9106) or from a 64-digit key (256 random bits, no KDF needed). A slot's parameters stand in clear, are bound to the
wrapped key, and are checked against a floor and a cap before any work is done for them.
"""

from __future__ import annotations

import hmac
import re
import struct
import unicodedata
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keepstone import encoding, sealing
from keepstone.errors import Damaged, NotEnoughMemory, Unsupported, UsageError
from keepstone.hashing import SubKeys, derive, keyed, stored_name
from keepstone.ids import ID_LENGTH, KeyslotId, RepositoryId
from keepstone.repo import format as layout

PASSWORD, DIGITS = "password", "digits"

MEMORY_KIB, PASSES, LANES = 256 * 1024, 3, 4
FLOOR_KIB, CAP_KIB = 64 * 1024, 4 * 1024 * 1024
CAP_PASSES, CAP_LANES = 16, 16

_CLEAR_LENGTH = struct.Struct("<H")
_SECRET_LENGTH = 512
"""Plaintext of a slot: length, record, zeros. One size for all, so a label's length does not show."""


class Clear(encoding.Record, kw_only=True):
    """The parameters of a keyslot that stand in clear."""

    version: int = msgspec.field(name="v")
    kind: str = msgspec.field(name="k")
    slot: bytes = msgspec.field(name="i")
    salt: bytes = msgspec.field(name="s")
    memory_kib: int = msgspec.field(name="m", default=0)
    passes: int = msgspec.field(name="t", default=0)
    lanes: int = msgspec.field(name="p", default=0)


class Secret(encoding.Record, kw_only=True):
    """What a keyslot wraps."""

    master: bytes = msgspec.field(name="m")
    label: str = msgspec.field(name="l", default="")
    created_ns: int = msgspec.field(name="t", default=0)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a user has: a password, or the 32 bytes of a 64-digit key."""

    kind: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


@dataclass(frozen=True, slots=True)
class Keyslot:
    """A keyslot as stored, opened as far as needs no secret."""

    clear: Clear
    header: bytes
    clear_bytes: bytes
    commitment: bytes
    sealed: bytes
    algorithm: int

    @property
    def slot(self) -> KeyslotId:
        return KeyslotId(self.clear.slot)

    @property
    def name(self) -> str:
        return layout.keyslot_name(self.slot)


_clear_decoder = msgspec.msgpack.Decoder(Clear)
_secret_decoder = msgspec.msgpack.Decoder(Secret)


def password(text: str) -> Credential:
    """Return the credential of a password; it is normalised to NFC, so how a keyboard composes it does not matter.

    Raises:
        UsageError: the password is empty.
    """
    if not text:
        raise UsageError("An empty password protects nothing.", "Choose a password, or a 64-digit key.")
    return Credential(PASSWORD, unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape"))


# 64-digit keys ----------------------------------------------------------------------------------------------


def new_digits() -> Credential:
    """Return a new random 64-digit key."""
    return Credential(DIGITS, sealing.random_bytes(32))


def digits_text(credential: Credential) -> str:
    """Return a 64-digit key in 16 groups of four hexadecimal digits and a 17th group, its checksum."""
    digits = credential.secret.hex() + _checksum(credential.secret)
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def parse_digits(text: str) -> Credential:
    """Read a 64-digit key in any case, with any spaces and hyphens, with or without its checksum group.

    Raises:
        UsageError: it has not 64 digits, or the checksum shows a slip.
    """
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}([0-9a-f]{4})?", digits):
        raise UsageError(
            "This is not a 64-digit key.",
            "It has 16 groups of four digits (0-9 and a-f), and may have a 17th group as a checksum.",
        )
    secret = bytes.fromhex(digits[:64])
    if len(digits) == 68 and digits[64:] != _checksum(secret):
        raise UsageError(
            "The checksum of the 64-digit key does not match.", "Compare it with your copy: one digit is off."
        )
    return Credential(DIGITS, secret)


def _checksum(secret: bytes) -> str:
    return derive(secret, "digits checksum").hex()[:4]


# Slots ------------------------------------------------------------------------------------------------------


def make_keyslot(
    credential: Credential,
    master: bytes,
    repository: RepositoryId,
    *,
    algorithm: int = sealing.AES_256_GCM,
    label: str = "",
    created_ns: int = 0,
    memory_kib: int = MEMORY_KIB,
) -> tuple[KeyslotId, bytes]:
    """Return a new keyslot's id and its stored bytes."""
    if len(label.encode()) > 128:
        raise UsageError("A keyslot's label has at most 128 bytes.", "Choose a shorter label.")
    secret = encoding.encode(Secret(master=master, label=label, created_ns=created_ns))
    # Salt and slot id hash the wrapped content too: with a stuck random generator two slots are either the same slot
    # (and the second is refused, as objects are never overwritten) or have different salts and so different keys.
    draw = keyed(
        SubKeys.derive(master).keyslot,
        sealing.random_bytes(32),
        credential.kind.encode(),
        credential.secret,
        secret,
        length=48,
    )
    slot = KeyslotId(draw[32:])
    clear = Clear(version=layout.VERSION, kind=credential.kind, slot=slot, salt=draw[:32])
    if credential.kind == PASSWORD:
        clear = msgspec.structs.replace(clear, memory_kib=memory_kib, passes=PASSES, lanes=LANES)
    clear_bytes = encoding.encode(clear)
    header = layout.Header(layout.KEYSLOT, algorithm, repository).pack()
    key, commitment = _wrapping_key(credential, clear, header + clear_bytes)
    plaintext = (_CLEAR_LENGTH.pack(len(secret)) + secret).ljust(_SECRET_LENGTH, b"\0")
    # The nonce is fixed: the salt is new for every slot, so its key wraps exactly once.
    sealed = sealing.aead(algorithm, key).encrypt(bytes(12), plaintext, header + clear_bytes)
    stored = header + _CLEAR_LENGTH.pack(len(clear_bytes)) + clear_bytes + commitment + sealed
    return slot, stored + stored_name(stored)


def parse_keyslot(data: bytes, repository: RepositoryId, name: str) -> Keyslot:
    """Read a stored keyslot and check its parameters, without any secret.

    Raises:
        Damaged: it is not a keyslot of this repository, or its parameters are outside the floor and cap.
    """
    header = layout.parse_header(data, layout.KEYSLOT, name, repository)
    start = layout.HEADER_LENGTH + _CLEAR_LENGTH.size
    # The checksum tells damage from a wrong password; against an attacker the commitment and the seal stand.
    if len(data) < start + ID_LENGTH or stored_name(memoryview(data)[:-ID_LENGTH]) != data[-ID_LENGTH:]:
        raise Damaged(name, "it is cut off or was altered")
    (length,) = _CLEAR_LENGTH.unpack_from(data, layout.HEADER_LENGTH)
    if len(data) != start + length + sealing.COMMITMENT_LENGTH + _SECRET_LENGTH + sealing.TAG_LENGTH + ID_LENGTH:
        raise Damaged(name, "it has another length than a keyslot")
    clear_bytes = data[start : start + length]
    try:
        clear = _clear_decoder.decode(clear_bytes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Nothing authenticates these bytes yet, so this is damage as well as it may be a newer kind of slot.
        raise Damaged(name, "its parameters cannot be read") from None
    _check_parameters(clear, name)
    at = start + length
    return Keyslot(
        clear,
        data[: layout.HEADER_LENGTH],
        clear_bytes,
        data[at : at + sealing.COMMITMENT_LENGTH],
        data[at + sealing.COMMITMENT_LENGTH : -ID_LENGTH],
        header.algorithm,
    )


def _check_parameters(clear: Clear, name: str) -> None:
    if clear.version != layout.VERSION or clear.kind not in (PASSWORD, DIGITS):
        raise Unsupported(name, "is a kind of keyslot that this version of Keepstone does not know")
    if len(clear.salt) != 32 or layout.keyslot_name(KeyslotId(clear.slot)) != name or len(clear.slot) != 16:
        raise Damaged(name, "its parameters do not fit it")
    if clear.kind == DIGITS:
        weak = clear.memory_kib != 0 or clear.passes != 0 or clear.lanes != 0
    else:
        weak = not (
            FLOOR_KIB <= clear.memory_kib <= CAP_KIB
            and PASSES <= clear.passes <= CAP_PASSES
            and 1 <= clear.lanes <= CAP_LANES
        )
    if weak:
        raise Damaged(name, "its cost parameters are outside what Keepstone ever writes, so they were altered")


def open_keyslot(slot: Keyslot, credential: Credential) -> Secret | None:
    """Try a credential on a keyslot; None if it does not fit.

    Raises:
        Damaged: the credential fits, but the wrapped key was altered.
    """
    if slot.clear.kind != credential.kind:
        return None
    key, commitment = _wrapping_key(credential, slot.clear, slot.header + slot.clear_bytes)
    if not hmac.compare_digest(commitment, slot.commitment):
        return None
    try:
        plaintext = sealing.aead(slot.algorithm, key).decrypt(bytes(12), slot.sealed, slot.header + slot.clear_bytes)
    except InvalidTag:
        raise Damaged(slot.name, "its wrapped key was altered") from None
    (length,) = _CLEAR_LENGTH.unpack_from(plaintext)
    return encoding.decode(_secret_decoder, plaintext[_CLEAR_LENGTH.size : _CLEAR_LENGTH.size + length], slot.name)


def _wrapping_key(credential: Credential, clear: Clear, bound: bytes) -> tuple[bytes, bytes]:
    material = credential.secret if credential.kind == DIGITS else _argon2id(credential.secret, clear)
    stream = keyed(material, b"keyslot", clear.salt, bound, length=64)
    return stream[:32], stream[32:]


def _argon2id(secret: bytes, clear: Clear) -> bytes:
    try:
        kdf = Argon2id(
            salt=clear.salt,
            length=32,
            iterations=clear.passes,
            lanes=clear.lanes,
            memory_cost=clear.memory_kib,
        )
        return kdf.derive(secret)
    except (MemoryError, UnsupportedAlgorithm, ValueError) as error:
        raise NotEnoughMemory(
            f"The password could not be processed with {clear.memory_kib // 1024} MiB of memory ({error}).",
            "Free some memory, or unlock with a 64-digit key.",
        ) from error
