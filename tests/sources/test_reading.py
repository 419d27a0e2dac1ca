"""Somebody's database can be read, and nothing else can happen."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keepstone.sources.reading import MemoryFolder, UnreadableSource, columns, open_database, tables


def database(*statements: str) -> MemoryFolder:
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    return MemoryFolder({"db": connection.serialize()})


def test_tables_and_columns_are_told_and_views_are_not() -> None:
    folder = database("CREATE TABLE a (x, y)", "CREATE VIEW v AS SELECT x FROM a", "INSERT INTO a VALUES (1, 'ö')")
    with open_database("db", folder) as connection:
        assert tables(connection) == {"a"}
        assert columns(connection, "a") == {"x", "y"}
        assert columns(connection, "v") == columns(connection, "none") == frozenset()
        assert connection.execute("SELECT x, upper(y) FROM a").fetchall() == [(1, "ö")]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM v",
        "SELECT load_extension('x')",
        "ATTACH '/tmp/x' AS other",
        "PRAGMA journal_mode=WAL",
        "CREATE TEMP TABLE t (x)",
        "SELECT fts3_tokenizer('simple')",
    ],
)
def test_what_is_not_reading_a_table_is_denied(statement: str) -> None:
    folder = database("CREATE TABLE a (x)", "CREATE VIEW v AS SELECT x FROM a")
    with open_database("db", folder) as connection, pytest.raises(sqlite3.DatabaseError):
        connection.execute(statement).fetchall()


def test_an_endless_query_ends() -> None:
    endless = "SELECT count(*) FROM a, a AS b, a AS c, a AS d WHERE a.x + b.x + c.x + d.x < 0"
    folder = database("CREATE TABLE a (x)", *["INSERT INTO a VALUES (1)"] * 1000)
    with open_database("db", folder, seconds=0.0) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute(endless).fetchall()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_told_as_such(content: bytes) -> None:
    with pytest.raises(UnreadableSource), open_database("db", MemoryFolder({"db": content})):
        pass


def test_what_only_the_log_holds_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE a (x)")
        connection.execute("INSERT INTO a VALUES (7)")
        files = {name: (tmp_path / name).read_bytes() for name in ("db", "db-wal")}
    with open_database("db", MemoryFolder(files)) as copy:
        assert copy.execute("SELECT x FROM a").fetchall() == [(7,)]


def test_a_copy_has_no_name_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFolder, "scratch", str(tmp_path))
    with open_database("db", database("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)")) as connection:
        assert not list(tmp_path.iterdir())
        assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]
