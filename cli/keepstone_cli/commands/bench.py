"""Measure this machine's chunker, and the dedup of the user's own data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from keepstone.chunking import kernel
from keepstone.events import Listener
from keepstone.work import bench_chunker, bench_dedup
from keepstone.work.bench_dedup import DedupOptions, DedupResult, Figures
from keepstone.work.bench_versions import SnapshotVersion, path_versions
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, count, size
from keepstone_cli.settings import open_repository

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class _Size(click.ParamType[int]):
    """A number of bytes: 65536, 64K, 64KiB."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+) ?([KMG]?)(?:i?B)?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is not a size such as 65536, 64K or 1M", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]


class _Sample(click.ParamType[int]):
    """A share: 1/1024."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"1/(\d+)", str(value))
        if found is None or int(found[1]) < 1:
            self.fail(f"{value!r} is not a share such as 1/1024", param, ctx)
        return int(found[1])


@click.group("bench")
def command() -> None:
    """Measure the chunker, and the dedup of versions."""


@command.command("chunker", short_help="Measure how fast this machine cuts streams.")
@click.option("--size", "size_", type=_Size(), default="0", metavar="SIZE",
              help="How much data of each kind; default: 1 GiB, or a quarter of the free memory.")  # fmt: skip
@click.option("--mean", "means", type=_Size(), multiple=True, metavar="SIZE", help="Mean chunk size; repeatable.")
@click.option("--kernel", "kernels", multiple=True, metavar="NAME", help="Kernel to measure; repeatable.")
@click.option("--seconds", type=click.FloatRange(0, 60), default=0.25, show_default=True, metavar="N",
              help="How long each measurement takes.")  # fmt: skip
@click.pass_obj
def chunker(settings: Settings, size_: int, means: tuple[int, ...], kernels: tuple[str, ...], seconds: float) -> None:
    """Measure how fast this machine reads memory and cuts streams.

    Every kernel and algorithm is measured at each mean, on random, text-like, zero and periodic data that lies in
    memory; the share is of the speed at which one core reads. The oracle in Python takes long: it is measured only if
    it is named, or if there is no other kernel.
    """
    output = settings.output()
    options = bench_chunker.ChunkerOptions(size_, means or bench_chunker.MEANS, kernels, seconds)
    try:
        result = bench_chunker.measure_chunker(options, output.listen)
    finally:
        output.stop_meter()
    if settings.json:
        output.data(
            {
                "message_type": "bench_chunker",
                "kernel": kernel(),
                "size": result.size,
                "read_bandwidth": round(result.bandwidth),
                "results": [
                    {"algorithm": s.algorithm, "kernel": s.kernel, "mean": s.mean, "data": s.data,
                     "speed": round(s.speed), "share": round(s.share, 6)}
                    for s in result.speeds
                ],
            }
        )  # fmt: skip
        return
    output.note(f"Kernel in use: {kernel()}. One core reads memory at {result.bandwidth / 1e9:.2f} GB/s.")
    rows = [
        (s.algorithm, s.kernel, size(s.mean), s.data, f"{s.speed / 1e9:.3f}", f"{s.share:.3f}") for s in result.speeds
    ]
    output.table(("Algorithm", "Kernel", "Mean", "Data", "GB/s", "Share"), rows)


@command.command("dedup", short_help="Measure the dedup of versions with several chunkers.")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.option("-s", "--snapshot", "snapshots", multiple=True, metavar="ID", shell_complete=complete_snapshot,
              help="A snapshot of the repository as a version; repeatable.")  # fmt: skip
@click.option("--chunker", "chunkers", multiple=True, metavar="NAME", help="Chunker to measure with; repeatable.")
@click.option("--mean", "means", type=_Size(), multiple=True, metavar="SIZE", help="Mean chunk size; repeatable.")
@click.option("--sample", type=_Sample(), default="1/1", metavar="1/N", help="Count one in N chunks by their hash.")
@click.option("--references", metavar="FOLDER",
              help="More chunkers, from a folder; default: benchmarks/references of a source checkout.")  # fmt: skip
@click.option("--scratch", metavar="FOLDER", help="Where the table of chunks lies meanwhile.")
@click.option("--plot", metavar="FILE", help="Draw the ratio against the mean, as SVG or PNG.")
@click.pass_obj
def dedup(
    settings: Settings,
    paths: tuple[str, ...],
    snapshots: tuple[str, ...],
    chunkers: tuple[str, ...],
    means: tuple[int, ...],
    sample: int,
    references: str | None,
    scratch: str | None,
    plot: str | None,
) -> int:
    """Measure the dedup of versions with several chunkers, at several mean chunk sizes.

    Each PATH is a version: a file, or a folder with all that is in it. One folder alone stands for the versions in it,
    sorted by name. Nothing is stored; the table of chunks lies in a temporary folder and is removed.

    The ratio is the bytes of all versions over what would be stored: each chunk once, 64 bytes of metadata for it, and
    40 for each reference to it. Compression is not counted. A sample gives an estimate with its standard error.
    """
    from keepstone_cli import plot as plotting

    output = settings.output()
    if plot is not None:
        plotting.ready(plot)
    options = DedupOptions(
        chunkers,
        means or bench_dedup.MEANS,
        sample,
        Path(references) if references else bench_dedup.default_references(),
        Path(scratch) if scratch else None,
    )
    try:
        result = _measure(settings, paths, snapshots, options, output.listen)
    finally:
        output.stop_meter()
    if plot is not None:
        plotting.draw(result, plot)
    if settings.json:
        output.data(_document(result))
    else:
        output.note(f"{count(result.versions, 'version')}, {count(result.files, 'file')}, {size(result.bytes)}.")
        output.table(*_table(result))
        if plot is not None:
            output.note(f"Drew {clean(plot)}.")
        if result.problems:
            output.warn(f"{count(len(result.problems), 'problem')}; everything else was measured.")
    return 3 if result.problems else 0


def _measure(
    settings: Settings, paths: tuple[str, ...], snapshots: tuple[str, ...], options: DedupOptions, listener: Listener
) -> DedupResult:
    versions = path_versions([os.fsencode(path) for path in paths])
    if not snapshots:
        return bench_dedup.measure_dedup(versions, options, listener)
    with open_repository(settings) as repository:
        versions += [SnapshotVersion(repository, repository.snapshot(name)) for name in snapshots]
        return bench_dedup.measure_dedup(versions, options, listener)


def _table(result: DedupResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    heads = ("Chunker", "Mean", "Average", "Median", "Chunks", "Unique", "Metadata", "Ratio")
    rows: list[tuple[str, ...]] = []
    for one in result.figures:
        share = one.metadata_bytes / one.stored_bytes if one.stored_bytes else 0.0
        ratio = f"{one.ratio:.4f}" + (f" ± {one.error:.4f}" if result.sample > 1 else "")
        median = dict(one.quantiles).get(0.5, 0)
        rows.append(
            (one.chunker, size(one.mean), size(one.average), size(median), str(one.chunks), str(one.unique_chunks),
             f"{share:.2%}", ratio)
        )  # fmt: skip
    return heads, rows


def _document(result: DedupResult) -> dict[str, object]:
    return {
        "message_type": "bench_dedup",
        "kernel": kernel(),
        "versions": result.versions,
        "files": result.files,
        "bytes": result.bytes,
        "sample": result.sample,
        "problems": len(result.problems),
        "results": [_figures(one) for one in result.figures],
    }


def _figures(one: Figures) -> dict[str, object]:
    return {
        "chunker": one.chunker,
        "mean": one.mean,
        "average": round(one.average, 1),
        "chunks": one.chunks,
        "unique_chunks": one.unique_chunks,
        "unique_bytes": one.unique_bytes,
        "metadata_bytes": one.metadata_bytes,
        "stored_bytes": one.stored_bytes,
        "ratio": round(one.ratio, 6),
        "ratio_error": round(one.error, 6),
        "histogram": [{"from": power, "chunks": number} for power, number in one.histogram],
        "quantiles": [{"share": share, "length": length} for share, length in one.quantiles],
    }
