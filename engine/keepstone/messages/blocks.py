"""Rows and blocks: the canonical bytes of what sources say, and of a month of it.

A row is one reading as a MessagePack array that begins with time, order and identity, so that rows in ascending order
of their bytes are in the order of time; its last byte is the delivery state, which is not part of what is compared. A
state's keys are rows after the 16 bytes of their *name*: the conversation they belong to. A block is the rows of a
month of some conversations in ascending order, with a table of their histories. Times, identities and texts stand in
columns of their own, so that a search reads them without decoding a row.

Which rows make a block is said in `splitting`, and by nothing but their content: equal states are equal bytes, and the
join of two states never decodes a row.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec

from keepstone import encoding
from keepstone.errors import Unsupported
from keepstone.messages.identity import LENGTH as IDENTITY_LENGTH
from keepstone.messages.identity import identity
from keepstone.messages.merge import History, State
from keepstone.messages.model import (
    STATES,
    Attachment,
    Call,
    CallOutcome,
    Conversation,
    ConversationKind,
    Direction,
    Edit,
    Extra,
    Message,
    MessageKind,
    Person,
    Reaction,
    Service,
)
from keepstone.messages.model import State as Delivery

VERSION: Final = 1
NAME_LENGTH: Final = 16
MAX_BLOCK: Final = 256 * 1024 * 1024

T = TypeVar("T")


class _Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    time_ms: int
    order: int
    identity: bytes
    text: str
    """What is searched: the message's text, the chat's title."""


class _MessageMore(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The fields of a message that are mostly not there."""

    anchored: bool = True
    zoned: bool = True
    precision_ms: int = 1
    subject: str = ""
    forwarded: bool = False
    starred: bool = False
    attachments: tuple[Attachment, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    edits: tuple[Edit, ...] = ()
    extra: Extra = {}


class _MessageRow(_Row, array_like=True, forbid_unknown_fields=True, frozen=True):
    author: str
    direction: Direction
    kind: MessageKind
    native: str
    reply_to: str
    more: _MessageMore
    state: int


class _CallMore(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, frozen=True, kw_only=True):
    chat: str = ""
    native: str = ""
    seconds: int = 0
    outcome: CallOutcome = "unknown"
    video: bool = False
    people: tuple[Person, ...] = ()
    extra: Extra = {}


class _CallRow(_Row, array_like=True, forbid_unknown_fields=True, frozen=True):
    direction: Direction
    more: _CallMore
    state: int


class _ConversationMore(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, frozen=True, kw_only=True):
    account: str = ""
    kind: ConversationKind = "unknown"
    people: tuple[Person, ...] = ()
    extra: Extra = {}


class _ConversationRow(_Row, array_like=True, forbid_unknown_fields=True, frozen=True):
    service: Service
    key: str
    more: _ConversationMore
    state: int


class _ContentRow(_Row, array_like=True, forbid_unknown_fields=True, frozen=True):
    recipe: bytes
    state: int


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of any row: enough to find and to place it."""

    time_ms: int
    order: int
    identity: bytes
    text: str


_NOTHING_MORE = _MessageMore()
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_encode = _encoder.encode
_LEVEL = {state: number for number, state in enumerate(STATES)}
_message_decoder = msgspec.msgpack.Decoder(_MessageRow)
_call_decoder = msgspec.msgpack.Decoder(_CallRow)
_conversation_decoder = msgspec.msgpack.Decoder(_ConversationRow)
_content_decoder = msgspec.msgpack.Decoder(_ContentRow)
_head_decoder = msgspec.msgpack.Decoder(Head)


# Rows -------------------------------------------------------------------------------------------------------


def conversation_id(service: str, account: str, key: str) -> bytes:
    """Return the id of a conversation in the archive."""
    return identity("conversation", service, account, key)


def calls_id(service: str) -> bytes:
    """Return the id under which the calls of a service stand, as if they were a conversation."""
    return identity("calls", service)


def message_row(m: Message) -> bytes:
    """Return the row of a message. Its chat is that of the block it stands in."""
    if (
        m.attachments or m.extra or m.reactions or m.edits or m.starred or m.forwarded or m.subject
        or not m.anchored or not m.zoned or m.precision_ms != 1
    ):  # fmt: skip
        more = _MessageMore(
            anchored=m.anchored, zoned=m.zoned, precision_ms=m.precision_ms, subject=m.subject,
            forwarded=m.forwarded, starred=m.starred, attachments=m.attachments, reactions=m.reactions,
            edits=m.edits, extra=m.extra,
        )  # fmt: skip
    else:
        more = _NOTHING_MORE
    return _row(
        _MessageRow(
            m.time_ms, m.order, m.identity, m.text, m.author, m.direction, m.kind, m.native, m.reply_to, more,
            _LEVEL[m.state],
        )
    )  # fmt: skip


def call_row(call: Call) -> bytes:
    """Return the row of a call."""
    more = _CallMore(
        chat=call.chat, native=call.native, seconds=call.seconds, outcome=call.outcome, video=call.video,
        people=call.people, extra=call.extra,
    )  # fmt: skip
    return _row(_CallRow(call.time_ms, 0, call.identity, "", call.direction, more, 0))


def conversation_row(found: Conversation) -> bytes:
    """Return the row of a conversation."""
    more = _ConversationMore(account=found.account, kind=found.kind, people=found.people, extra=found.extra)
    name = conversation_id(found.service, found.account, found.key)
    return _row(_ConversationRow(0, 0, name, found.title, found.service, found.key, more, 0))


def content_row(sha256: bytes, recipe: bytes) -> bytes:
    """Return the row that says where the content of an attachment is."""
    return _row(_ContentRow(0, 0, sha256, "", recipe, 0))


def _row(row: _Row) -> bytes:
    try:
        return _encode(row)
    except (UnicodeEncodeError, OverflowError):
        return _encode(_plain(row))


def _plain(value: Any) -> Any:  # Any: whatever a record is made of.
    """Return a record without what has no encoding: half surrogates become U+FFFD, integers beyond 64 bits text."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, msgspec.Struct):
        parts = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        if isinstance(parts.get("time_ms", 0), str):
            parts["time_ms"] = 0
        return type(value)(**parts)
    return value


def read_message(row: bytes, service: Service, chat: str, state: int, name: str) -> Message:
    """Return the message of a row that was cut off before its state."""
    r = _decode(_message_decoder, row + bytes((state,)), name)
    more = r.more
    return Message(
        identity=r.identity, anchored=more.anchored, service=service, chat=chat, native=r.native, time_ms=r.time_ms,
        zoned=more.zoned, precision_ms=more.precision_ms, order=r.order, author=r.author, direction=r.direction,
        kind=r.kind, text=r.text, subject=more.subject, reply_to=r.reply_to, forwarded=more.forwarded,
        starred=more.starred, state=_delivery(state, name), attachments=more.attachments, reactions=more.reactions,
        edits=more.edits, extra=more.extra,
    )  # fmt: skip


def _delivery(state: int, name: str) -> Delivery:
    if state >= len(STATES):
        raise Unsupported(name, f"has a message in state {state}, which this version does not know")
    return STATES[state]


def read_call(row: bytes, service: Service, name: str) -> Call:
    """Return the call of a row that was cut off before its state."""
    r = _decode(_call_decoder, row + b"\0", name)
    more = r.more
    return Call(
        identity=r.identity, service=service, chat=more.chat, native=more.native, time_ms=r.time_ms,
        seconds=more.seconds, direction=r.direction, outcome=more.outcome, video=more.video, people=more.people,
        extra=more.extra,
    )  # fmt: skip


def read_conversation(row: bytes, name: str) -> Conversation:
    """Return the conversation of a row that was cut off before its state."""
    r = _decode(_conversation_decoder, row + b"\0", name)
    return Conversation(
        service=r.service, account=r.more.account, key=r.key, kind=r.more.kind, title=r.text, people=r.more.people,
        extra=r.more.extra,
    )  # fmt: skip


def read_content(row: bytes, name: str) -> tuple[bytes, bytes]:
    """Return hash and recipe of a row that was cut off before its state."""
    r = _decode(_content_decoder, row + b"\0", name)
    return r.identity, r.recipe


def row_identity(row: bytes) -> bytes:
    """Return the identity of a row that is known to be whole."""
    order = 1 + _INT_LENGTH[row[1]]
    at = order + _INT_LENGTH[row[order]]
    return row[at + 2 : at + 2 + row[at + 1]]


def read_head(row: bytes, name: str) -> Head:
    """Return the beginning of any row that was cut off before its state."""
    return _decode(_head_decoder, row + b"\0", name)


def _decode(decoder: msgspec.msgpack.Decoder[T], row: bytes, name: str) -> T:
    return encoding.decode(decoder, row, name)


# Blocks -----------------------------------------------------------------------------------------------------


class _Block(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    repeats: int
    texts: bytes
    times: bytes
    identities: bytes
    groups: list[tuple[bytes, int]]
    rest: memoryview
    """Of the block's own bytes: a search has no use for it."""


class _Rest(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    histories: list[tuple[tuple[bytes, tuple[int, ...]], ...]]
    which: list[int]
    rows: list[msgspec.Raw]


class _Left(msgspec.Struct, array_like=True, frozen=True):
    """What a message's row has beside the columns."""

    order: int
    author: str
    direction: str
    kind: str
    native: str
    reply_to: str
    more: _MessageMore
    state: int


@dataclass(slots=True)
class Columns:
    """What is searched of a block, without a row of it decoded."""

    repeats: int
    """How many rows have an identity that another row of the block has too."""
    texts: bytes
    """UTF-8, with `SEPARATOR` between them."""
    times: bytes
    """8 bytes each, signed, the highest first."""
    identities: bytes
    groups: list[tuple[bytes, int]]
    """Conversations with how many rows they have."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.times) // _TIME.size

    def time(self, row: int) -> int:
        """Return the time of a row."""
        found: int = _TIME.unpack_from(self.times, row * _TIME.size)[0]
        return found

    def all_times(self) -> array[int]:
        """Return the times of all rows."""
        return _numbers(array("q", self.times))

    def beginnings(self) -> array[int]:
        """Return the first 8 bytes of each row's identity, as numbers."""
        if len(self.identities) == self.rows * IDENTITY_LENGTH:
            return _numbers(array("Q", self.identities)[::2])
        return array("Q", (int.from_bytes(self.identity(row)[:8], "big") for row in range(self.rows)))

    def identity(self, row: int) -> bytes:
        """Return the identity of a row."""
        length = len(self.identities) // self.rows
        return self.identities[row * length : (row + 1) * length]


def _numbers(stored: array[int]) -> array[int]:
    """Return numbers that are stored with the highest byte first."""
    if sys.byteorder == "little":
        stored.byteswap()
    return stored


SEPARATOR: Final = b"\xff"
"""Between texts: a byte that UTF-8 does not have."""
_block_decoder = msgspec.msgpack.Decoder(_Block)
_rest_decoder = msgspec.msgpack.Decoder(_Rest)
_left_decoder = msgspec.msgpack.Decoder(_Left)
_ATTACHED = b"attachments"
"""A row without this has none."""
_time_decoder = msgspec.msgpack.Decoder(int)
_TIME = struct.Struct(">q")
_COLUMNS = 3
"""Fields of a row that stand in columns: time, identity, text."""


def encode(keys: Sequence[bytes], state: State) -> bytes:
    """Return the block of some keys of a state, which come in ascending order."""
    times, identities, texts, rows, found = [], [], [], [], []
    for key in keys:
        delivery, history = state[key]
        # What stands in columns comes first in a row, each part as long as its first bytes tell: mostly in this way.
        if key.startswith(_USUAL, NAME_LENGTH) and key[_ORDER_AT] < 0x80 and key.startswith(_USUAL_NAME, _ORDER_AT + 1):
            order, name, text = _ORDER_AT, _ORDER_AT + 1, _TEXT_AT
            times.append(key[NAME_LENGTH + 2 : _ORDER_AT])
        else:
            order = NAME_LENGTH + 1 + _INT_LENGTH[key[NAME_LENGTH + 1]]
            name = order + _INT_LENGTH[key[order]]
            text = name + 2 + key[name + 1]
            times.append(_TIME.pack(_time_decoder.decode(key[NAME_LENGTH + 1 : order])))
        first = key[text]
        begin, end = (text + 1, text + 1 + (first & 31)) if first < 0xC0 else _text_at(key, text)
        identities.append(key[name + 2 : text])
        texts.append(key[begin:end])
        rows.append(_FIELDS_LEFT[key[NAME_LENGTH]] + key[order:name] + key[end:] + _BYTE[delivery])
        found.append(history)
    groups = [(name, len(list(group))) for name, group in groupby(map(name_of, keys))]
    histories, which = _numbered(found)
    rest = _encode((histories, which, ()))[:-1] + _array_header(len(rows))
    columns = (SEPARATOR.join(texts), b"".join(times), b"".join(identities), groups)
    repeats = len(rows) - len(set(identities))
    return _encode((VERSION, repeats, *columns, rest + b"".join(rows)))


def _numbered(found: list[History]) -> tuple[list[History], list[int]]:
    """Return the different histories in order, and the number of each that was found; most are one object."""
    objects = {id(history): history for history in found}
    histories = sorted(set(objects.values()))
    number = {history: n for n, history in enumerate(histories)}
    numbers = {one: number[history] for one, history in objects.items()}
    return histories, [numbers[one] for one in map(id, found)]


_INT_LENGTH = [{0xCC: 2, 0xD0: 2, 0xCD: 3, 0xD1: 3, 0xCE: 5, 0xD2: 5, 0xCF: 9, 0xD3: 9}.get(n, 1) for n in range(256)]
"""Bytes of a MessagePack integer, by its first."""
name_of = itemgetter(slice(0, NAME_LENGTH))
"""The conversation of a key."""
_BYTE = [bytes((n,)) for n in range(256)]
_FIELDS_LEFT = [bytes(((n - _COLUMNS) % 256,)) for n in range(256)]
"""How the row of a block begins, by how a whole row does."""
_USUAL, _USUAL_NAME = b"\x9b\xcf", b"\xc4" + _BYTE[IDENTITY_LENGTH]
"""A message with a time after 1970, and its identity."""
_ORDER_AT = NAME_LENGTH + 2 + _TIME.size
_TEXT_AT = _ORDER_AT + 3 + IDENTITY_LENGTH


def _text_at(key: bytes, at: int) -> tuple[int, int]:
    """Return where a MessagePack text begins and ends."""
    first = key[at]
    if first < 0xC0:
        return at + 1, at + 1 + (first & 31)
    size = 1 << (first - 0xD9)
    begin = at + 1 + size
    return begin, begin + int.from_bytes(key[at + 1 : begin])


def _text_header(length: int) -> bytes:
    """Return the shortest MessagePack header of a text."""
    if length < 32:
        return bytes((0xA0 | length,))
    if length < 1 << 8:
        return bytes((0xD9, length))
    return b"\xda" + struct.pack(">H", length) if length < 1 << 16 else b"\xdb" + struct.pack(">I", length)


def _array_header(length: int) -> bytes:
    """Return the shortest MessagePack header of an array."""
    if length < 16:
        return bytes((0x90 | length,))
    return b"\xdc" + struct.pack(">H", length) if length < 1 << 16 else b"\xdd" + struct.pack(">I", length)


def decode(data: bytes, name: str, begin: bytes = b"") -> State:
    """Return the state of a block; only rows of conversations whose ids begin as told.

    Raises:
        Unsupported: it is none that this version knows.
    """
    block = _checked(data, name)
    rest = encoding.decode(_rest_decoder, block.rest, name)
    count = len(rest.rows)
    if count != len(block.times) // _TIME.size or count != len(rest.which):
        raise Unsupported(name, "holds a block of messages whose columns have different lengths")
    found: State = {}
    length = len(block.identities) // count if count else 0
    binary = bytes((0xC4, length)) if length < 256 else b""
    texts = block.texts.split(SEPARATOR)
    at = 0
    try:
        for conversation, rows in block.groups:
            for n in range(at, at + rows) if conversation.startswith(begin) else ():
                row, text = bytes(rest.rows[n]), texts[n]
                order = 1 + _INT_LENGTH[row[1]]
                time = block.times[n * 8 : n * 8 + 8]
                known = b"\xcf" + time if b"\0\0\0\1" <= time < b"\x80" else _encode(_TIME.unpack(time)[0])
                found[
                    conversation + bytes((row[0] + _COLUMNS,)) + known + row[1:order] + binary
                    + block.identities[n * length : n * length + length] + _text_header(len(text)) + text
                    + row[order:-1]
                ] = (row[-1], rest.histories[rest.which[n]])  # fmt: skip
            at += rows
    except (IndexError, ValueError) as error:
        raise Unsupported(name, "holds a block of messages whose histories are not there") from error
    if any(state >= len(STATES) for state, _ in found.values()):
        raise Unsupported(name, "holds a block of messages in a state that this version does not know")
    return found


def columns_of(data: bytes, name: str) -> Columns:
    """Return what is searched of a block."""
    return _columns(_checked(data, name))


def columns_and_attachments(data: bytes, name: str) -> tuple[Columns, list[tuple[int, tuple[Attachment, ...]]]]:
    """Return the columns of a block of messages, and its attachments with the number of the row that has them."""
    block = _checked(data, name)
    rows = encoding.decode(_rest_decoder, block.rest, name).rows if _ATTACHED in data else []
    found = ((number, bytes(row)) for number, row in enumerate(rows))
    attached = [(n, _decode(_left_decoder, raw, name).more.attachments) for n, raw in found if _ATTACHED in raw]
    return _columns(block), attached


def _columns(block: _Block) -> Columns:
    return Columns(block.repeats, block.texts, block.times, block.identities, block.groups)


def _checked(data: bytes, name: str) -> _Block:
    block = encoding.decode(_block_decoder, data, name)
    count = sum(count for _, count in block.groups)
    if (
        block.version != VERSION or len(block.times) != count * _TIME.size or len(block.identities) % max(count, 1)
        or block.texts.count(SEPARATOR) != max(count - 1, 0) or min((n for _, n in block.groups), default=1) < 1
    ):  # fmt: skip
        raise Unsupported(name, f"holds a block of messages of version {block.version}")
    return block


def union_of(blocks: Iterable[bytes], name: str, begin: bytes = b"") -> State:
    """Return the state of the blocks of a month together; only rows of conversations whose ids begin as told."""
    found: State = {}
    for data in blocks:
        found.update(decode(data, name, begin))
    return found


__all__ = ["History", "State", "VERSION"]
