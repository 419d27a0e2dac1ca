"""`keepstone stats --explain`: what it prints, its JSON, its chart."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cli.conftest import Shared
from cli.harness import Box, folder_size, raw_controls
from support import noise

SHARE = (
    "files", "bytes", "unwrapped", "holes", "content", "dedup_saved", "chunks", "plain", "delta_saved", "delta_plain",
    "delta_stored", "delta_without_estimated", "compression_saved", "stored",
)  # fmt: skip
PARTS = {
    "content", "folders", "recipes", "messages", "unneeded", "seals", "headers", "directories", "padding",
    "unread_packs", "index", "log", "other",
}  # fmt: skip
needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


def test_plain_stats_explains_nothing(shared: Shared) -> None:
    assert "explained" not in shared.box.json("stats")
    assert len(shared.box.run("stats").lines) == 8


def test_json_has_every_field_and_its_numbers_add_up(shared: Shared) -> None:
    document = shared.box.json("stats", "--explain")
    plain = shared.box.json("stats")
    explained = document.pop("explained")
    assert document == plain
    assert set(explained) == {"total", "by_type", "by_container", "by_snapshot", "parts"}
    total, parts = explained["total"], explained["parts"]
    for share in (total, *explained["by_type"], *explained["by_container"]):
        assert [type(share[name]) for name in SHARE] == [int] * len(SHARE)
        content = share["bytes"] + share["unwrapped"] - share["holes"]
        assert content == share["content"] == share["dedup_saved"] + share["plain"]
        assert share["plain"] == share["delta_saved"] + share["compression_saved"] + share["stored"]
    for group in ("by_type", "by_container"):
        for name in SHARE:
            assert sum(share[name] for share in explained[group]) == total[name]
    assert set(parts) == PARTS
    assert sum(parts.values()) == plain["total_size"] == folder_size(shared.box.repo)
    assert total["bytes"] == plain["total_restore_size"]
    assert total["files"] == 8  # The link in each snapshot has no bytes, and is none of them.
    assert [one["snapshot"] for one in explained["by_snapshot"]] == [shared.first, shared.second]
    assert all(one["new"] == one["unique"] + one["shared"] for one in explained["by_snapshot"])
    assert explained["by_snapshot"][0]["shared"] > 700_000 > explained["by_snapshot"][1]["new"]
    assert {share["type"] for share in explained["by_type"]} == {"photos", "text and code", "other"}
    assert [share["container"] for share in explained["by_container"]] == ["none"]


def test_snapshots_can_be_chosen(shared: Shared) -> None:
    explained = shared.box.json("stats", shared.second[:8])["explained"]
    assert [one["snapshot"] for one in explained["by_snapshot"]] == [shared.second]
    assert explained["parts"]["unneeded"] > 0
    assert explained["total"]["files"] == 4
    assert shared.box.json("stats", "latest", "latest", shared.second)["explained"] == explained
    shared.box.fails(1, "stats", "ffffffff")


def test_it_reads_well_at_80_columns(shared: Shared) -> None:
    run = shared.box.run("stats", "--explain", env={"COLUMNS": "80"})
    assert max(len(line) for line in run.lines) <= 80
    for words in ("Files in all snapshots", "In the store", "photos", "Container", shared.first[:8]):
        assert words in run.out
    assert not raw_controls(run.stdout + run.stderr)
    assert "Files in these snapshots" in shared.box.run("stats", "latest").out


def test_progress_shows_on_a_terminal_only(shared: Shared) -> None:
    terminal = shared.box.terminal("stats", "--explain")
    terminal.expect("In the store")
    assert terminal.end() == 0
    assert shared.box.run("stats", "--explain").err == ""


def test_an_empty_repository_is_explained(ready: Box) -> None:
    assert "In the store" in ready.run("stats", "--explain").out
    explained = ready.json("stats", "--explain")["explained"]
    assert explained["by_snapshot"] == explained["by_type"] == []
    assert sum(explained["parts"].values()) == folder_size(ready.repo)


@needs_matplotlib
@pytest.mark.parametrize(("name", "begins"), [("space.svg", b"<?xml"), ("space.PNG", b"\x89PNG")])
def test_a_chart_is_drawn(shared: Shared, tmp_path: Path, name: str, begins: bytes) -> None:
    run = shared.box.run("stats", "--plot", name, cwd=tmp_path)
    assert "In the store" in run.out
    assert run.err == f"plotted in {name}\n"
    assert (tmp_path / name).read_bytes().startswith(begins)
    shared.box.fails(1, "stats", "--plot", "nowhere/space.svg")
    shared.box.fails(2, "stats", "--plot", "space.gif")


@needs_matplotlib
def test_a_chart_of_nothing_is_drawn(ready: Box) -> None:
    assert ready.run("stats", "--plot", "empty.svg").err == "plotted in empty.svg\n"


def test_a_chart_without_matplotlib_says_what_to_install(ready: Box) -> None:
    (ready.work / "matplotlib.py").write_text("raise ImportError\n")
    paths = os.pathsep.join([str(ready.work), *filter(None, sys.path)])
    assert "keepstone[plot]" in ready.fails(2, "stats", "--plot", "a.svg", env={"PYTHONPATH": paths})["remedy"]


def test_each_type_has_a_row(ready: Box) -> None:
    source = ready.work / "source"
    source.mkdir()
    for name in ("a.jpg", "b.mp4", "c.opus", "d.pdf", "msgstore.db", "sms-1.xml", "e.db", "f.txt", "g.zip", "h"):
        (source / name).write_bytes(noise(name, 3000))
    ready.run("backup", source)
    explained = ready.json("stats", "--explain")["explained"]
    assert len(explained["by_type"]) == 10
    assert all(share["files"] == 1 for share in explained["by_type"])
