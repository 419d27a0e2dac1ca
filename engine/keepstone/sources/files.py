"""Reading a folder and reading a file, fast, and without ever being led elsewhere.

A folder is opened once and everything in it is looked at relative to that open folder. One hash over all it shows (the
fingerprint, which leaves the process only sealed) says later whether anything in it has changed. Times say nothing
while they are as young as the clock's grain: such a folder has no fingerprint.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from operator import attrgetter
from typing import TYPE_CHECKING

from blake3 import blake3

from keepstone.errors import SourceError
from keepstone.sources.metadata import printable, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

RACY_NS = 20_000_000
"""Two changes closer than this may carry the same time. Kernels tick every 1 to 10 ms."""
COARSE_RACY_NS = 2_000_000_000
"""The same, for filesystems that keep whole seconds (FAT: two of them)."""
SECOND_NS = 1_000_000_000

READ_AHEAD_FROM = 1024 * 1024
GLANCE_MOST = 20_000

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: if a FIFO or a device took the file's place, opening it returns at once, and it is refused below.
HEAD = 4096
"""Bytes that tell what a file is. A small file is read with them."""
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_ATIME: int = getattr(os, "O_NOATIME", 0)

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_pack = struct.Struct("<qqqIIIQQQ").pack


class Listing:
    """What one look at a folder showed. `stats` are `lstat` results, one for each of `names`, in their order."""

    __slots__ = ("fingerprint", "names", "path", "problems", "stats")

    def __init__(
        self,
        path: bytes,
        names: list[bytes],
        stats: list[os.stat_result],
        problems: list[tuple[bytes, SourceError]],
        fingerprint: bytes | None,
    ) -> None:
        self.path, self.names, self.stats = path, names, stats
        self.problems = problems
        """Entries that are there and cannot be looked at. What vanished after it was listed is simply not there."""
        self.fingerprint = fingerprint
        """32 bytes that change with any entry; None if a later change may not show in the times,
        or if the folder changed while it was listed."""


def look(path: bytes, *, through_links: bool = False) -> os.stat_result:
    """Return what `lstat` tells of a path, or `stat` if links are to be followed.

    Raises:
        SourceError: it is not there, or cannot be looked at.
    """
    try:
        return os.stat(path, follow_symlinks=through_links)
    except OSError as error:
        raise unreadable(path, error) from error


def link_target(path: bytes) -> bytes:
    """Return the target of a symbolic link.

    Raises:
        SourceError: it cannot be read, or is no link any more.
    """
    try:
        return os.readlink(path)
    except OSError as error:
        raise unreadable(path, error) from error


def list_folder(path: bytes, now_ns: int) -> Listing:
    """List a folder, names sorted bytewise.

    Args:
        now_ns: the time, asked before this call.

    Raises:
        SourceError: it is not a folder (a symbolic link to one is none), or cannot be opened.
    """
    try:
        fd = os.open(path, _FOLDER_FLAGS)
    except OSError as error:
        raise unreadable(path, error, "listed") from error
    try:
        own = os.fstat(fd)
        names = _names(fd)
        problems: list[tuple[bytes, SourceError]] = []
        look, whole = os.stat, True
        try:
            stats = [look(name, dir_fd=fd, follow_symlinks=False) for name in names]
        except OSError:
            names, stats, problems = _look_one_by_one(path, fd, names)
            whole = False
    except OSError as error:
        raise unreadable(path, error, "listed") from error
    finally:
        os.close(fd)
    return Listing(path, names, stats, problems, _fingerprint(own, names, stats, now_ns) if whole else None)


class Glance:
    """What a listing comes down to while nothing changes: a small part of its memory."""

    __slots__ = ("fingerprint", "subfolders")

    def __init__(self, fingerprint: bytes, subfolders: list[tuple[bytes, int]]) -> None:
        self.fingerprint = fingerprint
        self.subfolders = subfolders
        """Their names, sorted, and their devices."""


def glance(path: bytes, now_ns: int) -> Glance | None:
    """Return the fingerprint and the sub-folders that `list_folder` would, in little memory.

    None if the folder is large, or anything about it is racy or cannot be looked at.
    """
    subfolders: list[tuple[bytes, int]] = []

    def look(names: list[bytes], fd: int) -> Iterator[os.stat_result]:
        for name in names:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                subfolders.append((name, status.st_dev))
            yield status

    try:
        fd = os.open(path, _FOLDER_FLAGS)
        try:
            own, names = os.fstat(fd), _names(fd)
            found = None if len(names) > GLANCE_MOST else _fingerprint(own, names, look(names, fd), now_ns)
        finally:
            os.close(fd)
    except OSError:
        return None
    return None if found is None else Glance(found, subfolders)


def _names(fd: int) -> list[bytes]:
    # Encoding all names at once is ten times faster than each by itself; no name contains a slash.
    joined = "/".join(os.listdir(fd)).encode(_ENCODING, _ERRORS)
    names = joined.split(b"/") if joined else []
    names.sort()
    return names


def _look_one_by_one(
    path: bytes, fd: int, names: list[bytes]
) -> tuple[list[bytes], list[os.stat_result], list[tuple[bytes, SourceError]]]:
    """Look at each entry: what has vanished is left out, what cannot be looked at does not hide its neighbors."""
    seen: list[bytes] = []
    stats: list[os.stat_result] = []
    problems: list[tuple[bytes, SourceError]] = []
    for name in names:
        try:
            stats.append(os.stat(name, dir_fd=fd, follow_symlinks=False))
            seen.append(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append((name, unreadable(os.path.join(path, name), error)))
    return seen, stats, problems


def _fingerprint(own: os.stat_result, names: list[bytes], stats: Iterable[os.stat_result], now_ns: int) -> bytes | None:
    """Return the hash over a folder and its entries; None if any of them is racy.

    Hashed are: the number of entries with the folder's own numbers; the numbers of each entry; the names, which contain
    no NUL, joined by NUL. So no two states of a folder share the bytes.
    """
    if is_racy(own, now_ns):
        return None
    young = now_ns - COARSE_RACY_NS
    parts = [_pack(own.st_mtime_ns, own.st_ctime_ns, len(names), own.st_mode, own.st_uid, own.st_gid, 0, 0, 0)]
    add, pack = parts.append, _pack
    for s in stats:
        modified, changed = s.st_mtime_ns, s.st_ctime_ns
        if (modified >= young or changed >= young) and is_racy(s, now_ns):
            return None
        add(pack(modified, changed, s.st_size, s.st_mode, s.st_uid, s.st_gid, s.st_ino, s.st_nlink, s.st_rdev))
    add(b"\0".join(names))
    return blake3(b"".join(parts)).digest()


def is_racy(status: os.stat_result, now_ns: int) -> bool:
    """Return whether an entry may yet change without a change of its times.

    A change after `now_ns` gets a time at or after it, less the grain of the clock. A time in the future says nothing.
    """
    mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
    coarse = mtime % SECOND_NS == 0 and ctime % SECOND_NS == 0
    return max(mtime, ctime) >= now_ns - (COARSE_RACY_NS if coarse else RACY_NS)


# Files ------------------------------------------------------------------------------------------------------


class FileReader:
    """An open regular file. Close it, or use it as a context manager."""

    __slots__ = ("_expected", "_fd", "_head", "_opened", "path", "size")

    def __init__(self, fd: int, path: bytes, expected: os.stat_result | None = None) -> None:
        """Take over an open file; `expected` is what a listing said of it."""
        self._fd, self.path, self._expected = fd, path, expected
        self._opened = os.fstat(fd)
        self._head = b""
        self.size = self._opened.st_size
        """Its length when it was opened."""

    @property
    def status(self) -> os.stat_result:
        """Its `fstat` when it was opened."""
        return self._opened

    def readinto(self, buffer: memoryview) -> int:
        """Read on into a buffer and return how many bytes came; 0 at the end.

        Raises:
            SourceError: the file cannot be read here.
        """
        try:
            return os.readv(self._fd, (buffer,))
        except OSError as error:
            raise unreadable(self.path, error) from error

    @property
    def parallel(self) -> bool:
        """Several threads may call `read_at`."""
        return True

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset, fewer only where the file ended when it was opened; moves nothing.

        Raises:
            SourceError: the file cannot be read here.
        """
        try:
            return os.pread(self._fd, max(0, min(length, self.size - offset)), offset)
        except OSError as error:
            raise unreadable(self.path, error) from error

    def head(self) -> bytes:
        """Return the first bytes, up to `HEAD` of them, which are read once.

        Raises:
            SourceError: the file cannot be read here.
        """
        if not self._head:
            self._head = self.read_at(0, HEAD)
        return self._head

    def seek(self, offset: int) -> None:
        """Read on from an offset."""
        os.lseek(self._fd, offset, os.SEEK_SET)

    def extents(self) -> list[tuple[int, int]]:
        """Return (offset, length) of what is not a hole; one extent over all unless the file is sparse."""
        if self._opened.st_blocks * 512 >= self.size or not hasattr(os, "SEEK_DATA"):
            return [(0, self.size)]
        try:
            # Bytes not yet on disk were taken for holes by some filesystems (openzfs#15526); on disk they are seen.
            os.fsync(self._fd)
            return self._data()
        except OSError as error:
            if error.errno == errno.EIO:
                raise unreadable(self.path, error) from error
            return [(0, self.size)]
        finally:
            os.lseek(self._fd, 0, os.SEEK_SET)

    def _data(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        at, end = 0, self.size
        while at < end:
            try:
                start = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # No data from here to the end.
                    break
                raise
            if start >= end:
                break
            at = min(os.lseek(self._fd, start, os.SEEK_HOLE), end)
            found.append((start, at - start))
        return found

    def changed(self, expected: os.stat_result | None = None) -> bool:
        """Return whether the file is another one, or has changed, since it was opened or looked at before."""
        try:
            now, beside = os.fstat(self._fd), os.lstat(self.path)
        except OSError:
            return True
        state = _state(now)
        return (
            beside.st_ino != now.st_ino
            or beside.st_dev != now.st_dev
            or _state(self._opened) != state
            or (self._expected is not None and _state(self._expected) != state)
            or (expected is not None and _state(expected) != state)
        )

    def close(self) -> None:
        """Close the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_state = attrgetter("st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns")


def open_file(path: bytes, expected: os.stat_result | None = None) -> FileReader:
    """Open a regular file for reading; never blocks, follows no link, and leaves its access time where it may.

    Raises:
        SourceError: it cannot be opened, or is no regular file (any more).
    """
    try:
        try:
            fd = os.open(path, _FILE_FLAGS | _NO_ATIME)
        except PermissionError:
            # Only the owner may leave the access time alone.
            fd = os.open(path, _FILE_FLAGS)
    except OSError as error:
        raise unreadable(path, error) from error
    reader = FileReader(fd, path, expected)
    if not stat.S_ISREG(reader.status.st_mode):
        reader.close()
        raise SourceError(f"{printable(path)} is no regular file any more.")
    if reader.size >= READ_AHEAD_FROM and hasattr(os, "posix_fadvise"):
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except OSError:
            pass  # Only advice.
    return reader
