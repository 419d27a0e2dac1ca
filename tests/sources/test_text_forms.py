"""Every form of text, cut anywhere or damaged anywhere: what was complete is kept, the loss is told, nothing fails."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable

import pytest

from keepstone.messages.model import Call, Conversation, Item, Loss, Message
from keepstone.sources import (
    discord,
    keepstone_jsonl,
    meta,
    signal_export,
    slack,
    sms_backup_restore,
    sms_import_export,
    telegram,
    whatsapp_export,
)
from keepstone.sources.folders import ZipFolder
from keepstone.sources.reading import HEAD, MemoryFolder, Options, Reader, UnreadableSource
from keepstone.views import plain
from keepstone.views.chat import Chat
from sources import chats, signals
from sources.test_sms_backup_restore import backup, mms, sms
from support import report

COUNT = 12
TEXTS = tuple(f"{number} \U0001f98a אב é\u0301" for number in range(COUNT))
MINUTES = ("12/31/21, 11:{:02d} PM - Ann: {}\n", "[31/12/21, 23:{:02d}:05] Ann: {}\r\n")


def row(number: int) -> dict[str, str]:
    said = {"_id": "1", "thread_id": "1", "address": "+15550001", "date": str(1_500_000_000_000 + number), "type": "1"}
    return said | {"body": TEXTS[number], "read": "1"}


def own() -> bytes:
    folder = MemoryFolder({"x": signals.export(*(signals.item(n, **signals.said(t)) for n, t in enumerate(TEXTS)))})
    found = [one for one in signal_export.read("x", folder, Options()) if isinstance(one, Message)]
    return b"".join(plain.jsonl([Chat(Conversation(service="signal", key=found[0].chat), found)]))


def one_day() -> dict[str, bytes]:
    return chats.slack(TEXTS)


FORMS: dict[str, tuple[Reader, Callable[[], dict[str, bytes]]]] = {
    "sms-xml": (sms_backup_restore, lambda: {"a": backup(*(sms(f'"{t}"', date=n) for n, t in enumerate(TEXTS)),
                                                        mms(b"abc" * 50))}),
    "sms-lines": (sms_import_export, lambda: {"a": "\n".join(json.dumps(row(n)) for n in range(COUNT)).encode()}),
    "sms-array": (sms_import_export, lambda: {"a": json.dumps([row(n) for n in range(COUNT)], indent=1).encode()}),
    "whatsapp-android": (whatsapp_export, lambda: {"a": "".join(
        MINUTES[0].format(n, t) for n, t in enumerate(TEXTS)).encode()}),
    "whatsapp-iphone": (whatsapp_export, lambda: {"_chat.txt": "".join(
        MINUTES[1].format(n, t) for n, t in enumerate(TEXTS)).encode()}),
    "telegram": (telegram, lambda: chats.telegram(TEXTS)),
    "meta": (meta, lambda: chats.meta(TEXTS)),
    "discord": (discord, lambda: chats.discord(TEXTS)),
    "slack": (slack, one_day),
    "signal": (signal_export, lambda: {"main.jsonl": signals.export(
        *(signals.item(n, **signals.said(t)) for n, t in enumerate(TEXTS)))}),
    "keepstone": (keepstone_jsonl, lambda: {"a": own()}),
}  # fmt: skip


def longest(files: dict[str, bytes]) -> str:
    return max(files, key=lambda name: len(files[name]))


def entry(reader: Reader, files: dict[str, bytes]) -> str:
    """Return the file that the reader takes."""
    folder = MemoryFolder(files)
    return next(name for name in folder.names() if reader.recognises(name, files[name][:HEAD], folder))


def read(reader: Reader, name: str, files: dict[str, bytes]) -> list[Item] | None:
    try:
        return list(reader.read(name, MemoryFolder(files), Options()))
    except UnreadableSource:
        return None


def texts(items: list[Item]) -> list[str]:
    return [one.text for one in items if isinstance(one, Message)]


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_keeps_what_was_complete_and_says_so(form: str) -> None:
    reader, make = FORMS[form]
    files = make()
    name, cut_one = entry(reader, files), longest(files)
    whole = texts(read(reader, name, files) or [])
    assert len(whole) >= COUNT
    rng = random.Random(form)
    data = files[cut_one]
    for cut in sorted({rng.randrange(len(data)) for _ in range(1000)}):
        items = read(reader, name, {**files, cut_one: data[:cut]})
        if items is None:
            continue
        found = texts(items)
        # The last text of a form without ends may be cut; all others are as they were.
        assert found[:-1] == whole[: max(len(found) - 1, 0)] or set(found) <= set(whole), cut
        # A record that is complete in the bytes is there: its text and the next one's beginning stand before the cut.
        complete = sum(json.dumps(text)[1:-1].encode() in data[:cut] or text.encode() in data[:cut] for text in whole)
        assert len(found) >= min(complete, len(whole)) - 1, cut


@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_damages_never_fail(form: str) -> None:
    reader, make = FORMS[form]
    seed = random.randrange(2**32)
    report(f"seed {seed}")
    rng = random.Random(seed)
    files = make()
    name = entry(reader, files)
    for _ in range(1000):
        damaged = dict(files)
        chosen = rng.choice(sorted(files))
        content = bytearray(damaged[chosen])
        for _ in range(rng.choice((1, 1, 3, 20))):
            place, length = rng.randrange(len(content) + 1), rng.choice((0, 1, 1, 50))
            content[place : place + length] = rng.choice(
                (b"", rng.randbytes(3), b'"', b"{", b"\\u", b"<", b"&#", b"\0")
            )
        damaged[chosen] = bytes(content)
        folder = MemoryFolder(damaged)
        reader.recognises(name, damaged[name][:HEAD], folder)
        for one in read(reader, name, damaged) or ():
            assert isinstance(one, Conversation | Message | Call | Loss)


@pytest.mark.parametrize("form", FORMS)
def test_in_a_zip_it_is_the_same_and_a_name_that_leaves_it_is_not_there(form: str) -> None:
    reader, make = FORMS[form]
    files = make()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name in ("../evil.json", "/etc/passwd.json", "a/../../b.xml"):
            archive.writestr(name, files[longest(files)])
    folder = ZipFolder(packed, "x.zip")
    assert set(folder.names()) == set(files)
    name = entry(reader, files)
    assert texts(list(reader.read(name, folder, Options()))) == texts(read(reader, name, files) or [])


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_read_and_ends(form: str) -> None:
    """What unpacks to a thousand times its size is read block by block, and ends."""
    reader, make = FORMS[form]
    files = make()
    name = entry(reader, files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, data in files.items():
            archive.writestr(other, data + b" " * 20_000_000 if other == longest(files) else data)
    found = list(reader.read(name, ZipFolder(packed, "x.zip"), Options()))
    assert len(texts(found)) >= COUNT - 1
