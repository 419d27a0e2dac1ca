"""Messages into a repository: bring sources into the archive and publish a snapshot that has the new catalogue."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from keepstone import encoding
from keepstone.chunking import secrets_for
from keepstone.hashing import snapshot_id
from keepstone.history.catalogue import newest_catalogues
from keepstone.history.content import ContentWriter
from keepstone.history.recipe import ChunkReader
from keepstone.history.snapshot import Counts, SnapshotBody
from keepstone.ids import SnapshotId
from keepstone.messages.model import Item
from keepstone.repo import format as layout
from keepstone.repo.log import SNAPSHOT
from keepstone.repo.repository import Repository
from keepstone.repo.writer import Writer, writing
from keepstone.version import VERSION
from keepstone.work.archive import FindContent, Ingest, Origin, Taken, Work
from keepstone.work.at_hand import AtHand


@dataclass(frozen=True, slots=True)
class Showing:
    """A source and what it shows."""

    origin: Origin
    items: Iterable[Item]


@dataclass(frozen=True, slots=True)
class TakenMessages:
    """What a run did."""

    snapshot: SnapshotId
    taken: list[Taken]
    work: Work
    stored_bytes: int
    problems: list[str] = field(default_factory=list)


def ingest(
    repository: Repository, writer: Writer, content: ContentWriter, find_content: FindContent, reader: ChunkReader
) -> Ingest:
    """Return a run of the archive on top of what every writer of a repository knows. Use it as a context manager.

    Args:
        reader: reads what the repository has, from nearer than the store where it can.
    """
    known = newest_catalogues(repository.log, repository.keys, reader)
    scratch = os.fspath(repository.state.scratch_folder())
    return Ingest(known, reader, writer.add, content, scratch, find_content)


def take_messages(repository: Repository, showings: Sequence[Showing], *, level: int, host: str = "") -> TakenMessages:
    """Bring what sources show into the archive, and nothing else. The caller holds the writer's lock."""
    time_ns = repository.clock.now_ns()
    with writing(repository, level) as writer:
        secrets = secrets_for(repository.config.chunker.algorithm, repository.keys.chunker)
        content = ContentWriter(writer.add, writer.add_tree, secrets)
        with AtHand(repository) as near, ingest(repository, writer, content, lambda sha256: None, near) as run:
            taken = [run.take(showing.origin, time_ns // 1_000_000, showing.items) for showing in showings]
            catalogue = run.finish()
        writer.flush()
        body = encoding.encode(
            SnapshotBody(
                version=layout.VERSION,
                time_ns=time_ns,
                host=host or os.uname().nodename,
                user=_user_name(),
                counts=Counts(
                    added=writer.totals.plain_bytes,
                    stored=writer.totals.stored_bytes,
                    chunks_new=writer.totals.chunks,
                ),
                program=f"keepstone {VERSION}",
                catalogue=catalogue,
            )
        )
        writer.publish(SNAPSHOT, body)
        return TakenMessages(snapshot_id(repository.keys.chunk_id, body), taken, run.work, writer.totals.stored_bytes)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
