"""How many members of the archives that people have can be made again: by kind of file and by encoder.

Each archive is unwrapped as a backup does it and put together again; one that is not the same byte for byte ends the
run. Members of less than 64 bytes are left as they are and stand apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keepstone.containers import DeflateSettings, FileSource, Keys, leaves, rebuild, unwrap

SUFFIXES = ("zip", "jar", "war", "aar", "apk", "aab", "whl", "egg", "docx", "xlsx", "pptx", "odt", "ods", "odp", "epub",
            "xpi", "vsix", "nupkg", "gz", "tgz")  # fmt: skip
ENCODERS = ("zlib", "gzip", "Info-ZIP", "flushed zlib")


@dataclass(slots=True)
class Count:
    """What was found in the archives of one kind."""

    archives: int = 0
    members: int = 0
    small: int = 0
    reproduced: int = 0
    settings: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, str]] = field(default_factory=list)

    def row(self, kind: str) -> str:
        """Return it as a row of a table."""
        worth = self.members - self.small
        share = f"{100 * self.reproduced / worth:.1f} %" if worth else "-"
        made = ", ".join(f"{name} ({count})" for name, count in self.settings.most_common(4))
        return f"| {kind} | {self.archives} | {worth} | {self.reproduced} | {share} | {made} |"


def name_of(settings: DeflateSettings) -> str:
    """Return how a table calls an encoder."""
    memory = f", memory {settings.mem_level}" if settings.encoder in (0, 3) and settings.mem_level != 8 else ""
    return f"{ENCODERS[settings.encoder]} {settings.level}{memory}"


def look(path: Path, count: Count) -> None:
    """Unwrap an archive, put it together again, and count its members."""
    with path.open("rb") as file:
        source, keys = FileSource(file.fileno(), str(path)), Keys()
        found = unwrap(source, keys)
        report = found.report
        if found.node is not None:
            at = 0
            for piece in rebuild(found.node, (leaf.pieces for leaf in leaves(found.node, source, keys)), keys):
                if os.pread(file.fileno(), len(piece), at) != piece:
                    sys.exit(f"{path} is not the same from {at} on.")
                at += len(piece)
            if at != source.size:
                sys.exit(f"{path} is {at} bytes long and not {source.size}.")
    count.archives += 1
    count.members += report.members
    count.small += report.small
    count.reproduced += report.reproduced
    for settings, times in report.settings.items():
        count.settings[name_of(settings)] += times
    worth = report.members - report.small
    if worth and report.reproduced < worth:
        count.worst.append((report.reproduced / worth, f"{path}: {report.reproduced} of {worth} {report.reason}"))


def find(places: list[Path], largest: int) -> Iterator[Path]:
    """Yield the archives among files and below folders, each content once."""
    seen: set[tuple[str, int]] = set()
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            wanted = path.suffix[1:].lower() in SUFFIXES or path == place
            if not wanted or path.is_symlink() or not path.is_file() or path.stat().st_size > largest:
                continue
            facts = (path.name, path.stat().st_size)
            if facts not in seen:
                seen.add(facts)
                yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "places", nargs="+", type=Path, metavar="PATH", help="archives, and folders to look for them in"
    )
    parser.add_argument("--largest", type=int, default=300, help="leave out larger ones, MB (%(default)s)")
    parser.add_argument("--most", type=int, default=500, help="archives of one kind (%(default)s)")
    parser.add_argument(
        "--worst", type=int, default=0, help="name so many archives of each kind that were not all made"
    )
    chosen = parser.parse_args()
    counts: dict[str, Count] = {}
    began = time.monotonic()
    for path in find(chosen.places, chosen.largest * 1_000_000):
        count = counts.setdefault(path.suffix[1:].lower() or "(none)", Count())
        if count.archives < chosen.most:
            look(path, count)
    print("| kind | archives | members | made again | share | encoders |\n|---|---|---|---|---|---|")
    for kind, count in sorted(counts.items()):
        print(count.row(kind))
        for _, said in sorted(count.worst)[: chosen.worst]:
            print(f"  {said}")
    archives = sum(count.archives for count in counts.values())
    print(f"\nAll {archives} archives are the same byte for byte. {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
