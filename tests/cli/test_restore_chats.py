"""`restore --chat` gives back messages and media of chats, as people read them and as a backup reads them again."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.harness import Box
from cli.test_exports import ingested, messages
from keepstone.messages.identity import identity
from keepstone.messages.model import Attachment, Conversation, Message, Person
from keepstone.views import plain
from keepstone.views.chat import Chat

PHOTO = b"\xff\xd8 photo" * 1000


@dataclass(frozen=True)
class Kept:
    box: Box


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    base = tmp_path_factory.mktemp("restore")
    source = base / "source"
    source.mkdir()
    for name, forged in (("Bo", "a.jpg"), ("../Eve", "messages.txt")):
        with zipfile.ZipFile(source / f"{name.replace('/', '')}.zip", "w") as archive:
            archive.writestr(
                f"WhatsApp Chat with {name.replace('/', '')}.txt",
                f"2024-01-31, 12:30 - Bo: {forged} (file attached)\nlook\n"
                "2024-01-31, 12:31 - Bo: b.jpg (file attached)\n"
                "2024-02-01, 09:00 - Bo: caf\u00e9\n",
            )
            archive.writestr(forged, PHOTO)
            archive.writestr("b.jpg", PHOTO)
    lost = Attachment(name="lost.jpg", size=5, sha256=b"l" * 32)
    people = (Person(address="c", name="Cy"),)
    chats = [
        Chat(
            Conversation(service="signal", key=key, title="../Twin", people=people),
            [
                Message(
                    identity=identity("t", key, 1), service="signal", chat=key, time_ms=0, author="c", direction="in",
                    text=f"I am {key}\n\u202eand\x1b[2J", attachments=(lost,),
                )
            ],
        )
        for key in ("c", "d")
    ]  # fmt: skip
    (source / "c.jsonl").write_bytes(b"".join(plain.jsonl(chats)))
    return Kept(ingested(base / "box", source))


def test_a_chat_comes_back_with_its_media_into_another_repository(kept: Kept, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = kept.box.json("restore", "--chat", "Bo", "--target", out)
    assert (summary["messages"], summary["files_restored"], summary["files_identical"]) == (3, 1, 1)
    assert sorted(path.name for path in out.rglob("*")) == ["a.jpg", "media", "messages.jsonl", "messages.txt"]
    assert (out / "media" / "a.jpg").read_bytes() == PHOTO
    text = (out / "messages.txt").read_text("utf-8")
    assert "2024-01-31 12:30 Bo: <media/a.jpg>\n    look\n" in text
    assert "2024-02-01 09:00 Bo: caf\u00e9\n" in text
    again = ingested(tmp_path / "two", out)
    assert messages(again) == [one for one in messages(kept.box) if one["chat"] == "~Bo"]
    assert [one["present"] for one in again.run("--json", "media").documents] == [True, True]
    again.run("media", "--extract", tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == PHOTO


def test_without_media_only_messages_come_back(kept: Kept, tmp_path: Path) -> None:
    kept.box.run("restore", "--chat", "Bo", "--no-media", "--from", "2024-02", "--target", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["messages.jsonl", "messages.txt"]
    assert len((tmp_path / "out" / "messages.txt").read_text("utf-8").splitlines()) == 3


def test_several_chats_have_a_folder_each_inside_the_target(kept: Kept, tmp_path: Path) -> None:
    summary = kept.box.json("restore", "--chat", "Twin", "--target", tmp_path / "out")
    assert (summary["chats"], summary["missing"]) == (2, 2)
    assert os.listdir(tmp_path) == ["out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["_Twin", "_Twin (2)"]
    texts = {path.read_text("utf-8") for path in (tmp_path / "out").rglob("*.txt")}
    assert len(texts) == 2
    assert all("<lost.jpg, not here>" in text and "\x1b" not in text for text in texts)


def test_a_restore_over_an_earlier_one_updates_it_and_leaves_other_files(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "messages.txt").write_bytes(b"of an earlier run")
    (tmp_path / "notes").write_bytes(b"mine")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.jpg").write_bytes(b"mine too")
    kept.box.run("restore", "--chat", "Bo", "--target", tmp_path, "--overwrite", "never")
    assert (tmp_path / "messages.txt").read_bytes() == b"of an earlier run"
    summary = kept.box.json("restore", "--chat", "Bo", "--target", tmp_path)
    assert (summary["files_restored"], summary["problems"]) == (0, 0)
    assert (tmp_path / "messages.txt").read_bytes() != b"of an earlier run"
    assert (tmp_path / "notes").read_bytes() == b"mine"
    assert {path.name: path.read_bytes() for path in (tmp_path / "media").iterdir()} == {
        "a.jpg": b"mine too", "a (2).jpg": PHOTO,
    }  # fmt: skip


def test_a_chat_of_a_snapshot_is_what_there_was_then(kept: Kept, tmp_path: Path) -> None:
    kept.box.run("restore", "latest", "--chat", "Bo", "--target", tmp_path / "out")
    assert "caf\u00e9" in (tmp_path / "out" / "messages.txt").read_text("utf-8")
    kept.box.fails(1, "restore", "ffffffff", "--chat", "Bo", "--target", tmp_path / "no")


def test_a_chat_that_is_not_known_is_answered_with_those_like_it(kept: Kept, tmp_path: Path) -> None:
    error = kept.box.fails(2, "restore", "--chat", "Twim", "--target", tmp_path / "no")
    assert "Twin" in error["remedy"]
    assert not (tmp_path / "no").exists()


def test_options_that_do_not_go_together_are_refused(kept: Kept, tmp_path: Path) -> None:
    for options in (
        ["--chat", "Bo", "--verify"], ["--chat", "Bo", "--include", "*"], ["latest:/x", "--chat", "Bo"],
        ["latest", "--no-media"], ["latest", "--text", "x"], ["--chat", "Bo", "--from", "2030"], [],
    ):  # fmt: skip
        kept.box.fails(2, "restore", *options, "--target", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    (tmp_path / "file").write_bytes(b"")
    kept.box.fails(1, "restore", "--chat", "Bo", "--target", tmp_path / "file")


def test_a_folder_in_the_way_is_told_and_nothing_unfinished_stays(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "out" / "messages.txt" / "x").mkdir(parents=True)
    run = kept.box.run("restore", "--chat", "Bo", "--target", tmp_path / "out", code=3)
    assert "messages.txt" in run.err
    assert sorted(os.listdir(tmp_path / "out")) == ["media", "messages.jsonl", "messages.txt"]
