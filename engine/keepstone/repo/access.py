"""Changing who can open a repository: add, remove and change keyslots.

A keyslot counts only while the logs say so. Adding stores the slot, then appends the record; removing appends the
record, then deletes the slot's object. Cut off between the two, a slot that no record names opens nothing, and the
object of a removed one opens nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

from keepstone import encoding
from keepstone.errors import LastKeyslot, ObjectNotFound, UsageError, WrongPassword
from keepstone.ids import KeyslotId
from keepstone.repo import format as layout
from keepstone.repo import keys as keyslots
from keepstone.repo.log import KEYSLOTS, KeyslotsBody
from keepstone.repo.repository import Repository, read_keyslots
from keepstone.repo.writer import append_record


@dataclass(frozen=True, slots=True)
class KeyslotInfo:
    """A keyslot as `key list` shows it."""

    id: KeyslotId
    kind: str
    memory_kib: int


def list_keys(repository: Repository) -> list[KeyslotInfo]:
    """Return the keyslots that open the repository."""
    live = repository.log.live_keyslots(repository.config.keyslots)
    slots, _ = read_keyslots(repository.store, repository.id)
    return [KeyslotInfo(s.slot, s.clear.kind, s.clear.memory_kib) for s in slots if s.slot in live]


def add_key(
    repository: Repository,
    credential: keyslots.Credential,
    *,
    label: str = "",
    memory_kib: int = keyslots.MEMORY_KIB,
) -> KeyslotId:
    """Add a keyslot and return its id."""
    return _change(repository, credential, [], label, memory_kib)


def remove_key(repository: Repository, text: str) -> KeyslotId:
    """Remove the keyslot whose id begins with `text`.

    Raises:
        LastKeyslot: it is the only one.
        UsageError: none or several fit.
    """
    found = _find(repository, text)
    if len(list_keys(repository)) < 2:
        raise LastKeyslot("This is the last keyslot of the repository.")
    _append(repository, [], [found])
    _delete(repository, found)
    return found


def change_key(
    repository: Repository,
    old: keyslots.Credential,
    new: keyslots.Credential,
    *,
    label: str = "",
    memory_kib: int = keyslots.MEMORY_KIB,
) -> KeyslotId:
    """Replace the keyslot that `old` opens by one that `new` opens, in one record.

    Raises:
        WrongPassword: `old` opens no keyslot.
    """
    live = repository.log.live_keyslots(repository.config.keyslots)
    slots, _ = read_keyslots(repository.store, repository.id)
    found = next((s.slot for s in slots if s.slot in live and keyslots.open_keyslot(s, old) is not None), None)
    if found is None:
        raise WrongPassword("What was given as the old key opens no keyslot.")
    added = _change(repository, new, [found], label, memory_kib)
    _delete(repository, found)
    return added


def _change(
    repository: Repository, credential: keyslots.Credential, removed: list[bytes], label: str, memory_kib: int
) -> KeyslotId:
    if len(list_keys(repository)) >= layout.MAX_KEYSLOTS:
        raise UsageError(f"A repository has at most {layout.MAX_KEYSLOTS} keyslots.", "Remove one first.")
    slot, stored = keyslots.make_keyslot(
        credential,
        repository.master,
        repository.id,
        algorithm=repository.config.cipher,
        label=label,
        created_ns=repository.clock.now_ns(),
        memory_kib=memory_kib,
    )
    repository.store.put(layout.keyslot_name(slot), [stored])
    _append(repository, [slot], removed)
    return slot


def _append(repository: Repository, added: list[bytes], removed: list[bytes]) -> None:
    append_record(repository, KEYSLOTS, encoding.encode(KeyslotsBody(added=added, removed=removed)))


def _delete(repository: Repository, slot: KeyslotId) -> None:
    try:
        repository.store.delete(layout.keyslot_name(slot))
    except ObjectNotFound:
        pass


def _find(repository: Repository, text: str) -> KeyslotId:
    found = [info.id for info in list_keys(repository) if text and info.id.hex().startswith(text.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{'No' if not found else 'More than one'} keyslot has an id that begins with {text!r}.",
            "`keepstone key list` shows them.",
        )
    return found[0]
