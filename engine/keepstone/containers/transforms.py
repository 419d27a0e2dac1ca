"""The transforms, both ways: pure functions from pieces to pieces, in bounded memory.

`encode` is what a restore applies and what every proof compares; there is no second implementation of it in this
package. `decode` is what unwraps. Both are exact inverses only for the bytes whose proof has succeeded.
"""

from __future__ import annotations

import binascii
import hmac
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from keepstone.containers.compressor import compressor, has_sections
from keepstone.containers.keys import Keys
from keepstone.containers.nodes import AesGcm, Base64, Deflate, DeflateSettings, SignalArchive, Transform
from keepstone.containers.source import BLOCK, Broken, Pieces, Tape, regroup
from keepstone.errors import Unsupported

FEED = 64 * 1024
"""A deflate encoder is always fed this many bytes at a time, so that its output cannot depend on the feeding."""

EMPTY_SECTION = b"\0\0\0\xff\xff"
"""What a full flush writes when there is nothing to flush: an empty block, stored."""

BLOB = 0x8000_0000
"""Set in the length of a Signal record that is the bytes of an attachment and not a frame."""
MAC_LENGTH = 10
ARCHIVE_MAC = 32
BLOCK_BITS = 128
FRAME_LIMIT = 64 * 1024 * 1024

_OUTPUT = 256 * 1024
_U32 = struct.Struct(">I")
_BASE64_QUANTUM = 48 * 1024
_URL_SAFE = (bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/"))


def encode(node: Transform, inner: Pieces, keys: Keys) -> Pieces:
    """Yield what a transform makes of its inner bytes.

    Raises:
        ContainerKeyMissing: the key it needs is not at hand.
        Unsupported: its deflate encoder is not known.
    """
    if isinstance(node, Deflate):
        if node.sections and not has_sections(node.settings):
            raise Unsupported("A recipe", "has sections, which its deflate encoder does not make")
        return deflate(node.settings, inner, tuple(accumulate(node.sections)))
    if isinstance(node, AesGcm):
        return encrypt_gcm(keys.aes(node.key_ref), node.iv, node.aad, node.tag_length, inner)
    if isinstance(node, Base64):
        return encode_base64(node.alphabet, node.line_length, node.line_end, inner)
    if isinstance(node, SignalArchive):
        return encrypt_archive(*keys.archive_pair(node.key_ref, node.backup_id), node.iv, inner)
    return encrypt_signal(*keys.signal_pair(node.key_ref, node.salt), node.iv, node.version, inner)


def decode(node: Transform, outer: Pieces, keys: Keys) -> Pieces:
    """Yield the inner bytes of a transform, given the bytes it stands for.

    Raises:
        Broken: those are not bytes that this transform makes.
        ContainerKeyMissing: the key it needs is not at hand.
    """
    if isinstance(node, Deflate):
        return inflate(node.settings.wbits, outer)
    if isinstance(node, AesGcm):
        key, body = keys.aes(node.key_ref), node.span.length - node.tag_length
        return decrypt_gcm(key, node.iv, node.aad, node.tag_length, body, Tape(outer))
    if isinstance(node, Base64):
        return decode_base64(node.alphabet, node.line_length, node.line_end, outer)
    if isinstance(node, SignalArchive):
        pair = keys.archive_pair(node.key_ref, node.backup_id)
        return decrypt_archive(*pair, node.iv, Tape(outer), node.span.length)
    pair = keys.signal_pair(node.key_ref, node.salt)
    return decrypt_signal(*pair, node.iv, node.version, Tape(outer), node.span.length)


# Deflate ----------------------------------------------------------------------------------------------------


def deflate(settings: DeflateSettings, inner: Pieces, cuts: Sequence[int] = ()) -> Pieces:
    """Yield the inner bytes, deflated.

    Args:
        cuts: where sections of the inner bytes end, in ascending order. It may grow while the inner bytes come: a
            cut must be known before the byte after it.

    Raises:
        Broken: a section ends beyond the inner bytes.
        Unsupported: the encoder is not known, or makes no sections.
    """
    encoder, fresh = compressor(settings), True
    for piece, ends in _up_to_cuts(regroup(inner, FEED), cuts):
        out = encoder.compress(piece) if piece else b""
        fresh = fresh and not piece
        if ends and fresh:
            out = EMPTY_SECTION
        elif ends:
            out += encoder.cut()
            encoder, fresh = compressor(settings), True  # After a full flush zlib has forgotten everything.
        if out:
            yield out
    yield encoder.flush()


def _up_to_cuts(pieces: Pieces, cuts: Sequence[int]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes, and whether a section ends there."""
    at = done = 0
    for piece in pieces:
        start = 0
        while done < len(cuts) and cuts[done] <= at + len(piece):
            end = cuts[done] - at
            yield piece[start:end], True
            start, done = end, done + 1
        yield piece[start:], False
        at += len(piece)
    for cut in cuts[done:]:
        if cut != at:
            raise Broken("a section ends beyond the end")
        yield b"", True


def inflate(wbits: int, outer: Pieces, ended: Callable[[bytes], object] | None = None) -> Generator[bytes, None, None]:
    """Yield the plaintext of one deflate stream.

    Args:
        ended: is told what followed the stream in its last piece; without it, nothing may follow.

    Raises:
        Broken: the stream is damaged, or ends too soon, or too late.
    """
    inflater = zlib.decompressobj(wbits)
    try:
        for piece in outer:
            while piece and not inflater.eof:
                if out := inflater.decompress(piece, _OUTPUT):
                    yield out
                piece = inflater.unconsumed_tail
            while not inflater.eof and (out := inflater.decompress(b"", _OUTPUT)):
                yield out
            if inflater.eof:
                break
    except zlib.error as error:
        raise Broken("a deflate stream is damaged") from error
    if not inflater.eof:
        raise Broken("a deflate stream ends too soon")
    if ended is not None:
        ended(inflater.unused_data)
    elif inflater.unused_data or next(outer, b""):
        raise Broken("something follows a deflate stream")


# AES-GCM ----------------------------------------------------------------------------------------------------


def encrypt_gcm(key: bytes, iv: bytes, aad: bytes, tag_length: int, inner: Pieces) -> Pieces:
    """Yield the ciphertext, then the tag.

    The key and the IV are those of the application that wrote the container, and so is the plaintext: this makes
    the same bytes a second time, never others under the same IV.
    """
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(aad)
    for piece in inner:
        yield encryptor.update(piece)
    encryptor.finalize()
    yield encryptor.tag[:tag_length]


def decrypt_gcm(key: bytes, iv: bytes, aad: bytes, tag_length: int, body: int, outer: Tape) -> Pieces:
    """Yield the plaintext of `body` bytes; they are authentic only once the tag after them was read.

    Raises:
        Broken: the tag does not fit.
    """
    decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, None, tag_length)).decryptor()
    decryptor.authenticate_additional_data(aad)
    for piece in outer.take(body):
        yield decryptor.update(piece)
    try:
        decryptor.finalize_with_tag(outer.exactly(tag_length))
    except InvalidTag as error:
        raise Broken("the key does not open it, or it is damaged") from error


# Base64 -----------------------------------------------------------------------------------------------------


def encode_base64(alphabet: int, line_length: int, line_end: bytes, inner: Pieces) -> Pieces:
    """Yield base64 with padding; every line but the last is full, and only between lines stands a line end."""
    text = (_base64(piece, alphabet) for piece in regroup(inner, _BASE64_QUANTUM))
    if not line_length:
        yield from text
        return
    first = True
    for group in regroup(text, line_length * (1 + BLOCK // line_length)):
        lines = [group[at : at + line_length] for at in range(0, len(group), line_length)]
        yield (b"" if first else line_end) + line_end.join(lines)
        first = False


def decode_base64(alphabet: int, line_length: int, line_end: bytes, outer: Pieces) -> Pieces:
    """Yield what base64 stands for.

    Raises:
        Broken: it is none. Whether it is the only way to write these bytes is for the proof to say.
    """
    if line_length:
        outer = (piece.translate(None, line_end) for piece in outer)
    for piece in regroup(outer, BLOCK):
        try:
            yield binascii.a2b_base64(piece.translate(_URL_SAFE[1]) if alphabet else piece)
        except binascii.Error as error:
            raise Broken("it is not base64") from error


def _base64(data: bytes, alphabet: int) -> bytes:
    text = binascii.b2a_base64(data, newline=False)
    return text.translate(_URL_SAFE[0]) if alphabet else text


# Signal -----------------------------------------------------------------------------------------------------


class _SignalCipher:
    """AES-256-CTR with a counter in the first four bytes of the IV, one step per frame or blob."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._stream = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
        self._counter, self._rest = _U32.unpack_from(iv)[0], iv[4:]

    def next(self) -> tuple[bytes, Any]:
        # No pair of key and IV is used for two plaintexts: the counter is the application's own numbering.
        iv = _U32.pack(self._counter) + self._rest
        self._counter = (self._counter + 1) & 0xFFFF_FFFF
        self._stream.reset_nonce(iv)
        return iv, self._stream


def encrypt_signal(key: bytes, mac_key: bytes, iv: bytes, version: int, inner: Pieces) -> Pieces:
    """Yield the frames and blobs of a Signal backup: ciphertext, then the first 10 bytes of its HMAC.

    Raises:
        Broken: the inner bytes are not records.
    """
    cipher, tape = _SignalCipher(key, iv), Tape(inner)
    while head := tape.read(4):
        if len(head) < 4:
            raise Broken("a record ends too soon")
        (size,) = _U32.unpack(head)
        used, stream = cipher.next()
        if size & BLOB:
            yield from _encrypt_blob(mac_key, used, stream, tape.take(size ^ BLOB))
            continue
        outer = _U32.pack(size + MAC_LENGTH)
        body: bytes = stream.update(outer + tape.exactly(size)) if version else stream.update(tape.exactly(size))
        mac = hmac.digest(mac_key, body, "sha256")[:MAC_LENGTH]
        yield body + mac if version else outer + body + mac


def _encrypt_blob(mac_key: bytes, iv: bytes, stream: Any, plain: Pieces) -> Pieces:
    mac = hmac.new(mac_key, iv, "sha256")
    for piece in plain:
        body: bytes = stream.update(piece)
        mac.update(body)
        yield body
    yield mac.digest()[:MAC_LENGTH]


def decrypt_signal(
    key: bytes,
    mac_key: bytes,
    iv: bytes,
    version: int,
    outer: Tape,
    size: int,
    recorded: Callable[[int, bool], object] | None = None,
) -> Pieces:
    """Yield the records of a Signal backup: `u32 length, frame` and `u32 length with BLOB set, bytes`.

    Args:
        recorded: is told after each record that was authentic: its length in the records, and whether it is a blob.

    Raises:
        Broken: a record is damaged or ends too soon. Everything before the last call of `recorded` was good.
    """
    cipher = _SignalCipher(key, iv)
    end = outer.position + size
    blob: int | None = None
    while outer.position < end:
        used, stream = cipher.next()
        if blob is not None:
            yield _U32.pack(blob | BLOB)
            yield from _decrypt_blob(mac_key, used, stream, outer, blob)
            if recorded:
                recorded(4 + blob, True)
            blob = None
            continue
        frame = _decrypt_frame(mac_key, stream, outer, version)
        blob = blob_length(frame)
        yield _U32.pack(len(frame)) + frame
        if recorded:
            recorded(4 + len(frame), False)


def _decrypt_frame(mac_key: bytes, stream: Any, outer: Tape, version: int) -> bytes:
    head = outer.exactly(4)
    (size,) = _U32.unpack(stream.update(head) if version else head)
    if not MAC_LENGTH <= size <= FRAME_LIMIT:
        raise Broken("the passphrase does not open it, or it is damaged")
    body, mac = outer.exactly(size - MAC_LENGTH), outer.exactly(MAC_LENGTH)
    signed = head + body if version else body
    if not hmac.compare_digest(hmac.digest(mac_key, signed, "sha256")[:MAC_LENGTH], mac):
        raise Broken("the passphrase does not open it, or it is damaged")
    frame: bytes = stream.update(body)
    return frame


def _decrypt_blob(mac_key: bytes, iv: bytes, stream: Any, outer: Tape, size: int) -> Pieces:
    mac = hmac.new(mac_key, iv, "sha256")
    for piece in outer.take(size):
        mac.update(piece)
        yield stream.update(piece)
    if not hmac.compare_digest(mac.digest()[:MAC_LENGTH], outer.exactly(MAC_LENGTH)):
        raise Broken("an attachment is damaged")


def encrypt_archive(key: bytes, mac_key: bytes, iv: bytes, inner: Pieces) -> Pieces:
    """Yield the IV, the ciphertext, and the HMAC of both.

    The key and the IV are those of the application, and so is the plaintext: see `encrypt_gcm`.
    """
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    padder, mac = PKCS7(BLOCK_BITS).padder(), hmac.new(mac_key, iv, "sha256")
    yield iv
    for piece in inner:
        body: bytes = encryptor.update(padder.update(piece))
        mac.update(body)
        yield body
    body = encryptor.update(padder.finalize())
    mac.update(body)
    yield body + mac.digest()


def decrypt_archive(key: bytes, mac_key: bytes, iv: bytes, outer: Tape, size: int) -> Pieces:
    """Yield the plaintext; it is authentic only once everything was read.

    Raises:
        Broken: the HMAC or the padding does not fit.
    """
    if size < len(iv) + ARCHIVE_MAC or outer.exactly(len(iv)) != iv:
        raise Broken("it is too short")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder, mac = PKCS7(BLOCK_BITS).unpadder(), hmac.new(mac_key, iv, "sha256")
    for piece in outer.take(size - len(iv) - ARCHIVE_MAC):
        mac.update(piece)
        yield unpadder.update(decryptor.update(piece))
    if not hmac.compare_digest(mac.digest(), outer.exactly(ARCHIVE_MAC)):
        raise Broken("the recovery key does not open it, or it is damaged")
    try:
        yield unpadder.update(decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise Broken("its padding is damaged") from error


_BLOB_FIELDS = {4: 3, 7: 2, 8: 2}
"""Attachment, avatar, sticker: the field of the frame, and the field in it that tells the length."""


def blob_length(frame: bytes) -> int | None:
    """Return how many bytes of an attachment follow a frame; None for the frames that have none."""
    for number, value in protobuf_fields(frame):
        wanted = _BLOB_FIELDS.get(number)
        if wanted is None or not isinstance(value, bytes):
            continue
        sizes = [size for inner, size in protobuf_fields(value) if inner == wanted and isinstance(size, int)]
        if sizes and sizes[-1] >= BLOB:
            raise Broken("an attachment is too large")
        return sizes[-1] if sizes else 0
    return None


def protobuf_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: numbers as they are, everything else as bytes.

    Raises:
        Broken: it is no such message.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Broken("it is not a protobuf message")
        if size > len(data) - at:
            raise Broken("a protobuf message ends too soon")
        yield tag >> 3, data[at : at + size]
        at += size


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset after it.

    Raises:
        Broken: it ends too soon or is longer than 10 bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Broken("a protobuf number ends too soon")
