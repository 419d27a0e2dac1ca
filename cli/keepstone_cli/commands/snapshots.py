"""List the snapshots."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import click

from keepstone.history.snapshot import Snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, count, iso_time, local_time, path_fields, size
from keepstone_cli.settings import keep_ids, open_repository


@click.command("snapshots")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag; can be given several times."
)
@click.option("--host", default="", metavar="NAME", help="Only those of this host.")
@click.option("--latest", default=0, metavar="N", help="Only the newest N.")
@click.pass_obj
def command(settings: Settings, tags: tuple[str, ...], host: str, latest: int) -> None:
    """List the snapshots, oldest first."""
    output = settings.output()
    with open_repository(settings) as repository:
        known = repository.snapshots()
        if not settings.no_cache:
            keep_ids([snapshot.id.hex()[:8] for snapshot in known])
        found = [
            snapshot for snapshot in known if set(tags) <= set(snapshot.body.tags) and host in ("", snapshot.body.host)
        ]
    if latest > 0:
        found = found[-latest:]
    if settings.json:
        output.data([as_json(snapshot) for snapshot in found])
        return
    rows = [
        (
            s.id.hex()[:8],
            local_time(s.body.time_ns),
            clean(s.body.host),
            clean(",".join(s.body.tags)),
            str(s.body.counts.files),
            size(s.body.counts.bytes),
            " ".join(clean(path) for path in s.body.sources),
        )
        for s in found
    ]
    output.table(("ID", "Time", "Host", "Tags", "Files", "Size", "Paths"), rows)
    output.note(count(len(found), "snapshot"))


def as_json(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as its JSON document."""
    body = snapshot.body
    return {
        "time": iso_time(body.time_ns),
        "id": snapshot.id.hex(),
        "short_id": snapshot.id.hex()[:8],
        "hostname": body.host,
        "username": body.user,
        **_paths(body.sources),
        "tags": body.tags,
        "parent": body.parent.hex() or None,
        "program_version": body.program,
        "summary": {
            "files_new": body.counts.files_new,
            "files_changed": body.counts.files_changed,
            "files_unmodified": body.counts.files_unmodified,
            "dirs": body.counts.folders,
            "total_files_processed": body.counts.files,
            "total_bytes_processed": body.counts.bytes,
            "data_added": body.counts.added,
            "chunks_new": body.counts.chunks_new,
            "problems": body.counts.problems,
        },
    }


def _paths(paths: Sequence[bytes]) -> dict[str, list[str]]:
    fields = [path_fields(path) for path in paths]
    found = {"paths": [field["path"] for field in fields]}
    if any("path_base64" in field for field in fields):
        found["paths_base64"] = [base64.b64encode(path).decode() for path in paths]
    return found
