"""The keys of the user's encrypted containers, kept sealed in the repository's log.

They are given once. A key is never taken back: what was unwrapped with it needs it to be wrapped again.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from keepstone import encoding
from keepstone.containers import (
    Keys,
    SignalKey,
    SignalRecoveryKey,
    WhatsAppKey,
    parse_key,
    parse_passphrase,
    parse_recovery_key,
)
from keepstone.errors import Unsupported, UsageError
from keepstone.repo import format as layout
from keepstone.repo.log import CONTAINER_KEY, LogView
from keepstone.repo.repository import Repository
from keepstone.repo.writer import append_record

WHATSAPP, SIGNAL = "whatsapp", "signal"
KINDS = (WHATSAPP, SIGNAL)


class ContainerKeyBody(encoding.Record, kw_only=True):
    """A key as it was given."""

    kind: str = msgspec.field(name="k")
    material: bytes = msgspec.field(name="m")


_decoder = msgspec.msgpack.Decoder(ContainerKeyBody)


@dataclass(frozen=True, slots=True)
class ContainerKeyInfo:
    """A container key as a list shows it."""

    ref: bytes
    """16 bytes that tell it from others, and nothing about it."""
    kind: str
    time_ns: int
    """When it was given."""


def container_keys(view: LogView) -> Keys:
    """Return all container keys that the logs hold."""
    found = dict.fromkeys(key for _, keys in _given(view) for key in keys)
    return Keys(
        whatsapp=tuple(key for key in found if isinstance(key, WhatsAppKey)),
        signal=tuple(key for key in found if isinstance(key, SignalKey)),
        recovery=tuple(key for key in found if isinstance(key, SignalRecoveryKey)),
    )


def list_container_keys(view: LogView) -> list[ContainerKeyInfo]:
    """Return what is told of the container keys, oldest first."""
    listed: dict[bytes, ContainerKeyInfo] = {}
    for time_ns, (first, *_) in _given(view):
        kind = WHATSAPP if isinstance(first, WhatsAppKey) else SIGNAL
        listed.setdefault(first.ref, ContainerKeyInfo(first.ref, kind, time_ns))
    return list(listed.values())


def add_container_key(repository: Repository, kind: str, material: bytes) -> bytes:
    """Keep a container key, and return its reference. The caller holds the writer's lock.

    Args:
        material: the content of a key file, or digits as text.

    Raises:
        UsageError: it is no key of that kind.
    """
    if kind == SIGNAL and parse_key(material) is not None:
        raise UsageError("This is a key of WhatsApp.", "Add it as `whatsapp`, or give the key that Signal showed.")
    found = _parse(kind, material)
    if not found:
        raise UsageError(f"This is no key of {kind}.", _EXPECTED.get(kind, f"Kinds are {', '.join(KINDS)}."))
    ref = found[0].ref
    if ref not in {known.ref for known in list_container_keys(repository.log)}:
        append_record(repository, CONTAINER_KEY, encoding.encode(ContainerKeyBody(kind=kind, material=material)))
    return ref


_EXPECTED = {
    WHATSAPP: "Give the 64 digits that WhatsApp showed, or the file `encrypted_backup.key` or `key`.",
    SIGNAL: "Give the 64 characters of the recovery key, or the 30 digits of the passphrase, that Signal showed.",
}


_Found = tuple[WhatsAppKey | SignalKey | SignalRecoveryKey, ...]


def _given(view: LogView) -> list[tuple[int, _Found]]:
    given = []
    for entry in view.of_kind(CONTAINER_KEY):
        try:
            body = encoding.decode(_decoder, entry.record.body, "A container key")
        except Unsupported:
            continue  # A newer version wrote it; the files that need it say so.
        found = _parse(body.kind, body.material)
        if found:
            given.append((entry.record.time_ns, found))
    return given


def _parse(kind: str, material: bytes) -> _Found:
    """Return the keys that were given; none if it is no key of this kind."""
    if len(material) > layout.MAX_SMALL_OBJECT // 16:
        return ()
    if kind == WHATSAPP:
        return parse_key(material) or ()
    text = material.decode("ascii", "replace")
    found = (parse_passphrase(text) or parse_recovery_key(text)) if kind == SIGNAL else None
    return () if found is None else (found,)
