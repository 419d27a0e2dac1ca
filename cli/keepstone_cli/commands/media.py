"""List and extract the photos and other files of messages."""

from __future__ import annotations

from collections import Counter
from datetime import tzinfo

import click

import keepstone
from keepstone.views.chat import minute_of
from keepstone.views.media import FAILED, IDENTICAL, MISSING, NEW, Medium
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, author_of, choosing, here
from keepstone_cli.output import clean, count, path_fields, size
from keepstone_cli.settings import open_repository, target_folder


@click.command("media")
@click.argument("chats", nargs=-1, metavar="[CHAT]...")
@click.option("--extract", metavar="DIR", help="Write the files below this folder, instead of listing them.")
@SNAPSHOT
@choosing
@click.pass_obj
def command(
    settings: Settings, chats: tuple[str, ...], extract: str | None, snapshot: str | None, choice: keepstone.Choice
) -> int:
    """List the photos and other files of messages: of chats, or of all.

    With --extract they are written below DIR, a folder for each chat if there are several, with the times of their
    messages. A file that is there already stays as it is; another one of its name gets a number.
    """
    target = None if extract is None else target_folder(extract, "--extract")
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        then = repository.snapshot(snapshot) if snapshot is not None else None
        options = keepstone.MediaOptions(chats, choice, then, zone)
        if target is not None:
            return _extract(settings, repository, options, target, zone)
        rows = []
        for medium in keepstone.list_media(repository, options):
            if settings.json:
                output.data(_document(medium))
            else:
                rows.append(_row(medium, zone))
    if rows:
        output.table(("When", "Chat", "Who", "Type", "Size", "Name", ""), rows)
    elif not settings.json:
        output.note("No message that fits has a file.")
    return 0


def _extract(
    settings: Settings, repository: keepstone.Client, options: keepstone.MediaOptions, target: bytes, zone: tzinfo
) -> int:
    output = settings.output()
    done: Counter[str] = Counter()
    for taken in keepstone.extract_media(repository, target, options, output.listen):
        done[taken.action] += 1
        if settings.json:
            output.data({**_document(taken.medium), "action": taken.action, **path_fields(taken.path)})
    if settings.json:
        output.data({"message_type": "summary", **{kind: done[kind] for kind in (NEW, IDENTICAL, MISSING, FAILED)}})
    else:
        there = f", {done[IDENTICAL]} were there already" if done[IDENTICAL] else ""
        output.note(f"{count(done[NEW], 'file')} written to {clean(target)}{there}")
        if done[MISSING]:
            output.note(f"Not in this repository: {count(done[MISSING], 'file')}")
        if done[FAILED]:
            output.warn(f"{count(done[FAILED], 'problem')}; everything else was written.")
    return 3 if done[FAILED] else 0


def _row(medium: Medium, zone: tzinfo) -> tuple[str, ...]:
    message, attachment = medium.message, medium.attachment
    return (
        minute_of(message, zone),
        clean(medium.chat.title),
        clean(author_of(medium.chat, message)),
        clean(attachment.mime or message.kind),
        size(attachment.size) if attachment.size >= 0 else "",
        clean(attachment.name),
        "" if medium.present else "missing",
    )


def _document(medium: Medium) -> dict[str, object]:
    chat, message, attachment = medium.chat, medium.message, medium.attachment
    return {
        "message_type": "media", "name": attachment.name, "mime": attachment.mime, "kind": message.kind,
        "size": attachment.size if attachment.size >= 0 else None, "sha256": attachment.sha256.hex(),
        "present": medium.present, "title": chat.title, "service": message.service, "chat": message.chat,
        "author": message.author, "sender": author_of(chat, message), "direction": message.direction,
        "time_ms": message.time_ms, "caption": attachment.caption, "identity": message.identity.hex(),
    }  # fmt: skip
