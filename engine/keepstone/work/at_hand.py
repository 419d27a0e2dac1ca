"""What this run has read and stored, at hand to be read again in it: messages are read from what was stored.

The chunks of what is not on the disk as it is stored, the content of encrypted files and images of live databases, are
copied while they are stored, if they may hold messages: to a file that has lost its name, under a key that this process
alone has and that is gone with it. A chunk that is not there (there is room for so much, and no more)
comes from what this computer has kept of earlier runs, and from the store in the end. It is a cache: whatever of it
is lost, the same bytes are read, only slower.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepstone.errors import KeepstoneError
from keepstone.history.recipe import AddChunk
from keepstone.ids import Buffer, ChunkId
from keepstone.repo.repository import Repository
from keepstone.sealing import TAG_LENGTH, random_bytes

MOST_BYTES: Final = 2 * 1024 * 1024 * 1024
"""What the file takes on the disk at most: the reader of a database makes a copy of it that may be larger."""
MOST_CHUNKS: Final = 150_000
"""Each is remembered with some 200 bytes. As blocks of databases they are 2.3 GiB."""
_LENGTH_BITS: Final = 32


class AtHand:
    """The chunks of a run. A context manager; its end frees the disk. One thread uses it."""

    def __init__(self, repository: Repository, most_bytes: int = MOST_BYTES) -> None:
        self._repository, self._most_bytes = repository, most_bytes
        self._places: dict[ChunkId, int] = {}
        """Where each chunk begins in the file, with the length of its bytes in the lower bits."""
        self._file: BinaryIO | None = None
        self._end = 0
        self._taking = False
        # One random key for one process and one file. A chunk's nonce is where it begins in the file, which only
        # grows, so no pair repeats; after a write that failed nothing is written any more.
        self._cipher = AESGCM(random_bytes(32))

    def __enter__(self) -> AtHand:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._taking, self._most_bytes = None, False, 0
        self._places.clear()

    # Taking ----------------------------------------------------------------------------------------------

    def adding(self, add: AddChunk) -> AddChunk:
        """Return what stores a chunk as `add` does, and takes it while chunks are taken."""

        def added(data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId:
            chunk = add(data, bases)
            if self._taking and chunk not in self._places:
                self._take(chunk, data)
            return chunk

        return added

    @contextmanager
    def taking(self, wanted: bool = True) -> Iterator[None]:
        """Take the chunks that are added meanwhile."""
        self._taking = wanted
        try:
            yield
        finally:
            self._taking = False

    def _take(self, chunk: ChunkId, data: Buffer) -> None:
        length = len(data)
        if self._end + length + TAG_LENGTH > self._most_bytes or len(self._places) >= MOST_CHUNKS:
            return
        sealed = self._cipher.encrypt(_nonce(self._end), data, None)
        try:
            if self._file is None:
                folder = self._repository.state.scratch_folder()
                self._file = tempfile.TemporaryFile(prefix=".keepstone-", dir=folder)  # noqa: SIM115
            if os.pwrite(self._file.fileno(), sealed, self._end) < len(sealed):
                raise OSError("The disk is full.")
        except (OSError, KeepstoneError):
            self._most_bytes = 0  # What is there can still be read.
            return
        self._places[chunk] = self._end << _LENGTH_BITS | length
        self._end += len(sealed)

    # Reading ---------------------------------------------------------------------------------------------

    def read_chunk(self, chunk: ChunkId) -> bytes:
        """Return a chunk's bytes, from as near as they are.

        Raises:
            ChunkMissing, Damaged: as `Repository.read_chunk`.
        """
        taken = self._taken(chunk)
        return self._repository.read_base(chunk) if taken is None else taken

    def _taken(self, chunk: ChunkId) -> bytes | None:
        place = self._places.get(chunk)
        if place is None or self._file is None:
            return None
        offset, length = place >> _LENGTH_BITS, place & ((1 << _LENGTH_BITS) - 1)
        try:
            # The seal says that these are the bytes that were named so when they were stored.
            return self._cipher.decrypt(
                _nonce(offset), os.pread(self._file.fileno(), length + TAG_LENGTH, offset), None
            )
        except (OSError, InvalidTag):
            del self._places[chunk]
            return None


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "little")
