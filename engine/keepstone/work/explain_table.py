"""What an explanation notes while it looks: a line for each stored chunk, and one for each tree, in a scratch folder.

Every chunk that a pack's directory lists has a number: packs in the order of the local index, chunks in theirs. So a
line needs no id; the columns are plain arrays in mapped files, 13 bytes a chunk. What is known of a tree lies in an
LMDB table. Memory then holds 8 bytes for each frame (about 1 MiB of data), and a bounded cache. No line tells a name.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from array import array
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, TypeVar

import lmdb
import msgspec

from keepstone.errors import ChunkMissing, StoreFull
from keepstone.ids import ChunkId
from keepstone.repo.cache import LocalIndex
from keepstone.repo.directories import FrameRow

_MAP = 1 << 36
"""Address space for the table of trees; its file is as long as what is in it."""
_BATCH = 20_000
"""Lines that are put into the table of trees in one change."""
_NO_PACK = (1 << 64) - 1

T = TypeVar("T")


class Columns:
    """A line for each stored chunk, by its number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("w+b") for name in ("plain", "stored", "delta")}
        self._packs = array("Q")
        self._frames = array("Q")
        self.count = 0
        self.plain_size = 0
        """Bytes of all chunks before compression."""
        self.seals = 0
        """Bytes of the frames' seals."""
        self.payload = 0

    def add_pack(self, number: int, frames: list[FrameRow]) -> None:
        """Number the chunks of a pack; numbers of packs rise."""
        self._packs.extend([_NO_PACK] * (number - len(self._packs)))
        self._packs.append(len(self._frames))
        plain, stored, delta = [], array("I"), bytearray()
        for row in frames:
            self._frames.append(self.count)
            lengths = memoryview(row.lengths).cast("I")
            payload = row.stored - row.tag
            plain.append(row.lengths)
            stored.extend((payload,) if len(lengths) == 1 else shares(payload, lengths))
            delta += (b"\1" if row.delta else b"\0") * len(lengths)
            self.count += len(lengths)
            self.plain_size += sum(lengths)
            self.payload += payload
            self.seals += row.tag
        written(self._files["plain"].write, b"".join(plain))
        written(self._files["stored"].write, stored.tobytes())
        written(self._files["delta"].write, bytes(delta))

    def map(self) -> None:
        """Make the columns readable, once all packs are in them."""
        for file in self._files.values():
            written(file.write, bytes(4))  # An empty file cannot be mapped.
            written(file.flush)
        self.plain = self._mapped("plain").cast("I")
        self.stored = self._mapped("stored").cast("I")
        self.delta = self._mapped("delta")
        self._files["holder"] = holder = (self._folder / "holder").open("w+b")
        # Taken now: a mapped file that cannot grow any more ends the process.
        written(os.posix_fallocate, holder.fileno(), 0, 4 * self.count + 4)
        self.holder = self._mapped("holder").cast("i")
        """Of the chunk: 0 while nobody was seen who needs it, then a holder; negative if it is not the only one."""

    def _mapped(self, name: str) -> memoryview:
        return memoryview(mmap.mmap(self._files[name].fileno(), 0))

    def number(self, chunk: ChunkId, index: LocalIndex) -> int:
        """Return the number of a chunk.

        Raises:
            ChunkMissing: the index does not know it.
        """
        place = index.lookup(chunk)
        if place is not None and place.pack < len(self._packs) and self._packs[place.pack] != _NO_PACK:
            frame = self._packs[place.pack] + place.ordinal
            if frame < len(self._frames) and self._frames[frame] + place.position < self.count:
                return self._frames[frame] + place.position
        raise ChunkMissing(
            f"chunk {chunk.hex()[:16]}", "no pack that was read has it", "Run `keepstone check` to see what is missing."
        )

    def close(self) -> None:
        """Close the files; the mappings end with the last view of them."""
        for file in self._files.values():
            file.close()


def shares(payload: int, lengths: memoryview) -> list[int]:
    """Share a frame's stored bytes among its chunks by their lengths; the shares add up exactly."""
    ends = list(accumulate(lengths))
    whole = ends[-1] or 1
    at = [payload * end // whole for end in ends]
    at[-1] = payload
    return [end - start for start, end in zip([0, *at], at, strict=False)]


class Sums(msgspec.Struct, array_like=True):
    """What is counted below a tree, or of a recipe, whoever owns its chunks."""

    files: int = 0
    bytes: int = 0
    content: int = 0
    holes: int = 0

    def add(self, other: Sums) -> None:
        self.files += other.files
        self.bytes += other.bytes
        self.content += other.content
        self.holes += other.holes


class Note(msgspec.Struct, array_like=True):
    """What is known of a tree or a long recipe."""

    holder: int
    shared: bool
    """More than one holder needs it, and all of its chunks know."""
    sums: dict[int, Sums]


_note_decoder = msgspec.msgpack.Decoder(Note)
_note_encoder = msgspec.msgpack.Encoder()


class Notes:
    """A note for each tree and each long recipe, by a hash of it."""

    def __init__(self, folder: Path) -> None:
        # Nothing of it has to survive, so nothing is synced; one process uses it, so it has no lock.
        self._env = written(
            lambda: lmdb.open(
                str(folder / "notes"),
                map_size=_MAP,
                lock=False,
                sync=False,
                metasync=False,
                readahead=False,
                mode=0o600,
            )
        )
        self._change = written(self._env.begin, None, None, True)
        self._waiting = 0

    def get(self, key: bytes) -> Note | None:
        found = self._change.get(key)
        return None if found is None else _note_decoder.decode(found)

    def put(self, key: bytes, note: Note) -> None:
        written(self._change.put, key, _note_encoder.encode(note))
        self._waiting += 1
        if self._waiting >= _BATCH:
            written(self._change.commit)
            self._change = written(self._env.begin, None, None, True)
            self._waiting = 0

    def close(self) -> None:
        self._change.abort()
        self._env.close()


def written(do: Callable[..., T], *arguments: object) -> T:
    """Write to the scratch folder.

    Raises:
        StoreFull: it has no space left.
    """
    try:
        return do(*arguments)
    except (OSError, lmdb.Error) as error:
        raise StoreFull(
            f"The table of chunks cannot be written ({error}).",
            "Set TMPDIR to a folder with more space, and run the command again.",
        ) from error


class Table:
    """Columns and notes, in a folder that goes at the end."""

    def __init__(self) -> None:
        self._folder = written(lambda: tempfile.TemporaryDirectory(prefix="keepstone-stats-"))
        try:
            self.columns = Columns(Path(self._folder.name))
            self.notes = Notes(Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *exception: object) -> None:
        self.notes.close()
        self.columns.close()
        self._folder.cleanup()
