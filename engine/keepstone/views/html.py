"""Chats as web pages: a folder that opens in any browser, without a network, and looks like a chat.

What people wrote is data and stays data: every field is escaped where it is put in, nothing of it becomes a tag, an
attribute's name, a link's scheme or a file's name. Should that ever fail, the page's own policy forbids all scripts but
the one of the search box, which it names by its hash, all connections, forms, frames and plug-ins.

A page has a bounded number of messages, so that a browser can hold it; pages are written as they come, and nothing of
a chat is held in memory but what the next line needs.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final, TextIO

from keepstone.messages.model import Attachment, Message
from keepstone.views.attachments import Opened
from keepstone.views.chat import Chat, OpenAttachment, minute_of, written_of

PREVIEWS: Final = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp"), "image"),
    **dict.fromkeys((".mp4", ".webm", ".mov", ".m4v", ".3gp"), "video"),
    **dict.fromkeys((".ogg", ".opus", ".mp3", ".m4a", ".aac", ".wav", ".flac", ".amr"), "audio"),
}
"""Endings of files that a page shows by itself. SVG is not among them: it is a document with scripts."""
_DAY = len("2026-11-23")
MESSAGES_PER_PAGE: Final = 10_000
QUOTE_LENGTH: Final = 160
MAX_NAME: Final = 60

_SAFE = re.compile(r"[^\w\-]+", re.ASCII)
_LINK = re.compile(r"https?://[^\s<>\"'`\x00-\x1f\u202a-\u202e\u2066-\u2069]+", re.IGNORECASE)
_CONTROL = {code: "\ufffd" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code not in (0x09, 0x0A)}
_STATES = {
    "draft": "draft", "queued": "waiting", "failed": "not sent", "sent": "sent", "delivered": "delivered",
    "read": "read", "played": "played",
}  # fmt: skip


def _asset(name: str) -> str:
    return (files("keepstone.views") / "assets" / name).read_text(encoding="utf-8")


STYLE: Final = _asset("chat.css")
SCRIPT: Final = _asset("search.js")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


# `file:` beside 'self': for a page opened from a disk, browsers do not agree what 'self' is.
POLICY: Final = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; img-src 'self' file:; "
    "media-src 'self' file:; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Written:
    """What an export wrote."""

    chats: int
    messages: int
    files: int
    """Attachments that were copied, each once."""
    missing: int
    """Attachments that nobody has the content of."""


def export_html(
    chats: Iterable[Chat], target: Path, open_attachment: OpenAttachment, zone: tzinfo = UTC, *, media: bool = True
) -> Written:
    """Write chats as a folder of web pages and return what was written.

    Args:
        target: a folder that is empty or does not exist.
        zone: in which times are shown.
        media: whether to copy attachments beside the pages.

    Raises:
        OSError: the folder cannot be written.
    """
    return _Export(target, open_attachment, zone, media).run(chats)


class _Export:
    def __init__(self, target: Path, open_attachment: OpenAttachment, zone: tzinfo, media: bool) -> None:
        self._target, self._zone, self._with_media = target, zone, media
        self._opened = open_attachment if isinstance(open_attachment, Opened) else Opened(open_attachment)
        self._files: dict[bytes, str | None] = {}
        self._chats = self._messages = self._missing = 0

    def run(self, chats: Iterable[Chat]) -> Written:
        self._target.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, chat in enumerate(chats, 1):
            rows.append(self._write_chat(chat, f"chat-{number:05}{_slug(chat.title)}"))
            self._chats += 1
        with (self._target / "index.html").open("w", encoding="utf-8") as page:
            page.write(_head("Chats"))
            page.write("<header><h1>Chats</h1>" + _SEARCH + "</header><main class=list>\n")
            page.writelines(rows)
            page.write(f"</main>{_FOOT}")
        copied = sum(name is not None for name in self._files.values())
        return Written(self._chats, self._messages, copied, self._missing)

    def _write_chat(self, chat: Chat, stem: str) -> str:
        """Write the pages of a chat and return its line in the list."""
        count = 0
        first = last = ""
        messages = iter(chat.messages)
        number, name = 1, f"{stem}.html"
        following: Message | None = next(messages, None)
        while following is not None or number == 1:
            following_name = f"{stem}-{number + 1}.html"
            with (self._target / name).open("w", encoding="utf-8") as page:
                page.write(_head(chat.title))
                page.write(
                    f"<header><a href=index.html>\u2039 Chats</a><h1>{_text(chat.title)}</h1>{_SEARCH}</header><main>\n"
                )
                in_page, day = 0, ""
                quotes: dict[str, str] = {}
                while following is not None and in_page < MESSAGES_PER_PAGE:
                    when = minute_of(following, self._zone)[:_DAY]
                    if when != day:
                        page.write(f"<h2>{when}</h2>\n")
                        day = when
                    self._write_message(page, chat, following, quotes)
                    first, last = first or when, when
                    in_page += 1
                    following = next(messages, None)
                count += in_page
                page.write(f"</main>{_pages(stem, number, following_name if following is not None else '')}{_FOOT}")
            number, name = number + 1, following_name
        self._messages += count
        span = f"{first} \u2013 {last}" if count else ""
        said = f"{count} message{'' if count == 1 else 's'}"
        return (
            f'<a class="chat row" href="{stem}.html"><b>{_text(chat.title)}</b>'
            f"<span>{_text(chat.conversation.service)}</span><span>{said}</span><span>{span}</span></a>\n"
        )

    def _write_message(self, page: TextIO, chat: Chat, message: Message, quotes: dict[str, str]) -> None:
        if message.native:
            quotes[message.native] = f"{chat.author_of(message)}: {_shortened(message.text)}"
            if len(quotes) > MESSAGES_PER_PAGE:
                del quotes[next(iter(quotes))]
        if (message.kind == "event" or message.direction == "none") and not message.attachments:
            page.write(f"<p class='event row'>{_text(' '.join(written_of(message)) or f'({message.kind})')}</p>\n")
            return
        side = "out" if message.direction == "out" else "in"
        page.write(f"<article class='{side} row'>")
        if side == "in":
            page.write(f"<b>{_text(chat.author_of(message))}</b>")
        if message.reply_to:
            quoted = quotes.get(message.reply_to, "\u2026")
            page.write(f"<blockquote>{_text(quoted)}</blockquote>")
        if message.subject:
            page.write(f"<strong>{_text(message.subject)}</strong>")
        for attachment in message.attachments:
            page.write(self._attachment(attachment))
        page.write(_body(message))
        page.writelines(f"<del title=earlier>{_text(edit.text)}</del>" for edit in message.edits)
        page.write(f"<small>{self._note(message)}</small>{_reactions(chat, message)}</article>\n")

    def _note(self, message: Message) -> str:
        words = [minute_of(message, self._zone)[_DAY + 1 :]] if message.time_ms else []
        words += ["forwarded"] * message.forwarded + ["edited"] * bool(message.edits) + ["\u2605"] * message.starred
        if message.state and message.direction == "out":
            words.append(_STATES[message.state])
        return _text(" \u00b7 ".join(words))

    def _attachment(self, attachment: Attachment) -> str:
        caption = f"<p dir=auto>{_linked(attachment.caption)}</p>" if attachment.caption else ""
        name = attachment.name or attachment.mime or "file"
        place = self._copy(attachment) if self._with_media else None
        if place is None:
            self._missing += self._with_media
            return f"<p class=absent>{_text(name)}</p>{caption}"
        kind = PREVIEWS.get(os.path.splitext(place)[1], "")
        if kind == "image":
            return f'<a href="{place}"><img loading=lazy src="{place}" alt="{_text(name)}"></a>{caption}'
        if kind:
            return f'<{kind} controls preload=none src="{place}"></{kind}>{caption}'
        return f'<p><a class=file href="{place}" download>{_text(name)}</a></p>{caption}'

    def _copy(self, attachment: Attachment) -> str | None:
        """Copy an attachment, once, under a name of its hash, and return that; None if nobody has its content."""
        if attachment.sha256 in self._files:
            return self._files[attachment.sha256]
        file = self._opened.unchecked(attachment)
        if file is None:
            return None
        file.close()
        folder = self._target / "media"
        folder.mkdir(exist_ok=True)
        unfinished = folder / "unfinished"
        hasher = hashlib.sha256()
        with unfinished.open("wb") as out:

            def write(block: bytes) -> None:
                hasher.update(block)
                out.write(block)

            whole = self._opened.copy(attachment, write)
        if not whole:
            unfinished.unlink()
            return None
        name = f"media/{hasher.hexdigest()[:32]}{_ending(attachment)}"
        unfinished.replace(self._target / name)
        self._files[attachment.sha256 or hasher.digest()] = name
        return name


def _ending(attachment: Attachment) -> str:
    """Return the ending of a copy's name: one of those a page shows, or none that a browser would run."""
    ending = os.path.splitext(attachment.name)[1].lower()
    if ending in PREVIEWS:
        return ending
    known = {
        "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "video/mp4": ".mp4",
        "video/3gpp": ".3gp", "audio/ogg": ".ogg", "audio/mpeg": ".mp3", "audio/mp4": ".m4a", "audio/amr": ".amr",
        "audio/aac": ".aac", "video/webm": ".webm", "application/pdf": ".pdf", "text/vcard": ".vcf",
        "text/x-vcard": ".vcf",
    }  # fmt: skip
    found = known.get(attachment.mime.partition(";")[0].strip().lower())
    if found is not None:
        return found
    # A page that came as an attachment must not open beside these pages as one of them.
    return ending if re.fullmatch(r"\.(pdf|vcf|docx?|xlsx?|pptx?|od[tsp]|zip|txt|csv|apk|epub)", ending) else ".bin"


def _body(message: Message) -> str:
    if message.text:
        return f"<p dir=auto>{_linked(message.text)}</p>"
    if message.attachments:
        return ""
    words = {"deleted": "This message was deleted.", "empty": "This message has no content that can be shown."}
    return f"<p class=absent>{_text(words.get(message.kind, f'({message.kind})'))}</p>"


def _reactions(chat: Chat, message: Message) -> str:
    if not message.reactions:
        return ""
    given = "".join(
        f'<span title="{_text(chat.name_of(reaction.author) or "You")}">{_text(reaction.emoji)}</span>'
        for reaction in message.reactions
    )
    return f"<footer>{given}</footer>"


def _text(text: str) -> str:
    """Return text for a page: escaped for elements and for quoted attributes, control characters made visible.

    Directions of writing are kept, and end with the text: each stands in an element of its own with `dir=auto` or
    `unicode-bidi: isolate`.
    """
    return escape(text.translate(_CONTROL), quote=True)


def _linked(text: str) -> str:
    """Return text for a page with its web addresses as links."""
    parts, at = [], 0
    for found in _LINK.finditer(text):
        address = found[0].rstrip(".,;:!?)]}")
        parts += [_text(text[at : found.start()]), f'<a rel="noreferrer" href="{_text(address)}">{_text(address)}</a>']
        at = found.start() + len(address)
    return "".join([*parts, _text(text[at:])])


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTE_LENGTH else text[: QUOTE_LENGTH - 1] + "\u2026"


def _slug(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    slug = _SAFE.sub("-", plain).strip("-")[:MAX_NAME].lower()
    return f"-{slug}" if slug else ""


_SEARCH = "<input id=search type=search placeholder=Search aria-label=Search>"
_FOOT = f"<script>{SCRIPT}</script></body></html>\n"


def _head(title: str) -> str:
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
    )


def _pages(stem: str, number: int, following: str) -> str:
    before = "" if number == 1 else f"{stem}.html" if number == 2 else f"{stem}-{number - 1}.html"
    links = [f'<a href="{before}">\u2039 Earlier</a>'] * bool(before)
    links += [f'<a href="{following}">Later \u203a</a>'] * bool(following)
    return f"<nav>{''.join(links)}</nav>" if links else ""
