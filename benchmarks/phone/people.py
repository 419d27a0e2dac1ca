"""Who a phone talks to: contacts, chats and groups, a few of them most of the time.

All of it follows from the seed, so it is made again whenever it is needed and kept nowhere else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate

from .text import LANGUAGES, Language, languages

FIRST_JID = 3
"""Row of the first contact; the rows before are the phone's own and the status broadcast."""
OWN_JID = 1


@dataclass(frozen=True, slots=True)
class Contact:
    row: int
    number: str
    name: str
    language: Language

    @property
    def jid(self) -> str:
        return f"{self.number}@s.whatsapp.net"


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation; with more than one member it is a group."""

    row: int
    jid_row: int
    subject: str | None
    jid: str
    members: tuple[Contact, ...]
    language: Language

    @property
    def is_group(self) -> bool:
        return self.subject is not None


class People:
    """All contacts and chats of a seed."""

    def __init__(self, seed: int, chats: int) -> None:
        rng = random.Random(f"{seed}/people")
        spoken = languages(seed)
        weights = (40, 18, 10, 8, 5, 7, 4, 4, 4)
        tongues = [spoken[name] for name in rng.choices(LANGUAGES, weights, k=chats)]
        self.contacts = [
            Contact(FIRST_JID + number, _number(rng), language.name_of(rng), language)
            for number, language in enumerate(tongues)
        ]
        rows = FIRST_JID + len(self.contacts)
        self.chats: list[Chat] = []
        for number, contact in enumerate(self.contacts, 1):
            if rng.random() < 0.3:
                members = tuple(rng.sample(self.contacts, min(len(self.contacts), 3 + int(rng.expovariate(0.1)))))
                jid = f"1203{rng.randrange(10**13, 10**14)}@g.us"
                subject = contact.language.name_of(rng)
                self.chats.append(Chat(number, rows, subject, jid, members, contact.language))
                rows += 1
            else:
                self.chats.append(Chat(number, contact.row, None, contact.jid, (contact,), contact.language))
        order = rng.sample(range(chats), chats)
        self._activity = tuple(accumulate((order[number] + 1.5) ** -1.1 for number in range(chats)))

    def chat(self, rng: random.Random) -> Chat:
        """Draw a chat by how active it is."""
        return rng.choices(self.chats, cum_weights=self._activity)[0]


def _number(rng: random.Random) -> str:
    return f"{rng.choice(('44', '49', '34', '55', '90', '91'))}{rng.randrange(10**9, 10**10)}"
