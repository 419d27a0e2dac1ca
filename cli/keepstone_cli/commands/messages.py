"""Show messages."""

from __future__ import annotations

import click
import msgspec

from keepstone.views.choose import Choice, chosen_chats, chosen_messages, view_of
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, choosing, here, line, marked
from keepstone_cli.output import clean
from keepstone_cli.settings import open_repository


@click.command("messages")
@click.argument("chats", nargs=-1, required=True, metavar="CHAT...")
@SNAPSHOT
@choosing
@click.pass_obj
def command(settings: Settings, chats: tuple[str, ...], snapshot: str | None, choice: Choice) -> None:
    """Show the messages of chats, named by their title or a part of it.

    Also those that are gone from the phone by now, marked as such.
    """
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot is not None else None)
        any_fits = False
        conversations = chosen_chats(archive, chats)
        # Of several it is part of the result: who reads that elsewhere has to know which is which.
        head = output.note if len(conversations) == 1 else output.result
        for conversation in conversations:
            chat = view_of(conversation)
            if not settings.json:
                head(f"{clean(chat.title)} ({chat.conversation.service})")
            for shown in chosen_messages(archive, conversation, choice):
                any_fits = True
                if settings.json:
                    output.data(
                        {
                            "message_type": "message", "title": chat.title, "gone_since_ms": shown.gone_since,
                            "deleted": shown.deleted,
                            **msgspec.to_builtins(shown.message, order="deterministic"),
                        }
                    )  # fmt: skip
                else:
                    output.result(line(chat, shown.message, zone, marks=marked(shown)))
    if not any_fits:
        output.note("No message fits.")
