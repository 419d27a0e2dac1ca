"""The format is written down so that somebody else can read it: the second reader restores what Keepstone stored."""

from __future__ import annotations

import ast
import os
import random
from pathlib import Path

import pytest

import keepstone
from containers import writers
from keepstone.store.posix import PosixStore
from reader import independent
from support import KEY, Place, noise, picture, words

READER = Path(__file__).with_name("independent.py")


def _plain(folder: Path | bytes) -> dict[bytes, tuple[object, ...]]:
    """A picture without what the small reader leaves out."""
    return {path: seen for path, seen in picture(folder).items() if seen[0] != 0o010000}


def test_the_second_reader_restores_every_snapshot(tmp_path: Path, source: Path) -> None:
    place = Place(tmp_path, PosixStore(tmp_path / "repository")).init()
    place.backup([source])
    first = _plain(source)
    (source / "a" / "text").write_bytes(words(9, 120_000))
    (source / "huge").write_bytes(noise(10, 12_000_000))
    place.backup([source])
    for edit in range(3):
        with (source / "a" / "text").open("r+b") as file:
            file.seek(50_000)
            file.write(words(edit, 100))
        place.backup([source], force=True)
    with place.open(in_memory=True) as client:
        repository = client._repository
        directories = [repository.directory(*found)[0] for found in repository.list_packs()]
    assert any(row.delta for directory in directories for row in directory.frames)
    reader = independent.Repository(tmp_path / "repository", digits=KEY.secret)
    for number, (_, body) in enumerate(reader.snapshots()):
        target = tmp_path / f"out{number}"
        reader.restore(body["r"], os.fsencode(target))
        if number in (0, 4):
            assert _plain(target / str(source).lstrip("/")) == (first if number == 0 else _plain(source))


def test_the_second_reader_opens_with_a_password_and_both_algorithms(tmp_path: Path, source: Path) -> None:
    secret = keepstone.password("pässword")
    for cipher in ("aes-256-gcm", "chacha20-poly1305"):
        place = Place(tmp_path / cipher, PosixStore(tmp_path / cipher / "repository"), secret)
        keepstone.init(place.store, secret, state=tmp_path / cipher / "state", cipher=cipher, memory_kib=64 * 1024)
        place.backup([source])
        reader = independent.Repository(tmp_path / cipher / "repository", password="pässword")
        reader.restore(reader.snapshots()[-1][1]["r"], os.fsencode(tmp_path / cipher / "out"))
        assert _plain(tmp_path / cipher / "out" / str(source).lstrip("/")) == _plain(source)
        with pytest.raises(independent.FormatError):
            independent.Repository(tmp_path / cipher / "repository", password="wrong")


def test_the_second_reader_makes_containers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    source = tmp_path / "source"
    source.mkdir()
    photo = noise("photo", 60_000)
    (source / "msgstore.db.crypt15").write_bytes(writers.crypt15(writers.zlib_of(words(1, 90_000), 1), rng))
    (source / "report.docx").write_bytes(writers.zip_of({f"part{n}": words(n, 5_000) for n in range(60)}))
    (source / "sms.xml").write_bytes(writers.sms_xml(rng, [photo]))
    for version in (0, 1):
        backup = writers.signal_backup(rng, 30, [photo, noise("blob", 5_000)], version)
        (source / f"signal-{version}.backup").write_bytes(backup)
    for name, flushed in (("older", False), ("newer", True)):
        (source / name).mkdir()
        (source / name / "main").write_bytes(writers.signal_night(rng, 900, flushed=flushed))
        (source / name / "metadata").write_bytes(writers.signal_metadata(rng))
    place = Place(tmp_path, PosixStore(tmp_path / "repository")).init()
    with place.open() as repository:
        repository.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
        repository.add_container_key("signal", writers.DIGITS.encode())
        repository.add_container_key("signal", f" {writers.RECOVERY_KEY.upper().replace('O', '#')}\n".encode())
    place.backup([source])
    honest, seen = independent.Repository.expression, set()

    def noting(self: independent.Repository, value: list[object]) -> bytes:
        seen.add(value[0])
        return honest(self, value)

    monkeypatch.setattr(independent.Repository, "expression", noting)
    reader = independent.Repository(tmp_path / "repository", digits=KEY.secret)
    reader.restore(reader.snapshots()[-1][1]["r"], os.fsencode(tmp_path / "out"))
    assert _plain(tmp_path / "out" / str(source).lstrip("/")) == _plain(source)
    assert seen >= {2, 3, 4, *range(16, 22)}


def test_the_second_reader_is_small_and_imports_nothing_of_keepstone() -> None:
    text = READER.read_text()
    assert len(text.splitlines()) < 600
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    allowed = {"blake3", "cryptography", "zstandard", "msgspec"}
    standard = {
        "__future__",
        "base64",
        "zlib",
        "collections",
        "contextlib",
        "hashlib",
        "hmac",
        "os",
        "pathlib",
        "struct",
        "sys",
        "typing",
        "unicodedata",
    }
    assert imported <= allowed | standard
