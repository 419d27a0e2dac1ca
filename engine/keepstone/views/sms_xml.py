"""SMS, MMS and calls as the XML that the app SMS Backup & Restore puts back on a phone.

A record stands on lines of its own, in UTF-8. Attributes that the app wrote itself come back as they were, from
`extra`; for messages from elsewhere the ones that a phone needs are made. Characters that no XML can say become U+FFFD.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, tzinfo
from typing import Final
from xml.sax.saxutils import escape

import msgspec

from keepstone.messages.model import Attachment, Call, Conversation, Extra, Message
from keepstone.sources.telephony import BOXES, CALLS, CC, COMPLETE, FROM, OWN, TO, UNKNOWN_NAME, UTF8, address_of
from keepstone.sources.telephony_rows import DEFAULTS
from keepstone.views.chat import Chat, OpenAttachment, time_of

SERVICE: Final = "sms"
CALL_SERVICE: Final = "phone"
MESSAGES: Final = "smses"
PHONE_CALLS: Final = "calls"
"""The roots of the two kinds of files."""

_TAG: Final = 40
_BLOCK: Final = 768 * 1024
_HEAD: Final = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n"
_ESCAPES: Final = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_UNSAYABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NAME: Final = re.compile("(?![Xx][Mm][Ll])[A-Za-z_][A-Za-z0-9_.-]*")
"""What may be an attribute's name. Another source's column may be called anything; what a colon or `xml` means is told
nowhere in such a file, and the app would refuse all of it."""
_SMS: Final = (
    "protocol", "address", "date", "type", "subject", "body", "toa", "sc_toa", "service_center", "read", "status",
    "locked", "date_sent", "sub_id", "readable_date", "contact_name",
)  # fmt: skip
_MMS: Final = (
    "date", "ct_t", "msg_box", "address", "sub", "sub_cs", "m_id", "m_type", "tr_id", "date_sent", "read", "seen",
    "locked", "sub_id", "readable_date", "contact_name",
)  # fmt: skip
_CALL: Final = ("number", "duration", "date", "type", "presentation", "readable_date", "contact_name")
_OURS: Final = frozenset(("body", "sub", "subject", "m_id", "duration", "readable_date"))
"""What a message itself says, whatever else its source said."""
_PART: Final = ("seq", "ct", "name", "chset", "cd", "fn", "cid", "cl", "ctt_s", "ctt_t", "text")
_ADDRESS: Final = ("address", "type", "charset")

_rows = msgspec.json.Decoder(list[dict[str, str]])


def messages_xml(
    chats: Iterable[Chat], open_attachment: OpenAttachment, zone: tzinfo = UTC, count: int | None = None
) -> Iterator[bytes]:
    """Yield the messages of a phone; what other services' chats hold is left out."""
    yield head(MESSAGES, count)
    for chat in chats:
        if chat.conversation.service != SERVICE:
            continue
        for message in chat.messages:
            shown = time_of(message.time_ms, zone).strftime("%b %d, %Y %H:%M:%S")
            if message.attachments or message.precision_ms > 1:
                yield from _mms(chat.conversation, message, open_attachment, shown)
            else:
                yield _sms(chat.conversation, message, shown)
    yield b"</smses>\n"


def calls_xml(calls: Iterable[Call], zone: tzinfo = UTC, count: int | None = None) -> Iterator[bytes]:
    """Yield a phone's calls; those of other services are left out."""
    yield head(PHONE_CALLS, count)
    for call in calls:
        if call.service == CALL_SERVICE:
            yield _call(call, time_of(call.time_ms, zone).strftime("%b %d, %Y %H:%M:%S"))
    yield b"</calls>\n"


def head(root: str, count: int | None = None) -> bytes:
    """Return how a file begins: the same length for every count, as that is known when all is written."""
    tag = f"<{root}" if count is None else f'<{root} count="{count}"'
    return f"{_HEAD}{tag.ljust(_TAG)}>\n".encode()


def _tag(name: str, order: Iterable[str], known: dict[str, str], extra: Extra, end: str = " />\n") -> bytes:
    """Return an element: what is known, what the source said besides, and `null` for what is expected."""
    given = dict.fromkeys(order, "null") | {key: value for key, value in DEFAULTS.items() if key in order}
    dated = known.get("date", "0") != "0"  # Else a source may have said a date that is none.
    ours = _OURS | {"date"} if dated else _OURS
    given |= known | {key: str(value) for key, value in extra.items() if _NAME.fullmatch(key) and key not in ours}
    attributes = " ".join(f'{key}="{_written(value)}"' for key, value in given.items())
    return f"<{name} {attributes}{end}".encode()


def _written(value: str) -> str:
    return escape(_UNSAYABLE.sub("\ufffd", value), _ESCAPES)


def _box(message: Message) -> str:
    if message.direction == "in":
        return "1"
    return next((box for box, (way, state) in BOXES.items() if way == "out" and state == message.state), "2")


def _known(conversation: Conversation, message: Message, shown: str) -> dict[str, str]:
    unread = message.direction == "in" and message.state != "read"
    return {
        "address": address_of(conversation),
        "date": str(message.time_ms),
        "read": "0" if unread else "1",
        "readable_date": shown,
        "contact_name": conversation.title or UNKNOWN_NAME,
    }


def _sms(conversation: Conversation, message: Message, shown: str) -> bytes:
    known = _known(conversation, message, shown) | {
        "type": _box(message),
        "subject": message.subject or "null",
        "body": message.text,
    }
    if message.direction == "out" and message.state in ("delivered", "read"):
        known["status"] = COMPLETE
    return b"  " + _tag("sms", _SMS, known, message.extra)


def _mms(conversation: Conversation, message: Message, open_attachment: OpenAttachment, shown: str) -> Iterator[bytes]:
    extra = dict(message.extra)
    parts, addresses = extra.pop("parts", None), extra.pop("addrs", None)
    subject = message.subject
    if extra.get("sub_cs") == UTF8:
        subject = subject.encode("utf-8", "replace").decode("latin-1")
    known = _known(conversation, message, shown) | {
        "msg_box": _box(message),
        "sub": subject or "null",
        "m_id": message.native or "null",
    }
    if addresses is None:
        known |= {
            "ct_t": "application/vnd.wap.multipart.related",
            "m_type": "132" if message.direction == "in" else "128",
        }
    yield b"  " + _tag("mms", _MMS, known, extra, ">\n") + b"    <parts>\n"
    for part in _parts(message, parts):
        if isinstance(part, Attachment):
            yield from _file(part, open_attachment)
        else:
            yield b"      " + _tag("part", _PART, {}, {**part})
    yield b"    </parts>\n    <addrs>\n"
    for one in _decoded(addresses) if addresses is not None else _addresses(conversation, message):
        yield b"      " + _tag("addr", _ADDRESS, {}, {**one})
    yield b"    </addrs>\n  </mms>\n"


def _decoded(rows: object) -> list[dict[str, str]]:
    try:
        return _rows.decode(rows) if isinstance(rows, str) else []
    except msgspec.MsgspecError:
        return []


def _parts(message: Message, rows: object) -> Iterator[Attachment | dict[str, str]]:
    """Yield the parts of an MMS in their order: files, and what is none at the numbers that it had."""
    others = _decoded(rows)
    files = list(message.attachments)
    texts = [one for one in others if one.get("ct", "").lower().startswith("text/plain")]
    if len(texts) == 1:
        texts[0].setdefault("text", message.text)
    elif not texts and message.text:
        others.append({"": "", "seq": "0", "ct": "text/plain", "chset": UTF8, "text": message.text})
    number = 0
    while others or files:
        if others and (not files or others[0][""] == str(number)):
            yield {key: value for key, value in others.pop(0).items() if key}
        else:
            yield files.pop(0)
        number += 1


def _file(attachment: Attachment, open_attachment: OpenAttachment) -> Iterator[bytes]:
    extra = {key: value for key, value in attachment.extra.items() if key != "data"}
    known = {"seq": "0", "ct": attachment.mime or "null"}
    if attachment.name and not any(key in extra for key in ("name", "fn", "cl")):
        known["cl"] = attachment.name
    told = attachment.size >= 0 or attachment.sha256 != b""
    content = open_attachment(attachment) if told else None
    if content is None and known["ct"].lower().startswith("text/plain"):
        known["text"] = ""  # Else the missing file would be the text "null".
    yield b"      " + _tag("part", _PART, known, extra, ' data="' if content is not None else " />\n")
    if content is None:
        return
    held = b""
    with content:
        while block := content.read(_BLOCK):
            held += block
            whole = len(held) // 3 * 3
            yield binascii.b2a_base64(held[:whole], newline=False)
            held = held[whole:]
    yield binascii.b2a_base64(held, newline=False) + b'" />\n'


def _addresses(conversation: Conversation, message: Message) -> Iterator[dict[str, str]]:
    others = [person.address for person in conversation.people]
    if message.direction == "in":
        sender = message.author or (others[0] if others else "")
        yield {"address": sender, "type": FROM, "charset": UTF8}
        yield {"address": OWN, "type": TO, "charset": UTF8}
        others = [one for one in others if one != sender]
    else:
        yield {"address": OWN, "type": FROM, "charset": UTF8}
    for one in others:
        yield {"address": one, "type": CC if message.direction == "in" else TO, "charset": UTF8}


def _call(call: Call, shown: str) -> bytes:
    person = call.people[0] if call.people else None
    wanted = (call.direction, call.outcome)
    kind = next((kind for kind, what in CALLS.items() if what == wanted), "2" if call.direction == "out" else "1")
    known = {
        "number": person.address if person else "",
        "duration": str(call.seconds),
        "date": str(call.time_ms),
        "type": kind,
        "readable_date": shown,
        "contact_name": (person.name if person else "") or UNKNOWN_NAME,
    }
    return b"  " + _tag("call", _CALL, known, call.extra)
