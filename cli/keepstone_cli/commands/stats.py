"""Measure the repository, and explain where its space goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from keepstone.work.explain import PART_NAMES, Explanation, Share
from keepstone.work.query import Stats
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import Output, iso_time, local_time, size
from keepstone_cli.settings import open_repository


@click.command("stats")
@click.argument("snapshots", nargs=-1, metavar="[SNAPSHOT]...", shell_complete=complete_snapshot)
@click.option("--explain", is_flag=True, help="Also tell where the space goes: by type, container and snapshot.")
@click.option("--plot", metavar="FILE", help="Also draw that, as SVG or PNG.")
@click.pass_obj
def command(settings: Settings, snapshots: tuple[str, ...], explain: bool, plot: str | None) -> None:
    """Show what the repository holds and what that takes.

    With --explain, every snapshot's folders are looked through: what files of each type and from each kind of container
    take, what dedup, delta and compression saved of it, and what each snapshot added. With SNAPSHOT, only of those
    named. A file's type is told by its name. What several need belongs to the first: to the oldest snapshot, and in it
    to the first file.
    """
    from keepstone_cli import plot as plotting

    output = settings.output()
    if plot is not None:
        plotting.ready(plot)
    explained = None
    with open_repository(settings) as repository:
        if explain or snapshots or plot:
            chosen = [repository.snapshot(name) for name in snapshots]
            try:
                explained = repository.explain(chosen, output.listen)
            finally:
                output.stop_meter()
        stats = explained.stats if explained else repository.stats()
    if settings.json:
        output.data(_totals(stats) | ({"explained": _document(explained)} if explained else {}))
    else:
        _print_totals(output, stats)
        if explained:
            _print(output, explained, some=bool(snapshots))
    if plot is not None and explained:
        plotting.draw_space(explained, plot)
        output.note(f"plotted in {plot}")


# For programs -----------------------------------------------------------------------------------------------


def _totals(stats: Stats) -> dict[str, object]:
    return {
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


def _document(explained: Explanation) -> dict[str, object]:
    return {
        "total": _share(explained.total),
        "by_type": [{"type": share.name, **_share(share)} for share in explained.types],
        "by_container": [{"container": share.name, **_share(share)} for share in explained.containers],
        "by_snapshot": [
            {"snapshot": one.snapshot.id.hex(), "time": iso_time(one.snapshot.body.time_ns), "files": one.files,
             "bytes": one.bytes, "new": one.new, "unique": one.unique, "shared": one.shared}
            for one in explained.snapshots
        ],
        "parts": {name: getattr(explained.parts, name) for name in PART_NAMES},
    }  # fmt: skip


def _share(share: Share) -> dict[str, int]:
    return {
        "files": share.files,
        "bytes": share.bytes,
        "unwrapped": share.unwrapped,
        "holes": share.holes,
        "content": share.content,
        "dedup_saved": share.dedup_saved,
        "chunks": share.chunks,
        "plain": share.plain,
        "delta_saved": share.delta_saved,
        "delta_plain": share.delta_plain,
        "delta_stored": share.delta_stored,
        "delta_without_estimated": share.delta_alone,
        "compression_saved": share.compression_saved,
        "stored": share.stored,
    }


# For people -------------------------------------------------------------------------------------------------


def _print_totals(output: Output, stats: Stats) -> None:
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


def _print(output: Output, explained: Explanation, *, some: bool) -> None:
    _section(output, ("Where it goes", "Bytes", ""), list(_steps(explained, some=some)), words=(0, 2))
    types = [
        (s.name, str(s.files), size(s.content), size(s.dedup_saved), size(s.delta_saved), _signed(s.compression_saved),
         size(s.stored))
        for s in _sorted(explained.types)
    ]  # fmt: skip
    _section(output, ("Type", "Files", "Content", "- Dedup", "- Delta", "- Compr.", "= Stored"), types)
    containers = [
        (s.name, str(s.files), size(s.bytes), size(s.content), size(s.plain), size(s.stored))
        for s in _sorted(explained.containers)
    ]
    _section(output, ("Container", "Files", "Size", "Unwrapped", "New", "Stored"), containers)
    rows = [
        (one.snapshot.id.hex()[:8], local_time(one.snapshot.body.time_ns)[:16], str(one.files), size(one.bytes),
         size(one.unique), size(one.shared), size(one.new))
        for one in explained.snapshots
    ]  # fmt: skip
    _section(output, ("Snapshot", "Time", "Files", "Size", "Unique", "+ Shared", "= New"), rows, words=(0, 1))


def _steps(explained: Explanation, *, some: bool) -> Iterator[tuple[str, ...]]:
    """Yield the way from the files to the store, each step in a row; steps of nothing are left out."""
    total, parts = explained.total, explained.parts
    without = f"{size(total.delta_stored)}; without, about {size(total.delta_alone)}" if total.delta_plain else ""
    steps = (
        ("Unwrapping containers", total.unwrapped, ""),
        ("Holes", -total.holes, ""),
        ("Dedup", -total.dedup_saved, "what was there already"),
        ("Delta", -total.delta_saved, without),
        ("Compression", -total.compression_saved, "of all else"),
    )
    yield f"Files in {'these' if some else 'all'} snapshots", size(total.bytes), ""
    for name, value, why in steps:
        if value:
            yield f"  {name}", _signed(value, plus=True), why
    yield "Content, stored", size(total.stored), ""
    rest = (
        ("Folders", parts.folders, "names, times, short recipes"),
        ("Recipes", parts.recipes, "of long files and containers"),
        ("Messages", parts.messages, "the archive of chats and calls"),
        ("Not needed", parts.unneeded, "by these snapshots" if some else "by any snapshot"),
        ("Padding", parts.padding, "hides sizes"),
        ("Directories, index", parts.directories + parts.index, "which chunk is where"),
        ("Seals, headers", parts.seals + parts.headers, "encryption"),
        ("Log, keyslots", parts.log + parts.other, ""),
        ("Packs not in the index", parts.unread_packs, "see `keepstone check`"),
    )
    for name, value, why in rest:
        if value:
            yield f"  {name}", _signed(value, plus=True), why
    yield "In the store", size(parts.total), ""


def _signed(value: int, *, plus: bool = False) -> str:
    return f"-{size(-value)}" if value < 0 else f"{'+' if plus else ''}{size(value)}"


def _sorted(shares: Sequence[Share]) -> list[Share]:
    return sorted(shares, key=lambda share: (-share.stored, -share.content))


def _section(
    output: Output, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: tuple[int, ...] = (0,)
) -> None:
    """Print a table below an empty line, its numbers aligned to the right."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def aligned(row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            cell if number in words else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )

    if rows:
        output.result("")
        output.table(aligned(heads), [aligned(row) for row in rows])
