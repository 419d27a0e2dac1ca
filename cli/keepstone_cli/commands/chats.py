"""List conversations."""

from __future__ import annotations

from datetime import datetime

import click

from keepstone.views.choose import view_of
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
        archive = repository.messages(repository.snapshot(snapshot) if snapshot else None)
        rows = []
        for conversation in archive.chats():
            chat = view_of(conversation)
            times, media, known = [], 0, set()
            for shown in archive.stream(conversation):
                times.append(shown.message.time_ms)
                for attachment in shown.message.attachments:
                    if attachment.sha256 not in known:
                        media += max(0, attachment.size)
                        known.add(attachment.sha256)
            if settings.json:
                output.data(
                    {
                        "message_type": "chat", "service": chat.conversation.service, "key": chat.conversation.key,
                        "title": chat.title, "kind": chat.conversation.kind, "messages": len(times),
                        "first_ms": min(times, default=None), "last_ms": max(times, default=None), "media_bytes": media,
                    }
                )  # fmt: skip
                continue
            rows.append((max(times, default=0), chat, len(times), min(times, default=0), media))
    if settings.json:
        return
    from keepstone_cli.output import size

    def day(time_ms: int, count: int) -> str:
        return datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d") if count else ""

    table = [
        (clean(chat.title), chat.conversation.service, str(count), day(first, count), day(last, count),
         size(media) if media else "")
        for last, chat, count, first, media in sorted(rows, key=lambda row: -row[0])
    ]  # fmt: skip
    if table:
        output.table(("Chat", "Service", "Messages", "First", "Last", "Media"), table)
    else:
        output.note("There are no messages in this repository.")
