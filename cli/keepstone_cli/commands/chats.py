"""List conversations."""

from __future__ import annotations

from collections import Counter

import click

from keepstone.views.chat import Chat, shown_time
from keepstone.views.choose import view_of
from keepstone.work.overview import Overview
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, here
from keepstone_cli.output import clean
from keepstone_cli.settings import open_repository


@click.command("chats")
@SNAPSHOT
@click.pass_obj
def command(settings: Settings, snapshot: str | None) -> None:
    """List the conversations, with how many messages they have, and from when to when."""
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot is not None else None)
        rows = []
        for conversation in archive.chats():
            chat = view_of(conversation)
            found = archive.overview(conversation)
            if settings.json:
                output.data(
                    {
                        "message_type": "chat", "service": chat.conversation.service, "key": chat.conversation.key,
                        "title": chat.title, "kind": chat.conversation.kind, "messages": found.messages,
                        "first_ms": found.first_ms, "last_ms": found.last_ms, "media_bytes": found.media_bytes,
                    }
                )  # fmt: skip
                continue
            rows.append((chat, found))
    if settings.json:
        return
    from keepstone_cli.output import size

    def days(found: Overview) -> tuple[str, str]:
        first, last = (shown_time(one or 0, zone)[:10] for one in (found.first_ms, found.last_ms))
        return (first, last) if found.messages else ("", "")

    named = Counter((chat.title, chat.conversation.service) for chat, _ in rows)

    def title(chat: Chat) -> str:
        """Return what a chat is called; of several of one name, with the key that tells them apart."""
        is_one = named[chat.title, chat.conversation.service] == 1
        return clean(chat.title) if is_one else f"{clean(chat.title)} ({clean(chat.conversation.key)})"

    table = [
        (title(chat), chat.conversation.service, str(found.messages), *days(found),
         size(found.media_bytes) if found.media_bytes else "")
        for chat, found in sorted(rows, key=lambda row: -(row[1].last_ms or 0))
    ]  # fmt: skip
    if table:
        output.table(("Chat", "Service", "Messages", "First", "Last", "Media"), table)
    else:
        output.note(f"There are no messages in this {'repository' if snapshot is None else 'snapshot'}.")
