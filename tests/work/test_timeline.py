"""A timeline tells what each snapshot brought, changed and no longer had, and adds up to what the snapshots show."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from pathlib import Path

import msgspec
import pytest
from benchmarks.phone import Habits, Phone

import keepstone
from keepstone.messages.model import Message
from keepstone.work.archive import Origin
from keepstone.work.take_messages import Showing
from keepstone.work.timeline import by_day
from messages.chats import items, messages
from support import Place, report

PHONE, OLD = Origin("phone", "whatsapp"), Origin("old phone", "ios")
HABITS = Habits(seed=11, size=300_000, media=0, parts=(), least=60, most=90)


def some() -> list[Message]:
    return list(messages(1, 20, chats=1, days=9))


def told(place: Place, *days: list[Message], origin: Origin = PHONE) -> list[keepstone.Moment]:
    with place.open() as client:
        for shown in days:
            client.take_messages([Showing(origin, list(items(shown)))])
        (chat,) = client.messages().chats()
        return client.timeline(chat)


def kinds(moments: list[keepstone.Moment]) -> list[dict[str, int]]:
    return [moment.counts() for moment in moments]


def test_a_timeline_tells_what_was_added_edited_deleted_and_gone(tmp_path: Path) -> None:
    found = some()
    edited = msgspec.structs.replace(found[3], text="another text")
    revoked = msgspec.structs.replace(found[4], kind="deleted", text="")
    second = [*found[1:3], edited, revoked, *found[5:15]]
    place = Place(tmp_path).init()
    moments = told(place, found[:10], second, found[:15])
    assert kinds(moments)[:2] == [{"added": 10}, {"added": 5, "edited": 1, "deleted": 1, "gone": 1}]
    (edit,) = [change for change in moments[1].changes if change.kind == "edited"]
    assert (edit.before, edit.after) == (found[3].text, "another text")
    assert moments[2].counts()["back"] == 1
    with place.open() as client:
        assert [moment.snapshots for moment in moments] == [(one.id.hex(),) for one in client.snapshots()]


def test_what_another_phone_still_has_is_not_gone(tmp_path: Path) -> None:
    found = some()
    place = Place(tmp_path).init()
    told(place, found, origin=OLD)
    moments = told(place, found, found[5:])
    assert kinds(moments) == [{"added": 20}]


def test_a_day_is_the_sum_of_its_snapshots(tmp_path: Path) -> None:
    found = some()
    moments = told(Place(tmp_path).init(), *(found[:n] for n in range(5, 15, 3)))
    days = by_day(moments, UTC)
    whole: Counter[str] = Counter()
    for moment in moments:
        whole.update(moment.counts())
    assert sum((Counter(day.counts()) for day in days), Counter()) == whole == {"added": 14}
    assert len(days) <= len(moments)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A phone that was backed up on each of several days with late edits and deletions."""
    base = tmp_path_factory.mktemp("timeline")
    report(f"seed {HABITS.seed}")
    phone, place = Phone(base / "phone", HABITS), Place(base).init()
    for _ in range(4):
        phone.live()
        place.backup([phone.folder])
    return place


def test_the_timeline_of_a_phone_adds_up_to_what_its_snapshots_show(lived: Place) -> None:
    with lived.open(in_memory=True) as client:
        everything: Counter[str] = Counter()
        for chat in client.messages().chats():
            moments = {name: moment for moment in client.timeline(chat) for name in moment.snapshots}
            there: set[bytes] = set()
            for snapshot in client.snapshots():
                changes = moments[snapshot.id.hex()].changes if snapshot.id.hex() in moments else ()
                there |= {c.shown.message.identity for c in changes if c.kind in ("added", "back")}
                there -= {c.shown.message.identity for c in changes if c.kind == "gone"}
                everything.update(change.kind for change in changes)
                archive = client.messages(snapshot)
                seen = [one for one in archive.chats() if set(one.ids) & set(chat.ids)]
                assert there == {s.message.identity for one in seen for s in archive.messages(one)}
        assert min(everything[kind] for kind in ("added", "edited", "gone")) > 0
