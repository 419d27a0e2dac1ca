"""Opened frames: each is decoded and verified once for all that stands on it, as far as the memory for it reaches.

A delta's bases are read by way of the same frames, so a chain is decoded once for a whole run of chunks. A frame that
is held also holds which of its chunks were verified. Whoever tells ahead what will be read (`expect`) has the next
frames opened meanwhile, and each dropped as soon as all that stands on it was read; otherwise what goes first is what
was used longest ago.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

from keepstone import sealing
from keepstone.errors import ChunkMissing, Damaged, Unsupported
from keepstone.hashing import SubKeys, chunk_id
from keepstone.ids import ID_LENGTH, STEM_LENGTH, Buffer, ChunkId, ChunkStem, PackId
from keepstone.repo import format as layout
from keepstone.repo import pack
from keepstone.repo.cache import Place
from keepstone.repo.directories import FrameRow, frame_bases, frame_lengths
from keepstone.repo.read_ahead import Planned, ReadAhead

FRAME_CACHE_BYTES = 96 * 1024 * 1024
SPARING_BYTES = 32 * 1024 * 1024
"""As much as `FRAME_CACHE_BYTES` where other work needs memory too and files are read front to back."""

_Key = tuple[PackId, int]
"""A frame: its pack, and its number there."""
ReadStored = Callable[[str, int, int, int], Buffer]
"""Given a pack's name, an offset, a length and the pack's size, return what is stored there."""
Found = tuple[Place, pack.Directory, sealing.FrameCipher]
Find = Callable[[ChunkId | ChunkStem], Found | None]
MOST_VERIFIED = 32
"""Chunks of a frame that is opened ahead that are verified then. Of more, as of folders, only some may be read."""
MOST_EXPECTED = 200_000
"""Chunks that are looked at for one `expect`, bases and theirs included; what is beyond is read all the same."""


class Climb:
    """From a delta frame to its bases and theirs, each opened once: bounded in depth, and in memory."""

    def __init__(self) -> None:
        self._depth = self._units = 0
        self._opened: dict[ChunkStem, tuple[_Key, bytes]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._depth += 1
        if self._depth > layout.MAX_DEPTH:
            raise Unsupported(name, "has delta frames that stand on more frames than the format allows")
        yield
        self._depth -= 1

    def opened(self, chunk: ChunkStem) -> tuple[_Key, bytes] | None:
        """Return a chunk that was opened on the way, after its frame."""
        return self._opened.get(chunk)

    def hold(self, chunk: ChunkStem, key: _Key, data: bytes, name: str) -> bytes:
        """Take over a chunk that others on the way may stand on as well.

        Raises:
            Unsupported: it is more than the format allows.
        """
        self._units += -(-len(data) // layout.CLIMB_UNIT)
        if self._units > layout.MAX_CLIMB:
            raise Unsupported(name, "has delta frames that stand on more frames than the format allows")
        self._opened[chunk] = key, data
        return data


class _Opened:
    """A frame's plaintext, where its chunks end, and the positions of those that were verified."""

    __slots__ = ("ends", "plain", "verified")

    def __init__(self, plain: bytes, row: FrameRow) -> None:
        self.plain = plain
        self.ends = [0, *accumulate(frame_lengths(row))]
        self.verified: set[int] = set()


class Frames:
    """The opened frames of a repository. Threads may share it."""

    def __init__(self, keys: SubKeys, read: ReadStored, find: Find) -> None:
        self._key, self._read, self._find = keys.chunk_id, read, find
        self._held: OrderedDict[_Key, _Opened] = OrderedDict()
        self._bytes = 0
        self.sparing = False
        """Hold at most `SPARING_BYTES`."""
        self._lock = threading.Lock()
        self._planned: dict[ChunkId | ChunkStem, Found] = {}
        self._uses: dict[_Key, int] = {}
        """How often each expected frame will still be asked for."""
        self._ahead: ReadAhead[_Key, _Opened] = ReadAhead()
        self.decoded = 0
        """Frames decoded so far, each time counted."""

    def expect(self, chunks: Iterable[ChunkId]) -> None:
        """Learn which chunks are read next, in order, instead of what was learned before.

        It changes only which frames are held, until all that was expected of them was read, and when they are opened:
        the next ones in a thread of its own.
        """
        planned: dict[ChunkId | ChunkStem, Found] = {}
        uses: dict[_Key, int] = {}
        counts: dict[_Key, int] = {}
        whole: dict[_Key, Found] = {}
        for wanted in chunks:
            below: list[ChunkId | ChunkStem] = [wanted]
            while below and len(planned) < MOST_EXPECTED:
                chunk = below.pop()
                found = planned.get(chunk) or self._find(chunk)
                if found is None:
                    continue  # Whoever reads it hears of it.
                planned[chunk] = found
                place, directory, _ = found
                key = (directory.pack, place.ordinal)
                row = directory.frames[place.ordinal]
                if key not in uses and row.delta:
                    below += frame_bases(row)
                elif not row.delta:
                    whole[key] = found
                uses[key] = uses.get(key, 0) + 1
                counts[key] = len(row.ids) // ID_LENGTH
        with self._lock:
            # What is read of in part only may be read of again soon, so it stays until there is no room.
            self._planned = planned
            self._uses = {key: count for key, count in uses.items() if count >= counts[key]}
            # A frame that stands on others is opened when it is asked for: they are there by then.
            self._ahead.plan(
                Planned(key, sum(frame_lengths(found[1].frames[key[1]])), partial(self._open_ahead, *found))
                for key, found in (() if self.sparing else whole.items())
                if key not in self._held
            )

    def close(self) -> None:
        """End the thread that reads ahead."""
        with self._lock:
            self._ahead.close()

    def find(self, chunk: ChunkId | ChunkStem) -> Found | None:
        """Return where a chunk is."""
        return self._planned.get(chunk) or self._find(chunk)

    def read(
        self,
        chunk: ChunkId | ChunkStem,
        place: Place,
        directory: pack.Directory,
        cipher: sealing.FrameCipher,
        climb: Climb,
    ) -> bytes:
        """Return a chunk, verified against its id.

        Raises:
            Damaged, Unsupported, ChunkMissing: it, or what it stands on, cannot be read.
        """
        opened = self._open(place.ordinal, directory, cipher, climb)
        data = opened.plain[opened.ends[place.position] : opened.ends[place.position + 1]]
        if place.position not in opened.verified:
            whole = directory.frames[place.ordinal].ids[place.position * ID_LENGTH : (place.position + 1) * ID_LENGTH]
            if chunk_id(self._key, data) != whole or not whole.startswith(chunk):
                name = layout.pack_name(directory.pack)
                raise Damaged(name, f"chunk {chunk.hex()[:16]} in it is not what its id names")
            opened.verified.add(place.position)
        self._used((directory.pack, place.ordinal))
        return data

    def _used(self, key: _Key) -> None:
        with self._lock:
            left = self._uses.get(key)
            if left is not None:
                self._uses[key] = left - 1
                if left == 1 and (held := self._held.pop(key, None)) is not None:
                    self._bytes -= len(held.plain)

    def read_bases(self, bases: bytes, climb: Climb, name: str) -> bytes:
        """Return the bytes of a delta frame's base chunks, concatenated.

        Raises:
            Unsupported: the frame stands on more frames than the format allows.
            ChunkMissing: a base is in no pack.
        """
        if len(bases) % STEM_LENGTH or len(bases) > layout.MAX_BASES * STEM_LENGTH:
            raise Unsupported(name, "has a delta frame with more bases than the format allows")
        with climb.step(name):
            parts = []
            for at in range(0, len(bases), STEM_LENGTH):
                parts.append(self._read_base(ChunkStem(bases[at : at + STEM_LENGTH]), climb, name))
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_base(self, chunk: ChunkStem, climb: Climb, name: str) -> bytes:
        opened = climb.opened(chunk)
        if opened is not None:
            self._used(opened[0])
            return opened[1]
        found = self.find(chunk)
        if found is None:
            raise ChunkMissing(f"chunk {chunk.hex()[:16]}", "a delta frame needs it and it is in no pack")
        place, directory, _ = found
        return climb.hold(chunk, (directory.pack, place.ordinal), self.read(chunk, *found, climb), name)

    def hold(self, directory: pack.Directory, ordinal: int, plain: bytes) -> None:
        """Take over a frame that was opened, and verified chunk by chunk, elsewhere."""
        row = directory.frames[ordinal]
        opened = _Opened(plain, row)
        opened.verified.update(range(len(row.ids) // ID_LENGTH))
        self._hold((directory.pack, ordinal), opened)

    def _open(self, ordinal: int, directory: pack.Directory, cipher: sealing.FrameCipher, climb: Climb) -> _Opened:
        key = (directory.pack, ordinal)
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                return held
            coming = self._ahead.take(key)
        opened = self._opened(ordinal, directory, cipher, climb) if coming is None else coming.result()
        self.decoded += 1
        self._hold(key, opened)
        return opened

    def _opened(self, ordinal: int, directory: pack.Directory, cipher: sealing.FrameCipher, climb: Climb) -> _Opened:
        name = layout.pack_name(directory.pack)
        sealed = self._read(name, *pack.sealed_span(directory, ordinal), directory.size)
        plain = pack.open_frame(directory, ordinal, sealed, cipher, lambda bases: self.read_bases(bases, climb, name))
        return _Opened(plain, directory.frames[ordinal])

    def _open_ahead(self, place: Place, directory: pack.Directory, cipher: sealing.FrameCipher) -> _Opened:
        """Open a frame that stands on no other, and verify its chunks if they are few."""
        opened = self._opened(place.ordinal, directory, cipher, Climb())
        ids = directory.frames[place.ordinal].ids
        if len(ids) <= MOST_VERIFIED * ID_LENGTH:
            for position in range(len(ids) // ID_LENGTH):
                data = memoryview(opened.plain)[opened.ends[position] : opened.ends[position + 1]]
                if chunk_id(self._key, data) == ids[position * ID_LENGTH : (position + 1) * ID_LENGTH]:
                    opened.verified.add(position)
        return opened

    def _hold(self, key: _Key, opened: _Opened) -> None:
        with self._lock:
            before = self._held.pop(key, None)
            self._bytes += len(opened.plain) - (0 if before is None else len(before.plain))
            self._held[key] = opened
            most = min(FRAME_CACHE_BYTES, SPARING_BYTES) if self.sparing else FRAME_CACHE_BYTES
            while self._bytes > most and len(self._held) > 1:
                self._bytes -= len(self._held.popitem(last=False)[1].plain)
