"""Keyed BLAKE3: chunk ids, and every secret that is derived from the master key.

All context strings of the format stand here and nowhere else (`derive_key` of the BLAKE3 paper, section 2.3). A
sub-key serves one purpose; whoever holds only one of them learns nothing about the others.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from blake3 import blake3

from keepstone.ids import Buffer, ChunkId, PackId, SnapshotId

KEY_LENGTH = 32


@dataclass(frozen=True, slots=True, repr=False)
class SubKeys:
    """The secrets of one repository, each 32 bytes, derived from its master key."""

    chunk_id: bytes
    chunker: bytes
    config: bytes
    index: bytes
    log: bytes
    epoch: bytes
    hedge: bytes
    keyslot: bytes
    cache: bytes
    state: bytes
    receipt: bytes

    @classmethod
    def derive(cls, master: bytes) -> SubKeys:
        """Derive every sub-key of a 32-byte master key."""
        return cls(**{field.name: derive(master, field.name.replace("_", " ")) for field in fields(cls)})


def derive(material: bytes, purpose: str) -> bytes:
    """Return the 32-byte sub-key of `material` for a purpose; the context is `keepstone 1 <purpose>`."""
    return blake3(material, derive_key_context=f"keepstone 1 {purpose}").digest()


def keyed(key: bytes, *parts: Buffer, length: int = 32) -> bytes:
    """Return keyed BLAKE3 of the concatenation of the parts, as `length` bytes of its output stream."""
    hasher = blake3(key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest(length=length)


def chunk_id(key: bytes, data: Buffer) -> ChunkId:
    """Return the id of a chunk: BLAKE3 of its plaintext under the repository's chunk id key."""
    return ChunkId(blake3(data, key=key).digest())


def snapshot_id(key: bytes, record: bytes) -> SnapshotId:
    """Return the id of a snapshot: BLAKE3 of its encoded record under the chunk id key."""
    return SnapshotId(keyed(key, b"snapshot\0", record))


def stored_name(data: Buffer) -> PackId:
    """Return plain BLAKE3 of stored bytes, so that anyone can verify an object without a key."""
    return PackId(blake3(data).digest())
