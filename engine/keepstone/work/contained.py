"""Files that are containers: unwrapped if that can be proven, and stored as what is inside them."""

from __future__ import annotations

from collections.abc import Callable

from keepstone.containers import (
    HEAD,
    METADATA_LIMIT,
    Broken,
    Patience,
    Unwrapped,
    companion_of,
    leaves,
    recognise,
    unwrap,
)
from keepstone.errors import SourceError
from keepstone.history.ancestor import Ancestor
from keepstone.history.container_keys import SIGNAL, WHATSAPP, container_keys
from keepstone.history.content import ContentWriter
from keepstone.history.tree import printable
from keepstone.repo.repository import Repository
from keepstone.sources import files
from keepstone.work.tally import Tally

KEY_KINDS = {"crypt12": WHATSAPP, "crypt14": WHATSAPP, "crypt15": WHATSAPP, "signal": SIGNAL, "signal-folder": SIGNAL}
"""The kind of key that opens an encrypted format."""


class ContainerReader:
    """Stores the containers of a backup."""

    def __init__(self, repository: Repository, content: ContentWriter, tally: Tally) -> None:
        self._content, self._tally = content, tally
        self._keys = container_keys(repository.log)
        self._patience = Patience()
        self._told_missing: set[str] = set()

    def read(self, reader: files.FileReader, ancestor: Callable[[], Ancestor | None]) -> bytes | None:
        """Store what is inside a container and return the recipe that makes it again; None if the file is none.

        Raises:
            SourceError: the file cannot be read.
        """
        companion = _companion(reader.path)
        if not companion and not recognise(reader.read_at(0, HEAD)):
            return None
        unwrapped = unwrap(reader, self._keys, companion=companion, patience=self._patience)
        self._tell_missing_key(reader.path, unwrapped)
        if unwrapped.node is None:
            return None
        try:
            found = leaves(unwrapped.node, reader, self._keys)
            content = self._content.write_expression(unwrapped.node, found, printable(reader.path), ancestor())
        except Broken:
            return None  # It is no longer what was proven, as somebody writes to it.
        self._tally.read(reader.size)
        return content

    def _tell_missing_key(self, path: bytes, unwrapped: Unwrapped) -> None:
        """Say, once for each kind of key, that an encrypted container stays closed."""
        if unwrapped.node is not None:
            return
        for kind in sorted({KEY_KINDS[name] for name in unwrapped.report.formats if name in KEY_KINDS}):
            if kind not in self._told_missing:
                self._told_missing.add(kind)
                self._tally.notice(
                    f"An encrypted backup of messages is stored as it is ({unwrapped.report.reason}). With its key "
                    f"(`keepstone container key add {kind}`) only what is new in it would be stored, and its "
                    "messages read.",
                    path,
                )


def _companion(path: bytes) -> bytes:
    """Return the content of the file beside this one by which its format is known; nothing for nearly all files."""
    folder, _, name = path.rpartition(b"/")
    beside = companion_of(name)
    if beside is None:
        return b""
    try:
        with files.open_file(folder + b"/" + beside) as reader:
            return reader.read_at(0, METADATA_LIMIT) if reader.size <= METADATA_LIMIT else b""
    except SourceError:
        return b""
