"""A folder of a snapshot as readers of messages see it: its files, and the plaintext of its encrypted or packed ones.

What is read is what is stored, so it is what a restore would give: live databases as one image, and containers without
their key, because their content is stored plain (inside the repository's own encryption). `msgstore.db.crypt15` is
there as `msgstore.db` too, unless a file of that name is.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from keepstone.containers import Keys
from keepstone.history import tree
from keepstone.history.opened import open_recipe, plaintext
from keepstone.repo.repository import Repository
from keepstone.sources.folders import MAX_NAMES

_PACKED = re.compile(r"(.+)\.(?:crypt\d+|gz)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class _File:
    recipe: bytes
    size: int


class SnapshotFolder:
    """A folder of a snapshot, or of a tree that will be one.

    Args:
        recipe: the folder's tree.
        name: what errors call the snapshot.
        scratch: a folder of this computer for private copies.
    """

    def __init__(self, repository: Repository, recipe: bytes, name: str, keys: Keys, scratch: str = "") -> None:
        self._repository, self._keys, self._name = repository, keys, name
        self._files: dict[str, _File] = {}
        self._inner: dict[str, _File | None] = {}
        self._packed: dict[str, str] = {}
        self.scratch = scratch or tempfile.gettempdir()
        self._list(recipe)
        for found in list(self._files):
            plain = _PACKED.fullmatch(found)
            if plain is not None and plain[1] not in self._files:
                self._packed.setdefault(plain[1], found)

    def _list(self, recipe: bytes) -> None:
        """Note the files below, nearer ones first, up to a bound."""
        level = [("", recipe)]
        while level:
            below: list[tuple[str, bytes]] = []
            for prefix, content in level:
                for entry in tree.read_tree(content, self._repository, self._name):
                    path = prefix + os.fsdecode(entry.name)
                    if entry.kind == tree.FOLDER:
                        below.append((path + "/", entry.content))
                    elif entry.kind == tree.FILE:
                        self._files[path] = _File(entry.content, entry.size)
                    if len(self._files) + len(below) >= MAX_NAMES:
                        return
            level = below

    def names(self) -> Sequence[str]:
        return sorted([*self._files, *(name for name in self._packed if self._plain(name) is not None)])

    def size(self, name: str) -> int:
        return self._found(name).size

    def open(self, name: str) -> BinaryIO:
        file = self._found(name)
        return open_recipe(file.recipe, file.size, self._repository, self._name, self._keys)

    def recipe(self, name: str) -> bytes:
        """Return the recipe of a file, or of a packed one's plaintext: it changes when the content does."""
        return self._found(name).recipe

    def _found(self, name: str) -> _File:
        found = self._files.get(name) or (self._plain(name) if name in self._packed else None)
        if found is None:
            raise FileNotFoundError(name)
        return found

    def _plain(self, name: str) -> _File | None:
        if name not in self._inner:
            inside = plaintext(self._files[self._packed[name]].recipe, self._repository, self._name)
            self._inner[name] = None if inside is None else _File(*inside)
        return self._inner[name]
