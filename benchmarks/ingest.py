"""A phone's SMS through the whole command: stored, read, and taken into the message archive.

    python benchmarks/ingest.py [--messages 1000000]

Storing the file, recognising it, reading it in a process apart and sorting and storing the messages are all in it. The
same file with `--no-messages` tells what storing alone takes. Memory is the most that any one process had.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from bench_readers import Life, sms
from compare import Keepstone, own_program, run


def make(path: Path, count: int) -> None:
    """Write a file of messages; in a process of its own, as memory of a parent counts as a child's."""
    path.parent.mkdir()
    path.write_bytes(sms(Life(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (a new folder below it; default: /dev/shm)")
    chosen = parser.parse_args()
    parent = chosen.folder or (Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="keepstone-ingest-", dir=parent.absolute()) as name:
        base = Path(name)
        source = base / "source" / "sms-20260101.xml"
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(source, chosen.messages))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("The messages could not be made.")
        print(f"{chosen.messages} messages, {source.stat().st_size / 1e6:.0f} MB")
        for options in ([], ["--no-messages"]):
            home = base / f"home{len(options)}"
            home.mkdir()
            tool = Keepstone(own_program(), home)
            repository = base / f"repository{len(options)}"
            run(tool.init(repository), tool.environment, base)
            sample = run([*tool.backup(repository, [source.parent]), *options], tool.environment, base)
            print(
                f"backup {' '.join(options)}: {sample.wall:.1f} s, {sample.processor:.1f} s of processor time, "
                f"{chosen.messages / sample.wall:,.0f} messages a second, {sample.peak:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
