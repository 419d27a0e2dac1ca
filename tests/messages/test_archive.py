"""The message archive: the union of all that was ever seen, and what an unchanged or a changed day costs."""

from __future__ import annotations

import random

import msgspec
import pytest

from keepstone.history.catalogue import CONTENTS
from keepstone.messages import blocks, splitting
from keepstone.messages.model import Call, Conversation, Item, Loss, Message
from keepstone.work.archive import Origin
from messages.chats import START_MS, conversation, items, messages
from messages.places import Archives, reading

PHONE, OTHER, EXPORT = Origin("phone", "whatsapp"), Origin("old phone", "ios"), Origin("chat.txt", "txt", whole=False)


def some(count: int = 300, seed: int = 1) -> list[Message]:
    return list(messages(seed, count, chats=5, days=90))


def test_an_archive_holds_every_message_of_every_source() -> None:
    archives = Archives()
    found = some()
    recipe = archives.ingest([], [reading(PHONE, 1, found[:200]), reading(OTHER, 1, found[100:])])
    assert archives.texts(recipe) == sorted(m.text for m in found)


def test_messages_come_back_as_they_were() -> None:
    archives = Archives()
    found = some()
    recipe = archives.ingest([], [reading(PHONE, 1, found)])
    names = {blocks.conversation_id(m.service, "", m.chat): (m.service, m.chat) for m in found}
    read = [
        blocks.read_message(row, *names[name], level, "a row")
        for (_, kind, name), state in archives.states(recipe).items()
        if kind == "m"
        for row, (level, _) in state.items()
    ]
    assert sorted(read, key=lambda m: m.identity) == sorted(found, key=lambda m: m.identity)


def test_an_unchanged_day_rewrites_nothing() -> None:
    archives = Archives()
    found = some()
    first = archives.ingest([], [reading(PHONE, 1, found)])
    second = archives.ingest([first], [reading(PHONE, 2, found)])
    assert archives.work.joined == archives.work.blocks_read == 0
    assert archives.layout(second) == archives.layout(first)


def test_a_day_rewrites_only_the_blocks_that_it_changes() -> None:
    archives = Archives()
    found = list(messages(1, 1000, chats=10, days=300))
    first = archives.ingest([], [reading(PHONE, 1, found[:990])])
    archives.ingest([first], [reading(PHONE, 2, found)])
    touched = {splitting.month_of(m.time_ms) for m in found[990:]}
    assert archives.work.joined == len(touched)
    assert archives.work.blocks_read <= len(touched)
    assert archives.work.rows_new == 10


def test_what_is_gone_from_a_source_stays_with_the_day_since() -> None:
    archives = Archives()
    found = some(50)
    first = archives.ingest([], [reading(PHONE, 1, found)])
    second = archives.ingest([first], [reading(PHONE, 2, found[1:])])
    assert archives.texts(second) == sorted(m.text for m in found)
    changes = [
        times for state in archives.states(second).values() for _, history in state.values() for _, times in history
    ]
    assert changes.count((1, 2)) == 1


def test_what_a_damaged_source_does_not_show_is_not_gone() -> None:
    archives = Archives()
    found = some(50)
    first = archives.ingest([], [reading(PHONE, 1, found)])
    damaged: list[Item] = [*items(found[:20]), Loss(what="The rest is cut off.")]
    second = archives.ingest([first], [(PHONE, 2, damaged)])
    assert not any(
        len(times) > 1
        for state in archives.states(second).values() for _, history in state.values() for _, times in history
    )  # fmt: skip


def test_a_further_delivery_state_replaces_the_one_before() -> None:
    archives = Archives()
    found = some(30)
    sent = [msgspec.structs.replace(m, state="sent") for m in found]
    first = archives.ingest([], [reading(PHONE, 1, sent)])
    second = archives.ingest([first], [reading(PHONE, 2, found)])
    assert archives.texts(second) == sorted(m.text for m in found)
    assert {level for key, s in archives.states(second).items() if key[1] == "m" for level, _ in s.values()} == {6}


def test_calls_and_conversations_are_kept() -> None:
    archives = Archives()
    call = Call(identity=b"i" * 16, service="phone", time_ms=START_MS, direction="in", seconds=5)
    chat = conversation(3)
    recipe = archives.ingest([], [(PHONE, 1, [chat, call])])
    states = archives.states(recipe)
    (row,) = states["", "k", blocks.conversation_id(chat.service, "", chat.key)]
    assert blocks.read_conversation(row, "a row") == chat
    (row,) = states[splitting.month_of(START_MS), "c", blocks.calls_id("phone")]
    assert blocks.read_call(row, "phone", "a row") == call


def test_contents_of_attachments_are_looked_for_until_they_are_found() -> None:
    archives = Archives()
    found = [m for m in some(400) if m.attachments]
    hashes = {m.attachments[0].sha256 for m in found}
    known: dict[bytes, bytes] = {}
    first = archives.ingest([], [reading(PHONE, 1, found)], known.get)
    known.update({sha256: b"recipe" + sha256 for sha256 in hashes})
    second = archives.ingest([first], [reading(PHONE, 2, found)], known.get)
    third = archives.ingest([second], [reading(PHONE, 3, found)])
    states = archives.states(third)
    rows = [row for (_, kind, _), state in states.items() if kind == CONTENTS for row in state]
    assert dict(blocks.read_content(row, "a row") for row in rows) == known


def test_text_that_has_no_encoding_is_kept_as_far_as_it_has() -> None:
    archives = Archives()
    one = msgspec.structs.replace(some(1)[0], text="half \ud83d!", extra={"big": 1 << 70}, attachments=())
    recipe = archives.ingest([], [(PHONE, 1, [one])])
    assert archives.texts(recipe) == ["half \ufffd!"]


def test_a_month_that_is_large_is_split_by_its_content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLIT_ABOVE", 2000)
    found = list(messages(1, 400, chats=2, days=40))
    one, two = Archives(), Archives()
    whole = one.ingest([], [reading(PHONE, 1, found)])
    first = two.ingest([], [reading(PHONE, 1, found[::2])])
    parts = two.ingest([first], [reading(OTHER, 1, found[1::2])])
    assert one.texts(whole) == two.texts(parts) == sorted(m.text for m in found)
    places = [[(month, kind, prefix, [p for p, _ in found]) for month, kind, prefix, found in place.layout(recipe)]
              for place, recipe in ((one, whole), (two, parts))]  # fmt: skip
    assert places[0] == places[1]
    assert max(len(blocks) for *_, blocks in one.layout(whole)) > 5


@pytest.mark.parametrize("seed", range(5))
def test_units_split_and_join_in_any_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLIT_ABOVE", 1500)
    check_order(random.Random(seed), chats=20)


def test_rows_at_one_time_split_by_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLIT_ABOVE", 500)
    archives = Archives()
    found = [msgspec.structs.replace(m, time_ms=5, chat="c", service="sms") for m in some(60)]
    recipe = archives.ingest([], [(PHONE, 1, [Conversation(service="sms", key="c"), *found])])
    assert archives.texts(recipe) == sorted(m.text for m in found)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_and_any_split_over_writers_gives_the_same_archive(seed: int) -> None:
    check_order(random.Random(seed))


@pytest.mark.slow
def test_any_order_and_any_split_over_writers_gives_the_same_archive_very_often() -> None:
    for seed in range(1000, 2000):
        check_order(random.Random(seed))


def check_order(rng: random.Random, chats: int = 3) -> None:
    """Give readings of several sources to several writers in two orders; the archives must be equal."""
    found = list(messages(rng.randrange(1 << 30), 40, chats=chats, days=60))
    times = rng.sample(range(1, 100), 6)
    runs = []
    for time_ms in times:
        seen = rng.sample(found, rng.randint(0, len(found)))
        if rng.random() < 0.3:
            seen = [msgspec.structs.replace(m, state="sent") for m in seen]
        runs.append(reading(rng.choice((PHONE, OTHER, EXPORT)), time_ms, seen))
    archives = Archives()
    results = []
    for _ in range(2):
        rng.shuffle(runs)
        heads: list[bytes] = [b"", b"", b""]
        for run in runs:
            writer = rng.randrange(3)
            known = [head for head in heads if head]
            known = known if rng.random() < 0.4 else [heads[writer]] if heads[writer] else []
            heads[writer] = archives.ingest(known, [run])
            if rng.random() < 0.2:
                heads[writer] = archives.ingest([heads[writer]], [run])
        results.append(archives.ingest([head for head in heads if head], []))
    first, second = results
    assert archives.states(first) == archives.states(second)
    assert archives.layout(first) == archives.layout(second)
