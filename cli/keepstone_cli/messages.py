"""What the commands on messages share: their options, and how messages look on a terminal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import tzinfo
from typing import Any, TypeVar, get_args

import click

from keepstone.messages.model import Message, MessageKind
from keepstone.messages.resolve import Shown
from keepstone.views.chat import Chat, minute_of, written_of
from keepstone.views.choose import Choice, check_span, check_words, parse_day
from keepstone_cli.output import clean
from keepstone_cli.zone import Here

Command = TypeVar("Command", bound=Callable[..., Any])  # Any: whatever arguments a command has

SNAPSHOT = click.option(
    "--snapshot", metavar="SNAPSHOT", help="What there was at a snapshot, instead of all that there ever was."
)


def here() -> tzinfo:
    """Return this computer's time zone."""
    return Here()


def choosing(command: Command) -> Command:
    """Give a command the options that choose messages, as one argument `choice`."""

    @functools.wraps(command)
    def chosen(
        *arguments: Any, since: str | None, until: str | None, sender: str | None, kinds: tuple[str, ...],
        text: str | None, has_media: bool, **others: Any,
    ) -> Any:  # fmt: skip
        zone = here()
        begin = parse_day(since, zone) if since is not None else None
        end = parse_day(until, zone, after=True) if until is not None else None
        check_span(begin, end)
        for words in (text, sender):
            if words is not None:
                check_words(words)
        choice = Choice(
            begin, end, sender or "", kinds, text or "", has_media, zone,
        )  # fmt: skip
        return command(*arguments, choice=choice, **others)

    options = (
        click.option("--from", "since", metavar="DAY", help="Not before: 2024, 2024-03 or 2024-03-31."),
        click.option("--to", "until", metavar="DAY", help="Not after the end of it."),
        click.option("--sender", metavar="NAME", help="By whom: a part of a name or number, or me."),
        click.option(
            "--kind", "kinds", multiple=True, type=click.Choice(get_args(MessageKind)), metavar="KIND",
            help="text, image, video, voice, ...; can be given several times.",
        ),
        click.option("--text", metavar="WORDS", help='With all these words, or "phrases in quotes".'),
        click.option("--has-media", is_flag=True, help="With a photo or another file."),
    )  # fmt: skip
    for option in reversed(options):
        chosen = option(chosen)
    return chosen  # type: ignore[return-value]  # it has the options in addition


def author_of(chat: Chat, message: Message) -> str:
    """Return who sent a message, as people call them."""
    return "" if message.direction == "none" else chat.author_of(message)


def marked(shown: Shown) -> str:
    """Return what is told of a message beside what it says."""
    return " (deleted)" * shown.deleted + " (gone from its source)" * (shown.gone_since is not None)


def line(chat: Chat, message: Message, zone: tzinfo, *, marks: str = "", show: Callable[[str], str] = clean) -> str:
    """Return a message on one line for a terminal: nothing of it can steer the terminal.

    Args:
        marks: see `marked`.
        show: what makes a line of its text harmless; it may also mark parts of it.
    """
    when = minute_of(message, zone)
    words = [f"<{clean(a.name or a.mime or 'file')}>" for a in message.attachments]
    words += [show(part) for text in written_of(message) for part in text.split("\n")]
    said = " / ".join(words) if words else f"<{message.kind}>"
    given = "".join(f" [{clean(r.emoji)}]" for r in message.reactions)
    marks = given + " (edited)" * bool(message.edits) + marks
    author = author_of(chat, message)
    return f"{when}  {clean(author)}: {said}{marks}" if author else f"{when}  -- {said}{marks}"
