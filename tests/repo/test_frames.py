"""A frame is decoded once for all that stands on it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from keepstone.ids import ChunkId, ChunkStem, stem
from keepstone.repo.directories import frame_bases
from keepstone.repo.repository import Repository
from keepstone.repo.writer import writing
from support import Place, words

NIGHTS, BLOCKS = 12, 24


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).init()


def _nights(place: Place) -> dict[ChunkId, bytes]:
    """Store blocks that change night by night, each on its last version and a neighbour's; return the last ones."""
    rng = random.Random(1)
    blocks = [words(f"block {number}", 16_384) for number in range(BLOCKS)]
    ids: list[ChunkId] = []
    for night in range(NIGHTS + 1):
        if night:
            for number, block in enumerate(blocks):
                at = rng.randrange(len(block) - 40)
                blocks[number] = block[:at] + rng.randbytes(40) + block[at + 40 :]
        with place.open() as client, writing(client._repository, 3) as writer:
            before = ids
            ids = [
                writer.add(block, [before[number], before[number - 1]] if night < 3 and night else before[number:][:1])
                for number, block in enumerate(blocks)
            ]
    return dict(zip(ids, blocks, strict=True))


def _deltas(repository: Repository) -> int:
    directories = [repository.directory(found, size)[0] for found, size in repository.list_packs()]
    return sum(row.delta for directory in directories for row in directory.frames)


def test_a_chain_is_decoded_once_for_all_chunks_that_stand_on_it(place: Place) -> None:
    last = _nights(place)
    with place.open(in_memory=True) as client:
        repository = client._repository
        for chunk, block in last.items():
            assert repository.read_chunk(chunk) == block
        deltas = _deltas(repository)
        assert deltas > BLOCKS * NIGHTS * 3 // 4
        assert repository.frames.decoded <= deltas + BLOCKS


def test_whatever_is_held_the_chunks_are_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    last = _nights(place)
    for held in (0, 20_000, 200_000):
        monkeypatch.setattr("keepstone.repo.frames.FRAME_CACHE_BYTES", held)
        with place.open(in_memory=True) as client:
            for chunk, block in last.items():
                assert client._repository.read_chunk(chunk) == block


def test_checking_all_data_decodes_no_base_again(place: Place) -> None:
    _nights(place)
    with place.open(in_memory=True) as client:
        assert client.check(read_data=1.0).healthy
        assert client._repository.frames.decoded == 0


def test_packs_come_after_those_that_they_stand_on(place: Place) -> None:
    _nights(place)
    with place.open(in_memory=True) as client:
        repository = client._repository
        seen: set[ChunkStem] = set()
        ordered = list(repository.bases_first(repository.list_packs()))
        assert sorted(ordered) == sorted(repository.list_packs())
        for found, size in ordered:
            directory, _ = repository.directory(found, size)
            seen.update(stem(chunk) for chunk, _, _ in directory.entries())
            assert all(base in seen for row in directory.frames for base in frame_bases(row))


def test_what_was_told_ahead_is_decoded_once_in_little_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    last = _nights(place)
    order = list(last)
    random.Random(2).shuffle(order)
    monkeypatch.setattr("keepstone.repo.frames.FRAME_CACHE_BYTES", 16_384 * BLOCKS * 3)
    with place.open(in_memory=True) as client:
        repository = client._repository
        repository.expect(order)
        for chunk in order:
            assert repository.read_chunk(chunk) == last[chunk]
        assert repository.frames.decoded <= _deltas(repository) + BLOCKS
        assert not repository.frames._held
        for chunk in order:
            assert repository.read_chunk(chunk) == last[chunk]


def test_a_wrong_word_ahead_changes_nothing_that_is_read(place: Place) -> None:
    last = _nights(place)
    with place.open(in_memory=True) as client:
        repository = client._repository
        repository.expect([*list(last)[:3], ChunkId(bytes(32)), ChunkId(b"\x01" * 32)])
        for chunk in [*last, *last]:
            assert repository.read_chunk(chunk) == last[chunk]
