"""Snapshots: one finished backup each, as a record in a writer's log, and how people name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from keepstone import encoding
from keepstone.errors import SnapshotNotFound, Unsupported
from keepstone.hashing import SubKeys, snapshot_id
from keepstone.ids import SnapshotId, WriterId
from keepstone.repo import format as layout
from keepstone.repo.log import SNAPSHOT, LogView


class Counts(encoding.Record, kw_only=True):
    """What a backup did."""

    files_new: int = msgspec.field(name="n", default=0)
    files_changed: int = msgspec.field(name="c", default=0)
    files_unmodified: int = msgspec.field(name="u", default=0)
    folders: int = msgspec.field(name="d", default=0)
    files: int = msgspec.field(name="f", default=0)
    bytes: int = msgspec.field(name="b", default=0)
    added: int = msgspec.field(name="a", default=0)
    """New plaintext bytes."""
    stored: int = msgspec.field(name="s", default=0)
    """Bytes added to the store before this record."""
    chunks_new: int = msgspec.field(name="k", default=0)
    problems: int = msgspec.field(name="p", default=0)


class SnapshotBody(encoding.Record, kw_only=True):
    """The body of a snapshot's log record."""

    version: int = msgspec.field(name="v")
    time_ns: int = msgspec.field(name="t")
    host: str = msgspec.field(name="h")
    user: str = msgspec.field(name="u", default="")
    sources: list[bytes] = msgspec.field(name="p", default_factory=list)
    tags: list[str] = msgspec.field(name="g", default_factory=list)
    root: bytes = msgspec.field(name="r", default=b"")
    """Recipe of the root tree, the folder `/`."""
    counts: Counts = msgspec.field(name="c", default_factory=Counts)
    parent: bytes = msgspec.field(name="f", default=b"")
    program: str = msgspec.field(name="w", default="")
    catalogue: bytes = msgspec.field(name="m", default=b"")
    """Recipe of the catalogue of messages; empty if there is none."""
    left_messages: bool = msgspec.field(name="l", default=False)
    """Whether this run, or one before it, left files that may hold messages unread."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished backup."""

    id: SnapshotId
    body: SnapshotBody

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"Snapshot {self.id.hex()[:8]}"


_decoder = msgspec.msgpack.Decoder(SnapshotBody)


def snapshots(view: LogView, keys: SubKeys) -> list[Snapshot]:
    """Return all snapshots of the logs that this version can read, oldest first."""
    return read_snapshots(view, keys)[0]


def read_snapshots(view: LogView, keys: SubKeys) -> tuple[list[Snapshot], list[Unsupported]]:
    """Return the snapshots of the logs, and what a newer version wrote: one such record does not hide the others."""
    unsupported: list[Unsupported] = []
    found = [snapshot for _, snapshot in _read(view, keys, unsupported)]
    return sorted(found, key=lambda snapshot: snapshot.body.time_ns), unsupported


def snapshots_by_writer(view: LogView, keys: SubKeys) -> list[tuple[WriterId, Snapshot]]:
    """Return all snapshots that this version can read with their writers, each writer's in the order of its log."""
    return _read(view, keys, [])


def _read(view: LogView, keys: SubKeys, unsupported: list[Unsupported]) -> list[tuple[WriterId, Snapshot]]:
    found = []
    for entry in view.of_kind(SNAPSHOT):
        name = layout.log_name(WriterId(entry.record.writer), entry.record.sequence)
        try:
            body = encoding.decode(_decoder, entry.record.body, name)
        except Unsupported as error:
            unsupported.append(error)
            continue
        if body.version != layout.VERSION:
            unsupported.append(Unsupported(name, f"is a snapshot of version {body.version}"))
            continue
        snapshot = Snapshot(snapshot_id(keys.chunk_id, entry.record.body), body)
        found.append((WriterId(entry.record.writer), entry.record.sequence, snapshot))
    found.sort(key=lambda one: one[:2])
    return [(writer, snapshot) for writer, _, snapshot in found]


def resolve(text: str, known: Sequence[Snapshot]) -> Snapshot:
    """Return the snapshot that `text` names: `latest`, or an id or its first digits.

    Raises:
        SnapshotNotFound: none or several fit.
    """
    if text == "latest":
        if not known:
            raise SnapshotNotFound("There is no snapshot yet.", "Make one with `keepstone backup PATH`.")
        return known[-1]
    found = [s for s in known if s.id.hex().startswith(text.lower())] if text else []
    if len(found) != 1:
        what = "No snapshot" if not found else "More than one snapshot"
        raise SnapshotNotFound(f"{what} has an id that begins with {text!r}.")
    return found[0]
