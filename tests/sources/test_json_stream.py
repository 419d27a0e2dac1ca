"""JSON of any size is read, what programs get wrong too, and damage costs the damaged records alone."""

from __future__ import annotations

import io
import json
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.sources import json_stream
from keepstone.sources.json_stream import CutOff, JsonStream, Malformed, Record
from support import report

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
RECORDS = st.lists(
    st.builds(lambda number, rest: {"id": number, **rest}, st.integers(), st.dictionaries(st.text(), VALUES))
)


def stream(text: str | bytes, *, fast: bool = True) -> JsonStream:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return JsonStream(io.BytesIO(data), fast=fast)


def is_record(found: Record) -> bool:
    return "id" in found


def records(text: str | bytes, *, fast: bool = True) -> list[Record]:
    return list(stream(text, fast=fast).records(is_record))


@given(RECORDS, st.sampled_from([None, 0, 1, 4]), st.booleans())
def test_records_are_what_was_written_in_any_layout(entries: list[Record], indent: int | None, escaped: bool) -> None:
    written = json.dumps(entries, indent=indent, ensure_ascii=escaped)
    expected = json.loads(written.encode("utf-8", "replace"))
    assert records(written) == records(written, fast=False) == expected


@given(RECORDS, st.integers(1, 64))
def test_where_the_text_is_taken_in_makes_no_difference(entries: list[Record], block: int) -> None:
    written = json.dumps({"before": entries, "list": entries, "after": 1.5e3}, indent=1)
    before = json_stream._BLOCK
    json_stream._BLOCK = block
    try:
        walk = stream(written)
        found: list[object] = []
        for key in walk.members():
            found += [list(walk.records(is_record)) if key == "list" else walk.value()]
        assert found == [entries, entries, 1500.0]
    finally:
        json_stream._BLOCK = before


def test_a_value_that_nobody_takes_is_skipped() -> None:
    walk = stream('{"a": [1, {"b": [[]]}], "c": {"d": "}"}, "e": 5}')
    assert [(key, walk.value() if key == "e" else 0) for key in walk.members()] == [("a", 0), ("c", 0), ("e", 5)]


def test_what_programs_write_instead_of_json_is_read() -> None:
    text = (
        '[{"id": 1, "a": "bell \\x07 and \\\\x07"}, {"id": 2, "a": "half \\ud83d and whole \\ud83d\\ude00 \\\\ud83d"},'
    )
    text += '{"id": 3, "a": "raw \x01\n"}, {"id": 4, "a": NaN}, {"id": 5, "a": 1}]'
    found = records("\ufeff" + text)
    assert [entry["a"] for entry in found[:3]] == [
        "bell \x07 and \\x07",
        "half \ufffd and whole 😀 \\ud83d",
        "raw \x01\n",
    ]
    assert len(found) == 5


def test_bytes_that_are_no_text_cost_those_characters_only() -> None:
    assert records(b'[{"id": "\xff\xc3"}]') == [{"id": "\ufffd\ufffd"}]
    assert records('[{"id": "é"}]'.encode("utf-16")) == [{"id": "é"}]


@pytest.mark.parametrize("layout", [None, 2])
def test_a_cut_file_yields_every_complete_record(layout: int | None) -> None:
    entries = [{"id": number, "a": [{"b": "}, {"}], "c": "\\" * number} for number in range(5)]
    written = json.dumps(entries, indent=layout)
    ends = [len(json.dumps(entries[: number + 1], indent=layout).rstrip("]").rstrip()) for number in range(5)]
    for cut in range(1, len(written)):
        found = []
        with pytest.raises(CutOff):
            for entry in stream(written[:cut]).records(is_record):
                found.append(entry)
        assert found == entries[: sum(end <= cut for end in ends)], cut


@pytest.mark.parametrize("place", range(3, 300, 7))
def test_damage_costs_the_damaged_record(place: int) -> None:
    entries = [{"id": number, "a": [{"b": "x"}, {"b": "y"}]} for number in range(20)]
    written = bytearray(json.dumps(entries).encode())
    for wrong in (b"\x00", b'"', b"}", b"[", b","):
        data = bytes(written[:place]) + wrong + bytes(written[place + 1 :])
        found: list[Record] = []
        walk = stream(data)
        try:
            for entry in walk.records(is_record):
                found.append(entry)
        except Malformed:
            pass
        kept = [entry for entry in found if entry in entries]
        assert len(kept) >= 18, (place, wrong)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '[{"a":' * 100_000, '{"a":' * 100_000, "[1e999999, " * 10, f"[{'9' * 100_000}]", '"' * 1001,
     "[}" * 9999, '[{"id":[},' * 20_000, "\\" * 1000, "", "{", "[{]", '[{"id":1}{"id":2}]', "[nul", "-", "[1 2]"],
)  # fmt: skip
def test_hostile_text_ends_in_an_error_of_ours(text: str) -> None:
    for walk in (stream(text), stream(text, fast=False)):
        with pytest.raises(Malformed):
            list(walk.records(is_record))
    for walk in (stream(text), stream(text, fast=False)):
        try:
            for _ in walk.members():
                walk.skip()
        except Malformed:
            pass


def test_memory_does_not_grow_with_the_file() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.left = 4_000

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b'{"id": 1, "text": "some words of a message"},' * 100 if self.left else b'{"id": 2}]'

    walk = JsonStream(io.BytesIO(b"["))
    walk._file = Endless()  # type: ignore[assignment]
    walk._ended = False
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in walk.records(is_record))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    report(f"{count} records, {grown} MiB more")
    assert count == 399_901
    assert grown < 64


def test_a_record_too_large_is_left_out() -> None:
    large = "x" * (3 * json_stream.MAX_VALUE)
    walk = stream(json.dumps([{"id": 1}, {"id": 2, "a": large}, {"id": 3}]))
    assert list(walk.records(is_record)) == [{"id": 1}, {"id": 3}]
    assert walk.damaged == 1
