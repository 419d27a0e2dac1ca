"""From options and environment to an opened repository."""

from __future__ import annotations

import os
from pathlib import Path

import keepstone
from keepstone.errors import UsageError
from keepstone.work.client import default_cache, default_repository, default_state
from keepstone_cli.main import Settings
from keepstone_cli.secrets import credential


def place(settings: Settings) -> str:
    """Return the repository's place: option, environment, default."""
    return named_place(settings) or str(default_repository())


def named_place(settings: Settings) -> str | None:
    """Return the repository's place if option or environment name it."""
    return settings.repo or os.environ.get("KEEPSTONE_REPOSITORY") or None


def cache_folder() -> Path:
    value = os.environ.get("KEEPSTONE_CACHE_DIR")
    return Path(value).absolute() if value else default_cache()


def state_folder() -> Path:
    value = os.environ.get("KEEPSTONE_STATE_DIR")
    return Path(value).absolute() if value else default_state()


def open_repository(settings: Settings, unlock: keepstone.Credential | None = None) -> keepstone.Client:
    """Open the repository that the options name."""
    return keepstone.open(
        place(settings),
        unlock or credential(settings),
        cache=cache_folder(),
        state=state_folder(),
        in_memory=settings.no_cache,
        accept_rollback=settings.accept_rollback,
    )


def split_path(text: str) -> tuple[str, bytes]:
    """Split SNAPSHOT[:PATH]."""
    name, colon, path = text.partition(":")
    return name, os.fsencode(path) if colon else b"/"


def known_ids() -> list[str]:
    """Return the short ids of snapshots that were listed last on this computer, the newest first."""
    try:
        return (cache_folder() / "snapshots").read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def keep_ids(ids: list[str]) -> None:
    """Keep short ids for completion."""
    try:
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        (cache_folder() / "snapshots").write_text("\n".join(reversed(ids[-200:])))
    except OSError:
        pass


def target_folder(text: str, option: str) -> bytes:
    """Return the absolute path of a folder to write to.

    Raises:
        UsageError: it was named by nothing: by a variable of a script that was never set, most likely.
    """
    if not text:
        raise UsageError(f"The folder for {option} was named by nothing.", "Name it, be it `.` for the one you are in.")
    return os.path.abspath(os.fsencode(text))
