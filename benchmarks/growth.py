"""How much a repository grows when a phone lives on: the same days through Keepstone, restic and borg, in one run.

A phone from `phone` lives for some days. Every night each program saves it into a repository of its own, with default
settings, and the repository's files are added up: data, indexes, snapshots, all of it. What counts is the growth; the
first backup stands apart. `--only` saves one file or folder, so that its share can be told.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare import BORG, KEEPSTONE, RESTIC, Tool, find_tools, machine, run, stored_bytes
from phone import PARTS, Habits, Pages, Phone, parse_size

ALL = "everything"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is saved and measured."""

    parts: tuple[str, ...]
    """Parts of the phone that are needed for it."""
    paths: tuple[str, ...]
    beside: tuple[str, ...] = ()
    """What is saved before, unmeasured: photos that a dump of messages holds once more are on the card as well."""


ONLY = {
    ALL: Choice(PARTS, (".",)),
    "msgstore.db": Choice((), ("Databases/msgstore.db",)),
    "crypt15": Choice(("crypt15",), ("Databases/msgstore.db.crypt15",)),
    "sms": Choice(("sms",), ("SMSBackupRestore",), ("DCIM",)),
    "media": Choice(("media",), ("Media", "DCIM")),
    "signal": Choice(("signal",), ("Signal",)),
    "signal-folder": Choice(("signal-folder",), ("SignalBackups",)),
    "documents": Choice(("media", "documents"), ("Documents", "Download")),
}


@dataclass(slots=True)
class Growth:
    """What one program stored, and for how long it worked each night."""

    first: int = 0
    days: list[int] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.days)


class Race:
    """A phone, programs, and a repository for each."""

    def __init__(self, base: Path, phone: Phone, choice: Choice, tools: Sequence[Tool]) -> None:
        self.base, self.phone, self.tools = base, phone, tools
        self.sources = [phone.folder / path for path in choice.paths]
        self.beside = [phone.folder / path for path in choice.beside]
        self.growth = {tool.name: Growth() for tool in tools}
        self.places = {tool.name: base / f"repository-{number}" for number, tool in enumerate(tools)}
        self.weights: dict[str, int] = {}
        self.seen: dict[Path, tuple[int, int]] = {}
        self.written: list[int] = []
        """Bytes of the files that were new or changed on each day."""

    def start(self) -> None:
        """Create the repositories and save the phone as it is."""
        for tool in self.tools:
            place = self.places[tool.name]
            run(tool.init(place), tool.environment, self.base)
            if tool.name == KEEPSTONE:
                self._teach(tool, place)
            self.weights[tool.name] = stored_bytes(place)
        for name, weight in self._save().items():
            self.growth[name].first = weight
        self._look()

    def day(self) -> str:
        """Let the phone live a day, save it, and return a line on it."""
        today = self.phone.live()[0]
        new = self._look()
        self.written.append(new)
        grown = self._save()
        for name, weight in grown.items():
            self.growth[name].days.append(weight)
        said = ", ".join(f"{name} {weight / 1e6:.3f}" for name, weight in grown.items())
        vacuum = ", VACUUM" if today.vacuumed else ""
        return f"day {today.number}: {today.messages} messages{vacuum}; {new / 1e6:.1f} MB of changed files; MB: {said}"

    def _save(self) -> dict[str, int]:
        """Save with each program; return by how much its repository grew."""
        grown = {}
        there = [source for source in self.sources if source.exists()]
        for tool in self.tools:
            place = self.places[tool.name]
            if self.beside:
                run(tool.backup(place, self.beside), tool.environment, self.base)
                self.weights[tool.name] = stored_bytes(place)
            sample = run(tool.backup(place, there), tool.environment, self.base)
            self.growth[tool.name].walls.append(sample.wall)
            weight = stored_bytes(place)
            grown[tool.name] = weight - self.weights[tool.name]
            self.weights[tool.name] = weight
        return grown

    def _teach(self, tool: Tool, place: Path) -> None:
        """Give Keepstone the keys of the containers, if this version of it takes them."""
        about = [*tool.program, "container", "--help"]
        if subprocess.run(about, env=tool.environment, capture_output=True, check=False).returncode:
            print("This Keepstone knows no containers.")
            return
        given = [("whatsapp", "encrypted_backup.key"), ("signal", "signal-passphrase.txt")]
        if "signal-folder" in self.phone.habits.parts:
            given.append(("signal", "signal-recovery-key.txt"))
        for kind, name in given:
            key = ["container", "key", "add", kind, "--key-file", str(self.phone.memory / name)]
            run([*tool.program, "-r", str(place), *key], tool.environment, self.base)

    def _look(self) -> int:
        """Return the bytes of files that are new or changed since the last look."""
        seen = {}
        for source in self.sources:
            for path in [source] if source.is_file() else sorted(source.rglob("*")):
                if path.is_file():
                    status = path.stat()
                    seen[path] = (status.st_size, status.st_mtime_ns)
        new = sum(facts[0] for path, facts in seen.items() if self.seen.get(path) != facts)
        self.seen = seen
        return new


def table(race: Race) -> str:
    """Return growth by program as one Markdown table, with ratios to the lesser of restic's and borg's."""
    growth = race.growth
    others = [growth[name].total for name in (RESTIC, BORG) if name in growth]
    least = min(others, default=0)
    lines = [
        "| program | first MB | growth MB | MB a day, least / mean / most | of lesser of restic, borg | s a night |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in growth.items():
        days = [weight / 1e6 for weight in found.days]
        spread = f"{min(days):.3f} / {sum(days) / len(days):.3f} / {max(days):.3f}"
        share = f"{found.total / least:.4f} (1/{least / found.total:.1f})" if least and found.total else "-"
        wall = sum(found.walls[1:]) / len(days)
        lines.append(
            f"| {name} | {found.first / 1e6:.2f} | {found.total / 1e6:.2f} | {spread} | {share} | {wall:.2f} |"
        )
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="to live (%(default)s)")
    parser.add_argument("--only", choices=list(ONLY), default=ALL, help="what is saved (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the phone (%(default)s)")
    parser.add_argument("--size", default="80MB", help="of the database when the life begins (%(default)s)")
    parser.add_argument("--media", help="of media when it begins (twice the database)")
    parser.add_argument("--zlib-level", type=int, default=1, help="of crypt15 (%(default)s)")
    parser.add_argument("--tools", help="which programs, with commas between (all that are installed, but cp)")
    parser.add_argument("--folder", type=Path, help="where to work (a new folder below it; default: /dev/shm)")
    return parser.parse_args()


def main() -> None:
    chosen = _arguments()
    wanted = chosen.tools.split(",") if chosen.tools else [KEEPSTONE, RESTIC, BORG]
    choice = ONLY[chosen.only]
    size = parse_size(chosen.size)
    habits = Habits(
        seed=chosen.seed,
        size=size,
        media=parse_size(chosen.media) if chosen.media else 2 * size,
        parts=choice.parts,
        zlib_level=chosen.zlib_level,
        signal_every=1 if chosen.only == "signal" else Habits().signal_every,
    )
    parent = chosen.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir()))
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keepstone-growth-", dir=parent.absolute()) as name:
        base = Path(name)
        tools = [tool for tool in find_tools(base) if tool.name in wanted]
        if not tools:
            sys.exit(f"None of {', '.join(wanted)} is installed.")
        about = machine(tools, base)
        phone = Phone(base / "phone", habits)
        pages = Pages(phone.database) if chosen.only == "msgstore.db" else None
        race = Race(base, phone, choice, tools)
        phone.live()  # The first night writes what every later one replaces.
        race.start()
        if pages:
            pages.changes()
        print(f"seed {habits.seed}, {habits.size / 1e6:.0f} MB of messages, saved: {chosen.only}", flush=True)
        for _ in range(chosen.days):
            line = race.day()
            print(f"{line}; {pages.changes()}" if pages else line, flush=True)
    print(f"\n{about}\n\n{chosen.only}, {chosen.days} days, {sum(race.written) / 1e6:.1f} MB in changed files\n")
    print(table(race))


if __name__ == "__main__":
    main()
