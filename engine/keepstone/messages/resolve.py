"""What people see: one message for each identity, folded from all that sources said of it. A pure view, never stored.

Of several readings the one with the most edits counts, then the one seen most lately; what it does not say, the others
do. What a source shows as deleted keeps the content that another reading has. Every rule ends in comparing bytes, so
the same state is seen the same everywhere. Exported texts, which have no ids, are matched by `texts` first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from keepstone.messages.merge import History, there
from keepstone.messages.model import STATES, Conversation, Edit, Message
from keepstone.messages.texts import Matched, match

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_NO_CONTENT = ("deleted", "empty")


@dataclass(frozen=True, slots=True)
class Reading:
    """What sources said of a message, and when it was there."""

    message: Message
    history: History


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as people see it."""

    message: Message
    readings: tuple[Reading, ...]
    """All of them, the one that counts most first."""
    deleted: bool = False
    """Whether a source shows that it was deleted, though its content is known."""

    def gone(self) -> dict[bytes, int]:
        """Return since when the message is gone, by the sources that had it and have it no longer."""
        since: dict[bytes, int] = {}
        present = set()
        for reading in self.readings:
            for source, changes in reading.history:
                if len(changes) % 2:
                    present.add(source)
                else:
                    since[source] = max(since.get(source, 0), changes[-1])
        return {source: time_ms for source, time_ms in since.items() if source not in present}

    @property
    def gone_since(self) -> int | None:
        """When the last source lost it; None while one has it."""
        gone = self.gone()
        sources = {source for reading in self.readings for source, _ in reading.history}
        return max(gone.values()) if gone and len(gone) == len(sources) else None

    def there(self, time_ms: int) -> bool:
        """Return whether a source had it at a time."""
        return any(there(changes, time_ms) for reading in self.readings for _, changes in reading.history)


def fold(readings: Iterable[Reading]) -> Shown:
    """Return the one message of some readings; there is at least one."""
    ranked = list(readings)
    if len(ranked) == 1:
        return Shown(ranked[0].message, tuple(ranked))
    ranked.sort(key=_rank, reverse=True)
    first = ranked[0].message
    fields: dict[str, Any] = {}  # Any: whatever fields of a message are.
    for name, default in _ENRICHED.items():
        if getattr(first, name) == default:
            others = (r.message for r in ranked if r.message.anchored or not first.anchored or name not in _PEOPLE)
            fields[name] = next((v for other in others if (v := getattr(other, name)) != default), default)
    exact = min((r.message for r in ranked), key=lambda m: (not m.zoned, m.precision_ms))
    fields.update(time_ms=exact.time_ms, zoned=exact.zoned, precision_ms=exact.precision_ms, order=exact.order)
    home = next((r.message for r in ranked if r.message.anchored), first)
    fields.update(identity=home.identity, anchored=home.anchored, chat=home.chat)
    if home is not first:
        fields.update(author=home.author, direction=home.direction)
    fields["state"] = STATES[max(STATES.index(r.message.state) for r in ranked)]
    fields["edits"] = _edits(first.text, ranked)
    fields["extra"] = {k: v for r in reversed(ranked) for k, v in r.message.extra.items()}
    deleted = any(r.message.kind == "deleted" for r in ranked) and first.kind != "deleted"
    return Shown(msgspec.structs.replace(first, **fields), tuple(ranked), deleted)


_ENRICHED = {
    info.name: info.default
    for info in msgspec.structs.fields(Message)
    if info.name
    in ("native", "author", "direction", "subject", "reply_to", "forwarded", "starred", "attachments", "reactions")
}
"""Fields that one reading has and another may not, with what they are if a source does not tell."""
_PEOPLE = ("author", "direction")
"""An exported text knows names only: of these an owner whose address is not known is not made."""


def _rank(reading: Reading) -> tuple[object, ...]:
    message = reading.message
    seen = max((changes[-1] for _, changes in reading.history), default=0)
    present = any(len(changes) % 2 for _, changes in reading.history)
    newest_edit = max((edit.time_ms for edit in message.edits), default=0)
    return (
        message.kind not in _NO_CONTENT, message.anchored, len(message.edits), newest_edit, present, seen,
        message.order if not message.anchored else 0, _encode(message),
    )  # fmt: skip


def _edits(text: str, ranked: Sequence[Reading]) -> tuple[Edit, ...]:
    """Return the earlier texts: those that sources tell, and those that anchored readings had."""
    found: dict[str, int] = {}
    for reading in reversed(ranked):
        message = reading.message
        told = [(edit.text, edit.time_ms) for edit in message.edits]
        if message.anchored and message.kind not in _NO_CONTENT and message.text:
            told.append((message.text, 0))
        for earlier, time_ms in told:
            if earlier != text:
                found[earlier] = max(found.get(earlier, 0), time_ms)
    return tuple(Edit(text=earlier, time_ms=time_ms) for earlier, time_ms in found.items())


def messages(anchored: Iterable[Reading], exported: Sequence[Sequence[Reading]] = ()) -> list[Shown]:
    """Return the messages of a chat in the order of time.

    Args:
        anchored: readings whose identities say which are the same.
        exported: readings of exported texts of this chat, by their conversations.
    """
    shown = _by_identity(anchored)
    for text in sorted((_by_identity(part) for part in exported if part), key=lambda part: _encode(part[0].message)):
        found = match([one.message for one in shown], [one.message for one in text]) if shown else None
        shown = _with_text(shown, text, found)
    return shown


def _by_identity(readings: Iterable[Reading]) -> list[Shown]:
    groups: dict[bytes, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.message.identity, []).append(reading)
    return sorted((fold(group) for group in groups.values()), key=order_of)


def order_of(one: Shown) -> tuple[int, int, bytes]:
    """Return what orders the messages of a chat."""
    return one.message.time_ms, one.message.order, one.message.identity


def _with_text(shown: list[Shown], text: list[Shown], found: Matched | None) -> list[Shown]:
    """Put an exported text into a chat: what matches becomes one, the rest stands where its minute is."""
    if found is None:
        return text
    result = list(shown)
    times = [one.message.time_ms for one in shown]
    places = [(number, 0) for number in range(len(shown))]
    last = -1
    """The message of the chat that the text was at last."""
    for number, one in enumerate(text):
        at = found.pairs.get(number)
        if at is not None:
            result[at] = fold((*result[at].readings, *one.readings))
            last = at
            continue
        time_ms = found.utc(number)
        start = time_ms - time_ms % one.message.precision_ms
        if last < 0 or not start <= times[last] < start + one.message.precision_ms:
            last = bisect_left(times, start) - 1
        message = msgspec.structs.replace(
            one.message,
            time_ms=time_ms,
            zoned=found.has_zone,
            author=found.author(one.message),
            direction=found.direction(one.message),
            chat=shown[0].message.chat,
        )
        places.append((last, 1 + number))
        result.append(Shown(message, one.readings))
    order = sorted(range(len(result)), key=places.__getitem__)
    return [result[number] for number in order]


# Conversations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation as people see it: one chat, in however many formats and phones it was found."""

    conversation: Conversation
    ids: tuple[bytes, ...]
    """The archive's conversations that it is, those with ids of their own."""
    exported: tuple[bytes, ...] = ()
    """Exported texts that have its name. See `belongs`."""


Told = Mapping[bytes, Sequence[tuple[Conversation, History]]]
"""What sources say of conversations, by their ids in the archive."""


def chats(told: Told) -> list[Chat]:
    """Return the chats of some conversations, in the order of service, title and key.

    Conversations of one service and key are one chat, unless sources name different accounts of the owner. An exported
    text belongs to the one chat of its service that has its title; it is a chat of its own if there are none or many.
    """
    groups: dict[tuple[str, str, str], list[bytes]] = {}
    texts: dict[bytes, Conversation] = {}
    accounts: dict[tuple[str, str], set[str]] = {}
    newest = {name: _newest(readings) for name, readings in told.items()}
    for found in newest.values():
        accounts.setdefault((found.service, found.key), set()).add(found.account)
    for name, found in sorted(newest.items()):
        if found.key.startswith("~"):
            texts[name] = found
            continue
        known = sorted(accounts[found.service, found.key] - {""})
        account = found.account or (known[0] if len(known) == 1 else "")
        groups.setdefault((found.service, found.key, account), []).append(name)
    result: list[Chat] = []
    named: dict[tuple[str, str], list[int]] = {}
    for (service, _, _), names in groups.items():
        whole = _newest([reading for name in names for reading in told[name]])
        alone = whole.people if whole.kind != "group" and len(whole.people) <= 2 else ()
        for called in {whole.title, *(person.name for person in alone)}:
            named.setdefault((service, called.casefold()), []).append(len(result))
        result.append(Chat(whole, tuple(names)))
    unknown: dict[tuple[str, str], list[bytes]] = {}
    for name, found in texts.items():
        title = (found.service, (found.title or found.key[1:]).casefold())
        places = named.get(title, [])
        if len(places) == 1:
            chat = result[places[0]]
            result[places[0]] = Chat(chat.conversation, chat.ids, (*chat.exported, name))
        else:
            unknown.setdefault(title, []).append(name)
    result += [Chat(newest[names[0]], (), tuple(names)) for names in unknown.values()]
    return sorted(result, key=_name)


def _name(chat: Chat) -> tuple[str, str, str, str]:
    found = chat.conversation
    return found.service, found.title, found.key, found.account


def _newest(readings: Sequence[tuple[Conversation, History]]) -> Conversation:
    """Return the conversation as it was told last, with what the others add."""

    def rank(one: tuple[Conversation, History]) -> tuple[object, ...]:
        found, history = one
        present = any(len(changes) % 2 for _, changes in history)
        return bool(found.title or found.people), present, max((c[-1] for _, c in history), default=0), _encode(found)

    ranked = [found for found, _ in sorted(readings, key=rank, reverse=True)]
    first = ranked[0]
    people = first.people or next((found.people for found in ranked if found.people), ())
    title = first.title or next((found.title for found in ranked if found.title), "")
    kind = next((found.kind for found in ranked if found.kind != "unknown"), "unknown")
    account = next((found.account for found in ranked if found.account), "")
    return msgspec.structs.replace(first, people=people, title=title, kind=kind, account=account)
