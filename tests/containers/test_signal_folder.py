"""Signal's backup folders: `main` becomes its messages and itself again, known by the `metadata` beside it."""

from __future__ import annotations

import random
import zlib

import pytest

from containers import writers
from keepstone.containers import (
    Concat,
    Deflate,
    Keys,
    Literal,
    MemorySource,
    SignalArchive,
    SignalKey,
    SignalRecoveryKey,
    Span,
    companion_of,
    looks_like_metadata,
    parse_recovery_key,
    recognise,
    unwrap,
)
from keepstone.containers.keys import derive_archive, hkdf, open_backup_id
from support import sample

KEYS = Keys(recovery=(SignalRecoveryKey(writers.RECOVERY_KEY.encode()),))
METADATA = writers.signal_metadata(random.Random(0))


def rebuilds(data: bytes, metadata: bytes = METADATA, keys: Keys = KEYS) -> list[bytes]:
    """Return the leaves of a `main`, which must make it again."""
    result = unwrap(MemorySource(data), keys, companion=metadata)
    assert result.node is not None, result.report
    contents = writers.read_leaves(result.node, data, keys)
    assert writers.rebuilt(result.node, contents, keys) == data
    return contents


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("messages", [0, 3, 400, 30_000])
def test_a_main_file_becomes_its_frames_and_itself_again(messages: int, flushed: bool) -> None:
    plain = writers.signal_plain(writers.signal_frames(messages))
    body = writers.signal_gzip(plain, flushed)
    contents = rebuilds(writers.signal_main(body, random.Random(messages)))
    assert contents[0] == b"".join(data for _, data in plain)
    assert not b"".join(contents[1:]).strip(b"\0")


def test_what_was_flushed_on_the_way_is_one_stream_of_sections() -> None:
    data = writers.signal_night(random.Random(1), 2_000)
    node = unwrap(MemorySource(data), KEYS, companion=METADATA).node
    assert isinstance(node, SignalArchive)
    assert isinstance(node.inner, Concat)
    header, stream, checksum, padding = node.inner.parts
    assert isinstance(header, Literal)
    assert isinstance(stream, Deflate)
    assert isinstance(checksum, Literal)
    assert isinstance(padding, Span)
    assert len(stream.sections) > 50
    assert isinstance(stream.inner, Span)


def test_two_nights_differ_in_every_byte_and_hold_nearly_the_same() -> None:
    rng = random.Random(2)
    one, two = (writers.signal_night(rng, 3_000 + night * 30, night) for night in range(2))
    assert one[:4096] != two[:4096]
    first, second = rebuilds(one)[0], rebuilds(two)[0]
    assert first[4096 : len(first) // 2] == second[4096 : len(first) // 2]


@pytest.mark.parametrize("body", [b"", b"x", b"no gzip at all" * 100, bytes(4096)])
def test_a_main_file_of_another_kind_is_decrypted_as_it_is(body: bytes) -> None:
    assert b"".join(rebuilds(writers.signal_main(body, random.Random(3)))) == body


def test_a_compressed_stream_of_another_encoder_is_decrypted_as_it_is() -> None:
    rng = random.Random(4)
    plain = writers.text(rng, 100_000)
    encoder = zlib.compressobj(6, zlib.DEFLATED, -13, 3)
    body = b"\x1f\x8b\x08" + bytes(7) + encoder.compress(plain) + encoder.flush() + bytes(8 + 1000)
    assert b"".join(rebuilds(writers.signal_main(body, rng))) == body


def test_a_damaged_main_file_stays_as_it_is() -> None:
    data = writers.signal_night(random.Random(5), 300)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for damaged in (data[:-1], data[:-16], data[16:], bytes(flipped), data + b"\0", data[:48], data[:10], b""):
        result = unwrap(MemorySource(damaged), KEYS, companion=METADATA)
        assert result.node is None
        assert result.report.reason == "no recovery key opens it, or it is damaged"


def test_a_wrong_or_missing_recovery_key_leaves_the_file_as_it_is_and_says_so() -> None:
    data = writers.signal_night(random.Random(6), 300)
    wrong = Keys(recovery=(SignalRecoveryKey(b"a" * 64),))
    for keys in (Keys(), Keys(signal=(SignalKey(writers.DIGITS.encode()),)), wrong):
        result = unwrap(MemorySource(data), keys, companion=METADATA)
        assert result.node is None
        assert "recovery key" in result.report.reason
        assert result.report.formats == {"signal-folder": 1}


def test_the_right_one_of_several_recovery_keys_is_found() -> None:
    keys = Keys(recovery=(SignalRecoveryKey(b"a" * 64), *KEYS.recovery))
    rebuilds(writers.signal_night(random.Random(7), 100), keys=keys)


def test_only_a_main_file_beside_its_metadata_is_one() -> None:
    assert companion_of(b"main") == b"metadata"
    assert companion_of(b"main.db") is companion_of(b"metadata") is None
    data = writers.signal_night(random.Random(8), 300)
    assert not recognise(data[:4096])
    version_2 = writers.field(1, 2) + METADATA[2:]
    for other in (b"", b"main", METADATA[:-1], METADATA[:2], version_2, writers.text(random.Random(8), 500)):
        assert not looks_like_metadata(other)
        assert unwrap(MemorySource(data), KEYS, companion=other).node is None
    assert looks_like_metadata(METADATA)


def test_another_account_has_another_backup_id() -> None:
    other = bytes(range(16))
    rng = random.Random(9)
    body = writers.signal_gzip(writers.signal_plain(writers.signal_frames(50)), True)
    data, metadata = writers.signal_main(body, rng, other), writers.signal_metadata(rng, other)
    rebuilds(data, metadata)
    assert unwrap(MemorySource(data), KEYS, companion=METADATA).node is None


def test_a_recovery_key_is_read_as_signal_shows_it() -> None:
    key = KEYS.recovery[0]
    shown = writers.RECOVERY_KEY.upper().replace("O", "#").replace("0", "=")
    grouped = "  ".join(shown[at : at + 4] for at in range(0, 64, 4)) + "\n"
    for form in (writers.RECOVERY_KEY, writers.RECOVERY_KEY.upper(), shown, grouped):
        assert parse_recovery_key(form) == key
    for wrong in ("", "a" * 63, "a" * 65, "a" * 63 + "é", "a" * 63 + "!", "٣" * 64):
        assert parse_recovery_key(wrong) is None
    assert writers.RECOVERY_KEY not in repr(KEYS) + repr(key)


def test_the_key_derivation_is_the_one_of_signal() -> None:
    # The key, the id of its account and the keys of its backup are those of libsignal's own tests.
    characters = b"dtjs858asj6tv0jzsqrsmj0ubp335pisj98e9ssnss8myoc08drhtcktyawvx45l"
    aes, mac = derive_archive(characters, bytes.fromhex("8a624fbc45379043f39f1391cddc5fe8"))
    assert mac.hex() == "f425e22a607c529717e1e1b29f9fe139f9d1c7e7d01e371c7753c544a3026649"
    assert aes.hex() == "e143f4ad5668d8bfed2f88562f0693f53bda2c0e55c9d71730f30e24695fd6df"
    sealed = open_backup_id(characters, bytes(12), bytes(16))
    assert open_backup_id(characters, bytes(12), sealed) == bytes(16)


def test_a_real_backup_becomes_its_frames_and_itself_again() -> None:
    data = sample("signal/legacy-account.binproto.encrypted")
    characters, account = b"m" * 64, bytes([0x11] * 16)
    backup_key = hkdf(characters, b"20240801_SIGNAL_BACKUP_KEY", 32)
    backup_id = hkdf(backup_key, b"20241024_SIGNAL_BACKUP_ID:" + account, 16)
    iv = bytes(12)
    metadata = writers.field(1, 1) + writers.field(
        2, writers.field(1, iv) + writers.field(2, open_backup_id(characters, iv, backup_id))
    )
    keys = Keys(recovery=(SignalRecoveryKey(characters),))
    result = unwrap(MemorySource(data), keys, companion=metadata)
    assert result.node is not None, result.report
    contents = writers.read_leaves(result.node, data, keys)
    assert writers.rebuilt(result.node, contents, keys) == data
