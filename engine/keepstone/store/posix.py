"""A folder as a store, durable to the letter: temporary name, write, fsync, rename, fsync of the folder.

Temporary files live in `tmp/`, which listings leave out. A folder that is made is made durable by an fsync of its
parent before anything is put into it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from keepstone.errors import ObjectExists, ObjectNotFound, StoreError
from keepstone.ids import Buffer
from keepstone.store import check_name
from keepstone.store.files import Files, SystemFiles, write_file

TEMPORARY = "tmp"


class PosixStore:
    """Objects as files below a folder."""

    def __init__(self, root: Path | str, files: Files | None = None) -> None:
        self._root = str(root)
        self._files: Files = files if files is not None else SystemFiles()
        self._folders: set[str] = set()
        self.location = self._root

    def put(self, name: str, pieces: Sequence[Buffer]) -> int:
        path = f"{self._root}/{check_name(name)}"
        folder = path.rpartition("/")[0]
        self._ensure(f"{self._root}/{TEMPORARY}")
        self._ensure(folder)
        if self._exists(path):
            raise ObjectExists(f"{name} exists already.")
        # The random part only keeps two processes apart; the name is not a secret.
        temporary = f"{self._root}/{TEMPORARY}/{secrets.token_hex(8)}"
        write_file(self._files, temporary, pieces)
        self._files.rename(temporary, path)
        try:
            self._files.sync_folder(folder)
        except StoreError:
            # The object may or may not survive a power cut, so it is not reported as stored, and must not be seen.
            self._discard(path)
            raise
        return sum(map(len, pieces))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._files.read(f"{self._root}/{check_name(name)}", offset, length)

    def size(self, name: str) -> int:
        return self._files.size(f"{self._root}/{check_name(name)}")

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        start = prefix.strip("/")
        stack = [check_name(start) if start else ""]
        while stack:
            folder = stack.pop()
            for name, is_folder, size in self._files.list(f"{self._root}/{folder}" if folder else self._root):
                path = f"{folder}/{name}" if folder else name
                if path == TEMPORARY:
                    continue
                if is_folder:
                    stack.append(path)
                else:
                    yield path, size

    def delete(self, name: str) -> None:
        path = f"{self._root}/{check_name(name)}"
        self._files.size(path)
        self._files.unlink(path)
        self._files.sync_folder(path.rpartition("/")[0])

    def clean_temporary(self) -> int:
        removed = 0
        for name, is_folder, _ in list(self._files.list(f"{self._root}/{TEMPORARY}")):
            if not is_folder:
                self._discard(f"{self._root}/{TEMPORARY}/{name}")
                removed += 1
        return removed

    def _exists(self, path: str) -> bool:
        try:
            self._files.size(path)
        except ObjectNotFound:
            return False
        return True

    def _discard(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except StoreError:
            pass

    def _ensure(self, folder: str) -> None:
        """Make a folder and those above it, durably; each is made and synced once."""
        if folder in self._folders:
            return
        parent = folder.rpartition("/")[0]
        try:
            made = self._files.make_folder(folder)
        except ObjectNotFound:
            if not parent:
                raise
            self._ensure(parent)
            made = self._files.make_folder(folder)
        if made or folder != self._root:
            # Also if it was there: the process that made it may have been stopped before its fsync.
            self._files.sync_folder(parent or "/")
        self._folders.add(folder)


__all__ = ["PosixStore"]
