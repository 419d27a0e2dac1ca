"""Every decoder of bytes that Keepstone did not just write itself, as a target for fuzzing, above the seals and below.

    python fuzzing.py TARGET RUNS SEED FOLDER      with atheris: inputs are led by the coverage of keepstone

Above: stored bytes as a hostile storage may change them, with checksums that anybody can make put right again. Below:
what stands inside of the seals, as a hostile writer who has the key may make it; it is sealed with the golden
repository's keys and read as a reader reads it. A target raises errors of Keepstone only, which `run` catches.
"""

from __future__ import annotations

import contextlib
import random
import resource
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

import keepstone
from keepstone import encoding, sealing
from keepstone.errors import Damaged, KeepstoneError
from keepstone.hashing import SubKeys, chunk_id, stored_name
from keepstone.history import expression, recipe, snapshot, tree
from keepstone.ids import ChunkId, WriterId
from keepstone.repo import directories, index, keys, log, pack
from keepstone.repo import format as layout
from keepstone.repo.cache import DictTables, LocalIndex
from keepstone.repo.directories import FrameRow
from keepstone.repo.repository import Repository
from repo import mutation
from repo.mutation import join, split

T = TypeVar("T")

GOLDEN = Path(__file__).parents[1] / "golden" / "v1.tar.gz"
KEY = keepstone.parse_digits("0123456789abcdef" * 4)
MEMORY = 384 * 1024 * 1024
"""Address space a target may take: an index object and what it decodes to are the most."""
MOST = 20_000
"""What a listing yields is looked at so far; the rest of it comes as lazily."""


class Golden:
    """The golden repository's objects, its keys, and the plaintexts inside of its seals."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(GOLDEN) as archive:
            archive.extractall(folder, filter="data")
            root = Path(folder) / "v1"
            self.objects = {
                path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
            }
            with keepstone.open(str(root), KEY, state=Path(folder) / "state", in_memory=True) as client:
                repository: Repository = client._repository
                self.master, self.id = repository.master, repository.id
                self.keys = SubKeys.derive(self.master)
                self.recipes = [s.body.root for s in client.snapshots()]
                self.trees, self.files = [], list(self.recipes)
                for known in client.snapshots():
                    self.trees.append(b"".join(recipe.read_list(known.body.root, repository, "tree")))
                    for item in client.ls(known):
                        if item.entry.kind == tree.FOLDER and item.entry.content:
                            self.trees.append(b"".join(recipe.read_list(item.entry.content, repository, "tree")))
                        self.files.append(item.entry.content)

    def of_kind(self, kind: str) -> list[tuple[str, bytes]]:
        return [(name, data) for name, data in sorted(self.objects.items()) if name.split("/")[0] == kind]


@cache
def golden() -> Golden:
    return Golden()


class Recipient:
    """A repository of the bytes of one input: any id is a chunk of them, so what refers to it finds something."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_chunk(self, chunk: ChunkId) -> bytes:
        start, length = struct.unpack_from("<HH", chunk)
        if not self._data:
            raise Damaged("chunk", "it is in no pack")
        return self._data[start % len(self._data) :][:length]


# Above the seals --------------------------------------------------------------------------------------------


def stored_config(data: bytes) -> None:
    _errors_of(lambda: layout.open_config(data[:-32] + stored_name(data[:-32]), golden().keys))
    layout.open_config(data, golden().keys)


def stored_keyslot(data: bytes) -> None:
    name = golden().of_kind("keyslots")[0][0]
    _errors_of(lambda: keys.parse_keyslot(data, golden().id, name))
    checked = data[:-32] + stored_name(data[:-32])
    slot = keys.parse_keyslot(checked, golden().id, name)
    if slot.clear.kind == keys.DIGITS:
        keys.open_keyslot(slot, KEY)


def stored_record(data: bytes) -> None:
    *others, place = _places()
    for other in others:
        _errors_of(lambda place=other: log.open_record(data, *place, golden().keys, golden().id))
    log.open_record(data, *place, golden().keys, golden().id)


def _places() -> list[tuple[WriterId, int]]:
    return [place for name, _ in golden().of_kind("log") if (place := layout.log_of_name(name))]


def stored_index(data: bytes) -> None:
    list(index.open_index(data, layout.index_name(stored_name(data)), golden().keys, golden().id))


def stored_pack(data: bytes) -> None:
    pack.verify_pack(data, stored_name(data), golden().keys, golden().id, _bases)


def _bases(ids: bytes) -> bytes:
    return ids * 3


# Below the seals --------------------------------------------------------------------------------------------


def padding(data: bytes) -> None:
    sealing.unpad(data.ljust(sealing.SMALLEST_PLAINTEXT, b"\0"), "record")


def config(data: bytes) -> None:
    header = layout.Header(layout.CONFIG, sealing.AES_256_GCM, golden().id).pack()
    stored = header + sealing.seal(golden().keys.config, sealing.AES_256_GCM, header, data)
    layout.open_config(stored + stored_name(stored), golden().keys)


def keyslot(data: bytes) -> None:
    """The parameters in clear and the secret record, both made by somebody who has the 64-digit key."""
    clear, secret = split(data)
    stated = _decoded(keys._clear_decoder, clear)
    slot = bytes(16) if stated is None else stated.slot
    parameters = keys.Clear(version=1, kind=keys.DIGITS, slot=bytes(16), salt=bytes(32))
    header = layout.Header(layout.KEYSLOT, sealing.AES_256_GCM, golden().id).pack()
    key, commitment = keys._wrapping_key(KEY, parameters, header + clear)
    plaintext = (struct.pack("<H", len(secret) & 0xFFFF) + secret)[:512].ljust(512, b"\0")
    sealed = sealing.aead(sealing.AES_256_GCM, key).encrypt(bytes(12), plaintext, header + clear)
    stored = header + struct.pack("<H", len(clear) & 0xFFFF) + clear + commitment + sealed
    parsed = keys.parse_keyslot(stored + stored_name(stored), golden().id, f"keyslots/{slot.hex()}")
    if parsed.clear.kind == keys.DIGITS:
        # The salt of the parameters makes the key, so open with what this salt gives.
        key, commitment = keys._wrapping_key(KEY, parsed.clear, header + clear)
        sealed = sealing.aead(sealing.AES_256_GCM, key).encrypt(bytes(12), plaintext, header + clear)
        keys.open_keyslot(keys.Keyslot(parsed.clear, header, clear, commitment, sealed, sealing.AES_256_GCM), KEY)


def signed_record(data: bytes) -> None:
    header = layout.Header(layout.LOG, sealing.AES_256_GCM, golden().id).pack()
    place = _places()[-1]
    sealed = sealing.seal(golden().keys.log, sealing.AES_256_GCM, header + log._place(*place), data)
    log.open_record(header + sealed, *place, golden().keys, golden().id)


def record(data: bytes) -> None:
    """A record that its writer may sign: what it says of its own place is put right, all else is as it comes."""
    writer, signer = _signer()
    header = layout.Header(layout.LOG, sealing.AES_256_GCM, golden().id).pack()
    try:
        decoded = log._record_decoder.decode(data)
        data = encoding.encode(
            msgspec.structs.replace(
                decoded,
                writer=writer,
                sequence=1,
                previous=bytes(32),
                public_key=signer.public_key().public_bytes_raw(),
            )
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    signature = signer.sign(log._SIGNED + golden().id + data)
    plaintext = encoding.encode(log.SignedRecord(data, signature))
    sealed = sealing.seal(golden().keys.log, sealing.AES_256_GCM, header + log._place(writer, 1), plaintext)
    _read_log(writer, header + sealed)


def snapshot_body(data: bytes) -> None:
    _publish(log.SNAPSHOT, data)


def keyslots_body(data: bytes) -> None:
    _publish(log.KEYSLOTS, data)


def _publish(kind: str, body: bytes) -> None:
    writer, signer = _signer()
    entry = log.LogRecord(
        version=1, writer=writer, sequence=1, previous=bytes(32), heads=[], time_ns=1, kind=kind, body=body,
        public_key=signer.public_key().public_bytes_raw(),
    )  # fmt: skip
    _read_log(writer, log.seal_record(entry, signer, golden().keys, golden().id, sealing.AES_256_GCM))


@cache
def _signer() -> tuple[WriterId, log.Ed25519PrivateKey]:
    signer = log.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return log.writer_id(signer.public_key().public_bytes_raw()), signer


class _OneRecord:
    def __init__(self, stored: bytes) -> None:
        self._stored = stored

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._stored


def _read_log(writer: WriterId, stored: bytes) -> None:
    """Do with a log what opening a repository, listing snapshots and printing a receipt do."""
    view = log.read_logs([layout.log_name(writer, 1)], _OneRecord(stored), log.NoCache(), golden().keys, golden().id)
    view.unknown_kind()
    for head in view.heads.values():
        log.receipt(golden().keys, head)
    found, _ = snapshot.read_snapshots(view, golden().keys)
    for known in found:
        snapshot.resolve(known.id.hex()[:8], found)
        _errors_of(lambda root=known.body.root: _walk_tree(root, Recipient(stored)))
        _errors_of(lambda root=known.body.catalogue: _walk_recipe(root, Recipient(stored)))
    view.live_keyslots([])
    if view.damaged:
        raise view.damaged[0]


def index_record(data: bytes) -> None:
    header = layout.Header(layout.INDEX, sealing.AES_256_GCM, golden().id).pack()
    decoded = _decoded(index._decoder, data)
    if decoded is not None:
        for row in decoded.packs:
            row.size = _filled(row.directory) or row.size
        data = encoding.encode(decoded)
    stored = header + sealing.seal(golden().keys.index, sealing.AES_256_GCM, header, data)
    directories = list(index.open_index(stored, layout.index_name(stored_name(stored)), golden().keys, golden().id))
    local = LocalIndex(DictTables(), golden().keys, golden().id)
    local.add_packs(directories)
    for directory in directories:
        for chunk, ordinal, position in directory.entries():
            local.lookup(chunk)
            assert directory.holds(chunk, ordinal, position)


def _filled(directory: bytes) -> int | None:
    """Return the size of the pack that a directory would fill: what any writer of one gets right."""
    try:
        rows, padding = directories.decode(directory, "it")
    except KeepstoneError:
        return None
    content = sum(row.stored for row in rows) + padding
    size = pack.PACK_HEADER_LENGTH + content + len(directory) + sealing.TAG_LENGTH + pack.TRAILER_LENGTH
    return size if -(2**63) <= size < 2**64 else None


def directory_and_frames(data: bytes) -> None:
    """A pack whose directory and opened frames are what they are; the seals, and the sum of the parts, are right."""
    record, payload = split(data)
    header = layout.Header(layout.PACK, sealing.AES_256_GCM, golden().id).pack()
    frames: list[bytes] = []
    sealed: list[tuple[int, bytes]] = []
    with contextlib.suppress(KeepstoneError):
        rows, _ = directories.decode(record, "it")
        for row in rows:
            row.stored = min(max(row.stored, row.tag), 4096)
            length = row.stored - row.tag
            frames.append(payload[:length].ljust(length, b"\0"))
            payload = payload[length:]
            _name_chunks(row, frames[-1])
        joined = b""
        for ordinal, (row, frame) in enumerate(zip(rows, frames, strict=True)):
            joined += frame
            if row.method != directories.JOINED:
                sealed.append((ordinal, joined))
                joined = b""
        record = directories.encode(directories.record(rows), sealing.TAG_LENGTH)
    pack_header, cipher = pack._new_key([], record, golden().keys, header, sealing.AES_256_GCM)
    parts = [pack_header]
    parts += [_sealed(cipher, pack.FRAME, ordinal, frame) for ordinal, frame in sealed]
    parts.append(_sealed(cipher, pack.PADDING, 0, b""))
    parts.append(_sealed(cipher, pack.DIRECTORY, 0, record))
    descriptor = struct.pack("<Q", len(record) + sealing.TAG_LENGTH)
    parts += [pack_header, _sealed(cipher, pack.DESCRIPTOR, 0, descriptor), struct.pack("<I", pack.TRAILER_LENGTH)]
    stored = b"".join(parts)
    pack.verify_pack(stored, stored_name(stored), golden().keys, golden().id, _bases)


def _name_chunks(row: FrameRow, payload: bytes) -> None:
    """Give the chunks of a raw frame the ids that they have."""
    lengths = [length for (length,) in struct.iter_unpack("<I", row.lengths[: len(row.lengths) // 4 * 4])]
    if row.method == pack.RAW and sum(lengths) <= len(payload):
        at, ids = 0, b""
        for length in lengths:
            ids += chunk_id(golden().keys.chunk_id, payload[at : at + length])
            at += length
        row.ids = ids


def _sealed(cipher: sealing.FrameCipher, role: int, ordinal: int, data: bytes) -> bytes:
    target = bytearray(len(data) + sealing.TAG_LENGTH)
    cipher.seal_into(role, ordinal, data, memoryview(target))
    return bytes(target)


def tree_stream(data: bytes) -> None:
    """The bytes of a tree, in two chunks; its entries' recipes are read too."""
    cut = len(data) // 3
    parts = [data[:cut], data[cut:]]

    class Two:
        def read_chunk(self, chunk: ChunkId) -> bytes:
            return parts[chunk[0] - 1] if chunk[0] in (1, 2) else Recipient(data).read_chunk(chunk)

    pieces = b"".join(recipe.PIECE.pack(bytes([n + 1]) * 32, len(part)) for n, part in enumerate(parts) if part)
    root = encoding.encode([recipe.PIECES, pieces])
    _walk_tree(root, Two())


def _walk_tree(root: bytes, reader: recipe.ChunkReader) -> None:
    last = b""
    for entry in islice(tree.read_tree(root, reader, "tree"), MOST):
        assert last < entry.name
        last = entry.name
        tree.printable(entry.name)
        _errors_of(lambda content=entry.content: _walk_recipe(content, reader))
    _errors_of(lambda: tree.find(root, [last or b"name"], reader, "tree"))


def recipe_and_chunks(data: bytes) -> None:
    content, chunks = split(data)
    _walk_recipe(content, Recipient(chunks))


def _walk_recipe(content: bytes, reader: recipe.ChunkReader) -> None:
    if content:
        _errors_of(lambda: _exhaust(recipe.pieces(content, reader, "file")))
        _errors_of(lambda: _exhaust(expression.chunks_of_recipe(content, reader, "file")))
        _errors_of(lambda: _exhaust(recipe.read_list(content, reader, "file"), 200))
        _exhaust(recipe.pieces(content, reader, "file"))


def _exhaust(found: Iterator[object], most: int = MOST) -> None:
    for _ in islice(found, most):
        pass


def heads(data: bytes) -> None:
    from keepstone.repo import state

    encoding.decode(state._heads_decoder, data, "seen")


# Running ----------------------------------------------------------------------------------------------------


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T | None:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _errors_of(action: Callable[[], object]) -> None:
    try:
        action()
    except KeepstoneError:
        pass


def run(target: Callable[[bytes], None], data: bytes) -> bool:
    """Give an input to a target; return whether it was taken. Anything but an error of Keepstone's is raised."""
    try:
        target(data)
    except KeepstoneError as error:
        assert error.message.endswith((".", ")", "?")), error.message
        return False
    return True


# Seeds ------------------------------------------------------------------------------------------------------


def _opened_records() -> list[tuple[bytes, log.LogRecord]]:
    found = []
    for name, data in golden().of_kind("log"):
        place = layout.log_of_name(name)
        assert place is not None
        bound = data[:32] + log._place(*place)
        plain = sealing.unseal(golden().keys.log, data[10], bound, data[32:], name)
        found.append((plain, log._record_decoder.decode(log._signed_decoder.decode(plain).record)))
    return found


def _golden_directories() -> list[bytes]:
    found = []
    for name, data in golden().of_kind("packs"):
        identity = layout.pack_of_name(name)
        assert identity is not None
        read: Callable[[int, int], bytes] = lambda at, length, d=data: d[at : at + length]  # noqa: E731
        opened, _ = pack.open_directory(read, identity, len(data), golden().keys, golden().id)
        found.append(pack.copied_directory(opened))
    return found


def _small_pack(rows: list[FrameRow], payloads: list[bytes]) -> bytes:
    return join(directories.encode(directories.record(rows), 16), b"".join(payloads))


def _small_packs() -> list[bytes]:
    """Packs of a few bytes with frames of every method: a golden one is too large to be mutated well."""
    text = b"a few words, a few words, a few words" * 4
    name = chunk_id(golden().keys.chunk_id, text)
    frames = [pack.make_frame([(name, text)], 3), pack.make_frame([(name, b"raw")], 0)]
    import zstandard

    bases = zstandard.ZstdCompressionDict(_bases(bytes(32)), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    delta = zstandard.ZstdCompressor(dict_data=bases).compress(text)
    frames.append(pack.Frame(pack.DELTA, name, struct.pack("<I", len(text)), delta, bytes(16)))
    found = []
    for chosen in ([frames[0]], [frames[1]], [frames[2]], frames, []):
        rows = [FrameRow(f.method, len(f.payload) + 16, f.ids, f.lengths, f.bases) for f in chosen]
        found.append(_small_pack(rows, [f.payload for f in chosen]))
    bare = [pack.Frame(pack.DELTA, name, struct.pack("<I", len(text)), delta[4:], bytes(16))] * 3
    found.append(_small_pack(pack._rows([frames[0], *bare]), [frames[0].payload, *(f.payload for f in bare)]))
    return found


def _indirect_recipes() -> list[bytes]:
    piece = recipe.PIECE.pack(struct.pack("<HH", 0, 80).ljust(32, b"\1"), 80)
    hole = recipe.PIECE.pack(recipe.HOLE, 5000)
    chunks = (piece + hole) * 3
    return [join(encoding.encode([1, depth, piece]), chunks) for depth in (1, 2, 3)] + [
        join(encoding.encode([0, piece + hole]), chunks)
    ]


def _keyslot_parts() -> bytes:
    clear = keys.Clear(version=1, kind=keys.DIGITS, slot=bytes(range(16)), salt=bytes(32))
    return join(encoding.encode(clear), encoding.encode(keys.Secret(master=golden().master, label="golden")))


def _password_parts() -> bytes:
    clear = keys.Clear(
        version=1, kind=keys.PASSWORD, slot=bytes(16), salt=bytes(32), memory_kib=65536, passes=3, lanes=4
    )
    return join(encoding.encode(clear), b"")


def _unsealed(kind: str, key: bytes) -> list[bytes]:
    return [
        sealing.unseal(key, data[10], data[:32], data[32 : -32 if kind == "config" else None], name)
        for name, data in golden().of_kind(kind)
    ]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "stored config": (stored_config, lambda: [data for _, data in golden().of_kind("config")]),
    "stored keyslot": (stored_keyslot, lambda: [data for _, data in golden().of_kind("keyslots")]),
    "stored record": (stored_record, lambda: [data for _, data in golden().of_kind("log")]),
    "stored index": (stored_index, lambda: [data for _, data in golden().of_kind("index")]),
    "stored pack": (stored_pack, lambda: [data for _, data in golden().of_kind("packs")]),
    "padding": (padding, lambda: [sealing.pad(b"body"), sealing.pad(bytes(300))]),
    "config": (config, lambda: _unsealed("config", golden().keys.config)),
    "keyslot": (keyslot, lambda: [_keyslot_parts(), _password_parts()]),
    "signed record": (signed_record, lambda: [plain for plain, _ in _opened_records()][::-1]),
    "record": (record, lambda: [encoding.encode(opened) for _, opened in _opened_records()]),
    "snapshot": (snapshot_body, lambda: [r.body for _, r in _opened_records() if r.kind == log.SNAPSHOT]),
    "keyslots": (keyslots_body, lambda: [r.body for _, r in _opened_records() if r.kind == log.KEYSLOTS]),
    "index": (index_record, lambda: _unsealed("index", golden().keys.index)),
    "directory and frames": (
        directory_and_frames,
        lambda: _small_packs() + [join(record, b"") for record in _golden_directories()],
    ),
    "tree": (tree_stream, lambda: golden().trees),
    "recipe": (recipe_and_chunks, lambda: _indirect_recipes() + [join(r, b"") for r in golden().files if r]),
    "heads": (heads, lambda: [encoding.encode([log.Head(bytes(16), 7, bytes(32))])]),
}
"""Name: what takes an input, and the inputs to begin with."""


def main() -> None:
    name, runs, seed, folder = sys.argv[1:]
    import atheris

    target, seeds = TARGETS[name]
    corpus = Path(folder)
    for number, data in enumerate(seeds()):
        (corpus / f"seed{number}").write_bytes(data)
    for module in [m for n, m in sys.modules.items() if n.startswith("keepstone.")]:
        for value in vars(module).values():
            _instrument(atheris.instrument_func, value, module.__name__)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def one_input(data: bytes) -> None:
        run(target, data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return mutation.mutated(name, data, [data], rng)[:most]

    options = ["-timeout=10", "-rss_limit_mb=0", "-max_len=8192", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed}", *options, folder], one_input, custom_mutator=mutate)
    atheris.Fuzz()


def _instrument(instrument: Callable[[object], object], value: object, module: str) -> None:
    """Instrument a function of a module, or the functions of a class of it, in place."""
    members = vars(value).values() if isinstance(value, type) else [value]
    for member in members:
        code = getattr(member, "__code__", None)
        if code is not None and getattr(member, "__module__", None) == module:
            instrument(member)


if __name__ == "__main__":
    main()
