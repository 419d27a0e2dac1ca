"""A repository is cut by the chunker that it was made with, and by no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import keepstone
from cli.harness import Box
from keepstone.chunking import ALGORITHMS, AnySecrets, Chunker, Parameters, kernels
from keepstone.chunking.parameters import SMALLEST_MEAN
from support import Place, noise


@pytest.fixture
def algorithms_used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    used: set[str] = set()
    make = Chunker.__init__

    def note(self: Chunker, secrets: AnySecrets, parameters: Parameters, kernel: str | None = None) -> None:
        if parameters.mean >= SMALLEST_MEAN:  # Smaller ones compare chunks and cut none.
            used.add(secrets.algorithm)
        make(self, secrets, parameters, kernel)

    monkeypatch.setattr(Chunker, "__init__", note)
    return used


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_backup_is_cut_by_the_algorithm_of_its_repository(
    algorithm: str, tmp_path: Path, algorithms_used: set[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "data").write_bytes(noise("some data", 3_000_000))
    place = Place(tmp_path)
    keepstone.init(place.store, place.credential, state=tmp_path / "state", chunker=algorithm)
    place.backup([source])
    assert algorithms_used == {algorithm}
    place.restore(tmp_path / "restored", os.fsencode(source))
    (restored,) = (tmp_path / "restored").rglob("data")
    assert restored.read_bytes() == (source / "data").read_bytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_init_takes_the_name_of_a_chunker(box: Box, algorithm: str) -> None:
    box.run("init", "--chunker", algorithm)
    (box.work / "file").write_bytes(noise("a file", 500_000))
    first = box.json("backup", "file")
    assert first["data_added"] >= 500_000
    (box.work / "file").write_bytes(b"in front" + noise("a file", 500_000))
    assert box.json("backup", "file")["data_added"] < 250_000
    box.run("check", "--read-data")


def test_init_refuses_a_chunker_that_does_not_exist(box: Box) -> None:
    assert "two-stage" in box.run("init", "--chunker", "abacus", code=2).err


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_demanded_kernel_of_another_algorithm_stops_the_backup(box: Box, algorithm: str) -> None:
    box.run("init", "--chunker", algorithm)
    (box.work / "file").write_bytes(noise("a file", 500_000))
    other = next(each for each in ALGORITHMS if each != algorithm)
    for name in set(kernels(other)) - set(kernels(algorithm)):
        failed = box.run("backup", "file", env={"KEEPSTONE_CHUNKER_KERNEL": name}, code=2)
        assert f"no chunker kernel '{name}' of '{algorithm}'" in failed.err


def test_version_tells_the_kernel_of_each_algorithm(box: Box) -> None:
    verbose = box.json("version", "--verbose")
    assert verbose["chunkers"] == {
        each: {"kernel": kernels(each)[0], "kernels": list(kernels(each))} for each in ALGORITHMS
    }
    shown = box.run("version", "--verbose").out
    assert all(f"chunker {each}, kernel: {kernels(each)[0]}" in shown for each in ALGORITHMS)
    for name in set(kernels("aes")) - set(kernels()):
        chunkers = box.json("version", "--verbose", env={"KEEPSTONE_CHUNKER_KERNEL": name})["chunkers"]
        assert (chunkers["aes"]["kernel"], chunkers["two-stage"]["kernel"]) == (name, None)
    assert "abacus" in box.run("version", "--verbose", env={"KEEPSTONE_CHUNKER_KERNEL": "abacus"}, code=2).err
