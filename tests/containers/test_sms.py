"""SMS Backup & Restore: the parts of an MMS are streams of their own."""

from __future__ import annotations

import base64
import random

import pytest

from containers import writers
from keepstone.containers import Keys, MemorySource, unwrap

KEYS = Keys()


def check(data: bytes) -> list[bytes]:
    result = unwrap(MemorySource(data), KEYS)
    if result.node is None:
        return []
    contents = writers.read_leaves(result.node, data, KEYS)
    assert writers.rebuilt(result.node, contents, KEYS) == data
    return contents


def test_a_photo_sent_by_mms_is_the_photo_on_the_disk() -> None:
    rng = random.Random(1)
    photos = [rng.randbytes(size) for size in (192, 193, 194, 5000, 700_000, 196_608, 196_609, 3_000_000)]
    data = writers.sms_xml(rng, photos)
    contents = check(data)
    assert [part for part in contents if part in photos] == photos


def test_a_photo_in_a_zipped_backup_is_the_same_photo() -> None:
    rng = random.Random(2)
    photos = [rng.randbytes(size) for size in (1000, 2_500_000, 3_500_000)]
    xml = writers.sms_xml(rng, photos)
    assert [part for part in check(writers.zip_of({"sms.xml": xml}, level=1)) if part in photos] == photos


def test_both_kinds_of_quotes_are_read() -> None:
    photo = random.Random(3).randbytes(3000)
    data = writers.sms_xml(random.Random(3), [photo]).replace(b'data="', b"data='").replace(b'==" />', b"==' />")
    assert photo in check(data)


@pytest.mark.parametrize("window", range(-9, 10))
def test_an_attribute_across_two_windows_is_found(window: int) -> None:
    photo = random.Random(4).randbytes(3001)
    head = b"<?xml version='1.0'?><smses>"
    data = head + b" " * (256 * 1024 - len(head) + window) + b'<part data="' + base64.b64encode(photo) + b'"/></smses>'
    assert photo in check(data)


def test_base64_that_could_be_written_otherwise_stays_as_it_is() -> None:
    photo = random.Random(5).randbytes(3001)
    text = base64.b64encode(photo)
    assert text.endswith(b"=")
    loose = bytearray(text)
    at = text.index(b"=") - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose[at] = alphabet[alphabet.index(loose[at]) | 1]  # bits that no byte needs
    for odd in (bytes(loose), text.rstrip(b"="), text[:1000] + b"\n" + text[1000:], text[:-5]):
        data = b"<smses>" + b'<part data="' + odd + b'"/></smses>'
        assert photo not in check(data)


def test_a_backup_that_was_cut_off_keeps_its_whole_parts() -> None:
    rng = random.Random(6)
    photos = [rng.randbytes(20_000) for _ in range(5)]
    data = writers.sms_xml(rng, photos)
    contents = check(data[: int(len(data) * 0.7)])
    assert [part for part in contents if part in photos] == photos[:3]
