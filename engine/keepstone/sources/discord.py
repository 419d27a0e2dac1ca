"""Discord: the JSON files of DiscordChatExporter, and the messages of the official data package.

Both know a message by its snowflake, which holds its time. The exporter tells of a whole channel; the package holds the
owner's own messages only, a folder a channel: `messages.json` (or `messages.csv` in packages from before 2024) beside
`channel.json`, and the owner in `user.json`.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

import msgspec

from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Call,
    Conversation,
    ConversationKind,
    Extra,
    Item,
    Loss,
    Message,
    MessageKind,
    Person,
    Reaction,
)
from keepstone.sources.exports import (
    Order,
    People,
    attachment,
    hashed,
    iso_time,
    kind_of_file,
    no_messages,
    open_beside,
    time_of,
    walk,
)
from keepstone.sources.json_stream import (
    JsonStream,
    Record,
    array,
    leftover,
    objects,
    raw,
    record,
    small_file,
    text,
    whole,
)
from keepstone.sources.reading import Folder, Options

NAME = "discord"

_EXPORTED = re.compile(rb'^\{\s*"guild"\s*:\s*\{.*"channel"\s*:\s*\{', re.DOTALL)
_PACKAGE = re.compile(rb'^\[\s*\{\s*"(?:ID|Timestamp|Contents|Attachments)"\s*:')
_PACKAGE_CSV = re.compile(rb"^ID,Timestamp,Contents,Attachments\r?\n")
_SNOWFLAKE_EPOCH_MS: Final = 1_420_070_400_000
_TEXTS: Final = frozenset(("Default", "Reply", "20", "23", "ApplicationCommand", "ContextMenuCommand"))
"""Types of messages that people and programs write; those with another name are notices."""
_KNOWN: Final = frozenset(
    ("id", "type", "timestamp", "content", "author", "attachments", "stickers", "reactions", "mentions", "reference",
     "callEndedTimestamp", "forwardedMessage")
)  # fmt: skip
_CHANNEL: Final = frozenset(("id", "name"))
_KINDS: Final[dict[str, ConversationKind]] = {
    "DirectTextChat": "person", "DirectGroupTextChat": "group", "DM": "person", "GROUP_DM": "group", "1": "person",
    "3": "group",
}  # fmt: skip


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file is of the exporter, or the messages of one channel of a package."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if _EXPORTED.match(start) or _PACKAGE_CSV.match(start):
        return True
    return _PACKAGE.match(start) is not None and b'"Contents"' in start


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield a channel."""
    with folder.open(name) as file:
        head = file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    if _PACKAGE_CSV.match(head):
        return _Package(name, folder, options).read_csv()
    if head.startswith(b"["):
        return walk(name, folder, _Package(name, folder, options).read)
    items = walk(name, folder, lambda stream: _exported(name, stream, options))
    return hashed(items, name, folder, open_attachment)


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file that the exporter fetched beside its JSON."""
    return open_beside(name, folder, attachment.place)


# DiscordChatExporter --------------------------------------------------------------------------------------------


def _exported(name: str, stream: JsonStream, options: Options) -> Iterator[Item]:
    header: Record = {}
    channel: _Channel | None = None
    for key in stream.members():
        if key == "messages" and stream.peek() == "[":
            channel = channel or _Channel(header, options)
            yield channel.conversation
            for entry in stream.records(_looks_right):
                yield channel.item(entry)
            yield from channel.people.more()
        elif stream.peek() != "[":
            header[key] = stream.value()
    if channel is None:
        yield no_messages(name)


def _looks_right(found: Record) -> bool:
    return "timestamp" in found and "author" in found


class _Channel:
    """One channel of the exporter."""

    def __init__(self, header: Record, options: Options) -> None:
        guild, channel = record(header.get("guild")), record(header.get("channel"))
        self._key = text(channel.get("id"))
        self._title = text(channel.get("name"))
        self._owner = options.owner
        kind = _KINDS.get(text(channel.get("type")), "channel")
        self._person = kind == "person"
        extra = leftover(channel, _CHANNEL)
        extra |= {f"guild.{key}": value for key, value in leftover(guild, frozenset()).items()}
        self.conversation = Conversation(
            service="discord", account=self._owner, key=self._key, kind=kind, title=self._title, extra=extra
        )
        self.people = People(self.conversation)
        self._order = Order()

    def _direction(self, author: Record) -> Literal["in", "out", "unknown"]:
        """Return which way a message went: the exporter does not say whose account it used, but names the other."""
        names = (text(author.get("id")), text(author.get("name")), text(author.get("nickname")))
        if not any(names):
            return "unknown"
        if self._owner:
            return "out" if self._owner in names else "in"
        if not self._person or not self._title:
            return "unknown"
        return "in" if self._title in names else "out"

    def item(self, entry: Record) -> Item:
        native, form = text(entry.get("id")), text(entry.get("type"))
        author = record(entry.get("author"))
        address = text(author.get("id"))
        self.people.named(address, text(author.get("nickname")) or text(author.get("name")))
        time_ms, zoned = iso_time(entry.get("timestamp"))
        extra = leftover(entry, _KNOWN)
        body = text(entry.get("content"))
        if form == "Call":
            return self._call(entry, extra, native, time_ms, body)
        files, stickers = objects(entry.get("attachments")), objects(entry.get("stickers"))
        forwarded = record(entry["forwardedMessage"]) if "forwardedMessage" in entry else {}
        if forwarded:
            files += objects(forwarded.get("attachments"))
            stickers += objects(forwarded.get("stickers"))
        attachments = tuple([_file(file) for file in files] + [_sticker(sticker) for sticker in stickers])
        notice = form not in _TEXTS and not form.isdigit()
        kind: MessageKind = "event" if notice else _kind(attachments, bool(stickers))
        if form not in ("Default", "Reply", ""):
            extra["type"] = form
            if form.isdigit() and form not in _TEXTS:
                kind = "unknown"
        if not body and not attachments and "embeds" in entry:
            body = _embedded(entry["embeds"])
        if forwarded:
            body = body or text(forwarded.get("content"))
            extra |= {f"forwardedMessage.{key}": value for key, value in leftover(forwarded, _KNOWN).items()}
        if mentions := [text(user.get("id")) for user in objects(entry.get("mentions"))]:
            extra["mentions"] = " ".join(mentions)
        return Message(
            identity=services.numbered("discord", self._key, native),
            service="discord",
            chat=self._key,
            native=native,
            time_ms=time_ms,
            zoned=zoned,
            order=self._order.number(time_ms),
            author=address,
            direction="none" if notice else self._direction(author),
            kind=kind,
            text=body,
            reply_to=self._reply(record(entry["reference"]), extra) if "reference" in entry else "",
            forwarded=bool(forwarded),
            attachments=attachments,
            reactions=self._reactions(entry["reactions"], extra) if entry.get("reactions") else (),
            extra=extra,
        )

    def _reply(self, reference: Record, extra: Extra) -> str:
        if not reference:
            return ""
        if text(reference.get("channelId")) in (self._key, ""):
            return text(reference.get("messageId"))
        extra["reference"] = raw(reference)
        return ""

    def _reactions(self, value: object, extra: Extra) -> tuple[Reaction, ...]:
        """Return who gave which emoji; where that is not all that is said, the whole goes to `extra` too."""
        found, whole_story = [], False
        for entry in objects(value):
            given = record(entry.get("emoji"))
            emoji, users = text(given.get("name")), objects(entry.get("users"))
            for user in users:
                found.append(Reaction(author=text(user.get("id")), emoji=emoji))
                self.people.named(text(user.get("id")), text(user.get("nickname")) or text(user.get("name")))
            if not users:
                found.append(Reaction(author="", emoji=emoji))
            whole_story = whole_story or bool(given.get("id")) or (whole(entry.get("count")) or 0) != len(users)
        if whole_story:
            extra["reactions"] = raw([{key: entry[key] for key in entry if key != "users"} for entry in objects(value)])
        return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))

    def _call(self, entry: Record, extra: Extra, native: str, time_ms: int, body: str) -> Call:
        author = record(entry.get("author"))
        ended, _ = iso_time(entry.get("callEndedTimestamp"))
        if body:
            extra["content"] = body
        caller = Person(address=text(author.get("id")), name=text(author.get("nickname")) or text(author.get("name")))
        return Call(
            identity=services.call("discord", self._key, native), service="discord", chat=self._key, native=native,
            time_ms=time_ms, seconds=max(0, (ended - time_ms) // 1000) if ended else 0,
            direction=self._direction(author), people=(caller,) if self._direction(author) != "out" else (),
            extra=extra,
        )  # fmt: skip


def _file(file: Record) -> Attachment:
    place, name = text(file.get("url")), text(file.get("fileName"))
    found = attachment(place, whole(file.get("fileSizeBytes")), name=name)
    extra = leftover(file, frozenset(("url", "fileName", "fileSizeBytes")))
    return msgspec.structs.replace(found, extra=extra) if extra else found


def _sticker(sticker: Record) -> Attachment:
    extra = leftover(sticker, frozenset(("sourceUrl", "name")))
    return Attachment(place=text(sticker.get("sourceUrl")), name=text(sticker.get("name")), extra=extra)


def _embedded(value: object) -> str:
    """Return what programs write, who have no text but titles, descriptions and fields of a frame."""
    said: list[str] = []
    for embed in objects(value):
        said += [text(embed.get("title")), text(embed.get("description"))]
        for field in objects(embed.get("fields")):
            said += [text(field.get("name")), text(field.get("value"))]
    return "\n".join(part for part in said if part)


def _kind(attachments: tuple[Attachment, ...], sticker: bool) -> MessageKind:
    if sticker:
        return "sticker"
    if not attachments:
        return "text"
    name = attachments[0].name
    return "voice" if name == "voice-message.ogg" else kind_of_file("", name)


# The official package -------------------------------------------------------------------------------------------


class _Package:
    """The owner's messages in one channel."""

    def __init__(self, name: str, folder: Folder, options: Options) -> None:
        self._name = name
        self._folder = folder
        beside = posixpath.dirname(name)
        above = posixpath.dirname(beside)
        channel = record(small_file(folder, posixpath.join(beside, "channel.json")))
        index = record(small_file(folder, posixpath.join(above, "index.json")))
        named = re.search(r"c?(\d{5,20})$", posixpath.basename(beside))
        self._key = text(channel.get("id")) or (named[1] if named else f"~{posixpath.basename(beside)}")
        self._owner, person = options.owner, Person(address=options.owner)
        for other in folder.names():
            if posixpath.basename(other) == "user.json" and posixpath.dirname(posixpath.dirname(other)) in (
                posixpath.dirname(above), above,
            ):  # fmt: skip
                user = record(small_file(folder, other))
                self._owner = text(user.get("id")) or self._owner
                person = Person(address=self._owner, name=text(user.get("global_name")) or text(user.get("username")))
                break
        kind = _KINDS.get(text(channel.get("type")), "channel" if channel else "unknown")
        people = {
            address: Person(address=address) for entry in array(channel.get("recipients")) if (address := text(entry))
        }
        if self._owner:
            people[self._owner] = person
        guild = record(channel.get("guild"))
        self._conversation = Conversation(
            service="discord", account=self._owner, key=self._key, kind=kind,
            title=text(channel.get("name")) or text(index.get(self._key)),
            people=tuple(people[address] for address in sorted(people)),
            extra={
                **leftover(channel, frozenset(("id", "name", "recipients", "guild"))),
                **{f"guild.{key}": value for key, value in leftover(guild, frozenset()).items()},
            },
        )  # fmt: skip
        self._order = Order()

    def read(self, stream: JsonStream) -> Iterator[Item]:
        yield self._conversation
        for entry in stream.records(lambda found: "ID" in found and "Contents" in found):
            yield self._message(entry)

    def read_csv(self) -> Iterator[Item]:
        """Yield the messages of an older package; a row that is cut off is told as a loss."""
        yield self._conversation
        with self._folder.open(self._name) as file:
            # Lines end at line feeds alone: texts hold other characters that some take for the end of one.
            lines = (line.decode("utf-8", "replace") for line in iter(file.readline, b""))
            rows = csv.reader(lines, strict=True)
            columns = [column.removeprefix("\ufeff") for column in next(rows, [])]
            try:
                for row in rows:
                    if len(row) == len(columns):
                        yield self._message(dict(zip(columns, row, strict=True)))
                    elif row:
                        yield Loss(what=f"Row {rows.line_num} of {self._name} is cut off.", records=1)
            except csv.Error:
                yield Loss(what=f"The file {self._name} is cut off, or damaged in a way that hides what follows.")

    def _message(self, entry: Record) -> Message:
        native = text(entry.get("ID"))
        time_ms, precise = _package_time(entry.get("Timestamp"), whole(native))
        attachments = tuple(attachment(place) for place in text(entry.get("Attachments")).split() if place)
        return Message(
            identity=services.numbered("discord", self._key, native),
            service="discord",
            chat=self._key,
            native=native,
            time_ms=time_ms,
            precision_ms=1 if precise else 1000,
            order=self._order.number(time_ms),
            author=self._owner,
            direction="out",
            kind=_kind(attachments, sticker=False),
            text=text(entry.get("Contents")),
            attachments=attachments,
            extra=leftover(entry, frozenset(("ID", "Timestamp", "Contents", "Attachments"))),
        )


def _package_time(value: object, snowflake: int | None) -> tuple[int, bool]:
    """Return when a message was sent: newer packages round to seconds what the snowflake knows in milliseconds."""
    said, _ = iso_time(value)
    known = time_of(((snowflake or 0) >> 22) + _SNOWFLAKE_EPOCH_MS) if snowflake and snowflake >> 22 else 0
    if known and (not said or 0 <= known - said < 1000):
        return known, True
    return said, said % 1000 != 0
