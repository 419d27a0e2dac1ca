"""The local index: which chunk is where, how folders looked last time, log records read before. A pure cache.

It is one LMDB file, used by one process at a time. LMDB has no checksums and trusts its file, so a keyed hash of the
whole file (the *stamp*) is checked before LMDB sees it and written when it is closed; a file without a valid stamp
(flipped, truncated, foreign, or left by a killed process) is discarded. A file that turns out to be broken all the
same (its disk fails while it is open) answers that it knows nothing, and is discarded next time. What it answers is
believed only where being wrong costs time: a chunk's place is confirmed against the pack's own directory, a folder's
tree against the parent snapshot. If LMDB cannot be used, a dictionary takes over for this run.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import lmdb
import msgspec
from blake3 import blake3

from keepstone import sealing
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import SubKeys, keyed
from keepstone.ids import ChunkId, ChunkStem, PackId, RepositoryId, stem
from keepstone.repo import format as layout
from keepstone.repo.kept import Kept
from keepstone.repo.pack import Directory

CHUNKS, PACKS, PACK_NUMBERS, INDEXES, FOLDERS, RECORDS = (
    b"chunks",
    b"packs",
    b"numbers",
    b"indexes",
    b"folders",
    b"log",
)
TABLES = (CHUNKS, PACKS, PACK_NUMBERS, INDEXES, FOLDERS, RECORDS)

PACKS_REMEMBERED = 4096
FIRST_MAP = 64 * 1024 * 1024
_PLACE = struct.Struct("<IHH")
_PACK = struct.Struct("<32sQ")
_NUMBER = struct.Struct(">I")

Pairs = Iterable[tuple[bytes, bytes]]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a chunk is said to be: pack number of the local index, frame ordinal, position in the frame."""

    pack: int
    ordinal: int
    position: int


class Tables(Protocol):
    """A few tables of short keys and values."""

    persistent: bool

    def get(self, table: bytes, key: bytes) -> bytes | None: ...

    def write(self, changes: Iterable[tuple[bytes, Pairs]]) -> None: ...

    def keys(self, table: bytes) -> Iterator[bytes]: ...

    def count(self, table: bytes) -> int: ...

    def close(self) -> None: ...


class DictTables:
    """The fallback, and the slow-and-obvious twin of the LMDB tables."""

    persistent = False

    def __init__(self) -> None:
        self._tables: dict[bytes, dict[bytes, bytes]] = {name: {} for name in TABLES}

    def get(self, table: bytes, key: bytes) -> bytes | None:
        return self._tables[table].get(key)

    def write(self, changes: Iterable[tuple[bytes, Pairs]]) -> None:
        for table, pairs in changes:
            self._tables[table].update(pairs)

    def keys(self, table: bytes) -> Iterator[bytes]:
        return iter(list(self._tables[table]))

    def count(self, table: bytes) -> int:
        return len(self._tables[table])

    def close(self) -> None:
        pass


class LmdbTables:
    """Tables in an LMDB file with a stamp beside it."""

    persistent = True

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder, self._key = folder, key
        self._dirty, self._sound = False, True
        if not self._stamp_matches():
            self._discard()
        # sync is off because a file without a valid stamp is discarded anyway; the stamp is written after a sync.
        # lock is off because one process uses the file at a time, held by our own lock. writemap stays off: with it a
        # full disk kills the process.
        self._env = lmdb.open(
            str(folder / "data.mdb"), subdir=False, map_size=self._map_size(), max_dbs=len(TABLES), lock=False,
            sync=False, metasync=False, writemap=False, readahead=False, mode=0o600,
        )  # fmt: skip
        self._databases = {}
        if self._env.stat()["entries"] < len(TABLES):
            self._begin_change()
        for name in TABLES:
            self._databases[name] = self._env.open_db(name, create=self._dirty)
        self._reader: lmdb.Transaction | None = None

    def get(self, table: bytes, key: bytes) -> bytes | None:
        try:
            if self._reader is None:
                self._reader = self._env.begin()
            found = self._reader.get(key, db=self._databases[table])
        except lmdb.Error:
            self._distrust()
            return None
        return None if found is None else bytes(found)

    def write(self, changes: Iterable[tuple[bytes, Pairs]]) -> None:
        batch = [(table, sorted(pairs)) for table, pairs in changes]
        self._end_reader()
        self._begin_change()
        while True:
            try:
                with self._env.begin(write=True) as change:
                    for table, pairs in batch:
                        with change.cursor(self._databases[table]) as cursor:
                            cursor.putmulti(pairs)
                return
            except lmdb.MapFullError:
                self._grow()
            except lmdb.DiskError:
                raise  # The disk is full; the file is as whole as before.
            except lmdb.Error:
                self._sound = False
                raise

    def keys(self, table: bytes) -> Iterator[bytes]:
        with self._env.begin() as reader, reader.cursor(self._databases[table]) as cursor:
            yield from cursor.iternext(keys=True, values=False)

    def count(self, table: bytes) -> int:
        try:
            with self._env.begin() as reader:
                entries = int(reader.stat(self._databases[table])["entries"])
        except lmdb.Error:
            self._distrust()
            return 0
        if entries > self._map_size():  # A caller takes memory for so many; no entry is shorter than a byte.
            self._distrust()
            return 0
        return entries

    def close(self) -> None:
        """Close the file; if it changed, sync it and write its stamp."""
        self._end_reader()
        if self._dirty:
            with contextlib.suppress(lmdb.Error):
                self._env.sync(True)
        self._env.close()
        if self._dirty and self._sound:
            with contextlib.suppress(OSError):
                temporary = self._folder / "stamp.new"
                temporary.touch(0o600)
                temporary.write_bytes(self._stamp())
                temporary.rename(self._folder / "stamp")

    def _begin_change(self) -> None:
        if not self._dirty:
            (self._folder / "stamp").unlink(missing_ok=True)
            self._dirty = True

    def _grow(self) -> None:
        size = self._env.info()["map_size"] * 2
        # LMDB gives up its map before it takes the larger one; if it gets none, all the file holds is lost for this
        # run. So try first whether there is address space for it.
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close()
        self._env.set_mapsize(size)

    def _distrust(self) -> None:
        """The file is broken although its stamp was right: read on as if it were empty, and never stamp it again."""
        self._end_reader()
        self._sound = False
        with contextlib.suppress(OSError):
            self._begin_change()

    def _end_reader(self) -> None:
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    def _map_size(self) -> int:
        with contextlib.suppress(OSError):
            return max(FIRST_MAP, 2 * (self._folder / "data.mdb").stat().st_size)
        return FIRST_MAP

    def _stamp(self) -> bytes:
        # On one thread: where no thread can be started, blake3 ends the program with an error that is no Exception.
        file = blake3(key=self._key)
        file.update_mmap(self._folder / "data.mdb")
        return keyed(self._key, b"stamp 2", file.digest())

    def _stamp_matches(self) -> bool:
        try:
            return (self._folder / "stamp").read_bytes() == self._stamp()
        except (OSError, ValueError):
            return False

    def _discard(self) -> None:
        for name in ("stamp", "data.mdb"):
            (self._folder / name).unlink(missing_ok=True)


class LocalIndex:
    """The local index of one repository."""

    def __init__(self, tables: Tables, keys: SubKeys, repository: RepositoryId) -> None:
        self._tables = tables
        self._key = keys.cache
        self._bound = layout.Header(layout.LOCAL, sealing.AES_256_GCM, repository).pack()
        self._live = bytearray(self._tables.count(PACKS))
        self._packs: dict[int, tuple[PackId, int]] = {}
        self.gone = 0
        """Packs that this index knows and that the last listing did not show."""
        self.failed = False
        """Set when a write failed; the index goes on with what it has."""

    # Packs and chunks ------------------------------------------------------------------------------------

    def refresh(self, listed: Iterable[tuple[PackId, int]]) -> list[tuple[PackId, int]]:
        """Take the store's listing as the set of live packs, and return those this index does not know."""
        unknown = []
        self._live = bytearray(self._tables.count(PACKS))
        for pack, size in listed:
            number = self._number(pack)
            if number is not None and number < len(self._live) and self.pack(number, alive=False) == (pack, size):
                self._live[number] = 1
            else:
                unknown.append((pack, size))
        self.gone = self._live.count(0)
        return unknown

    def is_live(self, pack: PackId) -> bool:
        """Return whether a pack is known and was listed."""
        number = self._number(pack)
        return number is not None and number < len(self._live) and self._live[number] == 1

    def add_packs(self, directories: Iterable[Directory]) -> None:
        """Record packs whose directories were read from the store, or that this process has just stored.

        Of a chunk that is stored twice the copy counts that stands on no other, so no two can stand on each other.
        """
        packs, numbers = [], []
        whole: dict[bytes, bytes] = {}
        deltas: dict[bytes, bytes] = {}
        for directory in directories:
            number = len(self._live)
            self._live.append(1)
            packed = _NUMBER.pack(number)
            packs.append((packed, self._seal(PACKS + packed, _PACK.pack(directory.pack, directory.size))))
            numbers.append((directory.pack[:16], packed))
            for chunk, ordinal, position in directory.entries():
                mask = keyed(self._key, key := stem(chunk))
                place = _mask(_PLACE.pack(number, ordinal, position), mask[:8]) + mask[8:16]
                if not directory.frames[ordinal].delta:
                    whole[key] = place
                elif self.lookup(chunk) is None:
                    deltas.setdefault(key, place)
        self._write([(PACKS, packs), (PACK_NUMBERS, numbers), (CHUNKS, {**deltas, **whole}.items())])

    def lookup(self, chunk: ChunkId | ChunkStem) -> Place | None:
        """Return where a chunk is said to be. The answer must be confirmed before anything relies on it."""
        value = self._tables.get(CHUNKS, key := stem(chunk))
        if value is None:
            return None
        mask = keyed(self._key, key)
        if len(value) != 16 or value[8:] != mask[8:16]:
            return None
        place = Place(*_PLACE.unpack(_mask(value[:8], mask[:8])))
        if place.pack >= len(self._live) or not self._live[place.pack]:
            return None
        return place

    def pack(self, number: int, *, alive: bool = True) -> tuple[PackId, int] | None:
        """Return id and size of a pack by its number here."""
        if alive and (number >= len(self._live) or not self._live[number]):
            return None
        known = self._packs.get(number)
        if known is not None:
            return known
        packed = _NUMBER.pack(number)
        value = self._unseal(PACKS + packed, self._tables.get(PACKS, packed))
        if value is None or len(value) != _PACK.size:
            return None
        pack, size = _PACK.unpack(value)
        if len(self._packs) >= PACKS_REMEMBERED:
            self._packs.clear()
        self._packs[number] = PackId(pack), size
        return self._packs[number]

    def packs(self) -> Iterator[tuple[PackId, int]]:
        """Yield all live packs."""
        for _, found, size in self.numbered_packs():
            yield found, size

    def numbered_packs(self) -> Iterator[tuple[int, PackId, int]]:
        """Yield all live packs with the numbers that places name them by."""
        for number, live in enumerate(self._live):
            found = self.pack(number) if live else None
            if found is not None:
                yield number, *found

    def _number(self, pack: PackId) -> int | None:
        value = self._tables.get(PACK_NUMBERS, pack[:16])
        return int(_NUMBER.unpack(value)[0]) if value is not None and len(value) == _NUMBER.size else None

    @property
    def chunk_count(self) -> int:
        return self._tables.count(CHUNKS)

    # Index objects, log records, folders -----------------------------------------------------------------

    def knows_index(self, name: str) -> bool:
        return self._tables.get(INDEXES, keyed(self._key, name.encode())[:16]) is not None

    def keep_indexes(self, names: Iterable[str]) -> None:
        self._write([(INDEXES, [(keyed(self._key, name.encode())[:16], b"") for name in names])])

    def log_record(self, name: str) -> bytes | None:
        value = self._tables.get(RECORDS, keyed(self._key, name.encode())[:16])
        return None if value is None else self._unseal(RECORDS + name.encode(), value)

    def keep_log_records(self, records: Iterable[tuple[str, bytes]]) -> None:
        pairs = [
            (keyed(self._key, name.encode())[:16], self._seal(RECORDS + name.encode(), stored))
            for name, stored in records
        ]
        if pairs:
            self._write([(RECORDS, pairs)])

    def folder(self, path: bytes) -> bytes | None:
        """Return what was kept for a folder, or None."""
        key = keyed(self._key, b"folder", path)[:16]
        return self._unseal(FOLDERS + key, self._tables.get(FOLDERS, key))

    def keep_folders(self, folders: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep records for folders, by path."""
        pairs = []
        for path, record in folders:
            key = keyed(self._key, b"folder", path)[:16]
            pairs.append((key, self._seal(FOLDERS + key, record)))
        self._write([(FOLDERS, pairs)])

    def close(self) -> None:
        self._tables.close()

    def _seal(self, place: bytes, value: bytes) -> bytes:
        return sealing.seal(self._key, sealing.AES_256_GCM, self._bound + place, value)

    def _unseal(self, place: bytes, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            return sealing.unseal(self._key, sealing.AES_256_GCM, self._bound + place, value, "local record")
        except (Damaged, Unsupported):
            return None

    def _write(self, changes: list[tuple[bytes, Pairs]]) -> None:
        # A cache that cannot be written (a full disk, say) costs time only; the run goes on with what it has.
        try:
            self._tables.write(changes)
        except (OSError, lmdb.Error):
            self.failed = True


def _mask(place: bytes, with_bytes: bytes) -> bytes:
    return (int.from_bytes(place, "little") ^ int.from_bytes(with_bytes, "little")).to_bytes(8, "little")


# Opening ----------------------------------------------------------------------------------------------------


class CacheFolder:
    """The folder of one repository's local index, held by this process, or the dictionary that stands for it."""

    def __init__(self, folder: Path | None, keys: SubKeys, repository: RepositoryId) -> None:
        self._lock: int | None = None
        self._folder = None if folder is None else local_folder(folder) / repository.hex()
        self._keys, self._repository = keys, repository
        self.index = LocalIndex(self._open(), keys, repository)
        self.kept = Kept(self._folder if self._lock is not None else None, keys, repository)

    def _open(self) -> Tables:
        if self._folder is None:
            return DictTables()
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._lock = os.open(self._folder / "cache.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return LmdbTables(self._folder, keyed(self._keys.cache, b"file"))
        except (OSError, lmdb.Error):
            # In use by another process, or unusable: this run works without it.
            self._unlock()
            return DictTables()

    def reset(self) -> None:
        """Throw the local index away and begin an empty one."""
        self.kept.close()
        self.index.close()
        if self._folder is not None and self._lock is not None:
            for name in ("stamp", "data.mdb"):
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
        self._unlock()
        self.index = LocalIndex(self._open(), self._keys, self._repository)
        self.kept = Kept(self._folder if self._lock is not None else None, self._keys, self._repository)

    def close(self) -> None:
        self.kept.close()
        self.index.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


REMOTE_TYPES = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "ncpfs",
    "virtiofs",
    "davfs",
)


def local_folder(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Path:
    """Return the folder, or one under the temporary folder if it lies on a remote filesystem (LMDB needs a local)."""
    if not is_remote(folder, mounts):
        return folder
    return Path(tempfile.gettempdir()) / f"keepstone-{os.getuid()}"


def is_remote(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Return whether a folder lies on a network or user-space filesystem, as /proc/self/mountinfo tells (proc(5))."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    best, kind = -1, ""
    wanted = os.path.realpath(folder)
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _unescape(fields[4])
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split(" ")[0]
    return kind.startswith(REMOTE_TYPES) and kind != "fuseblk"


def _unescape(field: str) -> str:
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
