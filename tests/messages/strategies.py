"""Any record of the model: what exports and the archive must carry."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from keepstone.messages import model
from keepstone.messages.model import Attachment, Call, Conversation, Edit, Message, Person, Reaction

TEXT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "", "null", "\0", "a\nb\r\nc", "\u202eRTL\u202c \u05e9\u05dc\u05d5\u05dd", "e\u0301 \u00e9",
            "\U0001f469\u200d\U0001f469\u200d\U0001f467",
            "\ufeff", "\u2028", "=1+1", "From me", "<b>&amp;</b>", "]]>",
        ]
    ),
)  # fmt: skip
TIMES = st.one_of(st.integers(-(2**41), 2**45), st.sampled_from([0, -1, 253_402_300_799_999, 2**53]))
EXTRA = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-(2**53), 2**53), st.booleans(), st.none()), max_size=3)
SERVICES = st.sampled_from(get_args(model.Service))


def several(values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=most).map(tuple)


PEOPLE = st.builds(Person, address=TEXT, name=TEXT)
ATTACHMENTS = st.builds(
    Attachment, sha256=st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)), size=st.integers(-1, 2**40),
    mime=TEXT, name=TEXT, caption=TEXT, place=TEXT, extra=EXTRA,
)  # fmt: skip
CONVERSATIONS = st.builds(
    Conversation, service=SERVICES, account=TEXT, key=TEXT, kind=st.sampled_from(get_args(model.ConversationKind)),
    title=TEXT, people=several(PEOPLE), extra=EXTRA,
)  # fmt: skip
MESSAGES = st.builds(
    Message, identity=st.binary(min_size=16, max_size=16), anchored=st.booleans(), service=SERVICES, chat=TEXT,
    native=TEXT, time_ms=TIMES, zoned=st.booleans(), precision_ms=st.sampled_from([1, 1000, 60_000]),
    order=st.integers(0, 2**31), author=TEXT, direction=st.sampled_from(get_args(model.Direction)),
    kind=st.sampled_from(get_args(model.MessageKind)), text=TEXT, subject=TEXT, reply_to=TEXT, forwarded=st.booleans(),
    starred=st.booleans(), state=st.sampled_from(model.STATES), attachments=several(ATTACHMENTS),
    reactions=several(st.builds(Reaction, author=TEXT, emoji=TEXT, time_ms=TIMES)),
    edits=several(st.builds(Edit, text=TEXT, time_ms=TIMES)), extra=EXTRA,
)  # fmt: skip
CALLS = st.builds(
    Call, identity=st.binary(min_size=16, max_size=16), service=SERVICES, chat=TEXT, native=TEXT, time_ms=TIMES,
    seconds=st.integers(0, 2**31), direction=st.sampled_from(get_args(model.Direction)),
    outcome=st.sampled_from(get_args(model.CallOutcome)), video=st.booleans(), people=several(PEOPLE), extra=EXTRA,
)  # fmt: skip
