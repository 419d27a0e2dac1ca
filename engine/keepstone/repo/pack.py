"""Packs: frames of chunks, sealed together with their directory into one immutable object.

    header ‖ frames ‖ padding ‖ directory ‖ trailer

The header carries the pack's key in an envelope, and stands again in the trailer, so that one read of a pack's end
is enough to open its directory. Frames, padding and directory are all ciphertext: where one ends and the next begins
cannot be seen. A pack is built in memory and sealed when it closes, so its key can depend on all it seals.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from cryptography.exceptions import InvalidTag

from keepstone import compression, encoding, sealing
from keepstone.errors import Damaged, Unsupported, VerifyFailed
from keepstone.hashing import SubKeys, chunk_id, keyed, stored_name
from keepstone.ids import ID_LENGTH, Buffer, ChunkId, ChunkStem, PackId, RepositoryId
from keepstone.repo import directories
from keepstone.repo import format as layout
from keepstone.repo.directories import FrameRow, frame_lengths

RAW, ZSTD, DELTA = directories.RAW, directories.ZSTD, directories.DELTA
"""Methods of frames that are ready for a pack. How a delta is sealed is decided there."""

FRAME, PADDING, DIRECTORY, DESCRIPTOR = 0, 1, 2, 3
"""Roles of the parts of a pack; role and ordinal make the nonce."""

EPOCH_ENVELOPE = 1
_ENVELOPE = struct.Struct("<HH")
_ENVELOPE_BODY = sealing.SALT_LENGTH + 32 + sealing.TAG_LENGTH
PACK_HEADER_LENGTH = layout.HEADER_LENGTH + _ENVELOPE.size + _ENVELOPE_BODY + sealing.COMMITMENT_LENGTH
_DESCRIPTOR = struct.Struct("<Q")
_TRAILER_END = struct.Struct("<I")
TRAILER_LENGTH = PACK_HEADER_LENGTH + _DESCRIPTOR.size + sealing.TAG_LENGTH + _TRAILER_END.size
_LENGTH = struct.Struct("<I")
_ROW_WEIGHT = 250
"""A frame's line in memory, besides its bytes: objects of Python."""

BaseReader = Callable[[bytes], bytes]
"""Given the stems of base chunks, concatenated, return their bytes, concatenated."""


@dataclass(slots=True)
class Frame:
    """Chunks that are compressed and sealed together, ready for a pack."""

    method: int
    ids: bytes
    """Chunk ids, 32 bytes each."""
    lengths: bytes
    """Chunk lengths, 4 bytes each, little-endian."""
    payload: bytes
    bases: bytes = b""
    """Stems of the base chunks, 16 bytes each."""


@dataclass(slots=True)
class Directory:
    """What a pack holds, as its sealed directory says."""

    pack: PackId
    size: int
    frames: list[FrameRow]
    offsets: list[int] = field(default_factory=list)
    length: int = 0
    """Stored bytes of the directory, its seal included."""

    def entries(self) -> Iterator[tuple[ChunkId, int, int]]:
        """Yield (chunk id, frame ordinal, position in the frame) of every chunk."""
        for ordinal, frame in enumerate(self.frames):
            for position in range(len(frame.ids) // ID_LENGTH):
                yield ChunkId(frame.ids[position * ID_LENGTH : (position + 1) * ID_LENGTH]), ordinal, position

    def holds(self, chunk: ChunkId | ChunkStem, ordinal: int, position: int) -> bool:
        """Return whether this chunk stands at this place."""
        if ordinal >= len(self.frames):
            return False
        return self.frames[ordinal].ids[position * ID_LENGTH : (position + 1) * ID_LENGTH].startswith(chunk)

    @property
    def weight(self) -> int:
        """Return about how many bytes it takes in memory."""
        return sum(_ROW_WEIGHT + len(row.ids) + len(row.lengths) + len(row.bases) for row in self.frames)


def make_frame(chunks: Sequence[tuple[ChunkId, bytes]], level: int) -> Frame:
    """Compress chunks into one frame; raw if that is not smaller."""
    plain = chunks[0][1] if len(chunks) == 1 else b"".join(data for _, data in chunks)
    packed = compression.compress(plain, level)
    return Frame(
        RAW if packed is None else ZSTD,
        b"".join(chunk for chunk, _ in chunks),
        b"".join(_LENGTH.pack(len(data)) for _, data in chunks),
        plain if packed is None else packed,
    )


def make_delta(
    chunk: ChunkId, data: bytes, bases: bytes, prefix: bytes, level: int, delta_level: int = 1
) -> Frame | None:
    """Return the delta frame of a chunk; None unless it is smaller than the chunk compressed by itself.

    Args:
        bases: stems of the base chunks, `prefix` their bytes.
        level: at which it would be compressed by itself.

    Raises:
        VerifyFailed: it does not read back as the chunk.
    """
    packed = compression.compress_delta(data, prefix, delta_level)
    cost = len(packed) + len(bases) + sealing.TAG_LENGTH
    if cost > len(data) // 8:
        alone = compression.compress(data, level or 1)
        if cost > (len(data) if alone is None else len(alone)) * 7 // 8:
            return None
    try:
        same = compression.decompress_delta(packed, len(data), "A delta frame", prefix) == data
    except Damaged:
        same = False
    if not same:
        raise VerifyFailed("A delta frame did not read back as it was built.")
    return Frame(DELTA, chunk, _LENGTH.pack(len(data)), packed, bases)


# Building ---------------------------------------------------------------------------------------------------


def padded_size(size: int) -> int:
    """Return the size class of a pack: steps of 64 KiB for full packs, Padmé classes for small ones."""
    if size >= layout.PACK_TARGET:
        return -(-size // layout.PACK_STEP) * layout.PACK_STEP
    return encoding.padme(max(size, 1024))


def build_pack(
    frames: Sequence[Frame],
    keys: SubKeys,
    repository: RepositoryId,
    algorithm: int,
    room: Callable[[int], memoryview] = lambda size: memoryview(bytearray(size)),
    release: bool = False,
) -> memoryview:
    """Seal frames into the stored bytes of a pack.

    Args:
        room: gives memory of at least a size to build it in. Fresh memory for every pack costs page faults, a tenth of
            a whole backup's time.
        release: let go of each payload when it is sealed, so that its memory serves what comes next.
    """
    rows = _rows(frames)
    record = directories.record(rows)
    content = sum(row.stored for row in rows)
    directory_length = len(directories.encode(record, 0)) + sealing.TAG_LENGTH
    size = PACK_HEADER_LENGTH + content + sealing.TAG_LENGTH + directory_length + TRAILER_LENGTH
    padding = padded_size(size) - size + sealing.TAG_LENGTH
    listed = directories.encode(record, padding)

    header = layout.Header(layout.PACK, algorithm, repository).pack()
    pack_header, cipher = _new_key(frames, listed, keys, header, algorithm)
    view = room(padded_size(size))[: padded_size(size)]
    view[:PACK_HEADER_LENGTH] = pack_header
    at = PACK_HEADER_LENGTH
    joined: list[bytes] = []
    for ordinal, (row, frame) in enumerate(zip(rows, frames, strict=True)):
        if row.method == directories.JOINED:
            joined.append(frame.payload)
        else:
            payload = b"".join([*joined, frame.payload]) if joined else frame.payload
            end = at + len(payload) + sealing.TAG_LENGTH
            # A frame's number stands for one seal: its own, or that of all which are joined with it.
            cipher.seal_into(FRAME, ordinal, payload, view[at:end])
            at, joined = end, []
        if release:
            frame.payload = b""
    cipher.seal_into(PADDING, 0, bytes(padding - sealing.TAG_LENGTH), view[at : at + padding])
    at += padding
    cipher.seal_into(DIRECTORY, 0, listed, view[at : at + directory_length])
    at += directory_length
    view[at : at + PACK_HEADER_LENGTH] = pack_header
    at += PACK_HEADER_LENGTH
    cipher.seal_into(DESCRIPTOR, 0, _DESCRIPTOR.pack(directory_length), view[at : -_TRAILER_END.size])
    view[-_TRAILER_END.size :] = _TRAILER_END.pack(TRAILER_LENGTH)
    return view


def _rows(frames: Sequence[Frame]) -> list[FrameRow]:
    """Return the lines of frames. Deltas are mostly smaller than a seal is worth, so those side by side share one."""
    rows: list[FrameRow] = []
    sealed = count = 0
    for frame in frames:
        size = len(frame.payload)
        delta = frame.method == DELTA
        if delta and 0 < count < layout.MAX_JOINED and sealed + size <= layout.JOINED_BYTES:
            rows[-1].method = directories.JOINED
            rows[-1].stored -= sealing.TAG_LENGTH
        else:
            sealed = count = 0
        sealed, count = (sealed + size, count + 1) if delta else (0, 0)
        method = directories.BARE if delta else frame.method
        rows.append(FrameRow(method, size + sealing.TAG_LENGTH, frame.ids, frame.lengths, frame.bases))
    return rows


def _new_key(
    frames: Sequence[Frame], record: bytes, keys: SubKeys, header: bytes, algorithm: int
) -> tuple[bytes, sealing.FrameCipher]:
    """Draw the pack's key and return the pack header that carries it, and its cipher."""
    # The directory holds the chunk ids, and so determines every raw payload; what a compressor made of the others is
    # hashed here. A random generator that repeats itself therefore repeats a key only for the same pack.
    digest = keyed(keys.hedge, record, *(keyed(keys.hedge, f.payload) for f in frames if f.method != RAW))
    draw = keyed(keys.hedge, b"pack", sealing.random_bytes(32), digest, length=64)
    pack_key, salt = draw[:32], draw[32:]
    cipher = sealing.FrameCipher(pack_key, algorithm, header)
    # The nonce is fixed: the wrapping key is made from a salt that is as unique as the pack key it wraps.
    wrapped = sealing.aead(algorithm, keyed(keys.epoch, b"wrap", salt)).encrypt(bytes(12), pack_key, header)
    envelope = _ENVELOPE.pack(EPOCH_ENVELOPE, _ENVELOPE_BODY) + salt + wrapped
    return header + envelope + cipher.commitment, cipher


# Reading ----------------------------------------------------------------------------------------------------


def open_envelope(data: Buffer, keys: SubKeys, repository: RepositoryId, name: str) -> sealing.FrameCipher:
    """Open the envelope of a pack header and return the pack's cipher.

    Raises:
        Damaged, Unsupported.
    """
    header = layout.parse_header(data, layout.PACK, name, repository)
    if len(data) < PACK_HEADER_LENGTH:
        raise Damaged(name, "its header is cut off")
    kind, length = _ENVELOPE.unpack_from(data, layout.HEADER_LENGTH)
    if kind != EPOCH_ENVELOPE or length != _ENVELOPE_BODY:
        raise Unsupported(name, f"has a key envelope of kind {kind}, which this version of Keepstone does not know")
    view = memoryview(data)
    at = layout.HEADER_LENGTH + _ENVELOPE.size
    salt, wrapped = (
        bytes(view[at : at + sealing.SALT_LENGTH]),
        view[at + sealing.SALT_LENGTH : at + _ENVELOPE_BODY],
    )
    plain_header = bytes(view[: layout.HEADER_LENGTH])
    try:
        pack_key = sealing.aead(header.algorithm, keyed(keys.epoch, b"wrap", salt)).decrypt(
            bytes(12), wrapped, plain_header
        )
    except InvalidTag:
        raise Damaged(name, "the key in its header was altered") from None
    cipher = sealing.FrameCipher(pack_key, header.algorithm, plain_header)
    commitment = bytes(view[at + _ENVELOPE_BODY : PACK_HEADER_LENGTH])
    if not hmac.compare_digest(cipher.commitment, commitment):
        raise Damaged(name, "the key in its header is not the one it commits to")
    return cipher


def tail_length(size: int) -> int:
    """Return how many bytes to read first from the end of a pack: aligned, and mostly enough for the directory."""
    return min(size, layout.READ_ALIGNMENT + size % layout.READ_ALIGNMENT)


def open_directory(
    read: Callable[[int, int], bytes], pack: PackId, size: int, keys: SubKeys, repository: RepositoryId
) -> tuple[Directory, sealing.FrameCipher]:
    """Read a pack's directory from its end.

    Args:
        read: returns `length` bytes from `offset` of the stored pack.
        size: the stored size, as the store lists it.

    Raises:
        Damaged, Unsupported: named after the pack.
    """
    name = layout.pack_name(pack)
    if not PACK_HEADER_LENGTH + TRAILER_LENGTH <= size <= layout.MAX_PACK:
        raise Damaged(name, f"no pack has {size} bytes")
    first = size - tail_length(size)
    tail = read(first, size - first)
    if len(tail) != size - first:
        raise Damaged(name, "it is shorter than the store says")
    if len(tail) < TRAILER_LENGTH or _TRAILER_END.unpack_from(tail, len(tail) - 4)[0] != TRAILER_LENGTH:
        raise Damaged(name, "its trailer is not whole")
    trailer = memoryview(tail)[-TRAILER_LENGTH:]
    cipher = open_envelope(trailer[:PACK_HEADER_LENGTH], keys, repository, name)
    descriptor = cipher.open(DESCRIPTOR, 0, trailer[PACK_HEADER_LENGTH : -_TRAILER_END.size], name)
    (length,) = _DESCRIPTOR.unpack(descriptor)
    start = size - TRAILER_LENGTH - length
    if not sealing.TAG_LENGTH < length <= layout.MAX_DIRECTORY or start < PACK_HEADER_LENGTH:
        raise Unsupported(name, f"states a directory of {length} bytes")
    if start < first:
        aligned = start - start % layout.READ_ALIGNMENT
        more = read(aligned, first - aligned)
        if len(more) != first - aligned:
            raise Damaged(name, "it is shorter than the store says")
        tail, first = more + tail, aligned
    sealed = memoryview(tail)[start - first : size - first - TRAILER_LENGTH]
    return parse_directory(cipher.open(DIRECTORY, 0, sealed, name), pack, size, length), cipher


def parse_directory(data: bytes, pack: PackId, size: int, length: int | None = None) -> Directory:
    """Decode a directory and check that its parts fill the pack exactly.

    Args:
        length: its stored bytes in the pack, seal included; None for a copy, which may be compressed otherwise.
    """
    name = layout.pack_name(pack)
    frames, padding = directories.decode(data, name)
    offsets = list(accumulate((row.stored for row in frames), initial=PACK_HEADER_LENGTH))
    left = size - offsets.pop() - padding - TRAILER_LENGTH
    if left <= sealing.TAG_LENGTH if length is None else left != length:
        raise Damaged(name, "its directory does not fill it")
    return Directory(pack, size, frames, offsets, left)


def copied_directory(directory: Directory) -> bytes:
    """Return a directory's bytes, for an index object."""
    end = directory.offsets[-1] + directory.frames[-1].stored if directory.frames else PACK_HEADER_LENGTH
    padding = directory.size - end - directory.length - TRAILER_LENGTH
    return directories.encode(directories.record(directory.frames), padding)


def end_length(directory: Directory) -> int:
    """Return how many bytes of a pack's end hold its directory and its trailer."""
    return directory.length + TRAILER_LENGTH


def sealed_with(directory: Directory, ordinal: int) -> tuple[int, int]:
    """Return the first and the last of the frames that are sealed together with a frame."""
    first = last = ordinal
    while first and directory.frames[first - 1].method == directories.JOINED:
        first -= 1
    while directory.frames[last].method == directories.JOINED:
        last += 1
    return first, last


def sealed_span(directory: Directory, ordinal: int) -> tuple[int, int]:
    """Return where the sealed bytes are that a frame is read from, as offset and length."""
    first, last = sealed_with(directory, ordinal)
    start = directory.offsets[first]
    return start, directory.offsets[last] + directory.frames[last].stored - start


def open_frame(
    directory: Directory, ordinal: int, sealed: Buffer, cipher: sealing.FrameCipher, bases: BaseReader
) -> bytes:
    """Return the plaintext of a frame: its chunks, concatenated.

    Args:
        sealed: what stands at its `sealed_span`.

    Raises:
        Damaged: the frame is not what was sealed.
    """
    name = layout.pack_name(directory.pack)
    size = frame_size(directory, ordinal)
    first, last = sealed_with(directory, ordinal)
    payload: Buffer = cipher.open(FRAME, last, sealed, name)
    if first < last:
        payload = _own_part(directory, ordinal, payload, first)
    return bytes(_unpack(directory, ordinal, payload, size, bases))


def _own_part(directory: Directory, ordinal: int, payload: Buffer, first: int) -> memoryview:
    """Return a frame's own part of what is sealed together."""
    row, start = directory.frames[ordinal], directory.offsets[ordinal] - directory.offsets[first]
    return memoryview(payload)[start : start + row.stored - row.tag]


def frame_size(directory: Directory, ordinal: int) -> int:
    """Return the length of a frame's plaintext, within what the format allows.

    Raises:
        Unsupported: it is more, or of a method this version does not know.
    """
    row = directory.frames[ordinal]
    name = layout.pack_name(directory.pack)
    if row.method not in (RAW, ZSTD) and not row.delta:
        raise Unsupported(name, f"has a frame of method {row.method}, which this version of Keepstone does not know")
    size = sum(frame_lengths(row))
    if size > layout.MAX_FRAME:
        raise Unsupported(name, f"has a frame of {size} bytes, more than the format allows")
    return size


def _unpack(directory: Directory, ordinal: int, payload: Buffer, size: int, bases: BaseReader) -> Buffer:
    """Return the plaintext of an opened payload."""
    row = directory.frames[ordinal]
    name = layout.pack_name(directory.pack)
    if row.method == RAW:
        if len(payload) != size:
            raise Damaged(name, f"frame {ordinal} has another length than its directory says")
        return payload
    if not row.delta:
        return compression.decompress(payload, size, name)
    if row.method == DELTA:
        return compression.decompress(payload, size, name, bases(row.bases))
    return compression.decompress_delta(payload, size, name, bases(row.bases))


def frame_chunks(row: FrameRow, plain: Buffer, key: bytes, name: str) -> Iterator[tuple[ChunkId, memoryview]]:
    """Yield the chunks of an opened frame, each verified against its id.

    Raises:
        Damaged: a chunk is not the one its id names.
    """
    view, at = memoryview(plain), 0
    for position, length in enumerate(frame_lengths(row)):
        chunk = ChunkId(row.ids[position * ID_LENGTH : (position + 1) * ID_LENGTH])
        data = view[at : at + length]
        if chunk_id(key, data) != chunk:
            raise Damaged(name, f"a chunk in it is not the one that its id names ({chunk.hex()[:16]})")
        yield chunk, data
        at += length


def verify_pack(
    stored: Buffer,
    pack: PackId,
    keys: SubKeys,
    repository: RepositoryId,
    bases: BaseReader,
    opened: Callable[[Directory, int, bytes], None] | None = None,
) -> Directory:
    """Read a whole stored pack as a reader would, and return its directory.

    Args:
        opened: is given each frame on which others may stand, once it is verified.

    Raises:
        Damaged: its name, a seal, or a chunk id does not match.
    """
    if stored_name(stored) != pack:
        raise Damaged(layout.pack_name(pack), "its bytes do not hash to its name")
    return _verify_parts(stored, pack, keys, repository, bases, {}, opened)


def _verify_parts(
    stored: Buffer,
    pack: PackId,
    keys: SubKeys,
    repository: RepositoryId,
    bases: BaseReader,
    verified: Mapping[int, bytes],
    opened: Callable[[Directory, int, bytes], None] | None = None,
) -> Directory:
    view = memoryview(stored)
    name = layout.pack_name(pack)
    directory, cipher = open_directory(
        lambda offset, length: bytes(view[offset : offset + length]), pack, len(view), keys, repository
    )
    if view[:PACK_HEADER_LENGTH] != view[-TRAILER_LENGTH:][:PACK_HEADER_LENGTH]:
        raise Damaged(name, "its header is not the one that its trailer repeats")
    longest = max((row.stored for row in directory.frames), default=0)
    scratch = bytearray(longest + layout.MAX_JOINED_BYTES)
    for ordinal, row in enumerate(directory.frames):
        size = frame_size(directory, ordinal)
        first, last = sealed_with(directory, ordinal)
        at, length = sealed_span(directory, ordinal)
        payload = cipher.open_into(FRAME, last, view[at : at + length], name, scratch)
        if first < last:
            payload = _own_part(directory, ordinal, payload, first)
        if ordinal in verified:
            if payload != verified[ordinal]:
                raise Damaged(name, f"frame {ordinal} is not the one that was verified")
            continue
        plain = _unpack(directory, ordinal, payload, size, bases)
        for _ in frame_chunks(row, plain, keys.chunk_id, name):
            pass
        # What is raw did not compress: media, on which nothing stands.
        if opened is not None and row.method != RAW:
            opened(directory, ordinal, bytes(plain))
    return directory


def _no_bases(bases: bytes) -> bytes:
    return b""


def verify_before_publish(
    stored: Buffer, pack: PackId, keys: SubKeys, repository: RepositoryId, deltas: Mapping[int, bytes]
) -> Directory:
    """Verify a pack that was just built.

    Args:
        deltas: payloads of its delta frames by ordinal. They were verified when they were made, with their bases at
            hand; here they only have to be the same.

    Raises:
        VerifyFailed: it does not read back as it was built, so it must not be stored.
    """
    try:
        return _verify_parts(stored, pack, keys, repository, _no_bases, deltas)
    except (Damaged, Unsupported) as error:
        raise VerifyFailed(f"A pack did not read back as it was built ({error.message}).") from error
