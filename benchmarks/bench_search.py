"""How long a search of a million messages takes: the first one of a process (cold), and those after it (warm).

    python benchmarks/bench_search.py /dev/shm/archive --messages 1000000

The archive is made in that folder if it is not there yet. Every cold search is the whole command in a process of its
own, which shows 20 hits with what stands beside them; a key of 64 digits opens the repository.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

DAYS = 6 * 365


def make(folder: Path, count: int) -> None:
    """Make the archive of the benchmark."""
    from keepstone.store import open_store
    from keepstone.work.archive import Origin
    from keepstone.work.take_messages import Showing, take_messages
    from messages.chats import Words, items, messages
    from support import Place

    found = messages(1, count, chats=200, days=DAYS, words=Words(random.Random(7)))
    place = Place(folder, open_store(str(folder / "repository"))).init()
    with place.open() as client:
        take_messages(client._repository, [Showing(Origin("phone", "whatsapp"), items(found))], level=3)


def search(folder: Path, texts: list[str]) -> None:
    """Search for texts, one after another, and tell how long each took."""
    import keepstone
    from keepstone.store import open_store
    from support import KEY

    with keepstone.open(
        open_store(str(folder / "repository")), KEY, cache=folder / "cache", state=folder / "state"
    ) as client:
        archive = client.messages()
        for text in texts:
            start = time.perf_counter()
            page = archive.search(text, limit=20)
            took = time.perf_counter() - start
            total = f"{page.total}" if page.is_whole else f"at least {page.total}"
            print(f"{text!r}: {total} messages, {len(page.hits)} shown, {took * 1000:.0f} ms", flush=True)


def cold(folder: Path, text: str) -> float:
    """Return the seconds that the command takes."""
    key = folder / "key"
    key.write_text("0123456789abcdef" * 4)
    key.chmod(0o600)
    places = {
        "KEEPSTONE_KEY_FILE": key,
        "KEEPSTONE_CACHE_DIR": folder / "own-cache",
        "KEEPSTONE_STATE_DIR": folder / "own",
    }
    command = [sys.executable, "-m", "keepstone_cli", "-r", str(folder / "repository"), "search", text]
    start = time.perf_counter()
    subprocess.run(
        command, check=True, env={**os.environ, **{name: str(place) for name, place in places.items()}},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--for", dest="texts", action="append", default=[], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.texts:
        search(chosen.folder, chosen.texts)
        return
    if not (chosen.folder / "repository").exists():
        chosen.folder.mkdir(parents=True, exist_ok=True)
        make(chosen.folder, chosen.messages)
    from messages.chats import Words

    words = Words(random.Random(7))
    texts = [words.word(3000), words.word(30), words.word(0), words.word(7), f'"{words.word(5)} {words.word(9)}"']
    texts += [f"{words.word(0)} {words.word(1)}", "e", words.word(1), "none of these"]
    for text in [*texts[:3], texts[-1]]:
        took = sorted(cold(chosen.folder, text) for _ in range(chosen.runs))
        print(f"cold {text!r}: " + ", ".join(f"{one:.2f}" for one in took) + " s")
    here = [sys.executable, __file__, str(chosen.folder)]
    subprocess.run([*here, *(part for text in ("nothing", *texts) for part in ("--for", text))], check=True)


if __name__ == "__main__":
    main()
