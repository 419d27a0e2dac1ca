"""Version histories to measure dedup with: release archives of free projects, and a chat database day by day.

`python benchmarks/histories.py FOLDER [NAME...]` makes a folder for each history; each file in it is one version, a
tar that is not compressed or a database, and the versions sort by name. Archives come through `pip download` and
`npm pack`, one named version at a time; nothing of them is kept in the repository. The database is seeded.
"""

from __future__ import annotations

import argparse
import gzip
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import corpus  # It stands beside this file.

DAYS = 30
CHAT_BYTES = 40_000_000


@dataclass(frozen=True, slots=True)
class Releases:
    """Consecutive releases of one package."""

    package: str
    versions: Sequence[str]
    fetch: Callable[[str, str, Path], None]


def _pip(package: str, version: str, folder: Path) -> None:
    """Fetch a source archive. pip runs its setup script for the metadata, so setuptools must be installed."""
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--quiet", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"], check=True)


def _npm(package: str, version: str, folder: Path) -> None:
    subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True)


RELEASES = {
    # Patch releases: little changes but the times in the headers.
    "django": Releases("Django", [f"4.2.{n}" for n in range(1, 27) if n != 12], _pip),
    "sqlalchemy": Releases("SQLAlchemy", [f"2.0.{n}" for n in range(20, 45)], _pip),
    # Releases months apart: much changes.
    "sympy": Releases(
        "sympy",
        ["1.1.1", "1.2", "1.3", "1.4", "1.5", "1.5.1", "1.6", "1.6.1", "1.6.2", "1.7", "1.7.1", "1.8", "1.9", "1.10",
         "1.10.1", "1.11", "1.11.1", "1.12", "1.12.1", "1.13.0", "1.13.1", "1.13.2", "1.13.3", "1.14.0"],
        _pip,
    ),
    # A few large files of generated code.
    "typescript": Releases(
        "typescript",
        ["4.7.2", "4.7.3", "4.7.4", "4.8.2", "4.8.3", "4.8.4", "4.9.3", "4.9.4", "4.9.5", "5.0.2", "5.0.3", "5.0.4",
         "5.1.3", "5.1.5", "5.1.6", "5.2.2", "5.3.2", "5.3.3", "5.4.2", "5.4.3", "5.4.4", "5.4.5"],
        _npm,
    ),
    "three": Releases("three", [f"0.{n}.0" for n in range(140, 165)], _npm),
}  # fmt: skip


def releases(folder: Path, wanted: Releases) -> None:
    """Make one uncompressed tar a release."""
    for number, version in enumerate(wanted.versions):
        target = folder / f"{number:03}-{version}.tar"
        if target.exists():
            continue
        with tempfile.TemporaryDirectory() as place:
            wanted.fetch(wanted.package, version, Path(place))
            (archive,) = Path(place).iterdir()
            with gzip.open(archive) as packed, target.with_suffix(".part").open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
        target.with_suffix(".part").rename(target)


def chat(folder: Path, days: int = DAYS, total: int = CHAT_BYTES, seed: int = 7) -> None:
    """Make daily states of a chat database: 400 to 1500 messages come a day, recent ones change, a few go."""
    rng = random.Random(seed)
    live = folder.parent / "chat.live.db"
    live.unlink(missing_ok=True)
    corpus.database(live, total, seed)
    with sqlite3.connect(live) as db:
        words = db.execute("SELECT text FROM message LIMIT 5000").fetchall()
        for day in range(days):
            (last,) = db.execute("SELECT max(_id) FROM message").fetchone()
            rows = [
                (
                    number,
                    int(rng.paretovariate(1)) % 300,
                    rng.randbytes(16).hex(),
                    number * 61_000,
                    rng.choice(words)[0],
                )
                for number in range(last + 1, last + 1 + rng.randint(400, 1500))
            ]
            db.executemany("INSERT INTO message VALUES (?,?,?,?,?)", rows)
            edited = [(rng.choice(words)[0], last - int(rng.expovariate(1 / 2000))) for _ in range(rng.randint(5, 60))]
            db.executemany("UPDATE message SET text = ? WHERE _id = ?", edited)
            gone = [(rng.randint(1, last),) for _ in range(rng.randint(0, 30))]
            db.executemany("DELETE FROM message WHERE _id = ?", gone)
            db.commit()
            shutil.copyfile(live, folder / f"day-{day:03}.db")
    live.unlink()


NAMES = (*RELEASES, "chat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", nargs="*", choices=[*NAMES, []], help="default: all")
    options = parser.parse_args()
    for name in options.name or NAMES:
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "chat":
            chat(folder)
        else:
            releases(folder, RELEASES[name])
        sizes = [file.stat().st_size for file in folder.iterdir()]
        print(f"{name}: {len(sizes)} versions, {sum(sizes) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
