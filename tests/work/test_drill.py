"""A drill finds what a restore would get wrong, and its receipt cannot be forged."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import keepstone
from keepstone.errors import UsageError
from keepstone.history.tree import FILE, Entry
from keepstone.store.memory import MemoryStore
from keepstone.work import drill
from support import Place, noise, words

SEED = 3


def fill(source: Path) -> None:
    for name, data in {
        "chat.txt": words(1, 30_000), "photo.jpg": noise(2, 200_000), "below/notes": words(3, 3_000), "empty": b"",
    }.items():  # fmt: skip
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    with closing(sqlite3.connect(source / "msgstore.db")) as database:
        database.execute("CREATE TABLE message (x)")
        database.executemany("INSERT INTO message VALUES (?)", [(str(n) * 20,) for n in range(2_000)])
        database.commit()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    fill(tmp_path / "source")
    place = Place(tmp_path).init()
    place.backup([tmp_path / "source"])
    return place


def run(place: Place, **options: object) -> keepstone.DrillResult:
    with place.open(in_memory=True) as client:
        return client.drill(keepstone.DrillOptions(scratch=str(place.base), seed=SEED, **options))  # type: ignore[arg-type]


def test_a_drill_restores_compares_and_leaves_nothing(place: Place) -> None:
    before = sorted(os.listdir(place.base))
    result = run(place)
    assert (result.passed, result.files, result.originals, result.databases) == (True, 5, 5, 1)
    assert sorted(os.listdir(place.base)) == before


def test_a_full_drill_restores_everything_once(place: Place) -> None:
    (place.base / "source" / "new").write_bytes(words(9, 500))
    place.backup([place.base / "source"])
    place.backup([place.base / "source"])
    result = run(place, full=True)
    assert len(result.snapshots) == 3
    # The empty file is looked at in each snapshot: there is nothing to know it by.
    assert (result.passed, result.files) == (True, 5 + 1 + 2)


@pytest.mark.parametrize("name", ["photo.jpg", "below/notes"])
def test_an_original_that_differs_without_having_changed_is_found(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that returns other bytes than it was given; its times do not tell."""
    path = place.base / "source" / name
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(drill, "_stands", lambda path, entry: True)
    result = run(place)
    assert [finding.path for finding in result.findings] == [os.fsencode(path)]
    assert not json.loads(result.receipt)["passed"]


def test_a_changed_original_is_not_compared(place: Place) -> None:
    (place.base / "source" / "photo.jpg").write_bytes(b"another")
    result = run(place)
    assert (result.passed, result.originals) == (True, 4)


def test_a_damaged_pack_is_found_and_the_rest_goes_on(place: Place) -> None:
    store = place.store
    assert isinstance(store, MemoryStore)
    name = max((n for n in store.objects if n.startswith("packs/")), key=lambda n: len(store.objects[n]))
    data = bytearray(store.objects[name])
    data[len(data) // 2] ^= 1
    store.objects[name] = bytes(data)
    result = run(place)
    assert not result.passed
    assert result.files == 5
    assert len(result.findings) < 5


def test_a_database_that_was_damaged_already_is_no_fault_of_the_restore(place: Place) -> None:
    path = place.base / "source" / "msgstore.db"
    data = bytearray(path.read_bytes())
    data[5_000:9_000] = noise(5, 4_000)
    path.write_bytes(data)
    place.backup([place.base / "source"])
    result = run(place, snapshots=1)
    assert (result.passed, result.databases) == (True, 0)


def test_the_sample_has_newest_conversations_and_media_and_others() -> None:
    rng = random.Random(SEED)
    files = [(b"/%d.db" % n, Entry(name=b"%d.db" % n, kind=FILE, mtime_ns=n)) for n in range(500)]
    files += [(b"/%d.jpg" % n, Entry(name=b"%d.jpg" % n, kind=FILE)) for n in range(500)]
    files += [(b"/%d.c" % n, Entry(name=b"%d.c" % n, kind=FILE)) for n in range(500)]
    rng.shuffle(files)
    chosen = drill._sample(iter(files), 30, rng)
    names = [path for path, _ in chosen]
    assert len(set(names)) == 30
    assert set(names[:10]) == {b"/%d.db" % n for n in range(490, 500)}
    assert all(name.endswith(b".jpg") for name in names[10:20])
    assert any(name.endswith(b".c") for name in names[20:])
    assert len(drill._sample(iter(files[:7]), 30, rng)) == 7


@pytest.mark.parametrize("change", ["files", "passed", "signature", "public_key", "none of it"])
def test_a_receipt_that_was_changed_is_refused(place: Place, change: str) -> None:
    said = json.loads(run(place).receipt)
    if change in ("signature", "public_key"):
        said[change] = ("00" if said[change][:2] != "00" else "01") + said[change][2:]
    elif change in said:
        said[change] = not said[change] if change == "passed" else said[change] + 1
    with place.open() as client:
        if change == "none of it":
            assert client.check_drill_receipt(json.dumps(said, indent=7))
        else:
            with pytest.raises(UsageError):
                client.check_drill_receipt(json.dumps(said))


@pytest.mark.parametrize("text", ["", "no", "[]", "{}", "null", '{"signature": 1}', "[" * 100_000])
def test_what_is_no_receipt_is_refused(place: Place, text: str) -> None:
    with place.open() as client, pytest.raises(UsageError):
        client.check_drill_receipt(text)


def test_a_receipt_of_another_repository_is_refused(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other").init()
    other.backup([place.base / "source"])
    receipt = run(other).receipt
    with place.open() as client, pytest.raises(UsageError):
        client.check_drill_receipt(receipt)


def test_without_a_snapshot_there_is_nothing_to_try(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(Place(tmp_path).init())
