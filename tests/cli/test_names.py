"""Names that would steer a terminal never reach it raw; JSON has them exactly."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from cli.harness import Box, raw_controls
from support import noise

NAMES = [
    b"esc-\x1b[31mred\x07",
    b"line\nbreak\r",
    b"c1-\xc2\x9b31m",
    b"bidi-\xe2\x80\xaetxt.exe",
    b"bad-\xff\xfe\x1b]0;t",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """A repository full of odd names: files, a link, a source, a tag and a host."""
    box = Box(tmp_path_factory.mktemp("names"))
    source = os.fsencode(box.work) + b"/" + NAMES[4]
    os.mkdir(source)
    for number, name in enumerate(NAMES):
        with open(source + b"/" + name, "wb") as file:
            file.write(noise(number, 30_000))
    os.symlink(b"to-\x1b[2J\xff", source + b"/link")
    box.run("init")
    box.run("backup", source, "--tag", "t\x1b[1m", "--host", "h\x9b1m\u202e")
    with open(source + b"/" + NAMES[0] + b"new", "wb") as file:
        file.write(b"new")
    run = box.run("backup", source, os.fsencode(box.work) + b"/\x1bgone\xff", code=3)
    assert b"\\x1bgone" in run.stderr
    assert not raw_controls(run.stdout + run.stderr)
    return box


@pytest.mark.parametrize(
    "arguments",
    [["ls", "latest"], ["ls", "-l", "latest"], ["find", "*"], ["find", "-l", "*"], ["snapshots"], ["stats"]],
    ids=" ".join,
)
def test_lists_are_clean(odd: Box, arguments: list[str]) -> None:
    run = odd.run(*arguments)
    assert not raw_controls(run.stdout + run.stderr)
    machine = odd.run("--json", *arguments)
    assert machine.documents
    assert machine.stdout.isascii()


def test_diff_is_clean(odd: Box) -> None:
    first, second = (snapshot["id"] for snapshot in odd.json("snapshots"))
    run = odd.run("diff", first, second)
    assert b"\\x1b[31mred\\x07new" in run.stdout
    assert not raw_controls(run.stdout + run.stderr)


def test_json_has_the_exact_bytes(odd: Box) -> None:
    nodes = odd.run("--json", "ls", "latest").documents[1:]
    names = {base64.b64decode(n["name_base64"]) if "name_base64" in n else n["name"].encode() for n in nodes}
    assert set(NAMES) <= names
    (link,) = [node for node in nodes if node["type"] == "symlink"]
    assert base64.b64decode(link["linktarget_base64"]) == b"to-\x1b[2J\xff"
    snapshot = odd.json("snapshots")[0]
    assert base64.b64decode(snapshot["paths_base64"][0]).endswith(NAMES[4])


def test_restore_problems_are_clean(odd: Box, tmp_path: Path) -> None:
    blocked = os.fsencode(tmp_path) + b"/" + NAMES[0]
    os.makedirs(blocked + b"/in the way")
    path = b"latest:" + os.fsencode(odd.work) + b"/" + NAMES[4]
    run = odd.run("restore", path, "-t", tmp_path, code=3)
    assert b"esc-\\x1b[31m" in run.stderr
    assert not raw_controls(run.stdout + run.stderr)
    problem = odd.run("--json", "restore", path, "-t", tmp_path, code=3).documents[-2]
    assert problem["message_type"] == "error"
    assert problem["item"].encode().endswith(NAMES[0])
    assert os.path.exists(os.fsencode(tmp_path) + b"/" + NAMES[3])


def test_errors_that_repeat_what_was_typed_are_clean(odd: Box) -> None:
    for arguments in (
        ["cat", "latest:/\x1b[31m"],
        ["ls", "\x1b[31m"],
        ["-r", "/\x1b[31m", "stats"],
        ["--key-file", "\x1b", "stats"],
    ):
        run = odd.run(*arguments, code=None)
        assert run.code in (1, 2, 10)
        assert not raw_controls(run.stdout + run.stderr)
    run = odd.run("--json", "-r", b"/\xff", "stats", code=10)
    assert json.loads(run.stderr)["code"] == 10


def test_check_is_clean(odd: Box) -> None:
    for pack in sorted((p for p in odd.repo.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)[-2:]:
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        os.chmod(pack, 0o600)
        pack.write_bytes(data)
    run = odd.run("check", "--read-data", code=1)
    assert b"affected: " in run.stdout
    assert not raw_controls(run.stdout + run.stderr)
    affected = odd.json("check", "--read-data", code=1)["affected"]
    assert any("path_base64" in file for file in affected)
