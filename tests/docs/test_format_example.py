"""The worked example of docs/format.md: every line is computed again, by the engine and by the second reader."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import keepstone
from keepstone import encoding, sealing
from keepstone.chunking import Chunker, Parameters, Secrets
from keepstone.hashing import SubKeys, chunk_id, snapshot_id, stored_name
from keepstone.history import recipe, tree
from keepstone.ids import RepositoryId
from keepstone.repo import format as layout
from keepstone.repo import keys, log, pack
from reader import independent

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
MASTER, REPOSITORY = b"\x11" * 32, RepositoryId(b"\x22" * 16)
TEXT = b"Hello, Keepstone."
TIME = 1_700_000_000_000_000_000


def example() -> dict[str, str]:
    """Compute the example. Randomness is 0x33 bytes throughout."""
    sub = SubKeys.derive(MASTER)
    found = {f"sub-key '{name.replace('_', ' ')}'": key.hex() for name, key in asdict(sub).items()}
    chunk = chunk_id(sub.chunk_id, TEXT)
    found["chunk id of 'Hello, Keepstone.'"] = chunk.hex()
    found["snapshot id of the body 80"] = snapshot_id(sub.chunk_id, b"\x80").hex()
    found["padme of 1, 9, 100, 1000, 33554433"] = " ".join(str(encoding.padme(n)) for n in (1, 9, 100, 1000, 33554433))

    header = layout.Header(layout.CONFIG, 1, REPOSITORY).pack()
    found["header of a config"] = header.hex()
    sealed = sealing.seal(sub.config, 1, header, b"\x80")
    found["sealed body 80: salt"] = sealed[:32].hex()
    found["sealed body 80: commitment"] = sealed[32:64].hex()
    found["sealed body 80: B3 of the ciphertext"] = stored_name(sealed[64:]).hex()

    digits = keepstone.parse_digits("0123456789abcdef" * 4)
    found["checksum group of 0123456789abcdef x 4"] = keepstone.digits_text(digits).split()[-1]
    slot, stored = keys.make_keyslot(digits, MASTER, REPOSITORY, created_ns=TIME)
    found["keyslot id"] = slot.hex()
    found["keyslot, whole: B3"] = stored_name(stored).hex()

    frame = pack.make_frame([(chunk, TEXT)], 0)
    built = bytes(pack.build_pack([frame], sub, REPOSITORY, 1))
    found["pack of that chunk, raw: length"] = str(len(built))
    found["pack of that chunk, raw: id"] = stored_name(built).hex()
    found["pack of that chunk, raw: pack header"] = built[: pack.PACK_HEADER_LENGTH].hex()
    at = pack.PACK_HEADER_LENGTH
    found["pack of that chunk, raw: frame"] = built[at : at + len(TEXT) + 16].hex()

    content = encoding.encode([recipe.PIECES, recipe.PIECE.pack(chunk, len(TEXT))])
    found["recipe of that chunk"] = content.hex()
    entry = tree.Entry(name=b"hello", kind=tree.FILE, mode=0o644, mtime_ns=TIME, size=len(TEXT), content=content)
    found["entry of the file 'hello'"] = encoding.encode(entry).hex()

    signer = Ed25519PrivateKey.from_private_bytes(b"\x44" * 32)
    public = signer.public_key().public_bytes_raw()
    writer = log.writer_id(public)
    found["writer of the seed 44 x 32"] = writer.hex()
    record = log.LogRecord(
        version=1, writer=writer, sequence=1, previous=bytes(32), heads=[], time_ns=TIME, kind="snapshot", body=b"\x80",
        public_key=public,
    )  # fmt: skip
    found["its first record"] = encoding.encode(record).hex()
    stored_record = log.seal_record(record, signer, sub, REPOSITORY, 1)
    found["its first record, stored: B3"] = stored_name(stored_record).hex()
    found["its receipt"] = log.receipt(sub, log.open_record(stored_record, writer, 1, sub, REPOSITORY).head)

    secrets = Secrets.derive(sub.chunker)
    found["chunker: SipHash key"] = secrets.sip_key.hex()
    found["chunker: t, u"] = f"{secrets.t:02x} {secrets.u:02x}"
    found["chunker: A of 01, 02, 04, ... 80"] = " ".join(f"{secrets.table[1 << bit]:02x}" for bit in range(8))
    data = blake3(b"keepstone example").digest(length=200_000)
    cuts = Chunker(secrets, Parameters.for_mean(4096)).cuts(data, True)
    found["chunker: first cuts of B3('keepstone example', 200000), mean 4096"] = " ".join(map(str, cuts[:8]))
    return found


def _page() -> dict[str, str]:
    text = PAGE.read_text().split("## 13. ")[1]
    return dict(re.findall(r"^    (.+?) = (.+)$", text, re.MULTILINE))


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "random_bytes", lambda length: b"\x33" * length)


@pytest.mark.usefixtures("fixed")
def test_every_line_of_the_worked_example_is_what_the_engine_computes() -> None:
    assert _page() == example()


@pytest.mark.usefixtures("fixed")
def test_the_second_reader_agrees_with_the_worked_example() -> None:
    page = _page()
    for name, value in page.items():
        if match := re.fullmatch(r"sub-key '(.+)'", name):
            assert independent.derive(MASTER, match[1]).hex() == value
    key = bytes.fromhex(page["sub-key 'chunk id'"])
    assert independent.b3k(key, TEXT).hex() == page["chunk id of 'Hello, Keepstone.'"]
    assert independent.b3k(key, b"snapshot\0\x80").hex() == page["snapshot id of the body 80"]
    chunk = chunk_id(key, TEXT)
    built = bytes(pack.build_pack([pack.make_frame([(chunk, TEXT)], 0)], SubKeys.derive(MASTER), REPOSITORY, 1))
    name = page["pack of that chunk, raw: id"]
    opened = independent.Pack(built, name, bytes.fromhex(page["sub-key 'epoch'"]), REPOSITORY)
    assert opened.frame(0, None) == TEXT
    _, stored = keys.make_keyslot(keepstone.parse_digits("0123456789abcdef" * 4), MASTER, REPOSITORY, created_ns=TIME)
    assert independent.open_keyslot(stored, None, bytes.fromhex("0123456789abcdef" * 4)) == MASTER


def main() -> None:
    """Write the example into the page."""
    sealing.random_bytes = lambda length: b"\x33" * length
    text, _, _ = PAGE.read_text().partition("## 13. ")
    lines = "\n".join(f"    {name} = {value}" for name, value in example().items())
    intro = (
        "## 13. A worked example\n\n"
        "Master key: 32 bytes 0x11. Repository id: 16 bytes 0x22. Algorithm 1. Every random byte is 0x33, so a second\n"
        "implementation can compare the sealed bytes too. Times are 1700000000 seconds. All values are hexadecimal, "
        "but lengths, sizes and offsets.\n\n"
    )
    PAGE.write_text(text + intro + lines + "\n")


if __name__ == "__main__":
    main()
