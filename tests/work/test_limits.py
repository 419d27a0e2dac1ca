"""With too little memory, too few open files or too small files allowed, a command does what was asked, or says in two
sentences why it could not; it leaves the repository whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keepstone
from cli.harness import MODULE, Box, Run, two_sentences
from keepstone.repo import cache
from support import KEY, noise, picture, report, words

MIB = 1024
"""In KiB, as `ulimit -v` counts."""


def limited(option: str, value: int) -> tuple[str, ...]:
    """Return the command under a limit of sh(1)."""
    return ("sh", "-c", f'ulimit -{option} {value} && exec "$@"', "sh", *MODULE)


class Limited:
    """A computer with one snapshot, whose commands then run under limits."""

    def __init__(self, base: Path) -> None:
        self.box = Box(base)
        self.source = self.box.work / "source"
        self.source.mkdir()
        (self.source / "large").write_bytes(noise("large", 6_000_000))
        (self.source / "text").write_bytes(words("text", 2_000_000))
        for number in range(60):
            (self.source / f"small{number}").write_bytes(words(number, 700 + 90 * number))
        self.box.run("init")
        self.box.run("backup", self.source)
        # From here on: under a limit Python would leave cut-off compiled modules behind, for all other tests.
        self.box.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.expected = picture(self.source)
        self.runs = 0

    def try_all(self, option: str, value: int) -> dict[str, int]:
        """Run a backup of something more, a restore and a check under a limit; return their exit codes."""
        self.runs += 1
        changing = self.box.work / "changing"
        changing.write_bytes(noise(self.runs, 3_000_000))
        target = self.box.base / f"out{self.runs}"
        command = limited(option, value)
        verbs: dict[str, list[str | Path]] = {
            "backup": ["backup", "--force", self.source, changing],
            "restore": ["restore", f"latest:{self.source}", "--target", target],
            "check": ["check", "--read-data"],
        }
        codes = {}
        for verb, arguments in verbs.items():
            run = self.box.run(*arguments, command=command, code=None)
            self.judge(run, f"{verb} with -{option} {value}")
            codes[verb] = run.code
        if codes["restore"] == 0:
            assert picture(target) == self.expected
        self.assert_whole()
        return codes

    def judge(self, run: Run, what: str) -> None:
        """A run did what was asked, or failed as a command may fail."""
        assert run.code in (0, 1, 3), (what, run.code, run.err)
        assert "does not know" not in run.err, (what, run.err)
        assert "amaged" not in run.err + run.out, (what, run.err)
        if run.code == 1:
            two_sentences("\n".join(run.err.splitlines()[-2:]))

    def assert_whole(self) -> None:
        """Without a limit, nothing is wrong, and every snapshot is there."""
        with keepstone.open(str(self.box.repo), KEY, state=self.box.state, in_memory=True) as repository:
            assert repository.check().healthy
            assert repository.snapshots()

    def finish(self) -> None:
        """Without a limit everything works as before."""
        self.box.run("backup", self.source)
        self.box.run("restore", f"latest:{self.source}", "--target", self.box.base / "last")
        assert picture(self.box.base / "last") == self.expected
        assert self.box.run("check", "--read-data").lines == ["no errors were found"]


FEW = [64 * MIB, 128 * MIB]
MANY = range(60 * MIB, 401 * MIB, 340 * MIB // 40)


@pytest.mark.parametrize("limits", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
def test_too_little_memory_is_said_and_harms_nothing(tmp_path: Path, limits: range | list[int]) -> None:
    """Address space, in KiB. Below 60 MiB the interpreter itself, with the libraries, does not start."""
    world = Limited(tmp_path)
    ended = {limit: world.try_all("v", limit) for limit in limits}
    report("\n".join(f"{limit // MIB:4} MiB {codes}" for limit, codes in ended.items()))
    world.finish()


@pytest.mark.slow
def test_a_password_needs_the_memory_of_its_kdf_and_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path, key=False)
    secret = {"KEEPSTONE_PASSWORD": "a long enough one"}
    box.run("init", env=secret)
    box.env["PYTHONDONTWRITEBYTECODE"] = "1"
    for limit in (100 * MIB, 200 * MIB, 260 * MIB, 300 * MIB):
        run = box.run("snapshots", env=secret, command=limited("v", limit), code=None)
        if run.code != 0:
            two_sentences(run.err)
            assert "memory" in run.err
    box.run("snapshots", env=secret)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [6, 8, 10, 12, 16, 24])
def test_few_open_files_are_said_or_enough(tmp_path: Path, limit: int) -> None:
    world = Limited(tmp_path)
    report(f"{limit} handles: {world.try_all('n', limit)}")
    world.finish()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1, 4, 16, 200, 4000, 12_000])
def test_a_limit_on_the_size_of_files_is_said_and_harms_nothing(tmp_path: Path, limit: int) -> None:
    """In blocks of 512 bytes: as a full disk, but for large files only."""
    world = Limited(tmp_path)
    report(f"{limit} blocks: {world.try_all('f', limit)}")
    world.finish()


GROW = """
import lmdb, resource, sys
from pathlib import Path
from keepstone.repo import cache
cache.FIRST_MAP = 1024 * 1024
tables = cache.LmdbTables(Path(sys.argv[1]), b"k" * 32)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 1024 * 1024,) * 2)
written = 0
try:
    for number in range(100):
        tables.write([(cache.CHUNKS, [(b"%d-%d" % (number, n), bytes(1000)) for n in range(1000)])])
        written += 1
except (OSError, lmdb.Error):
    pass
assert 2 < written < 100, written
assert tables.get(cache.CHUNKS, b"0-0") == bytes(1000)
tables.close()
"""


ALONE = """
import _thread, lmdb, resource, sys
from pathlib import Path
from keepstone.repo import cache
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1792 * 1024,) * 2)
try:
    cache.LmdbTables(Path(sys.argv[1]), b"k" * 32)
except lmdb.Error:
    pass
try:
    _thread.start_new_thread(lambda: None, ())
    sys.exit("there was room for a thread")
except RuntimeError:
    pass
"""


def test_checking_the_stamp_of_the_local_index_needs_no_thread(tmp_path: Path) -> None:
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    tables.write([(cache.CHUNKS, [(b"%d" % number, bytes(1000)) for number in range(500)])])
    tables.close()
    done = subprocess.run([sys.executable, "-c", ALONE, tmp_path], capture_output=True, check=False, env=os.environ)
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    assert (tmp_path / "stamp").exists(), "a file that could not be opened was taken for a damaged one"


SQUEEZE = """
import resource, sys
from pathlib import Path
from keepstone import compression
from keepstone.errors import NotEnoughMemory
text = b"".join(b"%d " % number for number in range(300_000))
size = 64 * 1024 * 1024
packed = compression.compress(bytes(size), 3)
assert len(compression.decompress(packed, size, "a pack")) == size
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 16 * 1024 * 1024, resource.RLIM_INFINITY))
try:
    compression.compress(text, 19)
except (MemoryError, NotEnoughMemory) as error:
    print(repr(error))
else:
    sys.exit("level 19 was possible")
resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * 1024, resource.RLIM_INFINITY))
try:
    compression.decompress(packed, size, "a pack")
except (MemoryError, NotEnoughMemory) as error:
    print(repr(error))
else:
    sys.exit("decompression was possible")
"""


def test_too_little_memory_for_a_codec_is_no_damage() -> None:
    done = subprocess.run([sys.executable, "-c", SQUEEZE], capture_output=True, check=False, env=os.environ)
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    report(done.stdout.decode())


def test_a_local_index_without_room_to_grow_is_still_read(tmp_path: Path) -> None:
    """LMDB gives up its old map before it takes a larger one, and without any map it reads nothing."""
    done = subprocess.run([sys.executable, "-c", GROW, tmp_path], capture_output=True, check=False, env=os.environ)
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    tables = cache.LmdbTables(tmp_path, b"k" * 32)
    assert tables.count(cache.CHUNKS) > 2000
    tables.close()
