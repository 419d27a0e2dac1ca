"""The transforms alone: each is undone by its inverse, and does what the format says."""

from __future__ import annotations

import base64
import random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keepstone.containers import (
    AesGcm,
    Concat,
    Deflate,
    DeflateSettings,
    Keys,
    Literal,
    SignalFrames,
    Span,
    WhatsAppKey,
    encode,
)
from keepstone.containers.nodes import covers
from keepstone.containers.source import Broken, PieceReader, Tape, regroup
from keepstone.containers.transforms import (
    decode_base64,
    decrypt_gcm,
    encode_base64,
    encrypt_gcm,
    encrypt_signal,
    inflate,
    protobuf_fields,
    varint,
)
from keepstone.errors import ContainerKeyMissing


def test_a_tree_with_gaps_or_overlaps_covers_nothing() -> None:
    a, b, gap = Span(0, 10), Span(10, 5), Span(11, 5)
    inner = Deflate(Span(10, 5), DeflateSettings(0, 6, -15, 8, 0), Span(0, 99))
    assert covers(Concat((a, b)), 15)
    assert covers(Concat((Literal(bytes(10)), inner)), 15)
    for node in (Concat((a, gap)), Concat((a, a)), Concat((b, a)), Concat((a,)), Concat((a, b, b))):
        assert not covers(node, 15)
    assert not covers(Concat((a, Deflate(inner.span, inner.settings, Span(1, 99)))), 15)


def split(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


@given(
    st.binary(max_size=5000),
    st.integers(0, 1),
    st.integers(0, 90),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 99),
)
def test_base64_is_undone(data: bytes, alphabet: int, line: int, end: bytes, step: int) -> None:
    text = b"".join(encode_base64(alphabet, line, end, iter(split(data, step))))
    plain = base64.urlsafe_b64encode(data) if alphabet else base64.b64encode(data)
    assert text == end.join(split(plain, line)) if line else text == plain
    assert b"".join(decode_base64(alphabet, line, end, iter(split(text, step)))) == data


@given(st.binary(max_size=3000), st.integers(12, 16), st.integers(1, 99))
def test_aes_gcm_is_the_one_of_the_standard_and_undone(data: bytes, tag: int, step: int) -> None:
    key, iv = bytes(range(32)), bytes(range(16))
    sealed = b"".join(encrypt_gcm(key, iv, b"aad", tag, iter(split(data, step))))
    assert sealed == AESGCM(key).encrypt(iv, data, b"aad")[: len(data) + tag]
    assert b"".join(decrypt_gcm(key, iv, b"aad", tag, len(data), Tape(iter(split(sealed, step))))) == data
    with pytest.raises(Broken):
        list(decrypt_gcm(key, iv, b"other", tag, len(data), Tape(iter([sealed]))))


def test_a_key_that_is_missing_is_an_error_of_its_own() -> None:
    with pytest.raises(ContainerKeyMissing):
        list(encode(AesGcm(Span(0, 16), bytes(16), bytes(16), b"", 16, Span(0, 0)), iter([]), Keys()))
    with pytest.raises(ContainerKeyMissing):
        list(encode(SignalFrames(Span(0, 16), bytes(16), b"", bytes(16), 1, Span(0, 0)), iter([]), Keys()))


def test_a_reference_depends_on_the_kind_and_on_the_key() -> None:
    one, two = WhatsAppKey(bytes(32), True), WhatsAppKey(bytes(31) + b"1", True)
    assert one.ref != two.ref
    assert Keys(whatsapp=(one, two)).aes(two.ref) == two.aes


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_protobuf_or_refused(data: bytes) -> None:
    try:
        for _ in protobuf_fields(data):
            pass
        varint(data, 0)
    except Broken:
        pass


@given(st.binary(max_size=400))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        list(encrypt_signal(bytes(32), bytes(32), bytes(16), 1, iter([data])))
    except Broken:
        pass


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 40))
def test_regrouping_and_taping_keep_every_byte(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    grouped = list(regroup(iter(pieces), size))
    assert b"".join(grouped) == whole
    assert all(len(group) == size for group in grouped[:-1])
    tape = Tape(iter(pieces))
    assert tape.read(size) + b"".join(tape.rest()) == whole
    reader, buffer, read = PieceReader(iter(pieces)), bytearray(size), b""
    while count := reader.readinto(memoryview(buffer)):
        read += buffer[:count]
    assert read == whole


def test_something_after_a_deflate_stream_is_refused() -> None:
    import zlib

    stream = zlib.compress(random.Random(1).randbytes(100))
    for bad in (stream + b"x", stream[:-1], b"", stream[:20] + bytes(30)):
        with pytest.raises(Broken):
            list(inflate(15, iter([bad])))
        with pytest.raises(Broken):
            list(inflate(15, iter(split(bad, 1))))
