"""Places that keep objects by name. A store never sees a key or a plaintext.

Axioms, which every implementation keeps and the conformance suite tests:

* An object is written once and never changes; its name is not used again while it exists.
* When `put` returns, the object is durable and whole; before, nothing of it is visible under its name. When `put`
  raises, the object is not stored; should the last step have failed, it may be found nevertheless, but only whole.
* What was put can be read, and is listed, at once.
* A failure to read or list raises; it never looks like emptiness.
* Names are ASCII, `folder/.../name`; the store does not interpret them.
* Every method may be called from several threads at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Protocol
from urllib.parse import unquote, urlsplit

from keepstone.errors import UsageError
from keepstone.ids import Buffer

TEMPORARY = "tmp"
"""The folder in which a store may keep unfinished objects; no object's name begins with it."""

_PART = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"(?!{TEMPORARY}(/|\Z)){_PART}(/{_PART})*", re.ASCII)


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

        A folder that does not exist holds no objects. What the store did not write is left out.

        Raises:
            StoreError: also in the midst of the listing.
        """

    def delete(self, name: str) -> None:
        """Delete an object.

        Raises:
            ObjectNotFound, StoreReadOnly, StoreError.
        """

    def clean_temporary(self) -> int:
        """Remove what interrupted puts left behind and return how many files.

        Objects that are visible now are durable afterwards. A writer calls this before it builds on what it finds.
        Puts of other processes that are under way succeed nevertheless, but may write their object twice.
        """


def check_name(name: str) -> str:
    """Return a valid object name unchanged.

    Raises:
        UsageError: it is none.
    """
    if not is_name(name):
        raise UsageError(f"{name!r} is not the name of an object.")
    return name


def is_name(name: str) -> bool:
    """Return whether an object, or a folder of objects, can have this name."""
    return _NAME.fullmatch(name) is not None


def folder_name(prefix: str) -> str:
    """Return the name of the folder that a listing is asked for, empty for all.

    Raises:
        UsageError: it is none.
    """
    prefix = prefix.removesuffix("/")
    return check_name(prefix) if prefix else ""


def open_store(location: str) -> Store:
    """Return the store at a place: a path, or a `file:` URL.

    Raises:
        UsageError: this version knows no such kind of place.
    """
    # Imported here, so that a store's module is loaded only if it is used.
    from keepstone.store.posix import PosixStore

    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):", location)
    if scheme is None:
        path = os.path.expanduser(location)
    elif scheme[1].lower() == "file":
        path = _url_path(location)
    else:
        raise UsageError(f"Keepstone cannot keep a repository at a place of kind {scheme[1]!r} yet.", "Name a folder.")
    if not path:
        raise UsageError("The place of the repository has no name.", "Name a folder.")
    return PosixStore(path)


def _url_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise UsageError(f"{url} is not a folder of this computer.", "Write `file:///path`, or the path itself.")
    return unquote(parts.path)
