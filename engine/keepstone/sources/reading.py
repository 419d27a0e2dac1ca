"""What a reader of messages is, and what it may see: a folder of plain files, whatever that folder really is.

A reader is a module: it says by a file's first bytes whether it knows the file, and yields what it holds as records of
`keepstone.messages.model`. It sees its file and what lies beside it through a `Folder`, so the same reader reads a
phone's folder, an unpacked export, a zip of it, an encrypted container, or a snapshot. It keeps no state, never
writes, and is lenient with data and strict with danger: what it does not know keeps its number and text, every complete
record of a damaged file is yielded and the rest is told as a `Loss`; databases are opened read-only, without triggers,
views, extensions or functions that reach out; XML without DTD and without entities of its own.

A conversation is yielded before the first record that names it. Records come in the source's order and one at a time:
what a reader holds in memory does not grow with the number of messages.
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from keepstone.errors import KeepstoneError
from keepstone.messages.model import Attachment, Item

HEAD = 4096
"""How much of a file's beginning `recognises` is given."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of one text that a reader takes into memory; longer ones are cut, and told as a loss."""
SQLITE_STEPS = 20_000
"""How many virtual machine steps SQLite takes between two looks at whether a query has gone on too long."""


class UnreadableSource(KeepstoneError):
    """A file is not what it looks like, or is damaged beyond its first record: nothing of it could be read."""


class Folder(Protocol):
    """Files to read, by name: relative, parts joined by `/`, in the text form of `os.fsdecode`.

    Content does not change while it is read. Names that leave the folder, or do not exist, are `FileNotFoundError`.
    """

    def names(self) -> Sequence[str]:
        """Return the names of all files below, in order."""
        ...

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> BinaryIO:
        """Return a file to read from, seekable and at its start. The caller closes it."""
        ...

    @property
    def scratch(self) -> str:
        """A folder of this computer for private copies, which lose their names as soon as they are open."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a user can tell a reader."""

    date_order: Literal["", "dmy", "mdy", "ymd"] = ""
    """Of an exported text in which every date can be read in two ways."""
    owner: str = ""
    """The owner's own name or address, where a source does not say which author they are."""


class Reader(Protocol):
    """A module that reads one format."""

    @property
    def NAME(self) -> str:
        """What users and records call the format, in lower case with dashes: `whatsapp-android`."""
        ...

    def recognises(self, name: str, head: bytes, folder: Folder) -> bool:
        """Return whether a file is of this format: by its first `HEAD` bytes, then its content; its name is a hint."""
        ...

    def read(self, name: str, folder: Folder, options: Options) -> Iterator[Item]:
        """Yield what the file, with what belongs to it beside it, holds.

        Raises:
            UnreadableSource: nothing can be read.
        """
        ...

    def open_attachment(self, name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
        """Return the content of an attachment that `read` yielded, or None if the source does not have it."""
        ...


class MemoryFolder:
    """A folder of bytes: small exports, and tests."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def names(self) -> Sequence[str]:
        return sorted(self._files)

    def size(self, name: str) -> int:
        return len(self._content(name))

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._content(name))

    @property
    def scratch(self) -> str:
        return tempfile.gettempdir()

    def _content(self, name: str) -> bytes:
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(name) from None


_READS = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))
_FUNCTIONS = frozenset(
    (
        "abs", "avg", "coalesce", "count", "group_concat", "hex", "ifnull", "iif", "instr", "length", "like", "lower",
        "max", "min", "nullif", "replace", "round", "rtrim", "row_number", "substr", "sum", "total", "trim", "typeof",
        "unicode", "upper",
    )
)  # fmt: skip


def _authorise(action: int, first: str | None, second: str | None, database: str | None, within: str | None) -> int:
    if within is None and (action in _READS or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


@contextmanager
def open_database(name: str, folder: Folder, *, seconds: float = 600.0) -> Iterator[sqlite3.Connection]:
    """Open somebody's database so that reading it is all that can happen.

    It is a copy; its schema is not trusted; a statement may only select from tables (a view or trigger of the
    file's own is denied when it is used) and use plain functions; sizes are bounded. Text that is not UTF-8 comes with
    replacement characters.

    Args:
        seconds: processor time that this process may take while it is open.

    Raises:
        UnreadableSource: it is no database, or it is damaged where its schema stands.
    """
    end = time.process_time() + seconds
    copies = getattr(folder, "copies", None)
    connection = copies.take(name) if isinstance(copies, Copies) else None
    if connection is None:
        try:
            connection = _open_copy(name, folder)
        except (sqlite3.Error, OSError, UnicodeError) as error:  # Even a message of SQLite's may be no UTF-8.
            raise UnreadableSource(f"The file {name!r} is no readable database ({error}).") from error
        connection.set_authorizer(_authorise)
    try:
        # Processor time: a reader waits whenever whoever takes its records is slower.
        connection.set_progress_handler(lambda: time.process_time() > end, SQLITE_STEPS)
        yield connection
    finally:
        if isinstance(copies, Copies):
            copies.put(name, connection)
        else:
            connection.close()


class Copies:
    """Private copies of one folder's databases: each is made once, however many readers look into it.

    A folder that has them as its attribute `copies` shares them among the readers of one file.
    """

    def __init__(self) -> None:
        self._idle: dict[str, sqlite3.Connection] = {}
        self._file = ""

    def keep_for(self, name: str) -> None:
        """Let go of all copies if another file than before is looked at."""
        if name != self._file:
            self.close()
            self._file = name

    def take(self, name: str) -> sqlite3.Connection | None:
        """Return the copy of a database, unless there is none or it is in use."""
        return self._idle.pop(name, None)

    def put(self, name: str, connection: sqlite3.Connection) -> None:
        """Keep a copy for whoever asks next."""
        if name in self._idle:
            connection.close()
        else:
            self._idle[name] = connection

    def close(self) -> None:
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()


def _open_copy(name: str, folder: Folder) -> sqlite3.Connection:
    """Return a connection to a copy, with its log if it has one, that has lost its name."""
    beside = [suffix for suffix in ("-wal", "-journal") if _has(folder, name + suffix)]
    with tempfile.TemporaryDirectory(prefix=".keepstone-", dir=folder.scratch) as private:
        copy = os.path.join(private, "db")
        for suffix in ("", *beside):
            with folder.open(name + suffix) as file, open(copy + suffix, "xb") as out:
                shutil.copyfileobj(file, out, 1024 * 1024)
        connection = sqlite3.connect(copy, isolation_level=None)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 28)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # Its log then needs no shared memory file.
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            connection.execute("PRAGMA journal_mode=MEMORY")  # Brings the log in: from here on it is one open file.
            connection.execute("PRAGMA query_only=ON")
        except BaseException:
            connection.close()
            raise
    return connection


def _has(folder: Folder, name: str) -> bool:
    try:
        return folder.size(name) > 0
    except OSError:
        return False


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """Return the names of a table's columns; none if there is no such table (a view is none)."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE type='table' AND name=?", (table,)).fetchone()
    if found is None:
        return frozenset()
    quoted = table.replace('"', '""')
    try:
        return frozenset(entry[0] for entry in connection.execute(f'SELECT * FROM "{quoted}" LIMIT 0').description)
    except UnicodeDecodeError:  # A damaged schema; names of columns are decoded by nobody's rule but the module's own.
        return frozenset()


def tables(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the names of all tables."""
    return frozenset(row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'"))
