"""What every store promises, held against every store, and against each behind an honest fault store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.faultstore import FaultStore
from faults.simfs import SimFS
from keepstone.errors import KeepstoneError, ObjectExists, ObjectNotFound, StoreError, UsageError
from keepstone.store import Store, check_name, open_store
from keepstone.store.files import Files, SystemFiles
from keepstone.store.memory import MemoryStore
from keepstone.store.posix import PosixStore

PACK = "packs/ab/" + "ab" * 32
RECORD = "log/0011/00000007"

MAKERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryStore(),
    "posix": lambda folder: PosixStore(folder / "repo"),
    "posix on SimFS": lambda folder: PosixStore("/repo", SimFS()),
    "fault": lambda folder: FaultStore(MemoryStore()),
}


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MAKERS[request.param](tmp_path)


# Whole objects ----------------------------------------------------------------------------------------------


def test_what_was_put_can_be_read_measured_and_listed_at_once(store: Store) -> None:
    assert store.put(PACK, [b"one", bytearray(b"two"), memoryview(b"three")]) == 11
    assert store.get(PACK) == b"onetwothree"
    assert type(store.get(PACK)) is bytes
    assert store.size(PACK) == 11
    assert list(store.list("")) == [(PACK, 11)]


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", memoryview(b"")]])
def test_an_object_may_be_empty(store: Store, pieces: list[bytes]) -> None:
    assert store.put("config", pieces) == 0
    assert store.get("config") == b""
    assert list(store.list("")) == [("config", 0)]


def test_many_pieces_of_all_sizes_are_stored_in_order(store: Store) -> None:
    pieces = [bytes([n % 251]) * (n * 7 % 300) for n in range(2500)] + [b"x" * 3_000_000]
    whole = b"".join(pieces)
    assert store.put(PACK, pieces) == len(whole)
    assert store.get(PACK) == whole


def test_a_buffer_may_be_reused_after_put(store: Store) -> None:
    buffer = bytearray(b"first")
    store.put("a", [buffer])
    buffer[:] = b"other"
    assert store.get("a") == b"first"


def test_a_buffer_counts_in_bytes_whatever_its_items_are(store: Store) -> None:
    assert store.put("a", [memoryview(b"12345678").cast("I")]) == 8
    assert store.get("a") == b"12345678"


def test_an_object_is_never_overwritten(store: Store) -> None:
    store.put(RECORD, [b"old"])
    with pytest.raises(ObjectExists):
        store.put(RECORD, [b"new"])
    assert store.get(RECORD) == b"old"
    assert list(store.list("")) == [(RECORD, 3)]


def test_of_many_threads_that_take_one_name_one_succeeds(store: Store) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def put(number: int) -> None:
        start.wait()
        try:
            store.put(RECORD, [str(number).encode() * 1000])
            outcomes.append(str(number))
        except ObjectExists:
            outcomes.append("exists")

    _run_threads(put, 8)
    winners = [outcome for outcome in outcomes if outcome != "exists"]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert store.get(RECORD) == winners[0].encode() * 1000


def test_threads_may_put_side_by_side(store: Store) -> None:
    def put(number: int) -> None:
        for turn in range(10):
            store.put(f"packs/{turn:02x}/{number}", [b"%d" % number])

    _run_threads(put, 6)
    assert sorted(store.list("packs")) == sorted((f"packs/{t:02x}/{n}", 1) for t in range(10) for n in range(6))


# Ranges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 10, b"0123456789"),
        (8, 10, b"89"),
        (0, 1 << 60, b"0123456789"),
        (10, 5, b""),
        (99, 5, b""),
        (99, None, b""),
        (4, 0, b""),
    ],
)
def test_a_range_ends_where_the_object_ends(store: Store, offset: int, length: int | None, expected: bytes) -> None:
    store.put("a", [b"0123456789"])
    assert store.get("a", offset, length) == expected


# Absence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config", PACK, "packs/ab"])
def test_what_is_not_there_is_not_found(store: Store, name: str) -> None:
    for act in (store.get, store.size, store.delete):
        with pytest.raises(ObjectNotFound):
            act(name)


def test_a_folder_is_not_an_object(store: Store) -> None:
    store.put(PACK, [b"data"])
    for name in ("packs", "packs/ab", PACK + "/below"):
        for act in (store.get, store.size, store.delete):
            with pytest.raises(ObjectNotFound):
                act(name)
    assert store.get(PACK) == b"data"


def test_a_deleted_object_is_gone_and_its_name_free(store: Store) -> None:
    store.put("a/one", [b"1"])
    store.put("a/two", [b"2"])
    store.delete("a/one")
    assert list(store.list("")) == [("a/two", 1)]
    with pytest.raises(ObjectNotFound):
        store.delete("a/one")
    store.put("a/one", [b"again"])
    assert store.get("a/one") == b"again"


# Listings ---------------------------------------------------------------------------------------------------


def test_a_listing_holds_what_is_below_the_folder_and_nothing_else(store: Store) -> None:
    for name in ("config", "packs/ab/1", "packs/ab/2", "packs/cd/3", "packs2/x", "log/w/1"):
        store.put(name, [name.encode()])
    names = {prefix: sorted(n for n, _ in store.list(prefix)) for prefix in ("packs", "packs/ab", "packs/", "log")}
    assert names["packs"] == names["packs/"] == ["packs/ab/1", "packs/ab/2", "packs/cd/3"]
    assert names["packs/ab"] == ["packs/ab/1", "packs/ab/2"]
    assert names["log"] == ["log/w/1"]
    assert all(size == len(name) for name, size in store.list(""))
    assert len(list(store.list(""))) == 6


def test_a_missing_folder_is_empty(store: Store) -> None:
    assert list(store.list("")) == []
    assert list(store.list("packs")) == []
    store.put("config", [b"x"])
    assert list(store.list("packs/ab")) == []
    assert list(store.list("config")) == []


def test_a_failure_to_list_never_looks_like_emptiness() -> None:
    class Failing(SystemFiles):
        def list(self, path: str) -> Iterator[tuple[str, bool, int]]:
            yield "config", False, 1
            raise StoreError("the cable is out")

    files: Files = Failing()
    with pytest.raises(StoreError):
        list(PosixStore("/nowhere", files).list(""))


# Names ------------------------------------------------------------------------------------------------------

BAD_NAMES = ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", ".a", "a/.b", "A", "ä", "a b", "a\n", "a\0", "-a"]
BAD_NAMES += ["tmp", "tmp/a", "a\\b", "a/b/.."]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_lead_elsewhere_is_refused(store: Store, name: str) -> None:
    for act in (store.get, store.size, store.delete, lambda n: store.put(n, [b"x"])):
        with pytest.raises(UsageError):
            act(name)
    assert list(store.list("")) == []


@pytest.mark.parametrize("prefix", [n for n in BAD_NAMES if n not in ("", "/", "a/")])
def test_a_prefix_that_could_lead_elsewhere_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(UsageError):
        list(store.list(prefix))


@pytest.mark.parametrize("name", ["config", PACK, RECORD, "tmp2", "a/tmp", "a.b-c_d", "0"])
def test_names_as_the_format_uses_them_are_accepted(name: str) -> None:
    assert check_name(name) == name


@given(name=st.text(alphabet="ab.-_/09tmp", max_size=12))
def test_an_accepted_name_stays_below_the_root(name: str) -> None:
    try:
        check_name(name)
    except KeepstoneError:
        return
    path = Path("/root") / name
    assert path.resolve() == path
    assert str(path) == f"/root/{name}"
    assert path.parts[2] != "tmp"


# Against the model ------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["config", "a/1", "a/2", "a/b/1", "b/1"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.binary(max_size=40)),
        st.tuples(st.just("delete"), NAMES, st.just(b"")),
        st.tuples(st.just("get"), NAMES, st.just(b"")),
        st.tuples(st.just("clean"), NAMES, st.just(b"")),
    ),
    max_size=30,
)


@pytest.mark.parametrize("kind", ["posix", "posix on SimFS", "fault"])
@given(steps=STEPS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_store_does_what_the_one_in_memory_does(
    kind: str, steps: list[tuple[str, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, store = MemoryStore(), MAKERS[kind](tmp_path_factory.mktemp("store"))
    for step in steps:
        assert _apply(store, *step) == _apply(model, *step)
        assert dict(store.list("")) == dict(model.list(""))
        assert dict(store.list("a")) == dict(model.list("a"))


def _apply(store: Store, action: str, name: str, data: bytes) -> object:
    try:
        if action == "put":
            return store.put(name, [data])
        if action == "clean":
            return store.clean_temporary()
        if action == "get":
            return store.get(name)
        store.delete(name)
        return None
    except KeepstoneError as error:
        return type(error)


def test_a_copy_of_a_store_in_memory_goes_its_own_way() -> None:
    store = MemoryStore()
    store.put("a", [b"1"])
    other = store.copy()
    other.put("b", [b"2"])
    assert (set(store.objects), set(other.objects)) == ({"a"}, {"a", "b"})


# Opening ----------------------------------------------------------------------------------------------------


def test_a_store_opens_by_path_and_by_file_url(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("a", [b"x"])
    for location in (f"file://{tmp_path}", f"file:{tmp_path}", f"FILE://{tmp_path}"):
        assert open_store(location).get("a") == b"x"
        assert open_store(location).location == str(tmp_path)


def test_a_file_url_means_the_path_that_it_spells(tmp_path: Path) -> None:
    PosixStore(tmp_path / "my disk").put("a", [b"x"])
    assert open_store(f"file://{tmp_path}/my%20disk").get("a") == b"x"
    assert open_store(f"file://localhost{tmp_path}/my%20disk").get("a") == b"x"
    with pytest.raises(UsageError):
        open_store("file://elsewhere/repo")


@pytest.mark.parametrize("location", ["s3://bucket/x", "S3:bucket", "sftp:host:/x", "https://example.org/x"])
def test_a_kind_of_place_that_is_not_known_is_refused(location: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(location)
    assert caught.value.exit_code == 2


def test_a_relative_path_means_what_it_meant_when_the_store_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = open_store(".")
    monkeypatch.chdir("/")
    store.put("a", [b"x"])
    assert (tmp_path / "a").read_bytes() == b"x"
    assert open_store("~/repo").location == str(tmp_path / "home/repo")


def test_a_place_without_a_name_is_refused() -> None:
    for location in ("", "file:", "file://"):
        with pytest.raises(UsageError):
            open_store(location)


# Helpers ----------------------------------------------------------------------------------------------------


def _run_threads(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        assert list(pool.map(work, range(count))) == [None] * count
