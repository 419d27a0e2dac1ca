"""The cheap look at a file's beginning never says no where a reader says yes, and says no to ordinary small files."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from keepstone.sources.readers import MODULES, SMALLEST, may_be_named, may_hold_messages, reader_for
from keepstone.sources.reading import HEAD, MemoryFolder
from sources import apple, chats, signal_android, signals, whatsapp_databases
from sources.test_android_telephony import SCHEMA, database
from sources.test_chat_formats import package, whole_telegram
from sources.test_text_forms import FORMS, entry
from sources.whatsapp_heads import LATE
from support import FIXTURES, report

Source = tuple[str, dict[str, bytes]]
"""The name of a file that a reader knows, and the folder it lies in."""
MARKS = (b"\xef\xbb\xbf", b" \r\n\t", b"\n\n", "\u200e".encode(), "\ufeff\u200e".encode(), "\u2068".encode())
CUTS = (SMALLEST, 65, 90, 128, 300, 700, 1500, HEAD - 1, HEAD, HEAD + 1)


@cache
def generated() -> dict[str, Source]:
    """Return an export for every reader, of most of them several."""
    found: dict[str, Source] = {}
    for form, (reader, make) in FORMS.items():
        files = make()
        found[form] = entry(reader, files), files
    one = chats.telegram_chat(7, "Bob", ("a", "b"))
    old = {"id": 5, "type": "message", "date": "2019-01-02T03:04:05", "from": "Bob", "from_id": 7, "text": "a"}
    found["telegram, all"] = "result.json", whole_telegram(one)
    found["telegram, old"] = "r", {"r": chats.dump({"name": "N", "messages": [old], "type": "bot_chat", "id": 7})}
    found["meta, dense"] = next(iter(chats.meta(indent=None))), chats.meta(indent=None)
    for form in ("csv", "json", "newer json"):
        files = package(form)
        found[f"discord, {form}"] = next(iter(files)), files
    slack = chats.slack()
    found["slack, no users"] = "channels.json", {name: data for name, data in slack.items() if name != "users.json"}
    said = signals.item(1, **signals.said("a"))
    found["signal, array"] = "main.json", {"main.json": signals.export(said, indent=True)}
    found["signal, frames"] = "main", {"main": signals.backup(said)}
    records = signal_android.stream(signal_android.new([signal_android.message(1)]))
    found["signal, records"] = "signal-2024.backup", {"signal-2024.backup": records}
    for number, head in enumerate(LATE):
        text = f"{head}Ann: a text\r\n{head}Bob: another one\r\n".encode()
        found[f"whatsapp {number}"] = f"{number}.txt", {f"{number}.txt": text}
    found["telephony"] = "mmssms.db", {"mmssms.db": database(SCHEMA)}
    found["imessage"] = "chat.db", {"chat.db": apple.Database().bytes()}
    android = whatsapp_databases.android([whatsapp_databases.message(2, 1, "K", "a")])
    found["whatsapp android"] = "msgstore.db", {"msgstore.db": android}
    ios = whatsapp_databases.ios([whatsapp_databases.apple(2, 1, "K", "a")])
    found["whatsapp ios"] = "ChatStorage.sqlite", {"ChatStorage.sqlite": ios}
    return found


def altered(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield a file as it is, marked, in other encodings, cut off, with a comment, and with small damages."""
    forms = [data, *(mark + data for mark in MARKS), data.replace(b">", b"><!-- a > b -->", 1)]
    text = data.decode("utf-8", "replace")
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        forms += [text.encode(encoding), ("\ufeff" + text).encode(encoding)]
    for form in forms:
        yield form
        yield from (form[:cut] for cut in CUTS if cut < len(form))
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(min(len(data), 200))] = rng.choice(b'\0\x01\t\n "<>[]{}0:,-.\xe2\xff')
        yield bytes(damaged)
        at = rng.randrange(min(len(data), 200))
        yield data[:at] + rng.choice((b" ", b"\n", b"\r\n", b"\x07", b"\xff", b"<!---->")) + data[at:]


def known(name: str, files: dict[str, bytes], content: bytes) -> str:
    """Return the reader of a file if its content were this, having seen that the cheap look lets it pass."""
    base = name.rpartition("/")[2].encode()
    reader = reader_for(name, MemoryFolder({**files, name: content})) if len(content) >= SMALLEST else None
    if reader is None:
        return ""
    assert may_be_named(base)
    assert may_hold_messages(base, content[:HEAD]), (reader.NAME, name, content[:200])
    return reader.NAME


def test_no_export_that_a_reader_knows_is_passed_over() -> None:
    report("seed 31")
    rng = random.Random(31)
    passed: Counter[str] = Counter()
    for form, (name, files) in generated().items():
        assert known(name, files, files[name]), form
        passed.update(known(name, files, content) for content in altered(files[name], rng))
    assert len(passed.keys() - {""}) == len(MODULES), "every reader has been asked"
    assert min(passed.values()) > 20, passed


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the sample files of KEEPSTONE_FIXTURES")
def test_no_sample_that_a_reader_knows_is_passed_over() -> None:
    report("seed 32")
    rng = random.Random(32)
    passed: Counter[str] = Counter()
    for path in sorted(path for path in FIXTURES.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if may_be_named(path.name.encode()):
            for content in [data] if len(data) > 1024 * 1024 else altered(data, rng):
                passed[known(path.name, {path.name: b""}, content)] += 1
    assert len(passed.keys() - {""}) >= 7, passed


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]", "2026-01-01 log line", '{"a": 1}', "12,5;x", "<a><b>1</b></a>", "2026-01-01 12:00:00 INFO started",
        "2026-01-01T12:00:00Z up", "1.5.2024;3,50", '[{"id": 1, "date": "2024"}]', '{"messages": {"hi": "x"}}',
        '{"name": "x", "version": "1.0.0"}', '{"version": 3, "sources": []}', "<?xml?><!-- calls --><svg/>",
        "#!/bin/sh", "plain words", "\ufeff<project><smsesx/></project>", "[section]", "<" * 300, "[" * 300, "1" * 300,
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_ordinary_small_files_are_told_without_a_reader(text: str, encoding: str) -> None:
    content = ((text + "\n") * (300 // len(text) + 1)).encode(encoding)
    for name in (b"a.txt", b"b.json", b"c.xml", b"d.csv", b"e"):
        assert not may_hold_messages(name, content)


@pytest.mark.parametrize(
    "part",
    [
        b"[",
        b"<!--",
        b'[{"version":',
        b'{"version":[',
        b'{"messages""date"type',
        b"1-1-1",
        b"1:",
        "[\u200e".encode(),
        b"<\0",
    ],
)
@pytest.mark.parametrize("first", [b"", b"<", b"1-1-1", b'{"version":', b"{", b"<a><!-- x -->"])
def test_the_time_to_look_at_a_beginning_grows_with_its_length_and_no_faster(first: bytes, part: bytes) -> None:
    """Sixteen times the bytes take sixteen times as long, or little more; squared it would be 256 times."""

    def spent(length: int) -> float:
        content = first + part * (length // len(part))
        times = []
        for _ in range(7):
            start = time.process_time()
            may_hold_messages(b"a.json", content)
            times.append(time.process_time() - start)
        return min(times)

    assert spent(16 * HEAD) < 64 * max(spent(HEAD), 20e-6)
