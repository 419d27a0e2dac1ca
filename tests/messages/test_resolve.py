"""What people see of the archive: one message for each message, from databases and exported texts alike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from keepstone.messages.merge import History
from keepstone.messages.model import Conversation, Edit, Item, Message
from keepstone.messages.resolve import Reading, Shown, chats, fold
from keepstone.messages.resolve import messages as resolve
from messages.chats import START_MS, Words, conversation, exported, message, messages
from support import report

CHAT = conversation(1)
NAMES = {"": "Me", CHAT.people[1].address: "Person 1"}
SEEN: History = ((b"source", (1,)),)
ZONES = ("Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Auckland", "UTC")


def one_chat(rng: random.Random, count: int, days: int = 400) -> list[Message]:
    """Return a chat with bursts, repeated texts, and some media."""
    words = Words(rng, 300)
    time_ms = START_MS
    found = []
    for _ in range(count):
        time_ms += rng.choice((0, 1, 700, 9_000, 40_000, 3_600_000 + rng.randrange(60_000), days * 86_400_000 // count))
        text = rng.choice(("ok", "yes", "ok")) if rng.random() < 0.3 else words.text(rng)
        found.append(message(rng, CHAT, time_ms, text))
    orders: dict[int, int] = {}
    for number, one in enumerate(found):
        found[number] = msgspec.structs.replace(one, order=orders.get(one.time_ms, 0))
        orders[one.time_ms] = orders.get(one.time_ms, 0) + 1
    return found


def read(found: Sequence[Item], history: History = SEEN) -> list[Reading]:
    return [Reading(one, history) for one in found if isinstance(one, Message)]


def identities(shown: Sequence[Shown]) -> list[bytes]:
    return [one.message.identity for one in shown]


@pytest.mark.parametrize("seed", range(10))
def test_an_exported_text_of_a_chat_adds_nothing_to_its_database(seed: int) -> None:
    rng = random.Random(seed)
    found = one_chat(rng, 300)
    zone = ZoneInfo(ZONES[seed % len(ZONES)])
    text = exported(found[rng.randrange(200) :], zone, NAMES, "Person 1", rng.choice((1000, 60_000)))
    shown = resolve(read(found), [read(text)])
    assert identities(shown) == [one.identity for one in found]


@pytest.mark.parametrize("seed", range(10))
def test_what_only_the_text_has_stands_where_it_was(seed: int) -> None:
    rng = random.Random(seed)
    found = one_chat(rng, 300)
    kept = [one for one in found if rng.random() < 0.8]
    text = exported(found, ZoneInfo("Europe/Berlin"), NAMES, "Person 1")
    shown = resolve(read(kept), [read(text)])
    assert [one.message.text for one in shown] == [one.text for one in found]
    assert {one.message.author for one in shown} == {one.author for one in found}
    assert all(abs(one.message.time_ms - was.time_ms) < 60_000 for one, was in zip(shown, found, strict=True))
    assert all(one.message.zoned for one in shown)


@pytest.mark.parametrize("seed", range(5))
def test_two_exported_texts_join_without_a_database(seed: int) -> None:
    rng = random.Random(seed)
    found = one_chat(rng, 200)
    early = exported(found[:150], ZoneInfo("Europe/Berlin"), NAMES, "Person 1")
    late = exported(found[rng.randrange(140) :], ZoneInfo("Europe/Berlin"), NAMES, "Person 1")
    elsewhere = exported(found[20:], ZoneInfo("Asia/Kathmandu"), NAMES, "Somebody")
    assert [s.message.text for s in resolve([], [read(early) + read(late)])] == [m.text for m in found]
    shown = resolve([], [read(early) + read(late), read(elsewhere)])
    assert len(shown) == len(found)


def test_one_text_with_another_database_of_the_same_chat_in_any_order() -> None:
    rng = random.Random(3)
    found = one_chat(rng, 200)
    parts = [read(found[:120]), read(found[80:])]
    text = read(exported(found[60:], ZoneInfo("Europe/Berlin"), NAMES, "Person 1"))
    first = resolve(parts[0] + parts[1], [text])
    rng.shuffle(text)
    assert resolve(parts[1] + parts[0], [text]) == first
    assert identities(first) == [one.identity for one in found]


@pytest.mark.slow
def test_ten_thousand_random_splits_of_a_chat_are_seen_as_one() -> None:
    seed = 1
    report(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(10_000):
        found = one_chat(rng, rng.randint(15, 40))
        cut, begin = rng.randint(5, len(found)), rng.randint(0, 4)
        databases = read(found[:cut]) + read(found[rng.randint(0, cut) :])
        rng.shuffle(databases)
        text = read(exported(found[begin:], ZoneInfo(rng.choice(ZONES)), NAMES, "Person 1"))
        shown = Counter(one.message.text for one in resolve(databases, [text]))
        assert shown == Counter(one.text for one in found)


def test_a_day_of_common_words_has_the_clock_of_the_days_after_it_where_that_explains_more() -> None:
    """The clocks changed between two days, and the first words after it are ones that everybody says all the time."""
    zone = ZoneInfo("Pacific/Auckland")  # On 2020-09-27 from +12 to +13.
    hour = 3_600_000
    before = int(datetime(2020, 9, 15, tzinfo=UTC).timestamp()) * 1000
    common = int(datetime(2020, 10, 6, 11, tzinfo=UTC).timestamp()) * 1000
    said = [(before, "how was the concert"), (before + hour, "ok"), (common, "ok"), (common, "ok")]
    said += [(common + hour, "ok"), (common + 480 * hour, "the tickets have come"), (common + 500 * hour, "ok")]
    said += [(common + (600 + n) * hour, "ok") for n in range(6)]
    found = [message(random.Random(n), CHAT, time_ms, text) for n, (time_ms, text) in enumerate(said)]
    found = [
        msgspec.structs.replace(m, text=t, order=n, kind="text", attachments=(), author="", direction="out")
        for n, (m, (_, t)) in enumerate(zip(found, said, strict=True))
    ]
    shown = resolve(read(found), [read(exported(found, zone, NAMES, "Person 1"))])
    assert identities(shown) == [one.identity for one in found]


def test_the_newest_text_is_shown_with_those_before_it() -> None:
    (old,) = messages(1, 1, chats=1)
    old = msgspec.structs.replace(old, text="old", attachments=(), kind="text")
    new = msgspec.structs.replace(old, text="new", edits=(Edit(text="old", time_ms=5),))
    for order in ((old, new), (new, old)):
        shown = fold(Reading(one, SEEN) for one in order)
        assert (shown.message.text, shown.message.edits) == ("new", (Edit(text="old", time_ms=5),))


def test_a_text_that_changed_without_a_word_keeps_both_texts() -> None:
    (old,) = messages(1, 1, chats=1)
    old = msgspec.structs.replace(old, text="old", attachments=(), kind="text")
    new = msgspec.structs.replace(old, text="new")
    shown = fold([Reading(old, ((b"s", (1, 5)),)), Reading(new, ((b"s", (5,)),))])
    assert (shown.message.text, shown.message.edits) == ("new", (Edit(text="old"),))
    assert not shown.gone()


def test_a_deleted_message_keeps_its_content_and_says_so() -> None:
    (one,) = messages(1, 1, chats=1)
    deleted = msgspec.structs.replace(one, text="", kind="deleted", attachments=())
    shown = fold([Reading(one, ((b"s", (1, 5)),)), Reading(deleted, ((b"s", (5,)),))])
    assert shown.message.text == one.text
    assert shown.deleted
    assert shown.gone_since is None


def test_a_text_says_what_a_database_shows_as_deleted() -> None:
    found = one_chat(random.Random(5), 60)
    lost = next(m for m in found[20:] if len(m.text) > 20)
    database = [msgspec.structs.replace(m, text="", kind="deleted", attachments=()) if m is lost else m for m in found]
    shown = resolve(read(database), [read(exported(found, ZoneInfo("UTC"), NAMES, "Person 1"))])
    assert identities(shown) == [one.identity for one in found]
    assert [one.message.text for one in shown if one.deleted] == [lost.text]


def test_a_message_that_no_source_has_any_longer_says_since_when() -> None:
    (one,) = messages(1, 1, chats=1)
    shown = fold([Reading(one, ((b"a", (1, 5)), (b"b", (2, 9))))])
    assert shown.gone() == {b"a": 5, b"b": 9}
    assert shown.gone_since == 9
    assert not fold([Reading(one, ((b"a", (1, 5)), (b"b", (2,))))]).gone_since
    assert [shown.there(time_ms) for time_ms in (0, 1, 8, 9)] == [False, True, True, False]


def test_a_chat_is_one_in_all_formats() -> None:
    android = Conversation(service="whatsapp", account="49171", key="a@s", title="Anna", kind="person")
    ios = Conversation(service="whatsapp", key="a@s", people=CHAT.people[:1])
    text = Conversation(service="whatsapp", key="~Anna", title="Anna")
    other = Conversation(service="signal", key="a@s", title="Anna")
    told = {str(n).encode(): [(one, SEEN)] for n, one in enumerate((android, ios, text, other))}
    assert [(c.conversation.title, c.ids, c.exported) for c in chats(told)] == [
        ("Anna", (b"3",), ()), ("Anna", (b"0", b"1"), (b"2",)),
    ]  # fmt: skip


def test_two_accounts_of_the_owner_are_two_chats() -> None:
    told = {
        account.encode(): [(Conversation(service="whatsapp", account=account, key="a@s"), SEEN)] for account in "12"
    }
    assert [chat.ids for chat in chats(told)] == [(b"1",), (b"2",)]
