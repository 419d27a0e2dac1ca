"""Damages a local index and puts a valid stamp over it, case by case, each in a process of its own.

    python damaged_index.py FOLDER SEED COUNT      FOLDER as `prepare` left it; prints how the cases ended, as JSON

Only who has the repository's key can write such a stamp. Without it LMDB never sees a damaged file; here it does, so
that what the stamp is good for can be seen: how a case ended may be that LMDB killed the process.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

from blake3 import blake3

from keepstone.errors import KeepstoneError
from keepstone.hashing import keyed
from keepstone.repo.repository import open_repository
from keepstone.store.memory import MemoryStore
from support import Place, noise, picture

RIGHT, TYPED, FOREIGN, WRONG = "right", "typed error", "foreign error", "wrong snapshot"
CODES = {0: RIGHT, 10: TYPED, 11: FOREIGN, 12: WRONG}
KINDS = ("flip", "flips", "truncate", "page", "zero page")
SECONDS = 60
PAGE = 4096


def damage(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Return the bytes of a file after a damage of some kind; never the same bytes."""
    changed = bytearray(data)
    if kind in ("flip", "flips"):
        for at in rng.sample(range(len(data)), 1 if kind == "flip" else 5):
            changed[at] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del changed[rng.randrange(len(data)) :]
    elif kind == "garbage":
        return rng.randbytes(rng.randrange(1, len(data)))
    else:
        start = rng.randrange(len(data) // PAGE) * PAGE
        changed[start : start + PAGE] = rng.randbytes(PAGE) if kind == "page" else bytes(PAGE)
        if changed == data:  # A page of zeros was zeroed.
            changed[start] ^= 1
    return bytes(changed)


def prepare(base: Path) -> None:
    """Make a source, a repository of two snapshots, and the local index that the last run left; keep them in `base`."""
    source = base / "source"
    for number in range(12):
        (source / f"folder{number % 4}").mkdir(parents=True, exist_ok=True)
        (source / f"folder{number % 4}" / f"file{number}").write_bytes(noise(number, 3_000 + number * 700))
    store = MemoryStore()
    place = Place(base, store).init()
    place.backup([source])
    (source / "folder1" / "new").write_bytes(noise("new", 2_000))
    place.backup([source])
    with open_repository(
        store, place.credential, cache=None, state_folder=base / "state", accept_rollback=False
    ) as repository:
        key = keyed(repository.keys.cache, b"file")
    (base / "prepared").write_bytes(pickle.dumps((dict(store.objects), key)))


def _case(base: Path, number: int, seed: str) -> None:
    """Damage, stamp, back up a source of which a file has changed; the snapshot must be whole."""
    rng = random.Random(f"{seed} {number}")
    objects, key = pickle.loads((base / "prepared").read_bytes())
    own = base / f"case{number}"
    shutil.copytree(base / "state", own / "state")
    (folder,) = (base / "cache").iterdir()
    (own / "cache" / folder.name).mkdir(parents=True)
    data = damage((folder / "data.mdb").read_bytes(), KINDS[number % len(KINDS)], rng)
    (own / "cache" / folder.name / "data.mdb").write_bytes(data)
    stamp = keyed(key, b"stamp", blake3(data, key=key).digest())
    (own / "cache" / folder.name / "stamp").write_bytes(stamp)
    source = base / "source"
    store = MemoryStore()
    store.objects = objects
    place = Place(own, store)
    place.backup([source], force=bool(rng.randrange(2)))
    with place.open(in_memory=True) as repository:
        if not repository.check(read_data=1.0).healthy:
            os._exit(12)
    place.restore(own / "out", source)
    os._exit(0 if picture(own / "out") == picture(source) else 12)


def _run(base: Path, number: int, seed: str) -> str:
    """Run a case in a fork: nothing here has started a thread yet, so a fork is whole."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            _case(base, number, seed)
        except KeepstoneError as error:
            sys.stderr.write(f"{number}: {error!r}\n")
            sys.stderr.flush()
            os._exit(10)
        except BaseException:
            sys.stderr.write(f"{number}: {traceback.format_exc()}")
            sys.stderr.flush()
            os._exit(11)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.rmtree(base / f"case{number}", ignore_errors=True)
    return CODES[code] if code >= 0 else signal.Signals(-code).name


def main() -> None:
    base, seed, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ended = Counter(_run(base, number, seed) for number in range(count))
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main()
