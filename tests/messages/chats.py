"""Seeded chats: Zipf text in several scripts, several services, two phones, exported text of the same chat."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import accumulate

from keepstone.messages.identity import identity
from keepstone.messages.model import Attachment, Conversation, Item, Message, Person, Service, State

DAY_MS = 86_400_000
START_MS = 1_600_000_000_000
_ALPHABETS = ("abcdefghijklmnopqrstuvwxyz", "abcdeilmnorstuäöüß", "абвгдеиклмнопрстуя", "अआइकखगतनपबमरलस")


class Words:
    """A language: words of which few are common, as in any text (Zipf)."""

    def __init__(self, rng: random.Random, vocabulary: int = 20_000) -> None:
        self._words = []
        for rank in range(vocabulary):
            letters = _ALPHABETS[0 if rank % 4 else rng.randrange(len(_ALPHABETS))]
            self._words.append("".join(rng.choices(letters, k=rng.randint(2, 3 + min(9, rank // 200 + 2)))))
        self._weights = list(accumulate(1 / (rank + 2) for rank in range(vocabulary)))

    def word(self, rank: int) -> str:
        return self._words[rank]

    def text(self, rng: random.Random) -> str:
        length = min(60, 1 + int(rng.expovariate(1 / 8)))
        return " ".join(rng.choices(self._words, cum_weights=self._weights, k=length))


def conversation(number: int, service: Service = "whatsapp") -> Conversation:
    people = (Person(address="49171000000", name="Me"), Person(address=f"4917{number:08}", name=f"Person {number}"))
    return Conversation(
        service=service, key=f"4917{number:08}@s.whatsapp.net", kind="person", title=f"Person {number}", people=people
    )


def messages(
    seed: int, count: int, *, chats: int = 40, days: int = 730, start_ms: int = START_MS, words: Words | None = None
) -> Iterator[Message]:
    """Yield messages in the order of time, over chats of which few are busy."""
    rng = random.Random(seed)
    language = words or Words(random.Random(7))
    names = [conversation(n, "whatsapp" if n % 5 else "signal") for n in range(chats)]
    weights = list(accumulate(1 / (n + 1) for n in range(chats)))
    for number in range(count):
        chat = rng.choices(names, cum_weights=weights)[0]
        time_ms = start_ms + number * days * DAY_MS // count + rng.randrange(1000)
        yield message(rng, chat, time_ms, language.text(rng))


def message(rng: random.Random, chat: Conversation, time_ms: int, text: str, state: State = "read") -> Message:
    """Return one message, now and then with an attachment."""
    out = rng.random() < 0.5
    native = f"3EB0{rng.getrandbits(72):018X}"
    attachments: tuple[Attachment, ...] = ()
    if rng.random() < 0.04:
        attachments = (
            Attachment(
                sha256=rng.randbytes(32), size=rng.randrange(1 << 20), mime="image/jpeg", name=f"IMG-{time_ms}.jpg"
            ),
        )
    return Message(
        identity=identity("whatsapp", chat.key, int(out), native),
        service=chat.service,
        chat=chat.key,
        native=native,
        time_ms=time_ms,
        author="" if out else chat.people[1].address,
        direction="out" if out else "in",
        kind="image" if attachments else "text",
        text="" if attachments else text,
        state=state,
        attachments=attachments,
    )


def items(found: Sequence[Message] | Iterator[Message]) -> Iterator[Item]:
    """Yield messages as a reader does: each after its conversation."""
    told = set()
    for one in found:
        if one.chat not in told:
            told.add(one.chat)
            yield conversation(int(one.chat[4:12]), one.service)
        yield one


def exported(
    found: Sequence[Message], zone: tzinfo, names: Mapping[str, str], title: str, precision_ms: int = 60_000
) -> list[Item]:
    """Return what an exported text of a chat shows: local time, names, no ids."""
    chat = f"~{title}"
    repeats: Counter[tuple[object, ...]] = Counter()
    minutes: Counter[int] = Counter()
    result: list[Item] = [Conversation(service="whatsapp", key=chat, title=title)]
    for one in sorted(found, key=lambda m: (m.time_ms, m.order)):
        offset = datetime.fromtimestamp(one.time_ms / 1000, zone).utcoffset()
        local = one.time_ms + int((offset or timedelta()).total_seconds() * 1000)
        local -= local % precision_ms
        author = "~" + names[one.author]
        text = "" if one.attachments else one.text
        repeat = repeats[local, author, text]
        repeats[local, author, text] += 1
        order = minutes[local]
        minutes[local] += 1
        result.append(
            Message(
                identity=identity("text", chat, author, local, text, repeat),
                anchored=False, service="whatsapp", chat=chat, time_ms=local, zoned=False, precision_ms=precision_ms,
                order=order, author=author, kind="image" if one.attachments else "text", text=text,
            )
        )  # fmt: skip
    return result
