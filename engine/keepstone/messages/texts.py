"""Which messages of an exported text are which messages of a chat.

An exported text knows local time without a zone, rounded down to minutes, names instead of addresses, and no ids. The
zone is found first: texts that are rare in the chat vote, day by day, for the multiple of 15 minutes that lies between
the two clocks; so changes to summer time and travels are followed. Then the names: who wrote what matched for certain.
Then the messages of each minute are matched with those of the chat: the longest common run, in order, of what has the
same author and text; what is left over takes what is left over.

What finds nothing stays a message of its own: rather twice than never.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from keepstone.messages.model import Direction, Message
from keepstone.messages.splitting import DAY_MS

QUARTER_MS = 15 * 60_000
SUMMER_MS = 60 * 60_000
FARTHEST_MS = 15 * 3_600_000
_RARE = 8
"""A text that the chat has more often does not vote; one that it has once has so many votes."""
_NEAR_DAYS = 3
_OWN_DAY = 100
"""What a vote of the day itself counts beside one of a day near it."""
_MOST_PAIRS = 250_000
"""Pairs of one minute that are compared for the longest run."""
_ALTERNATIVES = 3
_INVISIBLE = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"))
_MEDIA, _DELETED, _FILE = "\0media", "\0deleted", "\0file "
_HAVE_MEDIA = frozenset(
    ("image", "video", "audio", "voice", "animation", "sticker", "document", "contact", "location", "poll")
)

Author = tuple[str, bool]
"""Address, and whether it is the owner."""
_Places = dict[tuple[int, str], list[int]]
"""Numbers of messages by their minute and what they are found by."""


@dataclass(slots=True)
class Matched:
    """What was found out about an exported text."""

    pairs: dict[int, int]
    """Numbers of its messages -> numbers of the chat's."""
    offsets: list[int]
    """Of each of its messages, local time less UTC in milliseconds."""
    times: list[int]
    has_zone: bool
    """Whether anything told the offset."""
    authors: dict[str, Author] = field(default_factory=dict)

    def utc(self, number: int) -> int:
        """Return when a message was sent, as far as it is known."""
        return self.times[number] - self.offsets[number]

    def author(self, message: Message) -> str:
        """Return the address of an author; the name where nothing tells it."""
        return self.authors.get(message.author, (message.author, False))[0]

    def direction(self, message: Message) -> Direction:
        """Return the direction of a message, where the chat tells whose the name is."""
        if message.author not in self.authors:
            return message.direction
        return "out" if self.authors[message.author][1] else "in"


def match(chat: Sequence[Message], text: Sequence[Message]) -> Matched:
    """Find the messages of an exported text in a chat; both are in the order of time."""
    precision = max((m.precision_ms for m in (*text, *chat[:1])), default=1)
    index = _index(chat)
    votes = _votes(chat, text, index, precision)
    places = _places(chat, index, precision)
    days = _days(text, votes, precision, places)
    common = [offset for offset, _ in _ranked(sum((Counter(v) for v in votes.values()), Counter()))]
    offsets = [days.get(m.time_ms // DAY_MS, common[0] if common else 0) for m in text]
    finder = _Finder(chat, text, places, precision, offsets)
    finder.learn_names()
    finder.pair_runs()
    finder.pair(lambda number: iter((offsets[number],)))
    finder.pair(lambda number: _others(text[number], days, common))
    finder.pair_deleted()
    # What was not found stands beside what was: it has the offset of its predecessor, or else of what follows.
    last = next((finder.used[number] for number in sorted(finder.used)), None)
    for number in range(len(offsets)):
        last = finder.used.get(number, last)
        offsets[number] = offsets[number] if last is None else last
    return Matched(finder.pairs, offsets, [m.time_ms for m in text], bool(votes), finder.names)


def normal(text: str) -> str:
    """Return a text without what programs change when they export it: invisible marks, and white space."""
    return " ".join(text.translate(_INVISIBLE).split())


def _keys(message: Message) -> Iterator[str]:
    """Yield what a message can be found by, the most telling first."""
    for attachment in message.attachments:
        name = attachment.name or attachment.place.replace("\\", "/").rpartition("/")[2]
        if name:
            yield _FILE + name.casefold()
    if message.text:
        yield normal(message.text)
    if message.kind == "deleted":
        yield _DELETED
    elif message.attachments or message.kind in _HAVE_MEDIA:
        yield _MEDIA
    elif not message.text:
        yield ""
    for edit in message.edits:
        yield normal(edit.text)
    for attachment in message.attachments:
        if attachment.caption:
            yield normal(attachment.caption)


def _index(chat: Sequence[Message]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, message in enumerate(chat):
        for key in dict.fromkeys(_keys(message)):
            found[key].append(number)
    return found


def _votes(
    chat: Sequence[Message], text: Sequence[Message], index: dict[str, list[int]], precision: int
) -> dict[int, Counter[int]]:
    """Return by day which offsets rare texts speak for."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for message in text:
        for key in _keys(message):
            places = index.get(key, ())
            if not 0 < len(places) <= _RARE or key.startswith((_MEDIA, _DELETED)) or not key:
                continue
            for place in places:
                offset = _floor(message.time_ms, precision) - _floor(chat[place].time_ms, precision)
                if abs(offset) <= FARTHEST_MS and offset % QUARTER_MS == 0:
                    found[message.time_ms // DAY_MS][offset] += _RARE // len(places)
            break
    return found


def _places(chat: Sequence[Message], index: dict[str, list[int]], precision: int) -> _Places:
    found: _Places = defaultdict(list)
    for key, numbers in index.items():
        for number in numbers:
            found[_floor(chat[number].time_ms, precision), key].append(number)
    return found


def _days(text: Sequence[Message], votes: dict[int, Counter[int]], precision: int, places: _Places) -> dict[int, int]:
    """Return the offset of each day: what it and the days near it say, else what was last said.

    A day that says nothing itself, of texts that are all common, has that of the offsets before and after it at which
    most of it is found, or one an hour away: the clocks may have changed since they were last heard of.
    """
    found: dict[int, int] = {}
    last: int | None = None
    told = [(day, _ranked(counts)[0][0]) for day, counts in sorted(votes.items(), reverse=True)]
    for day, messages in groupby(text, key=lambda m: m.time_ms // DAY_MS):
        near: Counter[int] = Counter()
        for other in range(day - _NEAR_DAYS, day + _NEAR_DAYS + 1):
            for offset, count in votes.get(other, {}).items():
                near[offset] += count * (_OWN_DAY if other == day else 1)
        while told and told[-1][0] < day:
            told.pop()
        if day in votes:
            last = _ranked(near)[0][0]
        else:
            likely = [offset for offset, _ in _ranked(near)]
            likely += [] if last is None else [last]
            likely += [told[-1][1]] if told else []
            likely += [] if last is None else [last - SUMMER_MS, last + SUMMER_MS]
            last = _most_found(list(messages), list(dict.fromkeys(likely)), precision, places)
        if last is not None:
            found[day] = last
    return found


def _most_found(messages: Sequence[Message], offsets: Sequence[int], precision: int, places: _Places) -> int | None:
    """Return the offset at which most messages are found; of equals the first."""
    if len(offsets) < 2:
        return offsets[0] if offsets else None
    texts = Counter((_floor(m.time_ms, precision), next(_keys(m))) for m in messages)

    def count(offset: int) -> int:
        return sum(min(many, len(places.get((minute - offset, key), ()))) for (minute, key), many in texts.items())

    return max(offsets, key=count)


def _ranked(counts: Counter[int]) -> list[tuple[int, int]]:
    """Return offsets with their votes, most votes first; of equals the one nearer to UTC."""
    return sorted(counts.items(), key=lambda one: (-one[1], abs(one[0]), one[0]))


def _others(message: Message, days: dict[int, int], common: Sequence[int]) -> Iterator[int]:
    """Yield the offsets that a message may also have: of the days beside it, and the most common ones.

    The clocks may also have changed to or from summer time that day, or since anything voted.
    """
    day = message.time_ms // DAY_MS
    found = [days[other] for other in (day - 1, day + 1) if other in days]
    found += common[:_ALTERNATIVES]
    likely = days.get(day, common[0] if common else 0)
    if common:
        found += (likely - SUMMER_MS, likely + SUMMER_MS)
    yield from dict.fromkeys(found)


def _floor(time_ms: int, precision: int) -> int:
    return time_ms - time_ms % precision


class _Finder:
    """Pairs messages; each is taken once."""

    def __init__(
        self,
        chat: Sequence[Message],
        text: Sequence[Message],
        places: _Places,
        precision: int,
        offsets: Sequence[int],
    ) -> None:
        self.pairs: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.names: dict[str, Author] = {}
        self._chat, self._text, self._precision, self._offsets = chat, text, precision, offsets
        self._taken: set[int] = set()
        self._places = places
        self._minutes: dict[int, list[int]] = defaultdict(list)
        for number, message in enumerate(chat):
            self._minutes[_floor(message.time_ms, precision)].append(number)

    def learn_names(self) -> None:
        """Find out who the names are, by what can be only one message."""
        votes: dict[str, Counter[Author]] = defaultdict(Counter)
        for number, message in enumerate(self._text):
            for key in _keys(message):
                places = self._places.get((self._minute(number, self._offsets[number]), key), ())
                if len(places) == 1 and message.author:
                    other = self._chat[places[0]]
                    votes[message.author][_author(other)] += 1
                    break
        for name, found in votes.items():
            self.names[name] = min(found.items(), key=lambda one: (-one[1], one[0]))[0]

    def pair_runs(self) -> None:
        """Pair the longest common run of each minute."""
        for minute, numbers in groupby(
            range(len(self._text)), key=lambda number: self._minute(number, self._offsets[number])
        ):
            ours, theirs = list(numbers), self._minutes.get(minute, [])
            theirs = [place for place in theirs if place not in self._taken]
            if theirs and len(ours) * len(theirs) <= _MOST_PAIRS:
                for number, place in self._common_run(ours, theirs):
                    self._take(number, place, self._offsets[number])

    def _common_run(self, ours: Sequence[int], theirs: Sequence[int]) -> list[tuple[int, int]]:
        """Return the pairs of a longest common subsequence."""
        keys = [frozenset(_keys(self._chat[place])) for place in theirs]
        equal = [
            [
                not keys[j].isdisjoint(mine) and self._fits(self._text[number], self._chat[place])
                for j, place in enumerate(theirs)
            ]
            for number, mine in ((number, tuple(_keys(self._text[number]))) for number in ours)
        ]
        longest = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
        for i in range(len(ours) - 1, -1, -1):
            for j in range(len(theirs) - 1, -1, -1):
                skip = max(longest[i + 1][j], longest[i][j + 1])
                longest[i][j] = max(skip, longest[i + 1][j + 1] + 1) if equal[i][j] else skip
        found = []
        i = j = 0
        while i < len(ours) and j < len(theirs):
            if equal[i][j] and longest[i][j] == longest[i + 1][j + 1] + 1:
                found.append((ours[i], theirs[j]))
                i, j = i + 1, j + 1
            elif longest[i + 1][j] >= longest[i][j + 1]:
                i += 1
            else:
                j += 1
        return found

    def pair(self, offsets_of: Callable[[int], Iterator[int]]) -> None:
        """Pair what is left, by the offsets that a message may have."""
        for number, message in enumerate(self._text):
            if number in self.pairs:
                continue
            for offset in offsets_of(number):
                found = self._find(message, self._minute(number, offset))
                if found is not None:
                    self._take(number, found, offset)
                    break

    def pair_deleted(self) -> None:
        """Pair what is left with what the chat shows as deleted, where there is one of each."""
        left: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._text)):
            if number not in self.pairs:
                left[self._minute(number, self._offsets[number])].append(number)
        for minute, numbers in left.items():
            places = [p for p in self._places.get((minute, _DELETED), ()) if p not in self._taken]
            fitting = [n for n in numbers if places and self._fits(self._text[n], self._chat[places[0]])]
            if len(places) == 1 and len(fitting) == 1:
                self._take(fitting[0], places[0], self._offsets[fitting[0]])

    def _minute(self, number: int, offset: int) -> int:
        return _floor(self._text[number].time_ms, self._precision) - offset

    def _find(self, message: Message, minute: int) -> int | None:
        for key in _keys(message):
            for place in self._places.get((minute, key), ()):
                if place not in self._taken and self._fits(message, self._chat[place]):
                    return place
        return None

    def _fits(self, message: Message, other: Message) -> bool:
        known = self.names.get(message.author)
        return known is None or known == _author(other)

    def _take(self, number: int, place: int, offset: int) -> None:
        self.pairs[number] = place
        self.used[number] = offset
        self._taken.add(place)


def _author(message: Message) -> Author:
    return message.author, message.direction == "out"
