"""Readers see what is in a folder or an archive, and nothing beside it."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from keepstone.sources.folders import DiskFolder, SubFolder, ZipFolder
from keepstone.sources.reading import Folder, MemoryFolder, UnreadableSource
from support import noise

FILES = {"a.txt": b"first", "below/b": noise(1, 300_000), "below/c/d.json": b"{}"}


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return made.getvalue()


def folders(tmp_path: Path) -> list[Folder]:
    for name, data in FILES.items():
        (tmp_path / "disk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / name).write_bytes(data)
    (tmp_path / "secret").write_bytes(b"not for you")
    os.symlink(tmp_path / "secret", tmp_path / "disk" / "link")
    os.mkfifo(tmp_path / "disk" / "pipe")
    deeper = MemoryFolder({f"x/{name}": data for name, data in FILES.items()} | {"secret": b""})
    return [
        DiskFolder(os.fsencode(tmp_path / "disk")),
        ZipFolder(io.BytesIO(archive(FILES)), "it.zip"),
        ZipFolder(io.BytesIO(archive(FILES, zipfile.ZIP_STORED)), "it.zip"),
        SubFolder(deeper, "x"),
        MemoryFolder(FILES),
    ]


def test_every_folder_shows_the_same_files(tmp_path: Path) -> None:
    for folder in folders(tmp_path):
        assert list(folder.names()) == sorted(FILES)
        for name, data in FILES.items():
            assert folder.size(name) == len(data)
            with folder.open(name) as file:
                assert file.read() == data
                assert file.seek(1) == 1
                assert file.read(3) == data[1:4]


@pytest.mark.parametrize("name", ["", "none", "../secret", "below/../../secret", "/etc/passwd", "link", "a.txt\0"])
def test_what_is_not_in_the_folder_is_not_there(tmp_path: Path, name: str) -> None:
    for folder in folders(tmp_path):
        with pytest.raises(OSError):
            folder.open(name)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    folders(tmp_path)
    with DiskFolder(os.fsencode(tmp_path / "disk")).open("pipe") as file:
        assert file.read() == b""


def test_names_of_an_archive_that_would_leave_it_are_not_there() -> None:
    made = archive({"../out": b"x", "/abs": b"x", "in": b"x"})
    assert list(ZipFolder(io.BytesIO(made), "it").names()) == ["in"]


def test_a_damaged_archive_is_an_error_of_its_own() -> None:
    whole = archive({"a": noise(2, 5_000), "b": b"text " * 2_000})
    for cut in range(0, len(whole), 97):
        with pytest.raises(UnreadableSource):
            ZipFolder(io.BytesIO(whole[:cut]), "it")
    for at in range(0, len(whole), 13):
        data = bytearray(whole)
        data[at] ^= 0x55
        try:
            folder = ZipFolder(io.BytesIO(bytes(data)), "it")
            for name in folder.names():
                with folder.open(name) as file:
                    assert len(file.read(100_000)) <= 100_000
        except (UnreadableSource, FileNotFoundError):
            pass


def test_a_member_that_promises_more_than_deflate_can_give_is_not_there() -> None:
    data = bytearray(archive({"bomb": b"x" * 1000}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (1 << 31).to_bytes(4, "little")
    assert list(ZipFolder(io.BytesIO(bytes(data)), "it").names()) == []
