"""What the rows of Android's tables of messages and calls say, whichever program wrote them down.

A row is its columns as text; one that is `null` says nothing, except in a message's text, where somebody may have
written it. What follows from something else is not kept (`readable_date`, in the language of the phone), nor is what
names a row (`_id`). An MMS's `date` is in milliseconds here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from keepstone.messages.model import Attachment, Call, Conversation, Direction, Extra, Item, Message, Person, State
from keepstone.sources import telephony
from keepstone.sources.reading import MAX_TEXT
from keepstone.sources.telephony import BOXES, CALLS, FROM, OWN, UNKNOWN_NAME, Chats, address_of, whole

Attributes = dict[str, str]

_ROW: Final = frozenset(("_id", "thread_id", "contact_name", "readable_date", "read", "date"))
SMS_FIELDS: Final = _ROW | {"address", "type", "body", "subject"}
MMS_FIELDS: Final = _ROW | {"address", "msg_box", "sub", "m_id"}
PART_FIELDS: Final = frozenset(("ct", "_id", "mid", "_data"))
CALL_FIELDS: Final = _ROW - {"read"} | {"number", "duration", "type"}
DEFAULTS: Final = {
    "protocol": "0", "status": "-1", "locked": "0", "sub_id": "-1", "date_sent": "0", "seen": "1", "presentation": "1",
    "error_code": "0", "reply_path_present": "0",
}  # fmt: skip
"""What most records say, and is not kept."""

SMIL: Final = "application/smil"

_NONE: Final = "null"
_VARYING: Final = _ROW - {"contact_name", "read"} | {"body", "date_sent"}
"""What differs from one SMS of a chat to the next, or says nothing that is kept."""
_MOST_LAYOUTS, _MOST_KNOWN, _LONGEST_KNOWN = 100, 20_000, 2_000


@dataclass(slots=True)
class Part:
    """A part of an MMS: its attributes without `data`, and what was in it."""

    attributes: Attributes
    sha256: bytes = b""
    size: int = -1
    binary: bool = False
    place: str = ""


@dataclass(slots=True)
class Record:
    """One element of the root, with what is inside it if it is an MMS."""

    name: str
    attributes: Attributes
    parts: list[Part] = field(default_factory=list)
    addresses: list[Attributes] = field(default_factory=list)


def _extra(attributes: Attributes, fields: frozenset[str]) -> Extra:
    defaults = DEFAULTS
    return {
        key: value
        for key, value in attributes.items()
        if value != _NONE and value and key not in fields and defaults.get(key) != value
    }


def _time(attributes: Attributes, extra: Extra) -> int:
    raw = attributes.get("date", "")
    time_ms = whole(raw)
    if time_ms is None:
        extra["date"] = raw
        return 0
    return time_ms


def _read_state(attributes: Attributes, direction: str, state: State, extra: Extra) -> State:
    read = attributes.get("read")
    if direction == "in":
        return "read" if read == "1" else state
    if read == "0":
        extra["read"] = read
    return state


def _given(attributes: Attributes, key: str) -> str:
    value = attributes.get(key, "")
    return "" if value == _NONE else value


class _Fixed(NamedTuple):
    """What an SMS says but for its times and its text."""

    conversation: Conversation
    is_new: bool
    begin: bytes
    """Of its identity: `telephony.sms_begin`."""
    author: str
    direction: Direction
    subject: str
    state: State
    extra: Extra


class Sms:
    """The SMS of one source. What one says but for times and text, others of its chat say too: it is looked up."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats
        self._layouts: dict[tuple[str, ...], Callable[[Attributes], tuple[str, ...]]] = {}
        self._known: dict[tuple[object, tuple[str, ...]], _Fixed] = {}

    def items(self, attributes: Attributes) -> Iterator[Item]:
        """Yield the conversation if it is new, and the message."""
        said = self._fixed(attributes)
        if said.is_new:
            yield said.conversation
        extra = said.extra
        sent = attributes.get("date_sent", "")
        if sent not in ("", "0", _NONE):
            extra = {**extra, "date_sent": sent}
        raw = attributes.get("date", "")
        time_ms = whole(raw)
        if time_ms is None:
            time_ms, extra = 0, {**extra, "date": raw}
        text = attributes.get("body", "")[:MAX_TEXT]
        key = said.conversation.key
        yield Message(
            identity=telephony.sms_identity(said.begin, time_ms, text),
            service="sms",
            chat=key,
            time_ms=time_ms,
            order=self._chats.order(key, time_ms),
            author=said.author,
            direction=said.direction,
            kind="text" if text else "empty",
            text=text,
            subject=said.subject,
            state=said.state,
            extra=extra,
        )

    def _fixed(self, attributes: Attributes) -> _Fixed:
        names = tuple(attributes)
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[names] = _values_of([name for name in names if name not in _VARYING])
        values = layout(attributes)
        said = self._known.get((layout, values))
        if said is None:
            said = _fixed(attributes, self._chats)
            if sum(map(len, values)) <= _LONGEST_KNOWN:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[layout, values] = said._replace(is_new=False)
        return said


def _values_of(names: Sequence[str]) -> Callable[[Attributes], tuple[str, ...]]:
    if len(names) < 2:
        return lambda attributes: tuple(attributes[name] for name in names)
    return itemgetter(*names)


def _fixed(attributes: Attributes, chats: Chats) -> _Fixed:
    address = _given(attributes, "address")
    name = _given(attributes, "contact_name")
    conversation, is_new = chats.of(address, name)
    box = attributes.get("type", "")
    extra = _extra(attributes, SMS_FIELDS)
    extra.pop("date_sent", None)
    direction, state = BOXES.get(box, ("unknown", ""))
    if box not in BOXES or box == "6":
        extra["type"] = box
    if state == "sent" and extra.get("status") == telephony.COMPLETE:
        state = "delivered"
        del extra["status"]
    return _Fixed(
        conversation=conversation,
        is_new=is_new,
        begin=telephony.sms_begin(conversation.key, box),
        author=address if direction == "in" and "~" not in address else "",
        direction=direction,
        subject=_given(attributes, "subject"),
        state=_read_state(attributes, direction, state, extra),
        extra=_who(extra, conversation, address, name),
    )


def _who(extra: Extra, conversation: Conversation, address: str, name: str) -> Extra:
    """Add how a record writes the address and the names, where its conversation does otherwise."""
    people = conversation.people
    if len(people) == 1 and people[0].address == address and name in (conversation.title, UNKNOWN_NAME):
        return extra
    if address != address_of(conversation):
        extra["address"] = address
    if name != conversation.title and name != UNKNOWN_NAME:
        extra["contact_name"] = name
    return extra


def mms(record: Record, chats: Chats) -> Iterator[Item]:
    attributes = record.attributes
    addresses = [(one.get("address", ""), one.get("type", "")) for one in record.addresses]
    address = _given(attributes, "address")
    if not address or address == OWN:
        address = _others(addresses, attributes.get("msg_box", ""))
    name = _given(attributes, "contact_name")
    conversation, new = chats.of(address, name)
    if new:
        yield conversation
    box = attributes.get("msg_box", "")
    extra = _extra(attributes, MMS_FIELDS)
    time_ms = _time(attributes, extra)
    direction, state = BOXES.get(box, ("unknown", ""))
    if box not in BOXES or box == "6":
        extra["msg_box"] = box
    text, attachments = _content(record, extra)
    if record.addresses:
        extra["addrs"] = _encoded([_said(one) for one in record.addresses])
    native = _given(attributes, "m_id")
    key = conversation.key
    contents = [one.sha256 for one in attachments] + ([sha256(text.encode()).digest()] if text else [])
    sender = next((one for one, kind in addresses if kind == FROM and one != OWN), "")
    yield Message(
        identity=telephony.mms_identity(
            box, addresses, key, time_ms // 1000, native or _given(attributes, "tr_id"), contents
        ),
        service="sms",
        chat=key,
        native=native,
        time_ms=time_ms,
        precision_ms=1000,
        order=chats.order(key, time_ms),
        author=sender or (address if direction == "in" and "~" not in address else ""),
        direction=direction,
        kind=telephony.kind_of(text, attachments),
        text=text,
        subject=telephony.subject_of(_given(attributes, "sub"), attributes.get("sub_cs", "")),
        state=_read_state(attributes, direction, state, extra),
        attachments=attachments,
        extra=_who(extra, conversation, address, name),
    )


def _others(addresses: list[tuple[str, str]], box: str) -> str:
    """Return whom an MMS without an address of its conversation is from or to."""
    wanted = (FROM,) if box == "1" else (telephony.TO, telephony.CC, telephony.BCC)
    return "~".join(one for one, kind in addresses if kind in wanted and one not in ("", OWN))


def _content(record: Record, extra: Extra) -> tuple[str, tuple[Attachment, ...]]:
    """Return the text and the files of an MMS. What its other parts say goes to `parts`, each with its number."""
    texts: list[str] = []
    attachments: list[Attachment] = []
    others: list[Attributes] = []
    plain = [part for part in record.parts if _is_text(part)]
    for index, part in enumerate(record.parts):
        if part.binary or not (_is_text(part) or part.attributes.get("ct") == SMIL):
            attachments.append(_attachment(record, index, part))
            continue
        kept = _said(part.attributes)
        if _is_text(part):
            text = part.attributes.get("text", "")
            texts.append(text)
            if len(plain) == 1:
                kept.pop("text", None)
        others.append({"": str(index)} | kept)
    if others:
        extra["parts"] = _encoded(others)
    return "\n".join(texts), tuple(attachments)


def _is_text(part: Part) -> bool:
    return not part.binary and part.attributes.get("ct", "").lower().startswith("text/plain")


def _attachment(record: Record, index: int, part: Part) -> Attachment:
    attributes = part.attributes
    extra = {key: value for key, value in attributes.items() if key not in PART_FIELDS and value not in (_NONE, "")}
    given = (_given(attributes, key) for key in ("name", "fn", "cl"))
    return Attachment(
        sha256=part.sha256,
        size=part.size,
        mime=_given(attributes, "ct"),
        name=next((one for one in given if one), ""),
        place=part.place or f"{record.attributes.get('date', '')}/{index}",
        extra=dict(extra),
    )


def _said(attributes: Attributes) -> Attributes:
    return {key: value for key, value in attributes.items() if value != _NONE}


def _encoded(rows: list[Attributes]) -> str:
    return msgspec.json.encode(rows).decode()


def call(attributes: Attributes) -> Call:
    number = _given(attributes, "number")
    name = _given(attributes, "contact_name")
    kind = attributes.get("type", "")
    extra: Extra = _extra(attributes, CALL_FIELDS)
    time_ms = _time(attributes, extra)
    seconds = whole(attributes.get("duration", "")) or 0
    direction, outcome = CALLS.get(kind, ("unknown", "unknown"))
    if kind not in CALLS:
        extra["type"] = kind
    hidden = number in telephony.HIDDEN
    if hidden and number:
        extra["number"] = number
    if hidden and name and name != UNKNOWN_NAME:
        extra["contact_name"] = name
    person = Person(address=number, name="" if name == UNKNOWN_NAME else name)
    return Call(
        identity=telephony.call_identity(number, kind, time_ms),
        service="phone",
        time_ms=time_ms,
        seconds=seconds,
        direction=direction,
        outcome="answered" if kind == "2" and seconds > 0 else outcome,
        people=() if hidden else (person,),
        extra=extra,
    )
