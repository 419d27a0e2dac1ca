"""Nothing that happens to the sources makes the archive drop a message, whose only copy may be there.

Random days of a few phones: messages are deleted, whole chats forgotten, sources damaged, readers fail midway, runs are
cut off before they are published, sources come back older than they were, and the local index is lost and rebuilt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import keepstone
from keepstone.messages import splitting
from keepstone.messages.model import Item, Loss, Message
from keepstone.work.archive import Origin
from keepstone.work.take_messages import Showing
from messages.chats import items, messages
from support import Place, report

ORIGINS = (Origin("phone", "whatsapp"), Origin("old phone", "ios"), Origin("a.json", "json", whole=False))
DAYS = 8


class Cut(Exception):
    """A reader that fails, and with it its run."""


class Life:
    """Sources that lose things, and what an archive must hold of them."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        self.place, self.rng = place, rng
        self.all = list(messages(rng.randrange(1 << 30), 60, chats=4, days=70))
        self.held: dict[str, list[Message]] = {origin.name: [] for origin in ORIGINS}
        self.seen: set[bytes] = set()

    def day(self) -> None:
        """Let a day pass and back it up."""
        for origin in ORIGINS:
            self.change(origin.name)
        chosen = self.rng.sample(ORIGINS, self.rng.randint(1, len(ORIGINS)))
        cut = self.rng.random() < 0.2
        shown = {origin: self.reading(origin) for origin in chosen}
        with self.place.open(in_memory=self.rng.random() < 0.3) as client:
            showings = [Showing(origin, self.broken(found) if cut else found) for origin, found in shown.items()]
            if cut:
                with pytest.raises(Cut):
                    client.take_messages(showings)
            else:
                client.take_messages(showings)
                self.seen |= {one.identity for found in shown.values() for one in found if isinstance(one, Message)}
            if self.rng.random() < 0.2:
                client.rebuild_index()

    def change(self, name: str) -> None:
        held, rng = self.held[name], self.rng
        what = rng.choice(("more", "more", "deletions", "forgotten chat", "empty", "older", "nothing"))
        if what == "more":
            held += rng.sample(self.all, 15)
        elif what == "deletions":
            held[:] = [one for one in held if rng.random() < 0.6]
        elif what == "forgotten chat" and held:
            chat = rng.choice(held).chat
            held[:] = [one for one in held if one.chat != chat]
        elif what == "empty":
            held.clear()
        elif what == "older":
            held[:] = sorted(held, key=lambda one: one.time_ms)[: len(held) // 2]

    def reading(self, origin: Origin) -> list[Item]:
        """Return what a source shows; a damaged one shows its beginning, and says so."""
        found = list(items(list({one.identity: one for one in self.held[origin.name]}.values())))
        if self.rng.random() < 0.2:
            return [*found[: self.rng.randint(0, len(found))], Loss(what="The rest is cut off.")]
        return found

    def broken(self, found: list[Item]) -> Iterator[Item]:
        yield from found[: self.rng.randint(0, len(found))]
        raise Cut

    def check(self, client: keepstone.Client) -> None:
        archive = client.messages()
        shown = {one.message.identity for chat in archive.chats() for one in archive.messages(chat)}
        assert shown == self.seen


def live(folder: Path, seed: int, days: int = DAYS) -> None:
    report(f"seed {seed}")
    life = Life(Place(folder).init(), random.Random(seed))
    for _ in range(days):
        life.day()
        with life.place.open(in_memory=True) as client:
            life.check(client)


@pytest.mark.parametrize("seed", range(6))
def test_no_message_is_ever_dropped(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLIT_ABOVE", 3_000)
    live(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("split", [1_000, splitting.SPLIT_ABOVE])
def test_no_message_is_dropped_in_many_lives(tmp_path: Path, split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLIT_ABOVE", split)
    for seed in range(100, 140):
        live(tmp_path / str(seed), seed, 15)
