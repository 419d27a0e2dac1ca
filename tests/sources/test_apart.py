"""Whatever a reader in a child process does, what it had read holds and nothing else happens."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from keepstone.messages.model import Conversation, Item, Loss, Message
from keepstone.sources import reading
from keepstone.sources.apart import Apart, Limits, read_apart
from keepstone.sources.reading import MemoryFolder, Options, Reader, UnreadableSource
from sources.whatsapp_databases import android, message
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


def process_of(child: Apart, folder: MemoryFolder, name: str = "it") -> str:
    (told,) = (item.what for item in child.read(READER, name, folder, Options()) if isinstance(item, Loss))
    return told


def test_one_child_reads_many_files() -> None:
    folders = [MemoryFolder({"it": b"process", "other": b"3 process"}) for _ in range(3)]
    with Apart() as child:
        assert len({process_of(child, folder, name) for folder in folders for name in ("it", "other")}) == 1
        assert child.started == 1


def test_memory_that_the_parent_has_used_is_not_the_childs() -> None:
    used = bytes(Limits().memory // 4 + 1024 * 1024).replace(b"\0", b"1")  # Written, so that it is really there.
    test_one_child_reads_many_files()
    assert used.endswith(b"1")


@pytest.mark.parametrize("harm", ["error", "kill", "nonsense", "memory", "large", "hang", "work"])
def test_a_child_that_failed_or_used_much_is_not_used_again(harm: str) -> None:
    folder = MemoryFolder({"bad": f"process {harm}".encode(), "it": b"process"})
    limits = {"hang": Limits(silence=5.0), "work": Limits(processor=2)}.get(harm)
    with Apart(limits) as child:
        before = []
        try:
            before.extend(child.read(READER, "bad", folder, Options()))
        except UnreadableSource:
            assert harm not in ("large", "work")
        assert process_of(child, folder) not in [item.what for item in before if isinstance(item, Loss)]
        assert child.started == 2


def test_a_reader_that_refuses_a_file_keeps_its_child() -> None:
    folder = MemoryFolder({"bad": b"unreadable", "it": b"process"})
    with Apart() as child:
        with pytest.raises(UnreadableSource, match="It says no"):
            list(child.read(READER, "bad", folder, Options()))
        process_of(child, folder)
        assert child.started == 1


def test_a_reading_that_is_given_up_does_not_reach_into_the_next() -> None:
    folder = MemoryFolder({"long": b"5000", "it": b"process"})
    with Apart() as child:
        reading = child.read(READER, "long", folder, Options())
        next(reading)
        reading.close()  # type: ignore[attr-defined]  # a generator
        process_of(child, folder)


def test_a_damaged_part_of_the_folder_is_told_to_the_reader() -> None:
    class Damaged(MemoryFolder):
        def open(self, name: str) -> BinaryIO:
            if name == "bad":
                raise UnreadableSource("It is damaged.")
            return super().open(name)

    folder = Damaged({"bad": noise(1, 100), "it": b"process"})
    with Apart() as child:
        assert child.recognise("bad", folder) is None
        process_of(child, folder)
        assert child.started == 1


def test_a_file_is_recognised_in_the_child_and_copied_once() -> None:
    class Counting(MemoryFolder):
        read = 0

        def open(self, name: str) -> BinaryIO:
            return _Counted(self, super().open(name))

    class _Counted(io.BytesIO):
        def __init__(self, folder: Counting, file: BinaryIO) -> None:
            super().__init__(file.read())
            self._folder = folder

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self._folder.read += len(data)
            return data

    content = android([message(row, 1, f"K{row}", "x" * 4000) for row in range(2, 2000)])
    folder = Counting({"a": noise(1, 5000), "msgstore.db": content})
    with Apart() as child:
        assert child.recognise("a", folder) is None
        reader = child.recognise("msgstore.db", folder)
        assert reader is not None
        assert reader.NAME == "whatsapp-android"
        recognised = folder.read
        found = list(child.read(reader, "msgstore.db", folder, Options()))
        assert sum(isinstance(item, Message) for item in found) == 1998
        assert folder.read - recognised <= len(content)
        assert child.started == 1


def test_a_copy_is_shared_by_those_who_look_into_one_file_after_another() -> None:
    folder = MemoryFolder({"db": android([message(2, 1, "K", "hello")])})
    folder.copies = reading.Copies()  # type: ignore[attr-defined]  # what a child's folder has
    with reading.open_database("db", folder) as first, reading.open_database("db", folder) as beside:
        assert first is not beside
    with reading.open_database("db", folder) as again:
        assert again is beside
        assert again.execute("SELECT count(*) FROM message").fetchone() == (2,)
    folder.copies.keep_for("other")  # type: ignore[attr-defined]
    with reading.open_database("db", folder) as new:
        assert new is not beside
