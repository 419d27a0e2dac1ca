"""What a night's bytes consist of, and what it reads: a phone's days through Keepstone alone, in one process.

Each night's new objects are taken apart: deltas, chunks stored whole, trees and recipes, seals, directory lines,
padding, index objects, log. Reads from the store are counted, as they are what a remote store takes time and money
for. Blocks and depths can be chosen, each pair with a repository of its own; decision 15 has what came of it. At the
end the first and the last night are restored in turn, from a local index that knows all packs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import keepstone
from growth import ONLY
from keepstone.history import content
from keepstone.repo import format as layout
from keepstone.repo import pack, writer
from keepstone.store.memory import MemoryStore
from phone import Habits, Phone, parse_size

DIGITS = "0123456789abcdef" * 4
PARTS = ("deltas", "whole", "trees", "seals", "directory", "padding", "index", "log")


class CountingStore(MemoryStore):
    """A store in memory that counts what is read of it."""

    reads = read_bytes = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        self.reads += 1
        self.read_bytes += len(data)
        return data


class Nights:
    """A repository that is given a phone night by night."""

    def __init__(self, base: Path, phone: Phone, only: str, block: int, depth: int, messages: bool) -> None:
        self.base, self.block, self.depth, self.messages = base, block, depth, messages
        self.sources = [os.fsencode(phone.folder / path) for path in ONLY[only].paths]
        self.store = CountingStore()
        self.credential = keepstone.parse_digits(DIGITS)
        self.spent: Counter[str] = Counter()
        """Bytes by part, of all nights but the first."""
        self.walls: list[float] = []
        self.snapshots: list[str] = []
        keepstone.init(self.store, self.credential, state=base / "state")
        with self.open() as client:
            for kind, name in (("whatsapp", "encrypted_backup.key"), ("signal", "signal-passphrase.txt")):
                client.add_container_key(kind, (phone.memory / name).read_bytes())

    def open(self) -> keepstone.Client:
        return keepstone.open(self.store, self.credential, cache=self.base / "cache", state=self.base / "state")

    def night(self) -> str:
        """Save the phone and return a line on what was stored and read."""
        before, reads, read = set(self.store.objects), self.store.reads, self.store.read_bytes
        start = time.monotonic()
        with self._chosen(), self.open() as client, _telling_trees() as trees:
            result = client.backup(keepstone.BackupOptions(sources=self.sources, messages=self.messages))
        self.walls.append(time.monotonic() - start)
        assert result.snapshot is not None
        self.snapshots.append(result.snapshot.hex())
        spent: Counter[str] = Counter({"reads": self.store.reads - reads, "read bytes": self.store.read_bytes - read})
        with self.open() as client:
            for name in self.store.objects.keys() - before:
                self._take_apart(client, name, trees, spent)
        if len(self.walls) > 1:
            self.spent += spent
        said = ", ".join(f"{part} {spent[part] / 1e3:.0f}" for part in PARTS)
        stored = sum(spent[part] for part in PARTS)
        return (
            f"block {self.block}, depth {self.depth}: {stored / 1e3:.0f} kB: {said}; {spent['delta frames']} deltas; "
            f"{spent['reads']} reads of {spent['read bytes'] / 1e6:.1f} MB; {self.walls[-1]:.2f} s"
        )

    def _take_apart(self, client: keepstone.Client, name: str, trees: set[bytes], spent: Counter[str]) -> None:
        size = len(self.store.objects[name])
        found = layout.pack_of_name(name)
        if found is None:
            spent["log" if name.startswith("log/") else "index"] += size
            return
        directory, _ = client._repository.directory(found, size)
        for row in directory.frames:
            kind = "trees" if row.ids[:32] in trees else "deltas" if row.delta else "whole"
            spent[kind] += row.stored - row.tag
            spent["seals"] += row.tag
            spent["delta frames"] += row.delta
        lines = directory.length
        spent["directory"] += lines
        spent["seals"] += pack.PACK_HEADER_LENGTH + pack.TRAILER_LENGTH
        frames = sum(row.stored for row in directory.frames)
        spent["padding"] += size - frames - lines - pack.PACK_HEADER_LENGTH - pack.TRAILER_LENGTH

    @contextmanager
    def _chosen(self) -> Iterator[None]:
        """Write with this repository's block and depth."""
        before = content.DATABASE_BLOCK, layout.WRITTEN_DEPTH, layout.MAX_DEPTH
        content.DATABASE_BLOCK, layout.WRITTEN_DEPTH = self.block, self.depth
        layout.MAX_DEPTH = max(2 * self.depth, layout.MAX_DEPTH)
        try:
            yield
        finally:
            content.DATABASE_BLOCK, layout.WRITTEN_DEPTH, layout.MAX_DEPTH = before

    def restore(self, night: int) -> tuple[float, str]:
        """Restore a night; return how long it took and a line on what was read."""
        target = self.base / "restored"
        reads, read = self.store.reads, self.store.read_bytes
        with self._chosen(), self.open() as client:
            start = time.monotonic()
            options = keepstone.RestoreOptions(target=os.fsencode(target))
            result = client.restore(client.snapshot(self.snapshots[night]), options)
            wall = time.monotonic() - start
        assert not result.problems, result.problems
        shutil.rmtree(target)
        return wall, f"{self.store.reads - reads} reads of {(self.store.read_bytes - read) / 1e6:.1f} MB"


@contextmanager
def _telling_trees() -> Iterator[set[bytes]]:
    """Note the ids of chunks that hold trees and recipes."""
    trees: set[bytes] = set()
    add = writer.Writer.add_tree

    def noting(self: writer.Writer, *arguments: object, **named: object) -> object:
        chunk = add(self, *arguments, **named)  # type: ignore[arg-type]
        trees.add(bytes(chunk))
        return chunk

    writer.Writer.add_tree = noting  # type: ignore[method-assign, assignment]
    try:
        yield trees
    finally:
        writer.Writer.add_tree = add  # type: ignore[method-assign]


def _row(nights: Nights, days: int) -> str:
    cells = [f"{nights.spent[part] / days / 1e3:.0f}" for part in PARTS]
    stored = sum(nights.spent[part] for part in PARTS) / days / 1e3
    reads = f"{nights.spent['reads'] / days:.0f} | {nights.spent['read bytes'] / days / 1e6:.1f}"
    wall = statistics.median(nights.walls[1:])
    return f"| {nights.block} | {nights.depth} | {stored:.0f} | {' | '.join(cells)} | {reads} | {wall:.2f} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=10, help="to live (%(default)s)")
    parser.add_argument("--only", choices=[*ONLY], default="msgstore.db", help="what is saved (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the phone (%(default)s)")
    parser.add_argument("--size", default="80MB", help="of the database when the life begins (%(default)s)")
    parser.add_argument("--blocks", default=str(content.DATABASE_BLOCK), help="of databases (%(default)s)")
    parser.add_argument("--depths", default=str(layout.WRITTEN_DEPTH), help="of deltas on deltas (%(default)s)")
    parser.add_argument("--restores", type=int, default=0, help="of the first and the last night (%(default)s)")
    parser.add_argument("--no-messages", action="store_true", help="leave the message archive out")
    parser.add_argument("--folder", type=Path, help="where to work (a new folder below it; default: /dev/shm)")
    return parser.parse_args()


def main() -> None:
    chosen = _arguments()
    parent = chosen.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="keepstone-nights-", dir=parent.absolute()) as name:
        base, size = Path(name), parse_size(chosen.size)
        signal = 1 if chosen.only == "signal" else Habits().signal_every
        parts = ONLY[chosen.only].parts
        phone = Phone(
            base / "phone", Habits(seed=chosen.seed, size=size, media=2 * size, parts=parts, signal_every=signal)
        )
        phone.live()
        pairs = product(map(int, chosen.blocks.split(",")), map(int, chosen.depths.split(",")))
        tried = [
            Nights(base / f"{block}-{depth}", phone, chosen.only, block, depth, not chosen.no_messages)
            for block, depth in pairs
        ]
        for day in range(chosen.days + 1):
            if day:
                phone.live()
            for nights in tried:
                print(f"night {day + 1}, {nights.night()}", flush=True)
        for _ in range(chosen.restores):
            for nights in tried:
                for night in (0, -1):
                    wall, said = nights.restore(night)
                    print(f"restore of {'the last' if night else 'the first'} night: {wall:.2f} s, {said}", flush=True)
    print(f"\n{chosen.only}, {chosen.days} nights after the first, seed {chosen.seed}, kB a night\n")
    print(f"| block | depth | stored | {' | '.join(PARTS)} | reads | MB read | s |")
    print("|---" * (len(PARTS) + 6) + "|")
    for nights in tried:
        print(_row(nights, chosen.days))


if __name__ == "__main__":
    main()
