"""Readers of messages see a snapshot's files as they would be restored, and encrypted ones as what is in them."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers import writers
from keepstone.containers import Keys
from keepstone.history import tree
from keepstone.sources.folders import ZipFolder, _Member
from keepstone.sources.reading import open_database
from keepstone.work.snapshot_folder import SnapshotFolder
from support import Place, noise, report, words

SEED = 5


def folder_of(place: Place, source: Path) -> SnapshotFolder:
    client = place.open(in_memory=True)
    repository, snapshot = client._repository, client.snapshot("latest")
    entry = tree.find(snapshot.body.root, tree.parts_of(os.fsencode(source)), repository, "it")
    assert entry is not None
    return SnapshotFolder(repository, entry.content, "it", Keys())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[SnapshotFolder, dict[str, bytes]]:
    base = tmp_path_factory.mktemp("place")
    source = base / "source"
    files = {
        "empty": b"",
        "small": b"few",
        "below/text": words(1, 400_000),
        "below/noise": noise(2, 3_000_000),
        "packed.gz": writers.gzip_of(words(3, 300_000)),
        "dump.xml": writers.sms_xml(random.Random(SEED), [noise(number, 20_000 + number) for number in range(9)]),
        "many.zip": writers.zip_of({f"{number}.txt": words(number, 50_000 * number) for number in range(8)}),
    }
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    with (source / "sparse").open("wb") as file:
        file.truncate(5_000_000)
        file.seek(2_000_000)
        file.write(b"in the middle")
    files["sparse"] = (source / "sparse").read_bytes()
    place = Place(base).init()
    place.backup([source])
    return folder_of(place, source), files


def test_every_file_is_there_with_its_bytes(stored: tuple[SnapshotFolder, dict[str, bytes]]) -> None:
    folder, files = stored
    assert set(files) <= set(folder.names())
    for name, data in files.items():
        assert folder.size(name) == len(data)
        with folder.open(name) as file:
            assert file.read() == data


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_part_can_be_read_in_any_order(
    stored: tuple[SnapshotFolder, dict[str, bytes]], data: st.DataObject
) -> None:
    folder, files = stored
    name = data.draw(st.sampled_from(sorted(files)))
    whole = files[name]
    with folder.open(name) as file:
        for _ in range(5):
            at = data.draw(st.integers(0, len(whole) + 10))
            length = data.draw(st.integers(0, 200_000))
            assert file.seek(at) == at
            assert file.read(length) == whole[at : at + length]


def test_parts_of_an_archive_are_not_made_again_and_again(stored: tuple[SnapshotFolder, dict[str, bytes]]) -> None:
    """Members are read in any order; each time only the member is made, not all before it."""
    folder, _ = stored
    archive = ZipFolder(folder.open("many.zip"), "many.zip")
    names = list(archive.names())
    with archive.open("7.txt") as file:
        assert not isinstance(file, _Member), "it is read as it is kept, and compressed for nobody"
        assert file.seek(300_000) == 300_000
        assert file.read(100) == words(7, 350_000)[300_000:300_100]
    for name in [*names, *reversed(names)]:
        with archive.open(name) as file:
            assert file.read() == words(int(name[0]), 50_000 * int(name[0]))


def test_names_that_are_not_there_are_not_found(stored: tuple[SnapshotFolder, dict[str, bytes]]) -> None:
    for name in ("none", "../source/small", "below", "packed.db"):
        with pytest.raises(FileNotFoundError):
            stored[0].open(name)


def database(rng: random.Random) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE message (x)")
        connection.executemany("INSERT INTO message VALUES (?)", [(rng.randbytes(50).hex(),) for _ in range(3000)])
        connection.commit()
        return connection.serialize()


@pytest.mark.parametrize("key", [True, False])
def test_an_encrypted_database_is_read_as_what_is_in_it(tmp_path: Path, key: bool) -> None:
    """Its key is needed when it is backed up, and never again."""
    report(f"seed {SEED}")
    rng = random.Random(SEED)
    plain = database(rng)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "msgstore.db.crypt15").write_bytes(writers.crypt15(writers.zlib_of(plain), rng))
    place = Place(tmp_path).init()
    if key:
        with place.open() as client:
            client.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
    place.backup([tmp_path / "source"])
    folder = folder_of(place, tmp_path / "source")
    assert ("msgstore.db" in folder.names()) == key
    if key:
        assert folder.size("msgstore.db") == len(plain)
        with open_database("msgstore.db", folder) as connection:
            assert connection.execute("SELECT count(*) FROM message").fetchone() == (3000,)


def test_neither_an_archive_of_one_file_nor_a_text_with_one_photo_is_what_is_in_it(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "chat.zip.gz").write_bytes(writers.zip_of({"chat.txt": words(1, 50_000)}))
    (tmp_path / "source" / "sms.xml.gz").write_bytes(writers.sms_xml(rng, [noise(1, 50_000)]))
    place = Place(tmp_path).init()
    place.backup([tmp_path / "source"])
    assert folder_of(place, tmp_path / "source").names() == ["chat.zip.gz", "sms.xml.gz"]
