"""Messenger and Instagram, as Meta exports them: `message_1.json` to `message_n.json` of a thread.

The newest message comes first, and the thread's own name and path come last: each file is walked twice. Texts are
UTF-8 whose bytes were written as characters; what decodes as such was. Chats with end-to-end encryption come in a file
of another layout, with real texts and without a path. There are no ids of messages or people: people are their names,
and a message is its thread, author, millisecond and content.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final, Literal

import msgspec

from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Conversation,
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
    kind_of_file,
    no_messages,
    open_beside,
    time_of,
    walk,
)
from keepstone.sources.json_stream import JsonStream, Record, array, leftover, objects, record, small_file, text, whole
from keepstone.sources.reading import HEAD, Folder, Options

NAME = "meta"

_PART = re.compile(r"(?:^|.*/)message_(\d{1,6})\.json$", re.DOTALL)
_THREAD = re.compile(
    rb'"sender_name"\s*:|"timestamp_ms"\s*:|"thread_path"\s*:|"is_still_participant"\s*:|"senderName"\s*:|"threadName"\s*:'
)
_PARTICIPANTS = re.compile(rb'^\{\s*"participants"\s*:\s*\[\s*\{\s*"name"\s*:')
_MANY_NAMES = re.compile(rb'^\{\s*"participants"\s*:\s*\[\s*(?:"(?:[^"\\]|\\.)*"\s*,\s*){9}[^\]]*$')
"""A group of an encrypted chat whose names alone fill the beginning of its file."""
_THREAD_ID = re.compile(r"_([A-Za-z0-9-]{6,})$")
_BOX = r"(?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+/"
_INSIDE = re.compile(rf"^.*?/{_BOX}")
_ABOVE = re.compile(rf"^(|.*?/)(?:messages/)?{_BOX}")
"""What stands above the folder of a thread, whose name says nothing of the service."""
_COUNTED = re.compile(r"_\d{1,6}$")
"""What stands behind the name of an encrypted chat: its number in its export."""
_OF_INSTAGRAM: Final = ("your_instagram_activity/", "followers_and_following/")
_PROFILES: Final = (
    "personal_information/profile_information/profile_information.json",
    "profile_information/profile_information.json",
    "personal_information/personal_information/personal_information.json",
    "account_information/personal_information.json",
)
_MEDIA: Final[tuple[tuple[str, MessageKind], ...]] = (
    ("photos", "image"), ("videos", "video"), ("audio_files", "audio"), ("gifs", "animation"), ("files", "document"),
)  # fmt: skip
_KNOWN: Final = frozenset(
    (
        "sender_name", "timestamp_ms", "timestamp", "content", "reactions", "photos", "videos", "audio_files", "gifs",
        "files", "sticker", "is_unsent", "sender_id_INTERNAL", "senderName", "text", "media", "isUnsent", "type",
    )
)  # fmt: skip
_HEADER: Final = frozenset(("participants", "title", "threadName"))
_TYPES: Final[Mapping[str, MessageKind]] = {
    "": "text", "Generic": "text", "Share": "text", "text": "text", "media": "image", "link": "text",
    "placeholder": "empty", "Subscribe": "event", "Unsubscribe": "event", "Payment": "event", "Plan": "event",
    "Call": "call", "call": "call",
}  # fmt: skip
_MOST_MISSING: Final = 12
"""Files of a thread between two others that may be missing, less one."""
_GROUP_LIMIT: Final = 10_000
"""Messages of one millisecond that are held back to be counted from the oldest."""


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file is a thread, and of several of one thread the first."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"{") or b'"date_unixtime"' in start:
        return False
    known = _THREAD.search(start) if b'"messages"' in start else _PARTICIPANTS.match(start)
    if known is None and len(head) >= HEAD:
        known = _MANY_NAMES.match(start)
    return known is not None and not _part(name, folder, -1)


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield a thread: all of its files, in the order of their numbers."""
    return hashed(_read(name, folder, options), name, folder, open_attachment)


def _read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    thread, part = _Thread(name, folder, options), name
    while part:
        yield from walk(part, folder, thread.read)
        part = _part(part, folder, 1)
    yield from thread.end()


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file that the export holds: its place is relative to the root of the export, wherever that is."""
    inside = _INSIDE.sub("", attachment.place)
    for place in dict.fromkeys((attachment.place, inside)):
        for up in range(name.count("/") + 1):
            if (file := open_beside(name, folder, "../" * up + place.removeprefix("./"))) is not None:
                return file
    return None


def _part(name: str, folder: Folder, step: int) -> str:
    """Return the file of a thread that comes before or after another one; nothing if there is none near it.

    Nothing is listed: an export has thousands of threads beside its photos.
    """
    found = _PART.match(name)
    for number in range(int(found[1]) + step, int(found[1]) + step * _MOST_MISSING, step) if found else ():
        other = f"{name[: found.start(1)]}{number}.json" if found and number >= 0 else ""
        try:
            if other and folder.size(other) >= 0:
                return other
        except OSError:
            continue
    return ""


def _root(name: str) -> str:
    """Return the folder that an export is in, as the beginning of names."""
    found = _ABOVE.match(name)
    root = found[1] if found else name[: name.rfind("/") + 1]
    return root.removesuffix("your_facebook_activity/").removesuffix("your_instagram_activity/")


def _service(name: str, folder: Folder) -> Literal["messenger", "instagram"]:
    found = _ABOVE.match(name)
    place = (found[0][: found.end(1)] if found else posixpath.dirname(name)).lower()
    if "instagram" in place or "facebook" in place:
        return "instagram" if place.rfind("instagram") > place.rfind("facebook") else "messenger"
    signs = tuple(_root(name) + sign for sign in _OF_INSTAGRAM)
    return "instagram" if any(other.startswith(signs) for other in folder.names()) else "messenger"


def _owner_name(name: str, folder: Folder, names: list[str]) -> str:
    """Return who of some people the export's own profile is of; nothing if it has none, or does not settle it."""
    for place in _PROFILES:
        if isinstance(profile := small_file(folder, _root(name) + place), dict):
            own = {_repaired(said) for said in _own_names(profile)}
            return next((one for one in names if one in own), "")
    return ""


def _own_names(profile: Record) -> Iterator[str]:
    """Yield what may be the owner's name in a profile of Facebook's, or of Instagram's, whose labels are translated."""
    for said in (profile.get("profile_v2"), profile.get("profile")):
        named = record(said).get("name")
        yield text(named) or text(record(named).get("full_name"))
    for user in objects(profile.get("profile_user")):
        for entry in record(user.get("string_map_data")).values():
            yield text(record(entry).get("value"))


def _repaired(value: str) -> str:
    """Return a text whose UTF-8 bytes were written as characters; any other as it is."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


class _Thread:
    """One thread, through all of its files."""

    def __init__(self, name: str, folder: Folder, options: Options) -> None:
        self._name = name
        self._folder = folder
        self._service = _service(name, folder)
        self._said_owner = options.owner
        self._encrypted = False
        self._key = ""
        self._owner = ""
        self._other = ""
        self._order = Order()
        self._repeats = Repeats()
        self._people: People | None = None
        self._held: list[Record] = []
        self._held_ms = 0
        self._backwards = True

    def read(self, stream: JsonStream) -> Iterator[Item]:
        """Yield what one file holds."""
        if self._people is None:
            with self._folder.open(self._name) as file:
                header = _header(JsonStream(file))
            conversation = self._conversation(header)
            self._people = People(conversation)
            yield conversation
        found = False
        for key in stream.members():
            if key == "messages" and stream.peek() == "[":
                found = True
                for entry in stream.records(_looks_right):
                    yield from self._take(entry)
        if not found:
            yield no_messages(self._name)

    def end(self) -> Iterator[Item]:
        """Yield what is left when all files are read."""
        yield from self._let_go()
        if self._people is not None:
            yield from self._people.more()

    def _text(self, value: object) -> str:
        return text(value) if self._encrypted else _repaired(text(value))

    def _conversation(self, header: Record) -> Conversation:
        people = array(header.get("participants"))
        self._encrypted = "threadName" in header or any(isinstance(entry, str) for entry in people)
        named = [entry if isinstance(entry, str) else record(entry).get("name") for entry in people]
        names = [self._text(name) for name in named if name]
        title = self._text(header.get("title") or header.get("threadName"))
        own_folder = posixpath.dirname(self._name) if _PART.match(self._name) else ""
        place = posixpath.basename(text(header.get("thread_path")) or own_folder)
        identified = _THREAD_ID.search(place)
        self._key = identified[1] if identified else f"~{title}" if title else f"~{place}"
        if self._encrypted and self._only(called := _COUNTED.sub("", title)):
            title = called
        owner = self._said_owner or _owner_name(self._name, self._folder, names)
        others = [name for name in names if name != owner]
        group = bool(header.get("joinable_mode")) or header.get("thread_type") == "RegularGroup"
        single = len(people) == 2 and not group
        if owner in names:
            self._owner = f"~{owner}"
        elif single and len(names) == 1:  # The other one's account is gone.
            self._owner = f"~{names[0]}"
        elif single and title in names:
            others = [title]
            self._owner = "~" + next(name for name in names if name != title or names.count(title) == 2)
        if single and len(others) == 1:
            self._other = f"~{others[0]}"
        return Conversation(
            service=self._service, account=self._owner, key=self._key, title=title,
            kind="person" if single else "group" if len(names) > 2 or group else "unknown",
            people=tuple(Person(address=f"~{name}", name=name) for name in sorted(set(names))),
            extra=self._extra(header, _HEADER),
        )  # fmt: skip

    def _only(self, called: str) -> bool:
        """Return whether of the encrypted chats beside this one none has the same name before its number."""
        start = self._name[: self._name.rfind("/") + 1] + called
        alike = (other[len(start) :] for other in self._folder.names() if other.startswith(start + "_"))
        return sum(re.fullmatch(r"_\d{1,6}\.json", ending) is not None for ending in alike) <= 1

    def _extra(self, given: Record, known: frozenset[str]) -> Extra:
        found = leftover(given, known)
        for key, value in found.items():
            if isinstance(value, str):
                found[key] = self._text(value)
        return found

    # Newest first ---------------------------------------------------------------------------------------------

    def _take(self, entry: Record) -> Iterator[Item]:
        """Hold a message back until all of its millisecond are there: they are numbered from the oldest."""
        time_ms = _time(entry)
        if self._held and (time_ms != self._held_ms or len(self._held) >= _GROUP_LIMIT):
            if time_ms != self._held_ms:
                self._backwards = time_ms < self._held_ms
            yield from self._let_go()
        self._held_ms = time_ms
        self._held.append(entry)

    def _let_go(self) -> Iterator[Item]:
        held, self._held = self._held, []
        for entry in reversed(held) if self._backwards else held:
            yield self._item(entry, self._held_ms)

    # Messages -------------------------------------------------------------------------------------------------

    def _item(self, entry: Record, time_ms: int) -> Item:
        name = self._text(entry.get("sender_name") or entry.get("senderName"))
        author = f"~{name}" if name else ""
        if self._people is not None:
            self._people.named(author, name)
        body = self._text(entry.get("content") or entry.get("text"))
        kind, attachments = self._content(entry, body)
        extra = self._extra(entry, _KNOWN)
        if (form := text(entry.get("type"))) and form not in ("Generic", "text", "media"):
            extra["type"] = form
        content = body or "\n".join(posixpath.basename(file.place) for file in attachments) or form
        body = body or self._shared(entry)
        repeat = self._repeats.count(time_ms, author, content)
        identity = services.unnumbered(self._service, self._key, author, time_ms, content, repeat)
        if kind == "call":
            return self._call(entry, identity, author, time_ms, body, extra)
        return Message(
            identity=identity,
            service=self._service,
            chat=self._key,
            time_ms=time_ms,
            order=self._order.number(time_ms),
            author=author,
            direction="none" if kind == "event" else direction_of(author, self._owner, self._other),
            kind=kind,
            text=body,
            attachments=attachments,
            reactions=self._reactions(entry.get("reactions")) if "reactions" in entry else (),
            extra=extra,
        )

    def _shared(self, entry: Record) -> str:
        """Return what somebody shared without a word of their own."""
        share = record(entry.get("share"))
        return "\n".join(self._text(share[part]) for part in ("share_text", "link") if share.get(part))

    def _content(self, entry: Record, body: str) -> tuple[MessageKind, tuple[Attachment, ...]]:
        kind: MessageKind = "empty"
        files: list[Attachment] = []
        for label, its_kind in _MEDIA:
            if label in entry:
                found = objects(entry[label])
                kind = its_kind if found and not files else kind
                files += [self._file(file) for file in found]
        if "sticker" in entry:
            kind = "sticker"
            files.append(self._file(record(entry["sticker"])))
        if "media" in entry:
            files += [self._file(file) for file in objects(entry["media"])]
            kind = kind_of_file("", files[0].place) if files else kind
        if entry.get("is_unsent") is True or entry.get("isUnsent") is True:
            return "deleted", tuple(files)
        if "call_duration" in entry:
            return "call", tuple(files)
        if not files:
            known = _TYPES.get(text(entry.get("type")), "unknown")
            kind = known if known != "text" or body or "share" in entry else "empty"
        return kind, tuple(files)

    def _file(self, file: Record) -> Attachment:
        found = attachment(self._text(file.get("uri")))
        extra = leftover(file, frozenset(("uri", "media_path_INTERNAL", "type_INTERNAL")))
        return msgspec.structs.replace(found, extra=extra) if extra else found

    def _reactions(self, value: object) -> tuple[Reaction, ...]:
        found = [
            Reaction(
                author=f"~{self._text(entry.get('actor'))}",
                emoji=self._text(entry.get("reaction")),
                time_ms=_given(entry.get("timestamp")),
            )
            for entry in objects(value)
        ]
        return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))

    def _call(self, entry: Record, identity: bytes, author: str, time_ms: int, body: str, extra: Extra) -> Call:
        seconds = max(0, whole(entry.get("call_duration")) or 0)
        way = direction_of(author, self._owner, self._other)
        missed: CallOutcome = "cancelled" if way == "out" else "missed"
        extra.pop("call_duration", None)
        if body:
            extra["content"] = body
        return Call(
            identity=identity, service=self._service, chat=self._key, time_ms=time_ms, seconds=seconds, direction=way,
            outcome="answered" if seconds else missed if entry.get("missed") is True else "unknown",
            people=(Person(address=self._other, name=self._other[1:]),) if self._other else (), extra=extra,
        )  # fmt: skip


def _header(stream: JsonStream) -> Record:
    """Return what a file says of its thread; what could be read of it, if it is damaged."""
    header: Record = {}
    try:
        for key in stream.members():
            if key == "messages" and stream.peek() == "[":
                for _ in stream.records(_looks_right):
                    pass
            else:
                header[key] = stream.value()
    except ValueError:
        pass  # The walk that yields will tell.
    return header


def _looks_right(found: Record) -> bool:
    return ("sender_name" in found or "senderName" in found) and ("timestamp_ms" in found or "timestamp" in found)


def _time(entry: Record) -> int:
    if "timestamp_ms" in entry:
        return time_of(whole(entry["timestamp_ms"]))
    return _given(entry.get("timestamp"))


def _given(value: object) -> int:
    found = whole(value) or 0
    return time_of(found, 1 if found > 100_000_000_000 else 1000)  # Seconds in the exports of 2018.
