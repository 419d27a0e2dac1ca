"""The worked example of docs/format.md: every line is computed twice, by the engine and from the page's own formulas.

`python tests/docs/test_format_example.py` prints the block as the engine computes it.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import keepstone
from keepstone import encoding, sealing
from keepstone.chunking import Chunker, Parameters, Secrets
from keepstone.hashing import SubKeys, chunk_id, keyed, snapshot_id, stored_name
from keepstone.history import recipe, tree
from keepstone.ids import Buffer, ChunkId, PackId, RepositoryId
from keepstone.repo import format as layout
from keepstone.repo import index, keys, log, pack
from reader import independent
from reader.independent import b3, b3k

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
MASTER, REPOSITORY = b"\x11" * 32, RepositoryId(b"\x22" * 16)
RANDOM, SEED = b"\x33", b"\x44" * 32
DIGITS = "0123456789abcdef" * 4
TEXT = b"Hello, Keepstone."
TIME = 1_700_000_000_000_000_000
SIZES = (1, 9, 100, 1000, 33_554_433)
PURPOSES = ("chunk id", "chunker", "config", "index", "log", "epoch", "hedge", "keyslot", "cache", "state", "receipt")
STREAM = 200_000


def example() -> dict[str, str]:
    """Compute the example with the engine, whose random bytes the caller has set to 0x33."""
    sub = SubKeys.derive(MASTER)
    found = {f"sub-key '{name.replace('_', ' ')}'": key.hex() for name, key in asdict(sub).items()}
    chunk = chunk_id(sub.chunk_id, TEXT)
    found["chunk id of 'Hello, Keepstone.'"] = chunk.hex()
    found["snapshot id of the body 80"] = snapshot_id(sub.chunk_id, b"\x80").hex()
    found["padme of 1, 9, 100, 1000, 33554433"] = " ".join(str(encoding.padme(n)) for n in SIZES)

    digits = keepstone.parse_digits(DIGITS)
    slot, stored = keys.make_keyslot(digits, MASTER, REPOSITORY, created_ns=TIME)
    parsed = keys.parse_keyslot(stored, REPOSITORY, layout.keyslot_name(slot))
    found["checksum group of 0123456789abcdef x 4"] = keepstone.digits_text(digits).split()[-1]
    found["keyslot of these digits: secret"] = encoding.encode(keys.Secret(master=MASTER, created_ns=TIME)).hex()
    found["keyslot of these digits: salt"] = parsed.clear.salt.hex()
    found["keyslot of these digits: slot id"] = slot.hex()
    found["keyslot of these digits: clear"] = parsed.clear_bytes.hex()
    bound = parsed.header + parsed.clear_bytes
    found["keyslot of these digits: key"] = keyed(digits.secret, b"keyslot", parsed.clear.salt, bound).hex()
    found["keyslot of these digits: commitment"] = parsed.commitment.hex()
    found["keyslot of these digits: stored length"] = str(len(stored))
    found["keyslot of these digits: B3 of all"] = stored_name(stored).hex()

    config = layout.Config(
        version=1, chunker=layout.ChunkerConfig(algorithm="two-stage"), cipher=1, keyslots=[slot], created_ns=TIME
    )
    stored = layout.seal_config(config, sub, REPOSITORY)
    assert layout.open_config(stored, sub) == config
    found["config: header"] = stored[:32].hex()
    found["config: body"] = encoding.encode(config).hex()
    found["config: salt"] = stored[32:64].hex()
    found["config: commitment"] = stored[64:96].hex()
    found["config: first 32 bytes of the ciphertext"] = stored[96:128].hex()
    found["config: tag"] = stored[-48:-32].hex()
    found["config: stored length"] = str(len(stored))
    found["config: B3 of all"] = stored_name(stored).hex()

    frame = pack.make_frame([(chunk, TEXT)], 0)
    built = bytes(pack.build_pack([frame], sub, REPOSITORY, 1))
    name = PackId(stored_name(built))
    directory = pack.verify_pack(built, name, sub, REPOSITORY, lambda _: b"")
    record = pack.copied_directory(directory)
    draw = keyed(sub.hedge, b"pack", RANDOM * 32, keyed(sub.hedge, record), length=64)
    found["pack of that chunk: directory"] = record.hex()
    found["pack of that chunk: d"] = keyed(sub.hedge, record).hex()
    found["pack of that chunk: pack key"] = draw[:32].hex()
    found["pack of that chunk: salt"] = draw[32:].hex()
    found["pack of that chunk: pack header"] = built[: pack.PACK_HEADER_LENGTH].hex()
    found["pack of that chunk: frame key"] = keyed(draw[:32], b"frames").hex()
    found["pack of that chunk: nonce of frame 0"] = struct.pack("<IQ", pack.FRAME, 0).hex()
    found["pack of that chunk: sealed frame 0"] = built[pack.PACK_HEADER_LENGTH :][: len(TEXT) + 16].hex()
    found["pack of that chunk: sealed descriptor"] = built[-28:-4].hex()
    found["pack of that chunk: stored length"] = str(len(built))
    found["pack of that chunk: id"] = name.hex()
    found["index object of that pack: id"] = index.seal_index([directory], sub, REPOSITORY, 1)[0].removeprefix("index/")

    piece = recipe.PIECE.pack(chunk, len(TEXT))
    content = encoding.encode([recipe.PIECES, piece])
    found["piece of that chunk"] = piece.hex()
    found["recipe of that chunk"] = content.hex()
    entry = tree.Entry(name=b"hello", kind=tree.FILE, mode=0o644, mtime_ns=TIME, size=len(TEXT), content=content)
    parts: list[bytes] = []
    chunker = Chunker(Secrets.derive(sub.chunker), Parameters.for_mean(16_384))

    def add(data: Buffer) -> ChunkId:
        parts.append(bytes(data))
        return chunk_id(sub.chunk_id, data)

    writer = tree.TreeWriter(add, chunker)
    writer.append(entry)
    root = writer.finish()
    found["tree of the file 'hello'"] = b"".join(parts).hex()
    found["recipe of that tree"] = root.hex()

    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    public = signer.public_key().public_bytes_raw()
    author = log.writer_id(public)
    found["writer of the seed 44 x 32: public key"] = public.hex()
    found["writer of the seed 44 x 32: writer id"] = author.hex()
    log_record = log.LogRecord(
        version=1, writer=author, sequence=1, previous=bytes(32), heads=[], time_ns=TIME, kind="snapshot", body=b"\x80",
        public_key=public,
    )  # fmt: skip
    stored = log.seal_record(log_record, signer, sub, REPOSITORY, 1)
    opened = log.open_record(stored, author, 1, sub, REPOSITORY)
    encoded = encoding.encode(opened.record)
    found["its first record: record"] = encoded.hex()
    found["its first record: signature"] = signer.sign(b"keepstone 1 log record\0" + REPOSITORY + encoded).hex()
    found["its first record: stored length"] = str(len(stored))
    found["its first record: B3 of all"] = opened.hash.hex()
    found["its first record: receipt"] = log.receipt(sub, opened.head)

    secrets = Secrets.derive(sub.chunker)
    found["chunker: SipHash key"] = secrets.sip_key.hex()
    found["chunker: t, u"] = f"{secrets.t:02x} {secrets.u:02x}"
    found["chunker: A times 01, 02, 04, ... 80"] = " ".join(f"{secrets.table[1 << bit]:02x}" for bit in range(8))
    found["chunker: B3 of A times 00, 01, ... ff"] = stored_name(secrets.table).hex()
    data = blake3(b"keepstone example").digest(length=STREAM)
    cuts = Chunker(secrets, Parameters.for_mean(4096)).cuts(data, True)
    found["chunker: first ends in 200000 bytes of BLAKE3('keepstone example'), mean 4096"] = " ".join(
        map(str, cuts[:8])
    )
    return found


# The same from the page alone: nothing below calls the engine -----------------------------------------------


def _padme(n: int) -> int:
    if n < 2:
        return n
    e = n.bit_length() - 1
    s = (e.bit_length() - 1 if e else 0) + 1
    unit = 1 << (e - s)
    return -(-n // unit) * unit


def _seal(root: bytes, header: bytes, place: bytes, body: bytes) -> bytes:
    plaintext = struct.pack("<I", len(body)) + body
    plaintext = plaintext.ljust(max(256, _padme(len(plaintext))), b"\0")
    aad = header + place
    salt = b3k(root, b"salt" + RANDOM * 32 + struct.pack("<I", len(aad)) + aad + plaintext)
    stream = b3k(root, b"seal" + salt, 64)
    return header + salt + stream[32:] + AESGCM(stream[:32]).encrypt(bytes(12), plaintext, aad)


def _header(kind: int) -> bytes:
    return struct.pack("<8sBBBBI16s", b"KEEPSTON", 1, kind, 1, 0, 0, REPOSITORY)


def _apply(rows: bytes, byte: int) -> int:
    return sum(((row & byte).bit_count() % 2) << r for r, row in enumerate(rows))


def _siphash_1_3(key: bytes, message: bytes) -> int:
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def mix(a: int, b: int, turn: int, flip: bool) -> None:
        v[a] = (v[a] + v[b]) % 2**64
        v[b] = (v[b] << turn | v[b] >> (64 - turn)) % 2**64 ^ v[a]
        if flip:
            v[a] = (v[a] << 32 | v[a] >> 32) % 2**64

    def sip_round() -> None:
        mix(0, 1, 13, True)
        mix(2, 3, 16, False)
        mix(0, 3, 21, False)
        mix(2, 1, 17, True)

    for word in (*struct.unpack("<8Q", message), 64 << 56):
        v[3] ^= word
        sip_round()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        sip_round()
    value: int = v[0] ^ v[1] ^ v[2] ^ v[3]
    return value


def _first_ends(sip: bytes, t: int, u: int, rows: bytes, data: bytes, n: int, count: int) -> list[int]:
    mean, k = 2**n, min(max(n - 12, 1), 4)
    m = 2**k - 1
    strict, loose = 2 ** (70 + k) // mean, 2 ** (73 + k) // mean
    table = [_apply(rows, byte) for byte in range(256)]
    filtered, g = [], 0
    for byte in data:
        g = (2 * g ^ table[byte]) % 256
        filtered.append(g)
    ends: list[int] = []
    start = 0
    while len(ends) < count:
        met: list[tuple[int, int]] = []
        end = None
        for e in range(start + mean // 2, start + 23 * mean // 16 + 1):
            if filtered[e - 1] != t or filtered[e - 9] & m != u & m:
                continue
            value = _siphash_1_3(sip, data[e - 64 : e])
            if value < (strict if e - start <= 7 * mean // 8 else loose):
                end = e
                break
            met.append((value, e))
        if end is None:
            end = min(met)[1] if met else start + 23 * mean // 16
        ends.append(end)
        start = end
    return ends


def second(page: Mapping[str, str]) -> dict[str, str]:
    """Compute the example with the second reader and the page's formulas.

    Where the page leaves the encoding of a map open, its bytes are taken from the page and their meaning is checked.
    """

    def given(name: str, meaning: object) -> bytes:
        data = bytes.fromhex(page[name])
        assert independent.record(data) == meaning, name
        found[name] = data.hex()
        return data

    sub = {purpose: independent.derive(MASTER, purpose) for purpose in PURPOSES}
    found = {f"sub-key '{purpose}'": key.hex() for purpose, key in sub.items()}
    chunk = b3k(sub["chunk id"], TEXT)
    found["chunk id of 'Hello, Keepstone.'"] = chunk.hex()
    found["snapshot id of the body 80"] = b3k(sub["chunk id"], b"snapshot\0\x80").hex()
    found["padme of 1, 9, 100, 1000, 33554433"] = " ".join(str(_padme(n)) for n in SIZES)

    digits = bytes.fromhex(DIGITS)
    found["checksum group of 0123456789abcdef x 4"] = independent.derive(digits, "digits checksum").hex()[:4]
    slot_name = "keyslot of these digits: "
    secret = given(slot_name + "secret", {"m": MASTER, "t": TIME})
    draw = b3k(sub["keyslot"], RANDOM * 32 + b"digits" + digits + secret, 48)
    found[slot_name + "salt"], found[slot_name + "slot id"] = draw[:32].hex(), draw[32:].hex()
    clear = given(slot_name + "clear", {"v": 1, "k": "digits", "i": draw[32:], "s": draw[:32]})
    stream = b3k(digits, b"keyslot" + draw[:32] + _header(2) + clear, 64)
    found[slot_name + "key"], found[slot_name + "commitment"] = stream[:32].hex(), stream[32:].hex()
    plaintext = (struct.pack("<H", len(secret)) + secret).ljust(512, b"\0")
    sealed = AESGCM(stream[:32]).encrypt(bytes(12), plaintext, _header(2) + clear)
    stored = _header(2) + struct.pack("<H", len(clear)) + clear + stream[32:] + sealed
    stored += b3(stored)
    assert independent.open_keyslot(stored, None, digits) == MASTER
    found[slot_name + "stored length"], found[slot_name + "B3 of all"] = str(len(stored)), b3(stored).hex()

    found["config: header"] = _header(1).hex()
    body = given("config: body", {"v": 1, "c": {"a": "two-stage"}, "a": 1, "k": [draw[32:]], "t": TIME})
    stored = _seal(sub["config"], _header(1), b"", body)
    assert independent.unseal(sub["config"], stored, 1) == body
    found["config: salt"], found["config: commitment"] = stored[32:64].hex(), stored[64:96].hex()
    found["config: first 32 bytes of the ciphertext"] = stored[96:128].hex()
    found["config: tag"] = stored[-16:].hex()
    stored += b3(stored)
    found["config: stored length"], found["config: B3 of all"] = str(len(stored)), b3(stored).hex()

    built, record, values = _second_pack(sub, chunk)
    found |= {"pack of that chunk: " + name: value for name, value in values.items()}
    name = b3(built)
    opened = independent.Pack(built, name.hex(), sub["epoch"], REPOSITORY)
    assert opened.frame(0, None) == TEXT
    listed = msgspec.msgpack.encode([1, [[name, len(built), record]]])
    found["index object of that pack: id"] = b3(_seal(sub["index"], _header(4), b"", listed)).hex()

    piece = chunk + struct.pack("<Q", len(TEXT))
    content = msgspec.msgpack.encode([0, piece])
    found["piece of that chunk"], found["recipe of that chunk"] = piece.hex(), content.hex()
    folder = bytes.fromhex(page["tree of the file 'hello'"])
    assert struct.unpack_from("<I", folder) == (len(folder) - 4,)
    entry = {"n": b"hello", "k": "f", "m": 0o644, "t": TIME, "s": len(TEXT), "c": content}
    assert independent.record(folder[4:]) == entry
    found["tree of the file 'hello'"] = folder.hex()
    piece = b3k(sub["chunk id"], folder) + struct.pack("<Q", len(folder))
    found["recipe of that tree"] = msgspec.msgpack.encode([0, piece]).hex()

    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    public = signer.public_key().public_bytes_raw()
    author = b3(public)[:16]
    found["writer of the seed 44 x 32: public key"] = public.hex()
    found["writer of the seed 44 x 32: writer id"] = author.hex()
    fields = {
        "v": 1, "w": author, "s": 1, "p": bytes(32), "h": [], "t": TIME, "k": "snapshot", "b": b"\x80", "q": public,
    }  # fmt: skip
    encoded = given("its first record: record", fields)
    signature = signer.sign(b"keepstone 1 log record\0" + REPOSITORY + encoded)
    place = author + struct.pack("<Q", 1)
    stored = _seal(sub["log"], _header(5), place, msgspec.msgpack.encode([encoded, signature]))
    assert independent.record(independent.unseal(sub["log"], stored, 5, place)) == [encoded, signature]
    found["its first record: signature"] = signature.hex()
    found["its first record: stored length"] = str(len(stored))
    found["its first record: B3 of all"] = b3(stored).hex()
    number = int.from_bytes(struct.pack(">I", 1) + b3k(sub["receipt"], place + b3(stored))[:11], "big")
    text = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * (23 - at) & 31] for at in range(24))
    found["its first record: receipt"] = "-".join(re.findall(".{6}", text))

    return found | _second_chunker(sub["chunker"])


def _second_pack(sub: Mapping[str, bytes], chunk: bytes) -> tuple[bytes, bytes, dict[str, str]]:
    """Return the pack of one raw frame, its directory, and the values on the way."""

    numbers = (struct.pack("<I", number) for number in (len(TEXT) + 16, 1, len(TEXT), 0))  # one each: bytes in order
    columns = msgspec.msgpack.encode([b"\0", *numbers, b""])

    def directory(padding: int) -> bytes:
        return msgspec.msgpack.encode([2, struct.pack("<I", padding), len(columns), columns, chunk])

    header = _header(3)
    sealed_directory = len(directory(0)) + 16
    size = 148 + len(TEXT) + 16 + 16 + sealed_directory + 176
    padding = max(1024, _padme(size)) - size + 16
    record = directory(padding)
    d = b3k(sub["hedge"], record)
    draw = b3k(sub["hedge"], b"pack" + RANDOM * 32 + d, 64)
    stream = b3k(draw[:32], b"frames", 64)
    wrapped = AESGCM(b3k(sub["epoch"], b"wrap" + draw[32:])).encrypt(bytes(12), draw[:32], header)
    pack_header = header + struct.pack("<HH", 1, 80) + draw[32:] + wrapped + stream[32:]

    def part(role: int, plaintext: bytes) -> bytes:
        nonce = struct.pack("<IQ", role, 0)
        return AESGCM(stream[:32]).encrypt(nonce, plaintext, header + nonce)

    descriptor = part(3, struct.pack("<Q", sealed_directory))
    built = pack_header + part(0, TEXT) + part(1, bytes(padding - 16)) + part(2, record)
    built += pack_header + descriptor + struct.pack("<I", 176)
    values = {
        "directory": record, "d": d, "pack key": draw[:32], "salt": draw[32:], "pack header": pack_header,
        "frame key": stream[:32], "nonce of frame 0": bytes(12), "sealed frame 0": part(0, TEXT),
        "sealed descriptor": descriptor, "id": b3(built),
    }  # fmt: skip
    return built, record, {n: v.hex() for n, v in values.items()} | {"stored length": str(len(built))}


def _second_chunker(key: bytes) -> dict[str, str]:
    stream = blake3(b"keepstone 1 two-stage", key=key).digest(length=10_000)
    sip, t, at = stream[:16], stream[16], 17
    while (u := stream[at]) % 2 == t % 2:
        at += 1
    at += 1
    while (
        len({_apply(rows := stream[at : at + 8], byte) for byte in range(256)}) < 256 or (rows[0] & 31).bit_count() < 2
    ):
        at += 8
    data = blake3(b"keepstone example").digest(length=STREAM)
    ends = _first_ends(sip, t, u, rows, data, 12, 8)
    return {
        "chunker: SipHash key": sip.hex(),
        "chunker: t, u": f"{t:02x} {u:02x}",
        "chunker: A times 01, 02, 04, ... 80": " ".join(f"{_apply(rows, 1 << bit):02x}" for bit in range(8)),
        "chunker: B3 of A times 00, 01, ... ff": b3(bytes(_apply(rows, byte) for byte in range(256))).hex(),
        "chunker: first ends in 200000 bytes of BLAKE3('keepstone example'), mean 4096": " ".join(map(str, ends)),
    }


# Tests ------------------------------------------------------------------------------------------------------


def _block() -> list[tuple[str, str]]:
    """Return the names and values of the page's section 13."""
    section = PAGE.read_text().partition("\n## 13. ")[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    pairs = [line.rsplit(" = ", 1) for line in lines]
    assert all(len(pair) == 2 for pair in pairs)
    return [(name, value) for name, value in pairs]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "random_bytes", lambda length: RANDOM * length)


@pytest.mark.usefixtures("fixed")
def test_every_line_of_the_worked_example_is_what_the_engine_computes() -> None:
    assert dict(_block()) == example()


def test_every_line_of_the_worked_example_follows_from_the_page() -> None:
    page = dict(_block())
    assert page == second(page)


@pytest.mark.usefixtures("fixed")
def test_each_name_of_the_worked_example_is_checked_once_and_in_order() -> None:
    names = [name for name, _ in _block()]
    assert names == list(example())
    assert len(names) == len(set(names)) > 50


@pytest.mark.parametrize("name", [name for name, _ in _block()])
def test_a_wrong_digit_anywhere_in_the_example_is_noticed(name: str) -> None:
    page = dict(_block())
    last = "0" if page[name][-1] != "0" else "1"
    page[name] = page[name][:-1] + last
    try:
        computed = second(page)
    except (AssertionError, ValueError, msgspec.DecodeError):
        return
    assert computed != page


if __name__ == "__main__":
    sealing.random_bytes = lambda length: RANDOM * length
    sys.stdout.writelines(f"    {each} = {text}\n" for each, text in example().items())
