"""The content of Signal's encrypted backup: protobuf messages, each behind its length.

The first says what the backup is, each further one is a frame. Only the fields that `signal_frames` asks for, or that
somebody could miss, are decoded, into the same records as the plaintext export's: 64-bit numbers as text, bytes as
base64, enumerations by name. Depth is bounded, and no length is believed beyond what is there.
"""

from __future__ import annotations

import base64
import hashlib
import io
import posixpath
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from keepstone.containers.source import Broken, Tape
from keepstone.containers.transforms import decrypt_archive, protobuf_fields, varint
from keepstone.messages.model import Attachment, Item, Loss
from keepstone.sources.exports import LATEST_MS
from keepstone.sources.json_stream import Record, record, whole
from keepstone.sources.reading import MAX_TEXT, Folder, Options, UnreadableSource
from keepstone.sources.signal_frames import Frames, blob
from keepstone.sources.windows import Places

NAME = "signal-backup"

MAX_DEPTH: Final = 12
_IV: Final = 16
_VERSION, _TIME, _MEDIA_KEY = 1, 2, 3
_ACCOUNT: Final = b"\x0a"
"""The first byte of a frame that holds the account: it comes before all others."""

_SCHEMA: Final = """
Frame: 1 account Account, 2 recipient Recipient, 3 chat Chat, 4 chatItem ChatItem, 6 adHocCall AdHocCall
Account: 2 username s, 4 givenName s, 5 familyName s
Recipient: 1 id u, 2 contact Contact, 3 group Group, 4 distributionList ListItem, 5 self Empty, 6 releaseNotes Empty,
  7 callLink CallLink
Contact: 1 aci b, 2 pni b, 3 username s, 4 e164 u, 5 blocked f, 11 profileGivenName s, 12 profileFamilyName s,
  13 hideStory f, 16 nickname Nickname, 17 note s, 18 systemGivenName s, 19 systemFamilyName s, 20 systemNickname s
Nickname: 1 given s, 2 family s
Group: 1 masterKey b, 2 whitelisted f, 5 snapshot Snapshot, 6 blocked f
Snapshot: 2 title Attribute, 7 members* Member, 11 description Attribute
Attribute: 1 title s, 3 disappearingMessagesDuration v, 4 descriptionText s
Member: 1 userId b
ListItem: 1 distributionId b, 2 deletionTimestamp u, 3 distributionList List
List: 1 name s, 2 allowReplies f, 4 memberRecipientIds* u
CallLink: 1 rootKey b, 3 name s, 5 expirationMs u
Chat: 1 id u, 2 recipientId u, 3 archived f, 4 pinnedOrder v, 5 expirationTimerMs u, 6 muteUntilMs u, 7 markedUnread f,
  8 dontNotifyForMentionsIfMuted f, 10 expireTimerVersion v
AdHocCall: 1 callId u, 2 recipientId u, 4 callTimestamp u
ChatItem: 1 chatId u, 2 authorId u, 3 dateSent u, 4 expireStartDate u, 5 expiresInMs u, 6 revisions* ChatItem, 7 sms f,
  8 incoming Incoming, 9 outgoing Outgoing, 10 directionless Empty, 11 standardMessage Standard,
  12 contactMessage Shared, 13 stickerMessage StickerItem, 14 remoteDeletedMessage Empty, 15 updateMessage Update,
  16 paymentNotification Payment, 17 giftBadge Badge, 18 viewOnceMessage Once, 19 directStoryReplyMessage Story,
  20 poll Poll, 22 adminDeletedMessage Admin
Admin: 1 adminId u
Incoming: 1 dateReceived u, 2 dateServerSent u, 3 read f, 4 sealedSender f
Outgoing: 1 sendStatus* Status, 2 dateReceived u
Status: 1 recipientId u, 2 timestamp u, 3 pending Empty, 4 sent Empty, 5 delivered Empty, 6 read Empty, 7 viewed Empty,
  8 skipped Empty, 9 failed Empty
Empty:
Text: 1 body s, 2 bodyRanges* Range
Range: 1 start v, 2 length v, 3 mentionAci b, 4 style NONE|BOLD|ITALIC|SPOILER|STRIKETHROUGH|MONOSPACE
Standard: 1 quote Quote, 2 text Text, 3 attachments* File, 4 linkPreview* Link, 5 longText Pointer,
  6 reactions* Reaction
Quote: 1 targetSentTimestamp u, 2 authorId u, 3 text Text
File: 1 pointer Pointer, 2 flag NONE|VOICE_MESSAGE|BORDERLESS|GIF, 3 wasDownloaded f
Pointer: 4 contentType s, 7 fileName s, 8 width v, 9 height v, 10 caption s, 13 locatorInfo Located
Located: 3 size v, 9 localKey b, 10 plaintextHash b
Link: 1 url s, 2 title s, 3 image Pointer, 4 description s, 5 date u
Reaction: 1 emoji s, 2 authorId u, 3 sentTimestamp u, 4 sortOrder u
Shared: 1 contact Card, 2 reactions* Reaction
Card: 1 name CardName, 3 number* Labelled, 4 email* Labelled, 5 address* Address, 7 organization s
CardName: 1 givenName s, 2 familyName s, 3 prefix s, 4 suffix s, 5 middleName s, 6 nickname s
Labelled: 1 value s, 2 type UNKNOWN|HOME|MOBILE|WORK|CUSTOM, 3 label s
Address: 1 type UNKNOWN|HOME|WORK|CUSTOM, 2 label s, 3 street s, 4 pobox s, 5 neighborhood s, 6 city s, 7 region s,
  8 postcode s, 9 country s
StickerItem: 1 sticker Sticker, 2 reactions* Reaction
Sticker: 1 packId b, 2 packKey b, 3 stickerId v, 4 emoji s, 5 data Pointer
Payment: 1 amountMob s, 2 feeMob s, 3 note s
Badge: 2 state UNOPENED|OPENED|REDEEMED|FAILED
Once: 1 attachment File, 2 reactions* Reaction
Story: 1 textReply StoryText, 2 emoji s, 3 reactions* Reaction
StoryText: 1 text Text, 2 longText Pointer
Poll: 1 question s, 2 allowMultiple f, 3 options* Option, 4 hasEnded f, 5 reactions* Reaction
Option: 1 option s, 2 votes* Vote
Vote: 1 voterId u, 2 voteCount v
Update: 1 simpleUpdate Simple, 2 groupChange Change, 3 expirationTimerChange Timer, 4 profileChange Profile,
  5 threadMerge Merge, 6 sessionSwitchover Switch, 7 individualCall OneCall, 8 groupCall ManyCall,
  9 learnedProfileChange Learned, 10 pollTerminate Terminate
Simple: 1 type UNKNOWN|JOINED_SIGNAL|IDENTITY_UPDATE|IDENTITY_VERIFIED|IDENTITY_DEFAULT|CHANGE_NUMBER|\
RELEASE_CHANNEL_DONATION_REQUEST|END_SESSION|CHAT_SESSION_REFRESH|BAD_DECRYPT|PAYMENTS_ACTIVATED|\
PAYMENT_ACTIVATION_REQUEST|UNSUPPORTED_PROTOCOL_MESSAGE|REPORTED_SPAM|BLOCKED|UNBLOCKED|MESSAGE_REQUEST_ACCEPTED
Change: 1 updates* b
Timer: 1 expiresInMs u
Profile: 1 previousName s, 2 newName s
Merge: 1 previousE164 u
Switch: 1 e164 u
Learned: 1 e164 u, 2 username s
Terminate: 1 targetSentTimestamp u, 2 question s
OneCall: 1 callId u, 2 type UNKNOWN_TYPE|AUDIO_CALL|VIDEO_CALL, 3 direction UNKNOWN_DIRECTION|INCOMING|OUTGOING,
  4 state UNKNOWN_STATE|ACCEPTED|NOT_ACCEPTED|MISSED|MISSED_NOTIFICATION_PROFILE, 5 startedCallTimestamp u, 6 read f
ManyCall: 1 callId u, 2 state UNKNOWN_STATE|GENERIC|JOINED|RINGING|ACCEPTED|DECLINED|MISSED|\
MISSED_NOTIFICATION_PROFILE|OUTGOING_RING, 3 ringerRecipientId u, 4 startedCallRecipientId u, 5 startedCallTimestamp u,
  6 endedCallTimestamp u, 7 read f
"""
"""What the fields of each message are: its number, its name (`*`: any number of them), and its kind: a text, bytes, a
flag, a number of 32 (`v`) or 64 bits (`u`), an enumeration, or another message."""


class _Field:
    __slots__ = ("kind", "name", "names", "nested", "repeated")

    def __init__(self, name: str, kind: str) -> None:
        self.repeated = name.endswith("*")
        self.name = name.rstrip("*")
        self.kind = "e" if "|" in kind else kind
        self.names = tuple(kind.split("|"))
        self.nested = len(kind) > 1 and self.kind != "e"


def _compiled(schema: str) -> dict[str, dict[int, _Field]]:
    found: dict[str, dict[int, _Field]] = {}
    for line in schema.replace("\n  ", " ").strip().splitlines():
        message, _, fields = line.partition(":")
        parts = [field.split() for field in fields.split(",") if field.strip()]
        found[message] = {int(number): _Field(name, kind) for number, name, kind in parts}
    return found


_VARYING: Final = (0, 2)
_FIXED: Final = {1: 8, 5: 4}
"""Bytes of values of fixed length, by their wire type; of types that do not exist, more than there are."""
MESSAGES: Final = _compiled(_SCHEMA)


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    """Return whether a file begins with what a backup says of itself, and the account."""
    try:
        size, at = varint(head, 0)
        said = dict(protobuf_fields(head[at : at + size]))
        _, frame = varint(head, at + size)
    except Broken:
        return False
    version, time, key = said.get(_VERSION, 0), said.get(_TIME, 0), said.get(_MEDIA_KEY, b"")
    known = isinstance(version, int) and isinstance(time, int) and version < 100 and 10**12 < time <= LATEST_MS
    return known and isinstance(key, bytes) and len(key) in (0, 32) and head[frame : frame + 1] == _ACCOUNT


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    """Return a file of the store that all nights share: it is encrypted by a key that only the messages tell."""
    sealed = _SEALED.of(name, folder).get(attachment.sha256)
    if sealed is None:
        return None
    stored = hashlib.sha256(attachment.sha256 + sealed.key).hexdigest()
    above = posixpath.dirname(posixpath.dirname(name))
    for root in dict.fromkeys((above, posixpath.dirname(name))):
        try:
            file = folder.open(posixpath.join(root, "files", stored[:2], stored))
        except FileNotFoundError:
            continue
        return cast(BinaryIO, io.BufferedReader(_Opened(file, sealed), 128 * 1024))
    return None


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What opens a file: 32 bytes for AES and 32 for its HMAC, and the length of its content without padding."""

    key: bytes
    size: int


def _find_sealed(name: str, folder: Folder) -> dict[bytes, _Sealed]:
    found: dict[bytes, _Sealed] = {}
    with folder.open(name) as file, suppress(Broken):
        for data in _delimited(file):
            if b"\x52\x20" in data:  # Field 10 of 32 bytes: a hash of a file's plaintext, most likely.
                with suppress(Broken):
                    _collect(decode(data), found)
    return found


def _collect(value: object, found: dict[bytes, _Sealed]) -> None:
    """Note the keys of all files below a record."""
    if isinstance(value, list):
        for entry in value:
            _collect(entry, found)
    elif isinstance(value, dict):
        located = record(value.get("locatorInfo"))
        digest, key = blob(located.get("plaintextHash")), blob(located.get("localKey"))
        if len(digest) == 32 and len(key) == 64:
            found[digest] = _Sealed(key, whole(located.get("size")) or 0)
        for entry in value.values():
            if isinstance(entry, dict | list):
                _collect(entry, found)


_SEALED: Final = Places(_find_sealed)


class _Opened(io.RawIOBase):
    """A file of the store, as it was: behind its content stand zeros, so that its length tells less."""

    def __init__(self, file: BinaryIO, sealed: _Sealed) -> None:
        super().__init__()
        self._file, self._left = file, sealed.size
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        iv = file.read(_IV)
        file.seek(0)
        pieces = iter(lambda: file.read(256 * 1024), b"")
        self._pieces = decrypt_archive(sealed.key[:32], sealed.key[32:], iv, Tape(pieces), size)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # every buffer has a view
        try:
            while not self._rest and self._left:
                self._rest = next(self._pieces)
            if not self._left:
                for _ in self._pieces:  # Whether it is authentic is known at its end.
                    pass
        except (Broken, StopIteration) as error:
            raise UnreadableSource("A file of a Signal backup is damaged.") from error
        data = self._rest[: min(len(view), self._left)]
        self._rest = self._rest[len(data) :]
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    """Yield the chats of an account in the order of its frames."""
    frames, damaged, found = Frames(name, folder), 0, 0
    with folder.open(name) as file:
        messages = _delimited(file)
        try:
            next(messages, None)
        except Broken:
            raise UnreadableSource(f"The file {name} is cut off before its first frame.") from None
        try:
            for data in messages:
                try:
                    frame = decode(data)
                except Broken:
                    damaged += 1
                    continue
                found += 1
                yield from frames.take(frame)
        except Broken:
            yield Loss(what=f"The file {name} is cut off behind frame {found + damaged}.")
        yield from frames.end()
    if damaged:
        yield Loss(what=f"{damaged} damaged frames of {name} were left out.", records=damaged)


def _delimited(file: BinaryIO) -> Iterator[bytes]:
    """Yield messages, each of which stands behind its length.

    Raises:
        Broken: the file ends within one, or one is too large.
    """
    while first := file.read(1):
        prefix = first
        while prefix[-1] & 0x80 and len(prefix) < 10 and (more := file.read(1)):
            prefix += more
        size, _ = varint(prefix, 0)
        if size > MAX_TEXT:
            raise Broken("a frame is too large")
        data = file.read(size)
        if len(data) < size:
            raise Broken("a frame is cut off")
        yield data


def decode(data: bytes, message: str = "Frame", depth: int = 0) -> Record:
    """Return a message as the plaintext export writes it.

    Raises:
        Broken: it is no such message, or nested too deep.
    """
    if depth > MAX_DEPTH:
        raise Broken("a message is nested too deep")
    fields, found = MESSAGES[message], Record()
    at, end = 0, len(data)
    while at < end:
        # Most numbers are one byte: a call for each would take as long as all the rest.
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = varint(data, at - 1)
        if tag & 7 in _VARYING:
            size, at = (data[at], at + 1) if at < end and data[at] < 0x80 else _long(data, at, end)
        else:
            size = _FIXED.get(tag & 7, end + 1)
        field = fields.get(tag >> 3)
        value: int | bytes = size
        if tag & 7:
            if size > end - at:
                raise Broken("a message ends too soon")
            value, at = data[at : at + size], at + size
        if field is None:
            continue
        kind = field.kind
        if kind == "u" and value.__class__ is int:
            plain: object = str(value)
        elif value.__class__ is int:
            plain = _plain(field, value, depth)
        elif field.nested:
            plain = decode(value, kind, depth + 1) if value else Record()  # type: ignore[arg-type]  # bytes
        else:
            plain = _plain(field, value, depth)
        if field.repeated:
            entry = found.setdefault(field.name, [])
            if isinstance(entry, list):
                entry.append(plain)
        else:
            found[field.name] = plain
    return found


def _long(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset after it: mostly a time, which has six bytes."""
    if at + 6 <= end:
        a, b, c, d, e, f = data[at : at + 6]
        if f < 128 <= min(a, b, c, d, e):
            return a & 127 | (b & 127) << 7 | (c & 127) << 14 | (d & 127) << 21 | (e & 127) << 28 | f << 35, at + 6
    return varint(data, at)


def _plain(field: _Field, value: int | bytes, depth: int) -> object:
    kind = field.kind
    if isinstance(value, int):
        if kind == "u":
            return str(value)
        if kind == "e":
            return field.names[value] if value < len(field.names) else value
        return bool(value) if kind == "f" else value & 0xFFFFFFFF
    if kind == "s":
        return value.decode("utf-8", "replace")
    if kind in MESSAGES:
        return decode(value, kind, depth + 1)
    return base64.b64encode(value).decode()
