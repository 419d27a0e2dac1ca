"""Live SQLite databases: one consistent image instead of files that change under the reader.

The committed state of a database in use is spread over the file and its `-wal` (or has to be brought back from its
`-journal`). SQLite itself reads it, inside one read transaction. A database left behind by a program that died
cannot be opened without being changed; it is copied with its companions, and SQLite recovers the copy.

The image is written to a file that loses its name before the first byte of content goes in.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from keepstone.clock import SYSTEM, Clock
from keepstone.errors import SourceError
from keepstone.sources.files import FileReader, open_file
from keepstone.sources.metadata import printable, reason

MAGIC = b"SQLite format 3\0"
COMPANIONS = (b"-wal", b"-shm", b"-journal")
WAIT = 5.0
"""Seconds to wait for a writer that holds the database."""

_BLOCK = 1024 * 1024
_UNCHANGEABLE = frozenset((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN))
_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


def is_sqlite(head: bytes) -> bool:
    """Return whether a file that begins like this is a SQLite database."""
    return head.startswith(MAGIC)


def has_table(path: bytes, names: Collection[str]) -> bool:
    """Return whether a database file has a table of one of these names; True if that cannot be seen.

    It is read as it stands: without its log, without a lock, and nothing is written.
    """
    try:
        with closing(sqlite3.connect(_uri(os.path.abspath(path), "ro") + "&immutable=1", uri=True)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            rows = database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            return any(name in names for (name,) in rows)
    except (sqlite3.Error, ValueError):
        return True


def companions(path: bytes) -> tuple[bytes, ...]:
    """Return the paths of what SQLite may keep beside a database: -wal, -shm, -journal."""
    return tuple(path + suffix for suffix in COMPANIONS)


def needs_image(path: bytes, names: Collection[bytes] | None = None) -> bool:
    """Return whether a file is a database whose committed state is not in the file alone.

    Args:
        names: the names in its folder, if known; it only saves looking.
    """
    name = os.path.basename(path)
    if names is not None and name + b"-wal" not in names and name + b"-journal" not in names:
        return False
    wal, _, journal = companions(path)
    # A journal of zeros has ended, or belongs to a writer that has only begun: an image is right for both.
    return bool(_size(wal) or _size(journal)) and is_sqlite(_head(path))


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _head(path: bytes) -> bytes:
    """Return the first bytes of a file; nothing if it cannot be read."""
    buffer = bytearray(len(MAGIC))
    try:
        with open_file(path) as reader:
            return bytes(buffer[: reader.readinto(memoryview(buffer))])
    except SourceError:
        return b""


def open_image(path: bytes, scratch_folder: bytes, clock: Clock = SYSTEM) -> FileReader:
    """Return an open image of a database: every transaction committed so far, nothing of any other.

    It has no name and goes away when it is closed, however the program ends. The database and its log are not changed.

    Args:
        scratch_folder: a folder for the image and, for a database left behind by a crash, for a copy of it.

    Raises:
        SourceError: it is locked for longer than `WAIT`, damaged, or no database; read its files as they are then.
    """
    try:
        if not _is_orphan(path):
            try:
                return _image(path, scratch_folder, clock)
            except sqlite3.Error as error:
                if (error.sqlite_errorcode & 0xFF) not in _UNCHANGEABLE:
                    raise
        with _recovered_copy(path, scratch_folder) as copy:
            return _image(copy, scratch_folder, clock)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise SourceError(f"No image of the database {printable(path)} could be made ({reason(error)}).") from error


def _is_orphan(path: bytes) -> bool:
    """Return whether no program can have the database open in WAL mode, yet a log lies beside it.

    Opening it in place would create a `-shm` in the user's folder.
    """
    wal, shm, _ = companions(path)
    return _size(wal) > 0 and not os.path.lexists(shm)


def _uri(path: bytes, mode: str) -> str:
    return f"file://{quote(path)}?mode={mode}"


def _connect(path: bytes, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(_uri(os.path.abspath(path), mode), uri=True, timeout=WAIT, isolation_level=None)


def _image(path: bytes, scratch_folder: bytes, clock: Clock) -> FileReader:
    with closing(_connect(path, "ro")) as source:
        # One read transaction around all of it: the image is of one moment, and a writer that never pauses cannot
        # make it start again.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        fd, name = tempfile.mkstemp(prefix=b".keepstone-image-", dir=scratch_folder)
        try:
            try:
                target = _connect(name, "rw")
                with closing(target):
                    target.execute("PRAGMA journal_mode=OFF")
                    target.execute("PRAGMA synchronous=OFF")
                    target.execute("SELECT 1 FROM sqlite_schema").fetchone()  # It is open from here on.
                    os.unlink(name)
                    source.backup(target, pages=-1, progress=_Deadline(clock))
            finally:
                _unlink(name)
            os.lseek(fd, 0, os.SEEK_SET)
            return FileReader(fd, path)
        except BaseException:
            os.close(fd)
            raise


class _Deadline:
    """Ends a backup that only waits: Python's own loop would go on for ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end = clock.monotonic() + WAIT

    def __call__(self, status: int, remaining: int, total: int) -> None:
        if (status & 0xFF) in _BUSY and self._clock.monotonic() > self._end:
            raise sqlite3.OperationalError("database is locked")


@contextmanager
def _recovered_copy(path: bytes, scratch_folder: bytes) -> Iterator[bytes]:
    """Copy a database with its log or journal, let SQLite bring the copy to its last committed state."""
    wal, _, journal = companions(path)
    beside = [part for part in (wal, journal) if _size(part)]
    folder = os.path.join(scratch_folder, b".keepstone-image-" + secrets.token_hex(8).encode())
    os.mkdir(folder, 0o700)
    copy = os.path.join(folder, b"db")
    made = [copy, *companions(copy)]
    try:
        readers = [open_file(part) for part in (path, *beside)]
        try:
            for reader in readers:
                _copy(reader, copy + reader.path[len(path) :])
            if any(reader.changed() for reader in readers) or any(_size(p) for p in (wal, journal) if p not in beside):
                raise SourceError(f"The database {printable(path)} changed while it was copied.")
        finally:
            for reader in readers:
                reader.close()
        with closing(_connect(copy, "rw")) as database:
            database.execute("SELECT 1 FROM sqlite_schema").fetchone()
            yield copy
    finally:
        for name in made:
            _unlink(name)
        os.rmdir(folder)


def _copy(reader: FileReader, to: bytes) -> None:
    view = memoryview(bytearray(_BLOCK))
    with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0) as out:
        while read := reader.readinto(view):
            done = 0
            while done < read:
                done += out.write(view[done:read]) or 0


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
