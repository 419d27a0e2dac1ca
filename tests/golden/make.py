"""Make the golden repository of format 1. Run once; the archive then never changes, and every later version reads it.

python tests/golden/make.py FOLDER      writes FOLDER/v1.tar.gz and FOLDER/v1.json
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import keepstone

KEY = "0123456789abcdef" * 4
PASSWORD = "golden"


def content(folder: Path, run: int) -> None:
    """Make what is backed up."""
    (folder / "sub" / "empty").mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"{number} line of run {run if number > 900 else 0}" for number in range(3000))
    (folder / "text").write_text(text)
    (folder / "sub" / "bytes").write_bytes(hashlib.shake_128(b"golden").digest(20_000))
    (folder / os.fsdecode(b"n\xff\xfe")).write_bytes(b"not UTF-8")
    (folder / "empty-file").write_bytes(b"")
    with (folder / "sparse").open("wb") as file:
        file.seek(2_000_000)
        file.write(b"end")
    if run == 0:
        os.symlink("text", folder / "link")
        os.link(folder / "text", folder / "sub" / "hard")


def listing(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, or the target of every link, by path (hex, as names are bytes)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).hex()
        if path.is_symlink():
            found[name] = f"link {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        source, place, state = base / "golden-source", str(base / "v1"), base / "state"
        key = keepstone.parse_digits(KEY)
        keepstone.init(place, key, state=state, label="golden")
        expected = []
        for run in range(2):
            content(source, run)
            with keepstone.open(place, key, state=state, in_memory=True) as repository:
                repository.backup(keepstone.BackupOptions(sources=[os.fsencode(source)], host="golden", tags=["v1"]))
            expected.append(listing(source))
        with keepstone.open(place, key, state=state, in_memory=True) as repository:
            repository.add_key(keepstone.password(PASSWORD), memory_kib=64 * 1024)
        (target / "v1.json").write_text(json.dumps({"source": str(source), "snapshots": expected}, indent=1) + "\n")
        with tarfile.open(target / "v1.tar.gz", "w:gz") as archive:
            archive.add(place, "v1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
