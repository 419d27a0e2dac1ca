"""Folders and files of this computer, read fast and honestly.

A folder is listed in one pass: names sorted as bytes, every entry's `lstat`, and a fingerprint over all of it, so that
an unchanged folder is recognised by one comparison. The fingerprint is left out while any time in it is *racy*: so
young that a further change might not show.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from blake3 import blake3

from keepstone.errors import SourceError

RACY_NS = 20_000_000
"""Kernels stamp files with the time of their last tick, at most 10 ms ago (CONFIG_HZ=100)."""
RACY_COARSE_NS = 2_000_000_000
"""FAT counts in two seconds."""
SECOND_NS = 1_000_000_000

_FILE = struct.Struct("<IIIqqqQQQ").pack
_MASK64 = 2**64 - 1


@dataclass(slots=True)
class Listing:
    """One folder as it was when it was listed."""

    path: bytes
    names: list[bytes]
    """Sorted as bytes."""
    stats: list[os.stat_result]
    """`lstat` of each name."""
    problems: list[tuple[bytes, SourceError]]
    fingerprint: bytes | None
    """Equal for equal states; None while the folder may change without showing it."""


def list_folder(path: bytes, key: bytes, now_ns: int) -> Listing:
    """List a folder.

    Args:
        key: 32 bytes; fingerprints under different keys have nothing in common.
        now_ns: the time before the listing begins.

    Raises:
        SourceError: the folder cannot be opened or listed.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _source_error(error, path) from error
    try:
        own = os.fstat(handle)
        names = [os.fsencode(name) for name in os.listdir(handle)]
        names.sort()
        status = os.stat
        try:
            stats = [status(name, dir_fd=handle, follow_symlinks=False) for name in names]
            problems: list[tuple[bytes, SourceError]] = []
        except OSError:
            names, stats, problems = _stat_each(names, handle, path)
    except OSError as error:
        raise _source_error(error, path) from error
    finally:
        os.close(handle)
    return Listing(path, names, stats, problems, _fingerprint(own, names, stats, key, now_ns))


def _stat_each(
    names: list[bytes], handle: int, path: bytes
) -> tuple[list[bytes], list[os.stat_result], list[tuple[bytes, SourceError]]]:
    """Do it one by one when one of them failed: what vanished is left out, the rest is kept."""
    kept, stats, problems = [], [], []
    for name in names:
        try:
            stats.append(os.stat(name, dir_fd=handle, follow_symlinks=False))
            kept.append(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append((name, _source_error(error, os.path.join(path, name))))
    return kept, stats, problems


def _fingerprint(
    own: os.stat_result, names: list[bytes], stats: list[os.stat_result], key: bytes, now_ns: int
) -> bytes | None:
    parts = [
        _FILE(
            own.st_mode,
            own.st_uid,
            own.st_gid,
            0,
            own.st_mtime_ns,
            own.st_ctime_ns,
            own.st_ino,
            0,
            len(names),
        )
    ]
    add = parts.append
    youngest = now_ns - RACY_COARSE_NS
    if is_racy(own, now_ns):
        return None
    for name, st in zip(names, stats, strict=True):
        mode, changed, modified = st.st_mode, st.st_ctime_ns, st.st_mtime_ns
        if (changed > youngest or modified > youngest) and is_racy(st, now_ns):
            return None
        if mode & 0o170000 == 0o040000:
            add(_FILE(mode, st.st_uid, st.st_gid, 0, modified, changed, st.st_ino, 0, len(name)))
        else:
            add(
                _FILE(
                    mode, st.st_uid, st.st_gid, st.st_size, modified, changed, st.st_ino,
                    st.st_rdev << 32 & _MASK64 | st.st_nlink, len(name),
                )
            )  # fmt: skip
        add(name)
    return blake3(b"".join(parts), key=key).digest()


def is_racy(status: os.stat_result, now_ns: int) -> bool:
    """Return whether an entry is so young that a change after now might leave its times as they are.

    Filesystems that count in whole seconds need a wider margin; a time in the future is always racy.
    """
    times = (status.st_mtime_ns, status.st_ctime_ns)
    coarse = all(time % SECOND_NS == 0 for time in times)
    return max(times) > now_ns - (RACY_COARSE_NS if coarse else RACY_NS)


class FileReader:
    """An open file, read from its beginning."""

    def __init__(self, path: bytes, handle: int) -> None:
        self._path, self._handle = path, handle
        self._before = os.fstat(handle)
        self.size = self._before.st_size

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer as far as there is data; 0 at the end.

        Raises:
            SourceError: the file cannot be read.
        """
        try:
            return os.readv(self._handle, [buffer])
        except OSError as error:
            raise _source_error(error, self._path) from error

    def seek(self, offset: int) -> None:
        os.lseek(self._handle, offset, os.SEEK_SET)

    def extents(self) -> list[tuple[int, int]]:
        """Return (offset, length) of the file's data; what lies between are holes.

        Holes are only looked for if the file takes less space than its length. A filesystem's map of a file that is
        being written can be wrong, so the caller reads a changed file again.
        """
        whole = [(0, self.size)]
        if self._before.st_blocks * 512 >= self.size or not hasattr(os, "SEEK_DATA"):
            return whole
        found, at = [], 0
        try:
            while at < self.size:
                try:
                    start = os.lseek(self._handle, at, os.SEEK_DATA)
                except OSError:
                    break
                at = min(os.lseek(self._handle, start, os.SEEK_HOLE), self.size)
                found.append((start, at - start))
            os.lseek(self._handle, 0, os.SEEK_SET)
        except OSError:
            return whole
        return found

    def changed(self, listed: os.stat_result) -> bool:
        """Return whether the file is another one or has changed since it was listed or opened."""
        after = os.fstat(self._handle)
        return _version(listed) != _version(after) or _version(self._before) != _version(after)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def open_file(path: bytes) -> Iterator[FileReader]:
    """Open a regular file for reading; never waits for the other end of a FIFO, never follows a symbolic link.

    Raises:
        SourceError: it cannot be opened or is no regular file any more.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            # Not even the time of access is changed, where the system permits that.
            handle = os.open(path, flags | getattr(os, "O_NOATIME", 0))
        except PermissionError:
            handle = os.open(path, flags)
    except OSError as error:
        raise _source_error(error, path) from error
    try:
        reader = FileReader(path, handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SourceError(f"{_printable(path)} is no regular file any more.")
        if reader.size > 1024 * 1024 and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield reader
    finally:
        os.close(handle)


def _source_error(error: OSError, path: bytes) -> SourceError:
    return SourceError(f"{_printable(path)} cannot be read ({error.strerror or error}).")


def _printable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
