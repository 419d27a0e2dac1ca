"""Choosing messages: which chat somebody means, and which of its messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Final

from keepstone.errors import SnapshotNotFound, UsageError
from keepstone.history.snapshot import Snapshot, resolve
from keepstone.messages.model import Call, Message
from keepstone.messages.resolve import Chat as Conversation
from keepstone.messages.resolve import Shown
from keepstone.views.chat import Chat, local_time, written_of
from keepstone.work.messages import Messages
from keepstone.work.search import fold, terms_of

MOST_COMPARED: Final = 80
"""Letters of a name that are looked at, and shown, where a chat is not known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a message must be. What is empty does not matter."""

    from_ms: int | None = None
    to_ms: int | None = None
    """The first millisecond that is too late."""
    sender: str = ""
    """A part of their name or address; `me` is the owner."""
    kinds: Sequence[str] = ()
    text: str = ""
    """Words and "phrases in quotes", all of which occur in its subject, its captions and its text."""
    has_media: bool = False
    zone: tzinfo = field(default=UTC, compare=False)
    """Where the clock hung that told a time without its zone."""

    def holds(self, message: Message, chat: Chat) -> bool:
        """Return whether a message of a chat is one of those."""
        return (
            self._is_then(message)
            and (not self.kinds or message.kind in self.kinds)
            and (not self.has_media or bool(message.attachments))
            and (not self.sender or self._is_sender(message, chat))
            and (not self.text or self._says(message))
        )

    def holds_call(self, call: Call) -> bool:
        """Return whether a call is one of those: of calls, only the time can be chosen."""
        return (
            not (self.sender or self.kinds or self.text or self.has_media)
            and (self.from_ms is None or call.time_ms >= self.from_ms)
            and (self.to_ms is None or call.time_ms < self.to_ms)
        )

    def _says(self, message: Message) -> bool:
        said = fold("\n".join(written_of(message)))
        return all(term in said for term in terms_of(self.text))

    def _is_then(self, message: Message) -> bool:
        if self.from_ms is None and self.to_ms is None:
            return True
        time_ms = message.time_ms
        if not message.zoned:
            time_ms = round(local_time(message, UTC).replace(tzinfo=self.zone).timestamp() * 1000)
        return (self.from_ms is None or time_ms >= self.from_ms) and (self.to_ms is None or time_ms < self.to_ms)

    def _is_sender(self, message: Message, chat: Chat) -> bool:
        if self.sender.casefold() == "me":
            return message.direction == "out"
        wanted = fold(self.sender)
        if message.direction == "out" or not (message.author or message.direction == "in"):
            return False
        return wanted in fold(message.author) or wanted in fold(chat.author_of(message))


def parse_day(text: str, zone: tzinfo, *, after: bool = False) -> int:
    """Return the milliseconds since 1970 at which a day, a month or a year begins, or (`after`) has ended.

    Raises:
        UsageError: it is none.
    """
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y-%m", "%Y"):
        try:
            begin = datetime.strptime(text, form).replace(tzinfo=zone)
        except ValueError:
            continue
        try:
            return int((_end_of(begin, form) if after else begin).timestamp() * 1000)
        except (ValueError, OverflowError):  # The first moment of all calendars here, or the last.
            break
    raise UsageError(f"{text!r} is no day.", "Write 2024, 2024-03, 2024-03-31 or '2024-03-31 18:00'.")


def _end_of(begin: datetime, form: str) -> datetime:
    """Return when the minute, day, month or year ends that begins so."""
    if form.endswith("%d"):
        return begin + timedelta(days=1)
    if form.endswith("%M"):
        return begin + timedelta(minutes=1)
    months = begin.year * 12 + begin.month + (12 if form == "%Y" else 1) - 1
    return begin.replace(year=months // 12, month=months % 12 + 1)


def check_span(begin_ms: int | None, end_ms: int | None) -> None:
    """Look whether there is any time between two.

    Raises:
        UsageError: there is none.
    """
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise UsageError("Nothing can be between these times: --from is after --to.", "Turn them round.")


def check_words(text: str) -> None:
    """Look whether a text says what to look for.

    Raises:
        UsageError: it has no word.
    """
    if not terms_of(text):
        raise UsageError("There is nothing to look for.", 'Give words, or a "phrase in quotes".')


def parse_moment(text: str, zone: tzinfo, snapshots: Sequence[Snapshot], *, after: bool = False) -> int:
    """Return as `parse_day` does; of a snapshot, the first millisecond after it. What could be either is a day.

    Raises:
        UsageError: it is neither.
    """
    try:
        return parse_day(text, zone, after=after)
    except UsageError:
        try:
            return resolve(text, snapshots).body.time_ns // 1_000_000 + 1
        except SnapshotNotFound as error:
            raise UsageError(
                f"{text!r} is neither a day nor a snapshot.",
                "Write 2024-03-31, or an id that `keepstone snapshots` lists.",
            ) from error


def view_of(conversation: Conversation, shown: Iterable[Shown] = ()) -> Chat:
    """Return a conversation of the archive as a chat to look at or to export."""
    return Chat(conversation.conversation, (one.message for one in shown))


def chosen_chats(archive: Messages, texts: Sequence[str]) -> list[Conversation]:
    """Return the chats that texts name (all, if there are none): by their whole title or key, else by a part of it.

    Raises:
        UsageError: a text names none.
    """
    known = archive.chats()
    if not texts:
        return known
    found: list[Conversation] = []
    for text in texts:
        wanted = fold(text)
        if not wanted.strip():  # A part of every name: a variable of a script that was never set, most likely.
            raise UsageError("A chat was named by nothing.", "Name it, or leave it out where all chats are meant.")
        called = [(fold(view_of(chat).title), fold(chat.conversation.key), chat) for chat in known]
        some = [chat for title, key, chat in called if wanted in (title, key)]
        some = some or [chat for title, key, chat in called if wanted in title or wanted in key]
        if not some:
            raise _unknown(text, [view_of(chat).title for chat in known])
        found += [chat for chat in some if chat not in found]
    return found


def _unknown(text: str, titles: Sequence[str]) -> UsageError:
    """Return what is said of a chat that is none: the names that are most like it, and all of them elsewhere."""
    folded = {fold(title)[:MOST_COMPARED]: title for title in titles if title}
    near = [folded[one] for one in get_close_matches(fold(text)[:MOST_COMPARED], folded, n=3, cutoff=0.5)]
    names = ", ".join(f"'{title[:MOST_COMPARED]}'" for title in near)
    meant = f"Did you mean {names}? " if near else ""
    return UsageError(f"No chat is called '{text}'.", f"{meant}`keepstone chats` lists them.")


def chosen_messages(archive: Messages, conversation: Conversation, choice: Choice) -> Iterator[Shown]:
    """Yield the messages of a chat that are wanted, in the order of time."""
    view = view_of(conversation)
    for shown in archive.stream(conversation, choice.from_ms, choice.to_ms):
        if choice.holds(shown.message, view):
            yield shown
