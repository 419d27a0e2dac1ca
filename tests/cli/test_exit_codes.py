"""How a run ended is told by its exit code and, if it failed, by two sentences; never by a traceback."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from cli.conftest import Shared
from cli.harness import MODULE, Box, installed, two_sentences
from support import noise


def test_zero_through_the_installed_command(box: Box) -> None:
    (box.work / "file").write_bytes(b"content")
    command = installed()
    box.run("init", command=command)
    box.run("backup", "file", command=command)
    assert box.run("cat", f"latest:{box.work}/file", command=command).stdout == b"content"
    assert box.run("check", "--read-data", command=command).lines == ["no errors were found"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["backup"],
        ["backup", "--nonsense", "x"],
        ["backup", "--tga", "x"],
        ["backup", "x", "--compression", "ultra"],
        ["backup", "--stdin", "x"],
        ["backup", "--exclude-file", "missing", "."],
        ["nonsense"],
        ["ls"],
        ["restore", "latest"],
        ["restore", "latest", "--target", "t", "--overwrite", "maybe"],
        ["check", "--read-data-subset", "5"],
        ["check", "--read-data-subset", "0%"],
        ["check", "--read-data-subset", "101%"],
        ["snapshots", "--latest", "many"],
        ["key", "add", "--kind", "retina"],
        ["key", "remove"],
        ["--repo"],
        ["completion", "tcsh"],
        ["--key-file", "a", "--password-file", "b", "snapshots"],
        ["\x1b[31mred"],
    ],
    ids=" ".join,
)
def test_two_is_a_command_line_that_makes_no_sense(shared: Shared, arguments: list[str]) -> None:
    run = shared.box.run(*arguments, code=2)
    two_sentences(run.err)
    assert "\x1b" not in run.err


@pytest.mark.parametrize(
    "env",
    [
        {"KEEPSTONE_PASSWORD": ""},
        {},
        {"KEEPSTONE_PASSWORD_FILE": "/nowhere"},
        {"KEEPSTONE_PASSWORD_COMMAND": "exit 3"},
        {"KEEPSTONE_KEY_FILE": "/dev/null"},
    ],
    ids=str,
)
def test_two_is_no_usable_password(shared: Shared, env: dict[str, str]) -> None:
    document = shared.box.fails(2, "snapshots", env={"KEEPSTONE_KEY_FILE": None, **env})
    assert document["kind"] == "usage"


def test_three_is_a_backup_that_could_not_read_something(ready: Box) -> None:
    (ready.work / "good").write_bytes(b"good")
    run = ready.run("--json", "backup", "good", "vanished", code=3)
    (error,) = [d for d in run.documents if d["message_type"] == "error"]
    assert error["item"] == f"{ready.work}/vanished"
    assert run.document["problems"] == 1
    assert ready.run("cat", f"latest:{ready.work}/good").stdout == b"good"
    assert f"{ready.work}/vanished" in ready.run("backup", "good", "vanished", code=3).err


def test_three_is_a_restore_that_could_not_restore_something(shared: Shared, tmp_path: Path) -> None:
    blocked = tmp_path / "photo.jpg"
    (blocked / "in the way").mkdir(parents=True)
    run = shared.box.run("restore", f"latest:{shared.source}", "--target", tmp_path, code=3)
    assert "photo.jpg" in run.err
    assert (tmp_path / "new.txt").read_bytes() == b"new"
    assert shared.box.json("restore", f"latest:{shared.source}", "-t", tmp_path, code=3)["problems"] == 1


def test_ten_is_no_repository(box: Box) -> None:
    (box.work / "f").touch()
    assert box.fails(10, "backup", "f")["kind"] == "no-repository"
    for verb in (["key", "list"], ["index", "rebuild"]):
        two_sentences(box.run(*verb, code=10).err)
    assert not box.repo.exists()
    box.fails(10, "--repo", box.base / "other", "snapshots")
    box.fails(10, "snapshots", env={"KEEPSTONE_REPOSITORY": None})


def test_eleven_is_locked_and_only_writers_are(ready: Box) -> None:
    (ready.work / "f").touch()
    ready.run("backup", "f")
    (lock,) = ready.state.glob("*/lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ready.fails(11, "backup", "f")["kind"] == "locked"
        ready.fails(11, "index", "rebuild")
        ready.fails(11, "key", "remove", "00")
        ready.run("ls", "latest")
        ready.run("check")
    ready.run("backup", "f")


def test_twelve_is_a_wrong_key_or_password(shared: Shared, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("f" * 64)
    assert shared.box.fails(12, "--key-file", wrong, "snapshots")["kind"] == "wrong-password"
    password = {"KEEPSTONE_KEY_FILE": None, "KEEPSTONE_PASSWORD": "wrong"}
    two_sentences(shared.box.run("snapshots", env=password, code=12).err)


def test_one_is_a_failure(shared: Shared, tmp_path: Path) -> None:
    assert shared.box.fails(1, "ls", "0000000000")["kind"] == "snapshot-not-found"
    assert shared.box.fails(1, "cat", "latest:/not/there")["kind"] == "path-not-found"
    assert shared.box.fails(1, "init")["kind"] == "repository-exists"
    shared.box.fails(1, "restore", "latest", "--target", shared.source / "photo.jpg")


def test_one_is_damage_and_check_names_the_files(box: Box) -> None:
    (box.work / "lost").write_bytes(noise("lost", 300_000))
    box.run("init")
    box.run("backup", "lost")
    pack = max((p for p in box.repo.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    os.chmod(pack, 0o600)
    pack.write_bytes(data)
    run = box.run("check", "--read-data", code=1)
    assert f"{box.work}/lost" in run.out
    document = box.json("check", "--read-data", code=1)
    assert document["healthy"] is False
    assert [a["path"] for a in document["affected"]] == [f"{box.work}/lost"]
    assert document["findings"]
    assert box.fails(1, "cat", f"latest:{box.work}/lost")["kind"] == "damaged"
    pack.unlink()
    box.run("check", code=1)


def test_a_backup_of_nothing_but_vanished_paths_fails(ready: Box) -> None:
    assert ready.run("backup", "vanished", code=1).err.count("vanished") >= 1
    assert ready.json("snapshots") == []


def test_130_is_interrupted_and_the_next_backup_works(ready: Box) -> None:
    for number in range(4):
        (ready.work / f"big{number}").write_bytes(noise(number, 20_000_000))
    with ready.start("--json", "backup", ready.work) as process:
        assert process.stdout is not None
        assert b"status" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert b"Traceback" not in stderr
    assert stderr.count(b"\n") == 1
    assert b'"code": 130' in stderr
    assert ready.json("snapshots") == []
    ready.run("backup", ready.work)
    assert ready.run("check", "--read-data").lines == ["no errors were found"]


def test_130_at_a_prompt(box: Box) -> None:
    terminal = box.terminal("init", env={"KEEPSTONE_KEY_FILE": None})
    terminal.expect("New password: ")
    terminal.type("", end=b"\x03")
    assert terminal.end() == 130
    assert b"Interrupted." in terminal.seen
    assert not box.repo.exists()


def test_output_that_cannot_be_written_is_a_failure(shared: Shared) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*MODULE, "ls", "latest"], stdout=full, stderr=subprocess.PIPE, env=shared.box.env, check=False
        )
    assert done.returncode == 1
    two_sentences(done.stderr.decode())


def test_a_reader_that_stops_early_is_told_nothing(shared: Shared) -> None:
    with subprocess.Popen(
        [*MODULE, "ls", "latest"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shared.box.env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_repository_that_was_swapped_for_an_older_copy_is_noticed(ready: Box) -> None:
    (ready.work / "f").write_bytes(b"1")
    shutil.copytree(ready.repo, ready.base / "copy")
    ready.run("backup", "f")
    shutil.rmtree(ready.repo)
    shutil.copytree(ready.base / "copy", ready.repo)
    assert ready.fails(1, "snapshots")["kind"] == "rollback"
    ready.run("--accept-rollback", "snapshots")
    ready.run("backup", "f", "--accept-rollback")
    ready.run("snapshots")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (EOFError("a library met the end of its file"), 1, "an error it does not know"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (ImportError("lib.so: failed to map segment from shared object"), 1, "not enough memory"),
        (MemoryError(), 1, "not enough memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_command_is_called_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, said: str
) -> None:
    import click

    from keepstone_cli import main

    def failing(ctx: click.Context) -> object:
        raise raised

    monkeypatch.setattr(main.cli, "invoke", failing)
    monkeypatch.setattr("sys.argv", ["keepstone", "version"])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "an interruption now would look like a failure"
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_no_crash_and_no_file_takes_its_place(shared: Shared, closed: str) -> None:
    command = shlex.join([*MODULE, "ls", "latest"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} {closed}"], capture_output=True, env=shared.box.env, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
