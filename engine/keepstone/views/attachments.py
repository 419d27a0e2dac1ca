"""The contents of attachments for what is written from a repository: what is damaged counts as missing, and is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final

from keepstone import events
from keepstone.errors import ContainerKeyMissing, Damaged, KeepstoneError, Unsupported
from keepstone.messages.model import Attachment
from keepstone.views.chat import OpenAttachment

_BLOCK: Final = 1024 * 1024


class Opened:
    """Opens attachments that can be read to their end.

    Args:
        opened: opens them in the repository.
        during: the verb, for events.
    """

    def __init__(
        self, opened: OpenAttachment, during: str = "export", listener: events.Listener = events.ignore
    ) -> None:
        self._opened, self._during, self._listener = opened, during, listener
        self.missing = 0
        """How often there was no content."""
        self.problems: list[events.Problem] = []
        self._bad: set[bytes] = set()

    def __call__(self, attachment: Attachment) -> BinaryIO | None:
        """Return a content, which was read once to see that nothing is wrong with it; None if it is not to be had.

        For forms in which half a file cannot be taken back.
        """
        file = self.unchecked(attachment)
        if file is not None and not self._guarded(attachment, partial(_read_all, file)):
            file.close()
            file = None
        self.missing += file is None
        return file

    def unchecked(self, attachment: Attachment) -> BinaryIO | None:
        """Return a content without looking into it."""
        found: list[BinaryIO | None] = []
        self._guarded(attachment, lambda: found.append(self._opened(attachment)))
        return found[0] if found else None

    def copy(self, attachment: Attachment, write: Callable[[bytes], object]) -> bool:
        """Give a content to `write`, block by block; return whether all of it was there."""
        file = self.unchecked(attachment)
        if file is None:
            return False
        with file:
            return self._guarded(attachment, lambda: _copy_all(file, write))

    def _guarded(self, attachment: Attachment, action: Callable[[], object]) -> bool:
        """Do something with a content and return whether that went well; tell what went wrong, once a content."""
        try:
            action()
        except (Damaged, Unsupported, ContainerKeyMissing) as error:
            self._tell(attachment, error)
            return False
        return True

    def _tell(self, attachment: Attachment, error: KeepstoneError) -> None:
        if attachment.sha256 in self._bad:
            return
        self._bad.add(attachment.sha256)
        problem = events.Problem((attachment.name or "An attachment").encode("utf-8", "replace"), self._during, error)
        self.problems.append(problem)
        self._listener(problem)


def _read_all(file: BinaryIO) -> None:
    while file.read(_BLOCK):
        pass
    file.seek(0)


def _copy_all(file: BinaryIO, write: Callable[[bytes], object]) -> None:
    while block := file.read(_BLOCK):
        write(block)
