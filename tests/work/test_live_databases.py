"""A database that is in use is stored as one consistent image, its log included."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

import keepstone
from keepstone import events
from keepstone.errors import SourceError
from support import Place, age


def test_a_live_database_is_stored_as_one_consistent_image(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "chat.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, text TEXT)")
    for number in range(200):
        writer.execute("INSERT INTO message VALUES (?, ?)", (number, f"message {number}"))
    writer.execute("BEGIN")
    writer.execute("INSERT INTO message VALUES (999, 'not committed')")
    before = {p.name: p.read_bytes() for p in source.iterdir() if not p.name.endswith("-shm")}
    place = Place(tmp_path).init()
    notes: list[events.Event] = []
    with place.open() as repository:
        result = repository.backup(keepstone.BackupOptions(sources=[os.fsencode(source)]), notes.append)
    assert {p.name: p.read_bytes() for p in source.iterdir() if not p.name.endswith("-shm")} == before
    assert result.databases == [os.fsencode(path)]
    place.restore(tmp_path / "out", source)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["chat.db"]
    with sqlite3.connect(tmp_path / "out" / "chat.db") as restored:
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert restored.execute("SELECT count(*) FROM message").fetchone() == (200,)
    writer.execute("ROLLBACK")
    writer.close()
    assert not list((tmp_path / "state").rglob(".keepstone-image*")), "nothing is left behind"


def test_a_database_under_constant_writing_is_consistent(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "busy.db"
    with sqlite3.connect(path) as setup:
        setup.execute("PRAGMA journal_mode=WAL")
        setup.execute("CREATE TABLE pair(a INTEGER, b INTEGER)")
        setup.executemany("INSERT INTO pair VALUES (?, ?)", [(0, 0)] * 2_000)
    setup.close()
    stop = threading.Event()

    def write() -> None:
        writer = sqlite3.connect(path, timeout=30)
        number = 0
        while not stop.is_set():
            number += 1
            with writer:
                writer.execute("UPDATE pair SET a = ?", (number,))
                writer.execute("UPDATE pair SET b = ?", (number,))
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        place = Place(tmp_path).init()
        for run in range(4):
            place.backup([source])
            place.restore(tmp_path / f"out{run}", source)
            with sqlite3.connect(tmp_path / f"out{run}" / "busy.db") as restored:
                assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert restored.execute("SELECT count(DISTINCT a), sum(a - b) FROM pair").fetchone() == (1, 0)
    finally:
        stop.set()
        thread.join()


def _database(path: Path) -> sqlite3.Connection:
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, text TEXT)")
    writer.execute("INSERT INTO message VALUES (1, 'first')")
    return writer


def _rows(path: Path) -> int:
    with sqlite3.connect(path) as restored:
        return int(restored.execute("SELECT count(*) FROM message").fetchone()[0])


def test_a_row_that_is_only_in_the_log_is_stored_though_the_database_file_did_not_change(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    _database(source / "chat.db").close()
    age(source)
    place = Place(tmp_path).init()
    place.backup([source])
    place.backup([source])
    writer = sqlite3.connect(source / "chat.db", isolation_level=None)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO message VALUES (2, 'second')")
    result = place.backup([source])
    assert result.databases == [os.fsencode(source / "chat.db")]
    place.restore(tmp_path / "out", source)
    assert _rows(tmp_path / "out" / "chat.db") == 2
    writer.close()


def test_a_live_database_that_is_named_itself_is_stored_as_an_image(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    writer = _database(tmp_path / "source" / "chat.db")
    place = Place(tmp_path).init()
    result = place.backup([tmp_path / "source" / "chat.db"])
    assert result.databases == [os.fsencode(tmp_path / "source" / "chat.db")]
    place.restore(tmp_path / "out")
    assert _rows(tmp_path / "out" / str(tmp_path / "source" / "chat.db").lstrip("/")) == 1
    writer.close()


def test_a_database_without_an_image_is_stored_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and nothing of it is left out."""
    source = tmp_path / "source"
    source.mkdir()
    writer = _database(source / "chat.db")

    def failing(*_: object) -> object:
        raise SourceError("locked.")

    monkeypatch.setattr("keepstone.sources.sqlite.open_image", failing)
    place = Place(tmp_path).init()
    result = place.backup([source])
    assert result.databases == []
    assert result.inexact == [os.fsencode(source / "chat.db")]
    place.restore(tmp_path / "out", source)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"chat.db", "chat.db-wal", "chat.db-shm"}
    writer.close()
