"""Restoring over what stands there already fetches only what is missing, containers too."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import keepstone
from containers import writers
from keepstone.store.memory import MemoryStore
from support import Place, noise, picture, words


class CountingStore(MemoryStore):
    """Counts what is read of packs."""

    read = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if name.startswith("packs/"):
            self.read += len(data)
        return data


def _crypt15(folder: Path) -> Path:
    file = folder / "msgstore.db.crypt15"
    file.write_bytes(writers.crypt15(words(1, 60_000) + noise(2, 400_000), random.Random(1)))
    return file


def _zip(folder: Path) -> Path:
    file = folder / "a.zip"
    file.write_bytes(writers.zip_of({"a": words(1, 50_000), "b": noise(1, 400_000)}))
    return file


def _sms(folder: Path) -> Path:
    file = folder / "sms-20261101.xml"
    file.write_bytes(writers.sms_xml(random.Random(1), [noise(3, 400_000)]))
    return file


def _signal_night(folder: Path) -> Path:
    rng = random.Random(1)
    file = folder / "signal-backup-2026-11-01-02-00-00" / "main"
    file.parent.mkdir()
    file.write_bytes(writers.signal_night(rng, 8_000, 1, False))
    (file.parent / "metadata").write_bytes(writers.signal_metadata(rng))
    return file


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "source").mkdir()
    place = Place(tmp_path, CountingStore()).init()
    with place.open() as client:
        client.add_container_key("whatsapp", writers.ROOT_KEY.hex().encode())
        client.add_container_key("signal", writers.RECOVERY_KEY.encode())
    return place


def _restore(place: Place, tmp_path: Path, verify: bool = False) -> tuple[keepstone.RestoreResult, int]:
    """Restore over `out` and return how much of packs the restore itself read."""
    assert isinstance(place.store, CountingStore)
    with place.open() as client:
        snapshot = client.snapshot("latest")
        before = place.store.read
        target, path = os.fsencode(tmp_path / "out"), os.fsencode(tmp_path / "source")
        result = client.restore(snapshot, keepstone.RestoreOptions(target=target, path=path, verify=verify))
    assert result.problems == []
    assert picture(tmp_path / "out") == picture(tmp_path / "source")
    return result, place.store.read - before


@pytest.mark.parametrize("make", [_crypt15, _zip, _sms, _signal_night])
@pytest.mark.parametrize("verify", [False, True])
def test_restoring_over_an_identical_container_fetches_nothing_of_it(
    tmp_path: Path, place: Place, make: Callable[[Path], Path], verify: bool
) -> None:
    make(tmp_path / "source")
    place.backup([tmp_path / "source"])
    first, fetched = _restore(place, tmp_path)
    again, fetched_again = _restore(place, tmp_path, verify)
    assert (again.files_restored, again.files_identical) == (0, first.files_restored)
    assert again.bytes_fetched == 0
    assert fetched > 300_000
    assert fetched_again < 128 * 1024  # Trees and recipes, in aligned reads.


@pytest.mark.parametrize("make", [_crypt15, _zip, _sms, _signal_night])
@pytest.mark.parametrize("damage", ["flip", "cut", "other"])
def test_a_container_that_is_not_the_same_is_written_anew(
    tmp_path: Path, place: Place, make: Callable[[Path], Path], damage: str
) -> None:
    file = make(tmp_path / "source")
    place.backup([tmp_path / "source"])
    _restore(place, tmp_path)
    standing = tmp_path / "out" / file.relative_to(tmp_path / "source")
    data = bytearray(standing.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[-1:]
    else:
        data = bytearray(noise(9, len(data)))
    standing.write_bytes(data)
    again, _ = _restore(place, tmp_path)
    assert again.files_restored == 1
