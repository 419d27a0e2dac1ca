"""Signal for Android, version 1: one file of encrypted frames, opened by 30 digits.

The first frame is in clear and holds the IV and the salt. All others, and the attachments between them, become one
stream of records (`transforms.decrypt_signal`), in which every attachment is a leaf of its own. A file that is
damaged or cut off is unwrapped up to its last good record.
"""

from __future__ import annotations

from keepstone.containers.context import Context, assemble, reproduces
from keepstone.containers.keys import SignalKey
from keepstone.containers.nodes import Concat, Node, SignalFrames, Span, Transform, with_inner
from keepstone.containers.source import Broken, Pieces, Source, Tape, pieces_of
from keepstone.containers.transforms import MAC_LENGTH, decrypt_signal, protobuf_fields

_HEADER_LIMIT = 1024
_IV = 16
_SMALLEST_BLOB = 4096
_RECORDS_LIMIT = 10_000_000


def parse_passphrase(text: str) -> SignalKey | None:
    """Return the key of 30 digits, in groups or not; None if that is not what they are."""
    digits = "".join(text.split())
    return SignalKey(digits.encode()) if len(digits) == 30 and digits.isascii() and digits.isdigit() else None


def looks_like_signal(head: bytes) -> bool:
    """Return whether a file that begins like this is a version 1 backup."""
    try:
        _header(head)
    except Broken:
        return False
    return True


def unwrap_signal(source: Source, context: Context, depth: int) -> Node | None:
    """Return the expression of a backup.

    Raises:
        Broken: no passphrase opens it.
    """
    start, iv, salt, version = _header(source.read_at(0, _HEADER_LIMIT))
    context.entered("signal")
    if not context.keys.signal:
        raise Broken("there is no passphrase for it")
    for key in context.keys.signal:
        pair = context.aside(lambda ref=key.ref: context.keys.signal_pair(ref, salt))  # type: ignore[misc]  # as below
        survey = _survey(source, start, iv, version, pair, context)
        if survey is None:
            continue
        length, blobs = survey
        node = SignalFrames(Span(start, length), key.ref, salt, iv, version, Span(0, 0))
        plain = reproduces(node, source, context)
        return assemble(source, [_with_blobs(node, blobs, plain.size, context)], source.size)
    raise Broken("no passphrase opens it, or it is damaged")


def _header(head: bytes) -> tuple[int, bytes, bytes, int]:
    """Return the length of the clear header, the IV, the salt and the version."""
    size = int.from_bytes(head[:4], "big")
    if len(head) < 4 or not 0 < size <= min(len(head) - 4, _HEADER_LIMIT - 4):
        raise Broken("it is no Signal backup")
    header = dict(protobuf_fields(head[4 : 4 + size])).get(1)
    if not isinstance(header, bytes):
        raise Broken("it is no Signal backup")
    fields = dict(protobuf_fields(header))
    iv, salt, version = fields.get(1), fields.get(2, b""), fields.get(3, 0)
    if not isinstance(iv, bytes) or len(iv) != _IV or not isinstance(salt, bytes) or version not in (0, 1):
        raise Broken("it is no Signal backup")
    return 4 + size, iv, salt, int(version)


def _survey(
    source: Source, start: int, iv: bytes, version: int, pair: tuple[bytes, bytes], context: Context
) -> tuple[int, list[Span]] | None:
    """Read all records; return how many bytes of the file they are, and where the large blobs lie among them."""
    blobs: list[Span] = []
    plain = length = 0

    def recorded(size: int, is_blob: bool) -> None:
        nonlocal plain, length
        # A frame's length field stands in the file as in the records; a blob's does not.
        if is_blob:
            length += size - 4 + MAC_LENGTH
            if size >= _SMALLEST_BLOB:
                blobs.append(Span(plain + 4, size - 4))
        else:
            length += size + MAC_LENGTH
        plain += size

    tape = Tape(pieces_of(source, start, source.size - start))
    pieces: Pieces = decrypt_signal(*pair, iv, version, tape, source.size - start, recorded)
    try:
        for _ in context.metered(pieces):
            pass
    except Broken:
        if not length:
            return None
    return (length, blobs) if length else None


def _with_blobs(node: Transform, blobs: list[Span], plain: int, context: Context) -> Transform:
    parts: list[Node] = []
    at = 0
    for blob in blobs:
        if not context.found(blob.length):
            break
        context.proved(blob.length)
        parts += [Span(at, blob.offset - at), blob]
        at = blob.end
    if at < plain:
        parts.append(Span(at, plain - at))
    return with_inner(node, parts[0] if len(parts) == 1 else Concat(tuple(parts)))
