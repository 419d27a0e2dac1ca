"""SMS Import/Export's JSON is read in all its forms, and its messages are those of other formats."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.model import Call, Conversation, Item, Loss, Message
from keepstone.sources import sms_backup_restore, sms_import_export
from keepstone.sources.reading import MemoryFolder, Options, Reader
from sources.test_sms_backup_restore import backup, mms, sms

READER: Reader = sms_import_export
TEXT = {
    "_id": "1", "thread_id": "1", "address": "+15550000001", "date": "1500000000000", "date_sent": "0", "read": "1",
    "status": "-1", "type": "1", "body": "a", "seen": "1", "error_code": "0", "__display_name": "Ann",
}  # fmt: skip


def photo(**more: object) -> dict[str, object]:
    return {
        "_id": "7", "thread_id": "3", "date": "1500000000", "msg_box": "1", "read": "0", "m_type": "132", "tr_id": "t",
        "__sender_address": {"_id": "1", "address": "+15550000001", "type": "137", "msg_id": "7"},
        "__recipient_addresses": [{"address": "+15550000009", "type": "151"}],
        "__parts": [
            {"_id": "3", "mid": "7", "seq": "0", "ct": "image/png", "cl": "a.png", "_data": "/data/app_parts/PART_1"},
            {"_id": "4", "mid": "7", "seq": "0", "ct": "text/plain", "text": "hi"},
        ],
    } | more  # fmt: skip


def items(content: bytes, **files: bytes) -> list[Item]:
    folder = MemoryFolder({"x/messages.ndjson": content} | {f"x/data/{name}": data for name, data in files.items()})
    assert READER.recognises("x/messages.ndjson", content[:4096], folder)
    return list(READER.read("x/messages.ndjson", folder, Options()))


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_messages_are_the_same_as_in_the_xml_format() -> None:
    found = [item for item in items(lines(TEXT, photo()), PART_1=b"abc") if isinstance(item, Message)]
    folder = MemoryFolder({"a": backup(sms('"a"'), mms(b"abc"))})
    same = [item for item in sms_backup_restore.read("a", folder, Options()) if isinstance(item, Message)]
    assert [one.identity for one in found] == [one.identity for one in same]
    assert [(one.chat, one.text, one.time_ms, one.author, one.state) for one in found] == [
        (one.chat, one.text, one.time_ms, one.author, one.state) for one in same
    ]


def test_attachments_are_found_beside_and_inside() -> None:
    content = lines(photo())
    folder = MemoryFolder({"messages.ndjson": content, "data/PART_1": b"abc"})
    (message,) = (one for one in READER.read("messages.ndjson", folder, Options()) if isinstance(one, Message))
    assert message.attachments[0].sha256 == sha256(b"abc").digest()
    opened = READER.open_attachment("messages.ndjson", folder, message.attachments[0])
    assert opened is not None
    assert opened.read() == b"abc"
    inside = photo(__parts=[{"ct": "image/png", "__binary_data": base64.b64encode(b"abc").decode()}])
    array = MemoryFolder({"m.json": json.dumps([TEXT, inside]).encode()})
    message = [one for one in READER.read("m.json", array, Options()) if isinstance(one, Message)][1]
    opened = READER.open_attachment("m.json", array, message.attachments[0])
    assert opened is not None
    assert opened.read() == b"abc"


def test_a_missing_file_is_a_loss_and_its_message_is_kept() -> None:
    found = items(lines(photo()))
    assert [type(one) for one in found] == [Conversation, Message, Loss]


def test_a_group_is_a_conversation_without_the_owner() -> None:
    group = photo(
        __recipient_addresses=[{"address": "+15550000009", "type": "151"}, {"address": "+15550000002", "type": "151"}]
    )
    keys = [one.key for one in items(lines(photo(), group)) if isinstance(one, Conversation)]
    assert keys == ["550000001", "550000001~550000002"]


def test_calls_are_read() -> None:
    call = {"number": "+15550000001", "date": "5", "duration": "7", "type": "2", "name": "Ann", "new": "1"}
    for content in (lines(call), json.dumps([call], indent=2).encode()):
        (found,) = items(content)
        assert isinstance(found, Call)
        assert (found.direction, found.outcome, found.seconds, found.people[0].name) == ("out", "answered", 7, "Ann")


def test_a_damaged_line_costs_one_record() -> None:
    content = lines(TEXT) + b'{"address": "1", "bo\n' + lines(TEXT | {"date": "9"}) + lines(TEXT)[:-9]
    found = items(content)
    assert sum(isinstance(one, Message) for one in found) == 2
    assert [one.records for one in found if isinstance(one, Loss)] == [2]


@given(st.text(), st.binary(max_size=20), st.integers(0, 2000))
def test_any_text_is_kept_and_damage_never_fails(body: str, junk: bytes, place: int) -> None:
    content = lines(TEXT | {"body": body})
    found = items(content)[1]
    assert isinstance(found, Message)
    assert found.text == body
    damaged = bytearray(lines(TEXT, photo()))
    place %= len(damaged)
    damaged[place:place] = junk
    list(READER.read("a", MemoryFolder({"a": bytes(damaged)}), Options()))
