"""`keepstone bench`: what it prints, its JSON, its exit codes, and its plots."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import references
from bench.test_dedup import make_history
from cli.conftest import Shared
from cli.harness import Box, raw_controls

RESULT = {
    "chunker": str,
    "mean": int,
    "average": float,
    "chunks": int,
    "unique_chunks": int,
    "unique_bytes": int,
    "metadata_bytes": int,
    "stored_bytes": int,
    "ratio": float,
    "ratio_error": float,
    "histogram": list,
    "quantiles": list,
}
ALGORITHMS = ("two-stage", "aes")
needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.fixture
def history(box: Box) -> Path:
    return make_history(box.work / "history", versions=2)


def test_dedup_needs_no_repository_and_prints_a_line_for_each_chunker_and_mean(box: Box, history: Path) -> None:
    run = box.run("bench", "dedup", history, "--mean", "4K", "--mean", "64KiB", "--chunker", "fixed", "--chunker",
                  "two-stage")  # fmt: skip
    rows = [line.split() for line in run.lines[2:]]
    assert [row[0] for row in rows] == ["fixed", "fixed", "two-stage", "two-stage"]
    assert [row[1:3] for row in rows] == [["4.0", "KiB"], ["64.0", "KiB"]] * 2
    assert "2 versions, 8 files" in run.err
    assert not box.repo.exists()


def test_dedup_json_has_every_field_and_its_numbers_agree(box: Box, history: Path) -> None:
    document = box.json("bench", "dedup", history, "--mean", "4096", "--chunker", "two-stage")
    assert document["message_type"] == "bench_dedup"
    assert (document["versions"], document["files"], document["sample"], document["problems"]) == (2, 8, 1, 0)
    (result,) = document["results"]
    for field, kind in RESULT.items():
        assert type(result[field]) is kind, field
    assert result["metadata_bytes"] == 64 * result["unique_chunks"] + 40 * result["chunks"]
    assert result["stored_bytes"] == result["unique_bytes"] + result["metadata_bytes"]
    assert result["ratio"] == pytest.approx(document["bytes"] / result["stored_bytes"], abs=1e-6)
    assert sum(each["chunks"] for each in result["histogram"]) == result["chunks"]
    assert [each["share"] for each in result["quantiles"]] == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]


def test_dedup_of_snapshots_is_that_of_their_files(shared: Shared) -> None:
    box = shared.box
    document = box.json("bench", "dedup", "-s", shared.first, "-s", shared.second[:8], "--mean", "4K", "--chunker",
                        "fixed")  # fmt: skip
    assert document["versions"] == 2
    assert document["bytes"] == sum(
        box.json("restore", name, "--target", box.base / name)["bytes_restored"] for name in (shared.first, "latest")
    )


def test_a_sample_says_how_far_off_it_may_be(box: Box, history: Path) -> None:
    arguments = ("bench", "dedup", history, "--mean", "4K", "--chunker", "two-stage")
    (exact,) = box.json(*arguments)["results"]
    (sampled,) = box.json(*arguments, "--sample", "1/4")["results"]
    assert exact["ratio_error"] == 0
    assert 0 < sampled["ratio_error"] < exact["ratio"]
    assert "±" in box.run(*arguments, "--sample", "1/4").out


def test_the_references_are_there_in_a_source_checkout(box: Box, history: Path) -> None:
    references.load()  # It skips without a compiler.
    found = box.json("bench", "dedup", history, "--mean", "4K")["results"]
    assert {"two-stage", "fixed", "fastcdc", "gear", "ram"} <= {result["chunker"] for result in found}
    document = box.fails(2, "bench", "dedup", history, "--references", box.work)
    assert "no reference chunkers" in document["message"]


def test_dedup_requests_without_sense_are_refused(box: Box, history: Path) -> None:
    for arguments in (
        (),
        (history, "--mean", "5K"),
        (history, "--mean", "large"),
        (history, "--sample", "0.1"),
        (history, "--sample", "1/0"),
        (history, "--chunker", "nobody's"),
        (history, "--plot", "curve.gif"),
    ):
        box.fails(2, "bench", "dedup", *arguments)
    assert "nowhere" in box.fails(1, "bench", "dedup", box.work / "nowhere")["message"]


def test_an_unreadable_file_is_a_problem_and_the_rest_is_measured(box: Box, history: Path) -> None:
    (history / "v0" / "pipe").symlink_to("same")
    bad = box.work / "loop"
    bad.symlink_to("loop")
    run = box.run("--json", "bench", "dedup", history / "v0", bad, "--mean", "4K", "--chunker", "fixed", code=3)
    assert [line["message_type"] for line in run.documents if line["message_type"] == "error"]
    assert run.document["problems"] == 1
    assert run.document["files"] == 4


def test_names_cannot_steer_the_terminal(box: Box, history: Path) -> None:
    odd = box.work / "odd\x1b[31m"
    odd.symlink_to(odd)
    run = box.run("bench", "dedup", odd, history / "v0", "--mean", "4K", "--chunker", "fixed", code=3)
    assert not raw_controls(run.stdout + run.stderr)


@needs_matplotlib
@pytest.mark.parametrize(("name", "begins"), [("curve.svg", b"<?xml"), ("curve.PNG", b"\x89PNG")])
def test_a_plot_is_drawn(box: Box, history: Path, name: str, begins: bytes) -> None:
    box.run("bench", "dedup", history, "--mean", "4K", "--mean", "16K", "--chunker", "fixed", "--plot", name)
    assert (box.work / name).read_bytes().startswith(begins)
    box.fails(1, "bench", "dedup", history, "--mean", "4K", "--chunker", "fixed", "--plot", "nowhere/curve.svg")


def test_a_plot_without_matplotlib_says_how_to_get_it_before_any_work(box: Box, history: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from keepstone_cli.__main__ import main; "
        "sys.argv[0] = 'keepstone'; main()"
    )
    run = box.run("bench", "dedup", history, "--plot", "curve.svg", command=(sys.executable, "-c", program), code=2)
    assert "needs matplotlib" in run.err
    assert "keepstone[plot]" in run.err


def test_the_chunker_is_measured_and_its_kernel_is_named(box: Box) -> None:
    arguments = ("bench", "chunker", "--size", "1M", "--mean", "64K", "--seconds", "0")
    document = box.json(*arguments)
    assert document["message_type"] == "bench_chunker"
    assert document["kernel"] == box.json("version", "--verbose")["kernel"]
    assert document["read_bandwidth"] > 0
    assert {result["data"] for result in document["results"]} == {"random", "text", "zeros", "periodic"}
    for result in document["results"]:
        assert result["algorithm"] in ALGORITHMS
        assert result["mean"] == 65536
        assert result["speed"] > 0
        assert result["share"] == pytest.approx(result["speed"] / document["read_bandwidth"], rel=0.01, abs=1e-6)
    run = box.run(*arguments)
    assert document["kernel"] in run.err
    assert len(run.lines) == 2 + len(document["results"])


def test_the_oracle_is_measured_if_it_is_named(box: Box) -> None:
    found = box.json("bench", "chunker", "--size", "20K", "--mean", "4K", "--seconds", "0", "--kernel", "python")
    assert {result["kernel"] for result in found["results"]} == {"python"}
    box.fails(2, "bench", "chunker", "--kernel", "nobody's")
    box.fails(2, "bench", "chunker", "--mean", "5K")


def test_progress_is_shown_on_a_terminal(box: Box, history: Path) -> None:
    terminal = box.terminal("bench", "dedup", history, "--mean", "4K", "--chunker", "fixed")
    terminal.expect("8 files")
    terminal.expect("Ratio")
    assert terminal.end() == 0
