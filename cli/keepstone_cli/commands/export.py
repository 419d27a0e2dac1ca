"""Write messages in a form that people, programs and phones can use."""

from __future__ import annotations

from pathlib import Path

import click

import keepstone
from keepstone.errors import UsageError
from keepstone.views.export import FORMS
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, choosing, here
from keepstone_cli.output import clean, count
from keepstone_cli.settings import open_repository


@click.command("export")
@click.option("--format", "form", type=click.Choice(FORMS), default="html", show_default=True, help="What to write.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True,
    help="A new file; for html and whatsapp-txt-zip a new folder.",
)  # fmt: skip
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Only this chat; can be given several times.")
@click.option(
    "--media/--no-media", default=True,
    help="With photos and other files, or without (html, mbox, sms-xml, whatsapp-txt-zip).",
)  # fmt: skip
@SNAPSHOT
@choosing
@click.pass_obj
def command(
    settings: Settings,
    form: str,
    out: Path,
    chats: tuple[str, ...],
    media: bool,
    snapshot: str | None,
    choice: keepstone.Choice,
) -> int:
    """Write chats for people, programs or a phone. Nothing is written over.

    \b
      html              web pages that open offline, in one folder
      jsonl             JSON lines: complete, and read by `backup` again
      txt, csv, mbox    a text, a table, a mailbox
      sms-xml           a phone's messages, as SMS Backup & Restore puts them back;
                        its calls go to another file, calls-OUT, beside OUT
      whatsapp-txt-zip  WhatsApp's exported text with its media, a zip for each chat
                        (where OUT ends in .zip: the zip of one chat)
    """
    if str(out) == "-":
        raise UsageError(
            "An export goes to a new file or folder, which takes its place when it is whole.",
            "Name one with -o.",
        )
    output = settings.output()
    with open_repository(settings) as repository:
        options = keepstone.ExportOptions(
            out, form, chats, choice, media, here(), repository.snapshot(snapshot) if snapshot is not None else None
        )
        result = keepstone.export(repository, options, output.listen)
    if settings.json:
        output.data(
            {
                "message_type": "summary", "messages": result.messages, "format": form, "out": str(out),
                "files": [str(path) for path in result.out], "chats": result.chats, "calls": result.calls,
                "missing": result.missing, "left_out": result.left_out, "problems": len(result.problems),
            }
        )  # fmt: skip
    else:
        calls = f", {count(result.calls, 'call')}" if result.calls else ""
        places = " and ".join(clean(str(path)) for path in result.out)
        output.note(f"{count(result.messages, 'message')} of {count(result.chats, 'chat')}{calls} written to {places}")
        if result.missing:
            output.note(f"Not in this repository: {count(result.missing, 'attachment')}")
        if result.left_out:
            output.note(
                f"{count(result.left_out, 'chat')} of other services were left out: the form has no place for them"
            )
    return 3 if result.problems else 0
