"""Curves of the dedup ratio against the mean chunk size. The only module that imports matplotlib."""

from __future__ import annotations

from pathlib import Path

from keepstone.errors import TargetError, UsageError
from keepstone.work.bench_dedup import DedupResult

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
    try:
        figure.savefig(file)
    except OSError as error:
        raise TargetError(f"{file} cannot be written ({error.strerror}).") from error
