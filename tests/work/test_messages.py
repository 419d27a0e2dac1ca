"""Messages in a repository: taken in, read again as a whole and as of a snapshot, searched; from several computers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from keepstone.messages.model import Call, Item, Message
from keepstone.work.archive import Origin
from keepstone.work.search import Search
from keepstone.work.take_messages import Showing
from messages.chats import conversation, exported, items, messages
from support import Place, child_environment, report

PHONE, OLD, EXPORT = Origin("phone", "whatsapp"), Origin("old phone", "ios"), Origin("a.txt", "txt", whole=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).init()


def take(place: Place, *shown: tuple[Origin, Iterable[Item]]) -> None:
    with place.open() as client:
        client.take_messages([Showing(origin, list(found)) for origin, found in shown])


def texts(place: Place, snapshot: str = "") -> list[str]:
    with place.open() as client:
        found = client.messages(client.snapshot(snapshot) if snapshot else None)
        return sorted(one.message.text for chat in found.chats() for one in found.messages(chat))


def some(count: int = 300) -> list[Message]:
    return list(messages(1, count, chats=5, days=90))


def all_texts(found: Sequence[Message]) -> list[str]:
    return sorted(one.text for one in found)


def test_chats_and_their_messages_come_back_in_the_order_of_time(place: Place) -> None:
    found = some()
    take(place, (PHONE, items(found)))
    with place.open() as client:
        archive = client.messages()
        for chat in archive.chats():
            shown = archive.messages(chat)
            assert [one.message for one in shown] == [m for m in found if m.chat == chat.conversation.key]


def test_a_snapshot_shows_what_was_there_and_the_archive_what_ever_was(place: Place) -> None:
    found = some()
    for shown in (found[:200], found[100:]):
        take(place, (PHONE, items(shown)))
    with place.open() as client:
        first, second = (snapshot.id.hex() for snapshot in client.snapshots())
    assert texts(place, first) == all_texts(found[:200])
    assert texts(place, second) == all_texts(found[100:])
    assert texts(place) == all_texts(found)
    with place.open() as client:
        archive = client.messages()
        gone = [s for chat in archive.chats() for s in archive.messages(chat) if s.gone_since]
        assert all_texts([s.message for s in gone]) == all_texts(found[:100])
        assert {s.gone_since for s in gone} == {client.snapshot(second).body.time_ns // 1_000_000}


def test_two_computers_that_do_not_know_each_other_make_one_archive(place: Place) -> None:
    found = some()
    other = place.fresh("other")
    take(place, (PHONE, items(found[:150])))
    take(other, (OLD, items(found[100:])))
    assert texts(place) == texts(other) == all_texts(found)
    take(place, (PHONE, items(found[:150])))
    assert texts(place) == all_texts(found)
    with place.open() as client:
        assert [hit.time_ms for hit in client.messages().search(found[120].text)].count(found[120].time_ms) == 1


def test_a_database_and_an_exported_text_are_one_chat(place: Place) -> None:
    found = [m for m in some(600) if m.chat == conversation(1).key]
    names = {"": "Me", conversation(1).people[1].address: "Person 1"}
    take(place, (EXPORT, exported(found[:60], ZoneInfo("Europe/Berlin"), names, "Person 1")))
    take(place, (PHONE, items(found[30:])))
    with place.open() as client:
        (chat,) = client.messages().chats()
        assert [one.message.text for one in client.messages().messages(chat)] == [m.text for m in found]


def test_search_finds_words_and_phrases_in_any_script_whatever_their_case(place: Place) -> None:
    texts_of_all_scripts = (
        "Straße nach Süden", "die STRASSE", "дом у МОРЯ", "我们明天去海边", "cafe\u0301", "zero\0byte sea", "sea zero",
        "",
    )  # fmt: skip
    found = [
        msgspec.structs.replace(m, text=text, attachments=(), kind="text")
        for m, text in zip(some(8), texts_of_all_scripts, strict=True)
    ]  # fmt: skip
    take(place, (PHONE, items(found)))
    expected = {
        "strasse": {0, 1}, "STRASSE süden": {0}, '"nach süden"': {0}, '"süden nach"': set(), "моря": {2}, "明天": {3},
        "caf\u00e9": {4}, "sea zero": {5, 6}, '"sea zero"': {6}, "": set(), '"': set(), "\0": set(), "it's": set(),
    }  # fmt: skip
    with place.open() as client:
        archive = client.messages()
        for text, numbers in expected.items():
            hits = list(archive.search(text))
            assert {found.index(archive.shown(hit).message) for hit in hits} == numbers, text
            assert [hit.time_ms for hit in hits] == sorted((hit.time_ms for hit in hits), reverse=True)


def test_search_finds_what_going_through_all_messages_finds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = some(500)
    take(place, (PHONE, items(found)))
    rng = random.Random(4)
    with place.open() as client:
        for held in (1 << 30, 0):
            monkeypatch.setattr("keepstone.work.search.HELD_BYTES", held)
            archive = client.messages()
            for _ in range(20):
                word = rng.choice(rng.choice([m.text for m in found if m.text]).split())
                hits = {hit.identity for hit in archive.search(word)}
                assert hits == {m.identity for m in found if word.casefold() in m.text.casefold()}
    assert Search({}, place.store) is not None  # type: ignore[arg-type]  # nothing is read of no catalogue


def test_calls_come_back_once_however_often_they_were_read(place: Place) -> None:
    calls = [Call(identity=bytes([n]) * 16, service="phone", time_ms=n, direction="in") for n in range(5)]
    take(place, (PHONE, calls[:3]))
    take(place, (PHONE, [msgspec.structs.replace(call, seconds=7) for call in calls]))
    with place.open() as client:
        assert [(call.time_ms, call.seconds) for call in client.messages().calls()] == [(n, 7) for n in range(5)]


def test_no_message_is_on_the_disk_in_plaintext(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstone.work.spool.Spool.__init__.__defaults__", (20_000,))
    place = Place(tmp_path).init()
    secret = "a text that stands nowhere"
    found = [msgspec.structs.replace(m, text=secret) for m in some(400)]
    seen: list[bytes] = []
    pread = os.pread

    def noting(handle: int, length: int, at: int) -> bytes:
        seen.append(pread(handle, length, at))
        return seen[-1]

    monkeypatch.setattr("os.pread", noting)
    take(place, (PHONE, items(found)))
    assert sum(map(len, seen)) > 1000, "nothing was spilled"
    assert texts(place) == [secret] * 400
    stored = [place.store.get(name) for name, _ in place.store.list("")]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in data for data in (*seen, *stored, *files))


def test_check_tells_when_messages_are_lost(place: Place) -> None:
    take(place, (PHONE, items(some())))
    with place.open() as client:
        assert client.check(read_data=1.0).healthy
    packs = [name for name, _ in place.store.list("packs")]
    place.store.delete(packs[0])
    with place.fresh("other").open() as client:
        checked = client.check()
    assert not checked.healthy
    assert [file.path for file in checked.affected][-1:] == [b"messages"]


@pytest.mark.slow
def test_a_million_messages_take_less_than_300_mib(tmp_path: Path) -> None:
    """Measured as the peak of a process that does nothing else."""
    code = (
        "import resource, sys, pathlib\n"
        "from keepstone.store import open_store\n"
        "from messages.chats import messages, items\n"
        "from support import Place, child_environment, report\n"
        "from work.test_messages import PHONE, Showing\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "place = Place(folder, open_store(str(folder / 'repository'))).init()\n"
        "with place.open() as client:\n"
        "    found = items(messages(1, 1_000_000, chats=200, days=2000))\n"
        "    done = client.take_messages([Showing(PHONE, found)])\n"
        "print(done.taken[0].messages, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=child_environment(), capture_output=True, text=True, check=True
    )
    count, peak = map(int, child.stdout.split())
    report(f"{peak} MiB")
    assert count == 1_000_000
    assert peak < 300
