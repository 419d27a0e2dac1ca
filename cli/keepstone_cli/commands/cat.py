"""Print one file of a snapshot."""

from __future__ import annotations

import click

from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.settings import open_repository, split_path


@click.command("cat")
@click.argument("snapshot", metavar="SNAPSHOT:PATH", shell_complete=complete_snapshot)
@click.pass_obj
def command(settings: Settings, snapshot: str) -> None:
    """Print one file of a snapshot on standard output, byte for byte."""
    output = settings.output()
    name, path = split_path(snapshot)
    with open_repository(settings) as repository:
        for data in repository.cat(repository.snapshot(name), path):
            output.bytes(data)
