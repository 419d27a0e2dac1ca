"""The few operations on files that Keepstone needs, behind one interface.

The folder store and the client's state go through it, so tests can put a file system underneath that fails, fills up
or loses power at any operation. Errors of the operating system are translated here, once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Protocol, TypeVar

from keepstone.errors import ObjectExists, ObjectNotFound, StoreError, StoreFull, StoreReadOnly
from keepstone.ids import Buffer

T = TypeVar("T")

WRITE_AT_ONCE = 64
"""Pieces handed to one writev(2); far below IOV_MAX everywhere."""

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY})
_NO_LINKS = _UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""On macOS fsync(2) leaves the bytes in the disk's own cache; this empties that too."""


class Files(Protocol):
    """A file system. Paths are absolute text; every method raises `StoreError` or a subclass of it."""

    def make_folder(self, path: str) -> bool:
        """Make one folder; False if it is there already. Its entry is durable after `sync_folder` of its parent."""

    def create(self, path: str) -> int:
        """Create a new file for writing and return a handle; fails if the path exists."""

    def write(self, handle: int, pieces: Sequence[Buffer]) -> None:
        """Write all the pieces at the end."""

    def sync(self, handle: int) -> None:
        """Make the written bytes durable. After a failure they are lost: never sync again, write anew."""

    def close(self, handle: int) -> None:
        """Close; an error counts as a failed write."""

    def publish(self, old: str, new: str) -> None:
        """Give a file another name, which must be free, else `ObjectExists`. Durable after `sync_folder`."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what has it. Durable after `sync_folder`."""

    def sync_folder(self, path: str) -> None:
        """Make the entries of a folder durable."""

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        """Read a range of a file; less than `length` where the file ends."""

    def size(self, path: str) -> int:
        """Return a file's length."""

    def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
        """Yield (name, is a folder, size) of a folder's files and folders; a missing folder has none."""

    def unlink(self, path: str) -> None:
        """Remove a file's name. Durable after `sync_folder`."""


class SystemFiles:
    """The operating system's files. Python itself repeats calls that a signal interrupted."""

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
        left = [view for piece in pieces if (view := memoryview(piece).cast("B"))]
        left.reverse()
        try:
            while left:
                written = os.writev(handle, left[: -WRITE_AT_ONCE - 1 : -1])
                if not written:
                    raise OSError(errno.EIO, "nothing was written")
                while left and written >= len(left[-1]):
                    written -= len(left.pop())
                if written:
                    left[-1] = left[-1][written:]
        except OSError as error:
            translate(error, "A file", writing=True)

    def sync(self, handle: int) -> None:
        try:
            _sync(handle)
        except OSError as error:
            translate(error, "A file", writing=True)

    def close(self, handle: int) -> None:
        try:
            os.close(handle)
        except OSError as error:
            translate(error, "A file", writing=True)

    def publish(self, old: str, new: str) -> None:
        # link(2) refuses a name that is taken; rename(2) would silently replace what has it.
        try:
            os.link(old, new)
        except FileExistsError as error:
            raise ObjectExists(f"{new} exists already.") from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                translate(error, new, writing=True)
        else:
            _quietly(self.unlink, old)
            return
        # FAT, exFAT and some network file systems have no hard links. Two writers could then take one name at the
        # same moment; names are hashes of the content, or a writer's own numbers, which its lock guards.
        if os.path.lexists(new):
            raise ObjectExists(f"{new} exists already.")
        self.rename(old, new)

    def rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new)
        except OSError as error:
            translate(error, new, writing=True)

    def sync_folder(self, path: str) -> None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            # Some network and FUSE file systems cannot sync a folder; they keep its entries on their own terms.
            if error.errno not in _UNSUPPORTED:
                translate(error, path, writing=True)

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        try:
            # Not blocking: something may have put a pipe in the file's place.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                wanted = _file_size(os.fstat(handle), path) - offset
                return _read_range(handle, offset, wanted if length is None else min(length, wanted))
            finally:
                os.close(handle)
        except OSError as error:
            translate(error, path, writing=False)

    def size(self, path: str) -> int:
        try:
            return _file_size(os.stat(path), path)
        except OSError as error:
            translate(error, path, writing=False)

    def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    try:
                        found = entry.stat()
                    except FileNotFoundError:
                        continue  # Deleted since, or a link to nothing.
                    if stat.S_ISREG(found.st_mode):
                        yield entry.name, False, found.st_size
                    elif stat.S_ISDIR(found.st_mode) and entry.is_symlink():
                        # To follow it might never end; to skip it would make what is in it look absent.
                        raise StoreError(f"{entry.path} is a link to a folder, which Keepstone does not follow.")
                    elif stat.S_ISDIR(found.st_mode):
                        yield entry.name, True, 0
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            translate(error, path, writing=False)

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError as error:
            translate(error, path, writing=True)


def _sync(handle: int) -> None:
    if _FULL_SYNC is None:
        os.fsync(handle)
        return
    try:
        fcntl.fcntl(handle, _FULL_SYNC)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.fsync(handle)


def _file_size(found: os.stat_result, path: str) -> int:
    if not stat.S_ISREG(found.st_mode):
        raise ObjectNotFound(f"{path} is not a file.")
    return found.st_size


def _read_range(handle: int, offset: int, length: int) -> bytes:
    """Read exactly, even where the system returns less at once (at most 2 GiB on Linux)."""
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
        raise StoreFull(f"{what} cannot be written: there is no space left ({reason}).") from error
    if writing and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        raise StoreReadOnly(f"{what} cannot be written ({reason}).") from error
    raise StoreError(f"{what} cannot be {'written' if writing else 'read'} ({reason}).") from error


def write_file(files: Files, path: str, pieces: Sequence[Buffer]) -> None:
    """Write a new file and its bytes durably, though not yet its name; if that fails, remove it again."""
    handle = files.create(path)
    try:
        try:
            files.write(handle, pieces)
            files.sync(handle)
        except BaseException:
            _quietly(files.close, handle)
            raise
        files.close(handle)
    except BaseException:
        _quietly(files.unlink, path)
        raise


def replace_file(files: Files, path: str, data: Buffer) -> None:
    """Replace a file atomically and durably; its folder exists. If that fails, the old or the new content stands.

    Raises:
        StoreFull, StoreReadOnly, StoreError.
    """
    temporary = temporary_name(path)
    write_file(files, temporary, [data])
    try:
        files.rename(temporary, path)
    except BaseException:
        _quietly(files.unlink, temporary)
        raise
    files.sync_folder(os.path.dirname(path))


def temporary_name(stem: str) -> str:
    """Return a name for an unfinished file. The random part keeps processes apart; it is no secret."""
    return f"{stem}.{secrets.token_hex(8)}.new"


def _quietly(action: Callable[[T], None], argument: T) -> bool:
    """Clean up, and return whether that worked; if not, something is left over that disturbs nobody."""
    try:
        action(argument)
    except StoreError:
        return False
    return True
