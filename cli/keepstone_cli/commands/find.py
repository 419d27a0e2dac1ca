"""Find files by name."""

from __future__ import annotations

import os

import click

from keepstone_cli.commands.ls import long_line, node
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, local_time
from keepstone_cli.settings import open_repository


@click.command("find")
@click.argument("pattern")
@click.option("-s", "--snapshot", metavar="ID", shell_complete=complete_snapshot, help="Look into this snapshot only.")
@click.option("-l", "--long", is_flag=True, help="Show mode, owner, size and time.")
@click.pass_obj
def command(settings: Settings, pattern: str, snapshot: str | None, long: bool) -> None:
    """Find entries by name in all snapshots.

    PATTERN may hold *, ? and [...]; with a slash in it, it is compared with whole paths.
    """
    output = settings.output()
    matches: dict[str, list[dict[str, object]]] = {}
    with open_repository(settings) as repository:
        only = repository.snapshot(snapshot) if snapshot is not None else None
        last = b""
        for found in repository.find(os.fsencode(pattern), only=only):
            if settings.json:
                line = node(found.path, found.entry)
                del line["message_type"], line["struct_type"]
                matches.setdefault(found.snapshot.id.hex(), []).append(line)
                continue
            if found.snapshot.id != last:
                last = found.snapshot.id
                body = found.snapshot.body
                output.note(f"Snapshot {last.hex()[:8]} of {clean(body.host)}, {local_time(body.time_ns)}:")
            output.result(long_line(found.path, found.entry) if long else clean(found.path))
    if settings.json:
        output.data([{"snapshot": key, "hits": len(value), "matches": value} for key, value in matches.items()])
