"""How new chunks get in: deduplicate, gather into frames, compress, pack, seal, verify, store; then publish.

The caller's thread hashes and looks up; worker threads compress, seal and store. Chunks of one *lane* share frames
(locality: what is read together is stored together); finished frames are dealt at random to two open packs, so that
a pack's size says nothing about a file. Write order is pack, index object, log record: a snapshot never refers to
what is not stored.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import ParamSpec

from keepstone.chunking import copied
from keepstone.errors import Damaged, NotEnoughMemory, StoreError, Unsupported, UsageError
from keepstone.hashing import chunk_id, stored_name
from keepstone.ids import Buffer, ChunkId, PackId, WriterId, stem
from keepstone.memory import give_back, large_piece
from keepstone.repo import format as layout
from keepstone.repo import index, log, pack
from keepstone.repo.repository import Repository
from keepstone.repo.resembling import BATCH_BYTES, Kinship, Resembling

P = ParamSpec("P")

DATA, TREES = 0, 1
"""Lanes: content of files, and what describes it."""

SINGLE_FROM = layout.FRAME_TARGET // 2
"""A chunk this large is a frame of its own."""
MOST_CHUNKS = 8192
"""A frame is also full with this many chunks, however small they are: the format counts them in 16 bits."""
MOST_FRAMES, MOST_DIRECTORY = 16_384, 8 * 1024 * 1024
"""A pack is also full with this many frames or bytes of directory, however well its content compresses."""
DELTA_FROM = 4 * 1024
"""Smaller chunks are not worth a frame of their own."""
MOST_BASE_BYTES = 4 * 1024 * 1024
OPEN_PACKS = 2
HELD_BYTES = 224 * 1024 * 1024
"""Free memory is given back after a pack if the process holds more than this: chunks of all sizes leave holes in it."""
_SPLIT_FROM = 8 * 1024 * 1024
"""The rest of a run is one pack, unless it is this large."""
_PIECE = layout.PACK_TARGET + 4 * layout.FRAME_TARGET
"""Memory that mostly holds a full pack."""
IN_FLIGHT_BYTES = 32 * 1024 * 1024
WORKERS = 2


@dataclass(slots=True)
class Totals:
    """What a writer has added to the repository so far."""

    chunks: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0


class OpenPack:
    """Frames waiting for their pack to fill."""

    def __init__(self) -> None:
        self.frames: list[pack.Frame] = []
        self.size = self.directory = 0

    def add(self, frame: pack.Frame) -> None:
        self.frames.append(frame)
        row = 40 + len(frame.ids) + len(frame.lengths) + len(frame.bases)
        self.directory += row
        self.size += len(frame.payload) + row

    @property
    def full(self) -> bool:
        return self.size >= layout.PACK_TARGET or self.directory >= MOST_DIRECTORY or len(self.frames) >= MOST_FRAMES


class Writer:
    """Adds chunks to a repository. Use `writing`; its end flushes, an exception discards what is not stored yet."""

    def __init__(self, repository: Repository, level: int, *, dry_run: bool = False) -> None:
        self._repository, self._level, self._dry_run = repository, level, dry_run
        self._keys = repository.keys
        self._index = repository.ready_index()
        self.totals = Totals()
        self._pending: set[ChunkId] = set()
        self._lanes: list[list[tuple[ChunkId, bytes]]] = [[], []]
        self._lane_bytes = [0, 0]
        self._kinship = Kinship(self._keys.chunker)
        self._resembling: list[list[Resembling]] = [[], []]
        self._resembling_bytes = [0, 0]
        self._open: list[list[OpenPack]] = [[OpenPack() for _ in range(OPEN_PACKS)], [OpenPack()]]
        self._stored: list[pack.Directory] = []
        self._unindexed: list[pack.Directory] = []
        self._lock = threading.Lock()
        self._pieces: list[memoryview] = []
        """Memory of packs that are stored, for the next ones."""
        self._pool = ThreadPoolExecutor(WORKERS, "keepstone")
        self._room = threading.Semaphore(IN_FLIGHT_BYTES // layout.FRAME_TARGET)
        self._batch_room = threading.Semaphore(1)
        """Batches are large: while one is worked on the next is gathered, and no third waits."""
        self._futures: set[Future[None]] = set()
        self._done: deque[Future[None]] = deque()
        # The deal is not a secret kept by a key, only noise between frames and packs; it needs no reproducibility.
        self._deal = random.SystemRandom()

    # Adding ----------------------------------------------------------------------------------------------

    def add(self, data: Buffer, bases: Sequence[ChunkId] | None = None, lane: int = DATA) -> ChunkId:
        """Store a chunk unless the repository has it, and return its id. The data is copied.

        Args:
            bases: stored chunks that it probably resembles, as they were at its place in a previous version (which may
                have had nothing there); it may be stored as what differs from them. None if there was no such version.

        Raises:
            StoreError, VerifyFailed: of this or an earlier chunk; nothing more can be added then.
        """
        chunk = chunk_id(self._keys.chunk_id, data)
        if chunk in self._pending or self._repository.confirm(chunk):
            return chunk
        self._pending.add(chunk)
        self.totals.chunks += 1
        self.totals.plain_bytes += len(data)
        if bases is not None and len(data) >= DELTA_FROM:
            prefix, climb = self._prefix(bases)
            stems = b"".join(stem(base) for base in bases) if prefix else b""
            self._add_resembling(Resembling(chunk, bytes(data), stems, prefix, climb), lane)
            return chunk
        if len(data) >= SINGLE_FROM:
            self._submit([(chunk, copied(data))], lane)
            return chunk
        self._lanes[lane].append((chunk, bytes(data)))
        self._lane_bytes[lane] += len(data)
        if self._lane_bytes[lane] >= layout.FRAME_TARGET or len(self._lanes[lane]) >= MOST_CHUNKS:
            self._flush_lane(lane)
        return chunk

    def add_tree(self, data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId:
        """Store a chunk of a tree or of a recipe."""
        return self.add(data, bases, TREES)

    def _prefix(self, bases: Sequence[ChunkId]) -> tuple[bytes, int]:
        """Return the bytes of base chunks, and what a reader opens for them; none if they cannot serve."""
        depths = [self._repository.depth(base) for base in bases]
        if not all(depth is not None and depth < layout.WRITTEN_DEPTH for depth in depths):
            return b"", 0
        climb = self._repository.climb(bases)
        if climb.bit_count() >= layout.WRITTEN_CLIMB:
            return b"", 0
        try:
            prefix = b"".join(self._repository.read_base(base) for base in bases)
        except (Damaged, Unsupported, StoreError):
            return b"", 0  # Whoever needs the base itself hears of it; this chunk does without.
        return (prefix, climb) if len(prefix) <= MOST_BASE_BYTES else (b"", 0)

    def _add_resembling(self, new: Resembling, lane: int) -> None:
        self._resembling[lane].append(new)
        self._resembling_bytes[lane] += len(new.data) + len(new.prefix)
        if self._resembling_bytes[lane] >= BATCH_BYTES:
            self._flush_resembling(lane)

    def _flush_resembling(self, lane: int) -> None:
        batch, self._resembling[lane] = self._resembling[lane], []
        self._resembling_bytes[lane] = 0
        if batch:
            self._start(lambda: self._work_resembling(batch, lane), self._batch_room)

    def _flush_lane(self, lane: int) -> None:
        chunks, self._lanes[lane] = self._lanes[lane], []
        self._lane_bytes[lane] = 0
        if chunks:
            self._submit(chunks, lane)

    def _submit(self, chunks: list[tuple[ChunkId, bytes]], lane: int) -> None:
        self._start(lambda: self._work(chunks, lane), self._room)

    def _start(self, work: Callable[[], None], room: threading.Semaphore) -> None:
        """Hand work to the pool as soon as there is room for its data."""
        self._collect()
        if not room.acquire(blocking=False):
            while not room.acquire(timeout=0.2):
                self._collect()
        self._begin(work)

    def _begin(self, work: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
        """Let a worker do something; the first calls start the workers.

        Raises:
            NotEnoughMemory: the system gives no thread.
        """
        try:
            future = self._pool.submit(work, *arguments, **named)
        except RuntimeError as error:  # What Python raises where pthread_create(3) fails.
            raise NotEnoughMemory(f"A worker thread did not start, for lack of memory or threads ({error}).") from error
        self._futures.add(future)
        future.add_done_callback(self._done.append)

    def _collect(self) -> None:
        """Take over what the workers finished: raise their errors, record their packs."""
        while self._done:
            future = self._done.popleft()
            self._futures.discard(future)
            future.result()
        with self._lock:
            stored, self._stored = self._stored, []
        if stored and not self._dry_run:
            self._index.add_packs(stored)
            for directory in stored:
                self._pending.difference_update(chunk for chunk, _, _ in directory.entries())
            self._unindexed += stored
            if sum(len(row.ids) for d in self._unindexed for row in d.frames) >= index.BATCH_BYTES:
                self._store_index()

    # Workers ---------------------------------------------------------------------------------------------

    def _work(self, chunks: list[tuple[ChunkId, bytes]], lane: int) -> None:
        try:
            frame = pack.make_frame(chunks, self._level)
            lengths = [len(data) for _, data in chunks]
            # What does not compress is media, and nothing will stand on it.
            if frame.method != pack.RAW and max(lengths) >= DELTA_FROM and not self._dry_run:
                self._repository.kept.keep_frame(frame.ids, lengths, frame.payload)
            self._pack([frame], lane)
        finally:
            self._room.release()

    def _work_resembling(self, batch: list[Resembling], lane: int) -> None:
        try:
            # It probably changes again where it did this time.
            for new in batch:
                if not self._dry_run:
                    self._repository.kept.keep(new.chunk, new.data)
            self._pack(self._kinship.frames(batch, self._level), lane)
        finally:
            self._batch_room.release()

    def _pack(self, frames: Iterable[pack.Frame], lane: int) -> None:
        """Put frames into open packs, and close those that are full."""
        for frame in frames:
            with self._lock:
                packs = self._open[lane]
                chosen = self._deal.randrange(len(packs))
                packs[chosen].add(frame)
                full = packs[chosen] if packs[chosen].full else None
                if full is not None:
                    packs[chosen] = OpenPack()
            if full is not None:
                self._close_pack(full)

    def _close_pack(self, full: OpenPack) -> None:
        """Seal, verify and store a pack."""
        repository = self._repository
        taken: list[memoryview] = []

        def room(size: int) -> memoryview:
            taken.append(self._piece(size))
            return taken[0]

        deltas = {n: frame.payload for n, frame in enumerate(full.frames) if frame.method == pack.DELTA}
        stored = pack.build_pack(full.frames, self._keys, repository.id, repository.config.cipher, room, release=True)
        full.frames.clear()
        name = stored_name(stored)
        directory = pack.verify_before_publish(stored, name, self._keys, repository.id, deltas)
        self._put(layout.pack_name(name), stored)
        give_back(above=HELD_BYTES)
        if not self._dry_run:
            repository.keep_end(directory, stored)
        with self._lock:
            self._stored.append(directory)
            self._pieces += (piece for piece in taken if len(piece) >= _PIECE)

    def _piece(self, size: int) -> memoryview:
        """Return memory of at least this size, of an earlier pack if one was as large."""
        with self._lock:
            if size <= _PIECE and self._pieces:
                return self._pieces.pop()
        return large_piece(max(size, _PIECE) if size > layout.PACK_TARGET // 2 else size)

    def _put(self, name: str, data: Buffer) -> None:
        if not self._dry_run:
            self._repository.store.put(name, [data])
        with self._lock:
            self.totals.stored_bytes += len(data)

    # Publishing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Store everything that was added, and an index object over it."""
        for lane in (DATA, TREES):
            self._flush_resembling(lane)
            self._flush_lane(lane)
        self._drain()
        rest = [open_pack for packs in self._open for open_pack in packs if open_pack.frames]
        self._open = [[OpenPack() for _ in packs] for packs in self._open]
        merged = self._merge(rest)
        if not merged.full:
            rest = self._split(merged) if merged.size >= _SPLIT_FROM else [merged] if merged.frames else []
        for open_pack in rest:
            self._begin(self._close_pack, open_pack)
        self._drain()
        if self._unindexed:
            self._store_index(names_only=len(self._unindexed) <= WORKERS)
        with self._lock:  # What comes next, if anything, is other work, and needs memory itself.
            self._pieces.clear()

    def _merge(self, packs: list[OpenPack]) -> OpenPack:
        """Put the rests of a run into one pack: a small run stores few objects."""
        merged = OpenPack()
        for open_pack in packs:
            for frame in open_pack.frames:
                merged.add(frame)
        return merged

    def _split(self, merged: OpenPack) -> list[OpenPack]:
        """Give each worker a part, as everything waits for the last pack."""
        parts = [OpenPack() for _ in range(WORKERS)]
        for frame in merged.frames:
            min(parts, key=lambda part: part.size).add(frame)
        return [part for part in parts if part.frames]

    def _drain(self) -> None:
        # A future tells its waiters before it calls back, so what waited is asked itself.
        for future in wait(self._futures).done:
            future.result()
        self._collect()

    def _store_index(self, *, names_only: bool = False) -> None:
        directories, self._unindexed = self._unindexed, []
        repository = self._repository
        name, stored = index.seal_index(
            directories, self._keys, repository.id, repository.config.cipher, names_only=names_only
        )
        self._put(name, stored)
        if not self._dry_run:
            self._index.keep_indexes([name])

    def index_packs(self, packs: list[PackId], sizes: dict[PackId, int]) -> None:
        """Write index objects over packs that none covers."""
        for found in packs:
            self._unindexed.append(self._repository.directory(found, sizes[found])[0])
            if sum(len(row.ids) for d in self._unindexed for row in d.frames) >= index.BATCH_BYTES:
                self._store_index()
        if self._unindexed:
            self._store_index()

    def publish(self, kind: str, body: bytes) -> log.LogEntry:
        """Append a record to this writer's log. Everything it refers to must be flushed before."""
        return append_record(self._repository, kind, body, self._put)

    def close(self) -> None:
        """Stop the workers; what is not stored yet is forgotten."""
        for future in self._futures:
            future.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(BaseException):
            self._collect()


def append_record(
    repository: Repository, kind: str, body: bytes, put: Callable[[str, bytes], None] | None = None
) -> log.LogEntry:
    """Append a record to this installation's log and remember it as seen.

    Raises:
        Unsupported: a newer version wrote a record that forbids this version to write.
    """
    unknown = repository.log.unknown_kind()
    if unknown is not None:
        raise Unsupported(
            "This repository", f"holds a record of kind {unknown!r}; this version may read it but not write"
        )
    writer, signer = repository.state.writer()
    if any(damage.object_name.startswith(f"log/{writer.hex()}/") for damage in repository.log.damaged):
        # A log with damage in it cannot be continued, so this installation goes on as a new writer.
        repository.state.forget_writer()
        writer, signer = repository.state.writer()
    head = repository.log.heads.get(writer)
    record = log.LogRecord(
        version=layout.VERSION,
        writer=writer,
        sequence=1 if head is None else head.sequence + 1,
        previous=log.NO_PREDECESSOR if head is None else head.hash,
        heads=[other for other in repository.log.heads.values() if other.writer != writer],
        time_ns=repository.clock.now_ns(),
        kind=kind,
        body=body,
        public_key=signer.public_key().public_bytes_raw(),
    )
    stored = log.seal_record(record, signer, repository.keys, repository.id, repository.config.cipher)
    if len(stored) > layout.MAX_SMALL_OBJECT:
        raise UsageError(
            f"The record of this run would take {len(stored)} bytes, more than the format allows.",
            "Name folders instead of very many single paths, and use fewer tags.",
        )
    name = layout.log_name(writer, record.sequence)
    if put is None:
        repository.store.put(name, [stored])
    else:
        put(name, stored)
    entry = log.LogEntry(record, stored_name(stored))
    repository.log.entries.append(entry)
    repository.log.heads[WriterId(record.writer)] = entry.head
    repository.index.keep_log_records([(name, stored)])
    repository.state.remember(repository.log)
    return entry


@contextlib.contextmanager
def writing(repository: Repository, level: int, *, dry_run: bool = False) -> Iterator[Writer]:
    """Give a writer and flush it at the end; an exception discards what is not stored yet."""
    writer = Writer(repository, level, dry_run=dry_run)
    try:
        yield writer
        writer.flush()
    finally:
        writer.close()


__all__ = ["DATA", "TREES", "Totals", "Writer", "append_record", "writing"]
