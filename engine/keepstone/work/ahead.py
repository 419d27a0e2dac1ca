"""A scan of the sources beside the unlocking of the repository.

Making a key of a password takes most of a second and keeps one core busy. Meanwhile another thread can look at every
folder, which is most of what a run without changes does. It only spares the backup looks at folders that turn out
unchanged: of each folder its fingerprint is kept and compared with the local index, and any doubt is a second look.
"""

from __future__ import annotations

import threading

from keepstone.clock import SYSTEM, Clock
from keepstone.errors import SourceError
from keepstone.sources import files
from keepstone.work.options import BackupOptions

MOST_FOLDERS = 20_000
"""Bounds the memory, about 300 bytes a folder, on top of what the key derivation takes."""


class ScanAhead:
    """Looks at the folders of a backup to come, in its order, until it is stopped. A context manager."""

    def __init__(self, options: BackupOptions, clock: Clock = SYSTEM) -> None:
        self.started_ns = clock.now_ns()
        """The snapshot's time, as nothing that changes later is sure to be in it."""
        self._options, self._clock = options, clock
        self._glances: dict[bytes, files.Glance] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scan ahead", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # No thread is to be had, so nothing is looked at ahead.
            self._stopped.set()

    def stop(self) -> None:
        """Stop looking; what was seen can be taken from now on."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def take(self, path: bytes) -> files.Glance | None:
        """Return, once, what was seen of a folder."""
        return self._glances.pop(path, None)

    def __enter__(self) -> ScanAhead:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            if self._options.stream is None and not self._options.force:
                for source in sorted(self._options.sources):
                    self._look_below(source)
        except (SourceError, MemoryError):
            pass  # The backup itself meets it again and says so.

    def _look_below(self, source: bytes) -> None:
        device = files.look(source).st_dev
        waiting = [source]
        while waiting and len(self._glances) < MOST_FOLDERS and not self._stopped.is_set():
            path = waiting.pop()
            glance = files.glance(path, self._clock.now_ns())
            if glance is None:
                continue
            self._glances[path] = glance
            prefix = path if path != b"/" else b""
            names = self._options.entered(path, glance.subfolders, device)
            waiting += [prefix + b"/" + name for name in reversed(names)]
