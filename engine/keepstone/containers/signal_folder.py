"""Signal's backup folders: their main file, opened by the account's recovery key.

`SignalBackups` holds a folder for each of the last nights, with a `main` of all messages, a small `metadata` and a list
of the media, and one store of media for all nights. `main` is an IV, AES-256-CBC over gzip and zeros, and an HMAC: it
has no mark to be known by. So it is known by its place, beside a `metadata` that reads as one; and that has to be read
anyway, because the backup id from which the keys are derived stands only there. The id is kept in the expression, so
that a restore needs the recovery key and nothing else.

The media stay as they are. They are named by their content and never change, so each is stored once; their keys are
known only to the messages inside `main`.
"""

from __future__ import annotations

from keepstone.containers.context import Context, assemble, reproduces
from keepstone.containers.keys import SignalRecoveryKey, open_backup_id
from keepstone.containers.nodes import Node, SignalArchive, Span
from keepstone.containers.source import Broken, Source
from keepstone.containers.transforms import ARCHIVE_MAC, protobuf_fields

MAIN, METADATA = b"main", b"metadata"
METADATA_LIMIT = 1024
_VERSION = 1
_LENGTH = 64
_IV, _ID_IV, _ID = 16, 12, 16
_SHORTEST = _IV + 16 + ARCHIVE_MAC
_SHOWN = str.maketrans("#=", "o0")


def companion_of(name: bytes) -> bytes | None:
    """Return the name of the file beside one of this name that tells whether that is a container, and how it opens."""
    return METADATA if name == MAIN else None


def parse_recovery_key(text: str) -> SignalRecoveryKey | None:
    """Return the key of 64 letters and digits, in groups or not, in either case; None if that is not what they are.

    So that nobody confuses them, Signal may show the letter O as # and the digit 0 as =.
    """
    characters = "".join(text.split()).lower().translate(_SHOWN)
    fits = len(characters) == _LENGTH and characters.isascii() and characters.isalnum()
    return SignalRecoveryKey(characters.encode()) if fits else None


def looks_like_metadata(data: bytes) -> bool:
    """Return whether these bytes are the `metadata` of a backup folder."""
    try:
        _sealed_id(data)
    except Broken:
        return False
    return True


def unwrap_main(source: Source, metadata: bytes, context: Context, depth: int) -> Node:
    """Return the expression of a `main`.

    Args:
        metadata: the content of the file beside it.

    Raises:
        Broken: no recovery key opens it.
    """
    iv, sealed = _sealed_id(metadata)
    context.entered("signal-folder")
    if not context.keys.recovery:
        raise Broken("there is no recovery key for it")
    for key in context.keys.recovery if source.size >= _SHORTEST else ():
        backup_id = open_backup_id(key.characters, iv, sealed)
        node = SignalArchive(Span(0, source.size), key.ref, backup_id, source.read_at(0, _IV), Span(0, 0))
        try:
            plain = reproduces(node, source, context)
        except Broken:
            continue
        found = assemble(source, [context.descend(node, plain, source, depth)], source.size)
        assert found is not None
        return found
    raise Broken("no recovery key opens it, or it is damaged")


def _sealed_id(metadata: bytes) -> tuple[bytes, bytes]:
    """Return the IV and the ciphertext of the backup id."""
    fields = dict(protobuf_fields(metadata))
    sealed = fields.get(2)
    if fields.get(1) != _VERSION or not isinstance(sealed, bytes):
        raise Broken("it is no backup folder of Signal")
    inner = dict(protobuf_fields(sealed))
    iv, backup_id = inner.get(1), inner.get(2)
    if not isinstance(iv, bytes) or not isinstance(backup_id, bytes) or (len(iv), len(backup_id)) != (_ID_IV, _ID):
        raise Broken("it is no backup folder of Signal")
    return iv, backup_id
