"""The command itself: help, version, completion, what it loads, and starting over without its index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import keepstone
import keepstone_cli
from cli.conftest import Shared
from cli.harness import Box, installed
from keepstone import events
from keepstone.errors import KeepstoneError
from keepstone_cli.main import VERBS, cli
from keepstone_cli.output import Output
from support import noise


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def add(name: tuple[str, ...], command: click.Command | None) -> None:
        found.append(name)
        if isinstance(command, click.Group):
            for below, subcommand in command.commands.items():
                add((*name, below), subcommand)

    for verb in VERBS:
        add((verb,), cli.get_command(click.Context(cli), verb))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(cli, [*command, "--help"], prog_name="keepstone")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: keepstone {' '.join(command)} ")
    assert not re.search(r"\.\.\.$", result.output.split("\n", 2)[2], re.MULTILINE), "a help text is cut off"
    assert max(map(len, result.output.splitlines())) <= 100


def test_without_arguments_the_help_is_shown(shared: Shared) -> None:
    run = shared.box.run(code=2)
    asked = shared.box.run("--help")
    assert run.err == asked.out
    assert asked.out.startswith("Usage: keepstone [OPTIONS] COMMAND")
    for verb, text in VERBS.items():
        assert f"  {verb:10}  {text}\n" in asked.out
    assert "keepstone restore latest --target /tmp/back" in asked.out


def test_version(shared: Shared) -> None:
    line = f"keepstone {keepstone_cli.__version__}\n"
    assert shared.box.run("version", command=installed()).out == line
    assert shared.box.run("--version").out == line
    verbose = shared.box.run("version", "--verbose").out
    assert "chunker two-stage, kernel: " in verbose
    assert "chunker aes, kernel: " in verbose
    assert "blake3 " in verbose
    assert "repository format 1" in verbose


@pytest.mark.parametrize("arguments", [["version"], ["--help"]])
def test_version_and_help_load_nothing_of_the_engine(arguments: list[str], shared: Shared) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "keepstone_cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=shared.box.env,
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in run.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & {"keepstone", "rich", "asyncio", "lmdb", "cryptography", "msgspec", "_cdc"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shared: Shared, shell: str) -> None:
    script = shared.box.run("completion", shell).out
    assert "_KEEPSTONE_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_completion_knows_verbs_and_snapshots_without_a_password(shared: Shared) -> None:
    shared.box.run("snapshots")
    complete = {"_KEEPSTONE_COMPLETE": "bash_complete", "KEEPSTONE_KEY_FILE": None}
    run = shared.box.run(env={**complete, "COMP_WORDS": "keepstone res", "COMP_CWORD": "1"})
    assert run.lines == ["plain,restore"]
    run = shared.box.run(env={**complete, "COMP_WORDS": "keepstone ls ", "COMP_CWORD": "2"})
    assert run.lines == ["plain,latest", f"plain,{shared.second[:8]}", f"plain,{shared.first[:8]}"]


def test_index_and_cache_can_be_deleted_at_any_time(ready: Box) -> None:
    (ready.work / "f").write_bytes(noise("f", 400_000))
    ready.run("backup", "f")
    for folder in ready.repo.rglob("index*"):
        shutil.rmtree(folder)
    shutil.rmtree(ready.home / ".cache")
    assert ready.json("index", "rebuild")["packs_indexed"] > 0
    assert ready.json("index", "rebuild")["packs_indexed"] == 0
    assert ready.json("check", "--read-data")["packs_without_index"] == 0
    assert ready.run("cat", f"latest:{ready.work}/f").stdout == noise("f", 400_000)
    shutil.rmtree(ready.home / ".cache")
    assert ready.json("backup", "f")["data_added"] < 10_000


def test_without_a_cache_nothing_is_left_behind(ready: Box) -> None:
    (ready.work / "f").write_bytes(b"f")
    shutil.rmtree(ready.home / ".cache", ignore_errors=True)
    ready.run("--no-cache", "backup", "f")
    assert ready.run("cat", f"latest:{ready.work}/f", "--no-cache").stdout == b"f"
    ready.run("--no-cache", "snapshots")
    assert not (ready.home / ".cache").exists()


def test_progress_on_a_terminal_goes_away(ready: Box) -> None:
    (ready.work / "big").write_bytes(noise("big", 60_000_000))
    terminal = ready.terminal("backup", "big")
    assert terminal.end() == 0
    assert b"snapshot " in terminal.seen
    assert b"files" in terminal.seen


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == keepstone.__version__ == keepstone_cli.__version__


def test_a_problem_names_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json=False, quiet=False)
    for message in ("packs/12: part 3 was altered.", "cat.jpg cannot be written."):
        output.listen(events.Problem(b"cat.jpg", "export", KeepstoneError(message)))
    assert capsys.readouterr().err.splitlines() == [
        "Problem: cat.jpg: packs/12: part 3 was altered.", "Problem: cat.jpg cannot be written."
    ]  # fmt: skip
