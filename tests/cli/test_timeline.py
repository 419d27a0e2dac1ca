"""`timeline` as people and scripts use it."""

from __future__ import annotations

import pytest

from cli.harness import Box
from cli.test_messages import message
from keepstone.messages.model import Conversation
from keepstone.views import plain
from keepstone.views.chat import Chat


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    base = tmp_path_factory.mktemp("timeline")
    box = Box(base)
    (base / "source").mkdir()
    box.run("init")
    box.env["TZ"] = "UTC"
    ana = Conversation(service="signal", key="a", title="Ana")
    for said in ([message(0, "one"), message(1, "tow\x1b[31m")], [message(1, "two"), message(2, "three")]):
        (base / "source" / "export.jsonl").write_bytes(b"".join(plain.jsonl([Chat(ana, said)])))
        box.run("backup", base / "source")
    return box


def test_a_timeline_counts_and_shows_messages_on_demand(box: Box) -> None:
    lines = box.run("timeline", "ana").lines
    assert [line.split("  ")[-1] for line in lines] == ["2 added", "1 added, 1 edited"]
    lines = box.run("timeline", "ana", "--all").lines
    assert lines[1:3] == ["  + 2023-11-14 22:13  1: one", "  + 2023-11-14 23:13  1: two (edited)"]
    assert "      tow\\x1b[31m -> two" in lines
    assert box.run("timeline", "ana", "--limit", "1").lines[2] == "    and 1 more change"


def test_a_timeline_is_cut_at_snapshots_and_days(box: Box) -> None:
    whole = box.run("--json", "timeline", "ana", "--all").documents
    assert [moment["counts"] for moment in whole] == [{"added": 2}, {"added": 1, "edited": 1}]
    first = whole[0]["snapshots"][0]
    assert box.run("--json", "timeline", "ana", "--all", "--from", first).documents == whole[1:]
    assert box.run("--json", "timeline", "ana", "--all", "--to", first).documents == whole[:1]
    assert box.run("--json", "timeline", "ana", "--from", "2023", "--to", "2023").documents == []
    (day,) = box.run("--json", "timeline", "ana", "--by", "day").documents
    assert day["counts"] == {"added": 3, "edited": 1}


def test_what_is_neither_day_nor_snapshot_is_named(box: Box) -> None:
    run = box.run("timeline", "ana", "--from", "yesterday", code=2)
    assert b"yesterday" in run.stderr
