"""Slack's export, unpacked or not: indexes of people and channels, a folder a channel, a file a day.

`users.json` stands for the whole export. Channels, private groups, conversations of several and of two are told in
`channels.json`, `groups.json`, `mpims.json` and `dms.json`; a conversation's folder bears its name or id. A message is
known by its `ts` in its channel; a thread's answers name the `ts` of its first message. Texts keep Slack's own marks
(`<@U0123>`, `&amp;`). Files are links, unless a tool that makes the same export fetched them beside the days.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Final

import msgspec

from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Conversation,
    ConversationKind,
    Edit,
    Extra,
    Item,
    Loss,
    Message,
    MessageKind,
    Person,
    Reaction,
)
from keepstone.sources.exports import Order, People, direction_of, hashed, kind_of_file, time_of, walk
from keepstone.sources.json_stream import (
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
from keepstone.sources.reading import Folder, Options, UnreadableSource
from keepstone.sources.windows import Places

NAME = "slack"

_INDEXES: Final[tuple[tuple[str, ConversationKind], ...]] = (
    ("channels.json", "channel"), ("groups.json", "group"), ("mpims.json", "group"), ("dms.json", "person"),
)  # fmt: skip
_DAY = re.compile(r"(?:^|/)\d{4}-\d\d-\d\d\.json$")
_UPLOAD = re.compile(r"/attachments/([^/-]+)-|(?:^|/)__uploads/([^/]+)/")
_ID = re.compile(r"[CGD][A-Z0-9]{7,}$")
_TS = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?")
_USERS = re.compile(rb'^\[\s*(?:\]|\{\s*"(?:id"\s*:\s*"[UWB]|team_id|name|deleted|profile|color))')
_CHANNELS = re.compile(rb'^\[\s*\{\s*"(?:id"\s*:\s*"[CGD]|name|created|creator|members)')
_TEXTS: Final = frozenset(
    ("", "bot_message", "me_message", "thread_broadcast", "reply_broadcast", "file_share", "file_comment",
     "assistant_app_thread", "slackbot_response")
)  # fmt: skip
_LOGGED: Final = ("message_changed", "message_deleted")
_KINDS: Final[dict[str, MessageKind]] = {"tombstone": "deleted", "huddle_thread": "call", "sh_room_created": "call"}
_KNOWN: Final = frozenset(
    ("type", "user", "text", "ts", "thread_ts", "parent_user_id", "replies", "reply_count", "reply_users",
     "reply_users_count", "latest_reply", "subscribed", "last_read", "files", "file", "reactions", "blocks", "team",
     "user_team", "source_team", "user_profile", "is_starred", "display_as_bot", "upload", "client_msg_id")
)  # fmt: skip
_SLACKBOT: Final = "USLACKBOT"
_ENOUGH: Final = 3
"""Conversations of two, at least, that tell whose they are by who is in all of them."""
_FILE: Final = frozenset(
    ("name", "title", "mimetype", "size", "url_private", "url_private_download", "permalink", "permalink_public",
     "timestamp", "username", "pretty_type", "user_team", "editable", "is_public", "public_url_shared", "is_starred",
     "has_rich_preview", "display_as_bot", "is_external", "media_display_type", "external_type", "file_access",
     "skipped_shares")
)  # fmt: skip


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file stands for an export: its list of users, or of channels if it has none."""
    start, base = head.lstrip(b"\xef\xbb\xbf \t\r\n"), posixpath.basename(name)
    beside = posixpath.dirname(name)
    if base == "users.json":
        return _USERS.match(start) is not None and bool(_days(folder, beside))
    indexes = [index for index, _ in _INDEXES]
    if base not in indexes or _CHANNELS.match(start) is None:
        return False
    first = next(other for other in ("users.json", *indexes) if posixpath.join(beside, other) in folder.names())
    return base == first and bool(_days(folder, beside))


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield every conversation of the export, day by day."""
    return hashed(_Export(posixpath.dirname(name), folder, options).read(), name, folder, open_attachment)


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file that a tool fetched beside the days, under the file's id."""
    known = text(attachment.extra.get("id"))
    place = _FETCHED.of(name, folder).get(known.encode("utf-8", "replace")) if known else None
    return folder.open(place) if place else None


def _find_fetched(name: str, folder: Folder) -> dict[bytes, str]:
    """Return where fetched files are, by their ids."""
    root = name[: name.rfind("/") + 1]
    found: dict[bytes, str] = {}
    for other in folder.names():
        if other.startswith(root) and (said := _UPLOAD.search(other, len(root))):
            found.setdefault((said[1] or said[2]).encode("utf-8", "replace"), other)
    return found


_FETCHED: Final = Places(_find_fetched)


def _days(folder: Folder, root: str) -> dict[str, list[str]]:
    """Return the files of days by the name of their folder, in order."""
    found: dict[str, list[str]] = {}
    for name in sorted(folder.names()):
        place = posixpath.dirname(name)
        if _DAY.search(name) and posixpath.dirname(place) == root and place != root:
            found.setdefault(posixpath.basename(place), []).append(name)
    return found


class _Export:
    def __init__(self, root: str, folder: Folder, options: Options) -> None:
        self._root = root
        self._folder = folder
        self._owner = options.owner
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []

    def read(self) -> Iterator[Item]:
        for user in chain(self._index("org_users.json"), self._index("users.json")):
            profile = record(user.get("profile"))
            name = text(profile.get("display_name")) or text(user.get("real_name")) or text(profile.get("real_name"))
            self._names[text(user.get("id"))] = name or text(user.get("name"))
        days = _days(self._folder, self._root)
        self._owner = self._owner or self._who_exported()
        for index, kind in _INDEXES:
            for channel in self._index(index):
                place = next((p for p in (text(channel.get("name")), text(channel.get("id"))) if p in days), "")
                yield from self._channel(channel, kind, days.pop(place, []))
        for place, files in days.items():  # What no index names.
            yield from self._channel({"id" if _ID.match(place) else "name": place}, "unknown", files)
        yield from self._losses

    def _who_exported(self) -> str:
        """Return who is in every conversation of two: an export of one person's own has no others."""
        told = len(self._losses)
        several = [{text(one) for one in array(dm.get("members"))} - {_SLACKBOT} for dm in self._index("dms.json")]
        del self._losses[told:]  # They are told when it is read for what it holds.
        common = set[str].intersection(*several) if len(several) >= _ENOUGH else set()
        return common.pop() if len(common) == 1 else ""

    def _index(self, base: str) -> Iterator[Record]:
        """Yield what an index holds, as far as it can be read."""
        damaged = 0
        try:
            with self._folder.open(posixpath.join(self._root, base)) as file:
                stream = JsonStream(file)
                try:
                    yield from stream.records(lambda found: "id" in found and ("name" in found or "members" in found))
                finally:
                    damaged = stream.damaged
        except FileNotFoundError:
            return
        except Malformed:
            damaged += 1
        if damaged:
            self._losses.append(Loss(what=f"The list {base} is damaged; what it said of {damaged} or more is lost."))

    def _channel(self, channel: Record, kind: ConversationKind, files: list[str]) -> Iterator[Item]:
        members = [text(member) for member in array(channel.get("members"))]
        name = text(channel.get("name"))
        key = text(channel.get("id")) or f"~{name}"
        extra = leftover(channel, frozenset(("id", "name", "members", "topic", "purpose")))
        for part in ("topic", "purpose"):
            if said := text(record(channel.get(part)).get("value")):
                extra[part] = said
        others = [member for member in members if member != self._owner]
        conversation = Conversation(
            service="slack", account=self._owner, key=key, kind=kind,
            title=name or ", ".join(self._names.get(member, member) for member in others),
            people=tuple(Person(address=member, name=self._names.get(member, "")) for member in sorted(set(members))),
            extra=extra,
        )  # fmt: skip
        yield conversation
        chat = _Chat(conversation, self._names, self._owner)
        for file in files:
            try:
                yield from walk(file, self._folder, chat.read)
            except UnreadableSource as error:
                yield Loss(what=error.message)
        yield from chat.people.more()


class _Chat:
    """The messages of one conversation."""

    def __init__(self, conversation: Conversation, names: dict[str, str], owner: str) -> None:
        self._key = conversation.key
        self._names = names
        self._owner = owner
        self.people = People(conversation)
        self._order = Order()

    def read(self, stream: JsonStream) -> Iterator[Item]:
        for entry in stream.records(_looks_right):
            yield from self._logged(entry) if text(entry.get("subtype")) in _LOGGED else [self._message(entry)]

    def _logged(self, entry: Record) -> Iterator[Message]:
        """Yield what a log of edits and deletions tells of another message: its earlier text, or that it is gone."""
        before, after = record(entry.get("previous_message") or entry.get("original")), record(entry.get("message"))
        deleted = "deleted_ts" in entry
        native = text(entry.get("deleted_ts")) or text(after.get("ts")) or text(before.get("ts"))
        if not before or not native:
            yield self._message(entry)
            return
        known = self._message({**(before if deleted else {**before, **after}), "ts": native})
        if deleted:
            yield known
            yield msgspec.structs.replace(known, kind="deleted", text="", attachments=(), reactions=(), extra={})
        elif "text" in after:
            earlier, until = text(before.get("text")), _time(text(record(after.get("edited")).get("ts")))
            edits = (Edit(text=earlier, time_ms=until),) if earlier != known.text else ()
            yield msgspec.structs.replace(known, edits=edits)
        else:
            yield known

    def _author(self, entry: Record) -> str:
        """Return who wrote: a person, or a program by its id or the name that it gave itself."""
        said = text(entry.get("username"))
        user = text(entry.get("user")) or text(record(entry.get("comment")).get("user"))
        address = user or text(entry.get("bot_id")) or (f"~{said}" if said else "")
        profile, program = record(entry.get("user_profile")), record(entry.get("bot_profile"))
        told = (profile.get("display_name"), profile.get("real_name"), profile.get("name"), said, program.get("name"))
        self.people.named(address, self._names.get(address) or next((name for name in map(text, told) if name), ""))
        return address

    def _message(self, entry: Record) -> Message:
        native, thread = text(entry.get("ts")), text(entry.get("thread_ts"))
        time_ms = _time(native)
        author, form = self._author(entry), text(entry.get("subtype"))
        files = [*objects(entry.get("files")), *([record(entry["file"])] if entry.get("file") else [])]
        attachments = tuple(_file(file) for file in files)
        body = text(entry.get("text"))
        if not body and not attachments and ("attachments" in entry or "blocks" in entry):
            body = _framed(entry)
        kind: MessageKind = "text"
        if form not in _TEXTS:
            kind = _KINDS.get(form, "event")
        elif attachments:
            kind = kind_of_file(attachments[0].mime)
        extra = leftover(entry, _KNOWN)
        blocks = entry.get("blocks")
        if blocks and (not body or any(block.get("type") != "rich_text" for block in objects(blocks))):
            extra["blocks"] = raw(blocks)
        return Message(
            identity=services.numbered("slack", self._key, native),
            service="slack",
            chat=self._key,
            native=native,
            time_ms=time_ms,
            order=self._order.number(time_ms),
            author=author,
            direction="none" if kind == "event" else direction_of(author, self._owner, ""),
            kind=kind,
            text=body,
            reply_to=thread if thread != native else "",
            starred=entry.get("is_starred") is True,
            attachments=attachments,
            reactions=_reactions(entry["reactions"], extra) if "reactions" in entry else (),
            extra=extra,
        )


def _looks_right(found: Record) -> bool:
    return "ts" in found and ("text" in found or "user" in found or "type" in found)


def _time(said: str) -> int:
    found = _TS.fullmatch(said)
    return time_of(int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0")[:3])) if found else 0


def _framed(entry: Record) -> str:
    """Return what programs write, who have no text but frames and blocks; and what somebody shares without a word."""
    said: list[str] = []
    for frame in objects(entry.get("attachments")):
        own = [text(frame.get(part)) for part in ("pretext", "title", "text")]
        for field in objects(frame.get("fields")):
            own += [text(field.get("title")), text(field.get("value"))]
        said += own if any(own) else [text(frame.get("fallback"))]
    for block in [] if any(said) else objects(entry.get("blocks")):
        for part in (block, *objects(block.get("fields"))):
            given = part.get("text")
            said.append(text(record(given).get("text")) or text(given))
    return "\n".join(part for part in said if part)


def _file(file: Record) -> Attachment:
    size = whole(file.get("size"))
    return Attachment(
        place=text(file.get("url_private_download")) or text(file.get("url_private")),
        size=size if size is not None and size >= 0 else -1,
        mime=text(file.get("mimetype")),
        name=text(file.get("name")) or text(file.get("title")),
        extra={
            key: value
            for key, value in leftover(file, _FILE).items()
            if not key.startswith(("thumb_", "original_", "deanimate"))
        },
    )


def _reactions(value: object, extra: Extra) -> tuple[Reaction, ...]:
    """Return who gave which emoji; where more did than are named, the whole goes to `extra` too."""
    if any((whole(entry.get("count")) or 0) > len(array(entry.get("users"))) for entry in objects(value)):
        extra["reactions"] = raw(value)
    found = [
        Reaction(author=text(user), emoji=text(entry.get("name")))
        for entry in objects(value)
        for user in array(entry.get("users")) or [""]
    ]
    return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))
