"""Index objects: merged copies of pack directories, so that a client without its local index reads few objects.

A pack's own directory stays authoritative (it is what a dedup hit is confirmed against); an index object saves the
reads. Of a run's last one or two packs it saves next to none, so it only names them, for a loss to be noticed: a copy
would be a tenth of what a night stores. Packs that no index object covers are found by listing; they, and those that
are only named, are read from their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from keepstone import encoding, sealing
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import SubKeys, stored_name
from keepstone.ids import ID_LENGTH, PackId, RepositoryId
from keepstone.repo import format as layout
from keepstone.repo.pack import Directory, copied_directory, parse_directory

BATCH_BYTES = 8 * 1024 * 1024
"""A writer closes an index object when the directories in it reach this size."""


class IndexRow(encoding.Row):
    pack: bytes
    size: int
    directory: bytes


class IndexRecord(encoding.Row):
    version: int
    packs: list[IndexRow]


_decoder = msgspec.msgpack.Decoder(IndexRecord)


def seal_index(
    directories: Sequence[Directory],
    keys: SubKeys,
    repository: RepositoryId,
    algorithm: int,
    *,
    names_only: bool = False,
) -> tuple[str, bytes]:
    """Return the name and the stored bytes of an index object over some packs."""
    rows = [IndexRow(d.pack, d.size, b"" if names_only else copied_directory(d)) for d in directories]
    header = layout.Header(layout.INDEX, algorithm, repository).pack()
    record = encoding.encode(IndexRecord(layout.VERSION, rows))
    stored = header + sealing.seal(keys.index, algorithm, header, record)
    return layout.index_name(stored_name(stored)), stored


def open_index(stored: bytes, name: str, keys: SubKeys, repository: RepositoryId) -> Iterator[Directory]:
    """Yield the directories of an index object; one without frames for a pack that it only names.

    Raises:
        Damaged, Unsupported: named after the index object.
    """
    if layout.index_name(stored_name(stored)) != name:
        raise Damaged(name, "its bytes do not hash to its name")
    header = layout.parse_header(stored, layout.INDEX, name, repository)
    body = sealing.unseal(
        keys.index,
        header.algorithm,
        stored[: layout.HEADER_LENGTH],
        memoryview(stored)[layout.HEADER_LENGTH :],
        name,
    )
    record = encoding.decode(_decoder, body, name)
    if record.version != layout.VERSION:
        raise Unsupported(name, f"is an index of version {record.version}")
    for row in record.packs:
        if len(row.pack) != ID_LENGTH:
            raise Unsupported(name, "names a pack in a way this version does not know")
        found = PackId(row.pack)
        yield parse_directory(row.directory, found, row.size) if row.directory else Directory(found, row.size, [])
