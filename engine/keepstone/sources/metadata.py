"""What a filesystem keeps beside the bytes of an entry: owners by name, extended attributes, POSIX ACLs.

ACLs are no special case: Linux shows them as the attributes `system.posix_acl_access` and `..._default`. Where a
system has no extended attributes (or Python does not reach them, as on macOS), there are none to read or restore.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import msgspec

from keepstone.errors import SourceError, TargetError

_HAS_XATTRS = hasattr(os, "listxattr")
_NONE_HERE = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA, errno.ENOSYS))
"""Errors that mean: this entry has no such attribute, or this filesystem has no attributes at all."""
_TRIES = 5

Pairs = tuple[tuple[bytes, bytes], ...]


class Attributes(msgspec.Struct, frozen=True):
    """What a restored entry gets. Owners go by name where the name exists here; `None` means by number."""

    mode: int
    """Permission bits, 12 of them."""
    uid: int
    gid: int
    user: str | None
    group: str | None
    mtime_ns: int
    xattrs: Pairs = ()


def printable(path: bytes) -> str:
    """Return a path as text for a message; bytes that are not UTF-8 are escaped."""
    return path.decode("utf-8", "backslashreplace")


def reason(error: Exception) -> str:
    """Return why something failed, in the words of the system."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def unreadable(path: bytes, error: Exception, verb: str = "read") -> SourceError:
    """Translate an error met while reading a source."""
    return SourceError(f"{printable(path)} cannot be {verb} ({reason(error)}).")


# Owners -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str | None:
    """Return the name of a user here, None if there is none. Remembered while the program runs."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def group_name(gid: int) -> str | None:
    """Return the name of a group here, None if there is none. Remembered while the program runs."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def user_id(name: str) -> int | None:
    """Return the number a user name has here, None if there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=4096)
def group_id(name: str) -> int | None:
    """Return the number a group name has here, None if there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def owner(attributes: Attributes) -> tuple[int, int]:
    """Return the user and the group, as numbers here, that an entry belongs to."""
    uid = user_id(attributes.user) if attributes.user else None
    gid = group_id(attributes.group) if attributes.group else None
    return attributes.uid if uid is None else uid, attributes.gid if gid is None else gid


# Extended attributes ----------------------------------------------------------------------------------------


def read_xattrs(path: bytes, follow: bool = False) -> list[tuple[bytes, bytes]]:
    """Return the extended attributes of an entry, sorted by name.

    Raises:
        SourceError: they exist and cannot be read.
    """
    if not _HAS_XATTRS:
        return []
    try:
        names = os.listxattr(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NONE_HERE:
            return []
        raise unreadable(path, error) from error
    if not names:
        return []
    found = ((os.fsencode(name), _value(path, name, follow)) for name in names)
    return sorted((name, value) for name, value in found if value is not None)


def _value(path: bytes, name: str, follow: bool) -> bytes | None:
    for left in reversed(range(_TRIES)):
        try:
            return os.getxattr(path, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno in _NONE_HERE:
                return None
            if error.errno == errno.ERANGE and left:
                continue  # It grew between the question for its length and its reading.
            raise SourceError(f"The attribute {name} of {printable(path)} cannot be read ({reason(error)}).") from error
    return None


def restorable(name: bytes, privileged: bool) -> bool:
    """Return whether an attribute is restored: the user's own and ACLs always, others only if asked."""
    return name.startswith((b"user.", b"system.posix_acl_")) or (
        privileged and name.startswith((b"security.", b"trusted."))
    )


def apply_xattrs(
    place: int | bytes,
    label: bytes,
    xattrs: Iterable[tuple[bytes, bytes]],
    privileged: bool = False,
    follow: bool = False,
) -> list[TargetError]:
    """Give an open file, or a path, exactly these attributes; `label` names it in messages.

    Attributes it has and should not have are removed, an ACL inherited from its folder among them. Kinds that are not
    restored (see `restorable`) are neither set nor removed. What fails is returned; the rest is done all the same.
    """
    wanted = {name: value for name, value in xattrs if restorable(name, privileged)}
    if not _HAS_XATTRS:
        return [_unsettable(label, name, "there are no such attributes here") for name in sorted(wanted)]
    follow = follow or isinstance(place, int)
    present = _present(place, follow)
    problems: list[TargetError] = []
    if not wanted and not present:
        return problems
    for name in present:
        if name not in wanted and restorable(name, privileged=False):
            try:
                os.removexattr(place, name, follow_symlinks=follow)
            except OSError as error:
                problems.append(_unsettable(label, name, reason(error)))
    # ACLs after the user's own: an ACL may take away the right to set those.
    for name in sorted(wanted, key=lambda name: (not name.startswith(b"user."), name)):
        try:
            os.setxattr(place, name, wanted[name], follow_symlinks=follow)
        except (OSError, ValueError) as error:
            problems.append(_unsettable(label, name, reason(error)))
    return problems


def _present(place: int | bytes, follow: bool) -> list[bytes]:
    try:
        names = os.listxattr(place, follow_symlinks=follow)
        return [os.fsencode(name) for name in names] if names else []
    except OSError:
        return []  # Then setting fails as well, and that is reported.


def _unsettable(label: bytes, name: bytes, why: str) -> TargetError:
    return TargetError(
        f"The attribute {printable(name)} of {printable(label)} could not be restored ({why}).",
        "Restore to a filesystem that keeps such attributes, if you need them.",
    )


# Restoring --------------------------------------------------------------------------------------------------


def set_attributes(fd: int, label: bytes, attributes: Attributes, privileged: bool = False) -> list[TargetError]:
    """Set the metadata of an open file or folder; return what could not be set.

    The order matters: a change of owner clears set-user-ID bits and capabilities, an ACL changes the mode, and a mode
    without the right to write keeps its owner from setting attributes. Owners are set by root only.
    """
    problems: list[TargetError] = []
    uid, gid = owner(attributes)
    found = os.fstat(fd)
    if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (uid, gid):
        _try(label, "owner", problems, lambda: os.fchown(fd, uid, gid))
        found = os.fstat(fd)
    problems += apply_xattrs(fd, label, attributes.xattrs, privileged)
    mode = _safe_mode(attributes.mode, found, uid, gid)
    _try(label, "mode", problems, partial(os.fchmod, fd, mode))
    _try(label, "time", problems, partial(os.utime, fd, ns=(attributes.mtime_ns, attributes.mtime_ns)))
    return problems


def set_attributes_unopened(
    folder: int, name: bytes, label: bytes, attributes: Attributes, privileged: bool = False
) -> list[TargetError]:
    """Set the metadata of a symbolic link, a FIFO or a device just made in a folder; return what could not be set.

    It is neither followed nor opened. Where there is `/proc`, it is held meanwhile, so that nothing that takes its name
    is changed in its stead.
    """
    if not _can_hold():
        return _set_by_path(name, folder, False, label, attributes, privileged)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(fd)
        if found.st_nlink != 1 or stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ESTALE, "it was replaced meanwhile")
        # This path leads to the very thing that is held, be it a symbolic link, and no further.
        return _set_by_path(b"/proc/self/fd/%d" % fd, None, True, label, attributes, privileged)
    finally:
        os.close(fd)


@lru_cache(maxsize=1)
def _can_hold() -> bool:
    return hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")


def _set_by_path(
    path: bytes, folder: int | None, follow: bool, label: bytes, attributes: Attributes, privileged: bool
) -> list[TargetError]:
    problems: list[TargetError] = []
    uid, gid = owner(attributes)
    if os.geteuid() == 0:
        _try(label, "owner", problems, lambda: os.chown(path, uid, gid, dir_fd=folder, follow_symlinks=follow))
    if folder is None:
        problems += apply_xattrs(path, label, attributes.xattrs, privileged, follow)
    found = os.stat(path, dir_fd=folder, follow_symlinks=follow)
    if not stat.S_ISLNK(found.st_mode):
        mode = _safe_mode(attributes.mode, found, uid, gid)
        _try(label, "mode", problems, lambda: os.chmod(path, mode, dir_fd=folder, follow_symlinks=follow))
    times = (attributes.mtime_ns, attributes.mtime_ns)
    _try(label, "time", problems, lambda: os.utime(path, ns=times, dir_fd=folder, follow_symlinks=follow))
    return problems


def _safe_mode(mode: int, found: os.stat_result, uid: int, gid: int) -> int:
    """Return a mode without set-user-ID or set-group-ID where that would give the rights of another owner."""
    mode &= 0o7777
    if found.st_uid != uid:
        mode &= ~stat.S_ISUID
    if found.st_gid != gid:
        mode &= ~stat.S_ISGID
    return mode


def _try(label: bytes, what: str, problems: list[TargetError], action: Callable[[], None]) -> None:
    try:
        action()
    except (OSError, ValueError, OverflowError) as error:
        problems.append(TargetError(f"The {what} of {printable(label)} could not be restored ({reason(error)})."))


def same_inode(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two looks were at the same file."""
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)
