"""Logs: who wrote what, in which order.

Each writer appends records `log/<writer>/<sequence>`, numbered from 1. A record carries the hash of its predecessor,
the heads of the other logs its writer had seen, and a signature (Ed25519, RFC 8032); it is sealed, and its place is
part of the associated data. So the storage can withhold the end of a log, but not change, reorder or skip records,
and a client that remembers heads notices what is withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keepstone import encoding, sealing
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import SubKeys, keyed, stored_name
from keepstone.ids import RepositoryId, WriterId
from keepstone.repo import format as layout

SNAPSHOT, KEYSLOTS, CONTAINER_KEY = "snapshot", "keyslots", "container-key"
TOMBSTONE, FENCE, ACKNOWLEDGEMENT = "tombstone", "fence", "acknowledgement"
"""Reserved for prune: a client that finds one of these, or any kind it does not know, may read but not write."""
WRITABLE_KINDS = (SNAPSHOT, KEYSLOTS, CONTAINER_KEY)

NO_PREDECESSOR = bytes(32)
MISSING = "this record is missing"
_SIGNED = b"keepstone 1 log record\0"


class Head(encoding.Row):
    """The newest record of a log, as somebody saw it."""

    writer: bytes
    sequence: int
    hash: bytes


class LogRecord(encoding.Record, kw_only=True):
    version: int = msgspec.field(name="v")
    writer: bytes = msgspec.field(name="w")
    sequence: int = msgspec.field(name="s")
    previous: bytes = msgspec.field(name="p")
    heads: list[Head] = msgspec.field(name="h")
    time_ns: int = msgspec.field(name="t")
    kind: str = msgspec.field(name="k")
    body: bytes = msgspec.field(name="b")
    public_key: bytes = msgspec.field(name="q")


class SignedRecord(encoding.Row):
    record: bytes
    signature: bytes


class KeyslotsBody(encoding.Record, kw_only=True):
    """A change to the set of keyslots that may open the repository."""

    added: list[bytes] = msgspec.field(name="a", default_factory=list)
    removed: list[bytes] = msgspec.field(name="r", default_factory=list)


_record_decoder = msgspec.msgpack.Decoder(LogRecord)
_signed_decoder = msgspec.msgpack.Decoder(SignedRecord)
_keyslots_decoder = msgspec.msgpack.Decoder(KeyslotsBody)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record together with the hash of its stored bytes."""

    record: LogRecord
    hash: bytes

    @property
    def head(self) -> Head:
        return Head(self.record.writer, self.record.sequence, self.hash)


class RecordCache(Protocol):
    """Keeps stored bytes of records that were read before."""

    def log_record(self, name: str) -> bytes | None: ...

    def keep_log_records(self, records: Iterable[tuple[str, bytes]]) -> None: ...


class NoCache:
    """Keeps nothing."""

    def log_record(self, name: str) -> bytes | None:
        return None

    def keep_log_records(self, records: Iterable[tuple[str, bytes]]) -> None:
        pass


class RecordSource(Protocol):
    """What reading logs needs of a store."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...


def writer_id(public_key: bytes) -> WriterId:
    """Return the id of the writer who signs with this key."""
    return WriterId(stored_name(public_key)[:16])


def seal_record(
    record: LogRecord, signer: Ed25519PrivateKey, keys: SubKeys, repository: RepositoryId, algorithm: int
) -> bytes:
    """Sign and seal a record."""
    body = encoding.encode(record)
    signature = signer.sign(_SIGNED + repository + body)
    header = layout.Header(layout.LOG, algorithm, repository).pack()
    bound = header + _place(WriterId(record.writer), record.sequence)
    return header + sealing.seal(keys.log, algorithm, bound, encoding.encode(SignedRecord(body, signature)))


def open_record(
    stored: bytes,
    writer: WriterId,
    sequence: int,
    keys: SubKeys,
    repository: RepositoryId,
    *,
    verify: bool = True,
) -> LogEntry:
    """Open the record at a place of a log. `verify` also checks the signature.

    Raises:
        Damaged, Unsupported: named after the record.
    """
    name = layout.log_name(writer, sequence)
    if len(stored) > layout.MAX_SMALL_OBJECT:
        raise Damaged(name, f"no record has {len(stored)} bytes")
    header = layout.parse_header(stored, layout.LOG, name, repository)
    bound = stored[: layout.HEADER_LENGTH] + _place(writer, sequence)
    body = sealing.unseal(keys.log, header.algorithm, bound, memoryview(stored)[layout.HEADER_LENGTH :], name)
    signed = encoding.decode(_signed_decoder, body, name)
    record = encoding.decode(_record_decoder, signed.record, name)
    if record.version != layout.VERSION:
        raise Unsupported(name, f"is a record of version {record.version}")
    if record.writer != writer or record.sequence != sequence or writer_id(record.public_key) != writer:
        raise Damaged(name, "it says that it belongs elsewhere")
    if verify:
        try:
            Ed25519PublicKey.from_public_bytes(record.public_key).verify(
                signed.signature, _SIGNED + repository + signed.record
            )
        except (InvalidSignature, ValueError):
            raise Damaged(name, "its signature does not match") from None
    return LogEntry(record, stored_name(stored))


def _place(writer: WriterId, sequence: int) -> bytes:
    return writer + sequence.to_bytes(8, "little")


@dataclass(slots=True)
class LogView:
    """All logs of a repository as the store shows them."""

    entries: list[LogEntry] = field(default_factory=list)
    damaged: list[Damaged | Unsupported] = field(default_factory=list)
    heads: dict[WriterId, Head] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[LogEntry]:
        """Return the records of a kind, by claimed time."""
        found = [entry for entry in self.entries if entry.record.kind == kind]
        return sorted(found, key=lambda e: (e.record.time_ns, e.record.writer, e.record.sequence))

    def unknown_kind(self) -> str | None:
        """Return the kind of a record that forbids this version to write, if there is one."""
        return next((e.record.kind for e in self.entries if e.record.kind not in WRITABLE_KINDS), None)

    def live_keyslots(self, initial: Sequence[bytes]) -> set[bytes]:
        """Return the ids of the keyslots that may open the repository: ever added and never removed."""
        live, gone = set(initial), set()
        for entry in self.of_kind(KEYSLOTS):
            name = layout.log_name(WriterId(entry.record.writer), entry.record.sequence)
            body = encoding.decode(_keyslots_decoder, entry.record.body, name)
            live.update(body.added)
            gone.update(body.removed)
        return live - gone


def read_logs(
    names: Iterable[str], store: RecordSource, cache: RecordCache, keys: SubKeys, repository: RepositoryId
) -> LogView:
    """Read and verify all logs. Damage is collected, not raised: one bad record does not hide the other logs."""
    sequences: dict[WriterId, list[int]] = {}
    view = LogView()
    for name in names:
        place = layout.log_of_name(name)
        if place is None:
            view.damaged.append(Damaged(name, "this is not the name of a record"))
        else:
            sequences.setdefault(place[0], []).append(place[1])
    for writer in sorted(sequences):
        found = LogView()
        _read_log(writer, sorted(sequences[writer]), store, cache, keys, repository, found)
        if found.damaged:
            # What the cache kept may be another history than the store's; then only the store's counts.
            found = LogView()
            _read_log(writer, sorted(sequences[writer]), store, NoCache(), keys, repository, found)
        view.entries += found.entries
        view.damaged += found.damaged
        view.heads.update(found.heads)
    _check_claims(view)
    return view


def _check_claims(view: LogView) -> None:
    """Compare what the records say of other logs with what the store shows of them."""
    hashes = {(e.record.writer, e.record.sequence): e.hash for e in view.entries}
    damaged = {d.object_name for d in view.damaged}
    for claimed in {(h.writer, h.sequence, h.hash) for e in view.entries for h in e.record.heads}:
        name = layout.log_name(WriterId(claimed[0]), claimed[1])
        if hashes.get(claimed[:2]) != claimed[2] and name not in damaged:
            damaged.add(name)
            view.damaged.append(Damaged(name, "another writer has seen this record, and it is missing or another one"))


def _read_log(
    writer: WriterId,
    sequences: list[int],
    store: RecordSource,
    cache: RecordCache,
    keys: SubKeys,
    repository: RepositoryId,
    view: LogView,
) -> None:
    previous: bytes | None = NO_PREDECESSOR
    expected = 1
    fresh = []
    for sequence in sequences:
        name = layout.log_name(writer, sequence)
        for missing in range(expected, min(sequence, expected + 100)):
            view.damaged.append(Damaged(layout.log_name(writer, missing), MISSING))
            previous = None
        expected = sequence + 1
        # The newest record always comes from the store: it vouches for all before it, which may come from the cache.
        kept = None if sequence == sequences[-1] else cache.log_record(name)
        try:
            stored = store.get(name, 0, layout.MAX_SMALL_OBJECT + 1) if kept is None else kept
            entry = open_record(stored, writer, sequence, keys, repository, verify=kept is None)
            if previous is not None and entry.record.previous != previous:
                raise Damaged(name, "it does not follow its predecessor")
        except (Damaged, Unsupported) as error:
            view.damaged.append(error)
            previous = None
            continue
        if kept is None:
            fresh.append((name, stored))
        previous = entry.hash
        view.entries.append(entry)
        view.heads[writer] = entry.head
    cache.keep_log_records(fresh)


def receipt(keys: SubKeys, head: Head) -> str:
    """Return the 24 characters that prove, on any computer with the key, that a log reached this record."""
    tag = keyed(keys.receipt, head.writer, head.sequence.to_bytes(8, "little"), head.hash)[:11]
    number = int.from_bytes((head.sequence & 0xFFFFFFFF).to_bytes(4, "big") + tag, "big")
    digits = "".join(_CROCKFORD[number >> shift & 31] for shift in range(115, -1, -5))
    return "-".join(digits[at : at + 6] for at in range(0, 24, 6))


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def normal_receipt(text: str) -> str:
    """Return a receipt as `receipt` writes it, however a person typed it."""
    plain = text.upper().replace("-", "").replace(" ", "").replace("O", "0").replace("I", "1").replace("L", "1")
    return "-".join(plain[at : at + 6] for at in range(0, len(plain), 6))
