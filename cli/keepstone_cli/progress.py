"""The progress line on a terminal. The only module that imports rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from keepstone import events


class Meter:
    """One line: files, bytes, speed, and the time left where the total is known."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[files]}"),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, files="")
        self._progress.start()

    def show(self, event: events.Progress) -> None:
        total = "" if event.files_total is None else f" of {event.files_total}"
        self._progress.update(
            self._task,
            completed=event.bytes_done,
            total=event.bytes_total,
            files=f"{event.files_done}{total} files",
        )

    def stop(self) -> None:
        self._progress.stop()


class StepMeter:
    """One line: steps, what is being done, the time left."""

    def __init__(self) -> None:
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, event: events.Step) -> None:
        self._progress.update(self._task, completed=event.done, total=event.total, description=event.current)

    def stop(self) -> None:
        self._progress.stop()
