"""How many messages a second of processor time the readers of exports and backups read, in one process.

    python benchmarks/bench_readers.py [--only sms,telegram] [--messages 60000]

The best of four readings counts: a machine that does other things as well only ever takes away.
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
    signal_android,
    signal_backup,
    signal_export,
    sms_backup_restore,
    telegram,
    whatsapp_export,
)
from keepstone.sources.reading import MemoryFolder, Options, Reader
from messages.chats import Words
from sources import signal_android as android
from sources import signals

START = 1_600_000_000


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
    return android.stream(android.new([android.message(n + 1, mine=n % 2 == 0, body=said) for n, (_, said) in texts]))


FORMS: dict[str, tuple[Reader, Callable[[Life], bytes]]] = {
    "sms": (sms_backup_restore, sms),
    "whatsapp": (whatsapp_export, whatsapp),
    "telegram": (telegram, telegram_chat),
    "signal-export": (signal_export, lambda life: signals.export(*frames(life))),
    "signal-backup": (signal_backup, lambda life: signals.backup(*frames(life))),
    "signal-android": (signal_android, rows),
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
            count = sum(isinstance(item, Message) for item in reader.read("x", folder, Options()))
            best = max(best, count / (time.process_time() - start))
        print(f"{name}: {best:,.0f}/s")


if __name__ == "__main__":
    main()
