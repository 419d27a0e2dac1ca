"""Files inside a file: where they lie, found once for all of them, and one of them as a file of its own."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final, Generic, TypeVar

from keepstone.sources.reading import Folder

_BUFFER: Final = 128 * 1024

Place = TypeVar("Place")
Run = tuple[int, int]
"""Where a file inside another one begins, and its length."""


class Places(Generic[Place]):
    """Where the files of the source that was asked for last are: whoever fetches one of them fetches many.

    Args:
        find: returns where each is, by its SHA-256 or what else the source knows it by.
    """

    def __init__(self, find: Callable[[str, Folder], Mapping[bytes, Place]]) -> None:
        self._find = find
        self._name = ""
        self._folder: weakref.ref[Folder] | None = None
        self._found: Mapping[bytes, Place] = {}

    def of(self, name: str, folder: Folder) -> Mapping[bytes, Place]:
        if self._folder is None or self._folder() is not folder or self._name != name:
            self._found = self._find(name, folder)
            self._name, self._folder = name, weakref.ref(folder)
        return self._found


class Window(io.BufferedReader):
    """A run of bytes of a file. Closing it closes the file."""

    def __init__(self, file: BinaryIO, at: int, size: int) -> None:
        super().__init__(_Run(file, at, size), _BUFFER)


class _Run(io.RawIOBase):
    def __init__(self, file: BinaryIO, at: int, size: int) -> None:
        super().__init__()
        self._file, self._left = file, size
        file.seek(at)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # every buffer has a view
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
