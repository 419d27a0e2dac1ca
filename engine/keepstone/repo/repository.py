"""The repository: opened with a credential, it reads chunks by id, whatever pack they are in.

The only class that joins bytes to places. A chunk's place comes from the local index and is confirmed in the pack's
own directory; the chunk is verified against its id on every read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from keepstone import sealing
from keepstone.chunking import ALGORITHMS, DEFAULT_ALGORITHM
from keepstone.clock import SYSTEM, Clock
from keepstone.errors import (
    ChunkMissing,
    Damaged,
    KeepstoneError,
    NoRepository,
    ObjectNotFound,
    RepositoryExists,
    StoreError,
    Unsupported,
    UsageError,
    WrongPassword,
)
from keepstone.hashing import SubKeys, chunk_id
from keepstone.ids import Buffer, ChunkId, ChunkStem, KeyslotId, PackId, RepositoryId, stem
from keepstone.memory import give_back
from keepstone.repo import format as layout
from keepstone.repo import keys as keyslots
from keepstone.repo import log, pack, state
from keepstone.repo.cache import CacheFolder, LocalIndex, Place
from keepstone.repo.directories import frame_bases, frame_lengths
from keepstone.repo.frames import Climb, Frames
from keepstone.repo.index import open_index
from keepstone.repo.kept import Kept
from keepstone.store import Store

BLOCK_CACHE_BYTES = 32 * 1024 * 1024
"""Aligned blocks of packs as they are stored: a night's deltas are hundreds of bytes each and lie side by side."""
_KEPT_BLOCKS = 2
"""Only reads of at most so many blocks are kept; a longer one is a frame that nothing shares."""
DIRECTORY_CACHE_BYTES = 64 * 1024 * 1024
"""Opened pack directories that are held, by what they take in memory: two hundred nights of an 80 MB database."""


class Repository:
    """An open repository. Use `open_repository`."""

    def __init__(
        self,
        store: Store,
        master: bytes,
        identity: RepositoryId,
        cache: Path | None,
        state_folder: Path,
        clock: Clock,
    ) -> None:
        self.store, self.id, self.clock = store, identity, clock
        self.keys = SubKeys.derive(master)
        self.master = master
        self.config = layout.open_config(store.get(layout.CONFIG_NAME, 0, layout.MAX_SMALL_OBJECT), self.keys)
        self.state_folder = state_folder
        self.state = state.State(state_folder, self.keys, identity)
        self.log = log.LogView()
        self.damaged_indexes: list[KeepstoneError] = []
        self.uncovered: list[PackId] = []
        """Packs that no index object covers; their directories were read one by one."""
        self.missing_packs = False
        """Set when packs that were stored once are no longer listed."""
        self._cache = CacheFolder(cache, self.keys, identity)
        self._index_ready = False
        self.frames = Frames(self.keys, self._read_aligned, self._found)
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._directories: OrderedDict[PackId, tuple[pack.Directory, sealing.FrameCipher]] = OrderedDict()
        self._directory_bytes = 0
        self._from_kept: set[PackId] = set()
        """Packs whose directories in memory come from what was kept of them."""
        self._depths: dict[tuple[int, int], int] = {}
        self._units: dict[ChunkStem, int] = {}
        """Which bits stand for a chunk that others stand on: one for each `CLIMB_UNIT` of its bytes."""
        self._next_unit = 0
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Repository({self.store.location}, {self.id.hex()[:8]})"

    def spare_memory(self) -> None:
        """Hold fewer frames from now on, and give back to the system what earlier work has freed."""
        self.frames.sparing = True
        give_back()

    # Logs and the local index ----------------------------------------------------------------------------

    def load_log(self, *, accept_rollback: bool = False) -> log.LogView:
        """Read all logs and compare them with what this computer has seen.

        Raises:
            Rollback: the store shows an older or another state.
        """
        names = [name for name, _ in self.store.list("log")]
        self.log = log.read_logs(names, self.store, self.index, self.keys, self.id)
        if accept_rollback:
            self.state.forget_writer()
        else:
            self.state.check_not_rolled_back(self.log)
        self.state.remember(self.log, afresh=accept_rollback)
        return self.log

    @property
    def index(self) -> LocalIndex:
        return self._cache.index

    @property
    def kept(self) -> Kept:
        return self._cache.kept

    def ready_index(self, *, from_packs: bool = False) -> LocalIndex:
        """Bring the local index up to date with what the store lists, and return it.

        Args:
            from_packs: read the packs' own directories and no index object.
        """
        if not self._index_ready:
            self._update_index(from_packs)
            self._index_ready = True
        return self.index

    def _update_index(self, from_packs: bool) -> None:
        unknown = dict(self.index.refresh(self.list_packs()))
        self.missing_packs = self.index.gone > 0
        fresh = []
        for name, size in self.store.list("index"):
            if from_packs or self.index.knows_index(name):
                continue
            try:
                self.index.add_packs(self._unknown_in(self.read_index(name, size), unknown))
                fresh.append(name)
            except (Damaged, Unsupported) as error:
                self.damaged_indexes.append(error)
        if fresh:
            self.index.keep_indexes(fresh)
        for found, size in unknown.items():
            try:
                self.index.add_packs([self.directory(found, size)[0]])
                self.uncovered.append(found)
            except (Damaged, Unsupported) as error:
                self.damaged_indexes.append(error)
                self.missing_packs = True

    def _unknown_in(self, directories: Iterable[pack.Directory], unknown: dict[PackId, int]) -> list[pack.Directory]:
        """Take from `unknown` the packs that these directories describe as the store lists them, unless only named."""
        found = []
        for directory in directories:
            if unknown.get(directory.pack) == directory.size:
                if directory.frames:
                    del unknown[directory.pack]
                    found.append(directory)
            elif not self.index.is_live(directory.pack):
                self.missing_packs = True
        return found

    def list_packs(self) -> Iterator[tuple[PackId, int]]:
        """Yield id and size of every pack that the store lists."""
        for name, size in self.store.list("packs"):
            found = layout.pack_of_name(name)
            if found is not None:
                yield found, size

    def read_index(self, name: str, size: int) -> list[pack.Directory]:
        """Read one index object."""
        if size > layout.MAX_INDEX_OBJECT:
            raise Damaged(name, f"no index object has {size} bytes")
        return list(open_index(self.store.get(name, 0, layout.MAX_INDEX_OBJECT), name, self.keys, self.id))

    def covered_packs(self) -> set[PackId]:
        """Return the packs that readable index objects cover."""
        covered: set[PackId] = set()
        for name, size in self.store.list("index"):
            try:
                covered.update(directory.pack for directory in self.read_index(name, size))
            except (Damaged, Unsupported) as error:
                self.damaged_indexes.append(error)
        return covered

    def receipt(self, head: log.Head) -> str:
        """Return the receipt of a log record."""
        return log.receipt(self.keys, head)

    def reset_index(self) -> None:
        """Throw the local index away."""
        self._cache.reset()
        self._depths.clear()
        self.frames.expect([])
        self._index_ready = False

    # Reading chunks --------------------------------------------------------------------------------------

    def directory(self, found: PackId, size: int, *, kept: bool = False) -> tuple[pack.Directory, sealing.FrameCipher]:
        """Return the directory of a pack, read from the pack itself, and the pack's cipher.

        Args:
            kept: what this computer has kept of the pack will do: its end, sealed as the pack is. It tells what the
                listed pack holds, but not whether the store still has it whole.
        """
        with self._lock:
            held = self._directories.get(found)
            if held is not None and (kept or found not in self._from_kept):
                self._directories.move_to_end(found)
                return held
        opened = self._kept_directory(found, size) if kept else None
        with self._lock:
            (self._from_kept.discard if opened is None else self._from_kept.add)(found)
        if opened is None:
            opened = self._stored_directory(found, size)
        with self._lock:
            if found not in self._directories:
                self._directory_bytes += opened[0].weight
            self._directories[found] = opened
            while self._directory_bytes > DIRECTORY_CACHE_BYTES and len(self._directories) > 1:
                self._directory_bytes -= self._directories.popitem(last=False)[1][0].weight
        return opened

    def _stored_directory(self, found: PackId, size: int) -> tuple[pack.Directory, sealing.FrameCipher]:
        name, end = layout.pack_name(found), bytearray()

        def read(offset: int, length: int) -> bytes:
            data = self.store.get(name, offset, length)
            end[:0] = data
            return data

        opened = pack.open_directory(read, found, size, self.keys, self.id)
        self.keep_end(opened[0], end)
        return opened

    def keep_end(self, directory: pack.Directory, stored: Buffer) -> None:
        """Keep the end of a pack, where its directory is, so that it need not be read again.

        Args:
            stored: the pack, or so much of its end as holds the directory.
        """
        self.kept.keep(directory.pack, memoryview(stored)[-pack.end_length(directory) :])

    def _kept_directory(self, found: PackId, size: int) -> tuple[pack.Directory, sealing.FrameCipher] | None:
        end = self.kept.get(found)
        if end is None:
            return None

        def read(offset: int, length: int) -> bytes:
            # The zeros stand for what lies before the directory, which is not looked at.
            return end[max(len(end) - size + offset, 0) :].rjust(size - offset, b"\0")[:length]

        try:
            return pack.open_directory(read, found, size, self.keys, self.id)
        except (Damaged, Unsupported):
            return None

    def confirm(self, chunk: ChunkId) -> bool:
        """Return whether a chunk is stored, with all it stands on: the local index says where, and the packs' own
        directories agree.
        """
        return self.depth(chunk) is not None

    def depth(self, chunk: ChunkId) -> int | None:
        """Return how many delta frames a chunk stands on; None if it, or one of its bases, is not stored."""
        return self._depth(chunk, 0)

    def _depth(self, chunk: ChunkId | ChunkStem, above: int) -> int | None:
        found = self._found(chunk)
        if found is None or above > layout.MAX_DEPTH:
            return None
        place, directory, _ = found
        row = directory.frames[place.ordinal]
        if not row.delta:
            return 0
        key = (place.pack, place.ordinal)
        if key not in self._depths:
            deepest = 0
            for base in frame_bases(row):
                below = self._depth(base, above + 1)
                if below is None:
                    # What stands on it cannot be read either: asking for the other bases as well might not end.
                    return None
                deepest = max(deepest, below)
            self._depths[key] = 1 + deepest
        depth = self._depths[key]
        return depth if above + depth <= layout.MAX_DEPTH else None

    def climb(self, chunks: Sequence[ChunkId]) -> int:
        """Return the chunks that a reader opens for some, themselves included, as a set of bits, one for each
        `CLIMB_UNIT` of a chunk. Unions of such sets tell what a reader opens for several together.
        """
        below, units = [stem(chunk) for chunk in chunks], bytearray()
        climbed = set(below)
        while below:
            chunk = below.pop()
            found = self._found(chunk)
            if found is None:
                continue
            place, directory, _ = found
            row = directory.frames[place.ordinal]
            if row.delta:
                more = [base for base in frame_bases(row) if base not in climbed]
                climbed.update(more)
                below += more
            self._add_units(chunk, frame_lengths(row)[place.position], units)
        return int.from_bytes(units, "little")

    def _add_units(self, chunk: ChunkStem, size: int, units: bytearray) -> None:
        first = self._units.get(chunk)
        count = -(-size // layout.CLIMB_UNIT)
        if first is None:
            first = self._units[chunk] = self._next_unit
            self._next_unit += count
        units.extend(bytes(max(0, (first + count) // 8 + 1 - len(units))))
        for unit in range(first, first + count):
            units[unit // 8] |= 1 << unit % 8

    def is_stored(self, chunk: ChunkId) -> bool:
        """As `confirm`, but that a chunk is missing is believed only of a local index made anew in this run."""
        return self.confirm(chunk) or (self._rebuilt_index() and self.confirm(chunk))

    def _rebuilt_index(self) -> bool:
        """Make the local index anew; False if that was done in this run already."""
        if self.index_is_fresh:
            return False
        self.reset_index()
        self.ready_index()
        self.index_is_fresh = True
        return True

    def _confirmed(self, chunk: ChunkId | ChunkStem, place: Place) -> tuple[pack.Directory, sealing.FrameCipher] | None:
        where = self.index.pack(place.pack)
        if where is None:
            return None
        try:
            directory, cipher = self.directory(*where, kept=True)
        except (Damaged, Unsupported, ObjectNotFound):
            return None
        return (directory, cipher) if directory.holds(chunk, place.ordinal, place.position) else None

    def _found(self, chunk: ChunkId | ChunkStem) -> tuple[Place, pack.Directory, sealing.FrameCipher] | None:
        """Return where a chunk is, as the pack's own directory confirms."""
        place = self.ready_index().lookup(chunk)
        confirmed = None if place is None else self._confirmed(chunk, place)
        return None if place is None or confirmed is None else (place, *confirmed)

    def read_chunk(self, chunk: ChunkId) -> bytes:
        """Return a chunk's bytes, verified against its id.

        Raises:
            ChunkMissing: no pack has it.
            Damaged: the pack that has it is damaged.
        """
        found = self.frames.find(chunk)
        if found is None:
            return self._read_missing(chunk, self.index.lookup(chunk))
        return self.frames.read(chunk, *found, Climb())

    def expect(self, chunks: Sequence[ChunkId]) -> None:
        """Learn which chunks are read next, in order: they are read ahead, and no frame is decoded twice for them."""
        self.frames.expect(chunks)

    def read_base(self, chunk: ChunkId) -> bytes:
        """Return a chunk's bytes as `read_chunk`, from what this computer has kept of it if that is right."""
        kept = self.kept.get(chunk)
        if kept is not None and chunk_id(self.keys.chunk_id, kept) == chunk:
            return kept
        return self.read_chunk(chunk)

    def _read_missing(self, chunk: ChunkId, place: Place | None) -> bytes:
        """Say what is wrong: the pack is damaged, or there is none; a wrong local index is rebuilt first."""
        if self._rebuilt_index():
            return self.read_chunk(chunk)
        where = None if place is None else self.index.pack(place.pack)
        if where is not None:
            self.directory(*where)
        raise ChunkMissing(
            f"chunk {chunk.hex()[:16]}",
            "it is in no pack of this repository",
            "Run `keepstone check`; if the file still exists, a new backup stores the chunk again.",
        )

    index_is_fresh = False
    """Set once the local index was rebuilt in this run because it did not know a chunk."""

    def _read_aligned(self, name: str, offset: int, length: int, size: int) -> memoryview:
        """Read a range as the aligned range around it, so that reads do not show where frames begin."""
        block = layout.READ_ALIGNMENT
        first, last = offset // block, (offset + length - 1) // block
        if last - first >= _KEPT_BLOCKS:
            data = self._read_blocks(name, first, last, size)
        else:
            data = b"".join(self._block(name, number, size) for number in range(first, last + 1))
        return memoryview(data)[offset - first * block :][:length]

    def _block(self, name: str, number: int, size: int) -> bytes:
        with self._lock:
            kept = self._blocks.get((name, number))
            if kept is not None:
                self._blocks.move_to_end((name, number))
                return kept
        data = self._read_blocks(name, number, number, size)
        with self._lock:
            self._blocks[name, number] = data
            while len(self._blocks) * layout.READ_ALIGNMENT > BLOCK_CACHE_BYTES:
                self._blocks.popitem(last=False)
        return data

    def _read_blocks(self, name: str, first: int, last: int, size: int) -> bytes:
        start = first * layout.READ_ALIGNMENT
        end = min(size, (last + 1) * layout.READ_ALIGNMENT)
        data = self.store.get(name, start, end - start)
        if len(data) != end - start:
            raise Damaged(name, "it is shorter than its directory says")
        return data

    def bases_first(self, packs: Iterable[tuple[PackId, int]]) -> Iterator[tuple[PackId, int]]:
        """Yield packs so that those come first on whose chunks others stand: read so, no base is decoded again.

        A pack that cannot be read is yielded all the same.
        """
        sizes = dict(packs)
        done: set[PackId] = set()
        for start in sorted(sizes):
            stack = [(start, iter(self._below(start, sizes)))] if start not in done else []
            done.add(start)
            while stack:
                found, below = stack[-1]
                base = next((other for other in below if other not in done), None)
                if base is None:
                    stack.pop()
                    yield found, sizes[found]
                else:
                    done.add(base)
                    stack.append((base, iter(self._below(base, sizes))))

    def _below(self, found: PackId, sizes: dict[PackId, int]) -> list[PackId]:
        """Return the other packs that hold bases of what a pack holds."""
        try:
            directory, _ = self.directory(found, sizes[found])
        except (Damaged, Unsupported, StoreError):
            return []
        below = set()
        for base in {base for row in directory.frames for base in frame_bases(row)}:
            place = self.ready_index().lookup(base)
            where = None if place is None else self.index.pack(place.pack)
            if where is not None and where[0] in sizes:
                below.add(where[0])
        return sorted(below)

    def base_reader(self, bases: bytes) -> bytes:
        """Return the bytes of base chunks, for verifying packs."""
        return self.frames.read_bases(bases, Climb(), "A pack")

    def close(self) -> None:
        """End what reads ahead, and close the local index."""
        self.frames.close()
        self._cache.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# Opening and creating ---------------------------------------------------------------------------------------


def repository_id(store: Store) -> RepositoryId:
    """Return the id of the repository at a store.

    Raises:
        NoRepository: there is none.
    """
    try:
        config = store.get(layout.CONFIG_NAME, 0, layout.MAX_SMALL_OBJECT)
    except ObjectNotFound:
        raise NoRepository(f"There is no repository at {store.location}.") from None
    return layout.parse_config(config).repository


def read_keyslots(store: Store, identity: RepositoryId) -> tuple[list[keyslots.Keyslot], list[KeepstoneError]]:
    """Return the keyslots that the store lists, and what is wrong with others."""
    slots: list[keyslots.Keyslot] = []
    problems: list[KeepstoneError] = []
    for number, (name, size) in enumerate(sorted(store.list("keyslots"))):
        try:
            if number >= layout.MAX_KEYSLOTS or size > layout.MAX_SMALL_OBJECT:
                raise Damaged(name, "there are more or larger keyslots than the format allows")
            slots.append(keyslots.parse_keyslot(store.get(name, 0, layout.MAX_SMALL_OBJECT), identity, name))
        except (Damaged, Unsupported, ObjectNotFound) as error:
            problems.append(error)
    return slots, problems


def unlock(
    slots: Sequence[keyslots.Keyslot], problems: Sequence[KeepstoneError], credential: keyslots.Credential
) -> tuple[keyslots.Keyslot, keyslots.Secret]:
    """Return the keyslot that a credential opens, and what it holds.

    Raises:
        WrongPassword: none does.
        Damaged: none does, and a keyslot is damaged.
    """
    damage = list(problems)
    for slot in slots:
        try:
            secret = keyslots.open_keyslot(slot, credential)
        except Damaged as error:
            damage.append(error)
            continue
        if secret is not None:
            return slot, secret
    if damage:
        raise damage[0]
    what = "password" if credential.kind == keyslots.PASSWORD else "64-digit key"
    raise WrongPassword(f"The {what} opens no keyslot of this repository.")


def open_repository(
    store: Store,
    credential: keyslots.Credential,
    *,
    cache: Path | None,
    state_folder: Path,
    clock: Clock = SYSTEM,
    accept_rollback: bool = False,
) -> Repository:
    """Open a repository.

    Args:
        cache: folder of local indexes; None keeps the index in memory.
        state_folder: folder of what this installation remembers.
        accept_rollback: continue from what the store shows now, even if more was seen before.

    Raises:
        NoRepository, WrongPassword, Damaged, Unsupported, Rollback.
    """
    identity = repository_id(store)
    if not accept_rollback:
        state.check_pin(state_folder, store.location, identity)
    slots, problems = read_keyslots(store, identity)
    slot, secret = unlock(slots, problems, credential)
    repository = Repository(store, secret.master, identity, cache, state_folder, clock)
    try:
        view = repository.load_log(accept_rollback=accept_rollback)
        live = view.live_keyslots(repository.config.keyslots)
        if slot.slot not in live:
            # An interrupted key command can leave a slot behind that nothing names; another one may still fit.
            others = [other for other in slots if other.slot in live]
            if not any(keyslots.open_keyslot(other, credential) is not None for other in others):
                raise WrongPassword(
                    "This key was removed from the repository, or adding it was never finished.",
                    "Use another password or key.",
                )
        state.pin(state_folder, store.location, identity)
    except BaseException:
        repository.close()
        raise
    return repository


def create_repository(
    store: Store,
    credential: keyslots.Credential,
    *,
    state_folder: Path,
    clock: Clock = SYSTEM,
    label: str = "",
    cipher: str = "aes-256-gcm",
    chunker: str = DEFAULT_ALGORITHM,
    memory_kib: int = keyslots.MEMORY_KIB,
) -> RepositoryId:
    """Create an empty repository and return its id. The config is written last: it is what makes a repository.

    Raises:
        RepositoryExists: there is one already.
        UsageError: there is no such chunker.
    """
    if chunker not in ALGORITHMS:
        raise UsageError(f"There is no chunker {chunker!r}.", f"Choose one of: {', '.join(ALGORITHMS)}.")
    try:
        store.get(layout.CONFIG_NAME, 0, layout.HEADER_LENGTH)
    except ObjectNotFound:
        pass
    else:
        raise RepositoryExists(f"There is a repository at {store.location} already.")
    algorithm = sealing.ALGORITHMS[cipher]
    identity, master = RepositoryId(sealing.random_bytes(16)), sealing.random_bytes(32)
    now = clock.now_ns()
    slot, stored = keyslots.make_keyslot(
        credential, master, identity, algorithm=algorithm, label=label, created_ns=now, memory_kib=memory_kib
    )
    config = layout.Config(
        version=layout.VERSION,
        chunker=layout.ChunkerConfig(algorithm=chunker),
        cipher=algorithm,
        keyslots=[slot],
        created_ns=now,
    )
    store.put(layout.keyslot_name(KeyslotId(slot)), [stored])
    store.put(layout.CONFIG_NAME, [layout.seal_config(config, SubKeys.derive(master), identity)])
    state.pin(state_folder, store.location, identity)
    return identity
