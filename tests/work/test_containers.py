"""Containers are stored as what is inside them, and come back byte for byte."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

import keepstone
from containers import writers
from keepstone import encoding, events
from keepstone.containers import Keys
from keepstone.errors import ContainerKeyMissing, Unsupported, UsageError
from keepstone.history import expression, recipe
from keepstone.history.container_keys import container_keys
from keepstone.history.snapshot import Snapshot
from support import FIXTURES, Place, noise, picture, words


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "source").mkdir()
    return Place(tmp_path).init()


def _add_key(place: Place, kind: str, material: bytes) -> None:
    with place.open() as repository:
        repository.add_container_key(kind, material)


def _kinds(place: Place, path: Path) -> list[object]:
    """Return the kinds of all nodes of a file's recipe, outermost first."""
    with place.open(in_memory=True) as client:
        snapshot = client.snapshot("latest")
        entry = next(iter(client.ls(snapshot, os.fsencode(path)))).entry
        value = recipe.decode(entry.content, "it")
        if value[0] == expression.STORED:
            value = expression._resolved(value, client._repository, "it", 0)
    kinds: list[object] = []

    def walk(node: object) -> None:
        assert isinstance(node, list)
        kinds.append(node[0])
        below = node[1] if node[0] == expression.CONCAT else node[-1:]
        for part in below:
            if node[0] >= expression.CONCAT and isinstance(part, list):
                walk(part)

    walk(value)
    return kinds


def _round_trip(place: Place, tmp_path: Path, name: str = "out") -> None:
    with place.open(in_memory=True) as client:
        snapshot = client.snapshot("latest")
        options = keepstone.RestoreOptions(
            target=os.fsencode(tmp_path / name), path=os.fsencode(tmp_path / "source"), verify=True
        )
        assert client.restore(snapshot, options).problems == []
        assert client.check(read_data=1.0).healthy
    assert picture(tmp_path / name) == picture(tmp_path / "source")


def _database(path: Path, rows: int) -> bytes:
    rng = random.Random(path.read_bytes() if path.exists() else rows)
    vocabulary = words(1, 20_000).decode().split()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, key TEXT UNIQUE, body TEXT)")
        database.executemany(
            "INSERT INTO message (key, body) VALUES (?, ?)",
            [(rng.randbytes(16).hex(), " ".join(rng.choices(vocabulary, k=12))) for _ in range(rows)],
        )
    database.close()
    return path.read_bytes()


# Whole backups ----------------------------------------------------------------------------------------------


def test_an_encrypted_database_costs_each_day_what_is_new_in_it(tmp_path: Path, place: Place) -> None:
    _add_key(place, "whatsapp", writers.ROOT_KEY.hex().encode())
    file = tmp_path / "source" / "msgstore.db.crypt15"
    costs = []
    for day in range(4):
        plain = _database(tmp_path / "plain.db", 10_000 if day == 0 else 20)
        file.write_bytes(writers.crypt15(writers.zlib_of(plain, 1), random.Random(day)))
        costs.append(place.backup([file.parent]).stored_bytes)
        _round_trip(place, tmp_path, f"out{day}")
    assert _kinds(place, file) == [
        expression.CONCAT, expression.LITERAL, expression.AES_GCM, expression.DEFLATE, recipe.PIECES,
        expression.LITERAL,
    ]  # fmt: skip
    assert max(costs[1:]) < costs[0] / 20


@pytest.mark.parametrize("flushed", [False, True])
def test_a_backup_folder_of_signal_costs_each_night_what_is_new_in_it(
    tmp_path: Path, place: Place, flushed: bool
) -> None:
    _add_key(place, "signal", writers.RECOVERY_KEY.encode())
    store, rng = tmp_path / "source" / "SignalBackups", random.Random(1)
    costs = []
    for night in range(4):
        folder = store / f"signal-backup-2026-11-{night + 1:02}-02-00-00"
        folder.mkdir(parents=True)
        (folder / "main").write_bytes(writers.signal_night(rng, 20_000 + 40 * night, night, flushed))
        (folder / "metadata").write_bytes(writers.signal_metadata(rng))
        name, media = writers.signal_media(rng, noise(night, 9_000))
        (folder / "files").write_bytes(writers.varint(66) + writers.field(1, name[-64:].encode()))
        (store / name).parent.mkdir(parents=True)
        (store / name).write_bytes(media)
        costs.append(place.backup([tmp_path / "source"]).stored_bytes)
        kinds = _kinds(place, folder / "main")
        assert kinds[:4] == [
            expression.SIGNAL_ARCHIVE, expression.CONCAT, expression.LITERAL,
            expression.DEFLATE_SECTIONS if flushed else expression.DEFLATE,
        ]  # fmt: skip
        assert _kinds(place, store / name) == [recipe.PIECES]
    _round_trip(place, tmp_path)
    assert max(costs[1:]) < costs[0] / 16


def test_the_database_beside_its_encrypted_form_costs_nothing(tmp_path: Path, place: Place) -> None:
    _add_key(place, "whatsapp", writers.ROOT_KEY.hex().encode())
    plain = _database(tmp_path / "source" / "msgstore.db", 5_000)
    place.backup([tmp_path / "source"])
    (tmp_path / "source" / "msgstore.db.crypt15").write_bytes(
        writers.crypt15(writers.zlib_of(plain, 9), random.Random(1))
    )
    assert place.backup([tmp_path / "source"]).counts.added < 12_000
    _round_trip(place, tmp_path)


@pytest.mark.parametrize("keys", ["none", "wrong"])
def test_without_its_key_a_container_is_stored_as_it_is_and_said_once(tmp_path: Path, place: Place, keys: str) -> None:
    if keys == "wrong":
        _add_key(place, "whatsapp", b"7" * 64)
    for number in range(3):
        data = writers.crypt15(words(number, 30_000), random.Random(number))
        (tmp_path / "source" / f"{number}.crypt15").write_bytes(data)
    notes: list[events.Event] = []
    with place.open() as repository:
        options = keepstone.BackupOptions(sources=[os.fsencode(tmp_path / "source")])
        assert repository.backup(options, notes.append).problems == []
    assert [type(note) for note in notes].count(events.Notice) == 1
    _round_trip(place, tmp_path)


def test_archives_of_every_kind_come_back_and_share_with_their_members(tmp_path: Path, place: Place) -> None:
    source, rng = tmp_path / "source", random.Random(5)
    members = {f"folder/{n}": writers.content(rng, rng.choice([0, 50, 3_000, 90_000])) for n in range(12)}
    members["photo.jpg"] = b"\xff\xd8\xff" + noise("photo", 200_000)
    for name, data in members.items():
        (source / Path(name).name).write_bytes(data)
    first = place.backup([source]).counts.added
    (source / "zipped.docx").write_bytes(writers.zip_of(members))
    (source / "packed.tar.gz").write_bytes(writers.gzip_of(writers.tar_of(members)))
    (source / "inner.zip").write_bytes(writers.zip_of({"inner.zip": writers.zip_of(members), "x": b"y" * 500}))
    (source / "sms.xml").write_bytes(writers.sms_xml(rng, [members["photo.jpg"]]))
    second = place.backup([source])
    assert second.counts.added < first * 0.35
    assert expression.DEFLATE in _kinds(place, source / "zipped.docx")
    assert expression.BASE64 in _kinds(place, source / "sms.xml")
    _round_trip(place, tmp_path)


def test_one_changed_member_costs_one_member(tmp_path: Path, place: Place) -> None:
    members = {f"part{n}.xml": words(n, 40_000) for n in range(20)}
    file = tmp_path / "source" / "report.docx"
    file.write_bytes(writers.zip_of(members))
    first = place.backup([file.parent]).stored_bytes
    members["part7.xml"] = members["part7.xml"][:20_000] + b" a few new words" + members["part7.xml"][20_000:]
    file.write_bytes(writers.zip_of(members))
    assert place.backup([file.parent]).stored_bytes < first / 10
    _round_trip(place, tmp_path)


def test_an_archive_of_very_many_members_has_a_stored_recipe(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "source" / "many.zip"
    file.write_bytes(writers.zip_of({f"member{n}": words(n, 400) for n in range(400)}))
    place.backup([file.parent])
    with place.open(in_memory=True) as client:
        entry = next(iter(client.ls(client.snapshot("latest"), os.fsencode(file)))).entry
        assert recipe.decode(entry.content, "it")[0] == expression.STORED
        assert len(entry.content) <= recipe.INLINE_LIMIT
    _round_trip(place, tmp_path)


def test_a_container_that_stands_in_the_target_is_recognised_or_replaced(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "source" / "a.zip"
    file.write_bytes(writers.zip_of({"a": words(1, 50_000)}))
    place.backup([file.parent])
    _round_trip(place, tmp_path)
    again = place.restore(tmp_path / "out", file.parent)
    assert (again.files_identical, again.files_restored) == (1, 0)
    (tmp_path / "out" / "a.zip").write_bytes(b"x" * file.stat().st_size)
    again = place.restore(tmp_path / "out", file.parent)
    assert (again.files_identical, again.files_restored) == (0, 1)
    assert (tmp_path / "out" / "a.zip").read_bytes() == file.read_bytes()


def test_a_container_that_changes_while_it_is_read_is_stored_as_it_is(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "source" / "a.zip"
    file.write_bytes(writers.zip_of({"a": words(1, 50_000)}))
    from keepstone.work import contained

    honest, calls = contained.unwrap, []

    def interfering(*arguments: object, **named: object) -> object:
        found = honest(*arguments, **named)  # type: ignore[arg-type]  # passed on
        calls.append(1)
        if len(calls) == 1:
            file.write_bytes(writers.zip_of({"a": words(2, 50_000)}))
        return found

    monkeypatch.setattr(contained, "unwrap", interfering)
    place.backup([file.parent])
    _round_trip(place, tmp_path)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the sample files of real applications are not here")
def test_every_sample_of_a_real_application_comes_back(tmp_path: Path, place: Place) -> None:
    samples = FIXTURES / "whatsapp-android"
    for name in ("encrypted_backup.key", "key"):
        _add_key(place, "whatsapp", (samples / name).read_bytes())
    for path in FIXTURES.rglob("*"):
        if path.is_file():
            target = tmp_path / "source" / path.relative_to(FIXTURES)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    place.backup([tmp_path / "source"])
    for form in ("crypt12", "crypt14", "crypt15"):
        assert expression.AES_GCM in _kinds(place, tmp_path / "source" / "whatsapp-android" / f"msgstore.db.{form}")
    _round_trip(place, tmp_path)


# Keys -------------------------------------------------------------------------------------------------------


def test_a_container_key_is_given_once_and_serves_every_computer(tmp_path: Path, place: Place) -> None:
    digits = writers.ROOT_KEY.hex().encode()
    _add_key(place, "whatsapp", digits)
    _add_key(place, "whatsapp", b" ".join([digits[:32], digits[32:]]))
    with place.fresh("other").open() as repository:
        assert [key.kind for key in repository.container_keys()] == ["whatsapp"]
        assert len(repository._repository.log.of_kind("container-key")) == 1
        assert writers.ROOT_KEY not in repr(container_keys(repository._repository.log)).encode()


@pytest.mark.parametrize(("kind", "material"), [("whatsapp", b"123"), ("signal", b"1" * 29), ("other", b"1" * 64)])
def test_what_is_no_container_key_is_refused(place: Place, kind: str, material: bytes) -> None:
    with pytest.raises(UsageError):
        _add_key(place, kind, material)


def test_a_missing_container_key_is_a_clear_error(tmp_path: Path, place: Place) -> None:
    _add_key(place, "whatsapp", writers.ROOT_KEY.hex().encode())
    file = tmp_path / "source" / "a.crypt15"
    file.write_bytes(writers.crypt15(words(1, 30_000), random.Random(1)))
    place.backup([file.parent])
    with place.open(in_memory=True) as client:
        snapshot: Snapshot = client.snapshot("latest")
        entry = next(iter(client.ls(snapshot, os.fsencode(file)))).entry
        with pytest.raises(ContainerKeyMissing, match="not at hand"):
            list(expression.read(entry.content, client._repository, "it", Keys()))


# Expressions ------------------------------------------------------------------------------------------------


class _Nothing:
    def read_chunk(self, chunk: bytes) -> bytes:
        pytest.fail("no chunk should be read")


@pytest.mark.parametrize(
    "value",
    [
        [99, []],
        [2],
        [2, 5],
        [2, [[3, b"x"], 7]],
        [3, "text"],
        [3, bytes(expression.MAX_LITERAL + 1)],
        [4, 5],
        [16, 0, 6, 15, 8, [3, b""]],
        [16, 0, "6", 15, 8, 0, [3, b""]],
        [16, True, 6, 15, 8, 0, [3, b""]],
        [17, b"", b"", b"", b"", [3, b""]],
        [18, 0, 0, b""],
        [19, b"", b"", b""],
        [20, 0, 6, -15, 8, 0, [3, b""]],
        [20, 0, 6, -15, 8, 0, b"123", [3, b""]],
        [20, 1, 6, -15, 0, 0, b"\1\0\0\0", [3, b"x"]],
        [20, 0, 6, 15, 8, 0, b"\1\0\0\0", [3, b"x"]],
        [21, b"", b"", [3, b""]],
    ],
    ids=str,
)
def test_an_expression_that_is_not_known_is_unsupported(value: list[object]) -> None:
    encoded = encoding.encode(value)
    with pytest.raises(Unsupported):
        list(expression.read(encoded, _Nothing(), "it", Keys()))  # type: ignore[arg-type]  # it reads nothing


def test_expressions_nest_to_a_bounded_depth() -> None:
    value: list[object] = [3, b"x"]
    for _ in range(expression.MAX_NESTING):
        value = [2, [value]]
    nothing = _Nothing()
    assert b"".join(expression.read(encoding.encode(value), nothing, "it", Keys())) == b"x"  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="deeper"):
        list(expression.read(encoding.encode([2, [value]]), nothing, "it", Keys()))  # type: ignore[arg-type]
