"""The few operations on files that Keepstone needs, behind one interface.

The folder store and the client's state go through it, so tests can put a file system underneath that fails, fills up
or loses power at any operation. Errors of the operating system are translated here, once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Protocol, TypeVar

from keepstone.errors import ObjectNotFound, StoreError, StoreFull, StoreReadOnly
from keepstone.ids import Buffer

T = TypeVar("T")

WRITE_AT_ONCE = 64
"""Pieces handed to one writev(2); far below IOV_MAX everywhere."""


class Files(Protocol):
    """A file system. Paths are text; every method raises `StoreError` or a subclass of it."""

    def make_folder(self, path: str) -> bool:
        """Make one folder; False if it is there already. Its entry is durable after `sync_folder` of its parent."""

    def create(self, path: str) -> int:
        """Create a new file for writing and return a handle; fails if the path exists."""

    def write(self, handle: int, pieces: Sequence[Buffer]) -> None:
        """Write all the pieces."""

    def sync(self, handle: int) -> None:
        """Make the written bytes durable. After a failure they are lost: never sync again, write anew."""

    def close(self, handle: int) -> None:
        """Close; an error counts as a failed write."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what has it."""

    def sync_folder(self, path: str) -> None:
        """Make the entries of a folder durable."""

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        """Read a range of a file."""

    def size(self, path: str) -> int:
        """Return a file's length."""

    def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
        """Yield (name, is a folder, size) of a folder's entries; a missing folder has none."""

    def unlink(self, path: str) -> None:
        """Remove a file's name."""


class SystemFiles:
    """The operating system's files."""

    def make_folder(self, path: str) -> bool:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return False
        except OSError as error:
            translate(error, path, writing=True)
        return True

    def create(self, path: str) -> int:
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            translate(error, path, writing=True)

    def write(self, handle: int, pieces: Sequence[Buffer]) -> None:
        left = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        try:
            while left:
                written = os.writev(handle, left[:WRITE_AT_ONCE])
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]
        except OSError as error:
            translate(error, "an object", writing=True)

    def sync(self, handle: int) -> None:
        try:
            os.fsync(handle)
        except OSError as error:
            translate(error, "an object", writing=True)

    def close(self, handle: int) -> None:
        try:
            os.close(handle)
        except OSError as error:
            translate(error, "an object", writing=True)

    def rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new)
        except OSError as error:
            translate(error, new, writing=True)

    def sync_folder(self, path: str) -> None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            translate(error, path, writing=True)

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                wanted = os.fstat(handle).st_size - offset
                return _read_range(handle, offset, wanted if length is None else min(length, wanted))
            finally:
                os.close(handle)
        except OSError as error:
            translate(error, path, writing=False)

    def size(self, path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError as error:
            translate(error, path, writing=False)

    def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    folder = entry.is_dir(follow_symlinks=False)
                    try:
                        yield entry.name, folder, 0 if folder else entry.stat().st_size
                    except FileNotFoundError:
                        continue
        except FileNotFoundError:
            return
        except OSError as error:
            translate(error, path, writing=False)

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError as error:
            translate(error, path, writing=True)


def _read_range(handle: int, offset: int, length: int) -> bytes:
    if length <= 0:
        return b""
    data = os.pread(handle, length, offset)
    if len(data) == length:
        return data
    parts = [data]
    left = length - len(data)
    while left and parts[-1]:
        parts.append(os.pread(handle, left, offset + length - left))
        left -= len(parts[-1])
    return b"".join(parts)


def translate(error: OSError, what: str, *, writing: bool) -> NoReturn:
    """Raise what an error of the operating system means."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        raise ObjectNotFound(f"{what} does not exist.") from error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise StoreFull(f"There is no space left for {what} ({reason}).") from error
    if writing and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        raise StoreReadOnly(f"{what} cannot be written ({reason}).") from error
    raise StoreError(f"{what} cannot be {'written' if writing else 'read'} ({reason}).") from error


def write_file(files: Files, path: str, pieces: Sequence[Buffer]) -> None:
    """Write a new file durably; on failure it is removed again as far as that is possible."""
    handle = files.create(path)
    try:
        try:
            files.write(handle, pieces)
            files.sync(handle)
        except BaseException:
            _quietly(files.close, handle)
            raise
        files.close(handle)
    except StoreError:
        _quietly(files.unlink, path)
        raise


def replace_file(files: Files, path: str, data: Buffer) -> None:
    """Replace a file atomically and durably."""
    temporary = path + ".new"
    _quietly(files.unlink, temporary)
    write_file(files, temporary, [data])
    files.rename(temporary, path)
    files.sync_folder(os.path.dirname(path))


def _quietly(action: Callable[[T], None], argument: T) -> None:
    """Clean up after a failure that is already being reported."""
    try:
        action(argument)
    except StoreError:
        pass
