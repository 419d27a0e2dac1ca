"""Folders that readers can see: one on a disk, an archive's inside, a part of another folder.

An archive is somebody else's: how many members it has and what they unpack to is bounded before memory is taken, and
names that would leave it are not there.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol, cast, runtime_checkable

from keepstone.sources.reading import Folder, UnreadableSource

MAX_NAMES = 200_000
"""Files of a folder that a reader is told of."""
MAX_DIRECTORY = 128 * 1024 * 1024
_LOCAL = struct.Struct("<26xHH")
"""What stands before a member: here only the lengths of its name and of what else is said."""
_LOCAL_MAGIC = b"PK\x03\x04"
MAX_RATIO = 1100
"""Deflate makes at most 1032 bytes of one; what promises more is no archive that anybody made."""


class DiskFolder:
    """A folder of this computer. Links are not followed, and nothing is looked at that is no file."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._names: list[str] | None = None

    @property
    def scratch(self) -> str:
        return tempfile.gettempdir()

    def names(self) -> Sequence[str]:
        if self._names is None:
            self._names = sorted(self._walk())
        return self._names

    def _walk(self) -> list[str]:
        found: list[str] = []
        for at, _, names in os.walk(self._path):
            for name in names:
                path = os.path.join(at, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found.append(os.fsdecode(os.path.relpath(path, self._path)))
            if len(found) > MAX_NAMES:
                break
        return found

    def size(self, name: str) -> int:
        return os.stat(self._inside(name), follow_symlinks=False).st_size

    def open(self, name: str) -> BinaryIO:
        fd = os.open(self._inside(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        return open(fd, "rb")

    def _inside(self, name: str) -> bytes:
        if not _stays_inside(name):
            raise FileNotFoundError(name)
        return os.path.join(self._path, os.fsencode(name))


@runtime_checkable
class KeptUnpacked(Protocol):
    """A file whose compressed parts are kept as what they unpack to."""

    def inside(self, at: int, size: int) -> BinaryIO | None:
        """Return what the stream that begins at an offset unpacks to, of a size; None if no such begins there."""
        ...


class ZipFolder:
    """What is in a zip archive. Encrypted members are not there; what a member promises to unpack to is what it gives.

    Args:
        file: the archive, seekable; it stays the caller's.

    Raises:
        UnreadableSource: it is no archive, or promises what no archive holds.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        end = file.seek(0, io.SEEK_END)
        self._file = file
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise UnreadableSource(f"The archive {name!r} cannot be read ({error}).") from error
        if end - self._archive.start_dir > MAX_DIRECTORY or len(self._archive.filelist) > MAX_NAMES:
            raise UnreadableSource(f"The archive {name!r} has more files than are looked at.")
        self._members = {
            info.filename: info
            for info in self._archive.filelist
            if not info.is_dir() and not info.flag_bits & 0x41 and _stays_inside(info.filename) and _is_sane(info, end)
        }
        self._names = sorted(self._members)

    @property
    def scratch(self) -> str:
        return tempfile.gettempdir()

    def names(self) -> Sequence[str]:
        return self._names

    def size(self, name: str) -> int:
        return self._member(name).file_size

    def open(self, name: str) -> BinaryIO:
        member = self._member(name)
        if (plain := self._plain(member)) is not None:
            return plain
        try:
            return cast(BinaryIO, _Member(self._archive, member))
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as error:
            raise UnreadableSource(f"The file {name!r} of an archive cannot be read ({error}).") from error

    def _plain(self, member: zipfile.ZipInfo) -> BinaryIO | None:
        """Return a member that is at hand unpacked, because the archive is kept so."""
        raw = getattr(self._file, "raw", None)
        if not isinstance(raw, KeptUnpacked) or member.compress_type != zipfile.ZIP_DEFLATED:
            return None
        self._file.seek(member.header_offset)
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MAGIC):
            return None
        name_length, extra_length = _LOCAL.unpack(header)
        return raw.inside(member.header_offset + _LOCAL.size + name_length + extra_length, member.file_size)

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise FileNotFoundError(name) from None


class _Member(io.BufferedReader):
    """A member of an archive whose damage is told as such when it is met."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        super().__init__(_Checked(archive, member), 128 * 1024)


class _Checked(io.RawIOBase):
    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        super().__init__()
        self._file = archive.open(member)
        self._name = member.filename

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._guarded(lambda: self._file.seek(offset, whence))

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        return self._guarded(lambda: self._into(view))

    def _into(self, view: memoryview) -> int:
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _guarded(self, action: Callable[[], int]) -> int:
        try:
            return action()
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise UnreadableSource(f"The file {self._name!r} of an archive is damaged ({error}).") from error


def _is_sane(info: zipfile.ZipInfo, end: int) -> bool:
    known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return known and info.compress_size <= end and info.file_size <= info.compress_size * MAX_RATIO + MAX_RATIO


def _stays_inside(name: str) -> bool:
    return bool(name) and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


class SubFolder:
    """A folder below another one."""

    def __init__(self, folder: Folder, below: str) -> None:
        self._folder, self._below = folder, below.rstrip("/") + "/"

    @property
    def scratch(self) -> str:
        return self._folder.scratch

    def names(self) -> Sequence[str]:
        return [name[len(self._below) :] for name in self._folder.names() if name.startswith(self._below)]

    def size(self, name: str) -> int:
        return self._folder.size(self._inside(name))

    def open(self, name: str) -> BinaryIO:
        return self._folder.open(self._inside(name))

    def _inside(self, name: str) -> str:
        if not _stays_inside(name):
            raise FileNotFoundError(name)
        return self._below + name
