"""Files are taken out of an XML backup exactly where the parser would have found them, in memory that does not grow."""

from __future__ import annotations

import base64
import io
import random
import tracemalloc
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from keepstone.messages.model import Message
from keepstone.sources import sms_backup_restore
from keepstone.sources.reading import MemoryFolder, Options, UnreadableSource
from keepstone.sources.xml_files import Extractor, find_files, open_file
from support import noise

TEXTS = (
    "a", "data='QUJD'", "x data=&quot;QUJD&quot;", "&lt;part data='QUJD'/&gt;", "@0", "null", "", "a > b", "&#10;",
    "&#55357;&#56832;",
)  # fmt: skip


def part(rng: random.Random) -> str:
    """Return a part as some writer may write it, or as none should."""
    data = rng.randbytes(rng.choice((0, 1, 2, 3, 50, 400)))
    written = base64.b64encode(data).decode()
    if rng.random() < 0.2:
        written = "&#10;".join(written[at : at + 8] for at in range(0, len(written), 8))
    written = rng.choice((written, written, written, "null", "@0", "@1", "", "%%%", written[:-1], written + "<"))
    quote = rng.choice("\"'")
    attributes = [f'text="{rng.choice(TEXTS)}"', "ct='image/png'", 'cl="a > b"', f"data{rng.choice(('=', ' = '))}"]
    rng.shuffle(attributes)
    said = " ".join(one + quote + written + quote if one[:4] == "data" else one for one in attributes)
    return rng.choice(("<part ", "<part\n", "<part\t", "<part  ")) + said + rng.choice(("/>", " />", "></part>", ">"))


def backup(seed: int) -> bytes:
    rng = random.Random(seed)
    out = ["<?xml version='1.0'?>\n<!-- <part data='QUJD'/> --><smses count='3'>"]
    for number in range(rng.randrange(4)):
        body = rng.choice(TEXTS).replace("'", "&apos;")
        out.append(f"<sms address='1' date='{number}' type='1' body='{body}'/>")
        parts = "".join(part(rng) for _ in range(rng.randrange(4)))
        out.append(f"<mms address='1' date='{number}' msg_box='1'><parts>{parts}</parts></mms>")
    text = "".join(out) + "</smses>"
    return text[: rng.randrange(len(text))].encode() if rng.random() < 0.3 else text.encode()


def read(content: bytes) -> list[Message]:
    found = sms_backup_restore.read("a", MemoryFolder({"a": content}), Options())
    try:
        return [item for item in found if isinstance(item, Message)]
    except UnreadableSource:  # It is cut off before its root.
        return []


@given(st.integers(0, 2**32))
def test_it_reads_what_the_parser_alone_would_read(seed: int) -> None:
    """In UTF-16 everything goes through the parser: that is the slow and obvious way."""
    content = backup(seed)
    fast, slow = read(content), read(content.decode().encode("utf-16"))
    assert [m.identity for m in fast] == [m.identity for m in slow]
    assert [[(a.sha256, a.size) for a in m.attachments] for m in fast] == [
        [(a.sha256, a.size) for a in m.attachments] for m in slow
    ]


@given(st.integers(0, 2**32), st.lists(st.integers(0, 3000), max_size=30))
def test_blocks_may_end_anywhere(seed: int, ends: list[int]) -> None:
    content = backup(seed)
    whole = Extractor()
    expected = whole.feed(content, False) + whole.feed(b"", True)
    parts = Extractor()
    cuts = sorted(min(end, len(content)) for end in ends)
    out = [parts.feed(content[a:b], False) for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert b"".join(out) + parts.feed(b"", True) == expected
    assert parts.files == whole.files


@given(st.integers(0, 2**32))
def test_every_file_is_found_again_by_its_hash(seed: int) -> None:
    content = backup(seed)
    for wanted, run in find_files(io.BytesIO(content)).items():
        with open_file(io.BytesIO(content), run) as file:
            assert sha256(file.read()).digest() == wanted


def test_a_video_of_any_length_takes_no_memory() -> None:
    video = noise(5, 30_000_000)
    content = b"<smses><mms><parts><part ct='video/mp4' data='" + base64.b64encode(video) + b"'/></parts></mms></smses>"
    folder = MemoryFolder({"a": content})
    tracemalloc.start()
    (message,) = read(content)
    file = sms_backup_restore.open_attachment("a", folder, message.attachments[0])
    assert file is not None
    hasher = sha256()
    with file:
        while block := file.read(1 << 20):
            hasher.update(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message.attachments[0].sha256 == hasher.digest() == sha256(video).digest()
    assert peak < 10_000_000


def test_a_tag_that_never_ends_is_looked_at_a_few_times_only() -> None:
    extractor = Extractor()
    given = [b"<part "] + [b"a='" + b"b" * 20_000 + b"' "] * 3000
    out = [extractor.feed(block, False) for block in given]
    assert b"".join(out) + extractor.feed(b"", True) == b"".join(given)
