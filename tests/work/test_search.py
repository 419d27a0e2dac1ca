"""Search finds what going through all messages finds, whatever the texts, and shows the best first."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keepstone.errors import Unsupported
from keepstone.messages import blocks
from keepstone.messages.blocks import SEPARATOR
from keepstone.messages.model import Message
from keepstone.work import folding
from keepstone.work.folding import fold, fold_all
from keepstone.work.search import Page, Within, spans, terms_of
from messages.chats import items
from support import Place
from work.test_messages import PHONE, some, take

PIECES = (
    "a", "B", "e", "\u0301", "\u00e9", "\u00c9", "ß", "ẞ", "ss", "İ", "i", "ı", "\u0307", "ſ", "K", "ﬁ", "Σ", "ς",
    "д", "Д", "我", "们", "天", "\u0e17", "\u0e35\u0e48", "\u0643", "\u064e", "\u0651", "\u0640", "\u0915", "\u093f",
    "\u093c", "\u1100", "\u1161", "\uac00", "\u2764", "\ufe0f", "\u200d", "\U0001f468", " ", "\0", "\n", "'", "0",
)  # fmt: skip
LETTERS = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=8).map("".join)


def naive(found: list[Message], query: str) -> set[bytes]:
    """Go through all messages."""
    terms = terms_of(query)
    return {m.identity for m in found if terms and all(term in fold(m.text) for term in terms)}


def with_texts(texts: list[str]) -> list[Message]:
    return [
        msgspec.structs.replace(m, text=text, attachments=(), kind="text")
        for m, text in zip(some(len(texts)), texts, strict=True)
    ]


@given(st.lists(LETTERS, min_size=1, max_size=6))
@example(["e", "\u0301"])
@example(["\u1100", "\u1161"])
@example(["e\ufe0f\u0301"])
def test_texts_folded_at_once_are_those_folded_one_by_one(texts: list[str]) -> None:
    joined = SEPARATOR.join(text.encode() for text in texts)
    assert fold_all(joined) == SEPARATOR.join(fold(text).encode() for text in texts)


@given(LETTERS)
def test_how_letters_are_composed_makes_no_difference(text: str) -> None:
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))


def test_only_what_depends_on_its_neighbours_is_folded_with_them() -> None:
    """The fast way is taken for what people write most, or it would be no faster."""
    for text in ("straße", "Über", "дом", "明天", "❤️", "السلام", "नमस"):
        assert all(folding._folded(char) is not None for char in text.lower()), text


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("İstanbul", "istanbul"), ("istanbul", "İSTANBUL"), ("die STRASSE", "straße"), ("❤️", "❤"), ("❤", "❤️"),
        ("cafe\u0301", "CAFÉ"), ("السَّلَامُ", "السلام"), ("سلـــام", "سلام"), ("我们明天去海边", "明天"),
        ("สวัสดีครับ", "สวัสดี"), ("שָׁלוֹם", "שלום"), ("\u202eabc\u202c", "abc"), ("ΟΔΟΣ", "οδος"),
        ("ıspanak", "ISPANAK"), ("to the\nbeach", '"the beach"'), ("bis\u00a0bald\tdann", '"bis bald dann"'),
    ],
)  # fmt: skip
def test_one_word_is_found_however_it_is_written(text: str, query: str) -> None:
    assert all(term in fold(text) for term in terms_of(query))
    assert fold_all(text.encode()) == fold(text).encode()


@given(LETTERS, LETTERS)
@example("Straße", "ss")
@example("e\u0301", "e")
def test_marks_stand_where_the_terms_are(text: str, query: str) -> None:
    last = 0
    for begin, end in spans(text, query):
        assert last <= begin < end <= len(text)
        last = end
    assert bool(spans(text, query)) or not any(term in fold(text) for term in terms_of(query))


def test_marks_are_those_of_the_text_as_it_was_written() -> None:
    assert spans("Die Strasse, die STRAẞE", "straße") == [(4, 11), (17, 23)]
    assert spans("un CAFE\u0301.", "café") == [(3, 8)]


@given(
    texts=st.lists(LETTERS, min_size=1, max_size=12),
    query=st.lists(LETTERS, min_size=1, max_size=2).map(" ".join),
    limit=st.integers(1, 5),
    ranked=st.integers(1, 6),
    counted=st.integers(1, 12),
    split=st.sampled_from([200, 1 << 18]),
)
def test_search_is_equal_to_going_through_all_messages(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    query: str,
    limit: int,
    ranked: int,
    counted: int,
    split: int,
) -> None:
    found = with_texts(texts)
    place = Place(tmp_path_factory.mktemp("place")).init()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keepstone.messages.splitting.SPLIT_ABOVE", split)
        patch.setattr("keepstone.work.search.RANKED", ranked)
        patch.setattr("keepstone.work.search.COUNTED", counted)
        take(place, (PHONE, items(found)))
        with place.open() as client:
            everything = client.messages().search(query)
            page = client.messages().search(query, limit)
    expected = naive(found, query)
    assert {hit.identity for hit in everything} == expected
    assert (everything.total, everything.is_whole) == (len(expected), True)
    assert page.total == len(expected) if page.is_whole else counted <= page.total <= len(expected)
    assert page.hits == everything.hits[:limit]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).init()


def only(message: Message) -> Within:
    return Within(holds=lambda hit: hit.identity == message.identity)


def test_the_best_come_first_then_the_newest(place: Place) -> None:
    texts = [
        "the blue sea", "sea and far away from it, much later, blue", "seas are bluer", "sea blue",
        "seaside, and a long way from there, blueish",
    ]  # fmt: skip
    found = with_texts(texts)
    take(place, (PHONE, items(found)))
    with place.open() as client:
        archive = client.messages()
        hits = archive.search("blue sea")
        assert [texts.index(archive.shown(hit).message.text) for hit in hits] == [3, 0, 1, 2, 4]


def test_a_search_is_within_chats_and_days_and_what_else_is_asked(place: Place) -> None:
    found = with_texts(["sea"] * 20)
    take(place, (PHONE, items(found)))
    with place.open() as client:
        archive = client.messages()

        def identities(within: Within) -> Page:
            return archive.search("sea", 3, within)

        chat = archive.chats()[0]
        assert identities(Within(frozenset(chat.ids))).total == len(archive.messages(chat))
        late = found[15].time_ms
        assert identities(Within(from_ms=late)).total == sum(m.time_ms >= late for m in found)
        assert identities(Within(to_ms=late)).total == sum(m.time_ms < late for m in found)
        assert identities(only(found[3])).total == 1


def test_a_snapshot_is_searched_for_what_was_there(place: Place) -> None:
    found = with_texts(["sea"] * 10)
    for shown in (found[:6], found[4:]):
        take(place, (PHONE, items(shown)))
    with place.open() as client:
        totals = [client.messages(snapshot).search("sea").total for snapshot in client.snapshots()]
        assert (totals, client.messages().search("sea").total) == ([6, 6], 10)


def test_what_was_found_is_shown_between_its_neighbours(place: Place) -> None:
    found = [
        msgspec.structs.replace(m, chat=some(1)[0].chat, service=some(1)[0].service, time_ms=1_700_000_000_000 + n)
        for n, m in enumerate(with_texts([f"number {n}" for n in range(5)]))
    ]
    take(place, (PHONE, items(found)))
    with place.open() as client:
        archive = client.messages()
        for number, message in enumerate(found):
            (hit,) = archive.search(f'"{message.text}"', within=only(message))
            before, after = archive.around(hit)
            assert (before and before.message.text) == (found[number - 1].text if number else None)
            assert (after and after.message.text) == (found[number + 1].text if number + 1 < len(found) else None)


@given(st.binary(max_size=40))
def test_columns_that_do_not_fit_each_other_are_unsupported(noise: bytes) -> None:
    data = msgspec.msgpack.encode((1, 0, noise, noise, noise, [(b"c" * 16, 2)], noise))
    for read in (blocks.columns_of, blocks.decode):
        with pytest.raises(Unsupported):
            read(data, "a block")


def test_characters_that_are_called_common_stay_as_they_are() -> None:
    common = folding._COMMON.findall("".join(map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x20000)))))
    assert all(folding._folded(char) == char for part in common for char in part)
