"""What `bench dedup` counts is what a slow and plain count finds; what it estimates is as near as it says."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from bench import references
from keepstone import events
from keepstone.errors import UsageError
from keepstone.work import bench_dedup
from keepstone.work.bench_dedup import Cutter, DedupOptions, measure_dedup
from keepstone.work.bench_versions import PathVersion, path_versions
from support import Place, noise, words

SEED = 20


def make_history(folder: Path, versions: int = 4) -> Path:
    """Make versions of a folder: a text that is edited, a file that grows, one that stays, small and empty ones."""
    rng = random.Random(SEED)
    text, log = bytearray(words(SEED, 150_000)), noise("log", 60_000)
    for number in range(versions):
        below = folder / f"v{number}" / "deep"
        below.mkdir(parents=True)
        for _ in range(5):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 9))
        log += noise(f"log {number}", 7000)
        (below / "text").write_bytes(text)
        (below / "log").write_bytes(log)
        (below.parent / "same").write_bytes(bytes(70_000) + noise("same", 50_000))
        (below.parent / "small").write_bytes(b"small" * number)
        (below.parent / "link").symlink_to("same")
    return folder


@dataclass
class Slow:
    """The plain count: every file in memory, a set of hashes."""

    bytes: int = 0
    chunks: int = 0
    unique: int = 0
    unique_bytes: int = 0

    @property
    def ratio(self) -> float:
        return self.bytes / (self.unique_bytes + 64 * self.unique + 40 * self.chunks)


def contents(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.read_bytes()


def slow_count(folder: Path, cutter: Cutter) -> tuple[Slow, list[int]]:
    found, lengths, seen = Slow(), [], set()
    for content in contents(folder):
        start = 0
        for end in cutter.cuts(memoryview(content), True):
            name = hashlib.sha256(content[start:end]).digest()
            found.unique_bytes += 0 if name in seen else end - start
            seen.add(name)
            lengths.append(end - start)
            start = end
        found.bytes += len(content)
    found.chunks, found.unique = len(lengths), len(seen)
    return found, sorted(lengths)


@pytest.mark.parametrize("buffer", [1 << 16, 16 << 20])
def test_the_figures_are_those_of_a_plain_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    """Also if the buffer is smaller than a chunk may be, and the table is written again and again."""
    monkeypatch.setattr(bench_dedup, "BUFFER", buffer)
    monkeypatch.setattr(bench_dedup, "_BATCH", 37)
    history = make_history(tmp_path / "history")
    result = measure_dedup(path_versions([bytes(history)]), DedupOptions(means=[4096, 16384]))
    makers = bench_dedup.chunkers()
    assert {"two-stage", "fixed"} <= set(makers)
    assert [(one.chunker, one.mean) for one in result.figures] == list(product(makers, (4096, 16384)))
    for one in result.figures:
        slow, lengths = slow_count(history, makers[one.chunker](one.mean))
        assert (one.bytes, one.chunks) == (slow.bytes, slow.chunks)
        assert (one.unique_chunks, one.unique_bytes) == (slow.unique, slow.unique_bytes)
        assert one.metadata_bytes == 64 * slow.unique + 40 * slow.chunks
        assert one.ratio == slow.ratio
        assert one.error == 0
        assert dict(one.histogram) == {
            1 << power: count
            for power in range(24)
            if (count := sum(1 << power <= length < 2 << power for length in lengths))
        }
        for share, length in one.quantiles:
            exact = lengths[max(0, -int(-share * len(lengths) // 1) - 1)]
            assert exact * 63 / 64 - 1 <= length <= exact
    assert (result.versions, result.files) == (4, 16)
    assert result.problems == []


def test_references_are_counted_like_the_rest(tmp_path: Path) -> None:
    references.load()  # It skips without a compiler.
    history = make_history(tmp_path / "history", versions=2)
    options = DedupOptions(means=[4096], references=references.FOLDER)
    result = measure_dedup(path_versions([bytes(history)]), options)
    assert {"two-stage", "fixed", "fastcdc", "gear", "ram"} <= {one.chunker for one in result.figures}
    for one in result.figures:
        slow, _ = slow_count(history, bench_dedup.chunkers(references.FOLDER)[one.chunker](4096))
        assert (one.unique_chunks, one.unique_bytes, one.ratio) == (slow.unique, slow.unique_bytes, slow.ratio)


def test_a_sample_is_as_near_as_it_says(tmp_path: Path) -> None:
    """Of 12 histories, each estimate is within four standard errors, and two out of three within 1.5."""
    near = 0
    for number in range(12):
        rng = random.Random(f"sample {number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        data = bytearray(rng.randbytes(1_500_000))
        for version in range(4):
            for _ in range(20):
                at = rng.randrange(len(data) - 10_000)
                data[at : at + 3000] = rng.randbytes(rng.randint(10, 6000))
            (folder / str(version)).write_bytes(data)
        versions = path_versions([bytes(folder)])
        options = DedupOptions(chunkers=["two-stage"], means=[4096])
        exact = measure_dedup(versions, options).figures[0]
        sampled = measure_dedup(versions, DedupOptions(chunkers=["two-stage"], means=[4096], sample=16)).figures[0]
        assert (sampled.bytes, sampled.chunks) == (exact.bytes, exact.chunks)
        assert sampled.histogram == exact.histogram
        assert 0 < sampled.error < 0.2 * exact.ratio
        distance = abs(sampled.ratio - exact.ratio) / sampled.error
        assert distance < 4, number
        near += distance < 1.5
    assert near >= 8


def test_a_folder_alone_stands_for_the_versions_in_it(tmp_path: Path) -> None:
    history = make_history(tmp_path / "history", versions=3)
    children = [bytes(path) for path in sorted(history.iterdir())]
    assert path_versions([bytes(history)]) == path_versions(children) == [PathVersion(path) for path in children]
    assert path_versions([children[0]]) != path_versions(children[:1] * 2)


def test_what_cannot_be_read_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    history = make_history(tmp_path / "history", versions=2)
    heard: list[events.Event] = []

    class Vanishing(PathVersion):
        __slots__ = ()

        def _files(self, problem: object) -> Iterator[tuple[bytes, int]]:
            yield bytes(history / "gone"), 5
            yield from PathVersion._files(self, problem)  # type: ignore[arg-type]

    result = measure_dedup([Vanishing(bytes(history))], DedupOptions(["fixed"], [4096]), heard.append)
    assert [problem.path for problem in result.problems] == [bytes(history / "gone")]
    assert [event for event in heard if isinstance(event, events.Problem)] == result.problems
    assert result.files == 8
    last = [event for event in heard if isinstance(event, events.Progress)][-1]
    assert (last.files_done, last.bytes_done) == (8, result.bytes)


def test_snapshots_are_versions_too(tmp_path: Path) -> None:
    from keepstone.work.bench_versions import SnapshotVersion

    history = make_history(tmp_path / "history", versions=3)
    place = Place(tmp_path / "place").init()
    for version in sorted(history.iterdir()):
        place.backup([version])
    options = DedupOptions(means=[4096])
    with place.open() as repository:
        snapshots = [SnapshotVersion(repository, found) for found in repository.snapshots()]
        of_snapshots = measure_dedup(snapshots, options)
    assert of_snapshots.figures == measure_dedup(path_versions([bytes(history)]), options).figures


def test_requests_without_sense_are_refused(tmp_path: Path) -> None:
    version = [PathVersion(bytes(tmp_path))]
    for versions, options in (
        ([], DedupOptions()),
        (version, DedupOptions(chunkers=["nobody's"])),
        (version, DedupOptions(means=[5000])),
        (version, DedupOptions(sample=0)),
        (version, DedupOptions(references=tmp_path)),
    ):
        with pytest.raises(UsageError) as refused:
            measure_dedup(versions, options)
        assert refused.value.remedy.endswith(".")


def test_references_that_do_not_work_are_no_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("raise ValueError('broken')\n")
    with pytest.raises(UsageError, match="broken"):
        bench_dedup.chunkers(tmp_path)
