"""Recreate what a snapshot holds."""

from __future__ import annotations

import os

import click

import keepstone
from keepstone.memory import own_process
from keepstone.work.restore import OVERWRITE
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import count, duration, size
from keepstone_cli.settings import open_repository, split_path


@click.command("restore")
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]", shell_complete=complete_snapshot)
@click.option("-t", "--target", required=True, metavar="DIR", help="Restore below this folder.")
@click.option("-i", "--include", "includes", multiple=True, metavar="PATTERN", help="Only what matches.")
@click.option("-e", "--exclude", "excludes", multiple=True, metavar="PATTERN", help="Leave out what matches.")
@click.option(
    "--overwrite",
    type=click.Choice(OVERWRITE),
    default="always",
    show_default=True,
    help="What to do with files that are there: compare and update all, only those of another size or time, or none.",
)
@click.option("--verify", is_flag=True, help="Read every restored file again and compare it.")
@click.option("--numeric-ids", is_flag=True, help="Restore owners by number, not by name.")
@click.option("--privileged", is_flag=True, help="Also restore security.* and trusted.* attributes.")
@click.pass_obj
def command(
    settings: Settings,
    snapshot: str,
    target: str,
    includes: tuple[str, ...],
    excludes: tuple[str, ...],
    overwrite: str,
    verify: bool,
    numeric_ids: bool,
    privileged: bool,
) -> int:
    """Recreate a snapshot below DIR.

    SNAPSHOT alone recreates absolute paths below DIR; SNAPSHOT:PATH puts the content of PATH directly into DIR.
    `latest` is the newest snapshot. Files that are there already are compared, and only what differs is fetched.
    """
    output = settings.output()
    name, path = split_path(snapshot)
    options = keepstone.RestoreOptions(
        target=os.path.abspath(os.fsencode(target)),
        path=path,
        include=keepstone.Exclusions(includes) if includes else None,
        exclude=keepstone.Exclusions(excludes) if excludes else None,
        overwrite=overwrite,
        verify=verify,
        numeric_ids=numeric_ids,
        privileged=privileged,
    )
    own_process()
    with open_repository(settings) as repository:
        found = repository.snapshot(name)
        try:
            result = repository.restore(found, options, output.listen)
        finally:
            output.stop_meter()
    if settings.json:
        output.data(
            {
                "message_type": "summary",
                "snapshot_id": found.id.hex(),
                "files_restored": result.files_restored,
                "files_identical": result.files_identical,
                "files_skipped": result.files_skipped,
                "files_verified": result.files_verified,
                "dirs": result.folders,
                "bytes_restored": result.bytes_restored,
                "bytes_fetched": result.bytes_fetched,
                "problems": len(result.problems),
                "total_duration": round(result.duration, 3),
            }
        )
    else:
        output.note(
            f"Restored {count(result.files_restored, 'file')}, {size(result.bytes_restored)}, "
            f"in {duration(result.duration)}; "
            f"{result.files_identical} were there already, {result.files_skipped} skipped"
        )
        if verify:
            output.note(f"Read back and compared: {count(result.files_verified, 'file')}")
        if result.problems:
            output.warn(f"{count(len(result.problems), 'problem')}; everything else was restored.")
    return 3 if result.problems else 0
