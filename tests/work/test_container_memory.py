"""Containers of any size take the same memory: whole commands, backup and restore, measured by the system.

With `KEEPSTONE_CONTAINER_MB=4000` in the environment they are as large as is promised.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from containers import writers
from keepstone.containers.keys import hkdf

MEGABYTES = int(os.environ.get("KEEPSTONE_CONTAINER_MB", "300"))
LIMIT_MIB = 300 if MEGABYTES > 1000 else 200
SEED = 20261123

RUN = """
import json, os, sys
pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "keepstone_cli", *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
sys.stdout.write("\\n" + json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024, usage.ru_utime]))
"""
"""A small process in between, as Linux counts into a child's peak what its parent had."""


def pieces(megabytes: int) -> Iterator[bytes]:
    """Yield so many pieces of 10^6 bytes: noise that comes again after a while, some of it with zeros."""
    rng = random.Random(SEED)
    some = [rng.randbytes(1_000_000) for _ in range(24)] + [rng.randbytes(600_000) + bytes(400_000)]
    for number in range(megabytes):
        yield some[number % len(some)]


def write_crypt15(path: Path) -> None:
    """Write a file of this size; the database in it is of much the same."""
    head = writers.crypt15(b"", random.Random(SEED), with_md5=False)[:-16]
    iv = random.Random(SEED).randbytes(16)
    assert iv in head
    encryptor = Cipher(algorithms.AES(hkdf(writers.ROOT_KEY, b"backup encryption", 32)), modes.GCM(iv)).encryptor()
    deflate = zlib.compressobj(1)
    with path.open("wb") as file:
        file.write(head)
        for piece in pieces(MEGABYTES):
            file.write(encryptor.update(deflate.compress(piece)))
        file.write(encryptor.update(deflate.flush()) + encryptor.finalize() + encryptor.tag)


def write_zip(path: Path) -> None:
    """Write a zip64 archive of one deflated and one stored member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, method in (("deflated", zipfile.ZIP_DEFLATED), ("stored", zipfile.ZIP_STORED)):
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as member:
                for piece in pieces(MEGABYTES // 2):
                    member.write(piece)


def write_sms(path: Path) -> None:
    """Write a dump of messages with photos of a megabyte, and one of a quarter of it all."""
    with path.open("wb") as file:
        file.write(b"<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n<smses count=\"2\">\n")
        for number, piece in enumerate(pieces(MEGABYTES * 9 // 16)):
            file.write(b'<mms date="%d"><part ct="image/jpeg" data="%s" /></mms>\n' % (number, base64.b64encode(piece)))
        file.write(b'<mms date="0"><part ct="video/mp4" data="')
        for piece in pieces(MEGABYTES * 3 // 16):
            file.write(base64.b64encode(piece[:999_999]))
        file.write(b'" /></mms>\n</smses>')


def peak(*arguments: object) -> int:
    """Run a command in a process of its own; return its peak of memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    code, mib, seconds = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    print(arguments[2:4], mib, "MiB", seconds, "s")  # noqa: T201
    return int(mib)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write"), [("crypt15", write_crypt15), ("zip", write_zip), ("xml", write_sms)])
def test_a_container_of_any_size_is_saved_and_restored_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None]
) -> None:
    for variable, folder in (("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    digits = tmp_path / "digits"
    digits.write_text(writers.ROOT_KEY.hex())
    digits.chmod(0o600)
    monkeypatch.setenv("KEEPSTONE_KEY_FILE", str(digits))
    source, target, repository = tmp_path / "source", tmp_path / "target", tmp_path / "repository"
    source.mkdir()
    file = source / f"it.{name}"
    write(file)
    peak("-r", repository, "init", "--quiet")
    peak("-r", repository, "container", "key", "add", "whatsapp", "--key-file", digits)
    assert peak("-r", repository, "-q", "backup", source) < LIMIT_MIB
    stored = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
    assert stored < file.stat().st_size / 4  # what comes again inside was found, so it was unwrapped
    assert peak("-r", repository, "-q", "restore", f"latest:{source}", "--target", target) < LIMIT_MIB
    restored = target / file.name
    with file.open("rb") as one, restored.open("rb") as other:
        while data := one.read(1 << 20):
            assert other.read(1 << 20) == data
        assert not other.read(1)
