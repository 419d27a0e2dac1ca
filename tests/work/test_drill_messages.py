"""A drill finds a catalogue that is short of messages, or wrong about attachments."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.phone import Habits, Phone

import keepstone
from keepstone.messages import blocks
from keepstone.work import drill_messages
from support import Place, report

HABITS = Habits(seed=5, size=300_000, media=1_000_000, parts=("media", "sms"), least=40, most=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    base = tmp_path_factory.mktemp("drill")
    report(f"seed {HABITS.seed}")
    phone, place = Phone(base / "phone", HABITS), Place(base).init()
    phone.live()
    place.backup([phone.folder])
    return place


def run(place: Place, scratch: Path) -> keepstone.DrillResult:
    with place.open(in_memory=True) as client:
        return client.drill(keepstone.DrillOptions(scratch=str(scratch), seed=1, full=True))


def test_messages_and_attachments_agree_with_the_catalogue(place: Place, tmp_path: Path) -> None:
    result = run(place, tmp_path)
    assert (result.passed, result.messages > 100, result.contents > 0) == (True, True, True), result.findings
    assert f'"messages": {result.messages}' in result.receipt


def test_a_catalogue_that_is_short_is_found(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = drill_messages.DrillMessages._known
    monkeypatch.setattr(drill_messages.DrillMessages, "_known", lambda self: set(sorted(known(self))[3:]))
    result = run(place, tmp_path)
    assert sum(int(finding.what.split()[0]) for finding in result.findings) >= 3
    assert '"passed": false' in result.receipt


def test_an_attachment_with_another_hash_is_found(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(row: bytes, name: str) -> tuple[bytes, bytes]:
        return bytes(32), told(row, name)[1]

    told = blocks.read_content
    monkeypatch.setattr(drill_messages.blocks, "read_content", lying)
    result = run(place, tmp_path)
    assert not result.passed
    assert all("another hash" in finding.what for finding in result.findings)
