"""Curves of the dedup ratio against the mean chunk size, and bars of where the space goes.

The only module that imports matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keepstone.errors import TargetError, UsageError
from keepstone.work.bench_dedup import DedupResult
from keepstone_cli.output import local_time, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from keepstone.work.explain import Explanation, Share

KINDS = (".svg", ".png")


def ready(file: str) -> None:
    """Make sure that a plot can be made, before anything takes time.

    Raises:
        UsageError: matplotlib is not installed, or the file's name ends otherwise.
    """
    if Path(file).suffix.lower() not in KINDS:
        raise UsageError(f"{file} is neither an SVG nor a PNG file.", "Let its name end in .svg or .png.")
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError(
            "A plot needs matplotlib, which is not installed.", "Run `pip install 'keepstone[plot]'`."
        ) from error


def draw(result: DedupResult, file: str) -> None:
    """Draw one curve a chunker into a file, SVG or PNG by its ending.

    Raises:
        TargetError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # Its own canvas: no window, no global state.

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(one.chunker for one in result.figures):
        points = sorted((one.mean, one.ratio, one.error) for one in result.figures if one.chunker == name)
        means, ratios, errors = zip(*points, strict=True)
        axes.errorbar(means, ratios, yerr=errors if any(errors) else None, marker="o", capsize=3, label=name)
    ticks = sorted({one.mean for one in result.figures})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{mean >> 10} KiB" if mean < 1 << 20 else f"{mean >> 20} MiB" for mean in ticks])
    axes.set_xlabel("mean chunk size")
    axes.set_ylabel("dedup ratio, metadata included")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    _save(figure, file)


def draw_space(explained: Explanation, file: str) -> None:
    """Draw what types, containers and snapshots take into a file, SVG or PNG by its ending.

    Raises:
        TargetError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    bars = [max(1, len(explained.types)), max(1, len(explained.containers)), 8]
    figure = Figure(figsize=(9, 2.5 + 0.3 * sum(bars)), layout="constrained")
    taken = explained.parts.total - explained.parts.unneeded
    figure.suptitle(f"{size(explained.total.bytes)} in files take {size(taken)} in the store")
    types, containers, snapshots = figure.subplots(3, 1, height_ratios=bars)
    _draw_shares(types, explained.types, "content by type")
    _draw_shares(containers, explained.containers, "content by container")
    _draw_snapshots(snapshots, explained)
    for axes in (types, snapshots):
        # Above its axes, where no bar can be.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8, borderaxespad=0.2)
    _save(figure, file)


_COLORS = {"stored": "#1b6ca8", "saved by compression": "#7fb7be", "saved by delta": "#f2c14e",
           "saved by dedup": "#d9d9d9"}  # fmt: skip


def _draw_shares(axes: Axes, shares: Sequence[Share], title: str) -> None:
    """Draw a bar for each share: what it takes and what was saved of its content, the largest on top."""
    shown = sorted(shares, key=lambda share: share.content)
    names = [share.name for share in shown]
    left = [0] * len(shown)
    for label, widths in zip(
        _COLORS,
        (
            [share.stored for share in shown],
            [max(0, share.compression_saved) for share in shown],
            [max(0, share.delta_saved) for share in shown],
            [share.dedup_saved for share in shown],
        ),
        strict=True,
    ):
        axes.barh(names, widths, left=left, label=label, color=_COLORS[label])
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for name, share, end in zip(names, shown, left, strict=True):
        axes.annotate(
            f"{size(share.stored)} stored", (end, name), xytext=(4, 0), textcoords="offset points", va="center", size=8
        )
    axes.set_title(title, loc="left", size=10)
    axes.set_xlim(0, 1.2 * max(left, default=0) or 1)
    _in_bytes(axes.xaxis, max(left, default=0))
    axes.grid(visible=True, axis="x", alpha=0.3)


def _draw_snapshots(axes: Axes, explained: Explanation) -> None:
    """Draw a bar for each snapshot: what was new in it, unique and shared."""
    found = explained.snapshots
    at = range(len(found))
    unique, shared = [one.unique for one in found], [one.shared for one in found]
    axes.bar(at, shared, label="and in later snapshots", color="#7fb7be")
    axes.bar(at, unique, bottom=shared, label="only in this snapshot", color="#c8553d")
    step = max(1, -(-len(found) // 12))
    axes.set_xticks(list(at)[::step], [local_time(one.snapshot.body.time_ns)[5:16] for one in found[::step]], size=8)
    axes.set_title("new bytes by snapshot", loc="left", size=10)
    _in_bytes(axes.yaxis, max((one.new for one in found), default=0))
    axes.grid(visible=True, axis="y", alpha=0.3)


def _in_bytes(axis: Axis, most: int) -> None:
    """Put at most eight ticks on an axis, at round numbers of a unit."""
    from matplotlib.ticker import MultipleLocator

    axis.set_major_locator(MultipleLocator(1 << max(0, most.bit_length() - 3)))
    axis.set_major_formatter(lambda value, position: size(value))


def _save(figure: Figure, file: str) -> None:
    try:
        figure.savefig(file)
    except OSError as error:
        raise TargetError(f"{file} cannot be written ({error.strerror}).") from error
