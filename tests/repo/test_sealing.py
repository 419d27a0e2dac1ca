"""What encryption promises: no (key, nonce) twice, nothing opens out of its place, nothing opens under two keys."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import keepstone
from keepstone import compression, sealing
from keepstone.errors import Damaged, KeepstoneError, Unsupported, WrongPassword
from keepstone.hashing import SubKeys, chunk_id, keyed, stored_name
from keepstone.ids import ChunkId, PackId, RepositoryId
from keepstone.repo import format as layout
from keepstone.repo import index, keys, pack
from keepstone.repo.directories import FrameRow
from keepstone.store.memory import MemoryStore
from support import KEY, Place, noise, words

MASTER = bytes(range(32))
SUBKEYS = SubKeys.derive(MASTER)
REPOSITORY = RepositoryId(b"R" * 16)


class Recorder:
    """Stands for AES-GCM and writes down what is sealed under which key and nonce."""

    def __init__(self, seen: dict[tuple[bytes, bytes], set[bytes]]) -> None:
        self.seen = seen
        self.lock = threading.Lock()

    def __call__(self, key: bytes) -> Any:  # Any: it stands for a class of a library
        recorder, real = self, AESGCM(key)

        class Shim:
            def encrypt(self, nonce: bytes, data: Any, aad: Any) -> bytes:  # Any: any buffer
                with recorder.lock:
                    recorder.seen[key, nonce].add(stored_name(bytes(data) + b"|" + bytes(aad)))
                return real.encrypt(nonce, data, aad)

            def encrypt_into(self, nonce: bytes, data: Any, aad: Any, target: Any) -> int:  # Any: any buffer
                with recorder.lock:
                    recorder.seen[key, nonce].add(stored_name(bytes(data) + b"|" + bytes(aad)))
                return real.encrypt_into(nonce, data, aad, target)

            def decrypt_into(self, nonce: bytes, data: Any, aad: Any, target: Any) -> int:  # Any: any buffer
                return real.decrypt_into(nonce, data, aad, target)

            def decrypt(self, nonce: bytes, data: Any, aad: Any) -> bytes:  # Any: any buffer
                return real.decrypt(nonce, data, aad)

        return Shim()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[bytes, bytes], set[bytes]]:
    seen: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    monkeypatch.setattr(sealing, "AESGCM", Recorder(seen))
    return seen


def _use(base: Path) -> None:
    """Do everything that seals: init, backups of changing content, key changes."""
    source = base / "source"
    source.mkdir(parents=True, exist_ok=True)
    place = Place(base, MemoryStore()).init()
    for run in range(4):
        (source / "text").write_bytes(words(run, 30_000))
        (source / f"noise{run}").write_bytes(noise(run, 20_000))
        place.backup([source])
    with place.open() as repository:
        repository.add_key(keepstone.new_digits(), label=f"{base.name}")


def test_no_nonce_is_used_twice_under_a_key(tmp_path: Path, recorded: dict[tuple[bytes, bytes], set[bytes]]) -> None:
    for run in range(3):
        _use(tmp_path / str(run))
    assert len(recorded) > 50
    assert all(len(contents) == 1 for contents in recorded.values())


def test_a_stuck_random_generator_never_seals_two_contents_under_one_key(
    tmp_path: Path, recorded: dict[tuple[bytes, bytes], set[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything random repeats, over several repositories with the same ids and keys but other content."""
    monkeypatch.setattr(sealing, "random_bytes", lambda length: b"\x07" * length)
    for run in range(3):
        base = tmp_path / str(run)
        (base / "source").mkdir(parents=True)
        (base / "source" / "differs").write_bytes(words(f"run {run}", 40_000))
        _use(base)
    assert all(len(contents) == 1 for contents in recorded.values())


def test_a_stuck_generator_and_another_compression_never_share_a_key(
    recorded: dict[tuple[bytes, bytes], set[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same chunks, other payload: the key must depend on what the compressor made."""
    monkeypatch.setattr(sealing, "random_bytes", lambda length: b"\x07" * length)
    data = words("same", 200_000)
    chunk = chunk_id(SUBKEYS.chunk_id, data)
    for level in (1, 3, 9, 19):
        pack.build_pack([pack.make_frame([(chunk, data)], level)], SUBKEYS, REPOSITORY, sealing.AES_256_GCM)
    assert all(len(contents) == 1 for contents in recorded.values())


def _packs(*contents: bytes) -> Iterator[tuple[PackId, bytes, list[ChunkId]]]:
    for content in contents:
        chunks = [content[at : at + 1000] for at in range(0, len(content), 1000)]
        frames = [pack.make_frame([(chunk_id(SUBKEYS.chunk_id, c), c)], 0) for c in chunks]
        stored = bytes(pack.build_pack(frames, SUBKEYS, REPOSITORY, sealing.AES_256_GCM))
        yield stored_name(stored), stored, [chunk_id(SUBKEYS.chunk_id, c) for c in chunks]


def _open(stored: bytes, name: PackId, repository: RepositoryId = REPOSITORY) -> pack.Directory:
    return pack.verify_pack(stored, name, SUBKEYS, repository, lambda bases: b"")


def test_a_pack_opens_only_whole_and_in_its_repository() -> None:
    (name, stored, _), (_, other, _) = _packs(noise(1, 5_000), noise(2, 5_000))
    assert len(_open(stored, name).frames) == 5
    with pytest.raises(Damaged):
        _open(stored, name, RepositoryId(b"S" * 16))
    with pytest.raises(Damaged):
        _open(other, name)


@pytest.mark.parametrize("seed", range(12))
def test_frames_of_every_kind_are_read_one_by_one(seed: int) -> None:
    """Deltas side by side share a seal: each is read all the same, and the pack as a whole."""
    rng = random.Random(seed)
    base = words("base", 2_000)
    frames, plain = [], []
    for number in range(rng.choice([1, 3, 300])):
        data = noise(number, 300) if rng.random() < 0.2 else base[: rng.randrange(1, 2_000)] + bytes([number % 256])
        chunk = [(chunk_id(SUBKEYS.chunk_id, data), data)]
        delta = rng.random() < 0.8
        frames.append(pack.make_delta(*chunk[0], b"s" * 16, base, 3) if delta else None)
        frames[-1] = frames[-1] or pack.make_frame(chunk, 3)
        plain.append(data)
    stored = bytes(pack.build_pack(frames, SUBKEYS, REPOSITORY, sealing.AES_256_GCM))
    directory = pack.verify_pack(stored, PackId(stored_name(stored)), SUBKEYS, REPOSITORY, lambda _: base)
    read: Callable[[int, int], bytes] = lambda at, length: stored[at : at + length]  # noqa: E731
    _, cipher = pack.open_directory(read, directory.pack, len(stored), SUBKEYS, REPOSITORY)
    order = list(enumerate(plain))
    rng.shuffle(order)
    for ordinal, data in order:
        at, length = pack.sealed_span(directory, ordinal)
        assert length <= max(layout.JOINED_BYTES + sealing.TAG_LENGTH, directory.frames[ordinal].stored)
        assert pack.open_frame(directory, ordinal, stored[at : at + length], cipher, lambda _: base) == data
    seals = sum(row.tag > 0 for row in directory.frames)
    alone = sum(frame.method != pack.DELTA for frame in frames)
    assert alone <= seals <= 2 * alone + 1 + 2 * sum(len(frame.payload) for frame in frames) // layout.JOINED_BYTES


def test_no_part_of_a_pack_can_stand_for_another() -> None:
    """Frames, padding, directory and header, of this pack and of another one: every swap is refused."""
    (name, stored, _), (other_name, other, _) = _packs(noise(1, 5_000), noise(2, 5_000))
    spans: dict[str, tuple[int, int]] = {"header": (0, pack.PACK_HEADER_LENGTH)}
    directory = _open(stored, name)
    _open(other, other_name)
    for ordinal, row in enumerate(directory.frames):
        spans[f"frame {ordinal}"] = (directory.offsets[ordinal], directory.offsets[ordinal] + row.stored)
    spans["trailer"] = (len(stored) - pack.TRAILER_LENGTH, len(stored))
    end = max(stop for key, (_, stop) in spans.items() if key.startswith("frame"))
    spans["rest"] = (end, len(stored) - pack.TRAILER_LENGTH)
    for target, (start, stop) in spans.items():
        for origin, (first, last) in spans.items():
            for donor in (stored, other):
                piece = donor[first:last]
                if (target, donor) == (origin, stored) or len(piece) != stop - start:
                    continue
                swapped = stored[:start] + piece + stored[stop:]
                with pytest.raises((Damaged, Unsupported)):
                    _open(swapped, stored_name(swapped))


def test_a_record_opens_only_as_what_and_where_it_was_sealed() -> None:
    """The substitution matrix: kind x repository x place; only the diagonal opens."""
    roots = {layout.CONFIG: SUBKEYS.config, layout.INDEX: SUBKEYS.index, layout.LOG: SUBKEYS.log}
    cells = [
        (kind, repository, place)
        for kind in roots
        for repository in (REPOSITORY, RepositoryId(b"S" * 16))
        for place in (b"", b"one", b"two")
    ]

    def bound(cell: tuple[int, RepositoryId, bytes]) -> bytes:
        return layout.Header(cell[0], sealing.AES_256_GCM, cell[1]).pack() + cell[2]

    for cell in cells:
        sealed = sealing.seal(roots[cell[0]], sealing.AES_256_GCM, bound(cell), b"content")
        for other in cells:
            for root in roots.values():
                if other == cell and root == roots[cell[0]]:
                    assert sealing.unseal(root, sealing.AES_256_GCM, bound(other), sealed, "it") == b"content"
                else:
                    with pytest.raises(Damaged):
                        sealing.unseal(root, sealing.AES_256_GCM, bound(other), sealed, "it")


def test_a_ciphertext_that_opens_under_two_keys_is_refused_before_it_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever makes a ciphertext for two keys cannot make a commitment for both."""
    first, second = b"1" * 32, b"2" * 32
    sealed = sealing.seal(first, sealing.AES_256_GCM, b"aad", b"content")
    monkeypatch.setattr(sealing, "aead", lambda *_: pytest.fail("it was decrypted"))
    with pytest.raises(Damaged):
        sealing.unseal(second, sealing.AES_256_GCM, b"aad", sealed, "it")


def test_a_chunk_that_is_not_what_its_id_says_is_refused_on_every_read() -> None:
    """Valid key, valid seal, wrong plaintext."""
    data = noise(1, 1000)
    wrong = pack.make_frame([(chunk_id(SUBKEYS.chunk_id, b"something else"), data)], 0)
    stored = pack.build_pack([wrong], SUBKEYS, REPOSITORY, sealing.AES_256_GCM)
    name = stored_name(stored)
    with pytest.raises(Damaged, match="not the one that its id names"):
        _open(bytes(stored), name)


def test_a_wrong_chunk_in_a_valid_pack_is_refused_by_the_repository(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    with place.open(in_memory=True) as client:
        repository = client._repository
        lie = chunk_id(repository.keys.chunk_id, b"the truth")
        frame = pack.make_frame([(lie, b"a falsehood")], 0)
        stored = bytes(pack.build_pack([frame], repository.keys, repository.id, sealing.AES_256_GCM))
        repository.store.put(layout.pack_name(stored_name(stored)), [stored])
    with place.open(in_memory=True) as client, pytest.raises(Damaged):
        client._repository.read_chunk(lie)


# Bombs ------------------------------------------------------------------------------------------------------


def test_a_decompression_bomb_is_refused_before_memory_is_taken() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 10_000
    with pytest.raises(Damaged, match="another size"):
        compression.decompress(bomb, 1000, "it")
    row = FrameRow(pack.ZSTD, len(bomb) + 16, b"i" * 32, struct.pack("<I", 2**32 - 1), b"")
    directory = pack.Directory(PackId(b"p" * 32), 0, [row], [0])
    with pytest.raises(Unsupported, match="more than the format allows"):
        pack.open_frame(directory, 0, b"", sealing.FrameCipher(b"k" * 32, 1, b""), lambda bases: b"")


def test_a_frame_of_unknown_size_is_refused() -> None:
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100_000)
    with pytest.raises(Damaged):
        compression.decompress(stream, 100_000, "it")


# Unknown things are unsupported, not damaged ----------------------------------------------------------------


def test_what_a_newer_version_wrote_is_called_unsupported() -> None:
    header = bytearray(layout.Header(layout.PACK, 1, REPOSITORY).pack())
    header[8] = 2
    with pytest.raises(Unsupported, match="format 2"):
        layout.parse_header(header, layout.PACK, "it")
    data = noise(1, 500)
    frame = pack.Frame(9, chunk_id(SUBKEYS.chunk_id, data), struct.pack("<I", 500), data)
    stored = bytes(pack.build_pack([frame], SUBKEYS, REPOSITORY, 1))
    with pytest.raises(Unsupported, match="method 9"):
        _open(stored, stored_name(stored))


# Keyslots ---------------------------------------------------------------------------------------------------


def _slot(**changes: int) -> tuple[str, bytes]:
    slot, stored = keys.make_keyslot(keepstone.password("p"), MASTER, REPOSITORY, memory_kib=64 * 1024)
    name = layout.keyslot_name(slot)
    parsed = keys.parse_keyslot(stored, REPOSITORY, name)
    from msgspec.structs import replace

    from keepstone import encoding

    clear = encoding.encode(replace(parsed.clear, **changes))
    body = parsed.header + struct.pack("<H", len(clear)) + clear + parsed.commitment + parsed.sealed
    return name, body + stored_name(body)


@pytest.mark.parametrize(
    "change",
    [
        {"memory_kib": 8},
        {"memory_kib": 64 * 1024 - 1},
        {"memory_kib": 2**32},
        {"passes": 1},
        {"passes": 10_000},
        {"lanes": 0},
        {"lanes": 500},
    ],
    ids=str,
)
def test_kdf_parameters_outside_the_floor_and_cap_are_refused_before_the_kdf_runs(
    change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, stored = _slot(**change)
    monkeypatch.setattr(keys, "Argon2id", lambda **_: pytest.fail("the KDF ran"))
    with pytest.raises(Damaged, match="outside what Keepstone ever writes"):
        keys.parse_keyslot(stored, REPOSITORY, name)


def test_cheaper_kdf_parameters_within_the_floor_do_not_open_the_slot() -> None:
    """They are bound to the wrapped key: an attacker cannot lower the cost of guessing."""
    name, stored = _slot(memory_kib=96 * 1024)
    assert keys.open_keyslot(keys.parse_keyslot(stored, REPOSITORY, name), keepstone.password("p")) is None


def test_a_password_opens_however_the_keyboard_composes_it() -> None:
    _, stored = keys.make_keyslot(keepstone.password("é"), MASTER, REPOSITORY, memory_kib=64 * 1024)
    slot = layout.keyslot_name(keys.KeyslotId(keys._clear_decoder.decode(stored[34 : 34 + stored[32]]).slot))
    parsed = keys.parse_keyslot(stored, REPOSITORY, slot)
    opened = keys.open_keyslot(parsed, keepstone.password("e\u0301"))
    assert opened is not None
    assert opened.master == MASTER
    assert keys.open_keyslot(parsed, keepstone.password("e")) is None


def test_a_64_digit_key_reads_in_any_writing_and_its_checksum_finds_slips() -> None:
    key = keepstone.new_digits()
    text = keepstone.digits_text(key)
    assert len(text.split()) == 17
    for writing in (text, text.upper(), text.replace(" ", ""), text.replace(" ", "-"), text[:-5], f" {text}\n"):
        assert keepstone.parse_digits(writing) == key
    wrong = text[:-6] + ("0" if text[-6] != "0" else "1") + text[-5:]
    for writing in (wrong, text[:40], text + "00", "x" * 64):
        with pytest.raises(KeepstoneError):
            keepstone.parse_digits(writing)


def test_a_removed_key_that_the_storage_brings_back_does_not_open(tmp_path: Path) -> None:
    store = MemoryStore()
    place = Place(tmp_path, store).init()
    spare = keepstone.parse_digits("ab" * 32)
    with place.open() as repository:
        slot = repository.add_key(spare)
    kept = dict(store.objects)
    with place.open() as repository:
        repository.remove_key(slot.hex())
    store.objects[layout.keyslot_name(slot)] = kept[layout.keyslot_name(slot)]
    with pytest.raises(WrongPassword):
        Place(tmp_path / "other", store, spare).open()
    with Place(tmp_path / "third", store, KEY).open() as repository:
        assert len(repository.keys()) == 1


def test_the_last_keyslot_cannot_be_removed(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    with place.open() as repository:
        (only,) = repository.keys()
        with pytest.raises(KeepstoneError, match="last keyslot"):
            repository.remove_key(only.id.hex())


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    place = Place(tmp_path).init()
    with place.open() as client:
        repository = client._repository
        shown = repr(repository) + repr(repository.keys) + repr(KEY) + repr(vars(client))
        for secret in (repository.master, repository.keys.chunk_id, KEY.secret):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_sub_keys_are_independent() -> None:
    from dataclasses import asdict

    derived = list(asdict(SUBKEYS).values())
    assert len(set(derived)) == len(derived)
    assert all(len(key) == 32 for key in derived)
    assert keyed(derived[0], b"x") != keyed(derived[1], b"x")


def test_index_objects_round_trip() -> None:
    directories = []
    for name, stored, _ in _packs(noise(1, 9_000), noise(2, 3_500)):
        directories.append(_open(stored, name))
    object_name, sealed = index.seal_index(directories, SUBKEYS, REPOSITORY, 1)
    assert list(index.open_index(sealed, object_name, SUBKEYS, REPOSITORY)) == directories
    assert os.path.basename(object_name) == stored_name(sealed).hex()


_FORK = """
import os, sys
from keepstone import sealing
from keepstone.hashing import SubKeys, chunk_id
from keepstone.repo import pack
keys = SubKeys.derive(bytes(32))
sealing.random_bytes(32)
def work(data):
    frame = pack.make_frame([(chunk_id(keys.chunk_id, data), data)], 0)
    stored = pack.build_pack([frame], keys, b"R" * 16, 1)
    return sealing.seal(bytes(32), 1, b"", data)[:32] + bytes(stored[36:68])
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, work(b"same content"))
    os._exit(0)
mine, theirs = work(b"same content"), os.read(read, 64)
os.wait()
sys.exit(0 if len(theirs) == 64 and mine[:32] != theirs[:32] and mine[32:] != theirs[32:] else 1)
"""


def test_a_forked_child_draws_other_keys_than_its_parent() -> None:
    """The salts, and with them the keys, of a record and of a pack with the same content."""
    import subprocess
    import sys

    assert subprocess.run([sys.executable, "-c", _FORK], check=False).returncode == 0
