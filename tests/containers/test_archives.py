"""zip, gzip, zlib and tar: whatever a library writes is unwrapped to its members and rebuilt."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers import writers
from keepstone.containers import (
    Budget,
    Concat,
    Deflate,
    DeflateSettings,
    Keys,
    MemorySource,
    Node,
    Unwrapped,
    compressor,
    leaves,
    spans,
    transforms,
    unwrap,
)
from keepstone.containers.source import Pieces

KEYS = Keys()


def unwrapped(data: bytes, budget: Budget | None = None) -> tuple[Node, list[bytes], Unwrapped]:
    result = unwrap(MemorySource(data), KEYS, budget)
    assert result.node is not None, result.report
    contents = writers.read_leaves(result.node, data, KEYS)
    assert writers.rebuilt(result.node, contents, KEYS) == data
    return result.node, contents, result


member = st.tuples(
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.integers(1, 9),
    st.integers(0, 3),
    st.integers(0, 200_000),
    st.binary(max_size=300),
    st.booleans(),
)


@given(st.lists(member, max_size=6), st.integers(0, 2**32), st.booleans(), st.binary(max_size=50), st.booleans())
def test_any_zip_that_python_writes_is_its_members_and_itself_again(
    members: list[tuple[int, int, int, int, bytes, bool]], seed: int, piped: bool, comment: bytes, prefixed: bool
) -> None:
    rng = random.Random(seed)
    out: io.IOBase = writers.Unseekable() if piped else io.BytesIO()
    expected = []
    with zipfile.ZipFile(out, "w") as archive:  # type: ignore[call-overload]  # Anything that can be written to.
        archive.comment = comment.replace(b"PK", b"")
        for number, (method, level, kind, size, extra, large) in enumerate(members):
            plain = extra if kind == 3 else writers.content(rng, size)
            info = zipfile.ZipInfo(f"{number}-name")
            info.compress_type = method
            info._compresslevel = level  # type: ignore[attr-defined]  # ZipFile.open has no argument for it.
            with archive.open(info, "w", force_zip64=large) as target:
                target.write(plain)
            size_inside = archive.infolist()[-1].compress_size
            if size_inside >= 128 and (method == zipfile.ZIP_DEFLATED or len(plain) > 256):
                expected.append(plain)
    data = bytes(out.data) if isinstance(out, writers.Unseekable) else out.getvalue()  # type: ignore[attr-defined]
    if prefixed and not piped:
        data = b"#!/bin/sh\nexit\n" + data
    result = unwrap(MemorySource(data), KEYS)
    if result.node is None:
        assert not expected
        return
    contents = writers.read_leaves(result.node, data, KEYS)
    assert writers.rebuilt(result.node, contents, KEYS) == data
    assert all(plain in contents for plain in expected)


def test_a_zip_of_many_members_in_parallel_is_what_it_is_one_by_one() -> None:
    rng = random.Random(8)
    members = {f"{number}": writers.content(rng, rng.randrange(100_000)) for number in range(60)}
    data = writers.zip_of(members)
    node, contents, result = unwrapped(data)
    assert result.report.reproduced + result.report.small == result.report.members
    alone = unwrap(MemorySource(data), KEYS, Budget(threads=1))
    assert writers.read_leaves(alone.node or node, data, KEYS) == contents


def test_a_zip64_archive_in_all_its_parts_is_unwrapped() -> None:
    rng = random.Random(9)
    plain = writers.text(rng, 5000)
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = body.compress(plain) + body.flush()
    extra = struct.pack("<2H2Q", 1, 16, len(plain), len(packed))
    most = 0xFFFFFFFF
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 8, 0, 0, zlib.crc32(plain), most, most, 1, len(extra)) + b"a"
    entry_extra = struct.pack("<2H3Q", 1, 24, len(plain), len(packed), 0)
    entry = struct.pack(
        "<4s6H3I5H2I",
        b"PK\1\2",
        45,
        45,
        0,
        8,
        0,
        0,
        zlib.crc32(plain),
        most,
        most,
        1,
        len(entry_extra),
        0,
        0,
        0,
        0,
        most,
    )
    directory = entry + b"a" + entry_extra
    at = len(local) + len(extra) + len(packed)
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, most, most, 0)
    _, contents, _ = unwrapped(local + extra + packed + directory + end + locator + last)
    assert plain in contents
    shifted = b"#!x\n" + local + extra + packed + directory + end + locator + last
    assert plain in unwrapped(shifted)[1]


def test_archives_inside_one_another_are_unwrapped_to_a_bounded_depth() -> None:
    rng = random.Random(10)
    photo, note = rng.randbytes(50_000), writers.text(rng, 9000)
    inner = writers.zip_of({"photo.jpg": photo, "note.txt": note}, zipfile.ZIP_STORED)
    middle = writers.tar_of({"inner.zip": inner, "note": note})
    data = writers.zip_of({"middle.tar.gz": writers.gzip_of(middle)}, level=9)
    _, contents, _ = unwrapped(data)
    assert photo in contents
    assert contents.count(note) == 2
    deep = note
    for _ in range(9):
        deep = writers.gzip_of(deep)
    assert note not in unwrapped(deep)[1]


def test_a_large_archive_inside_a_stream_is_unwrapped_without_holding_it() -> None:
    rng = random.Random(11)
    photo = rng.randbytes(3_000_000)
    members = {"a": photo, "b": writers.text(rng, 4_000_000), "c": rng.randbytes(5_000_000), "d": photo}
    for budget in (Budget(), Budget(kept=0)):
        _, contents, _ = unwrapped(writers.gzip_of(writers.zip_of(members), 1), budget)
        assert all(plain in contents for plain in members.values())


def test_plaintext_that_fits_in_memory_is_inflated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(12)
    members = {str(number): writers.text(rng, 200_000) for number in range(5)}
    data, inflate, inflated = writers.zip_of(members), transforms.inflate, []

    def counted(
        wbits: int, outer: Pieces, ended: Callable[[bytes], object] | None = None
    ) -> Generator[bytes, None, None]:
        inflated.append(wbits)
        return inflate(wbits, outer, ended)

    monkeypatch.setattr(transforms, "inflate", counted)
    for kept, times in ((0, 10), (1_000_000, 5), (599_999, 8)):
        inflated.clear()
        result = unwrap(MemorySource(data), KEYS, Budget(kept=kept, threads=1))
        assert result.node is not None
        assert sum(len(piece) for span in spans(result.node) for piece in span.kept) <= kept
        contents = [b"".join(leaf.pieces) for leaf in leaves(result.node, MemorySource(data), KEYS)]
        assert all(plain in contents for plain in members.values())
        assert len(inflated) == times, kept


def test_plaintext_of_candidates_that_fail_and_of_archives_is_not_kept() -> None:
    rng = random.Random(13)
    text = writers.text(rng, 100_000)
    inner = writers.zip_of({str(number): text for number in range(8)}, zipfile.ZIP_STORED)
    data = writers.zip_of({"first": text, "archive": inner, "last": text}, level=3)
    node, _, _ = unwrapped(data, Budget(kept=len(inner) + 2 * len(text), threads=1))
    kept = [span for span in spans(node) if span.length == len(text)]
    assert [bool(span.kept) for span in kept] == [True, *[False] * 8, True]


@pytest.mark.parametrize("level", range(1, 10))
def test_gzip_and_zlib_streams_of_every_level_are_unwrapped(level: int) -> None:
    plain = writers.text(random.Random(12), 200_000)
    assert unwrapped(writers.gzip_of(plain, level))[1] == [plain]
    assert unwrapped(writers.zlib_of(plain, level))[1] == [plain]


def test_a_file_of_gzip_does_not_pay_for_the_encoder_that_differs_only_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, tried = transforms.deflate, []

    def counting(settings: DeflateSettings, inner: Pieces, cuts: Sequence[int] = ()) -> Pieces:
        tried.append(settings.encoder)
        return honest(settings, inner, cuts)

    data = writers.text(random.Random(11), 9_000)
    stream = b"".join(transforms.deflate(DeflateSettings(compressor.GZIP, 6, -15, 0, 0), iter([data])))
    monkeypatch.setattr(transforms, "deflate", counting)
    unwrapped(b"\x1f\x8b\x08" + bytes(7) + stream + struct.pack("<2I", zlib.crc32(data), len(data)))
    assert compressor.INFO_ZIP not in tried


def test_gzip_members_in_a_row_and_bytes_after_them_are_kept() -> None:
    rng = random.Random(13)
    plains = [writers.text(rng, 30_000) for _ in range(3)]
    data = b"".join(writers.gzip_of(plain) for plain in plains) + bytes(500)
    assert unwrapped(data)[1][:-1] == plains


def test_a_tar_is_cut_where_its_members_are_cut_on_the_disk() -> None:
    rng = random.Random(14)
    members = {"x" * 150: rng.randbytes(10_000), "small": b"1", "y": rng.randbytes(4096)}
    _, contents, _ = unwrapped(writers.tar_of(members))
    assert members["x" * 150] in contents
    assert members["y"] in contents


def test_a_stream_of_another_encoder_stays_as_it_is_and_is_counted() -> None:
    rng = random.Random(15)
    odd = zlib.compressobj(6, zlib.DEFLATED, -12, 5)  # a window that no container uses
    plain = writers.text(rng, 60_000)
    stream = odd.compress(plain) + odd.flush()
    data = writers.gzip_of(plain)[:10] + stream + struct.pack("<2I", zlib.crc32(plain), len(plain))
    result = unwrap(MemorySource(data), KEYS)
    assert result.node is None
    assert (result.report.members, result.report.reproduced) == (1, 0)


def test_without_a_compiler_the_same_bytes_come_out_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = writers.text(random.Random(17), 20_000)
    data = writers.zip_of({"a": plain})
    node, contents, _ = unwrapped(data)
    monkeypatch.setattr(compressor, "COMPILED", False)
    assert writers.rebuilt(node, contents, KEYS) == data
    large = writers.gzip_of(writers.text(random.Random(18), 6_000_000))
    # What cannot be proven in reasonable time stays as it is.
    assert unwrap(MemorySource(large), KEYS).report.reason.startswith("it takes too long")


@pytest.mark.parametrize("level", [1, 3, 6, 9])
@pytest.mark.parametrize("tool", ["zip", "gzip"])
def test_what_the_ancestor_writes_is_reproduced(tool: str, level: int, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    rng = random.Random(16 + level)
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(writers.content(rng, rng.randrange(400_000)))
    if tool == "zip":
        subprocess.run(["zip", "-q", f"-{level}", "-r", "all.zip", "."], cwd=tmp_path, check=True)
        report = unwrapped((tmp_path / "all.zip").read_bytes())[2].report
        assert report.reproduced + report.small >= 0.95 * report.members
    else:
        for number in range(20):
            plain = (tmp_path / f"{number}").read_bytes()
            done = subprocess.run(
                ["gzip", "-c", f"-{level}", f"{number}"], cwd=tmp_path, check=True, capture_output=True
            )
            if len(done.stdout) > 200:
                assert plain in unwrapped(done.stdout)[1]


# Sections ---------------------------------------------------------------------------------------------------

MARK = b"\0\0\xff\xff"


def flushed(parts: list[bytes], how: int = zlib.Z_FULL_FLUSH) -> bytes:
    """Return a gzip file whose writer flushed after each part."""
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = b"".join(encoder.compress(part) + encoder.flush(how) for part in parts) + encoder.flush()
    return b"\x1f\x8b\x08" + bytes(7) + body + bytes(8)


def sections(node: Node) -> tuple[int, ...]:
    assert isinstance(node, Concat)
    stream = node.parts[1]
    assert isinstance(stream, Deflate)
    return stream.sections


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=30), st.integers(0, 2**32))
def test_a_stream_that_was_flushed_is_its_content_and_itself_again(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)
    parts = [rng.randbytes(100), *(writers.content(rng, size) for size in sizes)]
    _, contents, _ = unwrapped(flushed(parts))
    assert contents == [b"".join(parts)]


def test_its_sections_are_where_it_was_flushed() -> None:
    rng = random.Random(1)
    sizes = [1, 300_000, 17, 64 * 1024, 64 * 1024, 2]
    assert sections(unwrapped(flushed([writers.content(rng, size) for size in sizes]))[0]) == tuple(sizes)


@pytest.mark.parametrize("gap", [3, 20, 200, 65_600])
def test_a_mark_that_stands_there_by_chance_is_no_section(gap: int) -> None:
    rng = random.Random(gap)
    plain = b"".join(rng.randbytes(gap) + MARK for _ in range(100))
    node, contents, _ = unwrapped(writers.gzip_of(plain, 6))
    assert sections(node) == ()
    assert contents[0] == plain


def test_a_flush_that_keeps_the_dictionary_leaves_the_stream_as_it_is() -> None:
    rng = random.Random(2)
    data = flushed([writers.text(rng, 5_000) for _ in range(5)], zlib.Z_SYNC_FLUSH)
    assert unwrap(MemorySource(data), KEYS).node is None


def test_padding_after_a_stream_is_a_leaf_of_its_own() -> None:
    plain = writers.text(random.Random(3), 5000)
    data = writers.gzip_of(plain)
    for length in (5, 300, 100_000):
        _, contents, _ = unwrapped(data + bytes(length))
        assert contents == [plain, *([bytes(length)] if length > 256 else [])]
