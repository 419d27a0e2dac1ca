"""Recreate what a snapshot holds."""

from __future__ import annotations

from dataclasses import replace

import click

import keepstone
from keepstone.errors import UsageError
from keepstone.memory import own_process
from keepstone.work.restore import OVERWRITE
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.messages import choosing, here
from keepstone_cli.output import count, duration, size
from keepstone_cli.settings import open_repository, split_path, target_folder


@click.command("restore")
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]", required=False, shell_complete=complete_snapshot)
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
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Restore this chat; can be given several times.")
@click.option("--media/--no-media", default=True, help="Of chats: with photos and other files, or without.")
@choosing
@click.pass_obj
def command(
    settings: Settings,
    snapshot: str | None,
    target: str,
    includes: tuple[str, ...],
    excludes: tuple[str, ...],
    overwrite: str,
    verify: bool,
    numeric_ids: bool,
    privileged: bool,
    chats: tuple[str, ...],
    media: bool,
    choice: keepstone.Choice,
) -> int:
    """Recreate a snapshot below DIR, or chats.

    SNAPSHOT alone recreates absolute paths below DIR; SNAPSHOT:PATH puts the content of PATH directly into DIR.
    `latest` is the newest snapshot. Files that are there already are compared, and only what differs is fetched.

    With --chat, DIR gets the messages of a chat as text and as JSON lines, and its photos and other files;
    several chats get a folder each. All that there ever was, or with SNAPSHOT what there was then; --from, --to,
    --sender, --kind, --text and --has-media choose messages. A backup of DIR reads them again.
    """
    own_process()
    folder = target_folder(target, "--target")
    if chats:
        if includes or excludes or verify or numeric_ids or privileged:
            raise UsageError("--chat restores messages; the options for files do not go with it.")
        options = keepstone.ChatRestoreOptions(folder, chats, choice, media, overwrite, here())
        return _restore_chats(settings, snapshot, options)
    if choice != keepstone.Choice() or not media:
        raise UsageError("Options that choose messages go with --chat.")
    if snapshot is None:
        raise click.UsageError("Missing argument 'SNAPSHOT[:PATH]'.")
    return _restore_files(
        settings,
        snapshot,
        keepstone.RestoreOptions(
            target=folder,
            path=split_path(snapshot)[1],
            include=keepstone.Exclusions(includes) if includes else None,
            exclude=keepstone.Exclusions(excludes) if excludes else None,
            overwrite=overwrite,
            verify=verify,
            numeric_ids=numeric_ids,
            privileged=privileged,
        ),
    )


def _restore_chats(settings: Settings, snapshot: str | None, options: keepstone.ChatRestoreOptions) -> int:
    output = settings.output()
    if snapshot is not None and ":" in snapshot:
        raise UsageError("A path in a snapshot does not go with --chat.")
    with open_repository(settings) as repository:
        if snapshot is not None:
            options = replace(options, snapshot=repository.snapshot(snapshot))
        result = keepstone.restore_chats(repository, options, output.listen)
    if settings.json:
        output.data(
            {
                "message_type": "summary", "chats": result.chats, "messages": result.messages,
                "files_restored": result.files_restored, "files_identical": result.files_identical,
                "files_skipped": result.files_skipped, "missing": result.missing, "problems": len(result.problems),
            }
        )  # fmt: skip
    else:
        output.note(
            f"Restored {count(result.messages, 'message')} of {count(result.chats, 'chat')} and "
            f"{count(result.files_restored, 'file')}; {result.files_identical} were there already"
        )
        if result.missing:
            output.note(f"Not in this repository: {count(result.missing, 'attachment')}")
        if result.problems:
            output.warn(f"{count(len(result.problems), 'problem')}; everything else was restored.")
    return 3 if result.problems else 0


def _restore_files(settings: Settings, snapshot: str, options: keepstone.RestoreOptions) -> int:
    output = settings.output()
    with open_repository(settings) as repository:
        found = repository.snapshot(split_path(snapshot)[0])
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
        if options.verify:
            output.note(f"Read back and compared: {count(result.files_verified, 'file')}")
        if result.problems:
            output.warn(f"{count(len(result.problems), 'problem')}; everything else was restored.")
    return 3 if result.problems else 0
