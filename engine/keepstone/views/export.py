"""Export: chats that somebody chose, in a form that people, programs or phones can use.

Chats come one after another and their messages as they are read. What is written takes its place when it is whole; an
attachment that is damaged in the repository is told and left out like one that nobody has, and the rest is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from keepstone import events
from keepstone.errors import UsageError
from keepstone.history.snapshot import Snapshot
from keepstone.messages.model import Attachment, Call, Message
from keepstone.views import html, plain, sms_xml, whatsapp_txt
from keepstone.views.attachments import Opened
from keepstone.views.chat import Chat
from keepstone.views.choose import Choice, chosen_chats, chosen_messages, view_of
from keepstone.views.names import Names
from keepstone.views.place import new_file, new_folder
from keepstone.work.client import Client
from keepstone.work.messages import Messages

FORMS: Final = ("html", "jsonl", "txt", "csv", "mbox", "sms-xml", "whatsapp-txt-zip")
FOLDERS: Final = ("html", "whatsapp-txt-zip")
"""Forms that are a folder; the others are a file."""
OWNER: Final = "You"
_ZIP: Final = ".zip"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to write, and where."""

    out: Path
    """A new file, or for forms of many files a new or empty folder. One chat's zip may be a file, named `.zip`."""
    form: str = "html"
    chats: Sequence[str] = ()
    """As `choose.chosen_chats` takes them; all chats, and calls where the form has a place for them, if empty."""
    choice: Choice = field(default_factory=Choice)
    media: bool = True
    """Whether to take what the messages' files hold, where the form has a place for it."""
    zone: tzinfo = UTC
    """In which times are told, by forms for people."""
    snapshot: Snapshot | None = None
    """What there was then, instead of all that there ever was."""


@dataclass(slots=True)
class Exported:
    """What was written."""

    chats: int = 0
    messages: int = 0
    calls: int = 0
    missing: int = 0
    """Attachments whose content nobody has, counted at each message that has one."""
    left_out: int = 0
    """Chats of services that the form has no place for."""
    out: list[Path] = field(default_factory=list)
    problems: list[events.Problem] = field(default_factory=list)


def export(client: Client, options: ExportOptions, listener: events.Listener = events.ignore) -> Exported:
    """Write chats and return what was written.

    Raises:
        UsageError: a chat is not known, nothing fits, or something stands in the place.
        TargetError: the place cannot be written.
    """
    if options.form not in FORMS:
        raise UsageError(f"{options.form!r} is no form of export.", f"Forms are {', '.join(FORMS)}.")
    return _Export(client, options, listener).run()


class _Export:
    def __init__(self, client: Client, options: ExportOptions, listener: events.Listener) -> None:
        self._options = options
        self._archive: Messages = client.messages(options.snapshot)
        self._result = Exported()
        opener = client.attachment_opener(self._archive) if options.media else _nothing
        self._opened = Opened(opener, "export", listener)
        self._zone = options.zone

    def run(self) -> Exported:
        chats, calls = self._chats(), self._calls()
        first, call = next(chats, None), next(calls, None)
        if first is None and call is None:
            raise self._nothing_fits()
        found = chain([first] if first else (), chats)
        writers: dict[str, Callable[[Iterable[Chat], Iterable[Call]], None]] = {
            "html": self._html, "whatsapp-txt-zip": self._zips, "sms-xml": self._sms_xml,
            "jsonl": lambda chats, calls: self._file(plain.jsonl(chats, calls)),
            "txt": lambda chats, _: self._file(plain.text(chats, self._zone)),
            "csv": lambda chats, _: self._file(plain.csv_table(chats, self._zone)),
            "mbox": lambda chats, _: self._file(plain.mbox(chats, self._opened, self._zone)),
        }  # fmt: skip
        writers[self._options.form](found, chain([call] if call else (), calls))
        result = self._result
        result.missing += self._opened.missing if self._options.media else 0
        result.problems = self._opened.problems
        return result

    # What is chosen --------------------------------------------------------------------------------------

    def _chats(self) -> Iterator[Chat]:
        """Yield the chats of which a message fits."""
        phone = self._options.form == "sms-xml"
        for conversation in chosen_chats(self._archive, self._options.chats):
            messages = (shown.message for shown in chosen_messages(self._archive, conversation, self._options.choice))
            if (first := next(messages, None)) is None:
                continue
            if phone and conversation.conversation.service != sms_xml.SERVICE:
                self._result.left_out += 1
                continue
            self._result.chats += 1
            yield Chat(view_of(conversation).conversation, self._counted(chain([first], messages)))

    def _counted(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            self._result.messages += 1
            yield message

    def _calls(self) -> Iterator[Call]:
        form = self._options.form
        if self._options.chats or form not in ("jsonl", "sms-xml"):
            return
        for call in self._archive.calls():
            fits = form == "jsonl" or call.service == sms_xml.CALL_SERVICE
            if fits and self._options.choice.holds_call(call):
                self._result.calls += 1
                yield call

    def _nothing_fits(self) -> UsageError:
        if self._result.left_out:
            return UsageError(
                "None of these chats are a phone's messages, and the form has a place for no others.",
                "Choose another form, or other chats: `keepstone chats` tells their services.",
            )
        return UsageError(
            "No message fits, so nothing was written.",
            "See with `keepstone chats` and `keepstone messages` what there is.",
        )

    # Forms -----------------------------------------------------------------------------------------------

    def _file(self, parts: Iterable[bytes], out: Path | None = None) -> None:
        out = out or self._options.out
        with new_file(out) as file:
            file.writelines(parts)
        self._result.out.append(out)

    def _html(self, chats: Iterable[Chat], _: Iterable[Call]) -> None:
        with new_folder(self._options.out) as folder:
            written = html.export_html(chats, folder, self._opened, self._zone, media=self._options.media)
        self._result.missing = written.missing
        self._result.out.append(self._options.out)

    def _sms_xml(self, chats: Iterable[Chat], calls: Iterable[Call]) -> None:
        """Write messages to the file that is asked for, and calls beside it: the app has a file for each."""
        out, result = self._options.out, self._result
        beside = out.with_name(f"calls-{out.name}")
        if os.path.lexists(beside):
            raise UsageError(f"{beside} exists already.", "Name something new: nothing is written over.")
        call = next(iter(calls := iter(calls)), None)
        with new_file(out) as file:
            file.writelines(sms_xml.messages_xml(chats, self._opened, self._zone, 0))
            file.seek(0)
            file.write(sms_xml.head(sms_xml.MESSAGES, result.messages))
        result.out.append(out)
        if call is not None:
            with new_file(beside) as file:
                file.writelines(sms_xml.calls_xml(chain([call], calls), self._zone, 0))
                file.seek(0)
                file.write(sms_xml.head(sms_xml.PHONE_CALLS, result.calls))
            result.out.append(beside)

    def _zips(self, chats: Iterable[Chat], _: Iterable[Call]) -> None:
        out = self._options.out
        if out.suffix == _ZIP:
            first, *more = _at_most(chats, 2)
            if more:
                raise UsageError("A zip holds one chat.", "Choose one with --chat, or name a folder.")
            with new_file(out) as file:
                self._zip(file, first, first.title)
        else:
            names = Names()
            with new_folder(out) as folder:
                for chat in chats:
                    # Two chats of one title are two chats for whoever reads them again.
                    name = names.unused(whatsapp_txt.text_name(chat.title).removesuffix(".txt") + _ZIP)
                    title = name.removesuffix(_ZIP).removeprefix(whatsapp_txt.TITLE)
                    with (folder / name).open("xb") as file:
                        self._zip(file, chat, title)
        self._result.out.append(out)

    def _zip(self, file: BinaryIO, chat: Chat, title: str) -> None:
        whatsapp_txt.write(
            file, chat.conversation, chat.messages, names=partial(_called, chat), content=self._opened,
            zone=self._zone, title=title,
        )  # fmt: skip


def _called(chat: Chat, address: str) -> str:
    """Return how a chat calls somebody; an empty address is the owner's."""
    own = address or chat.conversation.account
    if not own:
        return OWNER
    known = chat.name_of(own)
    return known if address or known != own else OWNER


def _at_most(chats: Iterable[Chat], count: int) -> list[Chat]:
    found = []
    for chat in chats:
        found.append(chat)
        if len(found) == count:
            break
    return found


def _nothing(attachment: Attachment) -> BinaryIO | None:
    return None
