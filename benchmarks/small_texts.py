"""What the message archive costs where there are no messages: a first backup of many small texts, with it and without.

    python benchmarks/small_texts.py [--files 20000] [--runs 3]

The texts begin like exports of chats do, with a date, a digit, a bracket or a tag, and have their names. One exported
chat lies among them and must be found. The runs are in turn; the store is in memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import keepstone
from keepstone.store.memory import MemoryStore

BYTES = 300
KINDS = (
    ("txt", "2026-01-01 log line {}\n"), ("json", "[1, 2, {}]\n"), ("json", '{{"a": {}}}\n'), ("csv", "12,5;x{}\n"),
    ("xml", "<a><b>{}</b></a>\n"),
)  # fmt: skip
CHAT = "12/31/21, 11:40 PM - Ann: hello\n12/31/21, 11:41 PM - Bob: there\n"
DIGITS = "0123456789abcdef" * 4


def write(source: Path, count: int) -> None:
    """Write the texts, two hundred a folder, and the chat."""
    for number in range(count):
        ending, form = KINDS[number % len(KINDS)]
        folder = source / f"{number // 200:04}"
        folder.mkdir(parents=True, exist_ok=True)
        line = form.format(number)
        (folder / f"{number}.{ending}").write_text((line * (BYTES // len(line) + 1))[:BYTES])
    (source / "0000" / "WhatsApp Chat with Ann.txt").write_text(CHAT)


def back_up(base: Path, source: Path, messages: bool) -> float:
    """Return how many seconds a first backup takes, with or without the archive."""
    store, credential = MemoryStore(), keepstone.parse_digits(DIGITS)
    keepstone.init(store, credential, state=base / "state")
    with keepstone.open(store, credential, cache=base / "cache", state=base / "state") as client:
        start = time.monotonic()
        result = client.backup(keepstone.BackupOptions(sources=[os.fsencode(source)], messages=messages))
        wall = time.monotonic() - start
    assert result.gathered.messages == (2 if messages else 0), result.gathered
    return wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="texts (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each kind (%(default)s)")
    chosen = parser.parse_args()
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    walls: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="keepstone-texts-", dir=parent) as name:
        write(Path(name, "source"), chosen.files)
        for run in range(chosen.runs):
            for messages in walls:
                walls[messages].append(back_up(Path(name, f"{run}-{messages}"), Path(name, "source"), messages))
    for messages, taken in walls.items():
        said = "with the archive" if messages else "without"
        print(
            f"{chosen.files} texts, {said}: {statistics.median(taken):.2f} s (of {len(taken)}, {min(taken):.2f} least)"
        )


if __name__ == "__main__":
    main()
