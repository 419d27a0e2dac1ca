"""A stored file whose chunks are read from the file that was stored, as long as it stands there unchanged.

What is read is what is stored all the same: a chunk counts only if its bytes have its id. The first that has not, since
the file was changed, moved or is somebody else's by now, ends it: that chunk and all further ones are read as ever.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from keepstone.errors import SourceError
from keepstone.hashing import chunk_id
from keepstone.history.recipe import ChunkReader, decode, is_list, pieces
from keepstone.ids import ChunkId
from keepstone.sources import files

MOST_CHUNKS: Final = 150_000
"""Chunks of a file whose places are remembered, with some 200 bytes each."""
_LENGTH_BITS: Final = 32


class Original:
    """Reads the chunks of one file.

    Args:
        path: where the file was when it was stored.
        recipe: its own; of a container nothing is read here.
        key: of the ids of chunks.
        reader: reads what is not found there.
        name: what errors call the snapshot.
    """

    def __init__(self, path: bytes, recipe: bytes, key: bytes, reader: ChunkReader, name: str) -> None:
        self._path, self._recipe, self._key, self._reader, self._name = path, recipe, key, reader, name
        self._places: dict[ChunkId, int] | None = None
        """Where each chunk begins in the file, with its length in the lower bits; None as long as nobody asked."""

    def read_chunk(self, chunk: ChunkId) -> bytes:
        """Return a chunk's bytes.

        Raises:
            ChunkMissing, Damaged: as `reader` does.
        """
        place = self._known().get(chunk)
        if place is not None:
            try:
                with files.open_file(self._path) as file:
                    data = file.read_at(place >> _LENGTH_BITS, place & ((1 << _LENGTH_BITS) - 1))
            except SourceError:
                data = b""
            if chunk_id(self._key, data) == chunk:
                return data
            self._places = {}
        return self._reader.read_chunk(chunk)

    def _known(self) -> dict[ChunkId, int]:
        if self._places is None:
            self._places = {}
            recipe = decode(self._recipe, self._name)
            at = 0
            for piece in islice(pieces(recipe, self._reader, self._name), MOST_CHUNKS) if is_list(recipe) else ():
                if not piece.is_hole:
                    self._places.setdefault(piece.chunk, at << _LENGTH_BITS | piece.length)
                at += piece.length
        return self._places
