"""Write messages in a form that people and programs can use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from keepstone.errors import UsageError
from keepstone.views import html, plain
from keepstone.views.chat import Chat
from keepstone.views.choose import Choice, chosen_chats, chosen_messages, view_of
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, choosing, here
from keepstone_cli.output import clean, count
from keepstone_cli.settings import open_repository

FORMATS = ("html", "jsonl", "txt", "csv", "mbox")


@click.command("export")
@click.option("--format", "form", type=click.Choice(FORMATS), default="html", show_default=True, help="What to write.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="A new folder (html) or file.")
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Only this chat; can be given several times.")
@click.option("--media/--no-media", default=True, help="With photos and other files, or without (html, mbox).")
@SNAPSHOT
@choosing
@click.pass_obj
def command(
    settings: Settings, form: str, out: Path, chats: tuple[str, ...], media: bool, snapshot: str | None, choice: Choice
) -> None:
    """Write chats as web pages that open offline, or as JSON lines, text, a table, or a mailbox."""
    output, zone = settings.output(), here()
    if out.exists() and (not out.is_dir() or form != "html" or any(out.iterdir())):
        raise UsageError(f"{clean(str(out))} exists already.", "Name something new: nothing is written over.")
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot else None)
        written = 0

        def wanted() -> Iterator[Chat]:
            nonlocal written
            for conversation in chosen_chats(archive, chats):
                messages = [shown.message for shown in chosen_messages(archive, conversation, choice)]
                if messages:
                    written += len(messages)
                    yield Chat(view_of(conversation).conversation, messages)

        opener = repository.attachment_opener(archive) if media else lambda attachment: None
        try:
            if form == "html":
                html.export_html(wanted(), out, opener, zone, media=media)
            else:
                parts = {
                    "jsonl": lambda: plain.jsonl(wanted(), archive.calls() if not chats else ()),
                    "txt": lambda: plain.text(wanted(), zone),
                    "csv": lambda: plain.csv_table(wanted(), zone),
                    "mbox": lambda: plain.mbox(wanted(), opener, zone),
                }[form]()
                with out.open("xb") as file:
                    file.writelines(parts)
        except OSError as error:
            raise UsageError(f"{clean(str(out))} cannot be written ({error.strerror}).") from error
    if settings.json:
        output.data({"message_type": "summary", "messages": written, "format": form, "out": str(out)})
    else:
        output.note(f"{count(written, 'message')} written to {clean(str(out))}")
