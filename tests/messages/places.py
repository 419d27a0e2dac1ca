"""An archive for tests: chunks in a dictionary, or a repository in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence

from keepstone.chunking import secrets_for
from keepstone.errors import ChunkMissing
from keepstone.hashing import chunk_id
from keepstone.history.catalogue import Catalogue
from keepstone.history.content import ContentWriter
from keepstone.ids import Buffer, ChunkId
from keepstone.messages import blocks
from keepstone.messages.merge import State
from keepstone.messages.model import Item, Message
from keepstone.work.archive import FindContent, Ingest, Origin, Work
from messages.chats import items

KEY = bytes(32)


class Chunks:
    """A place for chunks, which counts what is read."""

    def __init__(self) -> None:
        self.held: dict[ChunkId, bytes] = {}
        self.reads = 0

    def add(self, data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId:
        chunk = chunk_id(KEY, data)
        self.held[chunk] = bytes(data)
        return chunk

    def read_chunk(self, chunk: ChunkId) -> bytes:
        self.reads += 1
        try:
            return self.held[chunk]
        except KeyError:
            raise ChunkMissing("A chunk", "it is not there") from None


class Archives:
    """Makes archives of items, and reads them."""

    def __init__(self) -> None:
        self.chunks = Chunks()
        self._content = ContentWriter(self.chunks.add, self.chunks.add, secrets_for("two-stage", KEY))
        self.work = Work()

    def ingest(
        self,
        known: Sequence[bytes],
        taken: Iterable[tuple[Origin, int, Iterable[Item]]],
        find: FindContent = lambda sha256: None,
    ) -> bytes:
        """Return the recipe of the catalogue that has all of this."""
        catalogues = [self.open(recipe) for recipe in known]
        with Ingest(catalogues, self.chunks, self.chunks.add, self._content, tempfile.gettempdir(), find) as run:
            for origin, time_ms, found in taken:
                run.take(origin, time_ms, found)
            recipe = run.finish()
        self.work = run.work
        return recipe

    def open(self, recipe: bytes) -> Catalogue:
        return Catalogue(recipe, self.chunks, "the archive")

    def states(self, recipe: bytes) -> dict[tuple[str, str, bytes], State]:
        """Return all that an archive says, by month, kind and conversation."""
        catalogue = self.open(recipe)
        found: dict[tuple[str, str, bytes], State] = {}
        for entry in catalogue.entries():
            for key, value in blocks.union_of(catalogue.read(entry), "a block").items():
                found.setdefault((entry.month, entry.kind, key[:16]), {})[key[16:]] = value
        return found

    def layout(self, recipe: bytes) -> list[tuple[str, str, str, list[tuple[str, bytes]]]]:
        """Return the blocks of an archive, and where they stand."""
        return [(*e.key, [(b.prefix, b.recipe) for b in e.blocks]) for e in self.open(recipe).entries()]

    def texts(self, recipe: bytes) -> list[str]:
        """Return the texts of all rows of messages, in order."""
        return sorted(
            blocks.read_head(row, "a row").text
            for (_, kind, _), state in self.states(recipe).items()
            if kind == "m"
            for row in state
        )


def reading(origin: Origin, time_ms: int, found: Sequence[Message]) -> tuple[Origin, int, list[Item]]:
    """Return one reading of a source that shows these messages."""
    return origin, time_ms, list(items(found))
