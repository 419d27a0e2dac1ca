"""SMS Import/Export: JSON of Android's rows, one a line (`messages.ndjson`, files beside it in `data/`) or in an array.

Columns have Android's names, what the program adds begins with `__`; the older form is one array, with files as base64
in the rows. No row says which conversation an MMS is in, and which of its numbers is the owner's: a first pass over the
MMS finds the owner's numbers, the conversation is with all others.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import BinaryIO, Final

import msgspec

from keepstone.messages.identity import number_key
from keepstone.messages.model import Attachment, Item, Loss
from keepstone.sources import telephony_rows as rows
from keepstone.sources.json_stream import JsonStream, Malformed, objects, record, text
from keepstone.sources.reading import MAX_TEXT, Folder, Options
from keepstone.sources.telephony import FROM, OWN, TO, Chats
from keepstone.sources.telephony_rows import Attributes, Part, Record

NAME = "sms-import-export"

Row = dict[str, object]

_BLOCK: Final = 1024 * 1024
_KEY: Final = re.compile(rb'"([a-z_]{2,40})"\s*:')
_SIGNS: Final = (
    {b"address", b"date", b"thread_id", b"type"}, {b"date", b"msg_box", b"thread_id"}, {b"date", b"msg_box", b"m_type"},
    {b"number", b"date", b"duration", b"type"},
)  # fmt: skip
_INLINE: Final = ("__binary_data", "binary_data", "__data")
"""What the array's forms call a file as base64."""
_decoder: Final = msgspec.json.Decoder(Row)


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not re.match(rb"(?:\[\s*)?\{\s*\"[a-z_]{2,40}\"\s*:\s*[\"0-9n]", start):
        return False
    keys = set(_KEY.findall(start))
    return any(signs <= keys for signs in _SIGNS)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    owners = _owners(name, folder)
    chats = Chats()
    sms = rows.Sms(chats)
    lines = _Rows(name, folder)
    missing = 0
    for row in lines:
        if _is_mms(row):
            found = _record(row, owners)
            missing += _find_files(found, row, name, folder)
            yield from rows.mms(found, chats)
        elif "number" in row and "duration" in row:
            yield rows.call(_columns(row, "name"))
        elif "address" in row or "body" in row:
            yield from sms.items(_columns(row))
        else:
            lines.damaged += 1
    if lines.damaged:
        yield Loss(what=f"{lines.damaged} records are damaged or of no known kind.", records=lines.damaged)
    if lines.cut_off:
        yield Loss(what="The file is cut off.")
    if missing:
        yield Loss(what=f"{missing} attachments are not there.")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    if attachment.place.startswith("data/"):
        try:
            return folder.open(_beside(name, attachment.place))
        except FileNotFoundError:
            return None
    date, _, number = attachment.place.partition("/")
    for row in _Rows(name, folder):
        parts = objects(row.get("__parts"))
        if not (number.isdecimal() and len(number) < 6 and int(number) < len(parts) and _milliseconds(row) == date):
            continue
        content = _inline(parts[int(number)])
        if content is not None and attachment.sha256 in (b"", sha256(content).digest()):
            return io.BytesIO(content)
    return None


class _Rows:
    """The objects of a file, in either form."""

    def __init__(self, name: str, folder: Folder, holding: bytes = b"") -> None:
        """Args: holding: leave out lines without these bytes, undecoded."""
        self.damaged = 0
        self.cut_off = False
        self._name, self._folder, self._holding = name, folder, holding

    def __iter__(self) -> Iterator[Row]:
        with self._folder.open(self._name) as file:
            array = JsonStream(file).peek() == "["
            file.seek(0)
            yield from self._array(file) if array else self._lines(file)

    def _array(self, file: BinaryIO) -> Iterator[Row]:
        stream = JsonStream(file)
        try:
            yield from stream.records(lambda row: "date" in row)
        except Malformed:
            self.cut_off = True
        self.damaged += stream.damaged

    def _lines(self, file: BinaryIO) -> Iterator[Row]:
        first = True
        while line := file.readline(MAX_TEXT):
            if self._holding not in line:
                continue
            try:
                yield _decoder.decode(line.removeprefix(b"\xef\xbb\xbf") if first else line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                row = _slowly(line)
                if row is not None:
                    yield row
                elif line.strip():
                    self.damaged += 1
            first = False


def _slowly(line: bytes) -> Row | None:
    """Return a line that is JSON but for its surrogates or control characters."""
    try:
        value = JsonStream(io.BytesIO(line)).value()
    except Malformed:
        return None
    return value if isinstance(value, dict) else None


def _is_mms(row: Row) -> bool:
    return "msg_box" in row or "__parts" in row


def _columns(row: Row, name_column: str = "") -> Attributes:
    """Return the columns of a row as text."""
    found = {
        key: value if type(value) is str else text(value)
        for key, value in row.items()
        if value is not None and key[:2] != "__" and not isinstance(value, list | dict)
    }
    name = row.get("__display_name") or row.get(name_column)
    if isinstance(name, str):
        found["contact_name"] = name
    return found


def _milliseconds(row: Row) -> str:
    """Return an MMS's time in milliseconds: Android has seconds."""
    date = text(row.get("date"))
    return date + "000" if date.isdecimal() and len(date) < 12 else date


def _addresses(row: Row) -> list[Attributes]:
    found = [record(row.get("__sender_address")), *objects(row.get("__recipient_addresses"))]
    found += objects(row.get("__addresses"))
    return [_columns(one) for one in found if one]


def _owners(name: str, folder: Folder) -> frozenset[str]:
    """Return the owner's numbers: who sent what was sent from here, and who alone was sent what was received."""
    found: set[str] = set()
    for row in _Rows(name, folder, b'"msg_box"'):
        if not _is_mms(row):
            continue
        addresses = _addresses(row)
        sent = text(row.get("msg_box")) != "1"
        own = [one.get("address", "") for one in addresses if one.get("type") == (FROM if sent else TO)]
        if len(own) == 1 and len(found) < 100:
            found.add(number_key(own[0]))
    return frozenset(found)


def _record(row: Row, owners: Iterable[str]) -> Record:
    attributes = _columns(row)
    attributes["date"] = _milliseconds(row)
    addresses = _addresses(row)
    others = {one.get("address", ""): one for one in addresses}
    numbers = sorted(one for one in others if one not in ("", OWN) and number_key(one) not in owners)
    senders = [one["address"] for one in addresses if one.get("type") == FROM and one.get("address", OWN) != OWN]
    attributes["address"] = "~".join(numbers or senders)
    names = [text(record(one).get("__display_name")) for one in _people(row) if text(one.get("address")) in numbers]
    attributes.setdefault("contact_name", names[0] if len(numbers) == len(names) == 1 else "")
    kept = [{key: value for key, value in one.items() if key in ("address", "type", "charset")} for one in addresses]
    return Record("mms", attributes, [Part(_part(part)) for part in objects(row.get("__parts"))], kept)


def _people(row: Row) -> list[Row]:
    return [record(row.get("__sender_address")), *objects(row.get("__recipient_addresses"))]


def _part(part: Row) -> Attributes:
    return {key: value for key, value in _columns(part).items() if key not in _INLINE}


def _find_files(found: Record, row: Row, name: str, folder: Folder) -> int:
    """Hash the files of an MMS; return how many are not there."""
    missing = 0
    for part, given in zip(found.parts, objects(row.get("__parts")), strict=True):
        content = _inline(given)
        if content is not None:
            part.binary, part.sha256, part.size = True, sha256(content).digest(), len(content)
            continue
        path = part.attributes.get("_data", "")
        if not path:
            continue
        part.binary, part.place = True, "data/" + path.rsplit("/", 1)[-1]
        try:
            part.sha256, part.size = _hash(_beside(name, part.place), folder)
        except OSError:
            missing += 1
    return missing


def _inline(part: Row) -> bytes | None:
    data = next((part[key] for key in _INLINE if isinstance(part.get(key), str)), None)
    try:
        return binascii.a2b_base64(data) if isinstance(data, str) else None
    except ValueError:
        return None


def _beside(name: str, place: str) -> str:
    folder, slash, _ = name.rpartition("/")
    return folder + slash + place


def _hash(name: str, folder: Folder) -> tuple[bytes, int]:
    hasher, size = sha256(), 0
    with folder.open(name) as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
            size += len(block)
    return hasher.digest(), size
