"""Odd names, nothing chosen, places that cannot be written: each ends in two sentences, and leaves nothing behind."""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import xml.dom.minidom
import zipfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from cli.harness import MODULE, Box, raw_controls, two_sentences
from cli.test_exports import ingested, own
from keepstone.messages.model import Attachment, Call, Conversation, Person
from keepstone.views import plain
from keepstone.views.chat import Chat
from support import noise

TITLES = [
    "=cmd|' /C calc'!A0", "", "\0\n\r", "\u202egpj.exe", "../../x", "a" * 5000, "<script>alert(1)</script>", "-",
    "--help", "CON", "\U0001f642" * 100, "Twin", "Twin", "TWIN", " . ", "e\u0301" * 200,
]  # fmt: skip
FORMS = ("html", "jsonl", "txt", "csv", "mbox", "sms-xml", "whatsapp-txt-zip")


def chats() -> Iterator[Chat]:
    for number, title in enumerate(TITLES):
        key = f"key {number}"
        people = (
            Person(address="+49171", name='=HYPERLINK("x")'),
            Person(address="b\n<b>", name="\u202eBo\x1b[31m\nX"),
        )
        lost = Attachment(name="../../../etc/cron.d/x", mime="text/html", caption="+1", sha256=b"q" * 32)
        said = [
            own("signal", key, 0, author="+49171", text="=1+1\0\x1b]0;x\x07", time_ms=-(2**52)),
            own("signal", key, 1, author="b\n<b>", text="\u202e]]> --> </script><img src=x onerror=alert(1)>"),
            own("signal", key, 2, direction="out", author="", text="@x", attachments=(lost, Attachment())),
            own("signal", key, 3, direction="none", kind="event", text="\nFrom me\n>From you\r\n.\r\n", time_ms=2**52),
        ]
        yield Chat(Conversation(service="signal", key=key, title=title, kind="group", people=people), said)
    phone = Conversation(service="sms", key="1", title="S\"'<>&\x01", people=(Person(address='+1"<'),))
    yield Chat(phone, [own("sms", "1", 1, text="\x00\n\t\r\u2028]]>\ufffe", author='+1"<')])


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Box:
    base = tmp_path_factory.mktemp("odd")
    (base / "in").mkdir()
    calls = [
        Call(identity=b"c" * 16, service="phone", time_ms=-(2**52), direction="in", people=(Person(address="\x1b"),))
    ]
    (base / "in" / "a.jsonl").write_bytes(b"".join(plain.jsonl(chats(), calls)))
    return ingested(base / "box", base / "in")


@pytest.mark.parametrize("form", FORMS)
def test_the_oddest_chats_are_written_and_stay_in_their_place(odd: Box, tmp_path: Path, form: str) -> None:
    run = odd.run("export", "--format", form, "-o", tmp_path / "out")
    assert not raw_controls(run.stdout + run.stderr)
    expected = ["calls-out", "out"] if form == "sms-xml" else ["out"]
    assert sorted(os.listdir(tmp_path)) == expected
    names = [path.name for path in tmp_path.rglob("*")]
    assert not any(raw_controls(name.encode()) or name.startswith(("-", ".")) for name in names)


def test_the_oddest_chats_are_listed(odd: Box) -> None:
    """Years that no calendar has, and names that a terminal would obey."""
    run = odd.run("chats")
    assert not raw_controls(run.stdout + odd.run("calls").stdout)
    assert len(run.lines) == len(TITLES) + 3
    assert sum(len(line) > 300 for line in run.lines) < 4
    assert all(chat["messages"] in (1, 4) for chat in odd.run("--json", "chats").documents)


def test_no_cell_of_a_table_is_a_formula(odd: Box, tmp_path: Path) -> None:
    odd.run("export", "--format", "csv", "-o", tmp_path / "out")
    with (tmp_path / "out").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any(cell.startswith("'=1+1") for cell in cells)
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not [cell for cell in cells if cell.lstrip()[:1] in ("=", "+", "-", "@") and cell]


def test_what_a_phone_gets_is_well_formed(odd: Box, tmp_path: Path) -> None:
    odd.run("export", "--format", "sms-xml", "-o", tmp_path / "out.xml")
    for name, kind in (("out.xml", "sms"), ("calls-out.xml", "call")):
        document = xml.dom.minidom.parse(str(tmp_path / name))
        assert len(document.getElementsByTagName(kind)) == 1
        assert document.documentElement is not None
        assert document.documentElement.getAttribute("count") == "1"


def test_zips_have_no_names_that_leave_them(odd: Box, tmp_path: Path) -> None:
    odd.run("export", "--format", "whatsapp-txt-zip", "-o", tmp_path / "out")
    found = list((tmp_path / "out").iterdir())
    assert len(found) == len(TITLES) + 1
    for path in found:
        with zipfile.ZipFile(path) as archive:
            assert not [name for name in archive.namelist() if "/" in name or name.startswith((".", "-"))]


def test_every_odd_chat_is_restored_inside_the_target(odd: Box, tmp_path: Path) -> None:
    summary = odd.json(
        "restore", *(part for n in range(len(TITLES)) for part in ("--chat", f"key {n}")), "-t", tmp_path / "out"
    )
    assert summary["chats"] == len(TITLES)
    assert os.listdir(tmp_path) == ["out"]
    assert len(os.listdir(tmp_path / "out")) == len(TITLES)


def test_nothing_chosen_is_an_error_and_writes_nothing(odd: Box, tmp_path: Path) -> None:
    nothing = ["--text", "no such words"], ["--from", "2030", "--to", "2020"], ["--chat", "Twin", "--kind", "poll"]
    for form, options in zip(FORMS, cycle(nothing), strict=False):
        odd.fails(2, "export", "--format", form, "-o", tmp_path / "out", *options)
    assert not os.listdir(tmp_path)


def test_a_chat_named_by_nothing_is_not_all_chats(odd: Box, tmp_path: Path) -> None:
    for command in (["export", "--chat", "", "-o"], ["restore", "--chat", " ", "-t"], ["media", "", "--extract"]):
        odd.fails(2, *command, tmp_path / "out")
    odd.fails(2, "messages", "")
    assert not os.listdir(tmp_path)


def test_a_day_at_the_end_of_all_calendars_is_no_crash(odd: Box) -> None:
    assert len(odd.run("--json", "messages", "key 1", "--to", "9998").documents) > 0
    for option, day in (("--to", "9999"), ("--to", "9999-12-31"), ("--from", "0001"), ("--from", "2024-13")):
        two = odd.run("messages", "key 1", option, day, env={"TZ": "Asia/Tokyo"}, code=None)
        assert two.code == 0 or two_sentences(two.err) is None


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(odd: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    places = (1, tmp_path / "file" / "out"), (1, tmp_path / ("x" * 300)), (2, tmp_path / "file")
    for form, (code, place) in zip((*FORMS, *FORMS[:2]), cycle(places), strict=False):
        odd.fails(code, "export", "--format", form, "-o", place)
    odd.fails(1, "restore", "--chat", "Twin", "-t", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("form", ["html", "jsonl", "whatsapp-txt-zip", "sms-xml"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    big = Conversation(service="sms", key="1", title="Big")
    said = [own("sms", "1", number, text=noise(number, 20_000).hex()) for number in range(20)]
    (tmp_path / "in" / "a.jsonl").write_bytes(b"".join(plain.jsonl([Chat(big, said)])))
    box = ingested(tmp_path / "box", tmp_path / "in")
    (tmp_path / "out").mkdir()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [*MODULE, "--no-cache", "export", "--format", form, "-o", str(tmp_path / "out" / "x")]
    # What cannot be written is nothing that other runs would read.
    environment = {**box.env, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path / "none")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1, done.stderr
    two_sentences(done.stderr)
    assert not os.listdir(tmp_path / "out")
