"""What is derived from the key, and from the mean, is what the specification says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from chunking.material import key, secrets, secrets_of, stream
from keepstone.chunking import AesSecrets, Parameters, secrets_for
from keepstone.chunking.oracle import siphash_1_3
from keepstone.errors import UsageError

LABELS = [f"key {number}" for number in range(60)]


@pytest.mark.parametrize("exponent", range(12, 23))
def test_parameters_follow_from_the_mean(exponent: int) -> None:
    mean = 1 << exponent
    p = Parameters.for_mean(mean)
    density = 2.0 ** -(8 + p.mask_bits)
    assert (p.minimum, p.normal, p.maximum) == (mean // 2, mean * 7 // 8, mean * 23 // 16)
    assert p.minimum >= 1024
    assert p.strict == 2**64 / density / (4 * mean)
    assert p.loose == 2**64 / density * 2 / mean
    assert p.strict < p.loose < 2**64
    assert density >= 8 / mean


@pytest.mark.parametrize("mean", [-4096, 0, 1, 2048, 4095, 4097, 6144, 8 << 20, 1 << 40])
def test_other_means_are_refused(mean: int) -> None:
    with pytest.raises(UsageError, match="mean chunk size"):
        Parameters.for_mean(mean)


@pytest.mark.parametrize("algorithm", ["two-stage", "aes"])
@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_keys_of_other_lengths_are_refused(algorithm: str, length: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        secrets_for(algorithm, bytes(length))


def test_secrets_are_drawn_from_the_stream_in_the_specified_order() -> None:
    """A second reading of the text: the whole stream at once, rank by elimination, rows read as equations."""
    for label in LABELS:
        drawn = blake3(b"keepstone 1 two-stage", key=key(label)).digest(length=1 << 12)
        t = drawn[16]
        at = next(i for i in range(17, len(drawn)) if drawn[i] % 2 != t % 2)
        u, at = drawn[at], at + 1
        while _rank(drawn[at : at + 8]) < 8 or bin(drawn[at] % 32).count("1") < 2:
            at += 8
        rows = drawn[at : at + 8]
        found = secrets(label)
        assert (found.sip_key, found.t, found.u) == (drawn[:16], t, u)
        for byte in range(256):
            assert [found.table[byte] >> r & 1 for r in range(8)] == [bin(row & byte).count("1") % 2 for row in rows]


def _rank(rows: bytes) -> int:
    left, rank = list(rows), 0
    for bit in range(8):
        pivot = next((row for row in left if row >> bit & 1), None)
        if pivot is not None:
            left.remove(pivot)
            left = [row ^ pivot if row >> bit & 1 else row for row in left]
            rank += 1
    return rank


def test_the_map_is_linear_and_invertible_and_the_targets_differ_under_every_mask() -> None:
    for label in LABELS:
        found = secrets(label)
        assert sorted(found.table) == list(range(256))
        assert all(found.table[a ^ b] == found.table[a] ^ found.table[b] for a in range(256) for b in (1, 18, 255))
        assert all((found.t ^ found.u) & ((1 << bits) - 1) for bits in range(1, 9))


def test_the_aes_key_is_the_first_of_the_stream_that_makes_no_run_of_a_byte_a_candidate() -> None:
    """A second reading of the text: one block a call, and values as whole numbers."""
    passed_over = 0
    for label in LABELS:
        drawn = blake3(b"keepstone 1 aes", key=key(label)).digest(length=1 << 12)
        for at in range(0, len(drawn), 16):
            encrypt = Cipher(AES(drawn[at : at + 16]), ECB()).encryptor().update
            values = [int.from_bytes(encrypt(bytes([byte]) * 16)[:8], "little") for byte in range(256)]
            if min(values) >= 2**56:
                break
            passed_over += 1
        assert secrets_of("aes", label) == AesSecrets(drawn[at : at + 16])
    assert passed_over >= len(LABELS)


def test_the_algorithms_of_one_key_share_no_secret() -> None:
    found = secrets_of("aes", "key 0")
    assert isinstance(found, AesSecrets)
    assert found.key != secrets("key 0").sip_key
    assert found.key.hex() not in f"{found!r} {found} {[found]}"


def test_each_key_has_its_own_secrets() -> None:
    found = [secrets(label) for label in LABELS]
    assert len({each.sip_key for each in found}) == len({each.table for each in found}) == len(LABELS)
    assert secrets("key 7") == secrets("key 7")


def test_secrets_do_not_show() -> None:
    found = secrets()
    shown = f"{found!r} {found} {[found]}"
    assert found.sip_key.hex() not in shown
    assert repr(found.sip_key) not in shown
    assert "table" not in shown
    assert "t=" not in shown


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes with another function")
def test_the_decision_hash_is_the_siphash_1_3_of_others() -> None:
    """Python itself hashes bytes with SipHash-1-3, under the key zero if PYTHONHASHSEED is 0."""
    message = stream("a message", 64)
    command = [sys.executable, "-c", f"print(hash(bytes.fromhex({message.hex()!r})) % 2**64)"]
    result = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=True)
    assert siphash_1_3(bytes(16), message) == int(result.stdout)
