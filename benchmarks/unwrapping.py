"""What a container costs beside its plain content: first backup and next day's, in turn, kind by kind.

Each kind of container is made for two days. Its plain content is what unwrapping finds in it, every leaf as a file.
Container and plain content are backed up alternately, each into a fresh repository by the whole command, and again the
day after; what counts is the ratio of the medians. No chats are
gathered: only plain content would pay for that.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare import Keepstone, Sample, find_tools, machine, run, stored_bytes
from phone import Habits, Phone
from phone.container import write as write_crypt15

CONTAINER, PLAIN = "container", "plain"
DAYS = 2
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Life:
    """What containers are made of: a phone as it is on one day, and folders of files beside it."""

    day: int
    phone: Phone
    photos: Path
    documents: Path


def crypt15(level: int) -> Callable[[Life, Path], None]:
    """Return a maker of WhatsApp's encrypted database with this level of zlib."""

    def make(life: Life, path: Path) -> None:
        iv = random.Random(f"iv/{life.day}").randbytes(16)
        write_crypt15(life.phone.database, path, life.phone.root_key, iv, level)

    return make


def zip_of_photos(life: Life, path: Path) -> None:
    _zip(life.photos, path, zipfile.ZIP_STORED)


def zip_of_documents(life: Life, path: Path) -> None:
    _zip(life.documents, path, zipfile.ZIP_DEFLATED)


def _zip(folder: Path, path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method, compresslevel=6) as archive:
        for file in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), method, 6)


def info_zip(life: Life, path: Path) -> None:
    subprocess.run(["zip", "-q", "-r", "-X", str(path), "."], cwd=life.documents, check=True)


def gzip(life: Life, path: Path) -> None:
    with path.open("wb") as file:
        subprocess.run(["gzip", "-n", "-c", str(life.phone.database)], stdout=file, check=True)


def tar(life: Life, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for file in sorted(life.photos.iterdir()):
            archive.add(file, file.name)


def sms(life: Life, path: Path) -> None:
    shutil.copyfile(max((life.phone.folder / "SMSBackupRestore").glob("sms-*.xml")), path)


def signal(life: Life, path: Path) -> None:
    shutil.copyfile(max((life.phone.folder / "Signal").glob("*.backup")), path)


KINDS: dict[str, Callable[[Life, Path], None]] = {
    "crypt15, zlib 1": crypt15(1),
    "crypt15, zlib 6": crypt15(6),
    "crypt15, zlib 9": crypt15(9),
    "zip of photos, stored": zip_of_photos,
    "zip of documents, zlib 6": zip_of_documents,
    "zip of documents, Info-ZIP": info_zip,
    "gzip of a database": gzip,
    "tar of photos": tar,
    "SMS with photos": sms,
    "Signal": signal,
}
NEEDS = {"zip of documents, Info-ZIP": "zip", "gzip of a database": "gzip"}


def make_all(base: Path, kinds: Sequence[str], megabytes: int) -> None:
    """Make every container for each day, and its plain content, in a process of its own as `compare` does."""
    size = megabytes * 1_000_000
    habits = Habits(seed=1, size=size, media=2_000_000, parts=("sms", "signal"), signal_every=1)
    phone = Phone(base / "phone", habits)
    vocabulary = phone.database.read_bytes()[size // 4 : size // 2]
    for day in range(DAYS):
        phone.live()
        life = Life(day, phone, base / f"photos{day}", base / f"documents{day}")
        _photos(life.photos, day, size)
        _documents(life.documents, vocabulary, day, size)
        for kind in kinds:
            path = base / kind / str(day) / CONTAINER / "it.bin"
            path.parent.mkdir(parents=True)
            KINDS[kind](life, path)
            _unwrap(path, path.parents[1] / PLAIN, base / "phone.phone")
        shutil.rmtree(life.photos)
        shutil.rmtree(life.documents)


def _photos(folder: Path, day: int, size: int) -> None:
    folder.mkdir()
    for number in range(day, day + size // 400_000):
        (folder / f"IMG-{number:05}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + random.Random(number).randbytes(400_000))


def _documents(folder: Path, text: bytes, day: int, size: int) -> None:
    """Write documents of 20 to 400 kB; on each day two of them are longer by a page."""
    folder.mkdir()
    rng, left, number = random.Random("documents"), size, 0
    while left > 0:
        length, at = rng.randrange(20_000, 400_000), rng.randrange(len(text) // 2)
        longer = 4000 * day if number < 2 else 0
        (folder / f"document{number:04}.xml").write_bytes(text[at : at + length + longer])
        left, number = left - length, number + 1


def _unwrap(path: Path, folder: Path, keys: Path) -> None:
    """Write what is inside a container as files."""
    from keepstone.containers import FileSource, Keys, leaves, parse_key, parse_passphrase, unwrap

    passphrase = parse_passphrase((keys / "signal-passphrase.txt").read_text())
    digits = parse_key((keys / "root-key.txt").read_bytes())
    both = Keys(digits or (), (passphrase,) if passphrase else ())
    folder.mkdir()
    with path.open("rb") as file:
        source = FileSource(file.fileno(), "it")
        found = unwrap(source, both)
        if found.node is None:
            sys.exit(f"{path} was not unwrapped: {found.report.reason}")
        for number, leaf in enumerate(leaves(found.node, source, both)):
            with (folder / f"{number:06}").open("wb") as out:
                for piece in leaf.pieces:
                    out.write(piece)


@dataclass(slots=True)
class Measured:
    """What the commands took, by what was saved and day."""

    container_bytes: int
    plain_bytes: int
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)

    def row(self, kind: str) -> str:
        """Return the figures as a row of a table."""
        cells = [kind, f"{self.container_bytes / 1e6:.0f}", f"{self.plain_bytes / 1e6:.0f}"]
        for day in range(DAYS):
            plain, container = self.samples[PLAIN, day], self.samples[CONTAINER, day]
            walls = [statistics.median(sample.wall for sample in some) for some in (plain, container)]
            works = [statistics.median(sample.processor for sample in some) for some in (plain, container)]
            cells += [f"{walls[0]:.2f}", f"{walls[1]:.2f}", f"{walls[1] / walls[0]:.2f}", f"{works[1] / works[0]:.2f}"]
        cells.append(f"{max(sample.peak for sample in self.samples[CONTAINER, 0]):.0f}")
        return "| " + " | ".join(cells) + " |"


HEAD = """\
| kind | MB | plain MB | plain s | container s | ratio | CPU | plain s, day 2 | container s | ratio | CPU | peak MiB |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def measure(tool: Keepstone, base: Path, kind: str, runs: int) -> Measured:
    """Back up a kind of container and its plain content, in turn."""
    days = [base / kind / str(day) for day in range(DAYS)]
    result = Measured(stored_bytes(days[0] / CONTAINER), stored_bytes(days[0] / PLAIN))
    repository, source = base / "repository", base / "source"
    for _ in range(runs):
        for what in (PLAIN, CONTAINER):
            run(tool.init(repository), tool.environment, base)
            for name, file in (("whatsapp", "root-key.txt"), ("signal", "signal-passphrase.txt")):
                key = ["container", "key", "add", name, "--key-file", str(base / "phone.phone" / file)]
                run([*tool.program, "-r", str(repository), *key], tool.environment, base)
            for day, folder in enumerate(days):
                # The same path on both days, as it is on a phone.
                os.rename(folder / what, source)
                sample = run([*tool.backup(repository, [source]), "--no-messages"], tool.environment, base)
                os.rename(source, folder / what)
                result.samples.setdefault((what, day), []).append(sample)
            shutil.rmtree(repository)
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=80, help="plain content of each container (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of every step (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (a new folder below it; default: /dev/shm)")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="kinds to measure"
    )
    return parser.parse_args()


def main() -> None:
    chosen = _arguments()
    parent = chosen.folder or (Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir()))
    kinds = [kind for kind in chosen.only if kind not in NEEDS or shutil.which(NEEDS[kind])]
    with tempfile.TemporaryDirectory(prefix="keepstone-unwrapping-", dir=parent.absolute()) as name:
        base = Path(name)
        tool = next(tool for tool in find_tools(base) if isinstance(tool, Keepstone))
        maker = multiprocessing.get_context("spawn").Process(target=make_all, args=(base, kinds, chosen.megabytes))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("The containers could not be made.")
        print(f"{machine([tool], base)}\n\nMedians of {chosen.runs} runs.\n\n{HEAD}", flush=True)
        for kind in kinds:
            print(measure(tool, base, kind, chosen.runs).row(kind), flush=True)


if __name__ == "__main__":
    main()
