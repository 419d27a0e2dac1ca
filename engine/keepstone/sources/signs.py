"""What the beginning of a file must show for any reader to know it: asked of every file, and of its bytes alone.

To recognise a file is left to a process apart, and costs a thousand times as much as what is done here. So this says
no only where no reader can say yes: each sign is looser than what the reader asks for, and a test holds them together.
Nothing is taken apart here but a line, a comment and an encoding, in at most the bytes that a reader is given.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from keepstone.sources.sqlite import MAGIC

_ARCHIVE: Final = b"PK\x03\x04"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE: Final = b"\xef\xbb\xbf \t\r\n\x0b\x0c"
"""What a reader steps over before the first bracket: white space, and the mark of UTF-8."""

_XML: Final = re.compile(rb"<(?:smses|calls|allsms)\b")
_JSON: Final = re.compile(
    rb'[\[\s]*\{\s*"(?:keepstone|guild|about|personal_information|participants|ID|Timestamp|Contents|Attachments)"'
    rb'|[\[\s]*\{\s*"(?:version|backupTimeMs)"\s*:[^{}]*"(?:version|backupTimeMs|mediaRootBackupKey)"'
)
"""What begins with a key that a reader asks for."""
_INDEXES: Final = frozenset((b"users.json", b"channels.json", b"groups.json", b"mpims.json", b"dms.json"))
"""Lists of Slack: they are known by what lies beside them."""
_INDEX: Final = re.compile(rb"\[\s*[\]{]")
_CHAT: Final = re.compile(
    rb'"(?:date_unixtime|text_entities|from_id|actor_id|type|sender_name|timestamp_ms|thread_path|is_still_participant'
    rb'|senderName|threadName)"'
)
"""What stands with messages in the records of Telegram and Meta."""
_ROW: Final = re.compile(rb'"(?:thread_id|msg_box|duration)"')
"""What stands with a date in a row of Android's tables."""
_TABLE: Final = b"ID,Timestamp,Contents,Attachments"

_MARKS: Final = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_SPACES: Final = r" \t\u00a0\u2009\u202f"
_DATED: Final = re.compile(
    rf"[{_MARKS}]*\[?[{_MARKS}]*\d{{1,4}}[{_MARKS}]*[-/.][{_SPACES}]?\d{{1,2}}[{_MARKS}]*[-/.][{_SPACES}]?\d{{1,4}}"
    rf"[^\d{_SPACES}]*[{_SPACES}].*\d[:.]\d\d"
)
"""How a line of an exported chat begins, in the digits of any script: a date, and behind a space a time."""
_FIRST: Final = b"[0123456789"
"""With what it begins, if with ASCII: told without a look at the line."""
_LOG: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def shows_messages(base: bytes, head: bytes) -> bool:
    """Return whether any reader may know a file by its beginning.

    Args:
        base: the file's name without its folders.
        head: its first `reading.HEAD` bytes, or all of a shorter one.
    """
    if head.startswith((MAGIC, _ARCHIVE)):
        return True
    if head.startswith((b"<\0", b"\0<")):
        head = head.decode("utf-16-le" if head[0] else "utf-16-be", "replace").encode("utf-8", "replace")
    elif head.startswith(_UTF16):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    start = head.lstrip(_SPACE)
    first = start[:1]
    if first == b"<":
        return _XML.search(_without_comments(start)) is not None
    if first == b"{" or (first == b"[" and (b"{" in start or b"]" in start)):
        return _shows_json(base, start) or _shows_chat(head)
    return start.startswith(_TABLE) or _shows_chat(head)


def _shows_json(base: bytes, start: bytes) -> bool:
    if _JSON.match(start) or (base in _INDEXES and _INDEX.match(start)):
        return True
    if b'"messages"' in start and _CHAT.search(start):
        return True
    return b'"date"' in start and _ROW.search(start) is not None


def _shows_chat(head: bytes) -> bool:
    """Return whether the first line begins as one of an exported chat, and not as one of a program's log."""
    first = head[:1]
    if first < b"\x80" and first not in _FIRST:
        return False
    line = head.partition(b"\n")[0].decode("utf-8", "ignore")
    return _DATED.match(line) is not None and _LOG.match(line) is None


def _without_comments(text: bytes) -> bytes:
    """Return a beginning of XML without its comments. Each byte is looked at once, however many are left open."""
    kept: list[bytes] = []
    at = 0
    while (start := text.find(b"<!--", at)) >= 0 and (end := text.find(b"-->", start + 4)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return b"".join((*kept, text[at:]))
