"""A store in memory: for tests, and the plainest statement of what a store is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from keepstone.errors import ObjectExists, ObjectNotFound
from keepstone.ids import Buffer
from keepstone.store import check_name, folder_name


class MemoryStore:
    """Objects in a dictionary."""

    def __init__(self, location: str = "memory") -> None:
        self.location = location
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, name: str, pieces: Sequence[Buffer]) -> int:
        data = b"".join(pieces)  # the only copy
        with self._lock:
            if check_name(name) in self.objects:
                raise ObjectExists(f"{name} exists already.")
            self.objects[name] = data
        return len(data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._object(name)
        return data[offset:] if length is None else data[offset : offset + length]

    def size(self, name: str) -> int:
        return len(self._object(name))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = folder_name(prefix)
        start = folder + "/" if folder else ""
        with self._lock:
            found = [(name, len(data)) for name, data in self.objects.items() if name.startswith(start)]
        yield from found

    def delete(self, name: str) -> None:
        with self._lock:
            if self.objects.pop(check_name(name), None) is None:
                raise ObjectNotFound(f"{name} does not exist.")

    def clean_temporary(self) -> int:
        return 0

    def copy(self) -> MemoryStore:
        """Return another store that holds the same objects now."""
        other = MemoryStore(self.location)
        with self._lock:
            other.objects.update(self.objects)
        return other

    def _object(self, name: str) -> bytes:
        with self._lock:
            data = self.objects.get(check_name(name))
        if data is None:
            raise ObjectNotFound(f"{name} does not exist.")
        return data
