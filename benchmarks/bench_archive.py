"""What the message archive takes: speed and memory of a first run, and the growth by a day of a thousand messages.

    python benchmarks/bench_archive.py --messages 1000000

Growth is told against the new rows alone, compressed in one piece by zstd level 19.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from keepstone.messages.blocks import message_row
from keepstone.messages.model import Item, Message
from keepstone.store import open_store
from keepstone.work.archive import Origin
from keepstone.work.take_messages import Showing, take_messages
from messages.chats import DAY_MS, START_MS, Words, items, messages
from support import Place

PHONE = Origin("phone", "whatsapp")


def timed(do: Callable[[], int]) -> tuple[float, int]:
    start = time.process_time()
    result = do()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--years", type=float, default=6)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="do nothing but the first run, for the memory it takes")
    chosen = parser.parse_args()
    words = Words(random.Random(7))
    days = int(chosen.years * 365)

    def life() -> Iterator[Message]:
        return messages(1, chosen.messages, chats=chosen.chats, days=days, words=words)

    def day(number: int) -> Iterator[Message]:
        start = START_MS + (days + number) * DAY_MS
        return messages(100 + number, 1000, chats=chosen.chats, days=1, start_ms=start, words=words)

    def shown(until: int) -> Iterator[Item]:
        def found() -> Iterator[Message]:
            yield from life()
            for number in range(until):
                yield from day(number)

        return items(found())

    generating, _ = timed(lambda: sum(1 for _ in shown(0)))
    last = 0
    with tempfile.TemporaryDirectory(prefix="keepstone-archive-", dir="/dev/shm") as folder:
        place = Place(Path(folder), open_store(folder + "/repository"))
        place.init()
        for number in range(chosen.days + 1):
            with place.open() as client:
                repository = client._repository
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                start = time.process_time()
                done = take_messages(repository, [Showing(PHONE, shown(number))], level=3)
                taken = time.process_time() - start
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            stored = sum(size for _, size in place.store.list(""))
            count = done.taken[0].messages
            seconds = taken - generating
            print(
                f"run {number}: {count} messages, {count / seconds:,.0f}/s of CPU time beyond making them, "
                f"{done.work.joined} of {done.work.entries} entries joined, {done.work.blocks_read} blocks read, "
                f"memory {before // 1024} to {peak // 1024} MiB"
            )
            if number:
                rows = b"".join(map(message_row, day(number - 1)))
                alone = len(zstandard.ZstdCompressor(level=19).compress(rows))
                print(
                    f"  grew by {stored - last:,} bytes (packs {done.stored_bytes:,}); "
                    f"the rows alone {alone:,}: {(stored - last) / alone:.3f}"
                )
            else:
                print(f"  {stored:,} bytes, {stored / count:.1f} a message")
            last = stored
            if chosen.keep:
                return
        with place.open() as client:
            found = client.messages()
            for text in (
                words.word(3000),
                words.word(30),
                words.word(100),
                f'"{words.word(5)} {words.word(9)}"',
                "none of these",
            ):
                start, wall = time.process_time(), time.perf_counter()
                hits = sum(1 for _ in found.search(text))
                took, wall = time.process_time() - start, time.perf_counter() - wall
                print(f"search {text!r}: {hits} in {took * 1000:.0f} ms of CPU time, {wall * 1000:.0f} ms")
            start = time.perf_counter()
            chats = found.chats()
            chat = next(c for c in chats if c.conversation.title == "Person 0")
            shown = len(found.messages(chat))
            print(f"{len(chats)} chats, one of {shown} messages in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
