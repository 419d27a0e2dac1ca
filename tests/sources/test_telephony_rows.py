"""Rows of Android's tables: what is looked up of one SMS is what it says itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keepstone.sources import telephony_rows
from keepstone.sources.telephony import Chats
from keepstone.sources.telephony_rows import Attributes, Sms

VALUES: dict[str, list[str]] = {
    "address": ["+491", "+492~+493", "", "null"],
    "contact_name": ["Ana", "(Unknown)", "null"],
    "date": ["1", "2", "", "x", "null"],
    "date_sent": ["0", "7", "null", ""],
    "type": ["1", "2", "6", "9"],
    "body": ["a", "", "null"],
    "read": ["0", "1"],
    "status": ["-1", "0", "32"],
    "subject": ["null", "s"],
    "service_center": ["null", "+4917", "x" * 3_000],
    "readable_date": ["today", "yesterday"],
}
rows = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@given(st.lists(rows, max_size=12), st.integers(1, 3))
def test_what_is_looked_up_of_an_sms_is_what_it_says_alone(found: list[Attributes], most: int) -> None:
    together, each = Chats(), Chats()
    sms = Sms(together)
    patched: dict[str, Any] = {"_MOST_KNOWN": most, "_MOST_LAYOUTS": most}
    before = {name: getattr(telephony_rows, name) for name in patched}
    try:
        vars(telephony_rows).update(patched)
        for row in found:
            assert list(sms.items(row)) == list(Sms(each).items(row))
    finally:
        vars(telephony_rows).update(before)
