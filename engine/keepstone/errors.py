"""Every error the engine raises.

Each says what happened (`message`) and what the user can do (`remedy`), whether trying again may help
(`retriable`), and which exit code a command ends with. Errors of libraries and of the operating system are
translated once, at the edge where they occur; nothing above that edge catches `OSError`.
"""

from __future__ import annotations

from typing import ClassVar


class KeepstoneError(Exception):
    """The root of all errors of Keepstone."""

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    retriable: ClassVar[bool] = False
    remedy: str = "Please report this; nothing that was stored before is affected."

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return self.message


class UsageError(KeepstoneError):
    """The request itself makes no sense."""

    kind = "usage"
    exit_code = 2
    remedy = "See `keepstone --help`."


class NotEnoughMemory(KeepstoneError):
    """The system gave no memory, or no thread, for what was asked."""

    kind = "memory"
    retriable = True
    remedy = "Close other programs, then run the command again."


# Places -----------------------------------------------------------------------------------------------------


class StoreError(KeepstoneError):
    """The place that keeps the objects failed."""

    kind = "store"
    retriable = True
    remedy = "Check that the storage is reachable, writable and has space, then run the command again."


class ObjectNotFound(StoreError):
    """An object that should be there is not."""

    kind = "object-not-found"
    retriable = False
    remedy = "Run `keepstone check` to see what is affected."


class ObjectExists(StoreError):
    """An object of this name is there already; objects are never overwritten."""

    kind = "object-exists"
    retriable = False
    remedy = "Run the command again; if it repeats, another computer uses the same state directory."


class StoreFull(StoreError):
    """The place has no space left, or a quota is used up."""

    kind = "store-full"
    remedy = "Free some space in the repository's storage and run the command again."


class StoreReadOnly(StoreError):
    """The place does not take writes."""

    kind = "store-read-only"
    retriable = False
    remedy = "Make the repository's storage writable and run the command again."


# Repository -------------------------------------------------------------------------------------------------


class NoRepository(KeepstoneError):
    """There is no repository at this place."""

    kind = "no-repository"
    exit_code = 10
    remedy = "Check the path, or create a repository with `keepstone init`."


class RepositoryExists(KeepstoneError):
    """There is a repository at this place already."""

    kind = "repository-exists"
    remedy = "Use it as it is, or choose another place."


class Locked(KeepstoneError):
    """Another process of this user writes to the repository."""

    kind = "locked"
    exit_code = 11
    retriable = True
    remedy = "Wait until the other backup or key command has ended, then run this one again."


class WrongPassword(KeepstoneError):
    """No keyslot opens with what was given."""

    kind = "wrong-password"
    exit_code = 12
    remedy = "Check the password or key; `keepstone key list` shows the keyslots once one of them opens."


class Unsupported(KeepstoneError):
    """Something was written by a newer Keepstone than this one. `object_name` tells which object."""

    kind = "unsupported"
    remedy = "Install a newer version of Keepstone."

    def __init__(self, object_name: str, what: str) -> None:
        super().__init__(f"{object_name} {what}.")
        self.object_name = object_name
        self.what = what


class Damaged(KeepstoneError):
    """Stored bytes are not what was written. `object_name` tells which object."""

    kind = "damaged"
    remedy = "Run `keepstone check --read-data` to list the files it affects; other files restore as ever."

    def __init__(self, object_name: str, what: str, remedy: str | None = None) -> None:
        super().__init__(f"{object_name}: {what}.", remedy)
        self.object_name = object_name
        self.what = what


class ChunkMissing(Damaged):
    """A chunk that something refers to is in no pack."""

    kind = "chunk-missing"


class Rollback(KeepstoneError):
    """The storage shows an older or another state than this computer has already seen."""

    kind = "rollback"
    remedy = (
        "Find out why the storage lost or changed records (a restored disk image, a second copy, tampering) before "
        "you rely on it; `--accept-rollback` continues from the state the storage shows now."
    )


class VerifyFailed(KeepstoneError):
    """A pack did not read back as it was built, so it was not stored."""

    kind = "verify-failed"
    remedy = "This points to faulty memory or a faulty library; test the machine's memory and run the command again."


class LastKeyslot(KeepstoneError):
    """Removing this keyslot would leave no way to open the repository."""

    kind = "last-keyslot"
    remedy = "Add another key first with `keepstone key add`."


class SnapshotNotFound(KeepstoneError):
    """No snapshot, or more than one, has this name."""

    kind = "snapshot-not-found"
    remedy = "Use an id that `keepstone snapshots` lists, or `latest`."


class PathNotFound(KeepstoneError):
    """The snapshot does not hold this path."""

    kind = "path-not-found"
    remedy = "Use `keepstone ls SNAPSHOT` to see what it holds."


class ContainerKeyMissing(KeepstoneError):
    """A file was unwrapped with a key that is not at hand, so it cannot be wrapped again."""

    kind = "container-key-missing"
    remedy = "Add the container's key again with `keepstone container key add`, then restore once more."


# The user's files -------------------------------------------------------------------------------------------


class SourceError(KeepstoneError):
    """Something that was to be backed up could not be read."""

    kind = "source"
    remedy = "Check that it exists and that you may read it."


class TargetError(KeepstoneError):
    """Something could not be restored to its place."""

    kind = "target"
    remedy = "Check that the target folder is writable and has space, then run the restore again."


class Interrupted(KeepstoneError):
    """The user stopped the command."""

    kind = "interrupted"
    exit_code = 130
    remedy = "Run it again: what was stored so far is not stored twice."
