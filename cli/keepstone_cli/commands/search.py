"""Search messages."""

from __future__ import annotations

import sys
from datetime import tzinfo

import click
import msgspec

from keepstone.memory import own_process
from keepstone.messages.resolve import Shown
from keepstone.messages.splitting import DAY_MS
from keepstone.views.chat import Chat
from keepstone.views.choose import Choice, check_words, chosen_chats, view_of
from keepstone.work.messages import Messages
from keepstone.work.search import Found, Page, Within, spans
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, choosing, here, line, marked
from keepstone_cli.output import Output, clean, count
from keepstone_cli.settings import open_repository

_BOLD, _DIM, _PLAIN = "\x1b[1;33m", "\x1b[2m", "\x1b[0m"


@click.command("search")
@click.argument("words", metavar="WORDS")
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Only in this chat; can be given several times.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to show.")
@click.option("--context/--no-context", default=True, help="Also show the messages before and after.")
@SNAPSHOT
@choosing
@click.pass_obj
def command(
    settings: Settings, words: str, chats: tuple[str, ...], limit: int, context: bool, snapshot: str | None,
    choice: Choice,
) -> None:  # fmt: skip
    """Find messages that have all words and "phrases in quotes", in any script.

    Those with whole words come first, then those with terms near each other, then the newest.

    The archive is decrypted in memory; nothing of it is written anywhere.
    """
    check_words(words)
    own_process()
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot is not None else None)
        views = {
            name: view_of(conversation)
            for conversation in chosen_chats(archive, chats)
            for name in (*conversation.ids, *conversation.exported)
        }
        page = archive.search(words, limit, _within(archive, views, choice, everywhere=not chats))
        for number, hit in enumerate(page):
            chat, shown = views[hit.conversation], archive.shown(hit)
            before, after = archive.around(hit) if context else (None, None)
            if settings.json:
                output.data(_document(words, chat, hit, (before, shown, after), page))
            else:
                if number and context:
                    output.result("")
                _print(output, words, chat, (before, shown, after), zone)
    if not settings.json:
        total = f"{page.total}" if page.is_whole else f"at least {page.total}"
        more = f"The first {limit} of {total} messages are shown; --limit shows more."
        output.note(more if page.total > limit else count(page.total, "message"))


def _within(archive: Messages, views: dict[bytes, Chat], choice: Choice, *, everywhere: bool) -> Within:
    """Return where to look; only what no column tells is asked of every hit."""
    asks = bool(choice.sender or choice.kinds or choice.text or choice.has_media)
    begin, end = choice.from_ms, choice.to_ms

    def holds(hit: Found) -> bool:
        # A column tells a time without its zone, which can be a day off.
        surely = (begin is None or hit.time_ms >= begin + DAY_MS) and (end is None or hit.time_ms < end - DAY_MS)
        return (surely and not asks) or choice.holds(archive.shown(hit).message, views[hit.conversation])

    return Within(
        None if everywhere else frozenset(views),
        None if begin is None else begin - DAY_MS,
        None if end is None else end + DAY_MS,
        holds if asks or begin is not None or end is not None else None,
    )


def _document(
    words: str, chat: Chat, hit: Found, messages: tuple[Shown | None, Shown, Shown | None], page: Page
) -> dict[str, object]:
    before, shown, after = messages
    return {
        "message_type": "message", "title": chat.title, **msgspec.to_builtins(shown.message), "total": page.total,
        "total_is_whole": page.is_whole,
        "rank": hit.rank, "marks": spans(shown.message.text, words),
        "before": before and msgspec.to_builtins(before.message),
        "after": after and msgspec.to_builtins(after.message),
    }  # fmt: skip


def _print(
    output: Output, words: str, chat: Chat, messages: tuple[Shown | None, Shown, Shown | None], zone: tzinfo
) -> None:
    before, shown, after = messages
    styled = sys.stdout.isatty()

    def beside(one: Shown | None) -> None:
        if one is not None:
            text = f"  {line(chat, one.message, zone, marks=marked(one))}"
            output.result(f"{_DIM}{text}{_PLAIN}" if styled else text)

    def bold(text: str) -> str:
        parts, last = [], 0
        for begin, end in spans(text, words):
            parts += [clean(text[last:begin]), _BOLD, clean(text[begin:end]), _PLAIN]
            last = end
        return "".join(parts) + clean(text[last:])

    beside(before)
    text = line(chat, shown.message, zone, marks=marked(shown), show=bold if styled else clean)
    output.result(f"[{clean(chat.title)}] {text}")
    beside(after)
