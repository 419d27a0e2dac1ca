"""A new file or folder that is there when it is whole, and not before.

What an export writes stands beside its place under a name that begins with `.keepstone-`, and takes the place in one
step. What fails or is interrupted leaves nothing, and nothing that stands there is written over.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from keepstone.errors import TargetError, UsageError
from keepstone.sources.metadata import printable, reason
from keepstone.work.target import TEMPORARY

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)


@contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes its place at the end.

    Raises:
        UsageError: something stands there.
        TargetError: it cannot be written.
    """
    if os.path.lexists(out):
        raise _exists(out)
    temporary = _beside(out)
    with _translated(out):
        try:
            with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b") as file:
                yield file
            _take_place(temporary, out)
        finally:
            with suppress(OSError):
                os.unlink(temporary)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write in, whose content is in its place at the end. The place may be an empty folder.

    Raises:
        UsageError: something else stands there.
        TargetError: it cannot be written.
    """
    there = os.path.lexists(out)
    with _translated(out):
        if there and (not out.is_dir() or any(out.iterdir())):
            raise _exists(out)
        if not there:
            out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out / _name() if there else _beside(out)
        try:
            temporary.mkdir(0o700)
            yield temporary
            if there:  # It may be the root of a disk, so it stays what it is.
                for path in sorted(temporary.iterdir()):
                    path.rename(out / path.name)
            else:
                temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _beside(out: Path) -> Path:
    return out.parent / _name()


def _name() -> str:
    return os.fsdecode(TEMPORARY) + secrets.token_hex(8)


def _take_place(temporary: Path, out: Path) -> None:
    """Give a file its name, unless that is taken by now."""
    try:
        os.link(temporary, out)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(out):
            raise _exists(out) from error
        os.rename(temporary, out)


def _exists(out: Path) -> UsageError:
    return UsageError(f"{_shown(out)} exists already.", "Name something new: nothing is written over.")


def _shown(out: Path) -> str:
    return printable(os.fsencode(out))


@contextmanager
def _translated(out: Path) -> Iterator[None]:
    """Turn what the system says into a TargetError: whatever is read meanwhile raises errors of Keepstone alone."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.lexists(out):
            raise _exists(out) from error
        raise TargetError(
            f"{_shown(out)} cannot be written ({reason(error)}).",
            "Check that its folder is there and writable and has space, then run the command again.",
        ) from error
