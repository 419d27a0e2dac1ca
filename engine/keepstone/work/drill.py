"""Restore drills: restore a sample to a scratch place, look whether it is right, and write a signed receipt of it.

`check` proves that the repository holds what it promises; a drill proves the whole way back, through the same restore
that a bad day would use. A restored file is compared with its chunks, with the original where that still stands as it
was backed up, and, if it is a database, by the database's own check. One file at a time lies in the scratch folder.

The sample is drawn anew each time (newest conversations first, then media, then anything, from the newest snapshot and
a few others), so that drills run by cron see everything in the end. The receipt says what was drawn; anybody with the
writer's public key, which stands in the repository's log, can check its signature.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keepstone import events
from keepstone.clock import Clock
from keepstone.errors import KeepstoneError, UsageError
from keepstone.hashing import stored_name
from keepstone.history import tree
from keepstone.history.snapshot import Snapshot, snapshots
from keepstone.history.tree import Entry
from keepstone.repo.log import writer_id
from keepstone.repo.repository import Repository
from keepstone.sources.sqlite import is_sqlite
from keepstone.version import VERSION
from keepstone.work.drill_messages import DrillMessages
from keepstone.work.query import walk
from keepstone.work.restore import RestoreOptions, restore

BLOCK = 1024 * 1024
DATABASE_SECONDS = 600.0
"""How long a database's own check may take."""
_RECEIPTS = "Take the file that `keepstone drill --receipt FILE` wrote, as it was written, and its repository."
_SIGNED = b"keepstone 1 drill receipt\0"

_CONVERSATIONS = (
    b".db",
    b".sqlite",
    b".crypt12",
    b".crypt14",
    b".crypt15",
    b".xml",
    b".json",
    b".txt",
    b".zip",
    b".backup",
)
_MEDIA = (
    b".jpg", b".jpeg", b".png", b".gif", b".webp", b".heic", b".mp4", b".mov", b".3gp", b".mkv", b".opus", b".ogg",
    b".m4a", b".mp3", b".aac", b".amr", b".pdf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """How much to restore."""

    files: int = 30
    """From each snapshot that is drawn."""
    snapshots: int = 3
    """The newest, and others at random."""
    full: bool = False
    """Everything of every snapshot; what several share, once."""
    scratch: str = ""
    """Where a private folder for restored files is made, and removed. The system's for temporary files, if empty."""
    seed: int | None = None
    """Of the draw; a new one, if None."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that did not come back right."""

    snapshot: str
    path: bytes
    what: str


@dataclass(slots=True)
class DrillResult:
    """What was restored, and what was wrong with it."""

    snapshots: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    databases: int = 0
    """Databases that passed their own check."""
    originals: int = 0
    """Files that were compared with their original, which still stands."""
    messages: int = 0
    """Messages that were read again from restored files and looked for in the catalogue."""
    contents: int = 0
    """Attachments that came back with the hash that the catalogue tells."""
    findings: list[Finding] = field(default_factory=list)
    seed: int = 0
    receipt: str = ""
    duration: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.findings


def drill(repository: Repository, options: DrillOptions, listener: events.Listener = events.ignore) -> DrillResult:
    """Restore a sample and return what was found.

    Raises:
        UsageError: there is no snapshot.
        TargetError: the scratch folder cannot be used.
    """
    known = snapshots(repository.log, repository.keys)
    if not known:
        raise UsageError("There is no snapshot to restore from.", "Make one with `keepstone backup PATH`.")
    started = repository.clock.monotonic()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    result = DrillResult(seed=seed)
    with tempfile.TemporaryDirectory(prefix="keepstone-drill-", dir=options.scratch or None) as scratch:
        _Drill(repository, options, listener, result, os.fsencode(scratch)).run(known, random.Random(seed))
    result.duration = repository.clock.monotonic() - started
    result.receipt = _receipt(repository, result)
    return result


class _Drill:
    def __init__(
        self,
        repository: Repository,
        options: DrillOptions,
        listener: events.Listener,
        result: DrillResult,
        scratch: bytes,
    ) -> None:
        self.repository, self.options, self.listener = repository, options, listener
        self.result, self.scratch = result, scratch
        self.seen: set[bytes] = set()
        self.catalogue: DrillMessages | None = None

    def run(self, known: Sequence[Snapshot], rng: random.Random) -> None:
        *older, newest = known
        count = len(older) if self.options.full else min(len(older), max(0, self.options.snapshots - 1))
        chosen = [newest, *rng.sample(older, count)]
        for number, snapshot in enumerate(chosen):
            self.result.snapshots.append(snapshot.id.hex())
            self.listener(events.Step(number, len(chosen), snapshot.id.hex()[:8]))
            self._messages(snapshot, rng)
        self.listener(events.Step(len(chosen), len(chosen)))

    def _messages(self, snapshot: Snapshot, rng: random.Random) -> None:
        """Restore what is drawn of a snapshot, and compare it with its catalogue of messages."""
        try:
            self.catalogue = DrillMessages(self.repository, snapshot)
        except KeepstoneError as error:
            self.result.findings.append(Finding(snapshot.id.hex(), b"messages", error.message))
        for path, entry in self._drawn(snapshot, rng):
            self._try(snapshot, path, entry)
        if self.catalogue is None:
            return
        try:
            for what in self.catalogue.of_contents(None if self.options.full else self.options.files, rng):
                self.result.findings.append(Finding(snapshot.id.hex(), b"messages", what))
        except KeepstoneError as error:
            self.result.findings.append(Finding(snapshot.id.hex(), b"messages", error.message))
        self.result.messages += self.catalogue.messages
        self.result.contents += self.catalogue.contents
        self.catalogue = None

    def _drawn(self, snapshot: Snapshot, rng: random.Random) -> Iterator[tuple[bytes, Entry]]:
        """Yield what to restore of a snapshot. What is the same as in one before is not restored twice."""
        files: Iterator[tuple[bytes, Entry]] = (
            (listed.path, listed.entry)
            for listed in walk(self.repository, snapshot, b"", snapshot.body.root)
            if listed.entry.kind == tree.FILE
        )
        if not self.options.full:
            files = iter(_sample(files, self.options.files, rng))
        for path, entry in files:
            key = stored_name(entry.content)[:16]
            if not entry.content or key not in self.seen:
                self.seen.add(key)
                yield path, entry

    def _try(self, snapshot: Snapshot, path: bytes, entry: Entry) -> None:
        place = os.path.join(self.scratch, entry.name)
        try:
            options = RestoreOptions(target=self.scratch, path=path, verify=True)
            done = restore(self.repository, snapshot, options)
            problems = [str(problem.error.message) for problem in done.problems] or list(
                self._wrong(path, place, entry)
            )
        except KeepstoneError as error:
            problems = [error.message]
        except OSError as error:
            problems = [f"The restored file cannot be read ({error.strerror})."]
        finally:
            with suppress(OSError):
                os.unlink(place)
        self.result.files += 1
        self.result.bytes += entry.size
        for what in problems:
            self.result.findings.append(Finding(snapshot.id.hex(), path, what))
        self.listener(events.FileDone(path, "wrong" if problems else "restored", entry.size))

    def _wrong(self, path: bytes, place: bytes, entry: Entry) -> Iterator[str]:
        """Yield what is wrong with a restored file."""
        if os.lstat(place).st_size != entry.size:
            yield f"The restored file has {os.lstat(place).st_size} bytes instead of {entry.size}."
            return
        if not entry.flags & (tree.DATABASE_IMAGE | tree.CHANGED_WHILE_READ) and _stands(path, entry):
            same = _same(path, place)
            if same is not None:
                self.result.originals += 1
                if not same:
                    yield "The restored file is not the original, which is said not to have changed."
        if self.catalogue is not None:
            yield from self.catalogue.of_file(path, place, entry)
        with open(place, "rb") as file:
            database = is_sqlite(file.read(100))
        if database:
            complaint = _complaint(place, self.repository.clock)
            self.result.databases += not complaint
            # A database that was damaged already when it was backed up came back as it was.
            if complaint and not (_stands(path, entry) and _same(path, place)):
                yield f"The restored database does not pass its own check ({complaint})."


def _sample(files: Iterator[tuple[bytes, Entry]], count: int, rng: random.Random) -> list[tuple[bytes, Entry]]:
    """Return a third of newest conversations, a third of media, and anything else, in memory for `count` files each."""
    newest: list[tuple[int, float, bytes, Entry]] = []
    drawn: dict[bool, list[tuple[bytes, Entry]]] = {True: [], False: []}
    met = {True: 0, False: 0}
    for path, entry in files:
        name = entry.name.lower()
        if name.endswith(_CONVERSATIONS):
            newest.append((entry.mtime_ns, rng.random(), path, entry))
            if len(newest) > 4 * count:
                newest = sorted(newest, reverse=True)[:count]
        # Reservoir sampling, algorithm R: Vitter, "Random Sampling with a Reservoir", ACM TOMS 11 (1985).
        kind = name.endswith(_MEDIA)
        met[kind] += 1
        if len(drawn[kind]) < count:
            drawn[kind].append((path, entry))
        elif (at := rng.randrange(met[kind])) < count:
            drawn[kind][at] = (path, entry)
    conversations = [(path, entry) for _, _, path, entry in sorted(newest, key=lambda found: found[:2], reverse=True)]
    for some in drawn.values():
        rng.shuffle(some)
    share = -(-count // 3)
    chosen = dict([*conversations[:share], *drawn[True][:share]])
    for path, entry in [*drawn[False], *drawn[True], *conversations]:
        if len(chosen) >= count:
            break
        chosen.setdefault(path, entry)
    return list(chosen.items())


def _stands(path: bytes, entry: Entry) -> bool:
    """Return whether the original is still there and has not changed since it was backed up, as its times tell."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (entry.size, entry.mtime_ns, entry.ctime_ns)


def _same(left: bytes, right: bytes) -> bool | None:
    """Return whether two files have the same bytes; None if the first cannot be read."""
    with ExitStack() as stack:
        try:
            original = stack.enter_context(open(left, "rb", buffering=0))
        except OSError:
            return None
        restored = stack.enter_context(open(right, "rb", buffering=0))
        while True:
            a, b = original.read(BLOCK), restored.read(BLOCK)
            if a != b:
                return False
            if not a:
                return True


def _complaint(place: bytes, clock: Clock) -> str:
    """Return what a database's own check says against it; nothing if it is whole."""
    end = clock.monotonic() + DATABASE_SECONDS
    try:
        with closing(sqlite3.connect(os.fsdecode(place), isolation_level=None)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            database.set_progress_handler(lambda: clock.monotonic() > end, 10_000)
            found = database.execute("PRAGMA integrity_check(1)").fetchone()
            return "" if found == ("ok",) else str(found[0])[:200]
    except sqlite3.OperationalError as error:
        return "" if "interrupted" in str(error) else str(error)
    except sqlite3.Error as error:
        return str(error)


# Receipts ---------------------------------------------------------------------------------------------------


def _receipt(repository: Repository, result: DrillResult) -> str:
    """Return what was done, in words that a program can read, with this writer's signature."""
    _, signer = repository.state.writer()
    public = signer.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    said = {
        "keepstone": f"drill {VERSION}",
        "repository": repository.id.hex(),
        "time_ns": repository.clock.now_ns(),
        "seed": result.seed,
        "snapshots": result.snapshots,
        "files": result.files,
        "bytes": result.bytes,
        "databases": result.databases,
        "originals": result.originals,
        "messages": result.messages,
        "contents": result.contents,
        "failed": len(result.findings),
        "passed": result.passed,
        "public_key": public.hex(),
    }
    body = _canonical(said)
    return json.dumps({**said, "signature": signer.sign(_SIGNED + body).hex()}, indent=1) + "\n"


def _canonical(said: dict[str, object]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def check_receipt(repository: Repository, text: str) -> bool:
    """Return whether a receipt was signed by a writer of this repository and says that the drill passed.

    Raises:
        UsageError: it is no receipt, nobody who writes to this repository signed it, or it was changed.
    """
    try:
        said = json.loads(text)
        signature, public = bytes.fromhex(said.pop("signature")), bytes.fromhex(said["public_key"])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _SIGNED + _canonical(said))
        passed, of = bool(said["passed"]), str(said["repository"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature) as error:
        raise UsageError("This is no receipt of a drill, or it was changed.", _RECEIPTS) from error
    writers = {entry.record.writer for entry in repository.log.entries}
    if of != repository.id.hex() or writer_id(public) not in writers:
        raise UsageError("Nobody who writes to this repository signed this receipt.", _RECEIPTS)
    return passed
