"""Search messages."""

from __future__ import annotations

import click
import msgspec

from keepstone.views.choose import Choice, chosen_chats, view_of
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, choosing, here, line
from keepstone_cli.output import clean, count
from keepstone_cli.settings import open_repository


@click.command("search")
@click.argument("words", metavar="WORDS")
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Only in this chat; can be given several times.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to show.")
@SNAPSHOT
@choosing
@click.pass_obj
def command(
    settings: Settings, words: str, chats: tuple[str, ...], limit: int, snapshot: str | None, choice: Choice
) -> None:
    """Find messages that have all words and "phrases in quotes", in any script, the newest first.

    The archive is decrypted in memory; nothing of it is written anywhere.
    """
    output, zone = settings.output(), here()
    found = 0
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot else None)
        views = {
            name: view_of(conversation)
            for conversation in chosen_chats(archive, chats)
            for name in (*conversation.ids, *conversation.exported)
        }
        for hit in archive.search(words):
            chat = views.get(hit.conversation)
            if chat is None:
                continue
            shown = archive.shown(hit)
            if not choice.holds(shown.message, chat):
                continue
            found += 1
            if found > limit:
                break
            if settings.json:
                output.data(
                    {"message_type": "message", "title": chat.title, **msgspec.to_builtins(shown.message)}
                )  # fmt: skip
            else:
                output.result(f"[{clean(chat.title)}] {line(chat, shown.message, zone)}")
    if not settings.json:
        more = f"The first {limit} are shown; --limit shows more." if found > limit else count(found, "message")
        output.note(more)
