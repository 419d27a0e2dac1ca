"""The encoders: compiled and plain ones agree, and they are zlib, gzip and Info-ZIP."""

from __future__ import annotations

import gzip
import hashlib
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers import writers
from keepstone.containers import DeflateSettings, compressor, oracle, transforms
from keepstone.errors import Unsupported

REAL_ZLIB = "0c7ad683e6668f6eaaae63dd4c6e1d8fb04b31dfdb63f3b7a778e43f31be4c85"
ALL_ENCODERS = "fafb0f9ebb2e733a1d59f9ff257d05f1ddd1becfa43fde2858bdec09f77294b2"
KINDS = [(compressor.ZLIB, 8), (compressor.ZLIB, 9), (compressor.GZIP, 0), (compressor.INFO_ZIP, 0)]
ALL_KINDS = [*KINDS, (compressor.ZLIB, 7), (compressor.FLUSHED, 7)]


def samples(seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    yield from (b"", b"a", b"ab", b"abc" * 5, bytes(300), bytes(70_000))
    for size in (1000, 32_768, 65_274, 65_536, 66_000, 140_000):
        yield writers.content(rng, size)
        words = [rng.randbytes(rng.randrange(1, 9)) for _ in range(rng.choice((2, 30, 2000)))]
        yield b"".join(rng.choices(words, k=size // 3))[:size]


def encoded(encoder: compressor.Compressor, data: bytes, step: int = 1 << 20) -> bytes:
    return b"".join(encoder.compress(data[at : at + step]) for at in range(0, len(data), step)) + encoder.flush()


def is_real_zlib() -> bool:
    """Whether this Python's zlib is zlib, and not one that compresses otherwise."""
    return hashlib.sha256(zlib.compress(writers.text(random.Random(1), 60_000), 6)).hexdigest() == REAL_ZLIB


def test_the_output_of_every_encoder_never_changes() -> None:
    data = b"".join(samples(2))
    digest = hashlib.sha256()
    for number, memory in KINDS:
        for level in (1, 4, 6, 9):
            settings = DeflateSettings(number, level, -15, memory, 0)
            digest.update(encoded(compressor.compressor(settings), data))
    assert digest.hexdigest() == ALL_ENCODERS


@pytest.mark.skipif(not compressor.COMPILED, reason="the compiled encoders are not built")
@pytest.mark.parametrize(("number", "memory"), ALL_KINDS)
def test_compiled_and_plain_encoders_agree(number: int, memory: int) -> None:
    from keepstone.containers import _deflate

    rng = random.Random(number * 100 + memory)
    for data in samples(3):
        level = rng.randrange(1, 10)
        if len(set(data)) > 1 and len(data) > 40_000 and level > 6:
            level = 4
        plain = encoded(oracle.Encoder(number, level, memory), data, 50_000)
        assert encoded(_deflate.Encoder(number, level, memory), data, rng.randrange(1000, 90_000)) == plain
        assert zlib.decompress(plain, -15) == data


@given(st.lists(st.sampled_from([b"a", b"ab", b"the ", bytes(7), b"\xff\x00", b"abcabcabd"]), max_size=600), st.data())
def test_encoders_agree_on_what_repeats(parts: list[bytes], data: st.DataObject) -> None:
    plain = b"".join(parts)
    number, memory = data.draw(st.sampled_from(ALL_KINDS))
    settings = DeflateSettings(number, data.draw(st.integers(1, 9)), -15, memory, 0)
    expected = encoded(oracle.Encoder(number, settings.level, memory), plain)
    assert encoded(compressor.compressor(settings), plain, 7) == expected
    assert zlib.decompress(expected, -15) == plain


def long_samples(seed: int) -> Iterator[bytes]:
    """Yield inputs that are searched in parts."""
    rng = random.Random(seed)
    size = 1_900_000 + rng.randrange(500_000)
    words = [rng.randbytes(rng.randrange(1, 12)) for _ in range(3000)]
    yield b"".join(rng.choices(words, k=size // 5))
    yield writers.text(rng, size)
    yield b"".join(recurring(seed + n) for n in range(14))
    yield rng.randbytes(size)
    yield bytes(size)  # Searches that begin at two places of this never meet.
    yield writers.text(rng, 700_000) + bytes(600_000) + writers.text(rng, 300_000) + b"ab" * 400_000 + b"end"
    yield (rng.randbytes(40_000) * (size // 40_000 + 1))[:size]


@pytest.mark.skipif(not compressor.COMPILED, reason="the compiled encoders are not built")
@pytest.mark.parametrize("level", range(1, 10))
def test_many_threads_write_what_one_writes(level: int) -> None:
    from keepstone.containers import _deflate

    rng = random.Random(level)
    for data in long_samples(level):
        number, memory = rng.choice(ALL_KINDS)
        alone = encoded(_deflate.Encoder(number, level, memory), data, 65_536)
        for threads in (2, 5):
            step = rng.choice((65_536, rng.randrange(10_000, 3_000_000)))
            assert encoded(_deflate.Encoder(number, level, memory, threads), data, step) == alone, (number, threads)
        assert zlib.decompress(alone, -15) == data
        if number == compressor.ZLIB and is_real_zlib():
            theirs = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
            assert alone == theirs.compress(data) + theirs.flush()


@pytest.mark.skipif(not compressor.COMPILED, reason="the compiled encoders are not built")
def test_a_section_is_the_same_with_many_threads() -> None:
    from keepstone.containers import _deflate

    for data in long_samples(1):
        both = []
        for threads in (1, 4):
            encoder = _deflate.Encoder(0, 6, 8, threads)
            both.append(encoder.compress(data) + encoder.cut())
        assert both[0] == both[1]


@pytest.mark.skipif(not compressor.COMPILED, reason="the compiled encoders are not built")
def test_an_encoder_may_be_left_while_its_threads_work() -> None:
    from keepstone.containers import _deflate

    data = next(long_samples(2))
    for size, level in product(range(300_000, len(data), 150_000), (1, 9)):
        whole = encoded(_deflate.Encoder(0, level, 8), data, 65_536)
        left = _deflate.Encoder(0, level, 8, 4)
        assert whole.startswith(b"".join(left.compress(data[at : at + 65_536]) for at in range(0, size, 65_536)))
        del left


@pytest.mark.parametrize("memory", [7, 8, 9])
@pytest.mark.parametrize("level", range(1, 10))
def test_encoder_0_is_zlib(level: int, memory: int) -> None:
    if not is_real_zlib():
        pytest.skip("this Python's zlib compresses otherwise")
    for data in samples(level):
        for wbits in (-15, 15):
            theirs = zlib.compressobj(level, zlib.DEFLATED, wbits, memory)
            ours = compressor.compressor(DeflateSettings(0, level, wbits, memory, 0))
            assert encoded(ours, data, 70_000) == theirs.compress(data) + theirs.flush()


def recurring(seed: int) -> bytes:
    """Return strings that come again and again, often with another byte somewhere: long chains, late differences."""
    rng = random.Random(seed)
    vocabulary = [
        rng.randbytes(rng.randrange(1, rng.choice((4, 20, 60, 300)))) for _ in range(rng.choice((2, 40, 500)))
    ]
    out = bytearray()
    while len(out) < 150_000:
        part = bytearray(rng.choice(vocabulary))
        if out and rng.random() < 0.2:
            at = rng.randrange(len(out))
            part = out[at : at + rng.randrange(3, 400)]
        if rng.random() < 0.2:
            part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
        out += part + bytes(rng.choice((0, 0, 0, 1, rng.randrange(500))))
    return bytes(out)


@pytest.mark.parametrize("seed", range(40))
def test_the_longest_match_is_found_where_many_are_nearly_as_long(seed: int) -> None:
    if not is_real_zlib():
        pytest.skip("this Python's zlib compresses otherwise")
    data = recurring(seed)
    for level in (4, 6, 8, 9):
        theirs = zlib.compressobj(level, zlib.DEFLATED, -15)
        ours = compressor.compressor(DeflateSettings(0, level, -15, 8, 0))
        assert encoded(ours, data) == theirs.compress(data) + theirs.flush()


@pytest.mark.parametrize("level", range(1, 10))
def test_encoder_3_is_zlib_flushed_before_it_ends(level: int) -> None:
    if not is_real_zlib():
        pytest.skip("this Python's zlib compresses otherwise")
    for data in samples(level + 40):
        theirs = zlib.compressobj(level, zlib.DEFLATED, -15, 7)
        ours = compressor.compressor(DeflateSettings(3, level, -15, 7, 0))
        expected = theirs.compress(data) + theirs.flush(zlib.Z_SYNC_FLUSH) + theirs.flush()
        assert encoded(ours, data, 70_000) == expected


@pytest.mark.parametrize("level", range(1, 10))
def test_encoder_1_is_gzip(level: int) -> None:
    if shutil.which("gzip") is None:
        pytest.skip("gzip is not installed")
    for data in samples(level + 20):
        done = subprocess.run(["gzip", "-nc", f"-{level}"], input=data, capture_output=True, check=True).stdout
        assert gzip.decompress(done) == data
        assert encoded(compressor.compressor(DeflateSettings(1, level, -15, 0, 0)), data) == done[10:-8]


def test_output_does_not_depend_on_how_the_input_comes() -> None:
    rng = random.Random(4)
    data = writers.content(rng, 300_000)
    for number, memory in KINDS:
        settings = DeflateSettings(number, 6, -15, memory, 0)
        pieces = [data[at : at + 777] for at in range(0, len(data), 777)]
        assert b"".join(transforms.deflate(settings, iter(pieces))) == b"".join(
            transforms.deflate(settings, iter([data]))
        )


def test_unknown_encoders_and_settings_are_unsupported() -> None:
    for settings in (
        DeflateSettings(4, 6, -15, 8, 0),
        DeflateSettings(1, 6, 15, 0, 1),
        DeflateSettings(0, 6, 99, 8, 0),
    ):
        with pytest.raises(Unsupported):
            compressor.compressor(settings)


def test_an_encoder_that_has_ended_takes_no_more() -> None:
    if not compressor.COMPILED:
        pytest.skip("the compiled encoders are not built")
    encoder = compressor.compressor(DeflateSettings(0, 6, -15, 8, 0))
    encoder.flush()
    for again in (encoder.flush, lambda: encoder.compress(b"x")):
        with pytest.raises(RuntimeError):
            again()


def test_rare_settings_are_left_to_zlib() -> None:
    data = writers.text(random.Random(5), 50_000)
    out = encoded(compressor.compressor(DeflateSettings(0, 6, -12, 5, 1)), data)
    assert zlib.decompress(out, -12) == data


def sections_of(rng: random.Random, count: int) -> list[bytes]:
    return [writers.content(rng, rng.choice((0, 0, 1, 2, 3, 50, 4000, 30_000))) for _ in range(count)]


@pytest.mark.parametrize("memory", [8, 9])
@pytest.mark.parametrize("level", range(1, 10))
def test_a_section_is_what_a_full_flush_of_zlib_gives(level: int, memory: int) -> None:
    if not is_real_zlib():
        pytest.skip("this Python's zlib compresses otherwise")
    rng = random.Random(level * 10 + memory)
    parts = [*sections_of(rng, 12), writers.content(rng, 200_000), b"", b"the end"]
    theirs = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
    expected = b"".join(theirs.compress(part) + theirs.flush(zlib.Z_FULL_FLUSH) for part in parts if part)
    cuts = [sum(map(len, parts[: at + 1])) for at, part in enumerate(parts) if part]
    ours = transforms.deflate(DeflateSettings(0, level, -15, memory, 0), iter(parts), cuts)
    assert b"".join(ours) == expected + theirs.flush()


@pytest.mark.skipif(not compressor.COMPILED, reason="the compiled encoders are not built")
def test_compiled_and_plain_sections_agree() -> None:
    from keepstone.containers import _deflate

    rng = random.Random(6)
    for data in (b"", b"x", *sections_of(rng, 10)):
        both = []
        for kind in (_deflate.Encoder, oracle.Encoder):
            encoder = kind(0, 6, 8)
            both.append(encoder.compress(data) + encoder.cut())
        assert both[0] == both[1]
        assert both[0].endswith(b"\0\0\xff\xff")
        assert zlib.decompressobj(-15).decompress(both[0]) == data


def test_an_empty_section_is_an_empty_block() -> None:
    for encoder in (compressor.compressor(DeflateSettings(0, 6, -15, 8, 0)), oracle.Encoder(0, 6, 8)):
        assert encoder.cut() == transforms.EMPTY_SECTION
