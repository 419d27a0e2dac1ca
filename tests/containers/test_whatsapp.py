"""WhatsApp's encrypted backups: opened, rebuilt, and left alone without their key."""

from __future__ import annotations

import random
import zipfile
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from containers import writers
from keepstone.containers import AesGcm, Concat, Keys, MemorySource, parse_key, recognise, unwrap
from support import sample

SALT, AES = bytes(range(32, 64)), bytes(range(64, 96))
ROOT = Keys(whatsapp=parse_key(writers.ROOT_KEY.hex().encode()) or ())


def old_key_file(salt: bytes = SALT, aes: bytes = AES) -> bytes:
    body = b"\0\1\2" + salt + bytes(16) + bytes(32) + bytes(16) + aes
    return bytes.fromhex("aced0005757200025b42acf317f8060854e00200007870") + len(body).to_bytes(4, "big") + body


def fixture(name: str) -> bytes:
    return sample(f"whatsapp-android/{name}")


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


@pytest.mark.parametrize("features", [0, 1, 30, 40, 100, 1_000])
def test_a_header_may_be_short_or_long(features: int) -> None:
    rng = random.Random(features)
    data = writers.crypt15(writers.zlib_of(writers.text(rng, 3_000)), rng, features=features)
    assert recognise(data[:4096])
    assert unwrap(MemorySource(data), ROOT).node is not None


WEBP = b"RIFF\x10\x27\0\0WEBPVP8 " + bytes(range(256)) * 40


@pytest.mark.parametrize("with_md5", [True, False])
@pytest.mark.parametrize(
    "name", ["wa.db", "chatsettingsbackup.db", "backup_settings.json", "stickers.zip", "wallpaper.webp"]
)
def test_every_file_beside_the_database_is_unwrapped(name: str, with_md5: bool) -> None:
    rng = random.Random(name)
    inside = {
        "wa.db": writers.zlib_of(b"SQLite format 3\0" + writers.text(rng, 40_000), 1),
        "chatsettingsbackup.db": b"SQLite format 3\0" + writers.text(rng, 40_000),
        "backup_settings.json": b'{"theme": "dark"}' * 40,
        "stickers.zip": writers.zip_of({"one.webp": WEBP, "two.webp": WEBP[::-1]}, zipfile.ZIP_STORED),
        "wallpaper.webp": WEBP,
    }[name]
    data = writers.crypt15(inside, rng, with_md5=with_md5, features=0)
    result = unwrap(MemorySource(data), ROOT)
    assert result.node is not None, result.report
    contents = writers.read_leaves(result.node, data, ROOT)
    assert writers.rebuilt(result.node, contents, ROOT) == data
    expected = {"wa.db": zlib.decompress(inside) if name == "wa.db" else b"", "stickers.zip": WEBP}.get(name, inside)
    assert expected in contents


def test_each_file_is_opened_by_the_key_of_its_own_registration() -> None:
    rng = random.Random(8)
    salts, secrets = [rng.randbytes(32) for _ in range(3)], [rng.randbytes(32) for _ in range(3)]
    given = [parse_key(old_key_file(salt, aes)) or () for salt, aes in zip(salts, secrets, strict=True)]
    keys = Keys(whatsapp=tuple(key for found in given for key in found))
    plain = writers.text(rng, 20_000)
    for version, (salt, aes) in enumerate(zip(salts, secrets, strict=True), 1):
        for data in (
            writers.crypt14(writers.zlib_of(plain), rng, aes, salt, version),
            writers.crypt12(writers.zlib_of(plain), rng, aes, salt, version),
        ):
            result = unwrap(MemorySource(data), keys)
            assert result.node is not None
            assert writers.read_leaves(result.node, data, keys) == [plain]
            others = Keys(whatsapp=tuple(key for key in keys.whatsapp if key.aes != aes))
            assert unwrap(MemorySource(data), others).node is None


def test_a_file_of_the_cloud_is_no_container() -> None:
    """`.mcrypt1` has no header: nothing tells that it is one."""
    rng = random.Random(9)
    assert not any(recognise(AESGCM(bytes(32)).encrypt(bytes(16), rng.randbytes(5_000), None)) for _ in range(50))


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
