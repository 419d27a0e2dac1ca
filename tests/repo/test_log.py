"""The storage may withhold, never forge: going back, forks and omissions are noticed by whoever has seen more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import keepstone
from keepstone.errors import KeepstoneError, Locked, Rollback, Unsupported
from keepstone.repo import log, writer
from keepstone.repo.repository import Repository
from keepstone.store.memory import MemoryStore
from support import Place, noise


@pytest.fixture
def history(tmp_path: Path) -> tuple[Place, list[dict[str, bytes]], Path]:
    """A repository, and all its objects after init and after each of three backups."""
    source = tmp_path / "source"
    source.mkdir()
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    states = [dict(store.objects)]
    for run in range(3):
        (source / f"file{run}").write_bytes(noise(run, 5_000))
        place.backup([source])
        states.append(dict(store.objects))
    return place, states, source


def _show(place: Place, objects: dict[str, bytes]) -> None:
    assert isinstance(place.store, MemoryStore)
    place.store.objects = dict(objects)


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_an_older_state_is_noticed(history: tuple[Place, list[dict[str, bytes]], Path], back_to: int) -> None:
    place, states, source = history
    _show(place, states[back_to])
    with pytest.raises(Rollback):
        place.open()
    with pytest.raises(Rollback):
        place.backup([source])


def test_an_older_state_can_be_accepted_and_continued_from(
    history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    place, states, source = history
    _show(place, states[1])
    with place.open(accept_rollback=True) as repository:
        assert len(repository.snapshots()) == 1
    place.backup([source])
    with place.open() as repository:
        assert len(repository.snapshots()) == 2
        assert repository.check(read_data=1.0).healthy


def test_a_record_withheld_from_the_middle_is_noticed_by_anyone(
    history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    place, states, _ = history
    middle = next(name for name in states[3] if name.startswith("log/") and name.endswith("2"))
    objects = dict(states[3])
    del objects[middle]
    _show(place, objects)
    with place.fresh("newcomer").open() as repository:
        result = repository.check()
    assert not result.healthy
    assert any(finding.object_name == middle for finding in result.findings)
    with pytest.raises(Rollback):
        place.open()


def test_a_fork_is_noticed(history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path) -> None:
    """Two computers that share one identity (a copied disk image) write different third records."""
    place, states, source = history
    clone = Place(tmp_path / "clone", MemoryStore())
    assert isinstance(clone.store, MemoryStore)
    shutil.copytree(tmp_path / "state", tmp_path / "clone" / "state")
    _show(place, states[3])
    clone.store.objects = dict(states[3])
    (source / "here").write_bytes(b"one")
    place.backup([source])
    (source / "here").write_bytes(b"other")
    clone.backup([source])
    _show(place, clone.store.objects)
    with pytest.raises(Rollback, match="another one"):
        place.open()


def test_reordered_and_renamed_records_are_refused(history: tuple[Place, list[dict[str, bytes]], Path]) -> None:
    place, states, _ = history
    names = sorted(name for name in states[3] if name.startswith("log/"))
    objects = dict(states[3])
    objects[names[0]], objects[names[1]] = objects[names[1]], objects[names[0]]
    _show(place, objects)
    with place.fresh("newcomer").open() as repository:
        assert not repository.check().healthy
        assert len(repository.snapshots()) <= 1


def test_another_repository_at_the_same_place_is_noticed(
    history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    place, _, _ = history
    stranger = Place(tmp_path / "stranger", MemoryStore()).init()
    assert isinstance(stranger.store, MemoryStore)
    _show(place, stranger.store.objects)
    with pytest.raises(Rollback, match="another repository"):
        place.open()


def test_a_receipt_proves_on_a_new_computer_that_the_backup_is_there(
    history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    place, states, source = history
    receipt = place.backup([source]).receipt
    assert len(receipt.replace("-", "")) == 24
    assert isinstance(place.store, MemoryStore)
    now = dict(place.store.objects)
    for objects, there in ((now, True), (states[3], False), (states[1], False)):
        _show(place, objects)
        with place.fresh(f"new{there}{len(objects)}").open() as repository:
            assert repository.check(receipt=receipt).receipt_found is there
            assert repository.check(receipt=receipt.lower().replace("-", " ")).receipt_found is there


def test_a_forged_record_is_refused(history: tuple[Place, list[dict[str, bytes]], Path], tmp_path: Path) -> None:
    """Sealed with the right key, but signed by nobody: what a reader of the repository could make."""
    place, _, _ = history
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from msgspec.structs import replace

    with place.open() as client:
        repository: Repository = client._repository
        last = repository.log.entries[-1]
        forged = replace(last.record, sequence=last.record.sequence + 1, previous=last.hash)
        stored = log.seal_record(forged, Ed25519PrivateKey.generate(), repository.keys, repository.id, 1)
        repository.store.put(log.layout.log_name(log.WriterId(forged.writer), forged.sequence), [stored])
    with place.fresh("newcomer").open() as client:
        result = client.check()
    assert any("signature" in finding.what for finding in result.findings)


def test_an_unknown_kind_of_record_may_be_read_but_not_written_over(
    history: tuple[Place, list[dict[str, bytes]], Path],
) -> None:
    """A newer client prunes: this one does not understand tombstones, so it must not refer to what they name."""
    place, _, source = history
    with place.open() as client:
        writer.append_record(client._repository, log.TOMBSTONE, b"\x80")
    with place.open() as client:
        assert len(client.snapshots()) == 3
        with pytest.raises(Unsupported, match="may read it but not write"):
            client.backup(keepstone.BackupOptions(sources=[bytes(source)]))


def test_one_process_of_an_installation_writes_at_a_time(
    history: tuple[Place, list[dict[str, bytes]], Path],
) -> None:
    place, _, source = history
    with place.open() as first, first._repository.state.exclusive():
        with pytest.raises(Locked):
            place.backup([source])
        with place.open() as reader:
            assert len(reader.snapshots()) == 3
    place.backup([source])


def test_two_computers_write_to_one_repository(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "shared").write_bytes(noise(1, 200_000))
    one = Place(tmp_path / "one", MemoryStore()).init()
    two = one.fresh("two")
    first = one.backup([source])
    second = two.backup([source])
    assert first.counts.added > 200_000
    assert second.counts.added < 2_000, "what another computer stored is not stored again"
    with one.open() as repository:
        assert len(repository.snapshots()) == 2
        assert repository.check(read_data=1.0).healthy


def test_damaged_state_is_forgotten_not_fatal(history: tuple[Place, list[dict[str, bytes]], Path]) -> None:
    place, _, source = history
    for path in (place.base / "state").rglob("*"):
        if path.is_file() and path.name in ("seen", "writer"):
            path.write_bytes(b"garbage")
    place.backup([source])
    with place.open() as repository:
        assert repository.check().healthy


def test_the_errors_say_what_to_do() -> None:
    for error in (Rollback("x."), Locked("x."), Unsupported("x", "y")):
        assert isinstance(error, KeepstoneError)
        assert error.remedy.endswith(".")


def test_a_rollback_in_two_steps_is_noticed(history: tuple[Place, list[dict[str, bytes]], Path]) -> None:
    """First the newest record is damaged, then it is gone: what was seen is not forgotten in between."""
    place, states, _ = history
    newest = next(name for name in states[3] if name.startswith("log/") and name.endswith("3"))
    _show(place, {**states[3], newest: b"garbage"})
    with place.open() as repository:
        assert not repository.check().healthy
    objects = dict(states[3])
    del objects[newest]
    _show(place, objects)
    with pytest.raises(Rollback):
        place.open()


def test_a_damaged_record_does_not_stop_the_next_backup(history: tuple[Place, list[dict[str, bytes]], Path]) -> None:
    place, states, source = history
    newest = next(name for name in states[3] if name.startswith("log/") and name.endswith("3"))
    _show(place, {**states[3], newest: b"garbage"})
    place.backup([source])
    with place.open() as repository:
        assert len(repository.snapshots()) == 3


def test_a_log_that_another_writer_has_seen_cannot_be_withheld_from_a_new_computer(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    store = MemoryStore()
    one = Place(tmp_path / "one", store).init()
    two = one.fresh("two")
    one.backup([source])
    two.backup([source])
    with one.open() as repository:
        first = repository._repository.state.writer()[0].hex()
    for name in [name for name in store.objects if name.startswith(f"log/{first}")]:
        del store.objects[name]
    with one.fresh("three").open() as repository:
        result = repository.check()
    assert any(f"log/{first}" in finding.object_name for finding in result.findings)


def test_a_snapshot_of_a_newer_version_is_named_and_hides_no_other(
    history: tuple[Place, list[dict[str, bytes]], Path],
) -> None:
    place, _, _ = history
    from keepstone import encoding

    for body in ({"v": 9, "t": 1, "h": "h"}, {"v": 1, "t": 1, "h": "h", "new": 1}):
        with place.open() as client:
            writer.append_record(client._repository, log.SNAPSHOT, encoding.encode(body))
    with place.open() as client:
        assert len(client.snapshots()) == 3
        findings = [finding for finding in client.check().findings if finding.kind == "unsupported"]
    assert [finding.object_name[-1] for finding in findings] == ["4", "5"]
