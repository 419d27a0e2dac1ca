"""The explanation of space adds up to the byte, and agrees with one that is slow and obvious."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections import defaultdict
from pathlib import Path

import pytest

import keepstone
from containers import writers
from keepstone import events
from keepstone.errors import ChunkMissing, StoreFull
from keepstone.history import expression, recipe, tree
from keepstone.history.container_keys import container_keys
from keepstone.history.snapshot import Snapshot
from keepstone.ids import ChunkId
from keepstone.repo import pack
from keepstone.repo.directories import FrameRow, frame_lengths
from keepstone.repo.repository import Repository
from keepstone.work import explain_table
from keepstone.work.explain import PART_NAMES, Explanation
from keepstone.work.explain_table import shares
from keepstone.work.kinds import CONTAINERS, TYPES, container_of, type_of
from support import Place, noise, words

NUMBERS = (
    "files", "bytes", "content", "holes", "chunks", "plain", "stored", "delta_plain", "delta_stored",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "source").mkdir()
    return Place(tmp_path).init()


def _histories(place: Place) -> None:
    """Make three snapshots: of every type and container some, files that change, move, repeat and have holes."""
    source = place.base / "source"
    rng = random.Random(11)
    for folder in ("same/deep", "moved", "chats"):
        (source / folder).mkdir(parents=True)
    (source / "photo.jpg").write_bytes(noise("photo", 400_000))
    (source / "copy.png").write_bytes(noise("photo", 400_000))
    (source / "same" / "deep" / "letter.txt").write_bytes(words("letter", 60_000))
    (source / "same" / "clip.mp4").write_bytes(noise("clip", 50_000))
    (source / "moved" / "song.opus").write_bytes(noise("song", 30_000))
    (source / "empty").write_bytes(b"")
    os.symlink("photo.jpg", source / "link")
    os.link(source / "photo.jpg", source / "hard.jpg")
    with (source / "image").open("wb") as sparse:
        sparse.truncate(2_000_000)
        sparse.seek(1_000_000)
        sparse.write(noise("sparse", 20_000))
    (source / "docs.zip").write_bytes(writers.zip_of({f"{n}.txt": words(n, 30_000) for n in range(5)}))
    (source / "letters.txt.gz").write_bytes(writers.gzip_of(words("gz", 80_000)))
    (source / "old.tar").write_bytes(writers.tar_of({f"{n}.txt": words(n, 30_000) for n in range(5)}))
    (source / "chats" / "sms-2024.xml").write_bytes(writers.sms_xml(rng, [noise("mms", 40_000)]))
    database = words("chat", 900_000)
    (source / "chats" / "msgstore.db.crypt15").write_bytes(writers.crypt15(database, rng))
    (source / "many.txt").write_bytes(words("many", 3_000_000))
    with place.open() as repository:
        repository.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
    place.backup([source], messages=False)
    database = database[:400_000] + b"one more message" + database[400_000:]
    (source / "chats" / "msgstore.db.crypt15").write_bytes(writers.crypt15(database, rng))
    (source / "moved").rename(source / "elsewhere")
    (source / "photo.jpg").unlink()
    (source / "new.pdf").write_bytes(noise("pdf", 70_000))
    place.backup([source], messages=False)
    (source / "docs.zip").unlink()
    (source / "new.pdf").write_bytes(noise("other", 10_000))
    (source / "elsewhere").rename(source / "moved")
    place.backup([source], messages=False)


class _Oracle:
    """Reads every file of every snapshot, holds all chunks in dictionaries, and counts."""

    def __init__(self, repository: Repository, chosen: list[Snapshot]) -> None:
        self.repository, self.chosen = repository, chosen
        self.kept: dict[bytes, tuple[int, int, bool]] = {}
        """Plain bytes, stored bytes, and whether in a delta frame, by chunk."""
        for found, size in repository.ready_index().packs():
            directory, _ = repository.directory(found, size)
            for row in directory.frames:
                lengths = frame_lengths(row)
                stored = explain_table.shares(row.stored - row.tag, memoryview(row.lengths).cast("I"))
                for at, (length, share) in enumerate(zip(lengths, stored, strict=True)):
                    self.kept[row.ids[at * 32 : at * 32 + 32]] = (length, share, row.delta)
        self.needed: dict[bytes, list[int]] = defaultdict(list)
        self.by: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(NUMBERS, 0))
        for number, snapshot in enumerate(chosen):
            self._walk(number, snapshot, snapshot.body.root)

    def read_chunk(self, chunk: ChunkId) -> bytes:
        self.meta.append(chunk)
        return self.repository.read_chunk(chunk)

    def _need(self, number: int, chunk: bytes) -> bool:
        holders = self.needed[chunk]
        if number not in holders:
            holders.append(number)
            return len(holders) == 1
        return False

    def _walk(self, number: int, snapshot: Snapshot, content: bytes) -> None:
        self.meta: list[bytes] = []
        entries = list(tree.read_tree(content, self, snapshot.name))
        for chunk in self.meta:
            self._need(number, chunk)
        for entry in entries:
            if entry.kind == tree.FOLDER:
                self._walk(number, snapshot, entry.content)
            elif entry.kind == tree.FILE:
                self._file(number, snapshot, entry)

    def _file(self, number: int, snapshot: Snapshot, entry: tree.Entry) -> None:
        keys = container_keys(self.repository.log)
        container = "none"
        found: list[recipe.Piece] = []
        if entry.content:
            self.meta = []
            container = container_of(entry.name, expression.outermost(entry.content, self, "it"))
            found = list(expression.all_pieces(entry.content, self, "it"))
            size = sum(len(data) for data in expression.read(entry.content, self.repository, "it", keys))
            assert size == entry.size
            for chunk in self.meta:
                self._need(number, chunk)
        sums = self.by[type_of(entry.name), container]
        sums["files"] += 1
        sums["bytes"] += entry.size
        for piece in found:
            if piece.is_hole:
                sums["holes"] += piece.length
                continue
            sums["content"] += piece.length
            if self._need(number, piece.chunk):
                plain, stored, delta = self.kept[piece.chunk]
                sums["chunks"] += 1
                sums["plain"] += plain
                sums["stored"] += stored
                sums["delta_plain"] += plain * delta
                sums["delta_stored"] += stored * delta

    def grouped(self, axis: int) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(NUMBERS, 0))
        for key, sums in self.by.items():
            for name, value in sums.items():
                found[key[axis]][name] += value
        return dict(found)

    def of_snapshots(self) -> list[tuple[int, int]]:
        """Return new and unique bytes of each snapshot."""
        new, unique = [0] * len(self.chosen), [0] * len(self.chosen)
        for chunk, holders in self.needed.items():
            new[holders[0]] += self.kept[chunk][1]
            if len(holders) == 1:
                unique[holders[0]] += self.kept[chunk][1]
        return list(zip(new, unique, strict=True))


def _adds_up(explained: Explanation, size: int) -> None:
    """Assert what must hold for any repository."""
    total, parts = explained.total, explained.parts
    assert parts.total == explained.stats.stored_size == size
    assert all(getattr(parts, name) >= 0 for name in PART_NAMES)
    assert total.bytes + total.unwrapped - total.holes - total.dedup_saved == total.plain
    assert total.plain - total.delta_saved - total.compression_saved == total.stored == parts.content
    for shared in (explained.types, explained.containers):
        for name in NUMBERS:
            assert sum(getattr(share, name) for share in shared) == getattr(total, name), name
    assert sum(one.new for one in explained.snapshots) == parts.content + parts.folders + parts.recipes + parts.messages
    assert all(0 <= one.unique <= one.new for one in explained.snapshots)


def _explained(place: Place, chosen: tuple[int, ...] = ()) -> tuple[Explanation, _Oracle]:
    with place.open() as client:
        known = client.snapshots()
        explained = client.explain([known[number] for number in chosen])
        return explained, _Oracle(client._repository, [known[number] for number in chosen] or known)


def _size(place: Place) -> int:
    return sum(size for _, size in place.store.list(""))


@pytest.mark.parametrize("chosen", [(), (0,), (1,), (0, 2)])
def test_all_numbers_are_those_of_the_oracle(place: Place, chosen: tuple[int, ...]) -> None:
    _histories(place)
    explained, oracle = _explained(place, chosen)
    _adds_up(explained, _size(place))
    for axis, found in ((0, explained.types), (1, explained.containers)):
        assert {s.name: {n: getattr(s, n) for n in NUMBERS} for s in found} == oracle.grouped(axis)
    assert [(one.new, one.unique) for one in explained.snapshots] == oracle.of_snapshots()
    counts = [one.snapshot.body.counts for one in explained.snapshots]
    assert [one.bytes for one in explained.snapshots] == [c.bytes for c in counts]
    assert {s.name for s in explained.containers} >= {"none", "crypt15", "gzip", "tar", "zip", "sms-xml"}
    assert (explained.parts.unneeded > 0) == bool(chosen)
    assert explained.total.holes > 0


def test_a_delta_is_counted_and_its_saving_estimated(place: Place) -> None:
    _histories(place)
    explained, _ = _explained(place)
    chats = next(share for share in explained.types if share.name == "chat databases")
    assert chats.delta_plain > 10 * chats.delta_stored > 0
    assert chats.delta_stored < chats.delta_alone < chats.delta_plain


@pytest.mark.parametrize("seed", range(6))
def test_any_history_adds_up(place: Place, seed: int) -> None:
    rng = random.Random(seed)
    source = place.base / "source"
    for _ in range(rng.randint(1, 5)):
        for _ in range(rng.randint(0, 12)):
            folder = source / rng.choice("ab") / rng.choice("ab")
            folder.mkdir(parents=True, exist_ok=True)
            make = rng.choice((noise, words))
            (folder / rng.choice(["a.jpg", "b.txt", "c", "d.db", "msgstore.db"])).write_bytes(
                make(rng.randint(0, 5), rng.choice((0, 1, 500, 20_000, 300_000)))
            )
        place.backup([source])
    explained, oracle = _explained(place)
    _adds_up(explained, _size(place))
    assert {s.name: {n: getattr(s, n) for n in NUMBERS} for s in explained.types} == oracle.grouped(0)
    assert [(one.new, one.unique) for one in explained.snapshots] == oracle.of_snapshots()


def test_an_empty_repository_is_explained(place: Place) -> None:
    with place.open() as client:
        explained = client.explain()
    _adds_up(explained, _size(place))
    assert explained.types == explained.containers == explained.snapshots == []


def test_the_totals_are_those_of_stats(place: Place) -> None:
    _histories(place)
    with place.open(in_memory=True) as client:
        assert client.explain().stats == client.stats()


def test_a_snapshot_that_repeats_another_is_not_walked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    source = place.base / "source"
    for name in "abcdef":
        (source / name).mkdir()
        (source / name / "file").write_bytes(noise(name, 1000))
    for _ in range(8):
        place.backup([source])
    looks = 0
    number = explain_table.Columns.number

    def counting(*arguments: object) -> int:
        nonlocal looks
        looks += 1
        return number(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(explain_table.Columns, "number", counting)
    with place.open() as client:
        client.explain()
    first, looks = looks, 0
    for _ in range(8):
        place.backup([source])
    with place.open() as client:
        client.explain()
    assert looks == first


def test_progress_ends_with_all_files(place: Place) -> None:
    _histories(place)
    seen: list[events.Event] = []
    with place.open() as client:
        client.explain(listener=seen.append)
    last = seen[-1]
    assert isinstance(last, keepstone.Progress)
    assert last.bytes_done == last.bytes_total


def test_a_missing_pack_is_named_and_nothing_is_left(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _histories(place)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(explain_table.tempfile, "tempdir", str(scratch))
    for name, _ in list(place.store.list("packs"))[:1]:
        place.store.delete(name)
    with place.open() as client, pytest.raises(ChunkMissing):
        client.explain()
    assert list(scratch.iterdir()) == []


def test_a_scratch_folder_that_cannot_be_written_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_table.tempfile, "tempdir", "/nowhere")
    with place.open() as client, pytest.raises(StoreFull):
        client.explain()


def test_shares_of_a_frame_add_up() -> None:
    rng = random.Random(5)
    for _ in range(200):
        lengths = memoryview(bytearray(4 * rng.randint(1, 40))).cast("I")
        for at in range(len(lengths)):
            lengths[at] = rng.choice((0, 1, 7, 4096, 1 << 20))
        payload = rng.randint(0, 1 << 21)
        found = shares(payload, lengths)
        assert len(found) == len(lengths)
        assert sum(found) == payload
        assert min(found) >= 0


def test_a_chunk_takes_no_memory(tmp_path: Path) -> None:
    columns = explain_table.Columns(tmp_path)
    row = FrameRow(pack.ZSTD, 5016, bytes(32 * 400), (100).to_bytes(4, "little") * 400, b"")
    tracemalloc.start()
    try:
        for number in range(0, 200, 2):
            columns.add_pack(number, [row] * 2)
        columns.map()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert columns.count == 80_000
    assert columns.payload == sum(columns.stored[:-1]) == 200 * 5000
    assert peak < 300_000
    columns.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"IMG-20240101-WA0001.jpg", "photos"),
        (b"PTT-1.OPUS", "audio"),
        (b"msgstore.db.crypt15", "chat databases"),
        (b"msgstore-2024-05-01.1.db.crypt14", "chat databases"),
        (b"signal-2024-05-01-02-03-04.backup", "chat databases"),
        (b"sms-20240501.xml", "chat exports"),
        (b"WhatsApp Chat with Ana.txt", "chat exports"),
        (b"letter.txt.gz", "text and code"),
        (b"all.tar.gz", "archives"),
        (b"thing.gz", "archives"),
        (b"notes.sqlite", "other databases"),
        (b".jpg", "photos"),
        (b"README", "other"),
        (b"\xff\xfe", "other"),
    ],
)
def test_a_name_tells_the_type(name: bytes, kind: str) -> None:
    assert type_of(name) == kind


def test_the_words_are_unique() -> None:
    assert len(set(TYPES)) == len(TYPES)
    assert len(set(CONTAINERS)) == len(CONTAINERS)
