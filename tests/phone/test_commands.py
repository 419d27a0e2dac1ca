"""The commands that let a phone live, and measure repositories beside it, do what their help says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHONE = [sys.executable, "-m", "benchmarks.phone"]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_command_runs_after_each_day_and_a_phone_goes_on_where_it_stood(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "phone"
    each = f'test -f "$FOLDER/Databases/msgstore.db" && echo "$DAY" >> {log}'
    small = ["--start-size", "300KB", "--start-media", "0", "--messages", "5-9", "--seed", 3]
    first = run(*PHONE, folder, "--days", 2, "--each-day", each, "--pages", *small)
    assert first.returncode == 0, first.stderr
    assert "seed 3, day 0" in first.stdout
    assert "pages" in first.stdout
    again = run(*PHONE, folder, "--each-day", each)
    assert again.returncode == 0, again.stderr
    assert "seed 3, day 2" in again.stdout
    assert log.read_text().split() == ["1", "2", "3"]


def test_what_is_told_wrongly_is_named(tmp_path: Path) -> None:
    for option, value in (("--start-size", "much"), ("--parts", "fax"), ("--messages", "a-b"), ("--vacuum", "often")):
        said = run(*PHONE, tmp_path / "phone", option, value)
        assert said.returncode == 2
        assert value.split("-")[0] in said.stderr
        assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("only", ["msgstore.db", "sms"])
def test_the_growth_of_a_repository_is_told_by_day_and_in_total(tmp_path: Path, only: str) -> None:
    growth = [sys.executable, "benchmarks/growth.py", "--tools", "keepstone", "--folder", tmp_path]
    said = run(*growth, "--days", 2, "--size", "400KB", "--media", "0", "--only", only)
    assert said.returncode == 0, said.stderr
    assert "day 3:" in said.stdout
    assert "| keepstone |" in said.stdout
