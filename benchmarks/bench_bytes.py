"""How fast bytes are hashed, sealed, framed and packed: the steps a chunk takes on its way to the store."""

from __future__ import annotations

import random
from typing import Any

import pytest

from keepstone import sealing
from keepstone.hashing import SubKeys, chunk_id
from keepstone.ids import RepositoryId
from keepstone.repo import format as layout
from keepstone.repo import pack

REPOSITORY = RepositoryId(bytes(range(16)))
CHUNK = 64 << 10
LEVEL = 3


def _chunks(keys: SubKeys, data: bytes) -> list[tuple[Any, bytes]]:
    pieces = (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
    return [(chunk_id(keys.chunk_id, piece), piece) for piece in pieces]


@pytest.mark.parametrize("size", [4 << 10, 64 << 10, 1 << 20], ids=["4K", "64K", "1M"])
def test_chunk_id(gauge: Any, keys: SubKeys, size: int) -> None:
    data = random.Random(12).randbytes(size)
    gauge.run(chunk_id, keys.chunk_id, data)
    gauge.speed(size)


@pytest.mark.parametrize("cipher", list(sealing.ALGORITHMS))
def test_seal_small_record(gauge: Any, keys: SubKeys, cipher: str) -> None:
    body = random.Random(13).randbytes(200)
    sealed = gauge.run(sealing.seal, keys.log, sealing.ALGORITHMS[cipher], b"where it stands", body)
    gauge.note(cipher=cipher, size=len(body), sealed=len(sealed))
    gauge.speed(1, "records/s", 1)


@pytest.mark.parametrize("data", ["noise", "text"])
def test_make_frame(gauge: Any, keys: SubKeys, data: str, noise: bytes, text: bytes) -> None:
    plain = {"noise": noise, "text": text}[data][: layout.FRAME_TARGET]
    frame = gauge.run(pack.make_frame, _chunks(keys, plain), LEVEL)
    gauge.note(data=data, level=LEVEL, ratio=round(len(plain) / len(frame.payload), 3))
    gauge.speed(len(plain))


@pytest.mark.parametrize("cipher", list(sealing.ALGORITHMS))
def test_build_pack(gauge: Any, keys: SubKeys, cipher: str) -> None:
    rng = random.Random(14)
    count = layout.PACK_TARGET // layout.FRAME_TARGET
    frames = [pack.make_frame(_chunks(keys, rng.randbytes(layout.FRAME_TARGET)), 0) for _ in range(count)]
    memory = memoryview(bytearray(layout.PACK_TARGET * 2))
    arguments = (frames, keys, REPOSITORY, sealing.ALGORITHMS[cipher], lambda size: memory)
    stored = gauge.run.pedantic(pack.build_pack, arguments, rounds=10, warmup_rounds=1)
    gauge.note(cipher=cipher, frames=len(frames), stored=len(stored))
    gauge.speed(layout.PACK_TARGET)
