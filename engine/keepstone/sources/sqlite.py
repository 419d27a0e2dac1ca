"""Live SQLite databases: stored as one consistent image, made by SQLite's own backup API.

A database that is open elsewhere is two files, the database and its write-ahead log or journal, which no copy of files
catches in one moment. Source: https://www.sqlite.org/backup.html, https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from keepstone.errors import SourceError

MAGIC = b"SQLite format 3\0"
BUSY_SECONDS = 5.0


def needs_image(path: bytes) -> bool:
    """Return whether a file is a database with a write-ahead log or a hot journal beside it."""
    if not any(_length(path + suffix) for suffix in (b"-wal", b"-journal")):
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(handle, len(MAGIC)) == MAGIC
    except OSError:
        return False
    finally:
        os.close(handle)


def _length(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


class ImageReader:
    """A consistent image, read from its beginning."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size

    def readinto(self, buffer: memoryview) -> int:
        return os.readv(self._handle, [buffer])


@contextmanager
def open_image(path: bytes, scratch_folder: bytes) -> Iterator[ImageReader]:
    """Make an image of a database and give a reader of it.

    The image is a file in the scratch folder whose name is gone before it is read, so nothing stays behind. The
    database itself is opened read-only; writers elsewhere go on.

    Raises:
        SourceError: SQLite cannot read it (locked for longer than a few seconds, damaged, no rights).
    """
    image = os.path.join(scratch_folder, b"image-" + secrets.token_hex(8).encode())
    handle = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _copy(path, image)
        except sqlite3.Error as error:
            shown = path.decode("utf-8", "backslashreplace")
            raise SourceError(f"SQLite cannot read {shown} ({error}).") from error
        finally:
            os.unlink(image)
        yield ImageReader(handle)
    finally:
        os.close(handle)


def _copy(path: bytes, image: bytes) -> None:
    source_uri = f"file:{quote(path)}?mode=ro"
    target_uri = f"file:{quote(image)}?mode=rw"
    with (
        closing(sqlite3.connect(source_uri, uri=True, timeout=BUSY_SECONDS)) as source,
        closing(sqlite3.connect(target_uri, uri=True)) as target,
    ):
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("PRAGMA synchronous=OFF")
        # All pages in one step: one read transaction, so one moment, and a busy writer cannot make it start again.
        source.backup(target, pages=-1)
