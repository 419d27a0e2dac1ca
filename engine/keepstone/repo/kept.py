"""What later runs will read again, kept on this computer so that it need not be fetched: a pure cache, and bounded.

It holds chunks that new ones will stand on, and the ends of packs, where their directories are. Each is sealed by
itself in one of two files. The younger file grows; when it has half of the room, the older one goes, and what is used
out of the older one moves to the younger, so that what is used stays. Where the records are is written down when the
cache is closed; what a killed run added is cut off again. A seal says which record it is, and whoever asks verifies
what it says, so whatever happens to the files, the answer is the right one or none.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from keepstone import encoding, sealing
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import SubKeys, keyed
from keepstone.ids import ID_LENGTH, Buffer, RepositoryId
from keepstone.repo import format as layout

KEPT_BYTES = 256 * 1024 * 1024
"""What the two files take together at most."""
MOST_KEPT = 1024 * 1024
"""A longer record is not kept: chunks of this length are media, which does not resemble its older self."""

_LIST = "kept"
_LENGTH = struct.Struct("<I")


class _Rows(encoding.Row):
    """What is in one file, in order."""

    number: int
    names: bytes
    lengths: bytes


_list_decoder = msgspec.msgpack.Decoder(list[_Rows])


@dataclass(slots=True)
class _File:
    number: int
    handle: int
    end: int = 0
    names: list[bytes] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


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
        self._places: dict[bytes, tuple[_File, int, int]] = {}
        self._ready = self._changed = False
        self._lock = threading.Lock()

    def get(self, name: bytes) -> bytes | None:
        """Return a record, or None. Whoever relies on it verifies it."""
        with self._lock:
            self._open()
            place = self._places.get(name)
            if place is None:
                return None
            file, offset, length = place
            try:
                sealed = os.pread(file.handle, length, offset)
                found = sealing.unseal(self._key, sealing.AES_256_GCM, self._bound + name, sealed, _LIST)
            except (OSError, Damaged, Unsupported):
                del self._places[name]
                return None
            if file is not self._files[-1]:
                self._add(name, sealed)
            return found

    def keep(self, name: bytes, data: Buffer, *, if_room: bool = False) -> None:
        """Keep a record.

        Args:
            if_room: only if nothing has to go for it.
        """
        with self._lock:
            self._open()
            if self._folder is None or name in self._places or len(data) > MOST_KEPT:
                return
            if if_room and sum(file.end for file in self._files) + len(data) > self._half:
                return
            self._add(name, sealing.seal(self._key, sealing.AES_256_GCM, self._bound + name, bytes(data)))

    def close(self) -> None:
        """Write down where the records are, and close the files."""
        with self._lock:
            if self._changed and self._folder is not None:
                rows = [
                    _Rows(file.number, b"".join(file.names), b"".join(map(_LENGTH.pack, file.lengths)))
                    for file in self._files
                ]
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
        for at, (length,) in enumerate(_LENGTH.iter_unpack(row.lengths)):
            name = row.names[at * ID_LENGTH : (at + 1) * ID_LENGTH]
            self._places[name] = (file, file.end, length)
            file.names.append(name)
            file.lengths.append(length)
            file.end += length
        self._files.append(file)

    def _add(self, name: bytes, sealed: bytes) -> None:
        """Write a sealed record at the end of the younger file. A cache that cannot be written keeps what it has."""
        try:
            if not self._files or self._files[-1].end + len(sealed) > self._half:
                self._turn()
            file = self._files[-1]
            if os.pwrite(file.handle, sealed, file.end) < len(sealed):
                return  # The disk is full.
        except OSError:
            return
        self._places[name] = (file, file.end, len(sealed))
        file.names.append(name)
        file.lengths.append(len(sealed))
        file.end += len(sealed)
        self._changed = True

    def _turn(self) -> None:
        """Begin a new file; of two, the older one goes."""
        number = self._files[-1].number + 1 if self._files else 1
        if len(self._files) > 1:
            old = self._files.pop(0)
            for name in old.names:
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
        self._ready = self._changed = False
