"""What a drill asks of messages: is the catalogue's word true of what comes back.

A restored file that messages were read from is read again, by the same reader and in a process apart, and every message
of it must be in the catalogue. Every attachment whose content the catalogue has must come back with its hash.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import closing

from keepstone.errors import KeepstoneError
from keepstone.history.catalogue import CONTENTS, MESSAGES, Catalogue
from keepstone.history.container_keys import container_keys
from keepstone.history.expression import read
from keepstone.history.snapshot import Snapshot
from keepstone.history.tree import Entry, printable
from keepstone.messages import blocks
from keepstone.messages.model import Message
from keepstone.repo.repository import Repository
from keepstone.sources.apart import read_apart
from keepstone.sources.folders import DiskFolder
from keepstone.sources.readers import reader_for
from keepstone.sources.reading import Options, UnreadableSource
from keepstone.work.units import NAME, read_state


class DrillMessages:
    """The messages of one snapshot, to compare with what was restored."""

    def __init__(self, repository: Repository, snapshot: Snapshot) -> None:
        self._repository, self._host = repository, snapshot.body.host
        recipe = snapshot.body.catalogue
        self._catalogue = Catalogue(recipe, repository, snapshot.name) if recipe else None
        self._identities: set[bytes] | None = None
        self.messages = 0
        """Messages that were read again."""
        self.contents = 0
        """Attachments that came back with their hash."""

    def of_file(self, path: bytes, place: bytes, entry: Entry) -> Iterator[str]:
        """Yield what is wrong between a restored file and the catalogue, if messages were read from it as it is."""
        name = f"{self._host}:{printable(path)}"
        read_ms = (
            [(s.format, s.read_ms) for s in self._catalogue.sources.values() if s.name == name]
            if (self._catalogue)
            else []
        )
        if not read_ms:
            return
        folder, below = DiskFolder(os.path.dirname(place)), os.fsdecode(os.path.basename(place))
        reader = reader_for(below, folder)
        # What changed while messages were left out was never promised.
        if reader is None or max((t for f, t in read_ms if f == reader.NAME), default=0) < entry.ctime_ns // 1_000_000:
            return
        met, missing = 0, set()
        try:
            with closing(read_apart(reader, below, folder, Options())) as items:  # type: ignore[type-var]  # a generator
                for item in items:
                    if type(item) is Message:
                        met += 1
                        if item.identity not in self._known():
                            missing.add(item.identity)
        except UnreadableSource:
            pass  # What the backup could not read either; it said so.
        self.messages += met
        if missing:
            yield f"{len(missing)} of its {met} messages are not in the catalogue."

    def of_contents(self, count: int | None, rng: random.Random) -> Iterator[str]:
        """Yield which attachments do not come back with the hash that the catalogue tells; None for all of them."""
        if self._catalogue is None:
            return
        entries = [entry for entry in self._catalogue.entries() if entry.kind == CONTENTS]
        # The newest months first, then anything.
        half = len(entries) if count is None else (count + 1) // 2
        older = entries[: max(0, len(entries) - half)]
        rng.shuffle(older)
        left = count
        keys = container_keys(self._repository.log)
        for entry in (*reversed(entries[len(older) :]), *older):
            rows = sorted(read_state((entry,), self._repository))
            rng.shuffle(rows)
            for key in rows if left is None else rows[:left]:
                sha256, recipe = blocks.read_content(key[blocks.NAME_LENGTH :], NAME)
                try:
                    found = hashlib.sha256()
                    for data in read(recipe, self._repository, NAME, keys):
                        found.update(data)
                    if found.digest() == sha256:
                        self.contents += 1
                        wrong = ""
                    else:
                        wrong = "has another hash than the catalogue says"
                except KeepstoneError as error:
                    wrong = f"cannot be read: {error.message}"
                if wrong:
                    yield f"The attachment {sha256.hex()[:16]} {wrong}"
            if left is not None:
                left -= min(left, len(rows))
                if not left:
                    return

    def _known(self) -> set[bytes]:
        """Return the identities of all messages of the catalogue."""
        if self._identities is None:
            self._identities = set()
            for entry in self._catalogue.entries() if self._catalogue else ():
                if entry.kind == MESSAGES:
                    for key in read_state((entry,), self._repository):
                        self._identities.add(blocks.read_head(key[blocks.NAME_LENGTH :], NAME).identity)
        return self._identities


__all__ = ["DrillMessages"]
