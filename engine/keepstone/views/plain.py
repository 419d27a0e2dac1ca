"""Chats as plain files: JSON lines (complete, and read back), text, CSV and mbox.

JSON lines are for programs and for keeping: every field of every record, one a line. The others are for people and what
they use: they show who said what and when, and leave out what their form has no place for.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from io import StringIO
from typing import Final

import msgspec

from keepstone.messages.model import VERSION, Attachment, Call, Conversation, Message
from keepstone.sources.keepstone_jsonl import File
from keepstone.views.chat import Chat, OpenAttachment, content_of, local_time, minute_of, time_of, written_of

HEADER: Final = {"keepstone": "messages", "version": VERSION}
MAX_MAIL_ATTACHMENT: Final = 50 * 1024 * 1024
"""Bytes of an attachment that goes into a mail; a longer one is named only. A mail is in memory while it is written."""

_encoder = msgspec.json.Encoder(order="deterministic")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""What turns the direction of all that follows on a line. Letters have theirs without."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMNS: Final = (
    "service", "chat", "time", "zone", "direction", "author", "author_address", "kind", "text", "reply_to",
    "attachments", "reactions", "state", "edited", "subject", "captions",
)  # fmt: skip


def jsonl(chats: Iterable[Chat], calls: Iterable[Call] = ()) -> Iterator[bytes]:
    """Yield chats and calls as JSON lines: first what this is, then each conversation before its messages.

    A line is an object with one key: `conversation`, `message` or `call`; hashes and identities are in base64. The
    reader `keepstone-jsonl` gives the same records again.
    """
    yield jsonl_head()
    for chat in chats:
        yield jsonl_line("conversation", chat.conversation)
        for message in chat.messages:
            yield jsonl_line("message", message)
    for call in calls:
        yield jsonl_line("call", call)


def jsonl_head() -> bytes:
    """Return the first line of JSON lines."""
    return _encoder.encode(HEADER) + b"\n"


def jsonl_line(kind: str, record: Conversation | Message | Call | File) -> bytes:
    """Return a line: a record under its kind, or under `file` where the content of an attachment lies."""
    return _encoder.encode({kind: record}) + b"\n"


def text(chats: Iterable[Chat], zone: tzinfo = UTC) -> Iterator[bytes]:
    """Yield chats as text to read: a title, then `time author: text`, further lines indented."""
    for chat in chats:
        yield text_head(chat)
        for message in chat.messages:
            yield text_of(chat, message, zone)
        yield b"\n"


def text_head(chat: Chat) -> bytes:
    """Return the title of a chat as text."""
    return f"=== {_named(chat.title)} ({chat.conversation.service}) ===\n\n".encode("utf-8", "replace")


def text_of(chat: Chat, message: Message, zone: tzinfo, files: Sequence[str] | None = None) -> bytes:
    """Return a message as text.

    Args:
        files: what its files are called, where that is not what their senders called them.
    """
    when = minute_of(message, zone)
    author = "" if message.direction == "none" else f"{_named(chat.author_of(message))}: "
    said = "\n    ".join(_shown(line) for line in _said(message, files).split("\n"))
    return f"{when} {author}{said}\n".encode("utf-8", "replace")


def csv_table(chats: Iterable[Chat], zone: tzinfo = UTC) -> Iterator[bytes]:
    """Yield chats as one CSV table (RFC 4180, UTF-8 with a mark, so that spreadsheets see it).

    A cell that a spreadsheet would take for a formula has an apostrophe before it.
    """
    yield "\ufeff".encode() + _row(_COLUMNS)
    for chat in chats:
        for message in chat.messages:
            when = local_time(message, zone) if message.time_ms else None
            yield _row(
                (
                    message.service, chat.title, f"{when:%Y-%m-%d %H:%M:%S}" if when else "",
                    f"{when:UTC%z}" if when and message.zoned else "", message.direction, chat.author_of(message),
                    message.author, message.kind, message.text, message.reply_to,
                    "; ".join(name_of(attachment) for attachment in message.attachments),
                    " ".join(reaction.emoji for reaction in message.reactions), message.state,
                    "yes" if message.edits else "", message.subject,
                    "\n".join(attachment.caption for attachment in message.attachments if attachment.caption),
                )
            )  # fmt: skip


def _row(cells: Iterable[str]) -> bytes:
    out = StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return out.getvalue().encode("utf-8", "replace")


def _cell(text: str) -> str:
    text = _CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def mbox(chats: Iterable[Chat], open_attachment: OpenAttachment, zone: tzinfo = UTC) -> Iterator[bytes]:
    """Yield chats as one mailbox (RFC 4155, with `>From` quoting that can be undone): a mail a message.

    Mails of a chat share a subject and refer to the first, so that mail programs show them as one conversation.
    """
    for chat in chats:
        thread = ""
        for message in chat.messages:
            mail = _mail(chat, message, open_attachment, zone, thread)
            thread = thread or str(mail["Message-ID"])
            when = time_of(message.time_ms, UTC).strftime("%a %b %d %H:%M:%S %Y")
            body = mail.as_bytes(policy=SMTP.clone(linesep="\n"))
            yield f"From keepstone@localhost {when}\n".encode() + re.sub(rb"(?m)^(>*From )", rb">\1", body) + b"\n"


def _mail(
    chat: Chat, message: Message, open_attachment: OpenAttachment, zone: tzinfo, thread: str
) -> EmailMessage:  # fmt: skip
    mail = EmailMessage(policy=SMTP)
    author = chat.author_of(message)
    local = re.sub(r"[^\w.+-]", "_", message.author, flags=re.ASCII)[:60].strip(".") or "unknown"
    local = re.sub(r"\.\.+", ".", local)
    mail["From"] = Address(_header(author), local, f"{message.service}.invalid")
    mail["To"] = Address(_header(chat.title), "chat", f"{message.service}.invalid")
    mail["Subject"] = _header(chat.title) or message.service
    if message.time_ms:
        mail["Date"] = format_datetime(local_time(message, zone))
    mail["Message-ID"] = f"<{message.identity.hex()}@{message.service}.invalid>"
    if thread:
        mail["References"] = thread
    mail.set_content(_CONTROL.sub("\ufffd", _said(message, ())).encode("utf-8", "replace").decode())
    for attachment in message.attachments:
        _attach(mail, attachment, open_attachment)
    return mail


def _attach(mail: EmailMessage, attachment: Attachment, open_attachment: OpenAttachment) -> None:
    content = bytearray()
    if attachment.size <= MAX_MAIL_ATTACHMENT:
        for block in content_of(attachment, open_attachment):
            content += block
            if len(content) > MAX_MAIL_ATTACHMENT:
                content.clear()
                break
    name = _header(name_of(attachment)) or "file"
    if not content:
        mail.add_attachment(f"{name} is not in this mailbox.\n", filename=f"{name}.txt")
        return
    main, _, sub = attachment.mime.partition(";")[0].strip().lower().partition("/")
    known = re.fullmatch(r"(image|audio|video|application)", main) and re.fullmatch(r"[\w.+-]+", sub, re.ASCII)
    main, sub = (main, sub) if known else ("application", "octet-stream")
    mail.add_attachment(bytes(content), maintype=main, subtype=sub, filename=name)


def _header(text: str) -> str:
    """Return text for a header: on one line, without control characters, of a bounded length."""
    text = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", _TURNS.sub("", text)).strip()
    return text.encode("utf-8", "replace").decode()[:200]


def _said(message: Message, files: Sequence[str] | None = None) -> str:
    names = [name_of(attachment) for attachment in message.attachments] if files is None else files
    words = [*(f"<{name}>" for name in names), *written_of(message)]
    return "\n".join(words) if words else f"<{message.kind}>"


def name_of(attachment: Attachment) -> str:
    """Return what an attachment is called: as its sender did, or by what it is."""
    return attachment.name or attachment.mime or "file"


def _named(name: str) -> str:
    """Return how a person or a chat is called: what stands behind the name stays as it is."""
    return _TURNS.sub("\ufffd", _shown(name))


def _shown(text: str) -> str:
    return _CONTROL.sub("\ufffd", text).replace("\n", " ")
