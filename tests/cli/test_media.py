"""`media` lists the files of messages, and takes them out by names that do no harm."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.harness import Box, raw_controls
from keepstone.messages.identity import identity
from keepstone.messages.model import Attachment, Conversation, Message, Person
from keepstone.views import plain
from keepstone.views.chat import Chat

NAMES = [
    "../../evil.jpg",
    "/etc/passwd",
    "..",
    "a.jpg",
    "A.jpg",
    "CON.txt",
    "gpj.\u202eexe",
    "\x1b[31m.png",
    "x" * 400 + ".jpg",
]
BEGIN = 1_700_000_000


@dataclass(frozen=True)
class Kept:
    box: Box
    contents: dict[str, bytes]


def mms(number: int, name: str, content: bytes, address: str = "+15550001", contact: str = "Ana") -> str:
    written = "".join(f"&#{ord(ch)};" if ch > " " else "_" for ch in name)
    return (
        f'<mms date="{(BEGIN + number) * 1000}" msg_box="1" m_id="{number}" address="{address}" '
        f'contact_name="{contact}">'
        f'<parts><part seq="0" ct="image/jpeg" cl="{written}" data="{base64.b64encode(content).decode()}" /></parts>'
        f'<addrs><addr address="{address}" type="137" charset="106" /></addrs></mms>\n'
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    base = tmp_path_factory.mktemp("media")
    box = Box(base)
    box.env["TZ"] = "UTC"
    source = base / "source"
    source.mkdir()
    contents = {name: f"photo {number}".encode() * 100 for number, name in enumerate(NAMES)}
    records = [mms(number, name, contents[name]) for number, name in enumerate(NAMES)]
    records.append(mms(50, "same.jpg", contents["a.jpg"]))
    records.append(mms(60, "a.jpg", b"other bytes", "+15550002", "Bo/../x"))
    (source / "sms.xml").write_text(f'<?xml version="1.0"?><smses count="9">{"".join(records)}</smses>', "utf-8")
    lost = Attachment(name="lost\x1b[2J.jpg", mime="image/jpeg", size=5, sha256=b"l" * 32)
    chat = Conversation(service="signal", key="c", title="Cy \x1b[31m", people=(Person(address="c", name="Cy"),))
    message = Message(
        identity=identity("t", 1), service="signal", chat="c", time_ms=0, author="c", direction="in", kind="image",
        attachments=(lost, Attachment(name="unknown")),
    )  # fmt: skip
    (source / "c.jsonl").write_bytes(b"".join(plain.jsonl([Chat(chat, [message])])))
    box.run("init")
    box.run("backup", source)
    return Kept(box, contents)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_listed_with_what_is_known_of_them(kept: Kept) -> None:
    run = kept.box.run("media")
    assert len(run.lines) == 2 + len(NAMES) + 2 + 2
    assert not raw_controls(run.stdout)
    assert sum(line.endswith("missing") for line in run.lines) == 2
    (line,) = [line for line in run.lines if "lost" in line]
    assert "Cy" in line
    assert "image/jpeg" in line
    (one,) = kept.box.run("--json", "media", "Bo").documents
    assert (one["name"], one["size"], one["present"], one["mime"]) == ("a.jpg", 11, True, "image/jpeg")
    assert one["time_ms"] == (BEGIN + 60) * 1000
    (lost, unknown) = kept.box.run("--json", "media", "Cy").documents
    assert (lost["present"], lost["size"], unknown["size"]) == (False, 5, None)


def test_files_are_chosen_as_messages_are(kept: Kept) -> None:
    def found(*options: str) -> int:
        return len(kept.box.run("--json", "media", *options).documents)

    assert found("--from", "2023") == len(NAMES) + 2
    assert found("--to", "1970") == 2
    assert found("--sender", "me") == 0
    assert found("Ana", "--kind", "image") == len(NAMES) + 1
    assert found("--text", "nothing") == 0
    assert "No message" in kept.box.run("media", "--text", "nothing").err
    kept.box.fails(2, "media", "Nobody")


def test_files_are_taken_out_once_each_by_safe_names_and_with_their_times(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    assert f"{len(NAMES)} files written" in kept.box.run("media", "Ana", "--extract", folder).err
    found = files(folder)
    assert sorted(found.values()) == sorted(kept.contents.values())
    assert set(os.listdir(tmp_path)) == {"deep"}
    for name in found:
        assert os.sep not in name
        assert not name.startswith(".")
        assert len(os.fsencode(name)) <= 140
        assert not raw_controls(name.encode())
    assert len({name.casefold() for name in found}) == len(found)
    assert (folder / "a.jpg").stat().st_mtime == BEGIN + NAMES.index("a.jpg")
    assert (folder / "a.jpg").stat().st_mode & 0o777 == 0o600


def test_several_chats_have_a_folder_each(kept: Kept, tmp_path: Path) -> None:
    summary = kept.box.json("media", "--extract", tmp_path / "out")
    assert {name: summary[name] for name in ("new", "identical", "missing", "failed")} == {
        "new": len(NAMES) + 1, "identical": 1, "missing": 2, "failed": 0,
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Ana", "Bo_.._x"]


def test_taking_out_twice_adds_nothing_and_other_bytes_stay(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"mine")
    os.symlink("/etc/hostname", tmp_path / "passwd")
    kept.box.run("media", "Ana", "--extract", tmp_path)
    once = files(tmp_path)
    assert once["a.jpg"] == b"mine"
    assert kept.contents["a.jpg"] in once.values()
    summary = kept.box.json("media", "Ana", "--extract", tmp_path)
    assert (summary["new"], summary["identical"]) == (0, len(NAMES) + 1)
    assert files(tmp_path) == once


def test_nothing_goes_through_a_link_in_the_folder(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "out" / "Ana")
    run = kept.box.run("media", "--extract", tmp_path / "out", code=3)
    assert "problem" in run.err
    assert not os.listdir(tmp_path / "elsewhere")
    assert files(tmp_path / "out") == {"Bo_.._x/a.jpg": b"other bytes"}


def test_a_folder_that_cannot_be_used_is_an_error(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be used" in kept.box.fails(1, "media", "Ana", "--extract", tmp_path / "file")["message"]


def test_no_folder_is_taken_for_this_one(kept: Kept) -> None:
    before = files(kept.box.work)
    kept.box.fails(2, "media", "--extract", "")
    kept.box.fails(2, "restore", "latest", "--target", "")
    kept.box.fails(2, "restore", "--chat", "Ana", "--target", "")
    assert files(kept.box.work) == before
