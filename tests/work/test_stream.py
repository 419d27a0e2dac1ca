"""A chat that comes one message at a time is the chat that is read as a whole, and takes little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from keepstone.messages.model import Item, Message
from keepstone.messages.resolve import Chat, Shown
from keepstone.work.archive import Origin
from keepstone.work.messages import Messages
from keepstone.work.overview import of_messages
from keepstone.work.take_messages import Showing
from messages.chats import START_MS, items, messages
from support import Place, child_environment, report

PHONE, OLD = Origin("phone", "whatsapp"), Origin("old phone", "ios")
SHIFTS = (0, 0, 0, 1, 999, 1_000, 1_999, 2_001, 59_000, 86_400_000, 40 * 86_400_000, -900 * 86_400_000)
"""Milliseconds by which another source tells another time."""


def another(rng: random.Random, found: list[Message]) -> list[Message]:
    """Return what another source says of some messages: other times, texts, states."""
    said = []
    for one in found:
        if rng.random() < 0.5:
            text = one.text + " (edited)" * (rng.random() < 0.2)
            shift = rng.choice(SHIFTS)
            said.append(msgspec.structs.replace(one, text=text, time_ms=one.time_ms + shift, precision_ms=1_000))
    return said


def odd(found: list[Message]) -> list[Message]:
    """Return messages with times that no calendar has, of before 1970, and many of one minute."""
    minute = [START_MS + 9_000 * (number % 6) for number in range(60)]
    times = [-1, -(10**11), -(2**50), 2**50, 2**52, 0, 0, 0, *minute, START_MS + 1, START_MS - 1]
    return [
        msgspec.structs.replace(one, time_ms=time_ms, order=number % 3)
        for number, (one, time_ms) in enumerate(zip(found, times, strict=False))
    ]


def assert_same(archive: Messages) -> int:
    count = 0
    for chat in archive.chats():
        whole = archive.messages(chat)
        for held in (0, 5, 10**9):
            archive.held = held
            assert list(archive.stream(chat)) == whole
        assert [one.message.time_ms for one in whole] == sorted(one.message.time_ms for one in whole)
        assert_overview(archive, chat, whole)
        begin, end = whole[len(whole) // 3].message.time_ms, whole[len(whole) // 2].message.time_ms
        between = list(archive.stream(chat, begin, end))
        assert {one.message.identity for one in whole if begin <= one.message.time_ms <= end} <= {
            one.message.identity for one in between
        }
        count += len(whole)
    return count


def assert_overview(archive: Messages, chat: Chat, whole: list[Shown]) -> None:
    """Whether the counts are those of all messages, with the times that any source tells of them."""
    found, slow = archive.overview(chat), of_messages(one.message for one in whole)
    readings = of_messages(reading.message for one in whole for reading in one.readings)
    assert (found.messages, found.media_bytes) == (slow.messages, slow.media_bytes)
    assert found.messages == len(whole)
    assert found in (slow, readings)


@pytest.mark.parametrize("split", [1_000, 20_000, 256 * 1024])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stream_is_what_reading_the_whole_chat_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, split: int
) -> None:
    monkeypatch.setattr("keepstone.messages.splitting.SPLIT_ABOVE", split)
    report(f"seed {seed}")
    rng = random.Random(seed)
    found = list(messages(seed, 500, chats=3, days=200))
    others = [one for one in messages(seed + 100, 80, chats=2, days=1) if one.service == found[0].service]
    first, second = [*found[:400], *odd(others)], another(rng, found)
    place = Place(tmp_path).init()
    other = place.fresh("other")
    for computer, origin, said in ((place, PHONE, first), (place, PHONE, first[50:]), (other, OLD, second)):
        with computer.open() as client:
            shown: list[Item] = list(items(said))
            client.take_messages([Showing(origin, shown)])
    with place.open() as client:
        assert len({one.message.identity for one in client.messages().stream(client.messages().chats()[0])}) > 10
        assert assert_same(client.messages()) == len({one.identity for one in (*first, *second)})
        for snapshot in client.snapshots():
            assert_same(client.messages(snapshot))


CODE = """
import pathlib, sys
from keepstone.store import open_store
from messages.chats import conversation, messages, items
from support import Place
from work.test_stream import PHONE, Showing
folder = pathlib.Path(sys.argv[1])
place = Place(folder, open_store(str(folder / "repository"))).init()
with place.open() as client:
    client.take_messages([Showing(PHONE, items(messages(1, 1_000_000, chats=1, days=int(sys.argv[2]))))])
"""

EXPORT = """
import pathlib, resource, sys, time
import keepstone
from keepstone.store import open_store
from support import Place
folder = pathlib.Path(sys.argv[1])
place = Place(folder, open_store(str(folder / "repository")))
form, out = sys.argv[2], folder / f"out-{sys.argv[2]}"
began = time.monotonic()
with place.open() as client:
    if form == "restore":
        count = keepstone.restore_chats(client, keepstone.ChatRestoreOptions(str(out).encode(), ["Person"])).messages
    else:
        count = keepstone.export(client, keepstone.ExportOptions(out, form)).messages
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, round(time.monotonic() - began))
"""


def child(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=child_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("days", [2_000, 12])
def test_a_chat_of_a_million_messages_is_exported_in_less_than_300_mib(tmp_path: Path, days: int) -> None:
    """Measured as the peak of a process that does nothing else; the chat spans six years, or twelve days."""
    child(CODE, tmp_path, days)
    for form in ("jsonl", "txt", "html", "csv", "whatsapp-txt-zip", "restore"):
        count, peak, seconds = map(int, child(EXPORT, tmp_path, form).split())
        report(f"{days} days, {form}: {peak} MiB, {seconds} s")
        assert count == 1_000_000
        assert peak < 300
    pages = list((tmp_path / "out-html").glob("chat-*.html"))
    assert len(pages) == 100


def test_a_message_without_a_time_is_not_the_first() -> None:
    def told(*times: int) -> tuple[int | None, int | None]:
        found = of_messages(
            Message(identity=bytes([n]), service="sms", chat="a", time_ms=t) for n, t in enumerate(times)
        )
        assert found.messages == len(times)
        return found.first_ms, found.last_ms

    assert told(0, 5, 7) == (5, 7)
    assert told(0) == (None, None)
    assert told(-3, 0) == (-3, -3)
