"""What this installation remembers of a repository, outside the cache: who it is as a writer, and what it has seen.

Losing it costs safety margin, not data: the client then becomes a new writer and can no longer notice a rollback to
before now. The files are sealed under the repository's state key and replaced atomically.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keepstone import encoding, sealing
from keepstone.errors import (
    Damaged,
    KeepstoneError,
    Locked,
    ObjectNotFound,
    Rollback,
    StoreError,
    Unsupported,
)
from keepstone.hashing import SubKeys, stored_name
from keepstone.ids import RepositoryId, WriterId
from keepstone.repo import format as layout
from keepstone.repo.log import MISSING, Head, LogView, writer_id
from keepstone.store.files import Files, SystemFiles, replace_file

_heads_decoder = msgspec.msgpack.Decoder(list[Head])


class State:
    """The state folder of one repository."""

    def __init__(self, folder: Path, keys: SubKeys, repository: RepositoryId, files: Files | None = None) -> None:
        self.folder = folder / repository.hex()
        self._keys = keys
        self._repository = repository
        self._files: Files = files if files is not None else SystemFiles()

    # The writer ------------------------------------------------------------------------------------------

    def writer(self) -> tuple[WriterId, Ed25519PrivateKey]:
        """Return this installation's identity as a writer; the first call makes it."""
        seed = self._read("writer")
        if seed is None or len(seed) != 32:
            seed = sealing.random_bytes(32)
            self._write("writer", seed)
        signer = Ed25519PrivateKey.from_private_bytes(seed)
        public = signer.public_key().public_bytes_raw()
        return writer_id(public), signer

    def forget_writer(self) -> None:
        """Become a new writer: after a rollback the old log must not be continued."""
        self._write("writer", b"")

    # What was seen ---------------------------------------------------------------------------------------

    def check_not_rolled_back(self, view: LogView) -> None:
        """Compare the logs with the heads seen before.

        Raises:
            Rollback: a record that was seen is gone or is another one now.
        """
        hashes = {(e.record.writer, e.record.sequence): e.hash for e in view.entries}
        damaged = {d.object_name: d for d in view.damaged if isinstance(d, Damaged | Unsupported)}
        for head in self._seen():
            for sequence in range(1, head.sequence + 1):
                found = hashes.get((head.writer, sequence))
                damage = damaged.get(layout.log_name(WriterId(head.writer), sequence))
                if damage is not None and not (isinstance(damage, Damaged) and damage.what == MISSING):
                    continue  # It is there but damaged: reported as damage, which is what it is.
                if found is None or (sequence == head.sequence and found != head.hash):
                    raise Rollback(
                        "The storage shows an older or different state of this repository than this computer has seen "
                        f"(record {sequence} of writer {head.writer.hex()[:8]} is "
                        f"{'missing' if found is None else 'another one'})."
                    )

    def remember(self, view: LogView, *, afresh: bool = False) -> None:
        """Remember the heads of all logs as seen; `afresh` forgets what was seen before."""
        seen = self._seen()
        newest = {head.writer: head for head in view.heads.values()}
        for head in [] if afresh else seen:
            # A record that is damaged just now was seen all the same: what was seen never goes back.
            if head.writer not in newest or newest[WriterId(head.writer)].sequence < head.sequence:
                newest[WriterId(head.writer)] = head
        heads = sorted(newest.values(), key=lambda head: head.writer)
        if heads != seen:
            self._write("seen", encoding.encode(heads))

    def _seen(self) -> list[Head]:
        body = self._read("seen")
        return [] if not body else encoding.decode(_heads_decoder, body, str(self.folder / "seen"))

    # Exclusion -------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the writer's lock: one process of this installation writes at a time.

        The lock belongs to the open file, so it ends with the process however that ends.

        Raises:
            Locked: another process holds it.
        """
        self._make_folder(self.folder)
        try:
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeepstoneError(
                f"The state folder {self.folder} cannot be used ({error.strerror}).", _STATE_REMEDY
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked("Another process is writing to this repository.") from None
            except OSError as error:
                raise KeepstoneError(
                    f"The state folder {self.folder} cannot be locked ({error.strerror}).", _STATE_REMEDY
                ) from error
            yield
        finally:
            os.close(handle)

    # Short-lived files -----------------------------------------------------------------------------------

    def scratch_folder(self) -> Path:
        """Return a private folder for short-lived files of this run.

        Raises:
            KeepstoneError: it cannot be made.
        """
        return self._make_folder(self.folder / "scratch")

    def clean_scratch(self) -> None:
        """Remove what a killed run left in the scratch folder; the caller is the only writer."""
        scratch = self.folder / "scratch"
        if scratch.exists():
            import shutil  # Most runs need nothing of it.

            shutil.rmtree(scratch, ignore_errors=True)

    # Files -----------------------------------------------------------------------------------------------

    def _bound(self, name: str) -> bytes:
        return layout.Header(layout.LOCAL, sealing.AES_256_GCM, self._repository).pack() + name.encode()

    def _read(self, name: str) -> bytes | None:
        try:
            data = self._files.read(str(self.folder / name), 0, layout.MAX_SMALL_OBJECT)
        except ObjectNotFound:
            return None
        try:
            return sealing.unseal(self._keys.state, sealing.AES_256_GCM, self._bound(name), data, name)
        except (Damaged, Unsupported):
            return None

    def _write(self, name: str, body: bytes) -> None:
        sealed = sealing.seal(self._keys.state, sealing.AES_256_GCM, self._bound(name), body)
        try:
            self._make_folder(self.folder)
            replace_file(self._files, str(self.folder / name), sealed)
        except StoreError as error:
            raise KeepstoneError(
                f"The state folder {self.folder} cannot be written ({error.message})", _STATE_REMEDY
            ) from error

    def _make_folder(self, folder: Path) -> Path:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise KeepstoneError(
                f"The state folder {folder} cannot be made ({error.strerror}).", _STATE_REMEDY
            ) from error
        return folder


_STATE_REMEDY = "Make the folder writable, or name another one in KEEPSTONE_STATE_DIR."


def pin(folder: Path, location: str, repository: RepositoryId, files: Files | None = None) -> None:
    """Remember which repository stands at a place."""
    place = folder / "places"
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        replace_file(files or SystemFiles(), str(place / stored_name(location.encode()).hex()[:32]), repository)
    except (OSError, StoreError) as error:
        raise KeepstoneError(f"The state folder {folder} cannot be written ({error}).", _STATE_REMEDY) from error


def check_pin(folder: Path, location: str, repository: RepositoryId) -> bool:
    """Return whether the place was seen before; False if it is new.

    Raises:
        Rollback: another repository was seen there.
    """
    try:
        seen = (folder / "places" / stored_name(location.encode()).hex()[:32]).read_bytes()
    except OSError:
        return False
    if len(seen) == len(repository) and seen != repository:
        raise Rollback(f"{location} holds another repository than the one this computer has seen there.")
    return True
