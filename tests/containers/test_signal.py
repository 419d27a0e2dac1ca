"""Signal's backups, version 1: one stream of records, attachments apart."""

from __future__ import annotations

import random

import pytest

from containers import writers
from keepstone.containers import Keys, MemorySource, SignalKey, parse_passphrase, recognise, unwrap
from keepstone.containers.keys import derive_signal

KEYS = Keys(signal=(SignalKey(writers.DIGITS.encode()),))


def backup(seed: int, version: int = 1) -> tuple[bytes, list[bytes]]:
    rng = random.Random(seed)
    blobs = [rng.randbytes(size) for size in (0, 1, 5000, 300_000, 4096)]
    return writers.signal_backup(rng, 300, list(blobs), version), blobs


@pytest.mark.parametrize("version", [0, 1])
def test_a_backup_becomes_records_and_attachments_and_itself_again(version: int) -> None:
    data, blobs = backup(1, version)
    assert recognise(data[:4096])
    result = unwrap(MemorySource(data), KEYS)
    assert result.node is not None, result.report
    contents = writers.read_leaves(result.node, data, KEYS)
    assert {blob for blob in blobs if len(blob) >= 4096} <= set(contents)
    assert b"INSERT INTO message" in contents[0]
    assert writers.rebuilt(result.node, contents, KEYS) == data


def test_a_counter_that_runs_over_is_reproduced() -> None:
    class AlmostFull(random.Random):
        def randbytes(self, n: int) -> bytes:
            return b"\xff" * 3 + b"\xfd" + super().randbytes(n - 4) if n == 16 else super().randbytes(n)

    rng = AlmostFull(2)
    data = writers.signal_backup(rng, 50, [])
    result = unwrap(MemorySource(data), KEYS)
    assert result.node is not None
    assert writers.rebuilt(result.node, writers.read_leaves(result.node, data, KEYS), KEYS) == data


def test_a_damaged_backup_is_unwrapped_up_to_the_damage() -> None:
    data, _ = backup(3)
    for cut in (data[:-7], data[:-1000], data[: len(data) // 2], data[:-5000] + bytes(5000), data + b"more" * 100):
        result = unwrap(MemorySource(cut), KEYS)
        assert result.node is not None
        contents = writers.read_leaves(result.node, cut, KEYS)
        assert b"INSERT INTO message" in contents[0]
        assert writers.rebuilt(result.node, contents, KEYS) == cut


def test_a_wrong_or_missing_passphrase_leaves_the_file_as_it_is_and_says_so() -> None:
    data, _ = backup(4)
    for keys in (Keys(), Keys(signal=(SignalKey(b"0" * 30),))):
        result = unwrap(MemorySource(data), keys)
        assert result.node is None
        assert "passphrase" in result.report.reason


def test_a_passphrase_is_thirty_digits_in_any_grouping() -> None:
    grouped = " ".join(writers.DIGITS[at : at + 5] for at in range(0, 30, 5))
    assert parse_passphrase(grouped) == parse_passphrase(writers.DIGITS) == KEYS.signal[0]
    for wrong in ("", "1" * 29, "1" * 31, "a" * 30, "٣" * 30):
        assert parse_passphrase(wrong) is None
    assert writers.DIGITS not in repr(KEYS) + repr(KEYS.signal)


def test_the_key_derivation_never_changes() -> None:
    aes, mac = derive_signal(b"123456789012345678901234567890", bytes(32))
    assert aes.hex() == "7ba9f698b2d6e5084bd38c4818260892dffcde2a5222b0808f9006887a461c42"
    assert mac.hex() == "3a453530cfcb4b4dce4f56e2a8040c678fa986bf45fe27c3c932c3639e6af44e"


def test_deriving_the_key_does_not_count_as_time_a_container_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        seconds = 0.0

        def now_ns(self) -> int:
            return 0

        def monotonic(self) -> float:
            return self.seconds

    clock, honest = Clock(), Keys.signal_pair

    def slowly(self: Keys, ref: bytes, salt: bytes) -> tuple[bytes, bytes]:
        if not self._derived:
            clock.seconds += 30  # A small computer, and other programs on it.
        return honest(self, ref, salt)

    monkeypatch.setattr(Keys, "signal_pair", slowly)
    data, _ = backup(5)
    keys = Keys(signal=KEYS.signal)
    assert unwrap(MemorySource(data), keys, clock=clock).node is not None
