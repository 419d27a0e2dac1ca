"""Whatever a reader in a child process does, what it had read holds and nothing else happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.messages.model import Conversation, Item, Loss, Message
from keepstone.sources.apart import Limits, read_apart
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from support import noise

sys.path.insert(0, str(Path(__file__).parent))
import hostile_reader  # the child imports it by this name

READER: Reader = hostile_reader


def items(orders: str, files: dict[str, bytes] | None = None, limits: Limits | None = None) -> Iterator[Item]:
    folder = MemoryFolder({"it": orders.encode(), **(files or {})})
    return read_apart(READER, "it", folder, Options(), limits)


def test_records_come_as_they_were_read_and_in_order() -> None:
    found = list(items("2000 loss 3"))
    folder = MemoryFolder({"it": b"2000 loss 3"})
    assert found == list(hostile_reader.read("it", folder, Options()))
    assert [type(item) for item in found].count(Message) == 2003
    assert isinstance(found[0], Conversation)


@pytest.mark.parametrize("harm", ["unreadable", "error", "kill", "memory", "nonsense"])
def test_what_was_read_before_the_reader_failed_holds(harm: str) -> None:
    reading = items(f"1500 {harm} 10")
    kept = []
    with pytest.raises(UnreadableSource):
        for item in reading:
            kept.append(item)
    assert len(kept) >= 1024


def test_a_reader_that_hangs_is_ended() -> None:
    with pytest.raises(UnreadableSource):
        list(items("hang", limits=Limits(silence=0.5)))


def test_a_reader_sees_its_folder_and_nothing_beside_it() -> None:
    files = {"b": noise(1, 3_000_000), "c/ö": b"abcdef"}
    told = [item for item in items("absent others", files) if isinstance(item, Loss)]
    assert [loss.what for loss in told] == [
        "absent", f"b 3000000 {files['b'][1_500_000:1_500_003]!r}", "c/ö 6 b'def'", "it 13 b' ot'",
    ]  # fmt: skip
    assert [loss.records for loss in told] == [0, 3_000_000, 6, 13]


def test_a_reader_is_told_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTONE_PASSWORD", "secret")
    (told,) = (item for item in items("environment") if isinstance(item, Loss))
    assert "KEEPSTONE" not in told.what


def test_a_reading_that_is_given_up_leaves_no_process() -> None:
    reading = items("5000 hang")
    assert isinstance(next(reading), Conversation)
    reading.close()  # type: ignore[attr-defined]  # a generator
