"""Make a snapshot."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click

import keepstone
from keepstone.compression import level_of
from keepstone.errors import NoRepository, UsageError
from keepstone.memory import own_process
from keepstone.sources.exclude import Exclusions, parse_exclude_file
from keepstone.work.backup import BackupResult
from keepstone_cli.main import Settings
from keepstone_cli.output import Output, clean, count, duration, path_fields, size
from keepstone_cli.secrets import credential
from keepstone_cli.settings import named_place, open_repository, place, state_folder


@click.command("backup")
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path())
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Mark the snapshot; can be given several times.")
@click.option("--host", default="", metavar="NAME", help="Another host name than this computer's.")
@click.option(
    "-e",
    "--exclude",
    "excludes",
    multiple=True,
    metavar="PATTERN",
    help="Leave out what matches: a name, or a path if it holds a slash; can be given several times.",
)
@click.option(
    "--exclude-file", "exclude_files", multiple=True, metavar="FILE", help="Read patterns from a file, one a line."
)
@click.option("--exclude-caches", is_flag=True, help="Leave out the content of folders that carry a CACHEDIR.TAG.")
@click.option("-x", "--one-file-system", is_flag=True, help="Do not cross into other filesystems.")
@click.option("-n", "--dry-run", is_flag=True, help="Read and report, but store nothing.")
@click.option("-f", "--force", is_flag=True, help="Read every file again, whatever looks unchanged.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Store what comes in on standard input as one file.")
@click.option("--stdin-filename", default="stdin", show_default=True, metavar="NAME", help="The name of that file.")
@click.option(
    "--files-from", multiple=True, metavar="FILE", help="Read paths from a file, one a line; - is standard input."
)
@click.option("--messages/--no-messages", default=True, help="Whether to take chats and calls into the archive.")
@click.option(
    "--compression",
    default="default",
    show_default=True,
    metavar="SETTING",
    help="off, fast, default, better, max, or a zstd level from 0 to 19.",
)
@click.pass_obj
def command(
    settings: Settings,
    paths: tuple[str, ...],
    tags: tuple[str, ...],
    host: str,
    excludes: tuple[str, ...],
    exclude_files: tuple[str, ...],
    exclude_caches: bool,
    one_file_system: bool,
    dry_run: bool,
    force: bool,
    from_stdin: bool,
    stdin_filename: str,
    files_from: tuple[str, ...],
    messages: bool,
    compression: str,
) -> int:
    """Make a snapshot of files and folders.

    What is stored already is not stored again. Without --repo the default repository is used, and created if there
    is none. Paths are stored absolute.
    """
    sources = [os.fsencode(path) for path in paths]
    for file in files_from:
        sources += _lines(file)
    if from_stdin:
        if sources:
            raise UsageError("--stdin stores one file and takes no paths.", "Leave out the paths, or --stdin.")
        sources = [b"/" + os.fsencode(stdin_filename).strip(b"/")]
    elif not sources:
        raise UsageError("There is nothing to back up.", "Name at least one path.")
    patterns = [os.fsencode(pattern) for pattern in excludes]
    for file in exclude_files:
        patterns += parse_exclude_file(_content(file))
    options = keepstone.BackupOptions(
        sources=[os.path.abspath(source) for source in sources],
        tags=tags,
        host=host,
        exclusions=Exclusions(patterns) if patterns else None,
        exclude_caches=exclude_caches,
        one_file_system=one_file_system,
        dry_run=dry_run,
        force=force,
        messages=messages,
        level=level_of(compression),
        stream=io.FileIO(0, closefd=False) if from_stdin else None,
    )
    output = settings.output()
    own_process()
    unlock = _credential(settings, output, dry_run=dry_run)
    with keepstone.ScanAhead(options) as ahead, open_repository(settings, unlock) as repository:
        try:
            result = repository.backup(options, output.listen, ahead)
        finally:
            output.stop_meter()
    _report(output, result, options)
    return 3 if result.problems else 0


def _credential(settings: Settings, output: Output, *, dry_run: bool) -> keepstone.Credential:
    """Return what unlocks the repository; the default one is created if there is none."""
    try:
        from keepstone.repo.repository import repository_id
        from keepstone.store import open_store

        repository_id(open_store(place(settings)))
    except NoRepository:
        if named_place(settings) or dry_run:
            raise
        unlock = credential(settings, new=True, prompt="New password for your backups")
        keepstone.init(place(settings), unlock, state=state_folder())
        output.note(f"Created your repository at {clean(place(settings))}.")
        output.note("Keep the password or key: without it the backups cannot be read by anyone.")
        return unlock
    return credential(settings)


def _lines(file: str) -> list[bytes]:
    return [line for line in _content(file).splitlines() if line]


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"The file {file} cannot be read ({error.strerror}).", "Check its path and rights.") from error


def _report(output: Output, result: BackupResult, options: keepstone.BackupOptions) -> None:
    counts = result.counts
    if output.json:
        output.data(
            {
                "message_type": "summary",
                "snapshot_id": result.snapshot.hex() if result.snapshot else None,
                "dry_run": options.dry_run,
                "files_new": counts.files_new,
                "files_changed": counts.files_changed,
                "files_unmodified": counts.files_unmodified,
                "dirs": counts.folders,
                "total_files_processed": counts.files,
                "total_bytes_processed": counts.bytes,
                "data_added": counts.added,
                "data_stored": result.stored_bytes,
                "chunks_new": counts.chunks_new,
                "total_duration": round(result.duration, 3),
                "parent": result.parent.hex() if result.parent else None,
                "problems": len(result.problems),
                "live_databases": [path_fields(path) for path in result.databases],
                "changed_while_read": [path_fields(path) for path in result.inexact],
                "messages_read": result.gathered.messages,
                "calls_read": result.gathered.calls,
                "message_sources": result.gathered.sources,
                "messages_new": result.gathered.new,
                "messages_lost": result.gathered.lost,
                "receipt": result.receipt,
            }
        )
        return
    output.note(
        f"{count(counts.files, 'file')}, {size(counts.bytes)}: "
        f"{counts.files_new} new, {counts.files_changed} changed, {counts.files_unmodified} unmodified"
    )
    verb, stored = ("Would add", "to store") if options.dry_run else ("Added", "stored")
    output.note(
        f"{verb} {size(counts.added)} of new data, {size(result.stored_bytes)} {stored}, in {duration(result.duration)}"
    )
    if result.gathered.sources:
        found = result.gathered
        output.note(
            f"{count(found.messages, 'message')} and {count(found.calls, 'call')} read in "
            f"{count(found.sources, 'source')}: `keepstone chats` shows them"
        )
    for path in result.databases:
        output.note(f"Live database stored as one consistent image: {clean(path)}")
    for path in result.inexact:
        output.warn(f"Changed while it was read: {clean(path)}")
    if result.problems:
        output.warn(f"{len(result.problems)} could not be read; everything else was stored.")
    if result.snapshot:
        output.result(f"snapshot {result.snapshot.hex()[:8]} saved")
        output.note(f"Receipt {result.receipt}: `keepstone check --receipt` with it proves this backup is still there")
