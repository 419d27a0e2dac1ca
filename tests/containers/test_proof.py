"""Proofs that end later: what is made use of meanwhile is what would have been proven, or it does not hold."""

from __future__ import annotations

import gzip
import random
import threading
import zlib

import pytest

from containers import writers
from containers.test_whatsapp import ROOT
from keepstone.containers import MemorySource, unwrap
from keepstone.containers.compressor import COMPILED
from keepstone.containers.proof import Proof
from keepstone.containers.source import Broken
from keepstone.errors import SourceError

pytestmark = pytest.mark.skipif(not COMPILED, reason="without the compiled encoders no large stream is unwrapped")
LETTERS = bytes(range(32, 96))


def large(seed: int) -> bytes:
    """Return bytes of which deflate makes more than 4 MiB."""
    rng = random.Random(seed)
    return rng.randbytes(6_500_000).translate(LETTERS * 4) + writers.text(rng, 100_000)


def zlib_stream() -> bytes:
    return zlib.compress(large(1), 6)


def crypt15() -> bytes:
    return writers.crypt15(zlib.compress(large(2), 6), random.Random(2))


def gzip_file() -> bytes:
    return gzip.compress(large(3), 6, mtime=0)


@pytest.mark.parametrize("make", [zlib_stream, crypt15, gzip_file])
def test_a_proof_that_ends_later_proves_what_one_at_once_does(make: object) -> None:
    data: bytes = make()  # type: ignore[operator]
    now = unwrap(MemorySource(data), ROOT)
    later = unwrap(MemorySource(data), ROOT, defers=True)
    assert now.node is not None
    assert now.proof is None
    assert later.node == now.node
    assert later.proof is not None
    assert later.proof.holds()
    later.proof.stop()


def test_what_differs_at_the_end_does_not_hold() -> None:
    encoder = zlib.compressobj(6)
    plain = large(4)
    data = encoder.compress(plain[:6_000_000]) + encoder.flush(zlib.Z_SYNC_FLUSH)
    data += encoder.compress(plain[6_000_000:]) + encoder.flush()
    later = unwrap(MemorySource(data), defers=True)
    assert later.node is not None
    assert later.proof is not None
    assert not later.proof.holds()
    assert unwrap(MemorySource(data)).node is None


def test_a_damaged_end_leaves_no_proof_behind() -> None:
    data = zlib_stream()
    result = unwrap(MemorySource(data[:-100] + bytes(100)), defers=True)
    assert (result.node, result.proof) == (None, None)
    assert "containers-proof" not in [thread.name for thread in threading.enumerate()]


def test_a_proof_ends_when_it_is_stopped() -> None:
    started = threading.Event()

    def run(proof: Proof[None]) -> None:
        started.set()
        while True:
            proof.passed(1)

    proof = Proof(run)
    started.wait()
    proof.stop()
    assert not proof.likely()
    with pytest.raises(Broken):
        proof.result()


def test_a_source_that_cannot_be_read_is_an_error() -> None:
    def run(proof: Proof[int]) -> int:
        raise SourceError("It cannot be read.")

    with pytest.raises(SourceError):
        Proof(run).holds()
