"""Restore of chats: their messages as text to read and as JSON lines that a backup reads again, and their media.

All three are written in one pass, so what is held does not grow with a chat. The JSON lines tell where the media lie;
whoever backs up the folder has the chat again, media included. As in any restore, what the folder has of an earlier one
is replaced or left, as `overwrite` says, and nothing outside of it is written; media never replace other bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import chain
from typing import Final

from keepstone import events
from keepstone.errors import KeepstoneError, TargetError, UsageError
from keepstone.history.snapshot import Snapshot
from keepstone.messages.model import Message
from keepstone.sources.keepstone_jsonl import File
from keepstone.views import plain
from keepstone.views.attachments import Opened
from keepstone.views.chat import Chat
from keepstone.views.choose import Choice, chosen_chats, chosen_messages, view_of
from keepstone.views.media import IDENTICAL, MISSING, NEW, Shelf, folder_name, media_of
from keepstone.views.names import Names
from keepstone.work.client import Client
from keepstone.work.restore import OVERWRITE
from keepstone.work.target import NewFile, Parts, Target

TEXT, LINES, MEDIA = b"messages.txt", b"messages.jsonl", b"media"
"""What the folder of a chat has in it."""
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChatRestoreOptions:
    """Which chats to restore, and where."""

    target: bytes
    """One chat goes into this folder, several into a folder each."""
    chats: Sequence[str]
    """As `choose.chosen_chats` takes them."""
    choice: Choice = field(default_factory=Choice)
    media: bool = True
    overwrite: str = "always"
    """`never` leaves messages that an earlier restore wrote as they are."""
    zone: tzinfo = UTC
    """In which times are told in the text."""
    snapshot: Snapshot | None = None
    """What there was then, instead of all that there ever was."""


@dataclass(slots=True)
class ChatRestoreResult:
    """What was restored."""

    chats: int = 0
    messages: int = 0
    files_restored: int = 0
    """Media; each once in a chat."""
    files_identical: int = 0
    """Media that were there already, or earlier in their chat."""
    files_skipped: int = 0
    """Texts and JSON lines that were left as they were."""
    missing: int = 0
    """Attachments whose content nobody has, counted at each message that has one."""
    problems: list[events.Problem] = field(default_factory=list)


def restore_chats(
    client: Client, options: ChatRestoreOptions, listener: events.Listener = events.ignore
) -> ChatRestoreResult:
    """Restore the messages of chats, and their media.

    Raises:
        UsageError: a chat is not known, or no message fits.
        TargetError: the target folder cannot be used at all.
    """
    if not options.chats or options.overwrite not in OVERWRITE:
        raise UsageError("Which chats to restore, and how, must be said.")
    return _Restore(client, options, listener).run()


class _Restore:
    def __init__(self, client: Client, options: ChatRestoreOptions, listener: events.Listener) -> None:
        self._options, self._listener = options, listener
        self._archive = client.messages(options.snapshot)
        self._opened = Opened(client.attachment_opener(self._archive), "restore", listener)
        self._target = Target(options.target)
        self._result = ChatRestoreResult()

    def run(self) -> ChatRestoreResult:
        conversations = chosen_chats(self._archive, self._options.chats)
        names, entered = Names(), False
        try:
            for conversation in conversations:
                found = chosen_messages(self._archive, conversation, self._options.choice)
                if (first := next(found, None)) is None:
                    continue
                if not entered:  # Nothing is made for nothing.
                    self._target.__enter__()
                    entered = True
                view = view_of(conversation, chain([first], found))
                parts = () if len(conversations) == 1 else (folder_name(names, view),)
                self._guarded(parts, lambda v=view, p=parts: self._chat(v, p))  # type: ignore[misc]
        finally:
            self._target.close()
        if not entered:
            raise UsageError(
                "No message fits, so nothing was restored.", "`keepstone messages CHAT` shows what there is."
            )
        self._result.problems += self._opened.problems
        return self._result

    def _chat(self, chat: Chat, parts: Parts) -> None:
        self._target.make_folder(parts, replace=False)
        shelf = Shelf(self._target, (*parts, MEDIA), self._opened, self._options.zone, self._listener)
        with closing(self._file((*parts, TEXT))) as text, closing(self._file((*parts, LINES))) as lines:
            text.write(plain.text_head(chat))
            lines.write(plain.jsonl_head() + plain.jsonl_line("conversation", chat.conversation))
            for message in chat.messages:
                names, files = self._media(chat, message, shelf)
                text.write(plain.text_of(chat, message, self._options.zone, names))
                lines.write(plain.jsonl_line("message", message))
                for file in files:
                    lines.write(plain.jsonl_line("file", file))
                self._result.messages += 1
            for one in (text, lines):
                self._guarded((*parts, one.name), one.commit)
        self._result.problems += shelf.problems
        self._result.chats += 1

    def _media(self, chat: Chat, message: Message, shelf: Shelf) -> tuple[list[str] | None, list[File]]:
        """Restore the files of a message; return what the text calls them, and where those are that are new to it."""
        if not self._options.media or not message.attachments:
            return None, []
        names, files = [], []
        for medium in media_of(self._archive, chat, message):
            known = shelf.has(medium.attachment.sha256)
            taken = shelf.put(medium)
            self._result.files_restored += taken.action == NEW
            self._result.files_identical += taken.action == IDENTICAL
            self._result.missing += taken.action == MISSING
            if not taken.path:
                names.append(f"{plain.name_of(medium.attachment)}, not here")
                continue
            path = f"{MEDIA.decode()}/{os.fsdecode(taken.path.rpartition(b'/')[2])}"
            names.append(path)
            if not known:
                files.append(File(medium.attachment.sha256, path))
        return names, files

    def _file(self, place: Parts) -> _Growing:
        if self._options.overwrite == "never" and self._target.existing(place) is not None:
            self._result.files_skipped += 1
            return _Growing(None, place[-1])
        return _Growing(self._target.create_file(place), place[-1])

    def _guarded(self, place: Parts, action: Callable[[], object]) -> None:
        try:
            action()
        except TargetError as error:
            self._tell(place, error)

    def _tell(self, place: Parts, error: KeepstoneError) -> None:
        problem = events.Problem(b"/" + b"/".join(place), "restore", error)
        self._result.problems.append(problem)
        self._listener(problem)


class _Growing:
    """A file that is written from its start to its end; none, if it is to stay as it is."""

    def __init__(self, file: NewFile | None, name: bytes) -> None:
        self.name = name
        self._file = file
        self._held = bytearray()
        self._at = 0

    def write(self, data: bytes) -> None:
        if self._file is None:
            return
        self._held += data
        if len(self._held) >= _BLOCK:
            self._flush()

    def commit(self) -> None:
        """Put it in its place."""
        if self._file is not None:
            self._flush()
            self._file.commit()

    def close(self) -> None:
        """Close it; what was not committed is not there."""
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        assert self._file is not None
        self._file.write_at(self._at, bytes(self._held))
        self._at += len(self._held)
        self._held = bytearray()
