"""Where passwords come from, and where they never go."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from cli.harness import KEY_TEXT, Box

SECRET = "Pässwort-für-Tests"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """A repository that a password opens (and, for speed elsewhere, nothing else)."""
    box = Box(tmp_path_factory.mktemp("password"), key=False)
    box.run("init", env={"KEEPSTONE_PASSWORD": unicodedata.normalize("NFC", SECRET)})
    return box


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_environment_in_any_composition(locked: Box, form: str) -> None:
    text = unicodedata.normalize(form, SECRET)  # type: ignore[arg-type]
    run = locked.run("snapshots", env={"KEEPSTONE_PASSWORD": text})
    assert text.encode() not in run.stdout + run.stderr


def test_file_in_option_and_environment(locked: Box, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\r\nsecond line")
    locked.run("--password-file", file, "snapshots", env={"KEEPSTONE_PASSWORD": "wrong", "KEEPSTONE_KEY_FILE": "no"})
    locked.run("snapshots", env={"KEEPSTONE_PASSWORD_FILE": str(file)})


def test_command(locked: Box) -> None:
    locked.run("snapshots", env={"KEEPSTONE_PASSWORD_COMMAND": f"echo '{SECRET}'; echo more"})


def test_prompt_without_echo(locked: Box) -> None:
    terminal = locked.terminal("snapshots")
    terminal.expect("Password: ")
    terminal.type(SECRET)
    assert terminal.end() == 0
    assert SECRET.encode() not in terminal.seen


def test_a_wrong_password_at_the_prompt_is_twelve(locked: Box) -> None:
    terminal = locked.terminal("snapshots")
    terminal.expect("Password: ")
    terminal.type("wrong")
    assert terminal.end() == 12


def test_init_asks_twice_and_shows_nothing(box: Box) -> None:
    terminal = box.terminal("init", env={"KEEPSTONE_KEY_FILE": None})
    terminal.expect("New password: ")
    terminal.type("a long enough one")
    terminal.expect("New password again: ")
    terminal.type("a long enough one")
    assert terminal.end() == 0
    assert b"a long enough one" not in terminal.seen
    assert b"without it the backups cannot be read" in terminal.seen


def test_init_refuses_two_different_entries(box: Box) -> None:
    terminal = box.terminal("init", env={"KEEPSTONE_KEY_FILE": None})
    terminal.expect("New password: ")
    terminal.type("one")
    terminal.expect("New password again: ")
    terminal.type("other")
    assert terminal.end() == 2
    assert b"The two entries differ." in terminal.seen
    assert not box.repo.exists()


def test_init_refuses_an_empty_entry(box: Box) -> None:
    terminal = box.terminal("init", env={"KEEPSTONE_KEY_FILE": None})
    terminal.expect("New password: ")
    terminal.type("")
    terminal.expect("New password again: ")
    terminal.type("")
    assert terminal.end() == 2
    assert not box.repo.exists()


def test_the_end_of_input_at_the_prompt_is_said(box: Box) -> None:
    terminal = box.terminal("init", env={"KEEPSTONE_KEY_FILE": None})
    terminal.expect("New password: ")
    terminal.type("", end=b"\x04")
    assert terminal.end() == 2
    assert b"The input ended before a password was entered." in terminal.seen
    assert not box.repo.exists()


def test_key_file_with_groups_case_and_comments(box: Box, tmp_path: Path) -> None:
    box.run("init")
    spelled = tmp_path / "spelled"
    groups = " ".join(KEY_TEXT[at : at + 4].upper() for at in range(0, 64, 4))
    spelled.write_text(f"# my key\n{groups[:40]}\n{groups[40:]}\n")
    box.run("--key-file", spelled, "snapshots", env={"KEEPSTONE_KEY_FILE": None, "KEEPSTONE_PASSWORD": "wrong"})
    box.run("snapshots", env={"KEEPSTONE_KEY_FILE": str(spelled), "KEEPSTONE_PASSWORD": "wrong"})


def test_no_option_takes_a_secret_itself(box: Box) -> None:
    for verb in ([], ["init"], ["key", "add"], ["key", "change"]):
        help_text = box.run(*verb, "--help").out
        assert "--password " not in help_text
        assert "--key " not in help_text
