"""Seeded data to measure with: media that does not compress, a chat database, many small files."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

WORDS = 4000


def media(folder: Path, total: int, seed: int = 1) -> None:
    """Make files of 50 KiB to 8 MiB of bytes that do not compress, `total` bytes in all."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while total > 0:
        size = min(total, int(50 * 1024 * 2 ** rng.uniform(0, 7.3)))
        data = b"\xff\xd8\xff\xe0" + rng.randbytes(max(0, size - 4))
        (folder / f"IMG-{number:05}.jpg").write_bytes(data)
        total -= size
        number += 1


def database(path: Path, total: int, seed: int = 2) -> None:
    """Make a SQLite database of chat messages of about `total` bytes."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("etaoinshrdlucmfwypvbgkqjxz", k=rng.randint(2, 10))) for _ in range(WORDS)]
    weights = [1 / (rank + 1) for rank in range(WORDS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA page_size=4096")
        db.execute("CREATE TABLE message(_id INTEGER PRIMARY KEY, chat INTEGER, key_id TEXT, time INTEGER, text TEXT)")
        db.execute("CREATE INDEX by_key ON message(key_id)")
        db.execute("CREATE INDEX by_chat ON message(chat, time)")
        number = 0
        while path.stat().st_size < total:
            rows = []
            for _ in range(20_000):
                number += 1
                text = " ".join(rng.choices(vocabulary, weights, k=rng.randint(1, 25)))
                rows.append((number, int(rng.paretovariate(1)) % 300, rng.randbytes(16).hex(), number * 61_000, text))
            db.executemany("INSERT INTO message VALUES (?,?,?,?,?)", rows)
            db.commit()


def small_files(folder: Path, count: int, seed: int = 3) -> None:
    """Make `count` small files, 20 to a folder."""
    rng = random.Random(seed)
    for number in range(count):
        if number % 20 == 0:
            below = folder / f"d{number // 2000:03}" / f"d{number // 20 % 100:02}"
            below.mkdir(parents=True, exist_ok=True)
        (below / f"file-{number}.txt").write_bytes(rng.randbytes(rng.randint(10, 400)))
