"""How fast readers of databases make messages: each form is generated, then read; messages a second of processor time.

    python benchmarks/bench_readers.py --messages 200000

Reading is measured alone: in this process, from a copy that the reader makes, without a child and without the archive.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from keepstone.messages.model import Message
from keepstone.sources.readers import reader_named
from keepstone.sources.reading import MemoryFolder, Options
from messages.chats import DAY_MS, START_MS, Words
from sources.apple import Database
from sources.whatsapp_databases import android, message

CHATS = 40


def whatsapp(count: int, texts: list[str]) -> bytes:
    """Return a database in which one message in ten has media, and one in twenty quotes another."""
    rng = random.Random(1)
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


def imessage(count: int, texts: list[str]) -> bytes:
    """Return a database of messages to and from forty people."""
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


FORMS: dict[str, tuple[str, Callable[[int, list[str]], bytes]]] = {
    "whatsapp-android": ("msgstore.db", whatsapp),
    "imessage": ("sms.db", imessage),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("forms", nargs="*", choices=[[], *FORMS], help="all, unless named")
    chosen = parser.parse_args()
    words = Words(random.Random(chosen.seed))
    texts = [words.text(random.Random(number)) for number in range(5000)]
    for form in chosen.forms or FORMS:
        name, make = FORMS[form]
        folder = MemoryFolder({name: make(chosen.messages, texts)})
        reader = reader_named(form)
        assert reader is not None
        best = 0.0
        for _ in range(chosen.rounds):
            start = time.process_time()
            count = sum(type(item) is Message for item in reader.read(name, folder, Options()))
            best = max(best, count / (time.process_time() - start))
            assert count == chosen.messages, count
        print(f"{form}: {best:,.0f} messages/s of processor time, {folder.size(name) / chosen.messages:.0f} bytes each")


if __name__ == "__main__":
    main()
