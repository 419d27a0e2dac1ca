"""A store in memory: for tests, and the plainest statement of what a store is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from keepstone.errors import ObjectExists, ObjectNotFound
from keepstone.ids import Buffer
from keepstone.store import check_name


class MemoryStore:
    """Objects in a dictionary."""

    def __init__(self, location: str = "memory") -> None:
        self.location = location
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, name: str, pieces: Sequence[Buffer]) -> int:
        data = b"".join(pieces)
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
        start = prefix.strip("/") + "/" if prefix.strip("/") else ""
        with self._lock:
            found = [(name, len(data)) for name, data in self.objects.items() if name.startswith(start)]
        yield from found

    def delete(self, name: str) -> None:
        self._object(name)
        with self._lock:
            del self.objects[name]

    def clean_temporary(self) -> int:
        return 0

    def _object(self, name: str) -> bytes:
        with self._lock:
            if check_name(name) not in self.objects:
                raise ObjectNotFound(f"{name} does not exist.")
            return self.objects[name]
