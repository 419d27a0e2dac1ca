"""What resembles something stored is stored as the difference, and nothing rests on what is not there."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import keepstone
from faults.faultstore import FaultStore
from keepstone import compression
from keepstone.errors import ChunkMissing, Damaged, KeepstoneError, Unsupported
from keepstone.hashing import chunk_id, stored_name
from keepstone.history.ancestor import MOST_BASES, Ancestor
from keepstone.history.recipe import HOLE, Piece
from keepstone.ids import ChunkId, stem
from keepstone.repo import format as layout
from keepstone.repo import pack
from keepstone.repo.directories import FrameRow
from keepstone.repo.repository import Repository
from keepstone.repo.writer import writing
from keepstone.store.memory import MemoryStore
from support import Place, noise, words


def _changed(data: bytes, seed: int, edits: int = 3) -> bytes:
    rng, changed = random.Random(seed), bytearray(data)
    for _ in range(edits):
        at = rng.randrange(len(changed) - 20)
        changed[at : at + 20] = rng.randbytes(20)
    return bytes(changed)


def _store(place: Place, *chunks: tuple[bytes, list[ChunkId]]) -> list[ChunkId]:
    """Store chunks with their bases in one run."""
    with place.open() as client, writing(client._repository, 3) as writer:
        return [writer.add(data, bases) for data, bases in chunks]


def _frames(repository: Repository) -> Iterator[tuple[str, FrameRow]]:
    for found, size in repository.list_packs():
        directory, _ = repository.directory(found, size)
        yield from ((layout.pack_name(found), row) for row in directory.frames)


def _put_pack(repository: Repository, frames: list[pack.Frame]) -> None:
    stored = bytes(pack.build_pack(frames, repository.keys, repository.id, 1))
    repository.store.put(layout.pack_name(stored_name(stored)), [stored])


def _delta(repository: Repository, data: bytes, base: bytes) -> pack.Frame:
    """Return a delta frame made by hand."""
    key = repository.keys.chunk_id
    payload = compression.compress_delta(data, base)
    return pack.Frame(pack.DELTA, chunk_id(key, data), struct.pack("<I", len(data)), payload, stem(chunk_id(key, base)))


def _put_pairs(repository: Repository, number: int, lowest: int) -> list[bytes]:
    """Store pairs of chunks that both stand on the pair before, the lowest of them left out, and return the last."""
    pair, frames = [b"a" * 100, b"b" * 100], []
    frames += [pack.make_frame([(_id(repository, data), data)], 3) for data in pair]
    for level in range(number):
        bases, pair = pair, [b"%d %c" % (level, letter) * 30 for letter in b"ab"]
        stems = b"".join(stem(_id(repository, base)) for base in bases)
        for data in pair:
            payload = compression.compress_delta(data, b"".join(bases))
            length = struct.pack("<I", len(data))
            frames.append(pack.Frame(pack.DELTA, _id(repository, data), length, payload, stems))
    _put_pack(repository, frames[lowest:])
    return pair


def _id(repository: Repository, data: bytes) -> ChunkId:
    return chunk_id(repository.keys.chunk_id, data)


# Storing ----------------------------------------------------------------------------------------------------


def test_what_resembles_a_stored_chunk_costs_what_differs(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    old = words("old", 16_384)
    (base,) = _store(place, (old, []))
    new = _changed(old, 1)
    (changed,) = _store(place, (new, [base]))
    with place.open(in_memory=True) as client:
        repository = client._repository
        (row,) = [row for _, row in _frames(repository) if row.delta]
        assert row.ids == changed
        assert row.bases == stem(base)
        assert row.stored < 300
        assert repository.read_chunk(changed) == new
        assert repository.depth(changed) == 1
        assert client.check(read_data=1.0).healthy


@pytest.mark.parametrize("data", ["unlike", "small"])
def test_what_gains_nothing_is_stored_by_itself(tmp_path: Path, data: str) -> None:
    place = Place(tmp_path).init()
    (base,) = _store(place, (words("old", 16_384), []))
    new = noise(5, 16_384) if data == "unlike" else words("old", 2_000)
    (chunk,) = _store(place, (new, [base]))
    with place.open(in_memory=True) as client:
        assert not [row for _, row in _frames(client._repository) if row.delta]
        assert client._repository.read_chunk(chunk) == new


def test_versions_stand_on_each_other_only_so_deep(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    data, bases, versions = words("old", 16_384), list[ChunkId](), []
    for number in range(layout.WRITTEN_DEPTH + 8):
        bases = _store(place, (data, bases))
        versions.append((bases[0], data))
        data = _changed(data, number, edits=1)
    with place.open(in_memory=True) as client:
        depths = [client._repository.depth(chunk) for chunk, _ in versions]
        assert depths == [n % (layout.WRITTEN_DEPTH + 1) for n in range(len(versions))]
        for chunk, content in versions:
            assert client._repository.read_chunk(chunk) == content


def test_a_codec_that_returns_wrong_bytes_is_caught_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path).init()
    old = words("old", 16_384)
    (base,) = _store(place, (old, []))
    assert isinstance(place.store, MemoryStore)
    before = dict(place.store.objects)
    honest = compression.compress_delta
    monkeypatch.setattr(compression, "compress_delta", lambda data, prefix, level: honest(_changed(data, 9), prefix))
    with pytest.raises(KeepstoneError, match="did not read back"):
        _store(place, (_changed(old, 1), [base]))
    assert place.store.objects == before


def test_rows_that_moved_to_another_page_stand_on_where_they_came_from(tmp_path: Path) -> None:
    """Databases split a full page: half of it becomes a page where nothing was, its rows in another order."""
    place = Place(tmp_path).init()
    rng = random.Random(3)
    pages = [[rng.randbytes(40) for _ in range(400)] for _ in range(6)]
    old = [b"".join(page) for page in pages]
    ids = _store(place, *((data, []) for data in old))
    moved = pages[4][200:]
    rng.shuffle(moved)
    kept = b"".join(pages[4][:200]).ljust(16_000, b"\0")
    changed = _store(place, *((_changed(data, n), [ids[n]]) for n, data in enumerate(old[:3])), (kept, [ids[4]]))
    (new,) = _store(place, (b"".join(moved), []), (kept + b"!", [ids[4]]))[:1]
    with place.open(in_memory=True) as client:
        repository = client._repository
        (row,) = [row for _, row in _frames(repository) if row.ids == new]
        assert row.delta
        assert row.bases == stem(ids[4])
        assert row.stored < 4_000
        assert repository.read_chunk(new) == b"".join(moved)
        assert all(repository.confirm(chunk) for chunk in changed)


def test_no_chunk_is_written_that_takes_too_many_frames_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that move about make chunks stand on several others, and these on several again, night after night."""
    monkeypatch.setattr("keepstone.repo.resembling._CLIMBED", 24)
    nights = 12
    place = Place(tmp_path).init()
    rng = random.Random(4)
    rows = [rng.randbytes(40) for _ in range(1_600)]
    bases: list[list[ChunkId]] = [[] for _ in range(4)]
    for _ in range(nights):
        pages = [b"".join(rows[at : at + 400]) for at in range(0, len(rows), 400)]
        bases = [[chunk] for chunk in _store(place, *zip(pages, bases, strict=True))]
        moved = [rng.randrange(len(rows)) for _ in range(500)]
        for one, other in zip(moved[::2], moved[1::2], strict=True):
            rows[one], rows[other] = rows[other], rows[one]
    with place.open(in_memory=True) as client:
        repository = client._repository
        climbs = [repository.climb([ChunkId(row.ids[:32])]).bit_count() for _, row in _frames(repository)]
        assert 24 < max(climbs) <= 24 + nights
        for (chunk,), page in zip(bases, pages, strict=True):
            assert repository.read_chunk(chunk) == page


def test_what_a_reader_climbs_is_counted_as_it_climbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstone.repo.frames.FRAME_CACHE_BYTES", 0)
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        pair = _put_pairs(client._repository, 6, 0)
    with place.open(in_memory=True) as client:
        repository = client._repository
        opened = []
        real = pack.open_frame
        monkeypatch.setattr(pack, "open_frame", lambda *arguments: opened.append(1) or real(*arguments))
        repository.read_chunk(_id(repository, pair[0]))
        chunk = _id(repository, pair[0])
        assert repository.depth(chunk) == 6
        assert repository.climb([chunk]).bit_count() == len(opened) == 13


def test_deltas_that_lie_side_by_side_are_read_together(tmp_path: Path) -> None:
    """However small a frame is, reads are aligned to 64 KiB; a block is fetched once for all that lies in it."""
    store = FaultStore(MemoryStore())
    place = Place(tmp_path, store).init()
    olds = [words(f"old {number}", 16_384) for number in range(40)]
    ids = _store(place, *((old, []) for old in olds))
    news = [_changed(old, 1) for old in olds]
    changed = _store(place, *((new, [base]) for new, base in zip(news, ids, strict=True)))
    with place.open(in_memory=True) as client:
        client._repository.ready_index()
        store.ranges.clear()
        for chunk, new in zip(changed, news, strict=True):
            assert client._repository.read_chunk(chunk) == new
        blocks = [(name, offset) for name, offset, _ in store.ranges if name.startswith("packs/")]
        assert len(blocks) == len(set(blocks)) < 16


# Bases that are not there -----------------------------------------------------------------------------------


def test_a_chunk_whose_base_is_gone_is_not_there_and_is_stored_again(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    old = words("old", 16_384)
    new = _changed(old, 1)
    (base,) = _store(place, (old, []))
    with place.open(in_memory=True) as client:
        ((name, _),) = _frames(client._repository)
    (changed,) = _store(place, (new, [base]))
    place.store.delete(name)
    with place.open() as client:
        assert not client._repository.confirm(changed)
        with pytest.raises(ChunkMissing):
            client._repository.read_chunk(changed)
    assert _store(place, (new, [base])) == [changed]
    for in_memory in (False, True):
        with place.open(in_memory=in_memory) as client:
            assert client._repository.depth(changed) == 0
            assert client._repository.read_chunk(changed) == new


def test_a_damaged_base_gives_an_error_and_never_wrong_bytes(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    old = words("old", 16_384)
    (base,) = _store(place, (old, []))
    assert isinstance(place.store, MemoryStore)
    (name,) = [name for name in place.store.objects if name.startswith("packs/")]
    (changed,) = _store(place, (_changed(old, 1), [base]))
    damaged = bytearray(place.store.objects[name])
    damaged[400] ^= 1
    place.store.objects[name] = bytes(damaged)
    with place.open(in_memory=True) as client:
        with pytest.raises(Damaged) as caught:
            client._repository.read_chunk(changed)
        assert caught.value.object_name == name
        assert any(finding.object_name == name for finding in client.check(read_data=1.0).findings)


def test_check_names_the_files_that_stand_on_a_missing_base(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    file = tmp_path / "source" / "history"
    file.parent.mkdir()
    file.write_bytes(words("history", 60_000))
    place.backup([file.parent])
    assert isinstance(place.store, MemoryStore)
    packs = {name for name in place.store.objects if name.startswith("packs/")}
    file.write_bytes(_changed(words("history", 60_000), 2))
    place.backup([file.parent])
    with place.open(in_memory=True) as client:
        assert [row for _, row in _frames(client._repository) if row.delta]
    for name in packs:
        place.store.delete(name)
    with place.open(in_memory=True) as client:
        result = client.check()
        assert not result.healthy
        assert {found.path for found in result.affected} >= {os.fsencode(file)}
    assert place.backup([file.parent], force=True).problems == []
    place.restore(tmp_path / "out", file.parent)
    assert (tmp_path / "out" / "history").read_bytes() == file.read_bytes()


# Copies, cycles, depth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["whole first", "delta first", "together"])
def test_of_two_copies_the_one_that_stands_alone_counts(tmp_path: Path, order: str) -> None:
    """Two computers may store the same chunk: one whole, one as a delta. No two may end up standing on each other."""
    place = Place(tmp_path).init()
    one, two = words("old", 16_384), _changed(words("old", 16_384), 1)
    with place.open(in_memory=True) as client:
        repository = client._repository
        pairs = [(_id(repository, data), data) for data in (one, two)]
        whole = [pack.make_frame([pair], 3) for pair in pairs]
        deltas = [_delta(repository, one, two), _delta(repository, two, one)]
        if order == "together":
            _put_pack(repository, [deltas[0], *whole, deltas[1]])
        else:
            _put_pack(repository, whole if order == "whole first" else deltas)
    with place.open() as client:
        client._repository.ready_index()
    with place.open() as client:
        _put_pack(client._repository, deltas if order == "whole first" else whole)
    for in_memory in (False, True):
        with place.open(in_memory=in_memory) as client:
            for chunk, data in pairs:
                assert client._repository.depth(chunk) == 0
                assert client._repository.read_chunk(chunk) == data


def test_frames_that_stand_on_each_other_are_refused(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    one, two = words("old", 16_384), _changed(words("old", 16_384), 1)
    with place.open(in_memory=True) as client:
        _put_pack(client._repository, [_delta(client._repository, *pair) for pair in ((one, two), (two, one))])
    with place.open(in_memory=True) as client:
        chunk = _id(client._repository, one)
        assert not client._repository.confirm(chunk)
        with pytest.raises(Unsupported, match="stand on more frames"):
            client._repository.read_chunk(chunk)


@pytest.mark.parametrize(("depth", "readable"), [(layout.MAX_DEPTH, True), (layout.MAX_DEPTH + 1, False)])
def test_depth_is_read_up_to_what_the_format_allows(tmp_path: Path, depth: int, readable: bool) -> None:
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        repository = client._repository
        data = words("old", 5_000)
        frames = [pack.make_frame([(_id(repository, data), data)], 3)]
        for number in range(depth):
            base, data = data, _changed(data, number, 1)
            frames.append(_delta(repository, data, base))
        _put_pack(repository, frames)
    with place.open(in_memory=True) as client:
        chunk = _id(client._repository, data)
        assert client._repository.confirm(chunk) == readable
        if readable:
            assert client._repository.read_chunk(chunk) == data
        else:
            with pytest.raises(Unsupported):
                client._repository.read_chunk(chunk)


def test_many_bases_of_many_bases_are_bounded_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames stand on two others, and so on: whoever opens each as often as it is asked for does not end."""
    monkeypatch.setattr("keepstone.repo.frames.FRAME_CACHE_BYTES", 0)
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        pair = _put_pairs(client._repository, 40, 0)
    with place.open(in_memory=True) as client:
        repository, chunk = client._repository, _id(client._repository, pair[0])
        assert repository.depth(chunk) == 40
        with monkeypatch.context() as patch, pytest.raises(Unsupported, match="more frames"):
            patch.setattr(layout, "MAX_CLIMB", 79)
            repository.read_chunk(chunk)
        before = repository.frames.decoded
        assert repository.read_chunk(chunk) == pair[0]
        assert repository.frames.decoded - before <= 81


@pytest.mark.parametrize("missing", [1, 2])
def test_many_bases_of_many_bases_that_are_not_there_are_bounded_work(tmp_path: Path, missing: int) -> None:
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        pair = _put_pairs(client._repository, 40, missing)
    with place.open(in_memory=True) as client:
        chunk = _id(client._repository, pair[1])
        assert client._repository.depth(chunk) is None
        with pytest.raises(ChunkMissing):
            client._repository.read_chunk(chunk)


def test_a_depth_that_is_known_counts_for_what_stands_above_it(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        repository = client._repository
        data = words("old", 5_000)
        frames, versions = [pack.make_frame([(_id(repository, data), data)], 3)], [data]
        for number in range(layout.MAX_DEPTH + 1):
            versions.append(_changed(versions[-1], number, 1))
            frames.append(_delta(repository, versions[-1], versions[-2]))
        _put_pack(repository, frames)
    with place.open(in_memory=True) as client:
        repository = client._repository
        assert [repository.depth(_id(repository, data)) for data in versions] == [*range(layout.MAX_DEPTH + 1), None]


# Finding bases ----------------------------------------------------------------------------------------------


def _piece(number: int, length: int = 100) -> Piece:
    return Piece(ChunkId(number.to_bytes(32, "big")), length)


def test_bases_stand_at_the_same_place() -> None:
    ancestor = Ancestor(iter([_piece(1), _piece(2), Piece(HOLE, 100), _piece(3)]))
    assert ancestor.bases(0, 100) == [_piece(1).chunk]
    assert ancestor.bases(50, 100) == [_piece(1).chunk, _piece(2).chunk]
    assert ancestor.bases(200, 100) == []
    assert ancestor.bases(300, 500) == [_piece(3).chunk]
    assert ancestor.bases(400, 100) == []


def test_bases_follow_what_shifts() -> None:
    ancestor = Ancestor(_piece(n) for n in range(1, 50))
    ancestor.met(_piece(900).chunk, 0)
    ancestor.met(_piece(10).chunk, 1_000)  # it was at 900
    assert ancestor.bases(1_100, 100) == [_piece(11).chunk]
    ancestor.met(_piece(5).chunk, 1_200)  # something was taken out and put in elsewhere
    assert ancestor.bases(1_300, 100) == [_piece(6).chunk]


def test_bases_are_few_and_the_window_is_bounded() -> None:
    ancestor = Ancestor(_piece(n, 1_000) for n in range(1, 300_000))
    assert len(ancestor.bases(0, 50_000)) == MOST_BASES
    for offset in range(0, 299_000_000, 1_000_000):
        expected = _piece(offset // 1_000 + 1, 1_000).chunk
        assert ancestor.bases(offset, 1_000) == [expected]
        assert len(ancestor._held) < 200_000
        assert len(ancestor._held) == len(ancestor._starts) >= len(ancestor._places)


def test_an_unreadable_previous_version_has_no_bases() -> None:
    def broken() -> Iterator[Piece]:
        yield _piece(1)
        raise Damaged("it", "is gone")

    ancestor = Ancestor(broken())
    assert ancestor.bases(0, 100) == [_piece(1).chunk]
    assert ancestor.bases(100, 100) == []


# End to end -------------------------------------------------------------------------------------------------


def test_a_database_that_changes_daily_costs_what_is_new(tmp_path: Path) -> None:
    import sqlite3

    rng = random.Random(3)
    place = Place(tmp_path).init()
    path = tmp_path / "source" / "chat.db"
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, key TEXT UNIQUE, body TEXT)")

    vocabulary = words(1, 20_000).decode().split()

    def write(count: int) -> None:
        rows = [(rng.randbytes(16).hex(), " ".join(rng.choices(vocabulary, k=12))) for _ in range(count)]
        database.executemany("INSERT INTO message (key, body) VALUES (?, ?)", rows)
        database.commit()

    write(15_000)
    days: list[tuple[str, bytes]] = []
    costs = []
    for _ in range(5):
        result = place.backup([path.parent])
        assert result.snapshot is not None
        days.append((result.snapshot.hex(), path.read_bytes()))
        costs.append(result.stored_bytes)
        write(20)
    database.close()
    assert max(costs[1:]) < costs[0] / 20
    for number, (snapshot, content) in enumerate(days):
        place.restore(tmp_path / f"out{number}", path.parent, snapshot)
        assert (tmp_path / f"out{number}" / "chat.db").read_bytes() == content


def test_a_daily_file_with_a_new_name_stands_on_that_of_the_day_before(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    folder = tmp_path / "source"
    folder.mkdir()
    text = words("dump", 400_000)
    (folder / "sms-20260101.xml").write_bytes(text)
    place.backup([folder])
    (folder / "sms-20260102.xml").write_bytes(_changed(text, 1, edits=8))
    assert place.backup([folder]).stored_bytes < 12_000
    place.restore(tmp_path / "out", folder)
    assert (tmp_path / "out" / "sms-20260102.xml").read_bytes() == (folder / "sms-20260102.xml").read_bytes()


def test_the_previous_version_is_read_with_the_right_key_of_every_computer(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(words("a", 300_000))
    place.backup([folder])
    (folder / "a").write_bytes(_changed(words("a", 300_000), 1))
    other = place.fresh("other")
    other.backup([folder])
    with other.open(in_memory=True) as client:
        assert [row for _, row in _frames(client._repository) if row.delta]
        client.restore(client.snapshot("latest"), keepstone.RestoreOptions(target=os.fsencode(tmp_path / "out")))
    assert (tmp_path / "out" / str(folder).lstrip("/") / "a").read_bytes() == (folder / "a").read_bytes()
