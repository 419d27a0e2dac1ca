"""WhatsApp's encrypted backups: opened, rebuilt, and left alone without their key."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from containers import writers
from keepstone.containers import AesGcm, Concat, Keys, MemorySource, parse_key, recognise, unwrap

SALT, AES = bytes(range(32, 64)), bytes(range(64, 96))
ROOT = Keys(whatsapp=parse_key(writers.ROOT_KEY.hex().encode()) or ())


def old_key_file() -> bytes:
    body = b"\0\1\2" + SALT + bytes(16) + bytes(32) + bytes(16) + AES
    return bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870") + len(body).to_bytes(4, "big") + body


def fixture(name: str) -> bytes:
    folder = Path(os.environ.get("KEEPSTONE_FIXTURES", Path(__file__).parents[2].parent / "shared" / "fixtures"))
    path = folder / "whatsapp-android" / name
    if not path.exists():
        pytest.skip(f"the sample {path} is not here")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["msgstore.db.crypt12", "msgstore.db.crypt14", "msgstore.db.crypt15"])
def test_a_real_backup_becomes_its_database_and_itself_again(name: str) -> None:
    data, database = fixture(name), fixture("msgstore.db")
    found = [*(parse_key(fixture("key")) or ()), *(parse_key(fixture("encrypted_backup.key")) or ())]
    keys = Keys(whatsapp=tuple(found))
    assert recognise(data[:4096])
    result = unwrap(MemorySource(data), keys)
    assert result.node is not None
    contents = writers.read_leaves(result.node, data, keys)
    assert contents == [database]
    assert writers.rebuilt(result.node, contents, keys) == data


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("form", ["crypt12", "crypt14", "crypt15", "crypt15 without MD5"])
def test_every_form_is_rebuilt(form: str, level: int) -> None:
    rng = random.Random(f"{form} {level}")
    plain = writers.text(rng, 300_000)
    body = writers.zlib_of(plain, level)
    keys = Keys(whatsapp=parse_key(old_key_file()) or ())
    if form == "crypt12":
        data = writers.crypt12(body, rng, AES, SALT)
    elif form == "crypt14":
        data = writers.crypt14(body, rng, AES, SALT)
    else:
        keys, data = ROOT, writers.crypt15(body, rng, with_md5=form == "crypt15")
    result = unwrap(MemorySource(data), keys)
    assert result.node is not None, result.report
    assert writers.read_leaves(result.node, data, keys) == [plain]
    assert writers.rebuilt(result.node, [plain], keys) == data


@pytest.mark.parametrize("deflated", [True, False])
def test_an_increment_is_unwrapped_down_to_the_members_of_its_archive(deflated: bool) -> None:
    rng = random.Random(3)
    members = {"messages.bin": writers.text(rng, 50_000), "header.json": writers.text(rng, 1000)}
    archive = writers.zip_of(members)
    data = writers.crypt15(writers.zlib_of(archive) if deflated else archive, rng, with_md5=False)
    result = unwrap(MemorySource(data), ROOT)
    assert result.node is not None
    contents = writers.read_leaves(result.node, data, ROOT)
    assert all(member in contents for member in members.values())
    assert writers.rebuilt(result.node, contents, ROOT) == data


def test_a_payload_of_another_kind_is_decrypted_as_it_is() -> None:
    data = writers.crypt15(b'{"sticker": 1}' * 100, random.Random(4))
    result = unwrap(MemorySource(data), ROOT)
    assert result.node is not None
    assert writers.read_leaves(result.node, data, ROOT) == [b'{"sticker": 1}' * 100]


def test_two_backups_of_one_database_have_the_same_plaintext() -> None:
    rng = random.Random(5)
    body = writers.zlib_of(writers.text(rng, 10_000))
    both = [writers.crypt15(body, rng) for _ in range(2)]
    assert both[0] != both[1]
    plains = []
    for data in both:
        result = unwrap(MemorySource(data), ROOT)
        assert result.node is not None
        plains.append(writers.read_leaves(result.node, data, ROOT))
    assert plains[0] == plains[1]


def test_a_wrong_or_missing_key_leaves_the_file_as_it_is_and_says_so() -> None:
    data = writers.crypt15(writers.zlib_of(b"secret" * 1000), random.Random(6))
    for keys in (Keys(), Keys(whatsapp=parse_key(b"ab" * 32) or ()), Keys(whatsapp=parse_key(old_key_file()) or ())):
        result = unwrap(MemorySource(data), keys)
        assert result.node is None
        assert "key" in result.report.reason


def test_a_key_is_read_in_every_form_and_never_shown() -> None:
    root = writers.ROOT_KEY
    prefix = bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870")
    forms = [root.hex().encode(), root.hex().upper().encode() + b"\n", prefix + (32).to_bytes(4, "big") + root]
    grouped = " ".join(root.hex()[at : at + 4] for at in range(0, 64, 4)).encode()
    parsed = [parse_key(form) for form in (*forms, grouped)]
    assert parsed[0] is not None
    assert all(one == parsed[0] for one in parsed)
    assert root.hex() not in repr(parsed[0]) + repr(Keys(whatsapp=parsed[0]))
    old = parse_key(old_key_file())
    assert old is not None
    assert old[0].aes == AES
    assert old[0].server_salt == SALT
    for wrong in (b"", b"12", prefix, prefix + (32).to_bytes(4, "big"), prefix + bytes(4) + root, b"z" * 64, bytes(64)):
        assert parse_key(wrong) is None


def test_the_expression_names_the_key_without_telling_it() -> None:
    data = writers.crypt15(writers.zlib_of(b"secret" * 1000), random.Random(7))
    node = unwrap(MemorySource(data), ROOT).node
    assert isinstance(node, Concat)
    sealed = next(part for part in node.parts if isinstance(part, AesGcm))
    assert len(sealed.key_ref) == 16
    assert ROOT.aes(sealed.key_ref) not in repr(node).encode()
