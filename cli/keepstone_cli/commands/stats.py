"""Measure the repository."""

from __future__ import annotations

import click

from keepstone_cli.main import Settings
from keepstone_cli.output import size
from keepstone_cli.settings import open_repository


@click.command("stats")
@click.pass_obj
def command(settings: Settings) -> None:
    """Show what the repository holds and what that takes."""
    output = settings.output()
    with open_repository(settings) as repository:
        stats = repository.stats()
    if settings.json:
        output.data(
            {
                "snapshots_count": stats.snapshots,
                "total_file_count": stats.files,
                "total_restore_size": stats.restore_size,
                "total_chunk_count": stats.chunks,
                "total_uncompressed_size": stats.plain_size,
                "total_size": stats.stored_size,
                "packs_count": stats.packs,
                "objects_count": stats.objects,
                "dedup_ratio": round(stats.dedup_ratio, 4),
                "compression_ratio": round(stats.compression_ratio, 4),
            }
        )
        return
    output.table(
        ("What", "Value"),
        [
            ("Snapshots", str(stats.snapshots)),
            ("Files in all snapshots", f"{stats.files}, {size(stats.restore_size)}"),
            ("Chunks", f"{stats.chunks}, {size(stats.plain_size)}"),
            ("Stored", f"{stats.objects} objects ({stats.packs} packs), {size(stats.stored_size)}"),
            ("Dedup ratio", f"{stats.dedup_ratio:.2f}"),
            ("Compression ratio", f"{stats.compression_ratio:.2f}"),
        ],
    )
