"""Keys of encrypted backups, as a user gives them, and what is said where one is wrong or missing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cli.harness import Box, two_sentences
from containers import writers
from support import words

GROUPED = " ".join(writers.RECOVERY_KEY.upper()[at : at + 4] for at in range(0, 64, 4))
DIGITS_IN_LINES = "\r\n".join(writers.ROOT_KEY.hex().upper()[at : at + 8] for at in range(0, 64, 8)).encode()
JAVA_BYTES = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
OLD_KEY = b"\0\1\2" + bytes(range(32)) + bytes(16 + 32 + 16) + bytes(range(32, 64))


def java(body: bytes) -> bytes:
    return JAVA_BYTES + len(body).to_bytes(4, "big") + body


def phone(folder: Path, kind: str) -> list[Path]:
    """Write two encrypted backups of one kind."""
    rng = random.Random(kind)
    found = []
    for night in range(2):
        if kind == "whatsapp":
            path = folder / f"msgstore-2026-11-0{night + 1}.1.db.crypt15"
            data = writers.crypt15(writers.zlib_of(words(night, 50_000)), rng)
        elif kind == "signal v1":
            path = folder / f"signal-2026-11-0{night + 1}-02-00-00.backup"
            data = writers.signal_backup(rng, 200, [])
        else:
            path = folder / "SignalBackups" / f"signal-backup-2026-11-0{night + 1}-02-00-00" / "main"
            path.parent.mkdir(parents=True)
            (path.parent / "metadata").write_bytes(writers.signal_metadata(rng))
            data = writers.signal_night(rng, 300 + night, night)
        path.write_bytes(data)
        found.append(path)
    return found


KINDS = {
    "whatsapp": ("whatsapp", writers.ROOT_KEY.hex(), "ef" * 32),
    "signal v1": ("signal", writers.DIGITS, "1" * 30),
    "signal v2": ("signal", GROUPED, "z" * 64),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["missing", "wrong", "right"])
def test_what_a_user_is_told_of_an_encrypted_backup(ready: Box, kind: str, key: str) -> None:
    phone(ready.work, kind)
    name, right, wrong = KINDS[kind]
    if key != "missing":
        (ready.base / "given").write_text(right if key == "right" else wrong)
        ready.run("container", "key", "add", name, "--key-file", ready.base / "given")
    run = ready.run("backup", ready.work)
    said = run.out + run.err
    assert said.count("is stored as it is") == (key != "right")
    if key != "right":
        assert f"keepstone container key add {name}" in said
        assert "there is no" in said if key == "missing" else "opens it, or it is damaged" in said
    ready.run("restore", "latest", "--target", ready.base / "out")
    for path in ready.work.rglob("*"):
        if path.is_file():
            assert (ready.base / "out" / path.relative_to("/")).read_bytes() == path.read_bytes()


def test_each_kind_of_key_is_missed_once(ready: Box) -> None:
    for kind in KINDS:
        phone(ready.work, kind)
    run = ready.run("backup", ready.work)
    assert (run.out + run.err).count("is stored as it is") == 2


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("whatsapp", writers.ROOT_KEY.hex().encode()),
        ("whatsapp", DIGITS_IN_LINES),
        ("whatsapp", java(writers.ROOT_KEY)),
        ("whatsapp", java(OLD_KEY)),
        ("signal", f"{writers.DIGITS}\n".encode()),
        ("signal", b"12345 67890 12345 67890 12345 67890"),
        ("signal", writers.RECOVERY_KEY.encode()),
        ("signal", GROUPED.replace("O", "#").replace("0", "=").encode() + b"\n"),
    ],
)  # fmt: skip
def test_every_form_of_a_key_is_taken_once_and_never_shown(ready: Box, kind: str, content: bytes) -> None:
    (ready.base / "given").write_bytes(content)
    first = ready.json("container", "key", "add", kind, "--key-file", ready.base / "given")
    again = ready.run("container", "key", "add", kind, "--key-file", ready.base / "given")
    assert first["kind"] == kind
    assert first["id"][:8] in again.out + again.err
    assert ready.json("container", "key", "list") == [{"id": first["id"], "kind": kind}]
    shown = ready.run("container", "key", "list")
    for secret in (writers.ROOT_KEY.hex(), writers.DIGITS, writers.RECOVERY_KEY):
        assert secret not in shown.out + shown.err + again.out + again.err


@pytest.mark.parametrize("kind", ["whatsapp", "signal"])
def test_what_is_no_key_is_refused_in_two_sentences(ready: Box, kind: str) -> None:
    for content in (
        b"",
        b"a" * 63,
        b"a" * 65,
        "й".encode() * 64,
        JAVA_BYTES,
        java(bytes(31)),
        java(OLD_KEY)[:-1],
        writers.crypt15(writers.zlib_of(b"a database" * 500), random.Random(1)),
        random.Random(2).randbytes(5_000_000),
    ):
        (ready.base / "given").write_bytes(content)
        two_sentences(ready.run("container", "key", "add", kind, "--key-file", ready.base / "given", code=2).err)
    assert ready.json("container", "key", "list") == []


def test_a_key_of_the_other_application_is_refused(ready: Box) -> None:
    for kind, content in (
        ("signal", writers.ROOT_KEY.hex().encode()),
        ("signal", java(writers.ROOT_KEY)),
        ("signal", java(OLD_KEY)),
        ("whatsapp", writers.DIGITS.encode()),
        ("whatsapp", GROUPED.encode()),
    ):
        (ready.base / "given").write_bytes(content)
        run = ready.run("container", "key", "add", kind, "--key-file", ready.base / "given", code=2)
        two_sentences(run.err)
        assert ("WhatsApp" in run.err) or kind == "whatsapp"


def test_a_file_that_cannot_be_read_is_named(ready: Box) -> None:
    for path in (ready.base / "nowhere", ready.base):
        run = ready.run("container", "key", "add", "signal", "--key-file", path, code=2)
        two_sentences(run.err)
        assert str(path) in run.err


def test_a_key_is_asked_for_without_echo(ready: Box) -> None:
    terminal = ready.terminal("container", "key", "add", "signal")
    terminal.expect("Key of signal: ")
    terminal.type(GROUPED)
    assert terminal.end() == 0
    assert GROUPED[:9].encode() not in terminal.seen
    assert len(ready.json("container", "key", "list")) == 1
    run = ready.run("container", "key", "add", "signal", code=2)
    two_sentences(run.err)
