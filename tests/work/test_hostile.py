"""A snapshot made by somebody who means harm: a restore never leaves its target, whatever the tree says."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest

import keepstone
from keepstone import encoding
from keepstone.chunking import Chunker, Parameters, Secrets
from keepstone.errors import KeepstoneError
from keepstone.history import content, recipe, tree
from keepstone.history.snapshot import Counts, SnapshotBody
from keepstone.history.tree import Entry
from keepstone.repo.log import SNAPSHOT
from keepstone.repo.writer import writing
from keepstone.work.restore import RestoreResult
from support import Place


class Attacker:
    """Writes trees without any of the checks."""

    def __init__(self, base: Path) -> None:
        self.place = Place(base).init()
        self.client = self.place.open(in_memory=True)
        self.repository = self.client._repository
        self.secrets = Secrets.derive(self.repository.keys.chunker)

    def publish(self, entries: list[Entry], *, in_order: bool = True) -> None:
        with writing(self.repository, 3) as writer:
            root = self.tree(writer.add_tree, entries, in_order)
            writer.flush()
            body = SnapshotBody(version=1, time_ns=self.place.clock.now_ns(), host="h", root=root, counts=Counts())
            writer.publish(SNAPSHOT, encoding.encode(body))
        self.client.close()

    def tree(self, add: recipe.AddChunk, entries: list[Entry], in_order: bool = True) -> bytes:
        writer = tree.TreeWriter(add, Chunker(self.secrets, Parameters.for_mean(content.TREE_MEAN)))
        for entry in sorted(entries, key=lambda e: e.name) if in_order else entries:
            writer.append(entry)
        return writer.finish()

    def file(self, name: bytes, data: bytes, **fields: object) -> Entry:
        with writing(self.repository, 3) as writer:
            chunk = writer.add(data)
            writer.flush()
        stored = encoding.encode([0, recipe.PIECE.pack(chunk, len(data))])
        return msgspec.structs.replace(
            Entry(name=name, kind=tree.FILE, mode=0o600, size=len(data), content=stored), **fields
        )

    def folder(self, name: bytes, entries: list[Entry]) -> Entry:
        with writing(self.repository, 3) as writer:
            stored = self.tree(writer.add_tree, entries)
            writer.flush()
        return Entry(name=name, kind=tree.FOLDER, mode=0o700, content=stored)


@pytest.fixture
def attacker(tmp_path: Path) -> Attacker:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"precious")
    return Attacker(tmp_path / "repo")


def _restore(attacker: Attacker, target: Path) -> RestoreResult | KeepstoneError:
    try:
        return attacker.place.restore(target)
    except KeepstoneError as error:
        return error


def _assert_outside_untouched(tmp_path: Path) -> None:
    assert sorted(p.name for p in (tmp_path / "outside").iterdir()) == ["precious"]
    assert (tmp_path / "outside" / "precious").read_bytes() == b"precious"
    assert os.stat(tmp_path / "outside" / "precious").st_nlink == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"outside", "repo", "out"}


NAMES = [
    b"..", b".", b"", b"/etc/passwd", b"../outside/evil", b"a/b", b"..\0", b"a\0b", b"/", b"//", b"../", b"./x",
    b"x/../../outside/evil", b"x" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("kind", [tree.FILE, tree.FOLDER, tree.SYMLINK, tree.FIFO])
def test_a_name_that_leads_elsewhere_is_refused(attacker: Attacker, tmp_path: Path, name: bytes, kind: str) -> None:
    evil = Entry(name=name, kind=kind, mode=0o700, target=b"/")
    if kind == tree.FOLDER:
        evil = msgspec.structs.replace(evil, content=attacker.folder(b"x", [attacker.file(b"evil", b"e")]).content)
    attacker.publish([evil], in_order=False)
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, KeepstoneError) or result.problems
    _assert_outside_untouched(tmp_path)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_nothing_is_written_through_a_link_of_the_snapshot_itself(attacker: Attacker, tmp_path: Path) -> None:
    """A link, then a folder of the same name with a file in it: the classic."""
    outside = os.fsencode(tmp_path / "outside")
    link = Entry(name=b"door", kind=tree.SYMLINK, target=outside)
    attacker.publish([link, attacker.folder(b"door", [attacker.file(b"evil", b"evil")])], in_order=False)
    _restore(attacker, tmp_path / "out")
    _assert_outside_untouched(tmp_path)


def test_nothing_is_written_through_a_link_that_stands_in_the_target(attacker: Attacker, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "out" / "door")
    os.symlink(tmp_path / "outside" / "precious", tmp_path / "out" / "file")
    attacker.publish([attacker.folder(b"door", [attacker.file(b"precious", b"evil")]), attacker.file(b"file", b"evil")])
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    _assert_outside_untouched(tmp_path)
    assert (tmp_path / "out" / "door" / "precious").read_bytes() == b"evil"
    assert (tmp_path / "out" / "file").read_bytes() == b"evil"


def test_hard_links_lead_only_to_what_this_restore_wrote(attacker: Attacker, tmp_path: Path) -> None:
    """Same inode and device as another entry: the first path is looked up in the target, not outside."""
    outside = os.fsencode(tmp_path / "outside" / "precious")
    first = Entry(name=b"a", kind=tree.SYMLINK, target=outside, links=2, inode=5, device=5)
    second = attacker.file(b"b", b"evil", links=2, inode=5, device=5)
    attacker.publish([first, second])
    _restore(attacker, tmp_path / "out")
    _assert_outside_untouched(tmp_path)


def test_folders_that_are_swapped_for_links_meanwhile_do_not_lead_out(attacker: Attacker, tmp_path: Path) -> None:
    entries = [attacker.file(b"file%03d" % number, b"evil%d" % number) for number in range(60)]
    attacker.publish([attacker.folder(b"inner", entries)])
    target, stop = tmp_path / "out", threading.Event()
    (target / "inner").mkdir(parents=True)

    def swap() -> None:
        while not stop.is_set():
            try:
                os.rename(target / "inner", target / "moved")
                os.symlink(tmp_path / "outside", target / "inner")
                os.unlink(target / "inner")
                os.rename(target / "moved", target / "inner")
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(15):
            _restore(attacker, target)
    finally:
        stop.set()
        thread.join()
    _assert_outside_untouched(tmp_path)


def test_unsorted_and_repeated_names_are_refused(attacker: Attacker, tmp_path: Path) -> None:
    attacker.publish([attacker.file(b"b", b"1"), attacker.file(b"a", b"2")], in_order=False)
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert result.problems


def test_a_recipe_that_lies_about_lengths_is_refused(attacker: Attacker, tmp_path: Path) -> None:
    honest = attacker.file(b"honest", b"x" * 100)
    longer = msgspec.structs.replace(honest, name=b"longer", size=10**15)
    kind, body = msgspec.msgpack.decode(honest.content)
    stretched = recipe.PIECE.pack(body[:32], 99)
    wrong = msgspec.structs.replace(honest, name=b"wrong", size=99, content=encoding.encode([kind, stretched]))
    attacker.publish([honest, longer, wrong])
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert len(result.problems) == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["honest"]


@pytest.mark.parametrize(
    "bad",
    [
        [99, b""], [0], [1, 1], [1, 99, b""], [0, b"short"], [-1], ["x"], [], {"a": 1}, [16, 0, 1, 2, 3, 4, [3, b""]],
        [2, [[0, b""]]], [0, recipe.PIECE.pack(b"i" * 32, 2**63)],
    ],
    ids=repr,
)  # fmt: skip
def test_a_recipe_this_version_does_not_know_is_unsupported(attacker: Attacker, tmp_path: Path, bad: object) -> None:
    entry = Entry(name=b"file", kind=tree.FILE, size=10, content=encoding.encode(bad))
    attacker.publish([entry, attacker.file(b"other", b"fine")])
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert [problem.error.kind for problem in result.problems] == ["unsupported"]
    assert (tmp_path / "out" / "other").read_bytes() == b"fine"


def test_a_tree_that_contains_itself_deeply_ends(attacker: Attacker, tmp_path: Path) -> None:
    """A thousand folders in each other: no recursion ends the program, and it comes back."""
    entry = attacker.file(b"file", b"deep")
    with writing(attacker.repository, 3) as writer:
        for _ in range(900):
            content_ = attacker.tree(writer.add_tree, [entry])
            entry = Entry(name=b"d", kind=tree.FOLDER, mode=0o700, content=content_)
        writer.flush()
    attacker.publish([entry])
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert result.files_restored == 1


def test_a_listing_of_a_hostile_snapshot_is_an_error_not_a_crash(attacker: Attacker) -> None:
    attacker.publish([Entry(name=b"..", kind=tree.FOLDER)])
    with attacker.place.open(in_memory=True) as repository, pytest.raises(KeepstoneError):
        list(repository.ls(repository.snapshot("latest")))
    assert isinstance(attacker.client, keepstone.Client)


@pytest.mark.parametrize("standing", [False, True])
def test_a_recipe_longer_than_its_file_fills_no_disk_and_ends(
    attacker: Attacker, tmp_path: Path, standing: bool
) -> None:
    """Lists of lists, in which one piece stands thousands of times at every level: 2^36 pieces of 4 KiB."""
    with writing(attacker.repository, 3) as writer:
        body = recipe.PIECE.pack(writer.add(b"x" * 4096), 4096)
        for _ in range(3):
            data = body * 4096
            body = recipe.PIECE.pack(writer.add_tree(data), len(data))
        writer.flush()
    endless = encoding.encode([recipe.INDIRECT, 3, body])
    attacker.publish([Entry(name=b"bomb", kind=tree.FILE, mode=0o600, size=10_000, content=endless)])
    (tmp_path / "out").mkdir()
    if standing:
        (tmp_path / "out" / "bomb").write_bytes(b"x" * 10_000)
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert [problem.path for problem in result.problems] == [b"/bomb"]
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) == 10_000 * standing
    with attacker.place.open(in_memory=True) as client:
        assert [affected.path for affected in client.check().affected] == [b"/bomb"]


@pytest.mark.parametrize("piece", [recipe.PIECE.pack(recipe.HOLE, 0), recipe.PIECE.pack(b"c" * 32, 0)])
def test_a_piece_of_no_length_is_refused(attacker: Attacker, tmp_path: Path, piece: bytes) -> None:
    content = encoding.encode([recipe.PIECES, piece])
    attacker.publish([Entry(name=b"f", kind=tree.FILE, mode=0o600, content=content)])
    result = _restore(attacker, tmp_path / "out")
    assert isinstance(result, RestoreResult)
    assert [problem.error.kind for problem in result.problems] == ["unsupported"]
