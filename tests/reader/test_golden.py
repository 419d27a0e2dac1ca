"""Old repositories stay readable for ever: the golden ones, sound and damaged, by both readers."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

import keepstone
from golden.make import KEY, PASSWORD, listing
from keepstone.errors import Damaged, KeepstoneError
from reader import independent

GOLDEN = Path(__file__).parents[1] / "golden"
ARCHIVE = "465459a0f19eaa49e73120cca5fc968d83e3e199a80c630e28ae4c5c18273fdb"
EXPECTED = json.loads((GOLDEN / "v1.json").read_text())


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN / "v1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "v1"


def _open(golden: Path, credential: keepstone.Credential | None = None) -> keepstone.Client:
    key = credential or keepstone.parse_digits(KEY)
    return keepstone.open(str(golden), key, state=golden.parent / "state", in_memory=True)


def test_nobody_has_changed_the_golden_repository() -> None:
    assert hashlib.sha256((GOLDEN / "v1.tar.gz").read_bytes()).hexdigest() == ARCHIVE


def test_the_engine_reads_it_byte_for_byte(golden: Path) -> None:
    with _open(golden) as repository:
        assert repository.check(read_data=1.0).healthy
        for number, snapshot in enumerate(repository.snapshots()):
            target = golden.parent / f"out{number}"
            options = keepstone.RestoreOptions(target=os.fsencode(target), path=EXPECTED["source"].encode())
            assert repository.restore(snapshot, options).problems == []
            assert listing(target) == EXPECTED["snapshots"][number]
    with _open(golden, keepstone.password(PASSWORD)) as repository:
        assert len(repository.snapshots()) == 2


def test_the_second_reader_reads_it_byte_for_byte(golden: Path) -> None:
    reader = independent.Repository(golden, digits=bytes.fromhex(KEY))
    for number, (_, body) in enumerate(reader.snapshots()):
        target = golden.parent / f"second{number}"
        reader.restore(body["r"], os.fsencode(target))
        assert listing(target / EXPECTED["source"].lstrip("/")) == EXPECTED["snapshots"][number]


def test_it_reads_without_its_index(golden: Path) -> None:
    for path in (golden / "index").iterdir():
        path.unlink()
    with _open(golden) as repository:
        result = repository.check(read_data=1.0)
    assert result.healthy
    assert result.uncovered_packs == result.packs


@pytest.mark.parametrize("kind", ["packs", "log", "index", "keyslots", "config"])
def test_a_damaged_golden_repository_names_what_is_damaged(golden: Path, kind: str) -> None:
    path = next(p for p in sorted(golden.rglob("*")) if p.is_file() and p.relative_to(golden).parts[0] == kind)
    name = "/".join(path.relative_to(golden).parts)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        with _open(golden) as repository:
            findings = [finding.object_name for finding in repository.check(read_data=1.0).findings]
    except KeepstoneError as error:
        assert isinstance(error, Damaged)
        findings = [error.object_name]
    assert name in findings
