"""Show what differs between two snapshots."""

from __future__ import annotations

import click

from keepstone.history import tree
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, path_fields, size
from keepstone_cli.settings import open_repository


@click.command("diff")
@click.argument("old", metavar="A", shell_complete=complete_snapshot)
@click.argument("new", metavar="B", shell_complete=complete_snapshot)
@click.option("--metadata", is_flag=True, help="Also show entries of which only the metadata differs (U).")
@click.pass_obj
def command(settings: Settings, old: str, new: str, metadata: bool) -> None:
    """Show what differs between two snapshots.

    + added, - removed, M content changed, T kind changed, U metadata changed.
    """
    output = settings.output()
    counts = dict.fromkeys("+-MTU", 0)
    grown = 0
    with open_repository(settings) as repository:
        before, after = repository.snapshot(old), repository.snapshot(new)
        for change in repository.diff(before, after, metadata=metadata):
            counts[change.modifier] += 1
            for entry, sign in ((change.new, 1), (change.old, -1)):
                grown += sign * entry.size if entry is not None and entry.kind == tree.FILE else 0
            if settings.json:
                output.data({"message_type": "change", "modifier": change.modifier, **path_fields(change.path)})
            else:
                output.result(f"{change.modifier}  {clean(change.path)}")
    if settings.json:
        output.data(
            {
                "message_type": "statistics",
                "source_snapshot": before.id.hex(),
                "target_snapshot": after.id.hex(),
                "added": counts["+"],
                "removed": counts["-"],
                "changed_files": counts["M"],
                "changed_kinds": counts["T"],
                "changed_metadata": counts["U"],
                "bytes_grown": grown,
            }
        )
    else:
        output.note(
            f"{counts['+']} added, {counts['-']} removed, {counts['M'] + counts['T']} changed; "
            f"files {'grew' if grown >= 0 else 'shrank'} by {size(abs(grown))}"
        )
