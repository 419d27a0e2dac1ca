"""A phone of the benchmarks is the same for its seed, and its files are what the real programs would read."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import os
import sqlite3
import xml.etree.ElementTree as ET
import zipfile
import zlib
from pathlib import Path

import pytest
from benchmarks.phone import Habits, Pages, Phone, parse_size
from benchmarks.phone.container import field, key_file, varint
from benchmarks.phone.schema import TABLES, statements
from benchmarks.phone.signal import keys
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from keepstone.containers import Keys, MemorySource, SignalArchive, leaves, parse_recovery_key, unwrap

SMALL = Habits(seed=7, size=2_000_000, media=3_000_000, least=60, most=120, vacuum=(2, 2), key_beside=True)


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Phone:
    """A small phone that has lived for five days; days 3 and 5 had a VACUUM."""
    made = Phone(tmp_path_factory.mktemp("life") / "phone", SMALL)
    print(f"seed {SMALL.seed}")
    made.live(5)
    return made


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def take_varint(data: bytes) -> tuple[int, bytes]:
    number = shift = 0
    while True:
        number |= (data[0] & 0x7F) << shift
        shift, more, data = shift + 7, data[0] & 0x80, data[1:]
        if not more:
            return number, data


def fields(data: bytes) -> dict[int, list[int | bytes]]:
    """Decode a protobuf message of numbers and bytes, slowly and obviously."""
    found: dict[int, list[int | bytes]] = {}
    while data:
        tag, data = take_varint(data)
        number, data = take_varint(data)
        if tag & 7 == 2:
            found.setdefault(tag >> 3, []).append(data[:number])
            data = data[number:]
        else:
            found.setdefault(tag >> 3, []).append(number)
    return found


def open_crypt15(data: bytes, root: bytes) -> bytes:
    """Return what a crypt15 file holds; the key is derived by hand."""
    body, md5 = data[:-16], data[-16:]
    assert hashlib.md5(body, usedforsecurity=False).digest() == md5
    length, rest = take_varint(body)
    message = fields(rest[:length])
    assert message[1] == [1]
    inner = message[3][0]
    assert isinstance(inner, bytes)
    iv = fields(inner)[1][0]
    assert isinstance(iv, bytes)
    assert len(iv) == 16
    pseudorandom = hmac.digest(bytes(32), root, "sha256")
    key = hmac.digest(pseudorandom, b"backup encryption\x01", "sha256")
    return zlib.decompress(AESGCM(key).decrypt(iv, rest[length:], None))


def test_a_seed_gives_the_same_phone_however_often_its_life_is_interrupted(phone: Phone, tmp_path: Path) -> None:
    Phone(tmp_path / "phone", SMALL)
    for _ in range(5):
        Phone(tmp_path / "phone").live()
    assert contents(tmp_path / "phone") == contents(phone.folder)


def test_another_seed_gives_another_phone(phone: Phone, tmp_path: Path) -> None:
    other = Phone(tmp_path / "phone", Habits(seed=8, size=300_000, media=0, parts=("crypt15",), least=60, most=120))
    other.live()
    assert not set(contents(other.folder).values()) & set(contents(phone.folder).values())


def test_parts_that_are_left_out_change_nothing_in_the_database(phone: Phone, tmp_path: Path) -> None:
    bare = Phone(tmp_path / "phone", dataclasses.replace(SMALL, parts=()))
    bare.live(5)
    assert bare.database.read_bytes() == phone.database.read_bytes()
    assert set(contents(bare.folder)) == {"Databases/msgstore.db", "Databases/encrypted_backup.key"}


def test_a_phone_does_not_change_its_habits(phone: Phone) -> None:
    with pytest.raises(ValueError, match="other habits"):
        Phone(phone.folder, Habits(seed=9))


def test_the_database_is_closed_whole_and_like_that_of_a_phone(phone: Phone) -> None:
    assert sorted(path.name for path in phone.database.parent.iterdir()) == [
        "encrypted_backup.key", "msgstore.db", "msgstore.db.crypt15"]  # fmt: skip
    db = sqlite3.connect(f"file:{phone.database}?mode=ro", uri=True)
    try:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("pragma page_size").fetchone() == (4096,)
        assert db.execute("pragma auto_vacuum").fetchone() == (1,)
        for what in ("message_media", "message_quoted", "message_revoked", "message_edit_info", "message_add_on",
                     "message_text", "receipt_user", "receipt_device", "call_log", "message_thumbnail"):  # fmt: skip
            assert db.execute(f"select count(*) from {what}").fetchone()[0] > 0, what
        assert db.execute("select count(*) from message where starred=1").fetchone()[0] > 0
        word = db.execute("select content from message_ftsv2 where content like '% % %'").fetchone()[0].split()[0]
        assert db.execute("select count(*) from message_ftsv2 where content match ?", (f'"{word}"',)).fetchone()[0]
    finally:
        db.close()


def test_the_encrypted_database_opens_with_the_key_beside_it(phone: Phone) -> None:
    kept = (phone.database.parent / "encrypted_backup.key").read_bytes()
    assert kept == key_file(phone.root_key)
    assert len(kept) == 59
    sealed = phone.database.with_suffix(".db.crypt15").read_bytes()
    assert open_crypt15(sealed, kept[-32:]) == phone.database.read_bytes()


def test_each_night_has_an_iv_of_its_own(tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone", Habits(size=300_000, media=0, parts=("crypt15",), least=5, most=5))
    ivs = set()
    for _ in range(3):
        phone.live()
        ivs.add(phone.database.with_suffix(".db.crypt15").read_bytes()[:40])
    assert len(ivs) == 3


def test_the_writer_encodes_numbers_as_protobuf_does() -> None:
    assert varint(129) == b"\x81\x01"
    assert fields(field(1, 300) + field(2, b"abc")) == {1: [300], 2: [b"abc"]}


def test_a_photo_sent_by_mms_is_the_file_in_the_camera_folder(phone: Phone) -> None:
    dumps = sorted((phone.folder / "SMSBackupRestore").glob("sms-*.xml"))
    assert len(dumps) == SMALL.kept_dumps
    root = ET.parse(dumps[-1]).getroot()
    assert int(root.attrib["count"]) == len(root)
    assert root.findall("sms")
    pictures = root.findall("mms/parts/part[@ct='image/jpeg']")
    assert pictures
    for picture in pictures:
        data = base64.b64decode(picture.attrib["data"], validate=True)
        assert data == (phone.folder / "DCIM" / "Camera" / picture.attrib["name"]).read_bytes()


def test_calls_are_dumped_beside_the_messages(phone: Phone) -> None:
    newest = max((phone.folder / "SMSBackupRestore").glob("calls-*.xml"))
    root = ET.parse(newest).getroot()
    assert int(root.attrib["count"]) == len(root.findall("call")) > 0


def test_media_are_what_the_database_says(phone: Phone) -> None:
    db = sqlite3.connect(f"file:{phone.database}?mode=ro", uri=True)
    try:
        rows = db.execute("select file_path, file_size, file_hash from message_media").fetchall()
    finally:
        db.close()
    there = [(phone.folder / path, size, digest) for path, size, digest in rows if (phone.folder / path).exists()]
    assert there
    for path, size, digest in there:
        data = path.read_bytes()
        assert len(data) == size
        assert base64.b64encode(hashlib.sha256(data).digest()).decode() == digest
    assert len(zlib.compress(there[0][0].read_bytes())) > there[0][1] * 0.99


def open_signal(data: bytes, passphrase: str) -> list[dict[int, list[int | bytes]]]:
    """Return the frames of a Signal backup; attachments are checked and left out."""
    length = int.from_bytes(data[:4], "big")
    header_field = fields(data[4 : 4 + length])[1][0]
    assert isinstance(header_field, bytes)
    header = fields(header_field)
    iv, salt = header[1][0], header[2][0]
    assert isinstance(iv, bytes)
    assert isinstance(salt, bytes)
    assert header[3] == [1]
    cipher_key, mac_key = keys(passphrase, salt)
    counter, at, frames = int.from_bytes(iv[:4], "big"), 4 + length, []
    while at < len(data):
        cipher = Cipher(AES(cipher_key), CTR(counter.to_bytes(4, "big") + iv[4:])).decryptor()
        counter += 1
        size = int.from_bytes(cipher.update(data[at : at + 4]), "big")
        sealed = data[at : at + 4 + size]
        assert hmac.digest(mac_key, sealed[:-10], "sha256")[:10] == sealed[-10:]
        frame = fields(cipher.update(sealed[4:-10]))
        frames.append(frame)
        at += 4 + size
        if 4 in frame:
            about = frame[4][0]
            assert isinstance(about, bytes)
            length_field = fields(about)[3][0]
            assert isinstance(length_field, int)
            sealed = data[at : at + length_field + 10]
            place = counter.to_bytes(4, "big") + iv[4:]
            assert hmac.digest(mac_key, place + sealed[:-10], "sha256")[:10] == sealed[-10:]
            counter, at = counter + 1, at + length_field + 10
    return frames


def test_a_signal_backup_replays_into_a_database(phone: Phone) -> None:
    newest = max((phone.folder / "Signal").glob("signal-*.backup"))
    frames = open_signal(newest.read_bytes(), phone.passphrase)
    assert frames[-1] == {6: [1]}
    db = sqlite3.connect(":memory:")
    for frame in frames:
        for said in frame.get(2, []):
            assert isinstance(said, bytes)
            statement = fields(said)
            text = statement[1][0]
            assert isinstance(text, bytes)
            values: list[object] = []
            for value in statement.get(2, []):
                assert isinstance(value, bytes)
                ((kind, (content, *_)),) = fields(value).items()
                values.append(None if kind == 5 else content.decode() if isinstance(content, bytes) else content)
            db.execute(text.decode(), values)
    attachments = db.execute("select count(*) from attachment").fetchone()[0]
    assert db.execute("select count(*) from message").fetchone()[0] > 0
    assert attachments == sum(4 in frame for frame in frames)
    db.close()


def test_documents_are_whole_zip_files(phone: Phone) -> None:
    found = sorted((phone.folder / "Documents").glob("*.docx"))
    assert found
    for path in found:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED}
            ET.fromstring(archive.read("word/document.xml"))


def test_an_exported_chat_holds_its_text_and_its_media(tmp_path: Path) -> None:
    phone = Phone(
        tmp_path / "phone", Habits(size=600_000, media=2_000_000, parts=("media", "documents"), least=50, most=60)
    )
    phone.live(11)
    (path,) = (phone.folder / "Download").glob("WhatsApp Chat with *.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(info.flag_bits & 8 for info in archive.infolist())  # As Java writes them.
        text = archive.read(path.stem + ".txt").decode()
        media = [name for name in archive.namelist() if not name.endswith(".txt")]
    assert all(f"{name} (file attached)" in text for name in media)
    assert text.count("\n") > 10


def test_a_day_changes_a_small_part_of_the_database(tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone", Habits(size=12_000_000, media=0, parts=(), least=60, most=60, vacuum=None))
    pages = Pages(phone.database)
    phone.live()
    changes = pages.changes()
    print(changes)
    assert 0 < changes.pages < changes.all_pages // 8
    assert changes.blocks <= changes.all_blocks


def test_a_vacuum_moves_most_of_the_database(tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone", Habits(size=3_000_000, media=0, parts=(), least=60, most=60, vacuum=(2, 2)))
    pages, days = Pages(phone.database), []
    for _ in range(2):
        days += phone.live()
        changes = pages.changes()
    assert [day.vacuumed for day in days] == [False, True]
    assert changes.pages > changes.all_pages // 2


@pytest.mark.parametrize(("said", "size"), [("80MB", 80_000_000), ("1.5 gb", 1_500_000_000), ("500", 500), (7, 7)])
def test_sizes_are_read_as_they_are_written(said: str | int, size: int) -> None:
    assert parse_size(said) == size


def test_what_is_not_a_size_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size("eighty")


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1000}, {"least": 10, "most": 5}, {"vacuum": (0, 3)}, {"zlib_level": 10}, {"kept_dumps": 0}],
)
def test_habits_that_no_phone_has_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least|first|levels"):
        Habits(**wrong)  # type: ignore[arg-type]  # What is wrong is the point.


def test_encrypted_databases_of_earlier_nights_stay_as_long_as_told(tmp_path: Path) -> None:
    habits = Habits(size=300_000, media=0, parts=("crypt15",), least=5, most=5, kept_crypts=2)
    phone = Phone(tmp_path / "phone", habits)
    names = []
    for _ in range(4):
        phone.live()
        names.append(sorted(path.name for path in phone.database.parent.glob("msgstore*.crypt15")))
    assert [len(found) for found in names] == [1, 2, 3, 3]
    dated = list(phone.database.parent.glob("msgstore-*.crypt15"))
    assert all(open_crypt15(path.read_bytes(), phone.root_key).startswith(b"SQLite format 3\0") for path in dated)


FIXTURES = Path(os.environ.get("KEEPSTONE_FIXTURES", "../shared/fixtures"))
REAL = FIXTURES / "whatsapp-android" / "msgstore.db"


@pytest.mark.skipif(not REAL.exists(), reason="needs the database of a real phone in KEEPSTONE_FIXTURES")
def test_tables_and_indexes_are_those_of_a_real_phone() -> None:
    real, ours = sqlite3.connect(f"file:{REAL.absolute()}?immutable=1", uri=True), sqlite3.connect(":memory:")
    for statement in statements():
        ours.execute(statement)
    columns = 'select name, upper(type), "notnull", dflt_value, pk from pragma_table_info(?)'
    keys = "select seqno, name from pragma_index_info(?)"
    for table in TABLES.keys() - {"message_edit_info"}:
        assert ours.execute(columns, (table,)).fetchall() == real.execute(columns, (table,)).fetchall(), table
        known = "select name from sqlite_master where type='index' and tbl_name=? order by name"
        indexes = real.execute(known, (table,)).fetchall()
        assert ours.execute(known, (table,)).fetchall() == indexes
        for name in indexes:
            assert ours.execute(keys, name).fetchall() == real.execute(keys, name).fetchall(), name
    real.close()
    ours.close()


def test_a_backup_folder_of_signal_opens_with_the_recovery_key(tmp_path: Path) -> None:
    lived = Phone(tmp_path / "phone", Habits(seed=7, size=300_000, least=5, most=9, parts=("signal-folder",)))
    lived.live(3)
    nights = sorted((lived.folder / "SignalBackups").glob("signal-backup-*"))
    assert len(nights) == 2
    recovery = parse_recovery_key((lived.memory / "signal-recovery-key.txt").read_text())
    assert recovery is not None
    keys_at_hand = Keys(recovery=(recovery,))
    stored = {path.name for path in (lived.folder / "SignalBackups" / "files").rglob("*") if path.is_file()}
    opened = []
    for night in nights:
        main = MemorySource((night / "main").read_bytes())
        node = unwrap(main, keys_at_hand, companion=(night / "metadata").read_bytes()).node
        assert isinstance(node, SignalArchive)
        frames = next(leaves(node, main, keys_at_hand)).pieces
        opened.append(b"".join(frames))
        listed = (night / "files").read_bytes()
        assert {listed[at + 3 : at + 67].decode() for at in range(0, len(listed), 67)} <= stored
    assert len(opened[0]) < len(opened[1])
    assert stored
