"""Where a restore writes: one folder, and nothing outside it.

Every path is walked from the target's own descriptor, component by component, without following symbolic links, and
names that could lead elsewhere are refused. So neither a hostile snapshot nor somebody who swaps folders for links
meanwhile can make a restore write elsewhere. Files are written under a temporary name and renamed when they are whole.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from keepstone.errors import TargetError
from keepstone.history import tree
from keepstone.sources.metadata import Attributes, local_gid, local_uid

Parts = tuple[bytes, ...]
TEMPORARY = b".keepstone-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVILEGED = (b"security.", b"trusted.")
_OPEN_FOLDERS = 64


@dataclass(frozen=True, slots=True)
class Existing:
    """What stands at a place already."""

    is_file: bool
    is_folder: bool
    size: int
    mtime_ns: int


class Standing:
    """An existing file, to compare with and to take bytes from."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._handle, length, offset)
        except OSError:
            return b""

    def is_zero(self, offset: int, length: int) -> bool:
        """Return whether a range lies in the file and reads as zeros."""
        if offset + length > self.size:
            return False
        with suppress(OSError):
            if os.lseek(self._handle, offset, os.SEEK_DATA) >= offset + length:
                return True
        while length:
            data = self.read(offset, min(length, 1024 * 1024))
            if not data or data.strip(b"\0"):
                return False
            offset, length = offset + len(data), length - len(data)
        return True


class NewFile:
    """A file being written under a temporary name."""

    def __init__(self, target: Target, folder: int, name: bytes, shown: str) -> None:
        self._target, self._folder, self._name, self._shown = target, folder, name, shown
        self._temporary = TEMPORARY + secrets.token_hex(8).encode()
        self._handle = os.open(
            self._temporary,
            os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=folder,
        )

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._handle, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            fail(error, self._shown)

    def set_size(self, size: int) -> None:
        """Give the file its length; what was not written is a hole."""
        try:
            os.ftruncate(self._handle, size)
        except OSError as error:
            fail(error, self._shown)

    def commit(self, attributes: Attributes) -> list[TargetError]:
        """Apply the attributes and put the file in its place; return what could not be applied."""
        problems = self._target.apply_to(self._handle, attributes, self._shown)
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError as error:
            raise TargetError(f"{self._shown} is a folder where a file belongs.", "Move it away.") from error
        except OSError as error:
            fail(error, self._shown)
        self._temporary = b""
        return problems

    def close(self) -> None:
        os.close(self._handle)
        if self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)


class Target:
    """The folder that a restore writes into. A context manager."""

    def __init__(self, root: bytes, *, privileged: bool = False) -> None:
        self._privileged = privileged
        try:
            os.makedirs(root, exist_ok=True)
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            fail(error, tree.printable(root))
        self._open: dict[Parts, int] = {}

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exception: object) -> None:
        self._forget(0)
        os.close(self._root)

    # Folders ---------------------------------------------------------------------------------------------

    def make_folder(self, parts: Parts) -> bool:
        """Make a folder and those above it; return whether it was new.

        What stands in its place and is no folder (a symbolic link to one, too) is replaced.
        """
        try:
            self._folder(parts)
            return False
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                fail(error, shown(parts))
        if len(parts) > 1:
            self.make_folder(parts[:-1])
        self.remove_existing(parts)
        try:
            os.mkdir(self._name(parts), 0o700, dir_fd=self._folder(parts[:-1]))
        except OSError as error:
            fail(error, shown(parts))
        return True

    def set_folder_attributes(self, parts: Parts, attributes: Attributes) -> list[TargetError]:
        """Apply a folder's attributes; what is in it must be finished."""
        try:
            handle = self._folder(parts)
        except OSError as error:
            fail(error, shown(parts))
        return self.apply_to(handle, attributes, shown(parts))

    def _folder(self, parts: Parts) -> int:
        """Return a descriptor of a folder, walked without following links."""
        if not parts:
            return self._root
        kept = self._open.get(parts)
        if kept is not None:
            return kept
        above = self._folder(parts[:-1]) if len(parts) < 200 else self._walk(parts[:-1])
        handle = os.open(self._name(parts), _FOLDER, dir_fd=above)
        if len(self._open) >= _OPEN_FOLDERS:
            self._forget(_OPEN_FOLDERS // 2, keep=parts)
        self._open[parts] = handle
        return handle

    def _walk(self, parts: Parts) -> int:
        """Open a very deep folder step by step."""
        handle = os.dup(self._root)
        for at in range(len(parts)):
            below = os.open(self._name(parts[: at + 1]), _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = below
        if len(self._open) >= _OPEN_FOLDERS:
            self._forget(_OPEN_FOLDERS // 2, keep=parts)
        self._open[parts] = handle
        return handle

    def _forget(self, count: int, keep: Parts = ()) -> None:
        """Close all but the `count` newest descriptors; those above `keep` stay."""
        for parts in list(self._open)[: len(self._open) - count]:
            if parts != keep[: len(parts)] or not keep:
                os.close(self._open.pop(parts))

    def _name(self, parts: Parts) -> bytes:
        name = parts[-1]
        if not tree.valid_name(name):
            raise TargetError(f"{shown(parts)} has a name that no entry may have.", "Nothing was written for it.")
        return name

    @contextmanager
    def _place(self, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Give the descriptor of the folder above a place, and the name in it."""
        try:
            yield self._folder(parts[:-1]), self._name(parts)
        except OSError as error:
            fail(error, shown(parts))

    # What stands there -----------------------------------------------------------------------------------

    def existing(self, parts: Parts) -> Existing | None:
        """Return what stands at a place, or None."""
        with self._place(parts) as (folder, name):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return Existing(stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime_ns)

    @contextmanager
    def open_existing(self, parts: Parts) -> Iterator[Standing | None]:
        """Give the regular file that stands at a place, or None."""
        with self._place(parts) as (folder, name):
            try:
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except OSError:
                handle = -1
        try:
            regular = handle >= 0 and stat.S_ISREG(os.fstat(handle).st_mode)
            yield Standing(handle) if regular else None
        finally:
            if handle >= 0:
                os.close(handle)

    def remove_existing(self, parts: Parts) -> None:
        """Remove what stands at a place, unless it is a folder.

        Raises:
            TargetError: it is a folder.
        """
        with self._place(parts) as (folder, name):
            try:
                if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise TargetError(f"{shown(parts)} is a folder where something else belongs.", "Move it away.")
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return

    # Making entries --------------------------------------------------------------------------------------

    @contextmanager
    def create_file(self, parts: Parts) -> Iterator[NewFile]:
        """Give a new file to write; without `commit` it leaves nothing."""
        with self._place(parts) as (folder, name):
            file = NewFile(self, folder, name, shown(parts))
        try:
            yield file
        finally:
            file.close()

    def make_symlink(self, parts: Parts, target: bytes, attributes: Attributes) -> list[TargetError]:
        with self._place(parts) as (folder, name):
            os.symlink(target, name, dir_fd=folder)
            if os.geteuid() == 0:
                os.chown(name, *_owner(attributes), dir_fd=folder, follow_symlinks=False)
            os.utime(name, ns=(attributes.mtime_ns,) * 2, dir_fd=folder, follow_symlinks=False)
        return []

    def make_hardlink(self, parts: Parts, first: Parts) -> None:
        """Link to a file that this restore has written."""
        with self._place(parts) as (folder, name):
            above = self._folder(first[:-1])
            os.link(self._name(first), name, src_dir_fd=above, dst_dir_fd=folder, follow_symlinks=False)

    def make_special(self, parts: Parts, kind: str, device: int, attributes: Attributes) -> list[TargetError]:
        """Make a FIFO, or as root a device."""
        if kind != tree.FIFO and os.geteuid() != 0:
            raise TargetError(f"{shown(parts)} is a device; only root can make it.", "Run the restore as root.")
        modes = {tree.FIFO: stat.S_IFIFO, tree.CHARACTER: stat.S_IFCHR, tree.BLOCK: stat.S_IFBLK}
        with self._place(parts) as (folder, name):
            os.mknod(name, modes[kind] | 0o600, device, dir_fd=folder)
            problems = self._own(
                lambda uid, gid: os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False), attributes
            )
            os.chmod(name, attributes.mode & 0o777, dir_fd=folder)
            os.utime(name, ns=(attributes.mtime_ns,) * 2, dir_fd=folder, follow_symlinks=False)
        return [TargetError(f"{shown(parts)}: {problem}") for problem in problems]

    def apply(self, parts: Parts, attributes: Attributes) -> list[TargetError]:
        """Apply attributes to a regular file that stands already."""
        with self._place(parts) as (folder, name):
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            return self.apply_to(handle, attributes, shown(parts))
        finally:
            os.close(handle)

    def apply_to(self, handle: int, attributes: Attributes, what: str) -> list[TargetError]:
        """Apply attributes to an open file or folder; return what could not be applied."""
        problems: list[str] = []
        try:
            problems += self._own(lambda uid, gid: os.fchown(handle, uid, gid), attributes)
            status = os.fstat(handle)
            mode = attributes.mode
            if (status.st_uid, status.st_gid) != _owner(attributes):
                mode &= 0o1777  # Set-user-ID and set-group-ID mean something else with another owner.
            problems += self._set_xattrs(handle, attributes)
            os.fchmod(handle, mode)
            os.utime(handle, ns=(attributes.mtime_ns, attributes.mtime_ns))
        except OSError as error:
            problems.append(f"its attributes cannot be set ({error.strerror})")
        return [TargetError(f"{what}: {problem}.") for problem in problems]

    def _own(self, chown: Callable[[int, int], None], attributes: Attributes) -> list[str]:
        if os.geteuid() != 0:
            return []
        try:
            chown(*_owner(attributes))
        except OSError as error:
            return [f"its owner cannot be set ({error.strerror})"]
        return []

    def _set_xattrs(self, handle: int, attributes: Attributes) -> list[str]:
        problems = []
        for name, value in attributes.xattrs:
            if name.startswith(_PRIVILEGED) and not self._privileged:
                continue
            try:
                os.setxattr(handle, name, value)
            except OSError as error:
                problems.append(f"its attribute {tree.printable(name)} cannot be set ({error.strerror})")
        return problems


def _owner(attributes: Attributes) -> tuple[int, int]:
    return local_uid(attributes.user, attributes.uid), local_gid(attributes.group, attributes.gid)


def shown(parts: Parts) -> str:
    """Return a place for messages."""
    return tree.printable(b"/" + b"/".join(parts))


def fail(error: OSError, what: str) -> NoReturn:
    """Raise what an error of the operating system means for a restore."""
    raise TargetError(f"{what} cannot be written ({error.strerror or error}).") from error
