"""What a phone's XML backup full of photos takes: time, memory, and whether every photo is in the archive.

    python benchmarks/bench_mms.py --gigabytes 5 --source /tmp --repository /dev/shm

The backup is made from a seed and read by `keepstone backup` in processes of its own, with a 64-digit key. Their memory
is the largest that the system told of any of them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keepstone

PHOTO = 300_000
VIDEO = 60_000_000


def write(path: Path, size: int, texts: int) -> set[bytes]:
    """Write a backup of about a size, `texts` SMS for each photo; return the hashes of its files."""
    rng = random.Random(11)
    hashes: set[bytes] = set()
    with path.open("wb", 1 << 20) as out:
        out.write(b"<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n<smses count=\"0\">\n")
        date = 1_500_000_000_000
        while out.tell() < size:
            for _ in range(texts):
                date += rng.randrange(90_000)
                out.write(
                    b'  <sms protocol="0" address="+1555000%04d" date="%d" type="%d" subject="null" body="text %d of '
                    b'a day &#55357;&#56832;" toa="null" sc_toa="null" service_center="null" read="1" status="-1" '
                    b'locked="0" date_sent="0" sub_id="1" readable_date="Jan 1, 2020" contact_name="(Unknown)" />\n'
                    % (rng.randrange(200), date, rng.randrange(1, 3), date)
                )
            data = rng.randbytes(VIDEO if len(hashes) % 1000 == 7 else rng.randrange(PHOTO // 2, PHOTO * 2))
            hashes.add(hashlib.sha256(data).digest())
            out.write(
                b'  <mms date="%d" msg_box="1" address="+1555000%04d" m_type="132" tr_id="%d" m_id="null" read="1">\n'
                b'    <parts>\n      <part seq="0" ct="image/jpeg" name="null" cl="a.jpg" text="null" data="'
                % (date, rng.randrange(200), date)
            )
            out.write(base64.b64encode(data))
            out.write(b'" />\n    </parts>\n    <addrs/>\n  </mms>\n')
        out.write(b"</smses>")
    return hashes


def run(*arguments: str, **environment: str) -> float:
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "keepstone_cli", *arguments], check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )  # fmt: skip
    return time.monotonic() - start


def content_of(place: dict[str, str]) -> set[bytes]:
    """Return the hashes of the content of all files in the archive."""
    unlock = keepstone.parse_digits(Path(place["KEEPSTONE_KEY_FILE"]).read_text())
    found = set()
    with keepstone.open(place["KEEPSTONE_REPOSITORY"], unlock, state=Path(place["KEEPSTONE_STATE_DIR"])) as client:
        archive = client.messages()
        opener = client.attachment_opener(archive)
        for chat in archive.chats():
            for entry in archive.messages(chat):
                for attachment in entry.message.attachments:
                    file = opener(attachment)
                    if file is not None:
                        with file:
                            found.add(hashlib.file_digest(file, "sha256").digest())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--texts", type=int, default=20, help="SMS for each photo")
    parser.add_argument("--source", default="/dev/shm")
    parser.add_argument("--repository", default="/dev/shm")
    parser.add_argument("--zip", action="store_true", help="back up the file inside a zip, as the app can write it")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="keepstone-mms-", dir=chosen.source) as source,
        tempfile.TemporaryDirectory(prefix="keepstone-mms-", dir=chosen.repository) as target,
    ):
        path = Path(source) / "files" / "sms-20260101020000.xml"
        path.parent.mkdir()
        hashes = write(path, int(chosen.gigabytes * 1e9), chosen.texts)
        size = path.stat().st_size
        if chosen.zip:
            subprocess.run(["zip", "-q", "-j", "-m", str(path.with_suffix(".zip")), str(path)], check=True)
        key = Path(target) / "key"
        key.write_text("0123456789abcdef" * 4)
        place = {
            "KEEPSTONE_REPOSITORY": f"{target}/repository", "KEEPSTONE_KEY_FILE": str(key),
            "KEEPSTONE_CACHE_DIR": f"{target}/cache", "KEEPSTONE_STATE_DIR": f"{target}/state",
        }  # fmt: skip
        run("init", **place)
        seconds = run("backup", str(path.parent), **place)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        stored = sum(entry.stat().st_size for entry in Path(target, "repository").rglob("*") if entry.is_file())
        print(f"{size / 1e9:.2f} GB, {len(hashes)} files: {seconds:.0f} s, {size / 1e6 / seconds:.0f} MB/s, "
              f"{used.ru_utime + used.ru_stime:.0f} s of processor time, stored {stored / 1e9:.2f} GB, "
              f"peak memory of one process {used.ru_maxrss / 1024:.0f} MiB", flush=True)  # fmt: skip
        found = content_of(place)
        print(f"{len(found & hashes)} of {len(hashes)} files are in the archive, byte for byte")


if __name__ == "__main__":
    main()
