"""Let a phone live in a folder, and run a command after each day."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from . import MORE_PARTS, PARTS, Habits, Pages, Phone, parse_size


def _arguments() -> argparse.Namespace:
    standard = Habits()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone", description=__doc__)
    parser.add_argument("folder", type=Path, help="where it lives; keys and memory lie beside, in FOLDER.phone")
    parser.add_argument("--days", type=int, default=1, help="days to live (%(default)s; 0 only makes the phone)")
    parser.add_argument("--each-day", metavar="COMMAND", help="a shell command after each day; DAY and FOLDER are set")
    parser.add_argument("--pages", action="store_true", help="print how many pages of the database each day changed")
    new = parser.add_argument_group("a new phone; one that exists keeps its habits")
    new.add_argument("--seed", type=int, default=standard.seed)
    new.add_argument("--start-size", default="80MB", help="of the database when the life begins (%(default)s)")
    new.add_argument("--start-media", help="of media when it begins (twice the database)")
    new.add_argument("--parts", default=",".join(PARTS), help="what is written (%(default)s)")
    new.add_argument("--messages", default=f"{standard.least}-{standard.most}", help="a day (%(default)s)")
    new.add_argument("--vacuum", default="30-45", help="days from one VACUUM to the next, or 'never' (%(default)s)")
    new.add_argument("--zlib-level", type=int, default=standard.zlib_level, help="of crypt15 (%(default)s)")
    new.add_argument("--kept-dumps", type=int, default=standard.kept_dumps, help="of SMS (%(default)s)")
    new.add_argument("--kept-crypts", type=int, default=standard.kept_crypts, help="of earlier nights (%(default)s)")
    new.add_argument("--signal-every", type=int, default=standard.signal_every, help="days (%(default)s)")
    new.add_argument("--key-beside", action="store_true", help="put encrypted_backup.key beside the database")
    return parser.parse_args()


def _habits(chosen: argparse.Namespace) -> Habits:
    size = parse_size(chosen.start_size)
    least, most = _span(chosen.messages)
    parts = tuple(name for name in chosen.parts.split(",") if name)
    known = PARTS + MORE_PARTS
    if unknown := set(parts) - set(known):
        raise ValueError(f"There is no part called {', '.join(sorted(unknown))}. There are {', '.join(known)}.")
    return Habits(
        seed=chosen.seed,
        size=size,
        media=parse_size(chosen.start_media) if chosen.start_media else 2 * size,
        parts=parts,
        least=least,
        most=most,
        vacuum=None if chosen.vacuum == "never" else _span(chosen.vacuum),
        zlib_level=chosen.zlib_level,
        kept_crypts=chosen.kept_crypts,
        kept_dumps=chosen.kept_dumps,
        signal_every=chosen.signal_every,
        key_beside=chosen.key_beside,
    )


def _span(said: str) -> tuple[int, int]:
    """Return both ends of a span such as 400-1500; a single number is a span too."""
    low, _, high = said.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise ValueError(f"{said!r} is not a span. Write it as 400-1500, or as one number.") from None


def main() -> int:
    chosen = _arguments()
    exists = (chosen.folder.with_name(chosen.folder.name + ".phone") / "life.json").exists()
    began = time.monotonic()
    try:
        phone = Phone(chosen.folder, None if exists else _habits(chosen))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    size = phone.database.stat().st_size / 1e6
    print(f"seed {phone.habits.seed}, day {phone.day}, {size:.1f} MB of messages, {time.monotonic() - began:.1f} s")
    pages = Pages(phone.database) if chosen.pages else None
    for _ in range(chosen.days):
        began = time.monotonic()
        today = phone.live()[0]
        said = f"day {today.number}, {today.date}: {today.messages} messages{', VACUUM' if today.vacuumed else ''}"
        print(f"{said}, {time.monotonic() - began:.1f} s{f', {pages.changes()}' if pages else ''}", flush=True)
        if chosen.each_day:
            around = os.environ | {"DAY": str(today.number), "FOLDER": str(phone.folder)}
            subprocess.run(chosen.each_day, shell=True, check=True, env=around)
    return 0


if __name__ == "__main__":
    sys.exit(main())
