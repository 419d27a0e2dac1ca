"""A live database is stored as one consistent image, and is left as it is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from keepstone.errors import SourceError
from keepstone.sources import sqlite
from keepstone.sources.files import FileReader

HOLDER = """
import os, sqlite3, sys
database = sqlite3.connect(os.fsencode(sys.argv[1]), isolation_level=None, timeout=60)
def do(*statements):
    for statement in statements:
        database.execute(statement).fetchall()
def rows(first, last):
    database.executemany("INSERT INTO message VALUES (?, ?)", [(n, f"message {n} " * 20) for n in range(first, last)])
def move_on():
    # Each transaction moves a row to the next number: there are always 100, without a gap.
    n = 0
    while True:
        do("BEGIN IMMEDIATE", f"DELETE FROM message WHERE id = {n}")
        rows(n + 100, n + 101)
        do("COMMIT")
        n += 1
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Holder:
    """Another process that has the database open: locks of one process do not hold against itself."""

    def __init__(self, path: bytes) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, line: str) -> None:
        to, answers = self._pipes()
        to.write(line + "\n")
        to.flush()
        assert answers.readline() == "done\n"

    def start(self, line: str) -> None:
        """Have something done without waiting for it."""
        to, _ = self._pipes()
        to.write(line + "\n")
        to.flush()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in self._pipes():
            with closing(pipe):
                pass


@contextmanager
def held(path: Path | bytes, mode: str = "WAL") -> Iterator[Holder]:
    """Give a process that holds a database of 100 committed rows; in WAL mode none of them is in the file itself."""
    holder = Holder(os.fsencode(path))
    try:
        holder.do(f"do('PRAGMA journal_mode={mode}', 'PRAGMA wal_autocheckpoint=0')")
        holder.do("do('CREATE TABLE message (id INTEGER PRIMARY KEY, text TEXT)')")
        if mode == "WAL":
            holder.do("do('PRAGMA wal_checkpoint(TRUNCATE)')")
        holder.do("do('BEGIN'); rows(0, 100); do('COMMIT')")
        yield holder
    finally:
        holder.kill()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    made.mkdir()
    return made


def content_of(reader: FileReader) -> bytes:
    view = memoryview(bytearray(65536))
    out = bytearray()
    while read := reader.readinto(view):
        out += view[:read]
    assert len(out) == reader.size
    return bytes(out)


def image_rows(path: Path | bytes, scratch: Path, tmp_path: Path) -> list[int]:
    """Return the ids in an image of a database, after SQLite has found it sound; nothing is left behind."""
    with sqlite.open_image(os.fsencode(path), os.fsencode(scratch)) as image:
        assert os.listdir(scratch) == []
        restored = tmp_path / "restored.db"
        restored.write_bytes(content_of(image))
    with closing(sqlite3.connect(restored)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = [row[0] for row in database.execute("SELECT id FROM message ORDER BY id")]
    restored.unlink()
    return rows


def bytes_in(folder: Path, but: str = "-shm") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(but)}


def test_an_image_holds_all_committed_rows_and_none_that_is_not(folder: Path, scratch: Path, tmp_path: Path) -> None:
    path = folder / "chat.db"
    with held(path) as holder:
        holder.do("do('BEGIN'); rows(100, 5000)")
        assert sqlite.needs_image(os.fsencode(path))
        assert image_rows(path, scratch, tmp_path) == list(range(100))
        holder.do("do('COMMIT')")
        assert image_rows(path, scratch, tmp_path) == list(range(5000))


def test_the_database_and_its_log_stay_as_they_are(folder: Path, scratch: Path, tmp_path: Path) -> None:
    path = folder / "chat.db"
    with held(path):
        before, names = bytes_in(folder), sorted(os.listdir(folder))
        image_rows(path, scratch, tmp_path)
        assert bytes_in(folder) == before
        assert sorted(os.listdir(folder)) == names == ["chat.db", "chat.db-shm", "chat.db-wal"]


def test_writers_go_on_while_an_image_is_open(folder: Path, scratch: Path) -> None:
    path = folder / "chat.db"
    with held(path) as holder, sqlite.open_image(os.fsencode(path), os.fsencode(scratch)):
        holder.do("rows(100, 200)")
        holder.do("do('PRAGMA wal_checkpoint(TRUNCATE)')")
        assert os.path.getsize(f"{path}-wal") == 0


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_images_made_under_a_writer_that_never_pauses_are_of_one_moment(
    folder: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Without a log, such a writer may keep the database locked all the time; that ends as a source error, soon."""
    monkeypatch.setattr(sqlite, "WAIT", 1.0)
    path = folder / "chat.db"
    with held(path, mode) as holder:
        holder.start("move_on()")
        for _ in range(3):
            try:
                rows = image_rows(path, scratch, tmp_path)
            except SourceError:
                assert mode == "DELETE"
            else:
                assert rows == list(range(rows[0], rows[0] + 100))
        assert holder.process.poll() is None
    assert os.listdir(scratch) == []


def test_uncommitted_rows_of_a_rollback_journal_are_left_out(folder: Path, scratch: Path, tmp_path: Path) -> None:
    path = folder / "chat.db"
    with held(path, "DELETE") as holder:
        holder.do("do('BEGIN IMMEDIATE'); rows(100, 200)")
        assert sqlite.needs_image(os.fsencode(path))
        assert image_rows(path, scratch, tmp_path) == list(range(100))


def test_a_database_locked_for_too_long_is_a_source_error(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAIT", 0.1)
    path = folder / "chat.db"
    with held(path, "DELETE") as holder:
        holder.do("do('BEGIN EXCLUSIVE'); rows(100, 200)")
        with pytest.raises(SourceError, match=r"chat\.db could be made \(database is locked\)"):
            sqlite.open_image(os.fsencode(path), os.fsencode(scratch))
    assert os.listdir(scratch) == []


# What a program that died left behind -----------------------------------------------------------------------


@pytest.mark.parametrize("with_shm", [True, False])
def test_a_log_left_by_a_killed_program_counts_and_stays(
    folder: Path, scratch: Path, tmp_path: Path, with_shm: bool
) -> None:
    path = folder / "chat.db"
    with held(path) as holder:
        holder.do("do('BEGIN'); rows(100, 5000)")
    if not with_shm:
        os.unlink(f"{path}-shm")
    before, names = bytes_in(folder), sorted(os.listdir(folder))
    assert image_rows(path, scratch, tmp_path) == list(range(100))
    assert bytes_in(folder) == before
    assert sorted(os.listdir(folder)) == names


def test_a_hot_journal_is_rolled_back_in_the_image_only(folder: Path, scratch: Path, tmp_path: Path) -> None:
    path = folder / "chat.db"
    with held(path, "DELETE") as holder:
        # A tiny cache spills the transaction into the file before it is committed.
        holder.do("do('PRAGMA cache_size=2', 'BEGIN', 'DELETE FROM message WHERE id < 50'); rows(100, 3000)")
    before = bytes_in(folder)
    assert set(before) == {"chat.db", "chat.db-journal"}
    assert sqlite.needs_image(os.fsencode(path))
    assert image_rows(path, scratch, tmp_path) == list(range(100))
    assert bytes_in(folder) == before


def test_a_database_that_changes_while_it_is_copied_is_a_source_error(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "chat.db"
    with held(path):
        pass
    os.unlink(f"{path}-shm")
    copy = sqlite._copy

    def copy_and_touch(reader: FileReader, to: bytes) -> None:
        copy(reader, to)
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(sqlite, "_copy", copy_and_touch)
    with pytest.raises(SourceError, match="changed while it was copied"):
        sqlite.open_image(os.fsencode(path), os.fsencode(scratch))
    assert os.listdir(scratch) == []


# What is no database, and names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"text", sqlite.MAGIC, sqlite.MAGIC + b"\xff" * 4096, sqlite.MAGIC + bytes(84)]
)
def test_what_sqlite_cannot_read_is_a_source_error_and_leaves_nothing(
    folder: Path, scratch: Path, content: bytes
) -> None:
    path = folder / "broken.db"
    path.write_bytes(content)
    (folder / "broken.db-journal").write_bytes(b"x" * 512)
    try:
        sqlite.open_image(os.fsencode(path), os.fsencode(scratch)).close()
    except SourceError:
        pass
    else:
        assert content == b""  # To SQLite an empty file is an empty database.
    assert os.listdir(scratch) == []
    assert path.read_bytes() == content


def test_a_missing_database_is_a_source_error(folder: Path, scratch: Path) -> None:
    with pytest.raises(SourceError):
        sqlite.open_image(os.fsencode(folder / "none.db"), os.fsencode(scratch))
    assert os.listdir(folder) == os.listdir(scratch) == []


def test_a_scratch_folder_that_cannot_be_written_is_a_source_error(folder: Path) -> None:
    path = folder / "chat.db"
    with held(path), pytest.raises(SourceError):
        sqlite.open_image(os.fsencode(path), os.fsencode(folder / "missing"))


@pytest.mark.parametrize(
    "name", [b"a b.db", b"100%.db", b"what?mode=rwc.db", b"#1.db", b"caf\xc3\xa9.db", b"\xff\xfe.db"]
)
def test_databases_of_any_name_are_found(folder: Path, scratch: Path, tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(folder), name)
    plain = folder / "plain"
    with held(plain):
        for suffix in (b"-wal", b""):
            os.link(os.fsencode(plain) + suffix, path + suffix)
        assert image_rows(path, scratch, tmp_path) == list(range(100))


def test_the_image_has_no_name_before_it_has_content(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    class Spy(sqlite._Deadline):
        def __call__(self, status: int, remaining: int, total: int) -> None:
            seen.append(os.listdir(scratch))

    monkeypatch.setattr(sqlite, "_Deadline", Spy)
    path = folder / "chat.db"
    with held(path), sqlite.open_image(os.fsencode(path), os.fsencode(scratch)) as image:
        assert image.status.st_nlink == 0
        assert image.status.st_mode & 0o077 == 0
    assert seen
    assert all(names == [] for names in seen)


# Which files need it ----------------------------------------------------------------------------------------


def _wal(folder: Path, content: bytes) -> None:
    (folder / "x-wal").write_bytes(content)


BESIDE: list[tuple[str, Callable[[Path], object], bool]] = [
    ("nothing", lambda f: None, False),
    ("a log", lambda f: _wal(f, b"frames"), True),
    ("an empty log", lambda f: _wal(f, b""), False),
    ("a journal", lambda f: (f / "x-journal").write_bytes(b"\xd9\xd5\x05\xf9"), True),
    ("an empty journal", lambda f: (f / "x-journal").write_bytes(b""), False),
    ("a journal of zeros", lambda f: (f / "x-journal").write_bytes(bytes(512)), True),
    ("a shared memory file only", lambda f: (f / "x-shm").write_bytes(b"x"), False),
    ("a FIFO for a journal", lambda f: os.mkfifo(f / "x-journal"), False),
]


@pytest.mark.parametrize(("what", "make", "expected"), BESIDE)
def test_a_database_needs_an_image_if_its_state_is_not_in_the_file_alone(
    tmp_path: Path, what: str, make: Callable[[Path], object], expected: bool
) -> None:
    path = os.fsencode(tmp_path / "x")
    (tmp_path / "x").write_bytes(sqlite.MAGIC + bytes(84))
    make(tmp_path)
    assert sqlite.needs_image(path) is expected
    assert sqlite.needs_image(path, [os.fsencode(name) for name in os.listdir(tmp_path)]) is expected
    assert not sqlite.needs_image(path, [b"x"])
    (tmp_path / "x").write_bytes(b"no database")
    assert not sqlite.needs_image(path)
    os.unlink(path)
    assert not sqlite.needs_image(path)


def test_companions_are_named_as_sqlite_names_them() -> None:
    assert sqlite.companions(b"/a.db") == (b"/a.db-wal", b"/a.db-shm", b"/a.db-journal")
    assert sqlite.is_sqlite(sqlite.MAGIC + b"x")
    assert not sqlite.is_sqlite(sqlite.MAGIC[:-1])
