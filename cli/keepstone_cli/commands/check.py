"""Check the repository."""

from __future__ import annotations

import re

import click

from keepstone.errors import UsageError
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, count, path_fields, size
from keepstone_cli.settings import open_repository


@click.command("check")
@click.option("--read-data", is_flag=True, help="Also read every pack and verify every chunk.")
@click.option("--read-data-subset", metavar="SHARE", help="Read a share of the packs, such as 5%.")
@click.option("--receipt", metavar="TEXT", help="Also prove that the backup that printed this receipt is still there.")
@click.pass_obj
def command(settings: Settings, read_data: bool, read_data_subset: str | None, receipt: str | None) -> int:
    """Check that everything the snapshots need is there and whole.

    Names each damaged object and each file it affects. Changes nothing.
    """
    share = 1.0 if read_data else _share(read_data_subset)
    output = settings.output()
    with open_repository(settings) as repository:
        try:
            result = repository.check(read_data=share, receipt=receipt, listener=output.listen)
        finally:
            output.stop_meter()
    if settings.json:
        output.data(
            {
                "message_type": "summary",
                "healthy": result.healthy,
                "findings": [{"object": f.object_name, "what": f.what, "kind": f.kind} for f in result.findings],
                "affected": [{"snapshot": a.snapshot, **path_fields(a.path)} for a in result.affected],
                "snapshots": result.snapshots,
                "files": result.files,
                "packs": result.packs,
                "packs_read": result.packs_read,
                "bytes_read": result.bytes_read,
                "packs_without_index": result.uncovered_packs,
                "receipt_found": result.receipt_found,
            }
        )
        return 0 if result.healthy else 1
    for affected in result.affected:
        output.result(f"affected: {affected.snapshot[:8]}:{clean(affected.path)}")
    if result.receipt_found is not None:
        output.result(
            "The receipt's backup is there." if result.receipt_found else "The receipt's backup is NOT there."
        )
    read = f", {result.packs_read} read whole ({size(result.bytes_read)})" if result.packs_read else ""
    output.note(f"{count(result.snapshots, 'snapshot')}, {count(result.packs, 'pack')}{read}")
    if result.healthy:
        output.result("no errors were found")
        return 0
    output.warn(f"{count(len(result.findings), 'damaged object')}, {count(len(result.affected), 'affected file')}")
    return 1


def _share(text: str | None) -> float:
    if not text:
        return 0.0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if not match or not 0 < float(match[1]) <= 100:
        raise UsageError(f"{text!r} is not a share of the packs.", "Use a percentage such as 5%.")
    return float(match[1]) / 100
