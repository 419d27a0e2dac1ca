"""Damage of every kind is detected and named; it never yields a wrong byte and never a foreign exception."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import keepstone
from keepstone.errors import KeepstoneError
from keepstone.store.memory import MemoryStore
from keepstone.work.check import CheckResult
from support import KEY, Place, noise, picture, words

SEED = 20261122


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Path]:
    """A repository of a few KiB with every kind of object, and what it holds."""
    base = tmp_path_factory.mktemp("small")
    source = base / "source"
    (source / "folder").mkdir(parents=True)
    (source / "text").write_bytes(words(1, 900))
    (source / "folder" / "noise").write_bytes(noise(2, 700))
    place = Place(base).init()
    place.backup([source])
    return place, source


def damaged(place: Place, name: str, data: bytes | None, base: Path) -> Place:
    """Return the repository with one object replaced or removed, as a new computer sees it."""
    store = MemoryStore()
    store.objects = dict(place.store.objects)  # type: ignore[attr-defined]  # it is a MemoryStore
    if data is None:
        del store.objects[name]
    else:
        store.objects[name] = data
    other = Place(base, store)
    other.clock = place.clock
    return other


def outcome(place: Place) -> CheckResult | KeepstoneError:
    """Open and check; every error must be one of Keepstone's."""
    try:
        with place.open(in_memory=True) as repository:
            return repository.check(read_data=1.0)
    except KeepstoneError as error:
        return error


def names_it(result: CheckResult | KeepstoneError, name: str) -> bool:
    """Return whether a result names the object."""
    if isinstance(result, CheckResult):
        return any(finding.object_name == name for finding in result.findings)
    return name in str(result) or getattr(result, "object_name", "") == name


def assert_detected(place: Place, name: str, data: bytes | None, base: Path) -> None:
    result = outcome(damaged(place, name, data, base))
    healthy = isinstance(result, CheckResult) and result.healthy
    assert not healthy, f"damage of {name} was not noticed"
    assert names_it(result, name), f"damage of {name} was not named: {result}"


def objects(place: Place) -> dict[str, bytes]:
    return dict(place.store.objects)  # type: ignore[attr-defined]  # it is a MemoryStore


def _flips(data: bytes, every: int) -> Iterator[bytes]:
    for bit in range(0, len(data) * 8, every):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_flipped_bits_are_detected_and_named(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    for name, data in objects(place).items():
        for flipped in _flips(data, every=37):  # prime to 8, so that all bits of a byte have their turn
            assert_detected(place, name, flipped, tmp_path)


@pytest.mark.slow
def test_every_flipped_bit_is_detected_and_named(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    for name, data in objects(place).items():
        for flipped in _flips(data, every=1):
            assert_detected(place, name, flipped, tmp_path)


def test_every_truncation_is_detected_and_named(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    for name, data in objects(place).items():
        step = 1 if len(data) < 600 else 7
        for length in [*range(0, len(data) - 1, step), len(data) - 1]:
            assert_detected(place, name, data[:length], tmp_path)
        assert_detected(place, name, data + b"\0", tmp_path)


def test_every_deletion_is_detected(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    for name in objects(place):
        if name.startswith("index/"):
            continue  # An index object is a copy: losing it costs time only.
        store = damaged(place, name, None, tmp_path)
        # Without state of its own, a client cannot miss the end of a log; one that has seen it does.
        store.base = place.base if name.startswith("log/") else tmp_path
        result = outcome(store)
        assert not (isinstance(result, CheckResult) and result.healthy), name


def test_a_swap_of_two_objects_is_detected(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    stored = objects(place)
    for name in stored:
        for other in stored:
            if name != other:
                assert_detected(place, name, stored[other], tmp_path)


def test_zeroed_sectors_are_detected_and_the_files_are_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"file{number:02}").write_bytes(noise(number, 60_000))
    place = Place(tmp_path).init()
    place.backup([source])
    stored = objects(place)
    (pack,) = (name for name in stored if name.startswith("packs/"))
    data = stored[pack]
    expected = picture(source)
    for start in range(0, len(data), 4096):
        zeroed = data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]
        broken = damaged(place, pack, zeroed, tmp_path / "other")
        result = outcome(broken)
        assert isinstance(result, CheckResult)
        assert names_it(result, pack)
        named = {os.path.basename(a.path) for a in result.affected}
        target = tmp_path / f"out{start}"
        try:
            report = broken.restore(target, source)
        except KeepstoneError:
            assert named
            continue
        lost = {os.path.basename(p.path) for p in report.problems}
        assert lost <= named
        for path, seen in picture(target).items():
            assert seen[2] == expected[path][2], "a wrong byte was restored"


def test_damage_never_restores_a_wrong_byte(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, source = small
    rng = random.Random(SEED)
    expected = picture(source)
    for number in range(150):
        name, data = rng.choice(sorted(objects(place).items()))
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        target = tmp_path / f"out{number}"
        try:
            damaged(place, name, bytes(flipped), tmp_path / "other").restore(target, source)
        except KeepstoneError:
            continue
        for path, seen in picture(target).items():
            if seen[2] is not None:
                assert seen[2] == expected[path][2]


def test_a_foreign_object_is_named(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, _ = small
    broken = damaged(place, "packs/stranger", b"what is this", tmp_path)
    assert names_it(outcome(broken), "packs/stranger")


def test_objects_of_another_repository_are_refused(small: tuple[Place, Path], tmp_path: Path) -> None:
    """Same password, same content, another repository: nothing of it is accepted here."""
    place, source = small
    other = Place(tmp_path / "second").init()
    other.backup([source])
    foreign = objects(other)
    for name, data in objects(place).items():
        kind = name.split("/")[0]
        for other_name, other_data in foreign.items():
            if other_name.split("/")[0] == kind and other_data != data:
                if name == "config":  # Then everything else is what belongs to another repository.
                    assert isinstance(outcome(damaged(place, name, other_data, tmp_path)), KeepstoneError)
                else:
                    assert_detected(place, name, other_data, tmp_path)


def test_two_repositories_of_the_same_content_have_nothing_in_common(small: tuple[Place, Path], tmp_path: Path) -> None:
    place, source = small
    other = Place(tmp_path / "second").init()
    other.backup([source])
    seen = set()
    for data in objects(place).values():
        seen.update(data[at : at + 8] for at in range(32, len(data) - 7))
    for name, data in objects(other).items():
        if name.startswith("keyslots"):
            continue  # its clear parameters say what kind of slot it is
        common = [at for at in range(32, len(data) - 7) if data[at : at + 8] in seen]
        # The envelope's type and length are constants; nothing else may be equal.
        assert all(data[at : at + 8].count(0) >= 2 or at < 40 or len(data) - at < 290 for at in common)


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(keepstone.KeepstoneError):
        keepstone.password("")
    assert "secret" not in repr(keepstone.password("secret"))
    assert KEY.secret.hex() not in repr(KEY)
