"""Places that keep objects by name. A store never sees a key or a plaintext.

Axioms, which every implementation keeps and the conformance suite tests:

* An object is written once and never changes; its name is not used again while it exists.
* When `put` returns, the object is durable and whole; before, nothing of it is visible under its name.
* What was put can be read, and is listed, at once.
* A failure to read or list raises; it never looks like emptiness.
* Names are ASCII, `folder/.../name`; the store does not interpret them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from keepstone.errors import UsageError
from keepstone.ids import Buffer

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")


class Store(Protocol):
    """A place that keeps objects by name."""

    location: str
    """The place, as messages call it."""

    def put(self, name: str, pieces: Sequence[Buffer]) -> int:
        """Store the concatenation of the pieces and return its length.

        Raises:
            ObjectExists: the name is taken.
            StoreFull, StoreReadOnly, StoreError: the object was not stored.
        """

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object; less than `length` where the object ends.

        Raises:
            ObjectNotFound, StoreError.
        """

    def size(self, name: str) -> int:
        """Return an object's length in bytes.

        Raises:
            ObjectNotFound, StoreError.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield name and length of every object below a folder (`""` for all), in no particular order.

        Raises:
            StoreError.
        """

    def delete(self, name: str) -> None:
        """Delete an object.

        Raises:
            ObjectNotFound, StoreReadOnly, StoreError.
        """

    def clean_temporary(self) -> int:
        """Remove what interrupted puts left behind and return how much; the caller is the only writer here."""


def check_name(name: str) -> str:
    """Return a valid object name unchanged.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of an object.")
    return name


def open_store(location: str) -> Store:
    """Return the store at a place: a path, or a `file:` URL.

    Raises:
        UsageError: this version knows no such kind of place.
    """
    from keepstone.store.posix import (
        PosixStore,
    )  # here, so that a store's module is loaded only if it is used

    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):", location)
    if scheme and scheme[1].lower() != "file":
        raise UsageError(f"Keepstone cannot keep a repository at a place of kind {scheme[1]!r} yet.", "Name a folder.")
    path = location[len(scheme[0]) :] if scheme else location
    return PosixStore(Path(path.removeprefix("//") if scheme else path).expanduser().absolute())
