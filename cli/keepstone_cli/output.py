"""Everything that is printed: results to standard output, human words and progress to standard error.

All names that come from files pass `clean`, so nothing in a backup can steer a terminal. JSON only grows; bytes that
are not UTF-8 appear escaped and, exactly, in a second field with base64. JSON is printed in ASCII: it is the same in
every locale, and safe on a terminal too.
"""

from __future__ import annotations

import base64
import datetime
import json as json_module
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from keepstone.events import Event
    from keepstone_cli.progress import Meter, StepMeter

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_HIDDEN = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
_JOINERS = re.compile(r"(?<=[^\x00-\u02ff\u2000-\u206f])[\u200c\u200d](?=[^\x00-\u02ff\u2000-\u206f])")
"""What joins the parts of an emoji, and letters of Persian or Hindi: spelling, if it stands between such."""
_WIDEST = 60
"""Columns of a terminal that a column of a table is padded to at most."""


def clean(text: str | bytes) -> str:
    """Return text with every control, bidi and invisible character escaped."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    kept = {at.start() for at in _JOINERS.finditer(text)}
    return "".join(
        c if unicodedata.category(c) not in _HIDDEN or at in kept else _escape(c) for at, c in enumerate(text)
    )


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes, as far as that can be told."""
    if text.isascii():
        return len(text)
    return sum(_width(c) for c in text)


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def count(number: int, thing: str) -> str:
    """Return a number of things for people."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a number of seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


def local_time(ns: int) -> str:
    return datetime.datetime.fromtimestamp(ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")


def iso_time(ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 text in UTC, exact to the nanosecond."""
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09}Z"


def path_fields(path: bytes, name: str = "path") -> dict[str, str]:
    """Return the JSON fields of a path: text, and base64 of the exact bytes if it is not UTF-8."""
    try:
        return {name: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {
            name: path.decode("utf-8", "backslashreplace"),
            f"{name}_base64": base64.b64encode(path).decode(),
        }


class Output:
    """What a command prints with."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json, self.quiet = json, quiet
        self._meter: Meter | None = None
        self._steps: StepMeter | None = None
        self._last_status = 0.0
        self._shown: dict[type[Event], Callable[[Event], None]] = {}
        """What shows an event of a kind; made at the first one, so that printing alone loads no engine."""

    def result(self, text: str) -> None:
        """Print a line of a result."""
        print(text)

    def data(self, value: object) -> None:
        """Print a JSON document or line."""
        print(json_module.dumps(value, separators=(",", ":")), flush=True)

    def bytes(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def note(self, text: str) -> None:
        """Tell a person something, unless quiet or in JSON."""
        if not self.quiet and not self.json:
            self.stop_meter()
            print(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """Tell a person something even if quiet."""
        if not self.json:
            self.stop_meter()
            print(text, file=sys.stderr)

    def table(self, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Print aligned columns. One very long cell moves what is beside it, and not all other rows."""
        widths = [min(max(map(width, column)), _WIDEST) for column in zip(heads, *rows, strict=True)]
        for row in (heads, tuple("-" * most for most in widths), *rows):
            cells = (cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())

    # Events ----------------------------------------------------------------------------------------------

    def listen(self, event: Event) -> None:
        """Show what the engine reports."""
        if not self._shown:
            from keepstone import events

            self._shown = {
                events.Progress: self._progress, events.Step: self._step, events.Problem: self._problem,
                events.Notice: self._notice,
            }  # fmt: skip
        show = self._shown.get(type(event))
        if show is not None:
            show(event)

    def _problem(self, event: Event) -> None:
        from keepstone import events

        assert isinstance(event, events.Problem)
        if self.json:
            self.data(
                {"message_type": "error", "during": event.during, **path_fields(event.path, "item"),
                 "error": {"kind": event.error.kind, "message": event.error.message, "remedy": event.error.remedy}}
            )  # fmt: skip
        else:
            path, message = clean(event.path), clean(event.error.message)
            self.warn(f"Problem: {message}" if not path or path in message else f"Problem: {path}: {message}")

    def _notice(self, event: Event) -> None:
        from keepstone import events

        assert isinstance(event, events.Notice)
        if self.json:
            self.data({"message_type": "notice", "message": event.text, **path_fields(event.path, "item")})
        else:
            self.note(f"Note: {clean(event.path)}: {clean(event.text)}" if event.path else f"Note: {clean(event.text)}")

    def _progress(self, event: Event) -> None:
        from keepstone import events

        assert isinstance(event, events.Progress)
        now = time.monotonic()
        if self.quiet or now - self._last_status < 0.1:
            return
        self._last_status = now
        if self.json:
            self.data(_status(event))
        elif sys.stderr.isatty():
            if self._meter is None:
                from keepstone_cli.progress import Meter

                self._meter = Meter()
            self._meter.show(event)

    def _step(self, event: Event) -> None:
        from keepstone import events

        assert isinstance(event, events.Step)
        if self.quiet:
            return
        if self.json:
            self.data({"message_type": "status", "steps_done": event.done, "total_steps": event.total})
        elif sys.stderr.isatty():
            if self._steps is None:
                from keepstone_cli.progress import StepMeter

                self._steps = StepMeter()
            self._steps.show(event)

    def stop_meter(self) -> None:
        """Take the progress line away."""
        for meter in (self._meter, self._steps):
            if meter is not None:
                meter.stop()
        self._meter = self._steps = None


def _status(event: object) -> dict[str, object]:
    from keepstone import events

    assert isinstance(event, events.Progress)
    status: dict[str, object] = {
        "message_type": "status",
        "files_done": event.files_done,
        "bytes_done": event.bytes_done,
    }
    if event.files_total is not None:
        status["total_files"] = event.files_total
    if event.bytes_total is not None:
        status["total_bytes"] = event.bytes_total
        status["percent_done"] = min(1.0, event.bytes_done / event.bytes_total) if event.bytes_total else 1.0
    return status


def print_failure(code: int, message: str, remedy: str, kind: str, *, json: bool) -> None:
    """Print the error that ends a command: one sentence of what happened, one of what to do."""
    stream: IO[str] = sys.stderr
    if json:
        document = {
            "message_type": "exit_error",
            "code": code,
            "kind": kind,
            "message": message,
            "remedy": remedy,
        }
        print(json_module.dumps(document), file=stream)
    else:
        print(f"Error: {clean(message)}\n{clean(remedy)}", file=stream)
