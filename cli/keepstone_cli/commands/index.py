"""The index."""

from __future__ import annotations

import click

from keepstone_cli.main import Settings
from keepstone_cli.output import count
from keepstone_cli.settings import open_repository


@click.group("index")
def command() -> None:
    """Rebuild the index."""


@command.command("rebuild", short_help="Rebuild the local index from the packs.")
@click.pass_obj
def rebuild(settings: Settings) -> None:
    """Rebuild the local index from the packs, and write index objects for packs that have none."""
    output = settings.output()
    with open_repository(settings) as repository:
        lacking = repository.rebuild_index()
    if settings.json:
        output.data({"message_type": "index_rebuilt", "packs_indexed": lacking})
    else:
        output.note(f"Rebuilt the index; wrote index objects for {count(lacking, 'pack')} without one.")
