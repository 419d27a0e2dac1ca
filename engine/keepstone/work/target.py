"""The place a restore writes to. Nothing outside the target folder is ever written, whoever works against it.

Every path is walked from the open target folder, one component at a time, and no symbolic link is followed, be it old
or put there this moment. Files are written under a temporary name beside their place, get their metadata through the
open file, and take their name in one step; so an interrupted restore leaves old files as they were, and at most a
leftover whose name begins with `.keepstone-`. Writes are not synced to disk unless asked: a restore can be repeated.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from keepstone.errors import TargetError
from keepstone.sources.metadata import (
    Attributes,
    printable,
    reason,
    same_inode,
    set_attributes,
    set_attributes_unopened,
)

Parts = tuple[bytes, ...]
"""The components of a path below the target folder; () is that folder."""

TEMPORARY = b".keepstone-"
"""How the names of unfinished files begin. What a crash leaves behind may be deleted."""
OPEN_FOLDERS = 64
"""Folders kept open, so that any depth fits the limit of open files."""

# O_PATH: walking needs no right to read a folder. Elsewhere (macOS) it does.
_WALK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {"p": stat.S_IFIFO, "c": stat.S_IFCHR, "b": stat.S_IFBLK}
_BLOCK = 1024 * 1024
_ZEROS = bytes(_BLOCK)
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Existing:
    """What stands at a place already."""

    is_file: bool
    is_folder: bool
    size: int
    mtime_ns: int


class _Translated:
    """Turns what the system says about a place into a TargetError: the one translation of this module."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # ValueError and OverflowError: a value from the snapshot that no system call takes.
        if isinstance(error, OSError | ValueError | OverflowError):
            raise _failure(self._parts, error) from error


def _failure(parts: Parts, error: Exception) -> TargetError:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ELOOP, errno.ENOTDIR):
        return TargetError(
            f"{_shown(parts)} was not restored: a symbolic link or a file stands where a folder belongs.",
            "Remove what stands there, or restore to an empty folder.",
        )
    if code in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return TargetError(
            f"{_shown(parts)} was not restored: a folder that is not empty stands there.",
            "Move that folder away, or restore to an empty folder.",
        )
    return TargetError(f"{_shown(parts)} could not be restored ({reason(error)}).")


def _shown(parts: Parts) -> str:
    return printable(_label(parts))


def _label(parts: Parts) -> bytes:
    return b"/" + b"/".join(parts)


def _check(name: bytes) -> None:
    """Refuse a name that is none. Any other bytes are names here; a backslash is one where it separates nothing."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or (os.sep == "\\" and b"\\" in name):
        raise TargetError(
            f"'{printable(name)}' is not a name a file can have, so it was not restored.",
            "The snapshot was made by a faulty or hostile program; its other files restore as ever.",
        )


def _names() -> Iterator[bytes]:
    """Yield names that nobody guesses; many are drawn at once."""
    while True:
        drawn = secrets.token_hex(4096).encode()
        yield from (TEMPORARY + drawn[at : at + 16] for at in range(0, len(drawn), 16))


_temporary_names = _names()


class Standing:
    """An open file that stood in the target before, to compare with and to take bytes from."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self.size = fd, size

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes at an offset; fewer than asked for where the file ends or cannot be read."""
        found: list[bytes] = []
        try:
            while length > 0 and (data := os.pread(self._fd, length, offset)):
                found.append(data)
                offset, length = offset + len(data), length - len(data)
        except (OSError, OverflowError):
            pass  # What cannot be read is not what was asked for; it is written anew.
        return found[0] if len(found) == 1 else b"".join(found)

    def is_zero(self, offset: int, length: int) -> bool:
        """Return whether a stretch lies within the file and is all zeros."""
        if offset + length > self.size:
            return False
        if hasattr(os, "SEEK_DATA"):
            try:
                if os.lseek(self._fd, offset, os.SEEK_DATA) >= offset + length:
                    return True
            except OSError as error:
                if error.errno == errno.ENXIO:  # No data from here to the end.
                    return True
        while length > 0:
            block = self.read(offset, min(length, _BLOCK))
            if not block or block != _ZEROS[: len(block)]:
                return False
            offset, length = offset + len(block), length - len(block)
        return True


class NewFile:
    """A file being written beside its place. `commit` puts it there; closed without, it leaves nothing."""

    __slots__ = ("_fd", "_folder", "_name", "_parts", "_privileged", "_temporary")

    def __init__(self, folder: int, parts: Parts, privileged: bool) -> None:
        self._parts, self._name, self._privileged = parts, parts[-1], privileged
        self._temporary: bytes | None = None
        self._fd, self._folder = -1, os.dup(folder)
        try:
            temporary = next(_temporary_names)
            self._fd = os.open(temporary, _CREATE, 0o600, dir_fd=self._folder)
            self._temporary = temporary
        except OSError:
            os.close(self._folder)
            raise

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset; what is never written is a hole."""
        with _Translated(self._parts):
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, memoryview(data)[done:], offset + done)

    def set_size(self, size: int) -> None:
        """Give the file its length."""
        with _Translated(self._parts):
            os.ftruncate(self._fd, size)

    def commit(self, attributes: Attributes | None = None, sync: bool = False) -> list[TargetError]:
        """Set the metadata and take the place of whatever stands there, unless that is a folder with something in it.

        Returns what metadata could not be set.

        Raises:
            TargetError: the file could not take its place; closing removes it.
        """
        assert self._temporary is not None
        problems: list[TargetError] = []
        with _Translated(self._parts):
            if attributes is not None:
                problems = set_attributes(self._fd, _label(self._parts), attributes, self._privileged)
            if sync:
                os.fsync(self._fd)
            _take_place(self._folder, self._temporary, self._name)
            self._temporary = None
        self.close()
        return problems

    def close(self) -> None:
        """Close the file, and remove it if it was not committed. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self._temporary is not None:
                os.unlink(self._temporary, dir_fd=self._folder)
        except OSError:
            pass  # A leftover is harmless, and an error is on its way already.
        finally:
            os.close(fd)
            os.close(self._folder)

    abort = close

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take_place(folder: int, temporary: bytes, name: bytes) -> None:
    """Rename over what stands there; an empty folder makes way."""
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
            raise
        os.rmdir(name, dir_fd=folder)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


# The target -------------------------------------------------------------------------------------------------


class Target:
    """A folder to restore into. A context manager: the folder is made and opened on entering. One thread at a time.

    Every method raises TargetError for what could not be done, and for names that are none.
    """

    def __init__(self, root: bytes, *, privileged: bool = False) -> None:
        """Name the folder; links on the way to it are the user's own and are followed.

        Args:
            privileged: also restore security.* and trusted.* attributes.
        """
        self._path, self._privileged = root, privileged
        self._root = -1
        self._at: Parts = ()
        self._fds: list[int] = []
        """The folder used last, and an open folder for each of its components; -1 where it was closed to save some."""

    def __enter__(self) -> Target:
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            self._root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise TargetError(
                f"The target folder {printable(self._path)} cannot be used ({reason(error)}).",
                "Choose another target, or make it a folder that you may write to.",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all folders."""
        self._back(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    # Walking ---------------------------------------------------------------------------------------------

    def _folder(self, parts: Parts) -> int:
        """Return a folder, open for walking. It belongs to this object and is good until the next call."""
        if parts != self._at:
            self._go(parts)
        return self._fds[-1] if parts else self._root

    def _go(self, parts: Parts) -> None:
        """Walk to a folder, from where the way to it leaves the way to the last one."""
        shared = 0
        for one, other in zip(parts, self._at, strict=False):
            if one != other:
                break
            shared += 1
        self._back(shared)
        if self._fds and self._fds[-1] < 0:
            self._back(0)
        for name in parts[len(self._at) :]:
            _check(name)
            self._fds.append(os.open(name, _WALK, dir_fd=self._fds[-1] if self._fds else self._root))
            self._at = (*self._at, name)
            above = len(self._fds) - 1 - OPEN_FOLDERS
            if above >= 0 and self._fds[above] >= 0:
                os.close(self._fds[above])
                self._fds[above] = -1

    def _back(self, length: int) -> None:
        """Go back to a folder that is so many components below the target."""
        while len(self._fds) > length:
            fd = self._fds.pop()
            if fd >= 0:
                os.close(fd)
        self._at = self._at[:length]

    def _forget(self, parts: Parts) -> None:
        """Close a folder that is no longer what its path names, and all below it."""
        if parts and self._at[: len(parts)] == parts:
            self._back(len(parts) - 1)

    def _place(self, parts: Parts) -> tuple[int, bytes]:
        """Return the open folder of an entry and the entry's name there."""
        if not parts:
            raise TargetError("The target folder itself cannot be replaced.", "Restore to another folder.")
        _check(parts[-1])
        return self._folder(parts[:-1]), parts[-1]

    def _look(self, parts: Parts) -> os.stat_result | None:
        try:
            folder, name = self._place(parts)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    # What stands there already ---------------------------------------------------------------------------

    def existing(self, parts: Parts) -> Existing | None:
        """Return what stands at a place, None if nothing does. A symbolic link is itself, not what it points to."""
        with _Translated(parts):
            found = self._look(parts) if parts else os.fstat(self._root)
        if found is None:
            return None
        mode = found.st_mode
        return Existing(stat.S_ISREG(mode), stat.S_ISDIR(mode), found.st_size, found.st_mtime_ns)

    def is_empty(self, parts: Parts) -> bool:
        """Return whether nothing stands in a folder, or nothing at its place."""
        try:
            fd = os.open(b".", _OPEN_FOLDER, dir_fd=self._folder(parts))
        except FileNotFoundError:
            return True
        except (OSError, TargetError):
            return False
        try:
            with os.scandir(fd) as found:
                return next(found, None) is None
        finally:
            os.close(fd)

    @contextmanager
    def open_existing(self, parts: Parts) -> Iterator[Standing | None]:
        """Give the regular file that stands at a place, None if there is none or it may not be read."""
        fd = -1
        try:
            with _Translated(parts):
                folder, name = self._place(parts)
            try:
                fd = os.open(name, _OPEN_FILE, dir_fd=folder)
                found = os.fstat(fd)
                standing = Standing(fd, found.st_size) if stat.S_ISREG(found.st_mode) else None
            except OSError:
                standing = None
            yield standing
        finally:
            if fd >= 0:
                os.close(fd)

    def remove_existing(self, parts: Parts) -> bool:
        """Remove what stands at a place and return whether anything did. A folder goes only if it is empty."""
        with _Translated(parts):
            found = self._look(parts)
            if found is None:
                return False
            folder, name = self._place(parts)
            if stat.S_ISDIR(found.st_mode):
                self._forget(parts)
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
            return True

    # Folders ---------------------------------------------------------------------------------------------

    def make_folder(self, parts: Parts, replace: bool = True) -> bool:
        """Make a folder, and those above it; return whether it is new. Its metadata come when it is full.

        Args:
            replace: put it in the place of a symbolic link or anything else that is no folder.
        """
        with _Translated(parts):
            try:
                self._folder(parts)
                return False
            except FileNotFoundError:
                pass
            except OSError as error:
                if not replace or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
            made = False
            for length in range(len(self._at) + 1, len(parts) + 1):  # The way down ended where one is missing.
                made = self._make_one(parts[:length], replace)
            return made

    def _make_one(self, parts: Parts, replace: bool) -> bool:
        made = False
        for left in reversed(range(_TRIES)):
            try:
                self._folder(parts)
                return made
            except FileNotFoundError:
                pass
            except OSError as error:
                if not replace or not left or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
            folder, name = self._place(parts)
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                pass
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
                made = True
            except FileExistsError:
                continue  # Somebody was faster: see what it is.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def set_folder_attributes(self, parts: Parts, attributes: Attributes) -> list[TargetError]:
        """Set the metadata of a folder whose content is finished; return what could not be set. Deepest first."""
        with _Translated(parts):
            if parts:
                folder, name = self._place(parts)
                fd = os.open(name, _OPEN_FOLDER, dir_fd=folder)
            else:
                fd = os.dup(self._root)
            try:
                return set_attributes(fd, _label(parts), attributes, self._privileged)
            finally:
                os.close(fd)

    # Files -----------------------------------------------------------------------------------------------

    def create_file(self, parts: Parts) -> NewFile:
        """Return a file to write that takes this place when it is committed. A context manager."""
        with _Translated(parts):
            folder, _ = self._place(parts)
            return NewFile(folder, parts, self._privileged)

    def apply(self, parts: Parts, attributes: Attributes) -> list[TargetError]:
        """Set the metadata of a regular file that stands already; return what could not be set.

        A file with further hard links, which may be anywhere, is replaced by a copy first.
        """
        with _Translated(parts):
            folder, name = self._place(parts)
            fd = os.open(name, _OPEN_FILE, dir_fd=folder)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise TargetError(f"{_shown(parts)} is no regular file any more.")
                if found.st_nlink > 1:
                    return self._replace_by_copy(Standing(fd, found.st_size), parts, attributes)
                return set_attributes(fd, _label(parts), attributes, self._privileged)
            finally:
                os.close(fd)

    def _replace_by_copy(self, standing: Standing, parts: Parts, attributes: Attributes) -> list[TargetError]:
        with self.create_file(parts) as file:
            for offset in range(0, standing.size, _BLOCK):
                length = min(_BLOCK, standing.size - offset)
                if standing.is_zero(offset, length):
                    continue
                block = standing.read(offset, length)
                if len(block) != length:
                    raise TargetError(f"{_shown(parts)} cannot be read while its metadata is restored.")
                file.write_at(offset, block)
            file.set_size(standing.size)
            return file.commit(attributes)

    # Anything else ---------------------------------------------------------------------------------------

    def make_symlink(self, parts: Parts, target: bytes, attributes: Attributes | None = None) -> list[TargetError]:
        """Make a symbolic link in the place of whatever stands there; return what metadata could not be set."""
        return self._make(parts, attributes, lambda folder, temporary: os.symlink(target, temporary, dir_fd=folder))

    def make_special(
        self, parts: Parts, kind: str, device: int, attributes: Attributes | None = None
    ) -> list[TargetError]:
        """Make a FIFO ("p"), or as root a character ("c") or block ("b") device; return what could not be set."""
        if kind not in _SPECIAL:
            raise TargetError(f"{_shown(parts)} is of kind {kind!r}, which cannot be made.")
        if kind != "p" and os.geteuid() != 0:
            raise TargetError(f"{_shown(parts)} is a device, which only root can make.", "Restore as root to have it.")
        number = 0 if kind == "p" else device
        return self._make(
            parts,
            attributes,
            lambda folder, temporary: os.mknod(temporary, _SPECIAL[kind] | 0o600, number, dir_fd=folder),
        )

    def make_hardlink(self, parts: Parts, to_parts: Parts) -> None:
        """Make another name of a file in the target, in the place of whatever stands there.

        Raises:
            TargetError: there is no such file, or it is a folder or a symbolic link.
        """
        with _Translated(parts):
            source = self._look(to_parts)
            if source is None or stat.S_ISDIR(source.st_mode) or stat.S_ISLNK(source.st_mode):
                raise TargetError(f"{_shown(parts)} was not linked: {_shown(to_parts)} is no file in the target.")
            if parts == to_parts:
                return

            def link(folder: int, temporary: bytes) -> None:
                above, name = self._place(to_parts)
                os.link(name, temporary, src_dir_fd=above, dst_dir_fd=folder, follow_symlinks=False)
                made = os.stat(temporary, dir_fd=folder, follow_symlinks=False)
                # An inode number may be used again at once, so its kind is compared, too.
                if not same_inode(made, source) or stat.S_IFMT(made.st_mode) != stat.S_IFMT(source.st_mode):
                    raise TargetError(f"{_shown(parts)} was not linked: {_shown(to_parts)} was replaced meanwhile.")

            self._make(parts, None, link)

    def _make(
        self, parts: Parts, attributes: Attributes | None, make: Callable[[int, bytes], None]
    ) -> list[TargetError]:
        """Make an entry under a temporary name, set its metadata, and let it take its place."""
        problems: list[TargetError] = []
        with _Translated(parts):
            shared, name = self._place(parts)
            folder, temporary = os.dup(shared), next(_temporary_names)
            try:
                make(folder, temporary)
                if attributes is not None:
                    problems = set_attributes_unopened(folder, temporary, _label(parts), attributes, self._privileged)
                self._forget(parts)
                _take_place(folder, temporary, name)
            finally:
                # After success it is gone, except where both names meant the same file: then rename does nothing.
                try:
                    os.unlink(temporary, dir_fd=folder)
                except OSError:
                    pass
                os.close(folder)
        return problems
