"""Rows on their way into the archive: sorted by where they go, in bounded memory, and never in plaintext on a disk.

Rows are gathered in memory; when they are too many they are written, in order, to a file that has lost its name, under
a key that this process alone has and that is gone with it. At the end the runs are merged.
"""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import BinaryIO, TypeAlias

import msgspec
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepstone import encoding
from keepstone.errors import StoreError
from keepstone.sealing import random_bytes

Key: TypeAlias = tuple[str, str, bytes, int]
"""Month, kind, conversation, and the number of the source in this run."""

SPILL_AT = 32 * 1024 * 1024
"""Bytes of rows that are held."""
_ROW_COST, _LIST_COST = 64, 400
"""What a row, and a list of rows, takes in memory beyond its bytes."""
_FRAME = 256 * 1024

_decoder = msgspec.msgpack.Decoder(list[tuple[Key, list[bytes]]])


class Spool:
    """Gathers rows by key. A context manager; its end frees the disk."""

    def __init__(self, scratch: str, spill_at: int = SPILL_AT) -> None:
        self._scratch, self._spill_at = scratch, spill_at
        self._held: dict[Key, list[bytes]] = {}
        self._cost = 0
        self._file: BinaryIO | None = None
        self._runs: list[tuple[int, int]] = []
        """Where each run begins and ends in the file."""
        self._frames = 0
        # One random key for one process and one file; each frame has its own number as nonce, so no pair repeats.
        self._cipher = AESGCM(random_bytes(32))

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def rows(self, key: Key) -> list[bytes]:
        """Return the list to append rows of a key to. It holds until the next call of `grown`."""
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = []
            self._cost += _LIST_COST
        return found

    def grown(self, rows: int, size: int) -> bool:
        """Take notice of rows that were appended; True if all lists were written away and are no longer valid."""
        self._cost += size + rows * _ROW_COST
        if self._cost < self._spill_at:
            return False
        self._spill()
        return True

    def __iter__(self) -> Iterator[tuple[Key, list[bytes]]]:
        """Yield every key with all its rows, in ascending order."""
        rest = iter(sorted(self._held.items()))
        runs = [rest, *(self._read(*run) for run in self._runs)]
        for key, group in groupby(heapq.merge(*runs, key=itemgetter(0)), key=itemgetter(0)):
            yield key, [row for _, rows in group for row in rows]

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix=".keepstone-", dir=self._scratch)  # noqa: SIM115
            start = self._file.tell()
            batch, size = [], 0
            for key in sorted(self._held):
                rows = self._held.pop(key)
                batch.append((key, rows))
                size += sum(map(len, rows))
                if size >= _FRAME:
                    self._write(batch)
                    batch, size = [], 0
            self._write(batch)
            self._file.flush()
            self._runs.append((start, self._file.tell()))
        except OSError as error:
            raise StoreError(f"Sorted messages could not be kept in {self._scratch} ({error}).") from error
        self._cost = 0

    def _write(self, batch: list[tuple[Key, list[bytes]]]) -> None:
        assert self._file is not None
        packed = zstandard.ZstdCompressor(level=1).compress(encoding.encode(batch))
        sealed = self._cipher.encrypt(self._frames.to_bytes(12, "little"), packed, None)
        self._file.write(self._frames.to_bytes(8, "little") + len(sealed).to_bytes(8, "little") + sealed)
        self._frames += 1

    def _read(self, at: int, end: int) -> Iterator[tuple[Key, list[bytes]]]:
        assert self._file is not None
        handle = self._file.fileno()
        while at < end:
            head = os.pread(handle, 16, at)
            length = int.from_bytes(head[8:], "little")
            nonce = head[:8] + bytes(4)
            packed = self._cipher.decrypt(nonce, os.pread(handle, length, at + 16), None)
            yield from encoding.decode(_decoder, zstandard.ZstdDecompressor().decompress(packed), "a spool")
            at += 16 + length
