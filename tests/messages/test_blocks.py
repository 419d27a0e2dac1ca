"""Rows and blocks: their bytes are the format's, and say what was put into them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.errors import Unsupported
from keepstone.messages import blocks, splitting
from keepstone.messages.merge import State
from keepstone.messages.model import Attachment, Call, Conversation, Message, Person

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
CHAT = blocks.conversation_id("whatsapp", "", "c@s")
FIRST = Message(
    identity=bytes(range(16)), service="whatsapp", chat="c@s", native="3EB0", time_ms=1_700_000_000_000,
    author="49171", direction="in", text="Hello", state="read",
    attachments=(Attachment(sha256=b"\x11" * 32, size=5, mime="image/jpeg"),), extra={"b": 2, "a": "x"},
)  # fmt: skip
SECOND = Message(
    identity=b"\x22" * 16, service="whatsapp", chat="c@s", time_ms=1_700_000_060_000, direction="out", kind="deleted"
)
PERSON = Conversation(service="whatsapp", key="c@s", title="Anna", people=(Person(address="49171", name="Anna"),))
CALL = Call(
    identity=b"\x33" * 16, service="phone", time_ms=1_700_000_000_000, seconds=61, direction="out", outcome="answered"
)


def example_state() -> State:
    source, seen = b"\xaa" * 16, 1_700_000_100_000
    first, second = blocks.message_row(FIRST), blocks.message_row(SECOND)
    return {
        CHAT + first[:-1]: (first[-1], ((source, (seen,)),)),
        CHAT + second[:-1]: (second[-1], ((source, (seen, seen + 100_000)),)),
    }


def test_the_example_of_the_format_page_holds() -> None:
    section = PAGE.read_text("utf-8").partition("\n## 14. ")[2]
    lines = dict(
        line.strip().split(" = ") for line in section.splitlines() if line.startswith("    ") and " = " in line
    )
    ((unit),) = splitting.split("2023-11", "", example_state(), "a block")
    assert lines == {
        "id of the conversation": CHAT.hex(),
        "row of the first message": blocks.message_row(FIRST).hex(),
        "row of the second": blocks.message_row(SECOND).hex(),
        "block of 2023-11": unit.blocks[0][1].hex(),
        "row of the conversation": blocks.conversation_row(PERSON).hex(),
        "row of a call": blocks.call_row(CALL).hex(),
    }


def test_records_come_back_as_they_were() -> None:
    assert blocks.read_message(blocks.message_row(FIRST)[:-1], "whatsapp", "c@s", 6, "a row") == FIRST
    assert blocks.read_conversation(blocks.conversation_row(PERSON)[:-1], "a row") == PERSON
    assert blocks.read_call(blocks.call_row(CALL)[:-1], "phone", "a row") == CALL
    assert blocks.read_content(blocks.content_row(b"h" * 32, b"r")[:-1], "a row") == (b"h" * 32, b"r")


def test_a_row_has_only_shortest_forms() -> None:
    """As an encoder that knows nothing of records writes the same values."""
    for row in (blocks.message_row(FIRST), blocks.message_row(SECOND), blocks.call_row(CALL)):
        assert msgspec.msgpack.encode(msgspec.msgpack.decode(row)) == row
    ((unit),) = splitting.split("2023-11", "", example_state(), "a block")
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(unit.blocks[0][1])) == unit.blocks[0][1]


def test_the_order_of_extra_fields_makes_no_difference() -> None:
    other = msgspec.structs.replace(FIRST, extra={"a": "x", "b": 2})
    assert blocks.message_row(other) == blocks.message_row(FIRST)


@given(st.binary(max_size=60), st.integers(0, 400))
def test_what_is_no_block_is_unsupported_and_nothing_else(noise: bytes, at: int) -> None:
    ((unit),) = splitting.split("2023-11", "", example_state(), "a block")
    whole = unit.blocks[0][1]
    for data in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        try:
            blocks.decode(data, "a block")
            blocks.columns_of(data, "a block")
        except Unsupported:
            pass


@pytest.mark.parametrize(
    ("time_ms", "month"),
    [(0, "1970-01"), (-1, "1969-12"), (1_717_199_999_999, "2024-05"), (1 << 62, "0000-00"), (-(1 << 62), "0000-00")],
)
def test_months_are_those_of_utc(time_ms: int, month: str) -> None:
    assert splitting.month_of(time_ms) == month
