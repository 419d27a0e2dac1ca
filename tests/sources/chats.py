"""Builders of chat exports: small files as the programs write them, and what they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keepstone.messages.model import Item, Loss, Message
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader

TEXTS = (
    "plain",
    "two\nlines\r\nand\ttabs",
    "👀 \U0001f469‍\U0001f680 עברית العربية e\u0301 \u202eturned",
    'quotes " and \\ slashes / and \\x1F',
    "\u2028 and } , { and ],[",
)


def fixture(*parts: str) -> bytes:
    """Return a sample file of the real program; the test is skipped where it is missing."""
    folder = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2].parent / "shared" / "fixtures"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the sample {path} is not here")
    return path.read_bytes()


def read(reader: Reader, files: dict[str, bytes], options: Options | None = None) -> list[Item]:
    """Return what the one recognised file among these holds."""
    folder = MemoryFolder(files)
    known = [name for name in folder.names() if reader.recognises(name, folder.open(name).read(HEAD), folder)]
    assert len(known) == 1, known
    return list(reader.read(known[0], folder, options or Options()))


def messages(items: list[Item]) -> list[Message]:
    assert not [item for item in items if isinstance(item, Loss)]
    return [item for item in items if isinstance(item, Message)]


def telegram(texts: tuple[object, ...] = TEXTS, indent: int | None = 1) -> dict[str, bytes]:
    """Return one chat of Telegram Desktop."""
    return {"export/result.json": dump(telegram_chat(700000000, "Bob", texts), indent)}


def telegram_chat(number: int, name: str, texts: tuple[object, ...], start: int = 0) -> dict[str, object]:
    entries = [
        {
            "id": start + number, "type": "message", "date": "2022-05-09T22:23:53",
            "date_unixtime": str(1652135033 + number), "from": name, "from_id": "user700000000", "text": text,
            "text_entities": [{"type": "plain", "text": text}],
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
    return {"name": name, "type": "personal_chat", "id": number, "messages": entries}


def meta(texts: tuple[str, ...] = TEXTS, indent: int | None = 2) -> dict[str, bytes]:
    """Return a thread as Meta writes it: newest first, UTF-8 as characters."""
    entries = [
        {"sender_name": "Bob", "timestamp_ms": 1415147732056 + number, "content": text.encode().decode("latin-1")}
        for number, text in enumerate(texts)
    ]
    thread = {
        "participants": [{"name": "Alice"}, {"name": "Bob"}], "messages": entries[::-1], "title": "Bob",
        "is_still_participant": True, "thread_path": "inbox/bob_1234567890",
    }  # fmt: skip
    return {"messages/inbox/bob_1234567890/message_1.json": dump(thread, indent, ascii_only=True)}


def discord(texts: tuple[str, ...] = TEXTS, indent: int | None = 2) -> dict[str, bytes]:
    """Return a channel of DiscordChatExporter."""
    entries = [
        {
            "id": str(530805779645595660 + (number << 30)), "type": "Default", "content": text,
            "timestamp": f"2019-01-04T17:52:{number:02}.762+00:00", "timestampEdited": None, "isPinned": False,
            "author": {"id": "444", "name": "bob", "nickname": "Bob", "isBot": False, "roles": []},
            "attachments": [], "embeds": [], "reactions": [], "mentions": [],
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
    channel = {"id": "530805775262679064", "type": "DirectTextChat", "name": "Bob", "topic": None}
    whole = {"guild": {"id": "0", "name": "Direct Messages"}, "channel": channel, "messages": entries}
    return {"Bob.json": dump({**whole, "messageCount": len(entries)}, indent)}


def slack(texts: tuple[str, ...] = TEXTS, indent: int | None = 4) -> dict[str, bytes]:
    """Return an export of Slack with one channel and one day."""
    entries = [
        {"user": "U1", "type": "message", "ts": f"1355517523.{number:06}", "text": text}
        for number, text in enumerate(texts)
    ]
    users = [{"id": "U1", "team_id": "T1", "name": "bob", "real_name": "Bob", "profile": {"display_name": ""}}]
    channels = [{"id": "C1", "name": "general", "created": 1, "members": ["U1"], "topic": {"value": "all"}}]
    return {
        "users.json": dump(users, indent),
        "channels.json": dump(channels, indent),
        "general/2012-12-14.json": dump(entries, indent),
    }


def dump(value: object, indent: int | None = None, *, ascii_only: bool = False) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
