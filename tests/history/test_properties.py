"""Properties of recipes, trees and records, for any content; and the repository against a plain dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import keepstone
from keepstone import encoding
from keepstone.chunking import Chunker, Parameters, Secrets
from keepstone.errors import KeepstoneError
from keepstone.hashing import chunk_id
from keepstone.history import expression, recipe, tree
from keepstone.history.content import ONE_CHUNK, ContentWriter
from keepstone.history.tree import Entry
from keepstone.ids import Buffer, ChunkId
from keepstone.store.memory import MemoryStore
from support import KEY, Place, noise

NAMES = st.binary(min_size=1, max_size=40).filter(tree.valid_name)
CHUNKER = Chunker(Secrets.derive(b"k" * 32), Parameters.for_mean(4096))


class Chunks:
    """A dictionary of chunks, for writers and readers of recipes."""

    def __init__(self) -> None:
        self.chunks: dict[ChunkId, bytes] = {}

    def add(self, data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId:
        chunk = chunk_id(b"i" * 32, data)
        self.chunks[chunk] = bytes(data)
        return chunk

    def read_chunk(self, chunk: ChunkId) -> bytes:
        return self.chunks[chunk]


ENTRIES = st.builds(
    Entry,
    name=NAMES,
    kind=st.sampled_from(sorted(tree.KINDS)),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    user=st.none() | st.text(max_size=8),
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    ctime_ns=st.integers(-(2**63), 2**63 - 1),
    size=st.integers(0, 2**63),
    inode=st.integers(0, 2**64 - 1),
    target=st.binary(max_size=50),
    xattrs=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=30)), max_size=3),
    content=st.binary(max_size=60),
    flags=st.integers(0, 7),
)


@given(st.lists(ENTRIES, max_size=40, unique_by=lambda entry: entry.name))
def test_a_tree_reads_back_as_it_was_written(entries: list[Entry]) -> None:
    chunks = Chunks()
    writer = tree.TreeWriter(chunks.add, CHUNKER)
    ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        writer.append(entry)
    assert list(tree.read_tree(writer.finish(), chunks, "it")) == ordered


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=30),
    st.sampled_from([200, 4_000, 1024 * 1024]),
)
@settings(max_examples=60)
def test_a_recipe_gives_the_bytes_whatever_its_depth(parts: list[tuple[bool, int]], spill: int) -> None:
    original = recipe.SPILL_AT, recipe.INLINE_LIMIT
    recipe.SPILL_AT, recipe.INLINE_LIMIT = spill, 3 * recipe.PIECE.size
    try:
        chunks = Chunks()
        writer = recipe.PieceWriter(chunks.add, CHUNKER)
        expected = b""
        for number, (hole, length) in enumerate(parts * 10):
            data = bytes(length) if hole else noise(number, length)
            writer.append(recipe.HOLE if hole else chunks.add(data), length)
            expected += data
        encoded = writer.finish()
        assert b"".join(recipe.read_list(encoded, chunks, "it")) == expected
        needed = set(expression.chunks_of_recipe(encoded, chunks, "it"))
        needed.discard(recipe.HOLE)
        assert needed <= chunks.chunks.keys()
        only = Chunks()
        only.chunks = {chunk: chunks.chunks[chunk] for chunk in needed}
        assert b"".join(recipe.read_list(encoded, only, "it")) == expected
    finally:
        recipe.SPILL_AT, recipe.INLINE_LIMIT = original


class _Bytes:
    """A stream that gives at most `step` bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self.data, self.step = data, step

    def readinto(self, buffer: memoryview) -> int:
        part = self.data[: min(self.step, len(buffer))]
        buffer[: len(part)] = part
        self.data = self.data[len(part) :]
        return len(part)


@settings(deadline=None)
@given(st.binary(max_size=ONE_CHUNK), st.integers(0, 40), st.sampled_from([1, 100, 10**6]))
def test_small_content_is_stored_as_any_content_is(data: bytes, shorter: int, step: int) -> None:
    """The short way, which is taken if the size is known, and the general one."""
    stored: dict[ChunkId, bytes] = {}

    def add(data: Buffer, bases: Sequence[ChunkId] | None = None) -> ChunkId:
        chunk = chunk_id(bytes(32), data)
        stored[chunk] = bytes(data)
        return chunk

    writer = ContentWriter(add, add, Secrets.derive(bytes(32)))
    # The file may have become shorter since its size was known.
    size = min(ONE_CHUNK, len(data) + shorter)
    read = [0]
    short = writer.write(_Bytes(data, step), size=size, progress=lambda count: read.__setitem__(0, read[0] + count))
    kept = dict(stored)
    assert short == writer.write(_Bytes(data, step))
    assert kept == stored
    assert (short[1], read[0]) == (len(data), len(data))


@given(st.binary(max_size=200))
def test_any_bytes_as_a_recipe_or_tree_give_a_typed_error_or_nothing(data: bytes) -> None:
    for reading in (
        lambda: list(recipe.pieces(data, Chunks(), "it")),
        lambda: list(tree.read_tree(encoding.encode([recipe.PIECES, data]), Chunks(), "it")),
    ):
        try:
            reading()
        except (KeepstoneError, KeyError):
            continue


@given(st.integers(0, 2**40))
def test_size_classes_are_few_and_never_smaller(length: int) -> None:
    size = encoding.padme(length)
    assert length <= size <= length * 1.12 + 1
    assert encoding.padme(size) == size


class Model(RuleBasedStateMachine):
    """A repository beside a dictionary: whatever is done in whatever order, every snapshot gives what was saved."""

    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="keepstone-model-"))
        self.source = self.base / "source"
        self.source.mkdir()
        self.files: dict[str, bytes] = {}
        self.saved: dict[str, dict[str, bytes]] = {}
        self.store = MemoryStore()
        self.computers = [Place(self.base / name, self.store) for name in ("one", "two")]
        self.computers[0].init()
        self.runs = 0

    def teardown(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)

    @rule(name=st.sampled_from("abcd"), seed=st.integers(0, 3), size=st.sampled_from([0, 10, 5_000, 70_000]))
    def write(self, name: str, seed: int, size: int) -> None:
        self.files[name] = noise(seed, size)
        (self.source / name).write_bytes(self.files[name])

    @rule(name=st.sampled_from("abcd"), at=st.integers(0, 60_000), data=st.binary(max_size=50))
    def edit(self, name: str, at: int, data: bytes) -> None:
        """Change a few bytes in place, as databases do: the change is stored as a delta."""
        content = self.files.get(name, b"")
        if len(content) > at:
            self.files[name] = content[:at] + data + content[at + len(data) :]
            (self.source / name).write_bytes(self.files[name])

    @rule(name=st.sampled_from("abcd"))
    def remove(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            (self.source / name).unlink()

    @rule(target=snapshots, computer=st.integers(0, 1), force=st.booleans())
    def backup(self, computer: int, force: bool) -> str:
        result = self.computers[computer].backup([self.source], force=force)
        assert result.snapshot is not None
        self.saved[result.snapshot.hex()] = dict(self.files)
        return result.snapshot.hex()

    @rule(snapshot=snapshots, computer=st.integers(0, 1))
    def restore(self, snapshot: str, computer: int) -> None:
        self.runs += 1
        out = self.base / f"out{self.runs}"
        result = self.computers[computer].restore(out, self.source, snapshot)
        assert result.problems == []
        assert {path.name: path.read_bytes() for path in out.iterdir()} == self.saved[snapshot]

    @rule(computer=st.integers(0, 1))
    def lose_the_cache(self, computer: int) -> None:
        shutil.rmtree(self.computers[computer].base / "cache", ignore_errors=True)

    @rule()
    def lose_the_index_objects(self) -> None:
        for name in [name for name in self.store.objects if name.startswith("index/")]:
            self.store.delete(name)

    @rule(computer=st.integers(0, 1))
    def rebuild(self, computer: int) -> None:
        with self.computers[computer].open() as repository:
            repository.rebuild_index()

    @rule(computer=st.integers(0, 1))
    def change_keys(self, computer: int) -> None:
        with self.computers[computer].open() as repository:
            repository.change_key(KEY, KEY)

    @invariant()
    def all_snapshots_are_there(self) -> None:
        with self.computers[0].open(in_memory=True) as repository:
            assert {snapshot.id.hex() for snapshot in repository.snapshots()} == set(self.saved)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)


def test_the_public_names_are_what_the_package_offers() -> None:
    for name in keepstone.__all__:
        assert hasattr(keepstone, name)
    assert os.path.basename(os.path.dirname(keepstone.__file__)) == "keepstone"
