"""`chats`, `messages`, `search`, `calls` and `export`, as people and scripts use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.harness import Box
from keepstone.messages.identity import identity
from keepstone.messages.model import Call, Conversation, Message, Person, Reaction
from keepstone.views import plain
from keepstone.views.chat import Chat
from keepstone_cli.output import clean


def message(number: int, text: str, chat: str = "a", **fields: object) -> Message:
    time_ms = 1_700_000_000_000 + number * 3_600_000
    chosen = {"direction": "in", "author": "1", "time_ms": time_ms} | fields
    return Message(identity=identity("t", chat, number), service="signal", chat=chat, text=text, **chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Kept:
    box: Box
    source: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    base = tmp_path_factory.mktemp("messages")
    box = Box(base)
    ana = Conversation(service="signal", key="a", title="Ana \x1b[31m", people=(Person(address="1", name="Ana"),))
    said = [
        message(0, "Hello there"), message(1, "Caf\u00e9 at \u516b\u70b9?", direction="out", author=""),
        message(2, "two\nlines", reactions=(Reaction(author="", emoji="\U0001f44d"),)), message(3, "=1+1"),
    ]  # fmt: skip
    bo = Conversation(service="signal", key="b", title="Bo")
    hidden = Call(identity=b"h" * 16, service="phone", time_ms=1_700_000_100_000, direction="in", outcome="rejected")
    calls = [hidden, Call(identity=b"c" * 16, service="signal", time_ms=1_700_000_000_000, seconds=75, direction="out",
                  outcome="answered", people=(Person(address="1", name="Ana"),))]  # fmt: skip
    data = b"".join(plain.jsonl([Chat(ana, said), Chat(bo, [message(9, "hello Bo", "b")])], calls))
    (base / "source").mkdir()
    (base / "source" / "export.jsonl").write_bytes(data)
    box.run("init")
    box.env["TZ"] = "UTC"
    run = box.run("--json", "backup", base / "source")
    assert (run.document["messages_read"], run.document["calls_read"], run.document["message_sources"]) == (5, 2, 1)
    return Kept(box, base / "source")


def test_chats_are_listed_newest_first(kept: Kept) -> None:
    lines = kept.box.run("chats").lines[2:]
    assert [line.split()[0] for line in lines] == ["Bo", "Ana"]
    assert "\\x1b[31m" in lines[1]
    documents = kept.box.run("--json", "chats").documents
    assert {one["title"]: one["messages"] for one in documents} == {"Ana \x1b[31m": 4, "Bo": 1}


def test_messages_of_a_chat_are_shown_a_line_each(kept: Kept) -> None:
    assert kept.box.run("messages", "ana").lines == [
        "2023-11-14 22:13  Ana: Hello there",
        "2023-11-14 23:13  You: Caf\u00e9 at \u516b\u70b9?",
        "2023-11-15 00:13  Ana: two / lines [\U0001f44d]",
        "2023-11-15 01:13  Ana: =1+1",
    ]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--from", "2023-11-15"], [2, 3]), (["--to", "2023-11-14"], [0, 1]), (["--sender", "me"], [1]),
        (["--sender", "an"], [0, 2, 3]), (["--text", "CAFE\u0301"], [1]),
        (["--kind", "image"], []), (["--has-media"], []),
        (["--from", "2023-11", "--to", "2023"], [0, 1, 2, 3]), (["--from", "2024"], []),
    ],
)  # fmt: skip
def test_messages_are_chosen(kept: Kept, options: list[str], numbers: list[int]) -> None:
    found = kept.box.run("--json", "messages", "ana", *options).documents
    assert [(one["time_ms"] - 1_700_000_000_000) // 3_600_000 for one in found] == numbers


def test_search_finds_words_in_any_script_and_shows_what_stands_beside_them(kept: Kept) -> None:
    assert kept.box.run("search", "\u516b").lines == [
        "  2023-11-14 22:13  Ana: Hello there",
        "[Ana \\x1b[31m] 2023-11-14 23:13  You: Caf\u00e9 at \u516b\u70b9?",
        "  2023-11-15 00:13  Ana: two / lines [\U0001f44d]",
    ]
    assert len(kept.box.run("search", "hello", "--no-context").lines) == 2
    assert len(kept.box.run("search", "hello", "--chat", "Bo").lines) == 1
    assert kept.box.run("search", '"there hello"').lines == []
    first = kept.box.run("search", "hello", "--limit", "1", "--no-context")
    assert len(first.lines) == 1
    assert "The first 1 of 2 messages are shown" in first.err


def test_search_tells_scripts_where_the_words_are(kept: Kept) -> None:
    (found,) = kept.box.run("--json", "search", "CAFE\u0301").documents
    assert (found["text"], found["marks"], found["total"]) == ("Caf\u00e9 at \u516b\u70b9?", [[0, 4]], 1)
    assert (found["before"]["text"], found["after"]["text"]) == ("Hello there", "two\nlines")


@pytest.mark.parametrize(
    ("options", "total"),
    [(["--from", "2023-11-15"], 1), (["--sender", "ana"], 1), (["--sender", "me"], 0), (["--kind", "image"], 0)],
)
def test_search_is_narrowed_like_messages(kept: Kept, options: list[str], total: int) -> None:
    assert len(kept.box.run("search", "e", "--no-context", "--chat", "ana", *options).lines) == total + (
        options == ["--sender", "ana"]
    )


def test_search_marks_words_on_a_terminal_which_nothing_else_steers(kept: Kept) -> None:
    terminal = kept.box.terminal("search", "hello", "--chat", "ana")
    assert terminal.end() == 0
    assert b"Ana: \x1b[1;33mHello\x1b[0m there" in terminal.seen
    assert b"\\x1b[31m" in terminal.seen
    assert b"\x1b[31m" not in terminal.seen


def test_calls_are_listed(kept: Kept) -> None:
    ana, hidden = sorted(kept.box.run("calls").lines[2:])
    assert ana.split() == ["2023-11-14", "22:13", "signal", "out", "answered", "1:15", "Ana"]
    assert hidden.split() == ["2023-11-14", "22:15", "phone", "in", "rejected", "0:00", "unknown"]


def test_an_export_to_a_minus_is_refused(kept: Kept) -> None:
    assert "new file or folder" in kept.box.run("export", "--format", "txt", "-o", "-", code=2).err


def test_every_form_of_export_has_every_message(kept: Kept, tmp_path: Path) -> None:
    for form in ("jsonl", "txt", "csv", "mbox"):
        kept.box.run("export", "--format", form, "-o", tmp_path / form)
        text = (tmp_path / form).read_text("utf-8")
        assert "Hello there" in text
        assert "hello Bo" in text
    records = [json.loads(line) for line in (tmp_path / "jsonl").read_text("utf-8").splitlines()]
    assert sum("message" in record for record in records) == 5
    assert sum("call" in record for record in records) == 2
    assert "'=1+1" in (tmp_path / "csv").read_text("utf-8")
    kept.box.run("export", "-o", tmp_path / "pages", "--chat", "Bo")
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["chat-00001-bo.html", "index.html"]


def test_nothing_is_written_over_and_what_is_not_there_is_an_error(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    kept.box.run("export", "--format", "txt", "-o", tmp_path / "there", code=2)
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert "no chat" in kept.box.run("messages", "nobody", code=2).err.lower()
    kept.box.run("messages", "ana", "--from", "yesterday", code=2)


def test_a_repository_without_messages_says_so(box: Box) -> None:
    box.run("init")
    assert "no messages" in box.run("chats").err
    assert "no calls" in box.run("calls").err
    assert box.run("--json", "chats").documents == []


@pytest.mark.parametrize("zone", ["EST5", "UTC", "<+13>-13"])
def test_a_day_begins_where_the_clock_hung_that_told_a_message(box: Box, zone: str) -> None:
    hour = 3_600_000
    said = [message(n, f"said at {n}", time_ms=1_700_006_400_000 + (n - 1) * 3 * hour, zoned=False) for n in range(9)]
    (box.base / "source").mkdir()
    data = b"".join(plain.jsonl([Chat(Conversation(service="signal", key="a", title="Ana"), said)]))
    (box.base / "source" / "export.jsonl").write_bytes(data)
    box.run("init")
    box.env["TZ"] = zone
    box.run("backup", box.base / "source")
    day = ["--from", "2023-11-15", "--to", "2023-11-15"]
    texts = [f"said at {number}" for number in range(1, 9)]
    assert [one["text"] for one in box.run("--json", "messages", "Ana", *day).documents] == texts
    assert sorted(one["text"] for one in box.run("--json", "search", "said", *day).documents) == texts


def test_what_cannot_mean_anything_is_an_error_and_nothing_found_is_said(kept: Kept, tmp_path: Path) -> None:
    for words in ("", " ", '""', "\u200b"):
        kept.box.fails(2, "search", words)
    kept.box.fails(2, "messages", "ana", "--text", '""')
    kept.box.fails(2, "export", "--text", "\u200e", "-o", tmp_path / "out")
    for unset in ("--from", "--to", "--sender", "--text", "--chat", "--snapshot"):  # variables of scripts
        kept.box.run("export", unset, "", "-o", tmp_path / "out", code=1 if unset == "--snapshot" else 2)
    turned = ("--from", "2024", "--to", "2023")
    for arguments in (("messages", "ana"), ("search", "hello"), ("timeline", "ana"), ("media",)):
        assert "--from" in kept.box.fails(2, *arguments, *turned)["message"]
    nothing = kept.box.run("messages", "ana", "--from", "2030")
    assert (nothing.out, nothing.err.splitlines()[-1]) == ("", "No message fits.")
    assert kept.box.run("messages", "ana", "--from", "2030", "--json").out == ""
    assert "Nothing happened" in kept.box.run("timeline", "ana", "--from", "2030").err


def test_chats_of_one_name_are_told_apart_and_chosen_by_their_keys(box: Box) -> None:
    (box.base / "source").mkdir()
    said = {key: message(1, f"to {key}", key, author="", subject="Hi") for key in ("k1", "k2")}
    chats = [Chat(Conversation(service="signal", key=key, title="\u516b\u70b9"), [one]) for key, one in said.items()]
    (box.base / "source" / "export.jsonl").write_bytes(b"".join(plain.jsonl(chats)))
    box.run("init")
    box.run("backup", box.base / "source")
    heads, _, *rows = box.run("chats").lines
    assert [row.split("  ")[0] for row in rows] == ["\u516b\u70b9 (k1)", "\u516b\u70b9 (k2)"]
    assert all(row[heads.index("Service") - 2 :].startswith("signal") for row in rows), "letters of two columns"
    assert [line.split("  ")[0] for line in box.run("messages", "\u516b\u70b9").lines] == [
        "\u516b\u70b9 (signal)", "2023-11-14 23:13"
    ] * 2  # fmt: skip
    (line,) = box.run("messages", "k2", "--sender", "\u516b", "--text", '"hi to"').lines
    assert line.endswith("\u516b\u70b9: Hi / to k2")


def test_a_message_that_its_sender_deleted_is_shown_and_marked(box: Box) -> None:
    (box.base / "source").mkdir()
    ana = Conversation(service="signal", key="a", title="Ana")
    box.run("init")
    for said in (message(0, "regretted"), message(0, "", kind="deleted")):
        (box.base / "source" / "export.jsonl").write_bytes(b"".join(plain.jsonl([Chat(ana, [said])])))
        box.run("backup", box.base / "source")
    for arguments in (("messages", "ana"), ("search", "regretted")):
        (line,) = box.run(*arguments).lines
        assert line.endswith("regretted (deleted)")
    assert box.run("--json", "messages", "ana").document["deleted"] is True


def test_spelling_and_emoji_are_shown_as_they_are_and_what_hides_is_not() -> None:
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert (clean(family), clean(persian)) == (family, persian)
    for hidden in ("pay\u200dpal", "\u200d", "a\u200c", "\u0645\u200c", "\u0645\u202e\u0645"):
        assert "\\u20" in clean(hidden)
