"""How many messages a second of processor time the readers read: each form is generated, then read.

    python benchmarks/bench_readers.py [--only sms,telegram] [--messages 60000]

Reading is measured alone: in this process, databases from a copy that the reader makes, without a child and without the
archive. The best of four readings counts: a machine that does other things as well only ever takes away.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from keepstone.messages.model import Message
from keepstone.sources import (
    imessage,
    signal_android,
    signal_backup,
    signal_export,
    sms_backup_restore,
    telegram,
    whatsapp_android,
    whatsapp_export,
)
from keepstone.sources.reading import MemoryFolder, Options, Reader
from messages.chats import DAY_MS, START_MS, Words
from sources import signal_android as signal_rows
from sources import signals
from sources.apple import Database
from sources.whatsapp_databases import android, message

START = 1_600_000_000
CHATS = 40


class Life:
    """Texts and times, from a seed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._rng = random.Random(3)
        self._words = Words(random.Random(7))

    def texts(self) -> list[tuple[int, str]]:
        """Return times in seconds, and texts."""
        now, found = START, []
        for _ in range(self.count):
            now += self._rng.randrange(90)
            found.append((now, self._words.text(self._rng)))
        return found

    def pool(self) -> list[str]:
        """Return some texts, to be repeated."""
        return [self._words.text(self._rng) for _ in range(5000)]


def sms(life: Life) -> bytes:
    records = [
        f'  <sms protocol="0" address="+1555000{now % 200:04d}" date="{now}000" type="{now % 2 + 1}" subject="null" '
        f'body="{said}" toa="null" sc_toa="null" service_center="null" read="1" status="-1" locked="0" date_sent="0" '
        f'sub_id="1" readable_date="Jan 1, 2020 10:00:00" contact_name="(Unknown)" />\n'
        for now, said in life.texts()
    ]
    return f"<?xml version='1.0' ?>\n<smses count=\"{life.count}\">\n{''.join(records)}</smses>".encode()


def whatsapp(life: Life) -> bytes:
    lines = []
    for now, said in life.texts():
        when = time.gmtime(now)
        date = f"{when.tm_mday}/{when.tm_mon}/{when.tm_year % 100:02d}, {when.tm_hour:02d}:{when.tm_min:02d}"
        lines.append(f"{date} - {'Ann Smith' if now % 2 else 'Bob'}: {said}\n")
    return "".join(lines).encode()


def telegram_chat(life: Life) -> bytes:
    messages = [
        {"id": number, "type": "message", "date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)),
         "date_unixtime": str(now), "from": "Ann", "from_id": "user123", "text": said,
         "text_entities": [{"type": "plain", "text": said}]}
        for number, (now, said) in enumerate(life.texts())
    ]  # fmt: skip
    chat = {"name": "Ann", "type": "personal_chat", "id": 123, "messages": messages}
    return json.dumps(chat, indent=1, ensure_ascii=False).encode()


def frames(life: Life) -> list[signals.Frame]:
    return [signals.item(n, mine=n % 2 == 0, **signals.said(said)) for n, (_, said) in enumerate(life.texts())]


def rows(life: Life) -> bytes:
    texts = enumerate(life.texts())
    made = [signal_rows.message(n + 1, mine=n % 2 == 0, body=said) for n, (_, said) in texts]
    return signal_rows.stream(signal_rows.new(made))


def whatsapp_database(life: Life) -> bytes:
    """Return a database in which one message in ten has media, and one in twenty quotes another."""
    count, texts, rng = life.count, life.pool(), random.Random(1)
    messages = [
        message(row, rng.choice((1, 2)), f"3EB0{row:016X}", texts[row % len(texts)], from_me=row % 2,
                sender_jid_row_id=rng.choice((1, 2)), status=13 if row % 2 else 0, message_type=int(row % 10 == 0),
                timestamp=START_MS + row * 30_000)
        for row in range(2, count + 2)
    ]  # fmt: skip
    media = [
        {"message_row_id": row, "file_path": f"Media/WhatsApp Images/{row}.jpg", "file_size": 1000 + row,
         "mime_type": "image/jpeg", "width": 800, "height": 600}
        for row in range(10, count + 2, 10)
    ]  # fmt: skip
    quoted = [
        {"message_row_id": row, "key_id": f"3EB0{row - 7:016X}", "from_me": 0, "text_data": "before"}
        for row in range(21, count + 2, 20)
    ]
    return android(messages, message_media=media, message_quoted=quoted)


def imessage_database(life: Life) -> bytes:
    """Return a database of messages to and from forty people."""
    count, texts = life.count, life.pool()
    made = Database().connection
    made.execute("BEGIN")
    for number in range(1, CHATS + 1):
        who = f"+4917{number:08}"
        made.execute("INSERT OR REPLACE INTO handle VALUES (?, ?, 'iMessage')", (number, who))
        made.execute(
            "INSERT OR REPLACE INTO chat (ROWID, guid, style, chat_identifier, service_name)"
            " VALUES (?, ?, 45, ?, 'iMessage')",
            (number, f"iMessage;-;{who}", who),
        )
    nano = (START_MS - 978_307_200_000) * 1_000_000
    made.executemany(
        "INSERT INTO message (ROWID, guid, text, handle_id, service, account, date, is_from_me, is_sent)"
        " VALUES (?, ?, ?, ?, 'iMessage', 'p:+491700', ?, ?, ?)",
        (
            (row, f"{row:032X}", texts[row % len(texts)], row % CHATS + 1,
             nano + row * DAY_MS * 1000, row % 2, row % 2)
            for row in range(1, count + 1)
        ),
    )  # fmt: skip
    made.executemany(
        "INSERT OR REPLACE INTO chat_message_join VALUES (?, ?)",
        ((row % CHATS + 1, row) for row in range(1, count + 1)),
    )
    made.execute("COMMIT")
    return made.serialize()


FORMS: dict[str, tuple[Reader, Callable[[Life], bytes]]] = {
    "sms": (sms_backup_restore, sms),
    "whatsapp": (whatsapp_export, whatsapp),
    "telegram": (telegram, telegram_chat),
    "signal-export": (signal_export, lambda life: signals.export(*frames(life))),
    "signal-backup": (signal_backup, lambda life: signals.backup(*frames(life))),
    "signal-android": (signal_android, rows),
    "whatsapp-database": (whatsapp_android, whatsapp_database),
    "imessage": (imessage, imessage_database),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(FORMS))
    parser.add_argument("--messages", type=int, default=60_000)
    chosen = parser.parse_args()
    for name in chosen.only.split(","):
        reader, make = FORMS[name]
        folder = MemoryFolder({"x": make(Life(chosen.messages))})
        best = 0.0
        for _ in range(4):
            start = time.process_time()
            count = sum(type(item) is Message for item in reader.read("x", folder, Options()))
            best = max(best, count / (time.process_time() - start))
            assert count == chosen.messages, count
        print(f"{name}: {best:,.0f} messages/s of processor time, {folder.size('x') / chosen.messages:.0f} bytes each")


if __name__ == "__main__":
    main()
