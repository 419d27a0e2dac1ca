"""Telegram Desktop's `result.json`: one chat, or everything of an account.

A chat is `{name, type, id, messages}`; a whole export keeps them in `chats.list` and `left_chats.list`. Ids are unique
in a chat. Exports from before the middle of 2021 write people as numbers and chats with their kind in the upper bits of
the id, and know times only by the clock of the computer that exported; both become what later exports write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Conversation,
    ConversationKind,
    Extra,
    Item,
    Message,
    MessageKind,
    Person,
    Reaction,
)
from keepstone.sources.exports import (
    Order,
    People,
    Repeats,
    attachment,
    direction_of,
    hashed,
    iso_time,
    no_messages,
    open_beside,
    time_of,
    walk,
)
from keepstone.sources.json_stream import (
    CutOff,
    JsonStream,
    Malformed,
    Record,
    array,
    leftover,
    objects,
    raw,
    record,
    text,
    whole,
)
from keepstone.sources.reading import Folder, Options

NAME = "telegram-desktop"

_TYPES: Final[dict[str, tuple[str, ConversationKind]]] = {
    "saved_messages": ("user", "person"),
    "replies": ("user", "channel"),
    "verify_codes": ("user", "channel"),
    "personal_chat": ("user", "person"),
    "bot_chat": ("user", "person"),
    "private_group": ("chat", "group"),
    "private_supergroup": ("channel", "group"),
    "public_supergroup": ("channel", "group"),
    "private_channel": ("channel", "channel"),
    "public_channel": ("channel", "channel"),
}
_PEERS: Final = ("user", "chat", "channel")
"""What the bits above the 32nd of an old id say."""
_ONE_CHAT = re.compile(
    rb'"(?:date_unixtime|text_entities|from_id|actor_id)"\s*:|"type"\s*:\s*"(?:%s)"' % "|".join(_TYPES).encode()
)
_OLD_MESSAGE = re.compile(rb'"type"\s*:\s*"(?:message|service)"\s*,\s*"date"\s*:\s*"\d{4}-\d\d-\d\dT')
_ALL = re.compile(
    rb'^\s*\{\s*"(?:about"\s*:[^{}]*"(?:personal_information|chats|left_chats|contacts|frequent_contacts|sessions|stories'
    rb'|profile_pictures|other_data)|personal_information)"'
)
_CHAT_START = re.compile(r'\{\s*"(?:name|type)"\s*:[^{}\[\]]{0,700}"messages"\s*:\s*\[')
_MEDIA: Final[dict[str, MessageKind]] = {
    "sticker": "sticker", "video_message": "video", "voice_message": "voice", "animation": "animation",
    "video_file": "video", "audio_file": "audio",
}  # fmt: skip
_KNOWN: Final = frozenset(
    (
        "id", "type", "date", "date_unixtime", "from", "from_id", "actor", "actor_id", "text", "text_entities",
        "reply_to_message_id", "reactions", "photo", "file", "file_name", "file_size", "photo_file_size", "mime_type",
        "thumbnail", "thumbnail_file_size", "contact_vcard", "contact_vcard_file_size", "media_type",
    )
)  # fmt: skip
_OUTCOMES: Final[dict[str, CallOutcome]] = {"busy": "rejected", "disconnect": "failed", "missed": "missed"}


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file is an export of one chat or of an account."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"{"):
        return False
    if b'"messages"' in start and (_ONE_CHAT.search(start) or _OLD_MESSAGE.search(start)):
        return True
    return _ALL.search(start) is not None


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file that the export holds beside `result.json`."""
    return open_beside(name, folder, attachment.place)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield the chats of an export, each with its messages and calls."""
    items = walk(name, folder, lambda stream: _Export(name, folder, options).read(stream))
    return hashed(items, name, folder, open_attachment)


class _Export:
    def __init__(self, name: str, folder: Folder, options: Options) -> None:
        self._name = name
        self._folder = folder
        self._owner = options.owner
        self._owner_name = ""
        self._lists = 0
        self._chats = -1
        self._headers: list[Record] | None = None

    def read(self, stream: JsonStream) -> Iterator[Item]:
        header: Record = {}
        for key in stream.members():
            if key == "messages":
                yield from self._messages(stream, header)
            elif key == "personal_information":
                person = record(stream.value())
                self._owner = f"user{text(person.get('user_id'))}" if person.get("user_id") else self._owner
                self._owner_name = f"{text(person.get('first_name'))} {text(person.get('last_name'))}".strip()
            elif key in ("chats", "left_chats") and stream.peek() == "{":
                yield from self._list(stream)
            elif stream.peek() not in ("[", "{"):
                header[key] = stream.value()
        if not self._lists:
            yield no_messages(self._name)

    def _list(self, stream: JsonStream) -> Iterator[Item]:
        for key in stream.members():
            if key != "list" or stream.peek() != "[":
                continue
            self._lists += 1
            for start in stream.items():
                while start == "{":
                    try:
                        yield from self._chat(stream)
                        break
                    except CutOff:
                        raise
                    except Malformed:
                        stream.damaged += 1
                        stream.find(_CHAT_START)

    def _chat(self, stream: JsonStream) -> Iterator[Item]:
        header: Record = {}
        for key in stream.members():
            if key == "messages" and stream.peek() == "[":
                yield from self._messages(stream, header)
            elif stream.peek() not in ("[", "{"):
                header[key] = stream.value()

    def _messages(self, stream: JsonStream, header: Record) -> Iterator[Item]:
        self._chats += 1
        if "type" not in header or "id" not in header:
            header = {**header, **self._later_header()}
        self._lists += 1
        chat: _Chat | None = None
        for entry in stream.records(_looks_right, _CHAT_START):
            if chat is None:
                chat = _Chat(header, entry, self._owner, self._owner_name)
                yield chat.conversation
            yield chat.item(entry)
        if chat is None:
            yield _Chat(header, {}, self._owner, self._owner_name).conversation
        else:
            yield from chat.people.more()
            self._owner = self._owner or chat.owner

    def _later_header(self) -> Record:
        """Return what stands behind the messages of this chat, if anything: somebody sorted the keys."""
        if self._headers is None:
            self._headers = []
            with self._folder.open(self._name) as file:
                try:
                    _collect_headers(JsonStream(file), self._headers)
                except Malformed:
                    pass  # The walk that yields will tell.
        return self._headers[self._chats] if self._chats < len(self._headers) else {}


def _collect_headers(stream: JsonStream, found: list[Record], depth: int = 0) -> None:
    """Append what each chat says of itself, in the order of their messages."""
    header: Record = {}
    for key in stream.members():
        char = stream.peek()
        if key == "messages" and char == "[":
            found.append(header)
            for _ in stream.records(_looks_right):
                pass
        elif depth < 2 and key in ("chats", "left_chats") and char == "{":
            _collect_headers(stream, found, depth + 1)
        elif key == "list" and char == "[" and depth == 1:
            for start in stream.items():
                if start == "{":
                    _collect_headers(stream, found, depth + 1)
        elif char not in ("[", "{"):
            header[key] = stream.value()


def _looks_right(found: Record) -> bool:
    return found.get("type") in ("message", "service", "unsupported") and "id" in found


class _Chat:
    """One chat: what its messages have in common."""

    def __init__(self, header: Record, first: Record, owner: str, owner_name: str) -> None:
        kind = text(header.get("type"))
        prefix, known = _TYPES.get(kind, ("", "unknown"))
        number, title = whole(header.get("id")), text(header.get("name"))
        # Old exports: integers for people, no time in UTC, and a chat's kind in its id.
        old = "date_unixtime" not in first and not isinstance(first.get("from_id", first.get("actor_id", "")), str)
        key = f"~{title}"
        if number is not None:
            key = _peer(number) if old and number >> 32 else f"{prefix}{number}"
        other = key if known == "person" and kind != "saved_messages" else ""
        if kind == "saved_messages":
            owner = owner or key
        people = [Person(address=other, name=title)] if other else []
        if owner.startswith("user") and owner != other:
            people.append(Person(address=owner, name=owner_name))
        self.conversation = Conversation(
            service="telegram", account=owner, key=key, kind=known, title=title,
            people=tuple(sorted(people, key=lambda person: person.address)),
            extra=leftover(header, frozenset(("name", "id", "about"))),
        )  # fmt: skip
        self.people = People(self.conversation)
        self._key = key
        self.owner = owner
        """Who exported: of a chat of two, who is not the other one."""
        self._other = other
        self._order = Order()
        self._repeats = Repeats()

    def item(self, entry: Record) -> Item:
        """Return a message or call of the chat."""
        service = entry.get("type") == "service"
        author = self._author(entry, "actor" if service else "from")
        number = whole(entry.get("id"))
        native = str(number) if number is not None else ""
        time_ms, zoned = time_of(whole(entry.get("date_unixtime")), 1000), True
        if not time_ms:
            time_ms, zoned = iso_time(entry.get("date"))
        if not self.owner and self._other and author.startswith("user") and author != self._other:
            self.owner = author
        if service and entry.get("action") == "phone_call":
            return self._call(entry, author, native, time_ms)
        order = self._order.number(time_ms)
        kind, attachments = _content(entry, service)
        body = _plain(entry["text"] if "text" in entry else entry.get("text_entities"))
        if not body and (service or not attachments or kind == "contact"):
            body = _action(entry) if service else _unsaid(entry)
        extra = leftover(entry, _KNOWN)
        if entry.get("type") not in ("message", "service"):
            extra["type"] = raw(entry.get("type"))
        reply = entry.get("reply_to_message_id")
        elsewhere = reply is not None and "reply_to_peer_id" in entry
        if elsewhere:
            extra["reply_to_message_id"] = raw(reply)
        if (form := _form(entry)) is not None:
            extra["text_entities"] = form
        return Message(
            identity=self._identity(native, author, time_ms, body),
            anchored=bool(native),
            service="telegram",
            chat=self._key,
            native=native,
            time_ms=time_ms,
            zoned=zoned,
            precision_ms=1000,
            order=order,
            author=author,
            direction="none" if service else direction_of(author, self.owner, self._other),
            kind=kind,
            text=body,
            reply_to="" if elsewhere else text(reply),
            forwarded="forwarded_from" in entry,
            attachments=attachments,
            reactions=_reactions(entry["reactions"], extra) if "reactions" in entry else (),
            extra=extra,
        )

    def _identity(self, native: str, author: str, time_ms: int, body: str) -> bytes:
        if native:
            return services.numbered("telegram", self._key, native)
        # No export of Telegram's own leaves the id out; texts made from one do.
        return services.unnumbered(
            "telegram", self._key, author, time_ms, body, self._repeats.count(time_ms, author, body)
        )

    def _author(self, entry: Record, label: str) -> str:
        given, name = entry.get(f"{label}_id"), text(entry.get(label))
        if isinstance(given, str):
            address = given
        else:
            number = whole(given)
            address = _peer(number) if number is not None else f"~{name}" if name else ""
        self.people.named(address, name)
        return address

    def _call(self, entry: Record, author: str, native: str, time_ms: int) -> Call:
        way = direction_of(author, self.owner, self._other)
        seconds = max(0, whole(entry.get("duration_seconds")) or 0)
        reason = text(entry.get("discard_reason"))
        outcome = "answered" if seconds else _OUTCOMES.get(reason, "unknown")
        if outcome == "missed" and way == "out":
            outcome = "cancelled"
        extra = leftover(entry, _KNOWN | {"action", "duration_seconds"})
        return Call(
            identity=services.call("telegram", self._key, native or str(time_ms)),
            service="telegram", chat=self._key, native=native, time_ms=time_ms, seconds=seconds, direction=way,
            outcome=outcome, extra=extra,
            people=(Person(address=self._other, name=self.conversation.title),) if self._other else (),
        )  # fmt: skip


def _peer(number: int) -> str:
    """Return how later exports write an old id."""
    kind = number >> 32
    return f"{_PEERS[kind]}{number & 0xFFFFFFFF}" if 0 <= kind < len(_PEERS) else f"user{number}"


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return text(record(value).get("text")) if isinstance(value, dict) else text(value)
    return "".join(part if isinstance(part, str) else text(record(part).get("text")) for part in value)


def _unsaid(entry: Record) -> str:
    """Return what a message without a text shows in its place."""
    card, invoice = record(entry.get("contact_information")), record(entry.get("invoice_information"))
    todo = record(entry.get("todo_list"))
    said = [
        _plain(record(entry.get("poll")).get("question")),
        f"{text(card.get('first_name'))} {text(card.get('last_name'))}".strip(), text(card.get("phone_number")),
        text(entry.get("place_name")), text(entry.get("address")),
        text(entry.get("game_title")), text(entry.get("game_description")),
        text(invoice.get("title")), text(invoice.get("description")),
        _plain(todo.get("title")), *(_plain(task.get("text")) for task in objects(todo.get("answers"))),
    ]  # fmt: skip
    return "\n".join(part for part in said if part)


def _action(entry: Record) -> str:
    """Return a notice in the export's own words: `edit_group_title` and the title."""
    members = [member for member in map(text, array(entry.get("members"))) if member]
    about = [text(entry.get("title")), text(entry.get("new_title")), text(entry.get("emoticon")), ", ".join(members)]
    return ": ".join(part for part in (text(entry.get("action")).replace("_", " "), *about) if part)


def _form(entry: Record) -> str | None:
    """Return the parts of a text as JSON, if they say more than the text."""
    parts = entry.get("text_entities") or entry.get("text")
    if not isinstance(parts, list):
        return None
    for part in parts:
        if isinstance(part, dict) and (len(part) > 2 or part.get("type") not in ("plain", "link")):
            return text(raw(parts))
    return None


def _content(entry: Record, service: bool) -> tuple[MessageKind, tuple[Attachment, ...]]:
    """Return what a message is, and its files."""
    if service:
        kind: MessageKind = "call" if entry.get("action") == "group_call" else "event"
        return kind, (_file(entry, "photo"),) if "photo" in entry else ()
    if "photo" in entry:
        return "image", (_file(entry, "photo"),)
    if "file" in entry or "media_type" in entry:
        return _MEDIA.get(text(entry.get("media_type")), "document"), (_file(entry, "file"),)
    if "contact_information" in entry:
        return "contact", (_file(entry, "contact_vcard"),) if "contact_vcard" in entry else ()
    if "location_information" in entry or "place_name" in entry:
        return "location", ()
    if "poll" in entry:
        return "poll", ()
    return ("text" if entry.get("type") in ("message", None) else "unknown"), ()


def _file(entry: Record, label: str) -> Attachment:
    place = text(entry.get(label))
    extra: Extra = {}
    if place.endswith(")") and "(File " in place:  # In the place of a file that was not exported, its reason.
        extra, place = {label: place}, ""
    thumbnail = text(entry.get("thumbnail"))
    if label == "file" and thumbnail and "(File " not in thumbnail:
        extra["thumbnail"] = thumbnail
    size = whole(
        entry.get(
            "photo_file_size" if label == "photo" else f"{label}_size" if label == "file" else f"{label}_file_size"
        )
    )
    found = attachment(
        place, size, text(entry.get("mime_type")) if label == "file" else "", text(entry.get("file_name"))
    )
    return msgspec.structs.replace(found, extra=extra) if extra else found


def _reactions(value: object, extra: Extra) -> tuple[Reaction, ...]:
    """Return who gave which emoji. What says more than that (counts, times without a zone) goes to `extra`, whole."""
    found = []
    for entry in objects(value):
        emoji = text(entry.get("emoji")) or text(entry.get("document_id")) or text(entry.get("type"))
        for giver in objects(entry.get("recent")):
            who = text(giver.get("from_id")) or f"~{text(giver.get('from'))}"
            found.append(Reaction(author=who, emoji=emoji))
        if not entry.get("recent"):
            found.append(Reaction(author="", emoji=emoji))
    if value:
        extra["reactions"] = raw(value)
    return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))
