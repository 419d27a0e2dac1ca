"""Passwords and keys are added, changed and removed; a key is confirmed before it counts."""

from __future__ import annotations

import fcntl
import re
import stat
from pathlib import Path

from cli.harness import Box

PASSWORD = {"KEEPSTONE_KEY_FILE": None, "KEEPSTONE_PASSWORD": "a password"}


def test_a_key_in_a_file_opens_the_repository(ready: Box, tmp_path: Path) -> None:
    out = tmp_path / "new-key"
    run = ready.run("key", "add", "--kind", "digits", "--out", out)
    assert run.out == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    digits = re.sub(r"#.*|\s", "", out.read_text())
    assert re.fullmatch("[0-9a-f]{68}", digits)
    ready.run("--key-file", out, "snapshots")
    assert len(ready.json("key", "list")) == 2
    ready.fails(2, "key", "add", "--kind", "digits", "--out", out)
    ready.fails(2, "key", "add", "--kind", "digits", "--out", tmp_path / "no" / "folder")
    assert len(ready.json("key", "list")) == 2
    slip = digits[:10] + ("0" if digits[10] != "0" else "1") + digits[11:]
    out.write_text(slip)
    assert "checksum" in ready.run("--key-file", out, "snapshots", code=2).err


def test_no_key_file_is_left_when_the_key_was_not_added(ready: Box, tmp_path: Path) -> None:
    ready.run("index", "rebuild")
    (lock,) = ready.state.glob("*/lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ready.run("key", "add", "--kind", "digits", "--out", tmp_path / "out", code=11)
    assert not (tmp_path / "out").exists()


def test_a_key_on_a_terminal_is_shown_in_groups_and_two_are_asked(ready: Box) -> None:
    terminal = ready.terminal("key", "add", "--kind", "digits")
    terminal.expect("shown only once")
    for _ in range(2):
        asked = terminal.expect(r"Group (\d+): ")
        groups = dict(re.findall(rb"(\d+): ([0-9a-f]{4})\b", terminal.seen))
        assert len(groups) == 17
        terminal.type(groups[asked[1]].decode().upper(), echo=True)
    assert terminal.end() == 0
    assert len(ready.json("key", "list")) == 2


def test_a_key_that_was_not_kept_is_not_added(ready: Box) -> None:
    terminal = ready.terminal("key", "add", "--kind", "digits")
    terminal.expect(r"Group (\d+): ")
    terminal.type("nope", echo=True)
    assert terminal.end() == 2
    assert len(ready.json("key", "list")) == 1
    ready.fails(2, "key", "add", "--kind", "digits")


def test_passwords_are_added_changed_and_removed(ready: Box, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("a password\n")
    (digits,) = ready.json("key", "list")
    added = ready.json("key", "add", "--new-password-file", tmp_path / "p", "--label", "mine")["id"]
    run = ready.run("key", "list")
    assert "Argon2id, 256 MiB" in run.out
    assert digits["id"][:8] in run.out

    changed = ready.json("key", "change", env={**PASSWORD, "KEEPSTONE_NEW_PASSWORD": "another"})["id"]
    assert changed != added
    ready.run("snapshots", env=PASSWORD, code=12)
    ready.run("snapshots", env={**PASSWORD, "KEEPSTONE_PASSWORD": "another"})

    assert ready.json("key", "remove", changed[:8])["id"] == changed
    ready.run("snapshots", env={**PASSWORD, "KEEPSTONE_PASSWORD": "another"}, code=12)
    assert ready.fails(1, "key", "remove", digits["id"])["kind"] == "last-keyslot"
    assert [slot["id"] for slot in ready.json("key", "list")] == [digits["id"]]


def test_a_removed_key_opens_no_more(ready: Box, tmp_path: Path) -> None:
    out = tmp_path / "k"
    slot = ready.json("key", "add", "--kind", "digits", "--out", out)["id"]
    run = ready.run("key", "remove", slot[:10])
    assert "Copies of the repository made before" in run.err
    ready.fails(12, "--key-file", out, "snapshots")


def test_an_unknown_keyslot_is_said(ready: Box) -> None:
    run = ready.run("key", "remove", "\x1bzz", code=None)
    assert run.code in (1, 2)
    assert "\x1b" not in run.err


def test_a_new_password_at_the_terminal_is_asked_twice(ready: Box) -> None:
    terminal = ready.terminal("key", "add")
    terminal.expect("New password: ")
    terminal.type("typed")
    terminal.expect("New password again: ")
    terminal.type("typed")
    assert terminal.end() == 0
    assert b"typed" not in terminal.seen
    ready.run("snapshots", env={**PASSWORD, "KEEPSTONE_PASSWORD": "typed"})
