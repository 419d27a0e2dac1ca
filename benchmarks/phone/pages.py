"""What a day changed in a file, in pages and in blocks: the least that a program must store which knows only those."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Changes:
    """Changed and all pages and blocks of a file."""

    pages: int
    all_pages: int
    blocks: int
    all_blocks: int

    def __str__(self) -> str:
        return (
            f"{self.pages} of {self.all_pages} pages ({self.pages * PAGE / 1e6:.1f} MB),"
            f" {self.blocks} of {self.all_blocks} blocks of 64 KiB ({self.blocks * BLOCK / 1e6:.1f} MB)"
        )


class Pages:
    """Remembers a file by a short hash of each page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hashes = self._look()

    def changes(self) -> Changes:
        """Return what has changed since the last look, at the same places."""
        old, self.hashes = self.hashes, self._look()
        count = len(self.hashes) // 8
        changed = [n for n in range(count) if self.hashes[n * 8 : n * 8 + 8] != old[n * 8 : n * 8 + 8]]
        per_block = BLOCK // PAGE
        return Changes(len(changed), count, len({n // per_block for n in changed}), -(-count // per_block))

    def _look(self) -> bytes:
        found = bytearray()
        with self.path.open("rb") as file:
            while page := file.read(PAGE):
                found += hashlib.blake2b(page, digest_size=8).digest()
        return bytes(found)
