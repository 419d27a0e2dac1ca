"""Compare Keepstone with restic, borg and plain copying: the same work, in turn, on one machine, in one run.

The tools alternate (A B C A B C), so that whatever else slows the machine slows all of them. Wall time, processor time
and peak memory are those of the whole command, as a user pays for it: start, unlock, work, close.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

KEY_DIGITS = "0123456789abcdef" * 4
PASSWORD = "a password to measure with"
KEEPSTONE, RESTIC, BORG, COPY = "keepstone", "restic", "borg", "cp -r"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one command took."""

    wall: float
    processor: float
    """User and system time of the command and of the processes it waited for."""
    peak: float
    """Largest resident set of one process, MiB."""


@dataclass(slots=True)
class Results:
    """All samples by step and tool, in the order they were first seen, and what each repository weighs."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    stored: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, step: str, tool: str, sample: Sample) -> None:
        self.samples.setdefault(step, {}).setdefault(tool, []).append(sample)
        print(f"{step}, {tool}: {sample.wall:.2f} s, {sample.processor:.2f} s CPU, {sample.peak:.0f} MiB", flush=True)


class Tool(ABC):
    """A way to save folders and get them back. Subclasses give the command lines."""

    name = ""

    def __init__(self, program: Sequence[str], home: Path) -> None:
        self.program = list(program)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}

    def version(self) -> str:
        return _output([*self.program, "version"], self.environment)

    @abstractmethod
    def init(self, repository: Path) -> list[str]: ...

    @abstractmethod
    def backup(self, repository: Path, sources: Sequence[Path]) -> list[str]: ...

    @abstractmethod
    def restore(self, repository: Path, target: Path) -> list[str]:
        """Return the command line; it runs in the empty folder `target`."""


class Keepstone(Tool):
    name = KEEPSTONE

    def __init__(self, program: Sequence[str], home: Path) -> None:
        super().__init__(program, home)
        key = home / "keepstone.key"
        key.write_text(KEY_DIGITS + "\n")
        key.chmod(0o600)
        self.environment["KEEPSTONE_KEY_FILE"] = str(key)
        if kernel := os.environ.get("KEEPSTONE_CHUNKER_KERNEL"):
            self.environment["KEEPSTONE_CHUNKER_KERNEL"] = kernel
        if places := os.environ.get("PYTHONPATH"):
            self.environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, places.split(os.pathsep)))

    def version(self) -> str:
        code = "import keepstone; from keepstone.chunking import kernel; print(kernel(), 'in', keepstone.__path__[0])"
        kernel = _output([sys.executable, "-c", code], self.environment)
        return f"{super().version()} (kernel {kernel})"

    def init(self, repository: Path) -> list[str]:
        return [*self.program, "-r", str(repository), "init"]

    def backup(self, repository: Path, sources: Sequence[Path]) -> list[str]:
        return [*self.program, "-q", "-r", str(repository), "backup", *map(str, sources)]

    def restore(self, repository: Path, target: Path) -> list[str]:
        return [*self.program, "-q", "-r", str(repository), "restore", "latest", "--target", str(target)]


class OtherChunker(Keepstone):
    """Keepstone with the chunker `aes`, and one of its kernels."""

    def __init__(self, program: Sequence[str], home: Path, kernel: str) -> None:
        super().__init__(program, home)
        self.name = f"keepstone, aes by {kernel}"
        self.environment["KEEPSTONE_CHUNKER_KERNEL"] = kernel

    def version(self) -> str:
        return "the same"

    def init(self, repository: Path) -> list[str]:
        return [*super().init(repository), "--chunker", "aes"]


class Restic(Tool):
    name = RESTIC

    def __init__(self, program: Sequence[str], home: Path) -> None:
        super().__init__(program, home)
        self.environment["RESTIC_PASSWORD"] = PASSWORD

    def init(self, repository: Path) -> list[str]:
        return [*self.program, "-q", "-r", str(repository), "init"]

    def backup(self, repository: Path, sources: Sequence[Path]) -> list[str]:
        return [*self.program, "-q", "-r", str(repository), "backup", *map(str, sources)]

    def restore(self, repository: Path, target: Path) -> list[str]:
        return [*self.program, "-q", "-r", str(repository), "restore", "latest", "--target", str(target)]


class Borg(Tool):
    """Borg with the compression that Keepstone and restic have by default: zstd, and none for what does not shrink."""

    name = BORG

    def __init__(self, program: Sequence[str], home: Path) -> None:
        super().__init__(program, home)
        self.environment |= {"BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": str(home)}
        self.environment["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"

    def version(self) -> str:
        return _output([*self.program, "--version"], self.environment)

    def init(self, repository: Path) -> list[str]:
        return [*self.program, "init", "--encryption", "repokey-blake2", str(repository)]

    def backup(self, repository: Path, sources: Sequence[Path]) -> list[str]:
        archive = f"{repository}::{{now:%Y-%m-%dT%H:%M:%S.%f}}"
        return [*self.program, "create", "--compression", "auto,zstd,3", archive, *map(str, sources)]

    def restore(self, repository: Path, target: Path) -> list[str]:
        newest = _output([*self.program, "list", "--short", "--last", "1", str(repository)], self.environment)
        return [*self.program, "extract", f"{repository}::{newest}"]


class Copy(Tool):
    """Plain copying: no encryption, no history. What the file system alone takes. Again, it copies what is newer."""

    name = COPY

    def version(self) -> str:
        return _output([*self.program, "--version"], self.environment).splitlines()[0]

    def init(self, repository: Path) -> list[str]:
        return ["mkdir", str(repository)]

    def backup(self, repository: Path, sources: Sequence[Path]) -> list[str]:
        return [*self.program, "-r", "-u", "-p", *map(str, sources), str(repository)]

    def restore(self, repository: Path, target: Path) -> list[str]:
        return [*self.program, "-r", "-p", f"{repository}/.", str(target)]


def own_program() -> list[str]:
    """Return how to run the Keepstone that belongs to this Python."""
    script = Path(sys.executable).with_name("keepstone")
    return [str(script)] if script.exists() else [sys.executable, "-m", "keepstone_cli"]


def find_chunkers(base: Path) -> list[Tool]:
    """Return Keepstone with its default chunker, and with the other one by each kernel for AES that runs here."""
    from keepstone.chunking import kernels

    tools: list[Tool] = []
    for kernel in ("", *(name for name in kernels("aes") if name not in ("scalar", "python"))):
        home = base / "homes" / f"keepstone{kernel}"
        home.mkdir(parents=True)
        tools.append(OtherChunker(own_program(), home, kernel) if kernel else Keepstone(own_program(), home))
    return tools


def find_tools(base: Path) -> list[Tool]:
    """Return the tools that are installed here, each with a home of its own."""
    programs: dict[type[Tool], list[str]] = {Keepstone: own_program()}
    others: dict[str, type[Tool]] = {"restic": Restic, "borg": Borg, "cp": Copy}
    for program, kind in others.items():
        if found := shutil.which(program):
            programs[kind] = [found]
        else:
            print(f"{program} is not installed, so it is left out.")
    tools = []
    for kind, command in programs.items():
        home = base / "homes" / kind.name.split()[0]
        home.mkdir(parents=True)
        tools.append(kind(command, home))
    return tools


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Sample:
    """Run a command to its end and return what it took; a command that fails ends the comparison."""
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said.read().decode(errors='replace')}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure_media(tools: Sequence[Tool], base: Path, sources: Sequence[Path], runs: int, results: Results) -> None:
    """First backup of media and database into a fresh repository, and its restore into an empty folder."""
    wanted = sum(stored_bytes(source) for source in sources)
    repository, target = base / "repository", base / "restored"
    for _ in range(runs):
        for tool in tools:
            run(tool.init(repository), tool.environment, base)
            results.add("first backup", tool.name, run(tool.backup(repository, sources), tool.environment, base))
            results.stored["first backup", tool.name] = stored_bytes(repository)
            target.mkdir()
            results.add("restore", tool.name, run(tool.restore(repository, target), tool.environment, target))
            if (got := stored_bytes(target)) != wanted:
                sys.exit(f"{tool.name} restored {got} bytes of {wanted}.")
            for folder in (repository, target):
                shutil.rmtree(folder)


def measure_files(tools: Sequence[Tool], base: Path, source: Path, runs: int, results: Results) -> None:
    """First backup of many small files and its restore, once, and then runs in which nothing has changed."""
    places = {tool.name: base / f"files-{number}" for number, tool in enumerate(tools)}
    for tool in tools:
        place = places[tool.name]
        run(tool.init(place), tool.environment, base)
        results.add("first backup, small files", tool.name, run(tool.backup(place, [source]), tool.environment, base))
        results.stored["first backup, small files", tool.name] = stored_bytes(place)
        target = base / "restored"
        target.mkdir()
        results.add("restore, small files", tool.name, run(tool.restore(place, target), tool.environment, target))
        shutil.rmtree(target)
    for _ in range(runs):
        for tool in tools:
            sample = run(tool.backup(places[tool.name], [source]), tool.environment, base)
            results.add("no change, small files", tool.name, sample)
    for place in places.values():
        shutil.rmtree(place)


def make_corpus(base: Path, media_mb: int, database_mb: int, files: int) -> None:
    """Make the data in a process of its own: Linux counts a parent's peak memory into that of its children."""
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(base, media_mb, database_mb, files))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("The data could not be made.")


def _fill(base: Path, media_mb: int, database_mb: int, files: int) -> None:
    import corpus

    corpus.media(base / "media", media_mb * 1_000_000)
    corpus.database(base / "database" / "msgstore.db", database_mb * 1_000_000)
    corpus.small_files(base / "files", files)


def table(results: Results) -> str:
    """Return all results as one Markdown table."""
    lines = [
        "| step | tool | wall s | × | CPU s | × | peak MiB | × | stored MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for step, by_tool in results.samples.items():
        base = by_tool[KEEPSTONE]
        for tool, samples in by_tool.items():
            cells = [step, tool]
            for name, digits in (("wall", 2), ("processor", 2), ("peak", 0)):
                values, reference = ([getattr(s, name) for s in some] for some in (samples, base))
                cells += [spread(values, digits), ratio(values, reference)]
            stored = results.stored.get((step, tool))
            cells.append("" if stored is None else f"{stored / 1e6:.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Return minimum, median and maximum."""
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def ratio(values: Sequence[float], reference: Sequence[float]) -> str:
    """Return the median in units of Keepstone's median."""
    base = statistics.median(reference)
    return f"{statistics.median(values) / base:.2f}" if base else "-"


def machine(tools: Sequence[Tool], base: Path) -> str:
    """Return a line on the machine and one on each program."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    kind = _output(["stat", "-f", "-c", "%T", str(base)], {"PATH": os.environ["PATH"]})
    cores = len(os.sched_getaffinity(0))
    lines = [f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}, data on {kind}"]
    return "\n".join(["Machine: " + lines[0], *(f"* {tool.name}: {tool.version()}" for tool in tools)])


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def stored_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media-mb", type=int, default=1000, help="media that does not compress (%(default)s)")
    parser.add_argument("--database-mb", type=int, default=80, help="chat database (%(default)s)")
    parser.add_argument("--files", type=int, default=100_000, help="small files (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of every step and tool (%(default)s)")
    parser.add_argument("--chunkers", action="store_true", help="Keepstone's chunkers beside each other; media only")
    parser.add_argument("--folder", type=Path, help="where to work (a new folder below it; default: /dev/shm)")
    return parser.parse_args()


def main() -> None:
    chosen = _arguments()
    parent = chosen.folder or (Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir()))
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keepstone-compare-", dir=parent.absolute()) as name:
        base = Path(name)
        tools, results = (find_chunkers if chosen.chunkers else find_tools)(base), Results()
        about = machine(tools, base)
        make_corpus(base, chosen.media_mb, chosen.database_mb, chosen.files)
        measure_media(tools, base, [base / "media", base / "database"], chosen.runs, results)
        if not chosen.chunkers:
            measure_files(tools, base, base / "files", chosen.runs, results)
    print(f"\n{about}\n")
    print(
        f"Media {chosen.media_mb} MB, database {chosen.database_mb} MB, {chosen.files} small files, {chosen.runs} runs."
    )
    print("Cells: minimum / median / maximum; × is the median in units of Keepstone's.\n")
    print(table(results))


if __name__ == "__main__":
    main()
