"""What later runs will read again, kept on this computer so that it need not be fetched: a pure cache, and bounded.

It holds chunks that new ones will stand on, and the ends of packs, where their directories are. Each is sealed by
It holds chunks that new ones will stand on, and the ends of packs, where their directories are. Each is sealed by
itself, or with its neighbours in the frame that is stored of them, in one of two files. The younger file grows; when it
has half of the room, the older one goes, and what is used out of the older one moves to the younger, so that what is
used stays. Where the records are is written down when the cache is closed; what a killed run added is cut off again. A
seal says which record it is, and whoever asks verifies what it says, so whatever happens to the files, the answer is
the right one or none.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from keepstone import compression, encoding, sealing
from keepstone.errors import Damaged, KeepstoneError, Unsupported
from keepstone.hashing import SubKeys, keyed
from keepstone.ids import ID_LENGTH, Buffer, RepositoryId
from keepstone.repo import format as layout

KEPT_BYTES = 256 * 1024 * 1024
"""What the two files take together at most."""
MOST_KEPT = 1024 * 1024
"""A longer record is not kept: chunks of this length are media, which does not resemble its older self."""
_OPENED = 8
"""Frames whose content is in memory, as neighbours are asked for one after another."""

_LIST = "kept"
_LENGTH = struct.Struct("<I")


class _Record(encoding.Row):
    """What one seal has."""

    names: bytes
    """Of all that is in it, in order."""
    length: int
    """Of the sealed bytes."""
    lengths: bytes = b""
    """Of each name's bytes, 4 bytes each, in a frame; empty if the record is the bytes of one name."""


class _Rows(encoding.Row):
    """What is in one file, in order."""

    number: int
    records: list[_Record]


_list_decoder = msgspec.msgpack.Decoder(list[_Rows])


@dataclass(slots=True)
class _File:
    number: int
    handle: int
    end: int = 0
    records: list[_Record] = field(default_factory=list)


_Place = tuple[_File, int, _Record]
"""A file, an offset, and the record there."""


class Kept:
    """Records by name, 32 bytes each. One process uses the folder at a time; threads may share the object."""

    def __init__(self, folder: Path | None, keys: SubKeys, repository: RepositoryId, limit: int | None = None) -> None:
        """Args:
        folder: None keeps nothing.
        """
        self._folder, self._half = folder, (KEPT_BYTES if limit is None else limit) // 2
        self._key = keyed(keys.cache, b"kept")
        self._bound = layout.Header(layout.LOCAL, sealing.AES_256_GCM, repository).pack()
        self._files: list[_File] = []
        """The older one, if there is one, and the younger one."""
        self._places: dict[bytes, _Place] = {}
        self._opened: OrderedDict[bytes, bytes] = OrderedDict()
        """Content of frames by their names, the last used last."""
        self._ready = self._changed = False
        self._lock = threading.Lock()

    def get(self, name: bytes) -> bytes | None:
        """Return a record, or None. Whoever relies on it verifies it."""
        with self._lock:
            self._open()
            place = self._places.get(name)
            if place is None:
                return None
            record = place[2]
            try:
                if not record.lengths:
                    return self._read(place)
                plain = self._opened.pop(record.names, None) or self._read(place)
            except (OSError, KeepstoneError):
                del self._places[name]
                return None
            self._opened[record.names] = plain
            if len(self._opened) > _OPENED:
                self._opened.popitem(last=False)
            return _part(record, name, plain)

    def _read(self, place: _Place) -> bytes:
        """Return what a record says; out of the older file, it moves to the younger."""
        file, offset, record = place
        sealed = os.pread(file.handle, record.length, offset)
        found = sealing.unseal(self._key, sealing.AES_256_GCM, self._bound + record.names, sealed, _LIST)
        if record.lengths:
            found = compression.decompress(found, sum(_lengths(record)), _LIST)
        if file is not self._files[-1]:
            self._add(record, sealed)
        return found

    def keep(self, name: bytes, data: Buffer) -> None:
        """Keep a record."""
        with self._lock:
            self._open()
            if self._folder is not None and name not in self._places and len(data) <= MOST_KEPT:
                self._seal(name, bytes(data))

    def keep_frame(self, names: bytes, lengths: Sequence[int], frame: bytes) -> None:
        """Keep what is compressed in a frame, if nothing has to go for it.

        Args:
            names: of the parts, joined; `lengths` are the parts' lengths.
        """
        if max(lengths) > MOST_KEPT or sum(lengths) > 4 * MOST_KEPT:
            return
        with self._lock:
            self._open()
            room = self._half - sum(file.end for file in self._files)
            if self._folder is not None and len(frame) <= room and names[:ID_LENGTH] not in self._places:
                self._seal(names, frame, b"".join(map(_LENGTH.pack, lengths)))

    def _seal(self, names: bytes, body: bytes, lengths: bytes = b"") -> None:
        sealed = sealing.seal(self._key, sealing.AES_256_GCM, self._bound + names, body)
        self._add(_Record(names, len(sealed), lengths), sealed)

    def close(self) -> None:
        """Write down where the records are, and close the files."""
        with self._lock:
            if self._changed and self._folder is not None:
                rows = [_Rows(file.number, file.records) for file in self._files]
                sealed = sealing.seal(self._key, sealing.AES_256_GCM, self._bound, encoding.encode(rows))
                with contextlib.suppress(OSError):
                    temporary = self._folder / f"{_LIST}.new"
                    temporary.touch(0o600)
                    temporary.write_bytes(sealed)
                    temporary.rename(self._folder / _LIST)
            self._forget()
            self._folder = None

    def _open(self) -> None:
        """Take over what the last run left, the first time that anything is asked for."""
        if self._ready or self._folder is None:
            return
        self._ready = True
        try:
            sealed = (self._folder / _LIST).read_bytes()
            body = sealing.unseal(self._key, sealing.AES_256_GCM, self._bound, sealed, _LIST)
            rows = encoding.decode(_list_decoder, body, _LIST)
        except (OSError, Damaged, Unsupported):
            rows = []
        for row in rows[-2:]:
            with contextlib.suppress(OSError):
                self._take(row)
        known = {self._path(file.number) for file in self._files}
        for path in self._folder.glob(f"{_LIST}.[0-9]*"):
            if path not in known:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _take(self, row: _Rows) -> None:
        file = _File(row.number, self._open_file(row.number, os.O_RDWR))
        for record in row.records:
            self._place(file, record)
        self._files.append(file)

    def _add(self, record: _Record, sealed: bytes) -> None:
        """Write a sealed record at the end of the younger file. A cache that cannot be written keeps what it has."""
        try:
            if not self._files or self._files[-1].end + len(sealed) > self._half:
                self._turn()
            file = self._files[-1]
            if os.pwrite(file.handle, sealed, file.end) < len(sealed):
                return  # The disk is full.
        except OSError:
            return
        self._place(file, record)
        self._changed = True

    def _place(self, file: _File, record: _Record) -> None:
        """Note that a record is at the end of a file."""
        place = (file, file.end, record)
        for name in _names(record):
            self._places[name] = place
        file.records.append(record)
        file.end += record.length

    def _turn(self) -> None:
        """Begin a new file; of two, the older one goes."""
        number = self._files[-1].number + 1 if self._files else 1
        if len(self._files) > 1:
            old = self._files.pop(0)
            for name in (name for record in old.records for name in _names(record)):
                if name in self._places and self._places[name][0] is old:
                    del self._places[name]
            os.close(old.handle)
            self._path(old.number).unlink(missing_ok=True)
        self._files.append(_File(number, self._open_file(number, os.O_RDWR | os.O_CREAT | os.O_TRUNC)))

    def _open_file(self, number: int, flags: int) -> int:
        return os.open(self._path(number), flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{_LIST}.{number}"

    def _forget(self) -> None:
        for file in self._files:
            os.close(file.handle)
        self._files.clear()
        self._places.clear()
        self._opened.clear()
        self._ready = self._changed = False


def _names(record: _Record) -> list[bytes]:
    return [record.names[at : at + ID_LENGTH] for at in range(0, len(record.names), ID_LENGTH)]


def _lengths(record: _Record) -> list[int]:
    return [length for (length,) in _LENGTH.iter_unpack(record.lengths)]


def _part(record: _Record, name: bytes, plain: bytes) -> bytes:
    """Return the bytes of one name of a frame."""
    lengths = _lengths(record)
    which = _names(record).index(name)
    start = sum(lengths[:which])
    return plain[start : start + lengths[which]]
