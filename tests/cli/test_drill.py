"""`drill`, as cron runs it."""

from __future__ import annotations

import json
from pathlib import Path

from cli.conftest import Shared


def test_a_drill_passes_and_writes_a_receipt_that_can_be_checked(shared: Shared, tmp_path: Path) -> None:
    run = shared.box.run("--json", "drill", "--full", "--receipt", tmp_path / "receipt", "--scratch", tmp_path)
    assert run.document["passed"] is True
    assert run.document["files"] == 6
    assert run.document["findings"] == []
    assert json.loads(run.document["receipt"]) == json.loads((tmp_path / "receipt").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["receipt"]
    checked = shared.box.run("drill", "--verify-receipt", tmp_path / "receipt")
    assert checked.out == "The receipt is genuine; the drill passed.\n"


def test_a_drill_says_what_it_did(shared: Shared) -> None:
    run = shared.box.run("drill", "--files", "2", "--snapshots", "1", "--seed", "4")
    assert run.out == "the drill passed\n"
    assert "2 files" in run.err
    assert "1 snapshot " in run.err


def test_a_receipt_that_was_changed_is_an_error(shared: Shared, tmp_path: Path) -> None:
    shared.box.run("drill", "--receipt", tmp_path / "receipt")
    text = (tmp_path / "receipt").read_text()
    (tmp_path / "receipt").write_text(text.replace('"failed": 0', '"failed": 1'))
    run = shared.box.run("drill", "--verify-receipt", tmp_path / "receipt", code=2)
    assert "receipt" in run.err
    shared.box.run("drill", "--verify-receipt", tmp_path / "none", code=2)
    shared.box.run("drill", "--scratch", "/none/of/this", code=1)


def test_no_drill_is_made_in_vain_for_a_receipt_that_has_no_place(shared: Shared, tmp_path: Path) -> None:
    error = shared.box.fails(2, "drill", "--receipt", tmp_path / "none" / "receipt")
    assert "cannot be written" in error["message"]
    (tmp_path / "receipt").symlink_to("none/receipt")
    run = shared.box.run("drill", "--receipt", tmp_path / "receipt", "--files", "1", code=2)
    assert run.out == "the drill passed\n", "its result is told first"
