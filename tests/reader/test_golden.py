"""Old repositories stay readable for ever: the golden ones, sound and damaged, by both readers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import keepstone
from golden.make import KEY, PASSWORD, listing
from keepstone.errors import Damaged
from reader import independent

GOLDEN = Path(__file__).parents[1] / "golden"
ARCHIVE = "465459a0f19eaa49e73120cca5fc968d83e3e199a80c630e28ae4c5c18273fdb"
"""If this differs, the archive was made anew. Do not: what is out there was written by the old program."""
EXPECTED = json.loads((GOLDEN / "v1.json").read_text())
SOURCE = EXPECTED["source"].encode()


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN / "v1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "v1"


def _open(golden: Path, credential: keepstone.Credential | None = None) -> keepstone.Client:
    key = credential or keepstone.parse_digits(KEY)
    return keepstone.open(str(golden), key, state=golden.parent / "state", in_memory=True)


def _objects(golden: Path, kind: str) -> list[Path]:
    """Return the objects of a kind, the largest first."""
    found = [path for path in (golden / kind).rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (-path.stat().st_size, path.name))


def _name(golden: Path, path: Path) -> str:
    return path.relative_to(golden).as_posix()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _findings(golden: Path) -> list[tuple[str, str]]:
    """Return object and kind of what a whole check finds."""
    with _open(golden) as repository:
        result = repository.check(read_data=1.0)
    assert not result.healthy
    return [(finding.object_name, finding.kind) for finding in result.findings]


# Sound ------------------------------------------------------------------------------------------------------


def test_nobody_has_changed_the_golden_repository() -> None:
    data = (GOLDEN / "v1.tar.gz").read_bytes()
    assert len(data) < 100_000
    assert hashlib.sha256(data).hexdigest() == ARCHIVE


def test_the_engine_reads_it_byte_for_byte(golden: Path) -> None:
    with _open(golden) as repository:
        result = repository.check(read_data=1.0)
        assert result.healthy
        assert result.packs_read == result.packs == 2
        snapshots = repository.snapshots()
        assert len(snapshots) == len(EXPECTED["snapshots"]) == 2
        for number, snapshot in enumerate(snapshots):
            target = golden.parent / f"out{number}"
            options = keepstone.RestoreOptions(target=os.fsencode(target), path=SOURCE)
            assert repository.restore(snapshot, options).problems == []
            assert listing(target) == EXPECTED["snapshots"][number]
            assert os.path.samefile(target / "text", target / "sub" / "hard")


def test_the_second_reader_reads_it_byte_for_byte(golden: Path) -> None:
    reader = independent.Repository(golden, digits=bytes.fromhex(KEY))
    assert len(reader.snapshots()) == 2
    for number, (_, body) in enumerate(reader.snapshots()):
        assert body["v"] == 1
        assert body["h"] == "golden"
        assert body["g"] == ["v1"]
        target = golden.parent / f"second{number}"
        reader.restore(body["r"], os.fsencode(target))
        assert listing(target / os.fsdecode(SOURCE).lstrip("/")) == EXPECTED["snapshots"][number]


def test_both_readers_see_the_same_snapshots_and_metadata(golden: Path) -> None:
    reader = independent.Repository(golden, digits=bytes.fromhex(KEY))
    with _open(golden) as repository:
        seen = repository.snapshots()
        assert [(s.id, s.body.root) for s in seen] == [(id_, body["r"]) for id_, body in reader.snapshots()]
        for snapshot in seen:
            entries = {item.path: item.entry for item in repository.ls(snapshot)}
            stack = [(b"", snapshot.body.root)]
            count = 0
            while stack:
                path, content = stack.pop()
                for other in reader.tree(content):
                    below = path + b"/" + other["n"]
                    entry = entries[below]
                    count += 1
                    assert (entry.kind, entry.mode, entry.mtime_ns) == (other["k"], other["m"], other.get("t", 0))
                    assert (entry.size, entry.links) == (other.get("s", 0), other.get("l", 1))
                    assert (entry.inode, entry.target) == (other.get("i", 0), other.get("L", b""))
                    if entry.kind == "d":
                        stack.append((below, other.get("c", b"")))
            assert count == len(entries.keys() - {b"/"})


def test_its_password_opens_it_for_both_readers(golden: Path) -> None:
    with _open(golden, keepstone.password(PASSWORD)) as repository:
        assert len(repository.snapshots()) == 2
        slots = repository.keys()
        assert sorted(slot.memory_kib for slot in slots) == [0, 64 * 1024]
    assert len(independent.Repository(golden, password=PASSWORD).snapshots()) == 2
    with pytest.raises(keepstone.KeepstoneError) as caught:
        _open(golden, keepstone.password("gold"))
    assert caught.value.kind == "wrong-password"


def test_a_backup_continues_it(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "more").write_bytes(b"more")
    with _open(golden) as repository:
        repository.backup(keepstone.BackupOptions(sources=[os.fsencode(tmp_path / "more")]))
        assert repository.check(read_data=1.0).healthy
    assert len(independent.Repository(golden, digits=bytes.fromhex(KEY)).snapshots()) == 3


# Damaged ----------------------------------------------------------------------------------------------------


def test_it_reads_without_its_index(golden: Path) -> None:
    for path in _objects(golden, "index"):
        path.unlink()
    with _open(golden) as repository:
        result = repository.check(read_data=1.0)
        assert result.healthy
        assert result.uncovered_packs == result.packs == 2
        assert repository.rebuild_index() == 2
        assert repository.check().uncovered_packs == 0


@pytest.mark.parametrize("kind", ["packs", "log", "index"])
def test_check_names_a_flipped_object_and_no_sound_one(golden: Path, kind: str) -> None:
    path = _objects(golden, kind)[0]
    _flip(path)
    found = _findings(golden)
    assert (_name(golden, path), "damaged") in found
    stored = {
        _name(golden, other) for part in ("packs", "log", "index", "keyslots") for other in _objects(golden, part)
    }
    assert {name for name, _ in found} & stored - {_name(golden, path)} == set()


def test_a_flipped_log_record_hides_only_its_own_snapshot(golden: Path) -> None:
    newest = max(_objects(golden, "log"), key=lambda path: path.name)
    second = newest.with_name("0000000000000002")
    _flip(second)
    assert [name for name, _ in _findings(golden)] == [_name(golden, second)]
    with _open(golden) as repository:
        (snapshot,) = repository.snapshots()
        target = golden.parent / "out"
        assert not repository.restore(
            snapshot, keepstone.RestoreOptions(target=os.fsencode(target), path=SOURCE)
        ).problems
    assert listing(target) == EXPECTED["snapshots"][0]


def test_a_missing_log_record_is_named(golden: Path) -> None:
    first = min(_objects(golden, "log"), key=lambda path: path.name)
    first.unlink()
    assert _findings(golden) == [(_name(golden, first), "damaged")]


@pytest.mark.parametrize("left", [0, 40, 200, 2000, -1])
def test_a_truncated_pack_is_named_and_the_rest_is_restored(golden: Path, left: int) -> None:
    path = _objects(golden, "packs")[1]  # The pack of the second snapshot alone.
    data = path.read_bytes()
    path.write_bytes(data[:left])
    found = _findings(golden)
    assert (_name(golden, path), "damaged") in found
    with _open(golden) as repository:
        first, latest = repository.snapshots()
        target = golden.parent / "out"
        options = keepstone.RestoreOptions(target=os.fsencode(target), path=SOURCE)
        assert repository.restore(first, options).problems == []
        assert listing(target) == EXPECTED["snapshots"][0]
        with pytest.raises(Damaged):
            repository.restore(latest, options)


def test_a_missing_pack_is_named(golden: Path) -> None:
    path = _objects(golden, "packs")[1]
    path.unlink()
    assert (_name(golden, path), "damaged") in _findings(golden)


@pytest.mark.parametrize("kind", ["config", "keyslots"])
def test_opening_names_a_damaged_object(golden: Path, kind: str) -> None:
    paths = [golden / "config"] if kind == "config" else _objects(golden, kind)
    for path in paths:
        _flip(path)
    with pytest.raises(Damaged) as caught:
        _open(golden)
    assert caught.value.object_name in {_name(golden, path) for path in paths}


@pytest.mark.parametrize("kind", ["config", "keyslots", "log", "packs"])
def test_the_second_reader_names_what_is_damaged(golden: Path, kind: str) -> None:
    """With an error of its own, wherever the flipped bit is."""
    for path in [golden / "config"] if kind == "config" else _objects(golden, kind):
        data = path.read_bytes()
        for bit in range(0, len(data) * 8, 101 if len(data) < 10_000 else 9973):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(independent.FormatError, match=f"^{_name(golden, path)}: "):
                independent.Repository(golden, digits=bytes.fromhex(KEY))
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["config", "keyslots", "log", "packs"])
def test_the_second_reader_names_what_is_cut_off(golden: Path, kind: str) -> None:
    path = golden / "config" if kind == "config" else _objects(golden, kind)[0]
    data = path.read_bytes()
    for length in [*range(0, len(data), 293), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(independent.FormatError, match=f"^{_name(golden, path)}: "):
            independent.Repository(golden, digits=bytes.fromhex(KEY))


def test_the_second_reader_says_so_in_one_line(golden: Path, tmp_path: Path) -> None:
    path = _objects(golden, "packs")[0]
    _flip(path)
    run = subprocess.run(
        [sys.executable, independent.__file__, golden, tmp_path / "out"],
        env={**os.environ, "KEEPSTONE_KEY": KEY}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr == f"Error: {_name(golden, path)}: its name is not as the format says.\n"
