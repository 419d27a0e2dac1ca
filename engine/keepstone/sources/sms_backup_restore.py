"""SMS Backup & Restore: XML with an element for each SMS, MMS (RCS among them) and call, as Android's tables have them.

`null` is what such a file says for nothing, except in a text, where somebody may have written it. What follows from
something else is not kept (`readable_date`, in the language of the phone), nor is what names a row (`_id`).
An attachment's place is its MMS's time and the number of its part, the same in the next backup.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from keepstone.messages.model import Attachment, Item, Loss
from keepstone.sources import telephony_rows as rows
from keepstone.sources.backup_xml import Records
from keepstone.sources.reading import Folder, Options, UnreadableSource
from keepstone.sources.references import encoding_of
from keepstone.sources.telephony import Chats, whole
from keepstone.sources.telephony_rows import Record
from keepstone.sources.windows import Places, Run
from keepstone.sources.xml_files import find_files, open_file

NAME = "sms-backup-restore"

ROOTS: Final = ("smses", "calls", "allsms")
_FIRST: Final = re.compile(r"<([A-Za-z_][\w.-]*)[\s>/]")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    text = head.decode(encoding_of(head), "replace").lstrip("\ufeff \t\r\n")
    found = _FIRST.search(_COMMENT.sub("", text)) if text.startswith("<") else None
    return found is not None and found[1] in ROOTS


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with folder.open(name) as file:
        records = Records(file)
        chats = Chats()
        sms = rows.Sms(chats)
        found = 0
        for record in records:
            found += 1
            if isinstance(record, Record):
                yield from rows.mms(record, chats)
            elif record[0] == "sms":
                yield from sms.items(record[1])
            else:
                yield rows.call(record[1])
        yield from _losses(records, found)
        if not found and records.root_name not in ROOTS:
            raise UnreadableSource(f"The file {name!r} is no backup of a phone.")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    if (place := _PLACES.of(name, folder).get(attachment.sha256)) is not None:
        return open_file(folder.open(name), place)
    with folder.open(name) as file:
        if not encoding_of(file.read(4)).startswith("utf-16"):
            return None
    date, _, number = attachment.place.partition("/")
    kept: list[bytes] = []

    def on_file(record: Record, index: int, content: bytes) -> None:
        wanted = not attachment.sha256 or record.parts[index].sha256 == attachment.sha256
        if wanted and record.attributes.get("date") == date and str(index) == number:
            kept.append(content)

    with folder.open(name) as file:
        for _record in Records(file, on_file):
            if kept:
                break
    return io.BytesIO(kept[0]) if kept else None


def _find_files(name: str, folder: Folder) -> dict[bytes, Run]:
    with folder.open(name) as file:
        return find_files(file)


_PLACES: Final = Places(_find_files)


def _losses(records: Records, found: int) -> Iterator[Loss]:
    said = whole(records.root.get("count", "")) or 0
    missing = max(said - found, 0)
    if records.cut_off:
        yield Loss(what=f"The file is cut off: it holds {found} records of {said}.", records=missing)
    elif records.damages:
        yield Loss(what=f"The file is damaged in {records.damages} places.", records=missing)
    elif missing:
        yield Loss(what=f"The file says that it holds {said} records, and holds {found}.", records=missing)
    if records.too_long:
        yield Loss(what=f"{records.too_long} values are too long and were cut.")
    if records.bad_files:
        yield Loss(what=f"{records.bad_files} attachments are damaged.")
