"""Exports of chat services: every text arrives as it was written, and damage costs the damaged messages alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.messages.model import Conversation, Loss, Message
from keepstone.sources import discord, meta, slack, telegram
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader, UnreadableSource
from sources import chats
from support import report

Builder = Callable[..., dict[str, bytes]]
READERS: list[tuple[Reader, Builder]] = [
    (telegram, chats.telegram), (meta, chats.meta), (discord, chats.discord), (slack, chats.slack),
]  # fmt: skip
EACH = pytest.mark.parametrize(("reader", "write"), READERS, ids=[reader.NAME for reader, _ in READERS])


def largest(files: dict[str, bytes]) -> str:
    return max(files, key=lambda name: len(files[name]))


@EACH
@settings(max_examples=40)
@given(texts=st.lists(st.text(), min_size=1, max_size=8), indent=st.sampled_from([None, 1, 4]))
def test_texts_arrive_as_they_were_written(
    reader: Reader, write: Builder, texts: list[str], indent: int | None
) -> None:
    found = chats.messages(chats.read(reader, write(tuple(texts), indent)))
    assert [message.text for message in found] == (texts[::-1] if reader is meta else texts)
    assert len({message.identity for message in found}) == len(texts)


@EACH
def test_a_conversation_comes_before_its_messages(reader: Reader, write: Builder) -> None:
    items = chats.read(reader, write())
    assert isinstance(items[0], Conversation)
    assert {item.chat for item in items if isinstance(item, Message)} == {items[0].key}


@EACH
def test_the_same_records_come_from_another_place_and_layout(reader: Reader, write: Builder) -> None:
    files = write()
    moved = {f"elsewhere/{name}": content for name, content in write(indent=None).items()}
    assert chats.read(reader, files) == chats.read(reader, moved)


@EACH
def test_of_a_file_cut_at_any_byte_every_complete_message_is_read(reader: Reader, write: Builder) -> None:
    files = write(indent=None)
    whole, name = chats.read(reader, files), largest(files)
    everything = [item for item in whole if isinstance(item, Message)]
    for cut in range(len(files[name])):
        folder = MemoryFolder({**files, name: files[name][:cut]})
        first = next((n for n in sorted(files) if reader.recognises(n, files[n][:HEAD], folder)), name)
        try:
            items = list(reader.read(first, folder, Options()))
        except UnreadableSource:
            continue
        found = [item for item in items if isinstance(item, Message)]
        complete = everything[: len(found)]
        assert [message.text for message in found] == [message.text for message in complete], cut
        assert any(isinstance(item, Loss) for item in items), cut


@EACH
def test_damage_anywhere_is_survived(reader: Reader, write: Builder) -> None:
    seed = random.randrange(2**32)
    report(f"seed {seed}")
    rng = random.Random(seed)
    files = write(chats.TEXTS * 4)
    name = largest(files)
    total = len([item for item in chats.read(reader, files) if isinstance(item, Message)])
    for _ in range(100):
        data = bytearray(files[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        folder = MemoryFolder({**files, name: bytes(data)})
        try:
            known = sorted(files)[-1] if reader is slack else name
            found = list(reader.read(known, folder, Options()))
        except UnreadableSource:
            continue
        kept = len([item for item in found if isinstance(item, Message)])
        assert kept >= total - 2 or any(isinstance(item, Loss) for item in found)


@EACH
@pytest.mark.parametrize(
    "wrong",
    [
        None, True, 2**70, -1, 1e300, "9" * 400, [], [[[[]]]], {}, {"a": {"b": 1}}, "2022-13-45T99:99:99", "\x00",
        [None, {"text": None}, {"id": []}, 5],
    ],
    ids=repr,
)  # fmt: skip
def test_values_of_another_kind_are_no_failure(reader: Reader, write: Builder, wrong: object) -> None:
    def spoiled(value: object, key: str) -> object:
        if isinstance(value, dict):
            return {k: (wrong if k == key else spoiled(v, key)) for k, v in value.items()}
        return [spoiled(v, key) for v in value] if isinstance(value, list) else value

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(keys(v) for v in value.values()))
        return set().union(*(keys(v) for v in value)) if isinstance(value, list) else set()

    files = write()
    known = next(n for n in sorted(files) if reader.recognises(n, files[n][:HEAD], MemoryFolder(files)))
    for name in files:
        tree = json.loads(files[name])
        for key in keys(tree):
            folder = MemoryFolder({**files, name: chats.dump(spoiled(tree, key))})
            try:
                list(reader.read(known, folder, Options()))
            except UnreadableSource:
                pass


@pytest.mark.parametrize(("reader", "other"), [(a, b) for a, own in READERS for _, b in READERS if b is not own])
def test_no_reader_takes_the_file_of_another(reader: Reader, other: Builder) -> None:
    files = other()
    folder = MemoryFolder(files)
    assert not [name for name in files if reader.recognises(name, files[name][:HEAD], folder)]
