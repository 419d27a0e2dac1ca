"""The photos and other files of messages: listed, and taken out into a folder.

Names come from whoever sent a file, so they are made safe, and nothing outside the folder is ever written: files go
through `work.target`, which follows no link. What stands under a name already stays if it has other bytes, and the new
file gets a number; if it has the same bytes, it is what is wanted. So taking out twice adds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import BinaryIO, Final

from keepstone import events
from keepstone.errors import KeepstoneError, TargetError
from keepstone.history.snapshot import Snapshot
from keepstone.messages.model import Attachment, Message
from keepstone.sources.metadata import Attributes
from keepstone.views.attachments import Opened
from keepstone.views.chat import Chat, local_time
from keepstone.views.choose import Choice, chosen_chats, chosen_messages, view_of
from keepstone.views.names import Names, ending_for, safe_name, split_ending
from keepstone.work.client import Client
from keepstone.work.messages import Messages
from keepstone.work.target import Parts, Target

NEW, IDENTICAL, MISSING, FAILED = "new", "identical", "missing", "failed"
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Medium:
    """A file of a message."""

    chat: Chat
    message: Message
    attachment: Attachment
    present: bool
    """Whether the repository has its content."""


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """Which files."""

    chats: Sequence[str] = ()
    """As `choose.chosen_chats` takes them; all, if empty."""
    choice: Choice = field(default_factory=Choice)
    snapshot: Snapshot | None = None
    """What there was then, instead of all that there ever was."""
    zone: tzinfo = UTC
    """In which days are told in names; and of times of a local clock, where it hung."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file."""

    medium: Medium
    action: str
    """`new`; `identical` if it stood there; `missing` if nobody has its content; `failed`, which was told."""
    path: bytes = b""
    """Where it is, below the folder."""


def list_media(client: Client, options: MediaOptions | None = None) -> Iterator[Medium]:
    """Yield the files of messages, chat by chat in the order of time.

    Raises:
        UsageError: a chat is not known.
    """
    chosen = options or MediaOptions()
    archive = client.messages(chosen.snapshot)
    for conversation in chosen_chats(archive, chosen.chats):
        view = view_of(conversation)
        for shown in chosen_messages(archive, conversation, chosen.choice):
            yield from media_of(archive, view, shown.message)


def media_of(archive: Messages, chat: Chat, message: Message) -> Iterator[Medium]:
    """Yield the files of a message."""
    for attachment in message.attachments:
        yield Medium(chat, message, attachment, archive.content(attachment.sha256) is not None)


def extract_media(
    client: Client, target: bytes, options: MediaOptions | None = None, listener: events.Listener = events.ignore
) -> Iterator[Taken]:
    """Take the files of messages out into a folder and yield what became of each, in the order of `list_media`.

    Files of one chat go into the folder itself; those of several have a folder for each chat that has any. A file has
    the time of its message.

    Raises:
        UsageError: a chat is not known.
        TargetError: the folder cannot be used at all.
    """
    chosen = options or MediaOptions()
    archive = client.messages(chosen.snapshot)
    opened = Opened(client.attachment_opener(archive), "extract", listener)
    conversations = chosen_chats(archive, chosen.chats)
    names = Names()
    with Target(target) as folder:
        for conversation in conversations:
            view = view_of(conversation)
            parts = () if len(conversations) == 1 else (folder_name(names, view),)
            shelf = Shelf(folder, parts, opened, chosen.zone, listener)
            for shown in chosen_messages(archive, conversation, chosen.choice):
                for medium in media_of(archive, view, shown.message):
                    yield shelf.put(medium)


def folder_name(names: Names, chat: Chat) -> bytes:
    """Return how the folder of a chat is called."""
    return os.fsencode(names.unused(safe_name(chat.title, "chat")))


class Shelf:
    """A folder below a target that files of messages are put into."""

    def __init__(self, target: Target, parts: Parts, opened: Opened, zone: tzinfo, listener: events.Listener) -> None:
        self._target, self._parts, self._opened = target, parts, opened
        self._zone, self._listener = zone, listener
        self._names = Names()
        self._put: dict[bytes, bytes] = {}
        """The places of what was put here in this run, by hash."""
        self.problems: list[events.Problem] = []

    def has(self, sha256: bytes) -> bool:
        """Return whether a content was put here in this run."""
        return sha256 in self._put

    def put(self, medium: Medium) -> Taken:
        """Put a file here, or find it here."""
        attachment = medium.attachment
        known = self._put.get(attachment.sha256)
        if known is not None:
            return Taken(medium, IDENTICAL, known)
        if not medium.present:
            return Taken(medium, MISSING)
        taken = Taken(medium, FAILED)
        try:
            content = self._opened(attachment)
            if content is not None:
                with content:
                    taken = self._store(medium, content)
        except TargetError as error:
            self._tell(attachment, error)
        if taken.path:
            self._put[attachment.sha256] = taken.path
        return taken

    def _store(self, medium: Medium, content: BinaryIO) -> Taken:
        self._target.make_folder(self._parts, replace=False)
        wanted = name_of(medium, self._zone)
        while True:
            place = (*self._parts, os.fsencode(self._names.unused(wanted)))
            standing = self._target.existing(place)
            if standing is None:
                self._write(place, medium, content)
                return Taken(medium, NEW, b"/".join(place))
            if standing.is_file and self._is_same(place, content):
                return Taken(medium, IDENTICAL, b"/".join(place))

    def _is_same(self, place: Parts, content: BinaryIO) -> bool:
        """Return whether what stands at a place has these bytes."""
        with self._target.open_existing(place) as standing:
            if standing is None or standing.size != _size(content):
                return False
            at = 0
            while block := content.read(_BLOCK):
                if standing.read(at, len(block)) != block:
                    break
                at += len(block)
            same = at == standing.size
        content.seek(0)
        return same

    def _write(self, place: Parts, medium: Medium, content: BinaryIO) -> None:
        with self._target.create_file(place) as file:
            at = 0
            while block := content.read(_BLOCK):
                file.write_at(at, block)
                at += len(block)
            file.set_size(at)
            for problem in file.commit(self._attributes(medium.message)):
                self._tell(medium.attachment, problem)

    def _attributes(self, message: Message) -> Attributes:
        when = local_time(message, self._zone)
        if not message.zoned:
            when = when.replace(tzinfo=self._zone)
        mtime_ns = round(when.timestamp() * 1000) * 1_000_000
        return Attributes(0o600, os.geteuid(), os.getegid(), None, None, mtime_ns)

    def _tell(self, attachment: Attachment, error: KeepstoneError) -> None:
        problem = events.Problem((attachment.name or "file").encode("utf-8", "replace"), "extract", error)
        self.problems.append(problem)
        self._listener(problem)


def name_of(medium: Medium, zone: tzinfo) -> str:
    """Return how a file is called: as its sender called it, or by its time and what it is; with an ending."""
    attachment, message = medium.attachment, medium.message
    name = safe_name(attachment.name, "")
    if not name:
        name = f"{local_time(message, zone):%Y-%m-%d %H.%M.%S} {message.kind}" if message.time_ms else message.kind
    if not split_ending(name)[1]:
        name += ending_for(attachment.mime)
    return name


def _size(content: BinaryIO) -> int:
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    return size
