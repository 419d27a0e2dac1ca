"""What a file is besides its bytes: owners by name, extended attributes (POSIX ACLs are among them)."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from dataclasses import dataclass
from functools import lru_cache

from keepstone.errors import SourceError

_NONE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.ENOENT, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a restored entry gets."""

    mode: int
    uid: int
    gid: int
    user: str | None
    group: str | None
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str | None:
    """Return the name of a user, or None."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def group_name(gid: int) -> str | None:
    """Return the name of a group, or None."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def local_uid(name: str | None, uid: int) -> int:
    """Return the id that a user's name has here, or the id as it is."""
    try:
        return uid if name is None else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return uid


@lru_cache(maxsize=4096)
def local_gid(name: str | None, gid: int) -> int:
    """Return the id that a group's name has here, or the id as it is."""
    try:
        return gid if name is None else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return gid


def read_xattrs(path: bytes) -> list[tuple[bytes, bytes]]:
    """Return name and value of all extended attributes of an entry itself, sorted by name.

    Raises:
        SourceError: they cannot be read.
    """
    if not hasattr(os, "listxattr"):
        return []
    try:
        names = os.listxattr(path, follow_symlinks=False)
        if not names:
            return []
        found = []
        for name in sorted(map(os.fsencode, names)):
            try:
                found.append((name, os.getxattr(path, name, follow_symlinks=False)))
            except OSError as error:
                if error.errno not in (*_NONE, errno.EPERM, errno.EACCES):
                    raise
        return found
    except OSError as error:
        if error.errno in _NONE:
            return []
        shown = path.decode("utf-8", "backslashreplace")
        raise SourceError(f"The attributes of {shown} cannot be read ({error.strerror}).") from error
