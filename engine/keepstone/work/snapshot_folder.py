"""A folder of a snapshot as readers of messages see it: its files, and the plaintext of its encrypted or packed ones.

What is read is what is stored, so it is what a restore would give: live databases as one image, and containers without
their key, because their content is stored plain (inside the repository's own encryption). `msgstore.db.crypt15` is
there as `msgstore.db` too, unless a file of that name is; `main` of one of Signal's folders as `main.frames`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from keepstone.containers import Keys
from keepstone.errors import PathNotFound
from keepstone.history import tree
from keepstone.history.opened import opener, plaintext
from keepstone.history.recipe import ChunkReader
from keepstone.sources.folders import MAX_NAMES

_PACKED = re.compile(r"(.+)\.(?:crypt\d+|gz|backup)", re.IGNORECASE | re.DOTALL)
_ENDINGS = (".crypt15", ".crypt14", ".crypt12", ".gz", ".backup")
_BARE = re.compile(r"(?:.*/)?main", re.DOTALL)
"""Encrypted files without an ending."""
_INSIDE = ".frames"
"""The ending of what is in one of these."""


@dataclass(frozen=True, slots=True)
class _File:
    recipe: bytes
    size: int


class SnapshotFolder:
    """A folder of a snapshot, or of a tree that will be one. It is listed only when a reader asks for all names.

    Args:
        recipe: the folder's tree.
        name: what errors call the snapshot.
        scratch: a folder of this computer for private copies.
        near: given a file's name and recipe, returns what reads its chunks; by default `reader`.
    """

    def __init__(self, reader: ChunkReader, recipe: bytes, name: str, keys: Keys, scratch: str = "",
        near: Callable[[str, bytes], ChunkReader] | None = None,
    ) -> None:  # fmt: skip
        self._reader, self._keys, self._name, self._recipe = reader, keys, name, recipe
        self._near = near
        self._files: dict[str, _File | None] = {}
        self._listed: list[str] | None = None
        self._opener: tuple[_File, Callable[[], BinaryIO]] | None = None
        self.scratch = scratch or tempfile.gettempdir()

    def names(self) -> Sequence[str]:
        if self._listed is None:
            self._listed = sorted(self._list())
        return self._listed

    def _list(self) -> set[str]:
        """Note the files below, nearer ones first, up to a bound."""
        level = [("", self._recipe)]
        found: set[str] = set()
        while level and len(found) < MAX_NAMES:
            below: list[tuple[str, bytes]] = []
            for prefix, content in level:
                for entry in tree.read_tree(content, self._reader, self._name):
                    path = prefix + os.fsdecode(entry.name)
                    if entry.kind == tree.FOLDER:
                        below.append((path + "/", entry.content))
                    elif entry.kind == tree.FILE:
                        self._files[path] = _File(entry.content, entry.size)
                        found.add(path)
            level = below[:MAX_NAMES]
        return found | {plain for name in found if (plain := self.plain_name(name)) != name}

    def plain_name(self, name: str) -> str:
        """Return under which name a file can be read: of an encrypted or packed one, that of what is in it."""
        packed = _PACKED.fullmatch(name)
        plain = packed[1] if packed else name + _INSIDE if _BARE.fullmatch(name) else name
        if plain == name or self._stored(plain) is not None:
            return name
        file = self._stored(name)
        inside = None if file is None else plaintext(file.recipe, self._reader, self._name)
        if inside is None:
            return name
        self._files[plain] = _File(*inside)
        return plain

    def size(self, name: str) -> int:
        return self._found(name).size

    def open(self, name: str) -> BinaryIO:
        file = self._found(name)
        if self._opener is None or self._opener[0] != file:
            # Whoever opens a large file again, for each photo in it, opens it very often.
            reader = self._reader if self._near is None else self._near(name, file.recipe)
            found = opener(file.recipe, file.size, reader, self._name, self._keys)
            self._opener = file, found
        return self._opener[1]()

    def _found(self, name: str) -> _File:
        found = self._stored(name)
        if found is None:
            for outer in (*(name + ending for ending in _ENDINGS), name.removesuffix(_INSIDE)):
                if outer != name and self._stored(outer) is not None and self.plain_name(outer) == name:
                    return self._found(name)
            raise FileNotFoundError(name)
        return found

    def _stored(self, name: str) -> _File | None:
        """Return a file of the tree, or one that was found to be inside of one."""
        if name not in self._files:
            self._files[name] = self._look_up(name)
        return self._files[name]

    def _look_up(self, name: str) -> _File | None:
        try:
            parts = [os.fsencode(part) for part in name.split("/")]
            if self._listed is not None or not all(map(tree.valid_name, parts)):
                return None
            entry = tree.find(self._recipe, parts, self._reader, self._name)
        except (PathNotFound, UnicodeEncodeError):
            return None
        return _File(entry.content, entry.size) if entry is not None and entry.kind == tree.FILE else None
