"""docs/cli.md says what the command says."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from docs.cli_reference import CODES, VARIABLES, all_commands, exit_codes_of_the_engine, reference

ROOT = Path(__file__).parents[2]


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), (
        "Run: python tests/docs/cli_reference.py > docs/cli.md"
    )


@pytest.mark.parametrize(("name", "command"), list(all_commands()), ids=str)
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help.endswith("."), param.name


def test_every_exit_code_is_listed() -> None:
    assert exit_codes_of_the_engine() | {0, 3} == {code for code, _ in CODES}


def test_every_variable_is_listed() -> None:
    used: set[str] = set()
    for folder in ("cli", "engine"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r'environ(?:\.get)?[(\[]"([A-Z_]+)"', file.read_text()))
            used |= set(re.findall(r'_base\("([A-Z_]+)"', file.read_text()))
    listed = " ".join(name for name, _ in VARIABLES)
    internal = {"KEEPSTONE_CHUNKER_KERNEL"}
    assert {name for name in used if name not in listed} <= internal
