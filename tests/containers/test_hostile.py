"""Hostile and broken containers: bounded work, bounded memory, no error; what cannot be proven stays as it is."""

from __future__ import annotations

import base64
import gzip
import io
import os
import random
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from containers import quines, writers
from keepstone.containers import (
    Budget,
    Deflate,
    DeflateSettings,
    Keys,
    MemorySource,
    Patience,
    SignalKey,
    SignalRecoveryKey,
    compressor,
    parse_key,
    transforms,
    unwrap,
)

KEYS = Keys(
    whatsapp=parse_key(writers.ROOT_KEY.hex().encode()) or (),
    signal=(SignalKey(writers.DIGITS.encode()),),
    recovery=(SignalRecoveryKey(writers.RECOVERY_KEY.encode()),),
)
SEED = 20261123
KINDS = 13


def specimens(rng: random.Random) -> list[bytes]:
    """Return a small container of every kind."""
    text, noise = writers.text(rng, 3000), rng.randbytes(2000)
    archive = writers.zip_of({"a": text, "b": noise, "c.gz": writers.gzip_of(text)})
    return [
        archive,
        writers.gzip_of(archive),
        writers.zlib_of(text),
        writers.tar_of({"a": rng.randbytes(5000), "b": archive}),
        writers.sms_xml(rng, [noise, archive]),
        writers.crypt15(writers.zlib_of(archive), rng),
        writers.signal_backup(rng, 20, [noise, rng.randbytes(5000)]),
        writers.signal_gzip(writers.signal_plain(writers.signal_frames(30)), flushed=True),
        writers.signal_backup(rng, 20, [noise, rng.randbytes(5000)], version=0),
        writers.crypt14(writers.zlib_of(text, 9), rng, writers.ROOT_KEY, rng.randbytes(32)),
        writers.crypt12(archive, rng, writers.ROOT_KEY, rng.randbytes(32)),
        writers.gzip_of(text, 1) + writers.gzip_of(noise) + encoded_by_gzip(text),
        b"#!/bin/sh\n" + writers.zip_of({str(number): text[number:] for number in range(9)}, level=9),
    ]


def encoded_by_gzip(data: bytes) -> bytes:
    """Return a stream of GNU gzip."""
    body = b"".join(transforms.deflate(DeflateSettings(compressor.GZIP, 6, -15, 0, 0), iter([data])))
    return b"\x1f\x8b\x08" + bytes(7) + body + struct.pack("<2I", zlib.crc32(data), len(data))


def check(data: bytes) -> float:
    """Unwrap; whatever comes out is the file again, and it took less than a second of work. Return how much."""
    began = time.process_time()
    result = unwrap(MemorySource(data), KEYS)
    took = time.process_time() - began
    assert took < 1
    if result.node is not None:
        contents = writers.read_leaves(result.node, data, KEYS)
        assert writers.rebuilt(result.node, contents, KEYS) == data
    return took


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return the same with some bits, runs or ends changed."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(out)) if rng.random() < 0.5 else max(0, len(out) - 1 - rng.randrange(min(len(out), 200)))
        kind = rng.randrange(5)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", rng.randbytes(4)))
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 20))
        else:
            del out[at : at + rng.randrange(1, 50)]
        if not out:
            return b""
    return bytes(out)


@pytest.mark.parametrize("kind", range(KINDS))
def test_mutations_never_raise_and_never_change_a_byte(kind: int) -> None:
    rng = random.Random(SEED)
    data = specimens(rng)[kind]
    for _ in range(150):
        check(mutate(rng, data))


def test_mutations_of_a_backup_folder_never_raise_and_never_change_a_byte() -> None:
    rng = random.Random(SEED)
    data, metadata = writers.signal_night(rng, 30), writers.signal_metadata(rng)
    for _ in range(150):
        for main, beside in ((mutate(rng, data), metadata), (data, mutate(rng, metadata))):
            node = unwrap(MemorySource(main), KEYS, companion=beside).node
            if node is not None:
                assert writers.rebuilt(node, writers.read_leaves(node, main, KEYS), KEYS) == main


def test_a_stream_of_very_many_sections_is_given_up() -> None:
    data = b"\x1f\x8b\x08" + bytes(7) + transforms.EMPTY_SECTION * 300_000 + b"\3\0" + bytes(8)
    began = time.process_time()
    assert unwrap(MemorySource(data), KEYS).node is None
    assert time.process_time() - began < 5


@pytest.mark.slow
def test_a_hundred_thousand_mutations_never_raise_hang_or_grow() -> None:
    seed = int(os.environ.get("KEEPSTONE_SEED", SEED))
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    kinds = specimens(rng)
    assert len(kinds) == KINDS
    slowest = [0.0] * KINDS
    for number in range(100_000):
        kind = number % KINDS
        slowest[kind] = max(slowest[kind], check(mutate(rng, kinds[kind])))
        if number == 2000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("slowest of each kind, ms:", [round(1000 * took) for took in slowest], "grown KiB:", grown)  # noqa: T201
    assert grown < 32 * 1024


@pytest.mark.parametrize("kind", range(KINDS))
def test_every_truncation_is_kept_as_it_is(kind: int) -> None:
    data = specimens(random.Random(SEED))[kind]
    for end in (*range(0, 200, 7), *range(200, len(data), len(data) // 40 + 1), len(data) - 1):
        check(data[:end])


def test_noise_that_begins_like_a_container_is_kept_as_it_is() -> None:
    rng = random.Random(SEED)
    for head in (b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"\x78\x9c", b"<smses ", b"\0\1\2", b"MZ", b"\x81\1\x08\1\x1a"):
        for size in (0, 1, 30, 1000, 100_000):
            check(head + rng.randbytes(size))
    check(bytes(257) + b"ustar" + rng.randbytes(1000))


def test_a_bomb_is_left_as_it_is_after_bounded_work() -> None:
    bomb = writers.gzip_of(bytes(100_000_000), 9)
    began = time.monotonic()
    result = unwrap(MemorySource(bomb), KEYS)
    assert result.node is None
    assert "expands" in result.report.reason or "long" in result.report.reason
    assert time.monotonic() - began < 10
    nested = bomb
    for _ in range(3):
        nested = writers.zip_of({f"{number}": nested + bytes(number) for number in range(16)})
        check(nested)


def test_entities_that_multiply_are_never_expanded() -> None:
    laughs = [b'<!ENTITY e0 "ha">', *(b'<!ENTITY e%d "%s">' % (n + 1, b"&e%d;" % n * 10) for n in range(30))]
    parts = [b'<part data="%s&e30;" />' % base64.b64encode(random.Random(SEED).randbytes(900)) for _ in range(50)]
    check(
        b"<?xml version='1.0'?><!DOCTYPE smses [" + b"".join(laughs) + b"]>\n<smses >" + b"".join(parts) + b"</smses>"
    )


def test_members_that_overlap_are_unwrapped_once() -> None:
    """The trick of a bomb whose directory points at the same data many times."""
    rng = random.Random(SEED)
    data = writers.zip_of({"a": writers.text(rng, 60_000)})
    at = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entry = data[at:end]
    many = 5000
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, many, many, len(entry) * many, at, 0)
    bomb = data[:at] + entry * many + last
    result = unwrap(MemorySource(bomb), KEYS)
    assert result.report.members == 1
    check(bomb)
    # Data that reach into the next member's header.
    two = writers.zip_of({"a": writers.text(rng, 6000), "b": writers.text(rng, 6000)})
    entry_at = two.index(b"PK\1\2")
    longer = bytearray(two)
    longer[entry_at + 20 : entry_at + 24] = struct.pack("<I", 1_000_000)
    check(bytes(longer))


def test_a_directory_with_too_many_members_is_read_up_to_the_limit() -> None:
    members = {f"{number}": b"%d" % number * 200 for number in range(300)}
    data = writers.zip_of(members, zipfile.ZIP_STORED)
    result = unwrap(MemorySource(data), KEYS, Budget(members=100))
    assert result.report.members == 100
    assert result.node is not None
    assert writers.rebuilt(result.node, writers.read_leaves(result.node, data, KEYS), KEYS) == data


def test_an_archive_that_contains_itself_ends() -> None:
    # Each layer holds the next; the depth is what bounds it, as it would for one that never ends.
    data = writers.text(random.Random(1), 500)
    for _ in range(40):
        data = writers.gzip_of(data, 1)
    check(data)


@pytest.mark.parametrize("build", [quines.gzip_quine, quines.zip_quine])
def test_an_archive_that_is_its_own_content_is_left_as_it_is_after_bounded_work(build: Callable[[], bytes]) -> None:
    quine = build()
    if quine.startswith(b"PK"):
        assert zipfile.ZipFile(io.BytesIO(quine)).read("q") == quine
    else:
        assert gzip.decompress(quine) == quine
    assert unwrap(MemorySource(quine), KEYS).report.members <= 1
    check(quine)
    check(writers.zip_of({f"{number}": quine for number in range(300)}, zipfile.ZIP_STORED))
    check(writers.gzip_of(writers.gzip_of(quine)))


class Slow:
    """A clock by which everything takes a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ns(self) -> int:
        return 0

    def monotonic(self) -> float:
        self.seconds += 1
        return self.seconds


def test_an_encoder_that_is_made_slow_is_given_up() -> None:
    data = writers.gzip_of(writers.text(random.Random(2), 3_000_000))
    result = unwrap(MemorySource(data), KEYS, clock=Slow())
    assert result.node is None
    assert result.report.reason == "it takes too long"


def test_members_that_no_encoder_made_cost_little() -> None:
    rng = random.Random(3)
    out = io.BytesIO(
        writers.zip_of({f"{number}": writers.text(rng, 20_000) for number in range(100)}, zipfile.ZIP_STORED)
    )
    with zipfile.ZipFile(out) as archive:
        infos = archive.infolist()
    parts, directory = [], []
    data = out.getvalue()
    at = 0
    for info in infos:
        start = info.header_offset + 30 + len(info.filename)
        odd = zlib.compressobj(6, zlib.DEFLATED, -11, 3)
        packed = odd.compress(data[start : start + info.file_size]) + odd.flush()
        name = info.filename.encode()
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, info.CRC, len(packed), info.file_size, len(name), 0)
        sizes = (info.CRC, len(packed), info.file_size)
        directory.append(
            struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, len(name), 0, 0, 0, 0, 0, at) + name
        )
        parts.append(local + name + packed)
        at += len(parts[-1])
    listed = b"".join(directory)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(infos), len(infos), len(listed), at, 0)
    result = unwrap(MemorySource(b"".join(parts) + listed + last), KEYS)
    assert (result.report.members, result.report.reproduced) == (100, 0)


def test_without_compiled_encoders_little_is_tried_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressor, "COMPILED", False)
    rng = random.Random(SEED)
    patience = Patience(left=30_000, each=10_000)
    fed = 0
    honest = compressor.oracle.Encoder.compress

    def counting(self: compressor.oracle.Encoder, data: bytes) -> bytes:
        nonlocal fed
        fed += len(data)
        return honest(self, data)

    monkeypatch.setattr(compressor.oracle.Encoder, "compress", counting)
    found, tried = [], 0
    for size in (3_000, 300_000, *[6_000] * 9):
        data = writers.zip_of({"a": writers.text(rng, size), "photo": rng.randbytes(900)})
        fed = 0
        result = unwrap(MemorySource(data), KEYS, patience=patience)
        tried += fed
        assert fed <= 10_000
        found.append(any(isinstance(node, Deflate) for node in getattr(result.node, "parts", ())))
        if result.node is not None:
            assert writers.rebuilt(result.node, writers.read_leaves(result.node, data, KEYS), KEYS) == data
    assert found[:3] == [True, False, True]
    assert not any(found[-2:])
    assert tried <= 30_000


STREAM_THROUGH = """
import os, resource, sys
from keepstone.containers import FileSource, Keys, leaves, rebuild, unwrap
fd, keys = os.open(sys.argv[1], os.O_RDONLY), Keys()
source = FileSource(fd, "it")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
node = unwrap(source, keys).node
plain = sum(len(piece) for leaf in leaves(node, source, keys) for piece in leaf.pieces)
at = 0
for piece in rebuild(node, (leaf.pieces for leaf in leaves(node, source, keys)), keys):
    assert os.pread(fd, len(piece), at) == piece
    at += len(piece)
assert at == source.size
sys.stdout.write(f"{plain} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}")
"""


def stream_through(path: Path) -> tuple[int, int]:
    """Unwrap, read and rebuild a file in a process of its own; return its plaintext size and the KiB it took."""
    done = subprocess.run([sys.executable, "-c", STREAM_THROUGH, str(path)], check=True, capture_output=True, text=True)
    plain, kib = done.stdout.split()
    return int(plain), int(kib)


def large_zip(path: Path, size: int) -> None:
    """Write a zip with one member of this size, mostly zeros, and a stored one half as large."""
    block = writers.text(random.Random(4), 100_000) + bytes(900_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, method, count in (("deflated", zipfile.ZIP_DEFLATED, 2), ("stored", zipfile.ZIP_STORED, 1)):
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as member:
                for _ in range(count * size // (2 * len(block))):
                    member.write(block)


def test_a_large_container_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    large_zip(path, 300_000_000)
    plain, kib = stream_through(path)
    assert plain > 440_000_000
    assert kib < 64 * 1024


@pytest.mark.slow
def test_a_container_of_4_gb_takes_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.zip"
    large_zip(path, 5_000_000_000)
    plain, kib = stream_through(path)
    assert plain > 7_000_000_000
    assert kib < 64 * 1024
