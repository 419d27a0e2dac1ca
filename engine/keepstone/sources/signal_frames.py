"""Signal's own model of an account: frames that name people and chats by numbers, then messages that refer to them.

The plaintext export writes frames as JSON, the encrypted backup as protobuf; both become records with the same names,
and this module makes messages and calls of them. The owner has no address in either, so what they wrote has no author.
A group is known by its master key, of which only a hash leaves this module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from keepstone.messages import services
from keepstone.messages.model import (
    Attachment,
    Call,
    CallOutcome,
    Conversation,
    ConversationKind,
    Direction,
    Edit,
    Extra,
    Item,
    Message,
    MessageKind,
    Person,
    Reaction,
    State,
)
from keepstone.sources.exports import Order, kind_of_file, open_beside, time_of
from keepstone.sources.json_stream import Record, leftover, objects, raw, record, text, whole
from keepstone.sources.reading import MAX_TEXT, Folder

_ITEMS: Final[Mapping[str, MessageKind]] = {
    "standardMessage": "text", "contactMessage": "contact", "stickerMessage": "sticker", "updateMessage": "event",
    "remoteDeletedMessage": "deleted", "adminDeletedMessage": "deleted", "paymentNotification": "event", "poll": "poll",
    "giftBadge": "event", "viewOnceMessage": "empty", "directStoryReplyMessage": "text",
}  # fmt: skip
_DIRECTIONS: Final[Mapping[str, Direction]] = {"incoming": "in", "outgoing": "out", "directionless": "none"}
_KNOWN: Final = frozenset(("chatId", "authorId", "dateSent", "revisions", *_ITEMS, *_DIRECTIONS))
_STATES: Final[tuple[tuple[str, State], ...]] = (
    ("failed", "failed"), ("pending", "queued"), ("sent", "sent"), ("delivered", "delivered"), ("read", "read"),
    ("viewed", "played"),
)  # fmt: skip
"""From least to most: a message to several is as far as the one who is behind."""
_FLAGS: Final[Mapping[str, MessageKind]] = {
    "VOICE_MESSAGE": "voice",
    "1": "voice",
    "GIF": "animation",
    "3": "animation",
}
_OUTCOMES: Final[Mapping[str, CallOutcome]] = {
    "ACCEPTED": "answered", "JOINED": "answered", "MISSED": "missed", "MISSED_NOTIFICATION_PROFILE": "missed",
    "DECLINED": "rejected",
}  # fmt: skip
_CAPITAL: Final = re.compile("([A-Z])")
_UPDATES: Final = ("individualCall", "groupCall")
_FILE: Final = frozenset(("contentType", "fileName", "caption", "locatorInfo", "blurHash", "incrementalMac",
                          "incrementalMacChunkSize"))  # fmt: skip


def blob(value: object) -> bytes:
    """Return the bytes of a base64 text; none for anything else."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""


class Frames:
    """An account, frame by frame."""

    def __init__(self, name: str, folder: Folder) -> None:
        self._name = name
        self._folder = folder
        self._account = ""
        self._owner: int | None = None
        self._recipients: dict[int | None, Conversation] = {}
        self._chats: dict[int | None, Conversation] = {}
        self._orders: defaultdict[str, Order] = defaultdict(Order)
        self._files: dict[str, str] | None = None

    def take(self, frame: Record) -> Iterator[Item]:
        """Yield what a frame says: a conversation, a message, a call, or nothing."""
        if "chatItem" in frame:
            yield from self._item(record(frame["chatItem"]))
        elif "recipient" in frame:
            self._recipient(record(frame["recipient"]))
        elif "chat" in frame:
            yield from self._chat(record(frame["chat"]))
        elif "account" in frame:
            self._account = text(record(frame["account"]).get("username"))
        elif "adHocCall" in frame:
            yield self._ad_hoc(record(frame["adHocCall"]))

    # People and chats -----------------------------------------------------------------------------------------

    def _recipient(self, given: Record) -> None:
        """Keep whom a number stands for, as the conversation with them."""
        number = whole(given.get("id"))
        kind: ConversationKind = "person"
        key, title = "", ""
        people: tuple[Person, ...] = ()
        extra: Extra = {}
        if "self" in given:
            self._owner, key = number, "self"
        elif "contact" in given:
            contact = record(given["contact"])
            e164, key = text(contact.get("e164")), _address(contact)
            title = _contact_name(contact)
            people = (Person(address=key, name=title),)
            extra = {"e164": f"+{e164}"} if e164 and e164 not in key else {}
            extra |= leftover(contact, _NOT_OF_CONTACT)
        elif "group" in given:
            kind, group = "group", record(given["group"])
            state = record(group.get("snapshot"))
            key, title = (
                services.signal_group(blob(group.get("masterKey"))),
                text(record(state.get("title")).get("title")),
            )
            members = [
                services.signal_address(blob(member.get("userId")), "") for member in objects(state.get("members"))
            ]
            names = {self._recipients[n].key: self._recipients[n].title for n in self._recipients}
            people = tuple(Person(address=one, name=names.get(one, "")) for one in sorted(set(members)) if one)
            if said := text(record(state.get("description")).get("descriptionText")):
                extra = {"description": said}
        elif "distributionList" in given:
            kind, entry = "broadcast", record(given["distributionList"])
            key = f"list:{blob(entry.get('distributionId')).hex()}"
            title = text(record(entry.get("distributionList")).get("name"))
        elif "releaseNotes" in given:
            kind, key, title = "channel", "release-notes", "Signal"
        elif "callLink" in given:
            kind, link = "group", record(given["callLink"])
            key, title = f"link:{services.signal_group(blob(link.get('rootKey')))}", text(link.get("name"))
        self._recipients[number] = Conversation(
            service="signal", account=self._account, key=key or f"~{number}", kind=kind, title=title, people=people,
            extra=extra,
        )  # fmt: skip

    def _chat(self, given: Record) -> Iterator[Item]:
        found = self._recipients.get(whole(given.get("recipientId")))
        if found is None:
            found = Conversation(service="signal", account=self._account, key="~")
        extra = leftover(given, frozenset(("id", "recipientId", "style", "expireTimerVersion")))
        chat = Conversation(
            service="signal", account=self._account, key=found.key, kind=found.kind, title=found.title,
            people=found.people, extra={**found.extra, **extra},
        )  # fmt: skip
        self._chats[whole(given.get("id"))] = chat
        yield chat

    def end(self) -> Iterator[Conversation]:
        """Yield whom the account knows without having a chat with them."""
        chats = {chat.key for chat in self._chats.values()}
        yield from (known for known in self._recipients.values() if known.key not in chats)

    def _author(self, value: object) -> str:
        """Return whom a number stands for; nothing for the owner."""
        number = whole(value)
        if number == self._owner or number not in self._recipients:
            return ""
        return self._recipients[number].key

    # Messages -------------------------------------------------------------------------------------------------

    def _item(self, given: Record) -> Iterator[Item]:
        number = whole(given.get("chatId"))
        chat = self._chats.get(number)
        if chat is None:
            chat = self._chats[number] = Conversation(service="signal", account=self._account, key=f"~{number}")
            yield chat
        form = _form(given)
        update = record(given[form]) if form == "updateMessage" else {}
        called = next((name for name in _UPDATES if name in update), "") if update else ""
        if called:
            yield self._call(given, record(update[called]), called, chat)
        else:
            yield self._message(given, form, chat)

    def _message(self, given: Record, form: str, chat: Conversation) -> Message:
        author = self._author(given.get("authorId"))
        revisions = objects(given.get("revisions"))
        # An edit has a time of its own; what is edited keeps its first.
        first = revisions[0] if revisions else given
        sent = whole(first.get("dateSent")) or 0
        time_ms = time_of(sent)
        content, kind = record(given.get(form)), _ITEMS.get(form, "unknown")
        direction = _direction(given)
        attachments, kind = self._attachments(content, form, kind)
        body = self._body(content) or _unsaid(content, form)
        extra = leftover(given, _KNOWN)
        extra |= _details(content, form, given.get(form))
        if kind == "text" and not body:
            kind = "empty"
        quote = record(content.get("quote")) if "quote" in content else {}
        target = whole(quote["targetSentTimestamp"]) if "targetSentTimestamp" in quote else None
        if quote and not target and (quoted := text(record(quote.get("text")).get("body"))):
            extra["quote"] = quoted  # What it answers was not there any more: nothing else has its text.
        return Message(
            identity=services.signal(chat.key, author, sent),
            service="signal",
            chat=chat.key,
            native=f"{author}:{sent}",
            time_ms=time_ms,
            order=self._orders[chat.key].number(time_ms),
            author=author,
            direction="none" if kind == "event" else direction,
            kind=kind,
            text=body,
            reply_to=f"{self._author(quote.get('authorId'))}:{target}" if target else "",
            state=_state(given),
            attachments=attachments,
            reactions=self._reactions(content) if "reactions" in content else (),
            edits=self._edits(given, revisions) if revisions else (),
            extra=extra,
        )

    def _body(self, content: Record) -> str:
        """Return the text of a message. One that is too long for its frame goes on in a file."""
        said = record(content.get("text"))
        if len(content) == 1 and said:
            return text(said.get("body"))
        reply = record(content.get("textReply"))
        said = said or record(reply.get("text"))
        body = text(said.get("body")) or text(content.get("question")) or text(content.get("emoji"))
        longer = record(content.get("longText")) or record(reply.get("longText"))
        if longer and (place := self._pointer(longer).place):
            file = open_beside(self._name, self._folder, place)
            if file is not None:
                with file:
                    whole_text = file.read(MAX_TEXT).decode("utf-8", "replace")
                return whole_text if whole_text.startswith(body.rstrip("\ufffd")) else body
        return body

    def _edits(self, given: Record, revisions: list[Record]) -> tuple[Edit, ...]:
        found = []
        for before, after in zip(revisions, [*revisions[1:], given], strict=True):
            until = time_of(whole(after.get("dateSent")))
            found.append(Edit(text=self._body(record(before.get(_form(before)))), time_ms=until))
        return tuple(found)

    def _reactions(self, content: Record) -> tuple[Reaction, ...]:
        found = [
            Reaction(
                author=self._author(given.get("authorId")),
                emoji=text(given.get("emoji")),
                time_ms=time_of(whole(given.get("sentTimestamp"))),
            )
            for given in objects(content.get("reactions"))
        ]
        return tuple(sorted(found, key=lambda reaction: (reaction.author, reaction.time_ms, reaction.emoji)))

    # Files ----------------------------------------------------------------------------------------------------

    def _attachments(self, content: Record, form: str, kind: MessageKind) -> tuple[tuple[Attachment, ...], MessageKind]:
        if form == "standardMessage" and "attachments" not in content:
            return (), kind
        if form == "stickerMessage":
            return (self._pointer(record(record(content.get("sticker")).get("data"))),), kind
        given = objects(content.get("attachments")) or [record(content.get("attachment"))]
        given = [entry for entry in given if entry]
        found = tuple(self._pointer(record(entry.get("pointer"))) for entry in given)
        if found and kind == "text":
            kind = _FLAGS.get(text(given[0].get("flag")), kind_of_file(found[0].mime, found[0].name))
        return found, kind

    def _pointer(self, pointer: Record) -> Attachment:
        located = record(pointer.get("locatorInfo"))
        digest, size = blob(located.get("plaintextHash")), whole(located.get("size"))
        return Attachment(
            sha256=digest if len(digest) == 32 else b"",
            size=size if size else -1,
            mime=text(pointer.get("contentType")),
            name=text(pointer.get("fileName")),
            caption=text(pointer.get("caption")),
            place=self._place(digest, blob(located.get("localKey"))) if digest else "",
            extra=leftover(pointer, _FILE),
        )

    def _place(self, digest: bytes, key: bytes) -> str:
        """Return where a file lies in the export: under the hash of its content, or of that and its key."""
        if self._files is None:
            root = posixpath.dirname(self._name)
            inside = posixpath.join(root, "files/")
            below = [name for name in self._folder.names() if name.startswith(inside)]
            self._files = {posixpath.basename(n).partition(".")[0]: posixpath.relpath(n, root or ".") for n in below}
        for name in (hashlib.sha256(digest + key).hexdigest(), digest.hex()):
            if name in self._files:
                return self._files[name]
        return ""

    # Calls ----------------------------------------------------------------------------------------------------

    def _call(self, given: Record, call: Record, form: str, chat: Conversation) -> Call:
        number, started = text(call.get("callId")), whole(call.get("startedCallTimestamp")) or 0
        started = started or whole(given.get("dateSent")) or 0
        said, state = text(call.get("direction")), text(call.get("state"))
        way: Direction = "in" if said == "INCOMING" else "out" if said == "OUTGOING" else "unknown"
        if form == "groupCall":
            caller = whole(call.get("startedCallRecipientId"))
            way = "out" if state == "OUTGOING_RING" or (caller is not None and caller == self._owner) else "in"
        ended = whole(call.get("endedCallTimestamp")) or 0
        outcome = _OUTCOMES.get(state, "unknown")
        if state == "NOT_ACCEPTED":
            outcome = "cancelled" if way == "out" else "rejected"
        extra = leftover(call, frozenset(("callId", "type", "direction", "startedCallTimestamp", "endedCallTimestamp")))
        return Call(
            identity=services.call("signal", chat.key, number or str(started)), service="signal", chat=chat.key,
            native=number, time_ms=time_of(started), seconds=max(0, ended - started) // 1000 if ended else 0,
            direction=way, outcome=outcome, video=call.get("type") == "VIDEO_CALL",
            people=chat.people if chat.kind == "person" else (), extra=extra,
        )  # fmt: skip

    def _ad_hoc(self, call: Record) -> Call:
        """Return a call by a link, which has no chat."""
        number, time_ms = text(call.get("callId")), time_of(whole(call.get("callTimestamp")))
        link = self._recipients.get(whole(call.get("recipientId")))
        extra: Extra = {"link": link.title or link.key} if link else {}
        return Call(
            identity=services.call("signal", link.key if link else "", number or str(time_ms)), service="signal",
            native=number, time_ms=time_ms, direction="unknown", extra=extra,
        )  # fmt: skip


_NOT_OF_CONTACT: Final = frozenset(
    ("aci", "pni", "e164", "profileKey", "identityKey", "registered", "notRegistered", "avatarColor",
     "profileGivenName", "profileFamilyName", "systemGivenName", "systemFamilyName", "systemNickname", "nickname",
     "profileSharing", "identityState", "visibility")
)  # fmt: skip


def _address(contact: Record) -> str:
    return services.signal_address(blob(contact.get("aci")), text(contact.get("e164")), blob(contact.get("pni")))


def _contact_name(contact: Record) -> str:
    """Return the name that the owner sees: their own for somebody before that somebody's."""
    nickname = record(contact.get("nickname"))
    for given, family in (
        (nickname.get("given"), nickname.get("family")),
        (contact.get("systemGivenName"), contact.get("systemFamilyName")),
        (contact.get("profileGivenName"), contact.get("profileFamilyName")),
        (contact.get("username"), ""),
    ):
        if name := f"{text(given)} {text(family)}".strip():
            return name
    return ""


def _form(given: Record) -> str:
    """Return which kind of item a message is; nothing if none that is known."""
    for name in given:
        if name in _ITEMS:
            return name
    return ""


def _direction(given: Record) -> Direction:
    for name in given:
        if name in _DIRECTIONS:
            return _DIRECTIONS[name]
    return "unknown"


def _state(given: Record) -> State:
    if "incoming" in given:
        return "read" if record(given["incoming"]).get("read") else ""
    statuses = objects(record(given.get("outgoing")).get("sendStatus"))
    for name, state in _STATES:
        if any(name in status for status in statuses):
            return state
    return ""


def _unsaid(content: Record, form: str) -> str:
    """Return what an item without a text is about: a contact, a payment's note, a notice in Signal's own words."""
    if form == "contactMessage":
        card = record(content.get("contact"))
        name = record(card.get("name"))
        said = [" ".join(text(name[part]) for part in ("givenName", "familyName") if name.get(part))]
        said += [text(card.get("organization"))] if not said[0] else []
        said += [text(entry.get("value")) for kind in ("number", "email") for entry in objects(card.get(kind))]
        return "\n".join(part for part in said if part)
    if form == "paymentNotification":
        return text(content.get("note"))
    if form != "updateMessage" or not content:
        return ""
    update, about = next(iter(content.items()))
    details = record(about)
    words = text(details.get("type")).replace("_", " ").lower() if update == "simpleUpdate" else ""
    names = " → ".join(text(details[part]) for part in ("previousName", "newName", "question") if details.get(part))
    return ": ".join(part for part in (words or _CAPITAL.sub(r" \1", update).lower(), names) if part)


def _details(content: Record, form: str, whole_item: object) -> Extra:
    """Return what a message says besides text, files and reactions."""
    known = frozenset(("text", "quote", "attachments", "attachment", "longText", "reactions", "textReply", "emoji"))
    if form in ("standardMessage", "directStoryReplyMessage", "viewOnceMessage"):
        found = leftover(content, known)
        if ranges := record(content.get("text") or record(content.get("textReply")).get("text")).get("bodyRanges"):
            found["bodyRanges"] = raw(ranges)
        return found if form == "standardMessage" else {"type": form, **found}
    if form == "stickerMessage":
        return {
            f"sticker.{key}": value
            for key, value in leftover(record(content.get("sticker")), frozenset(("data",))).items()
        }
    if not form:
        return {"type": "unknown"}
    return {form: raw(whole_item)} if content else {}
