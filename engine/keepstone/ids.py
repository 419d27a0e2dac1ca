"""Names of things: 32-byte values that are never mixed up, and how they are written for people."""

from __future__ import annotations

from typing import NewType, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes in any of the forms that pass without a copy."""

ChunkId = NewType("ChunkId", bytes)
"""Keyed BLAKE3 of a chunk's plaintext, 32 bytes."""
ChunkStem = NewType("ChunkStem", bytes)
"""The first 16 bytes of a chunk id: what a chunk is looked up by, and how others name it as their base."""
PackId = NewType("PackId", bytes)
"""BLAKE3 of a pack's stored bytes, 32 bytes."""
SnapshotId = NewType("SnapshotId", bytes)
"""Keyed BLAKE3 of a snapshot's encoded record, 32 bytes."""
RepositoryId = NewType("RepositoryId", bytes)
"""16 random bytes chosen at init."""
WriterId = NewType("WriterId", bytes)
"""The first 16 bytes of the BLAKE3 of a writer's public key."""
KeyslotId = NewType("KeyslotId", bytes)
"""16 bytes that name a keyslot."""

ID_LENGTH = 32
STEM_LENGTH = 16
"""So many bytes of a chunk id tell a repository's chunks apart. The id is keyed: nobody can make two that agree."""
SHORT_DIGITS = 8
"""Hex digits of an id that are shown to people."""


def stem(chunk: ChunkId | ChunkStem) -> ChunkStem:
    """Return what a chunk is looked up by."""
    return ChunkStem(chunk[:STEM_LENGTH])


def short(value: bytes) -> str:
    """Return the first digits of an id, as shown to people."""
    return value.hex()[:SHORT_DIGITS]
