"""Keys of encrypted containers."""

from __future__ import annotations

from pathlib import Path

import click

from keepstone.errors import UsageError
from keepstone.history.container_keys import KINDS
from keepstone_cli.main import Settings
from keepstone_cli.output import local_time
from keepstone_cli.secrets import ask_text
from keepstone_cli.settings import open_repository

MOST = 64 * 1024


@click.group("container")
def command() -> None:
    """Unwrap encrypted message backups, so that only what is new in them is stored."""


@command.group("key")
def key() -> None:
    """Add and list the keys of encrypted message backups."""


@key.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List the container keys."""
    output = settings.output()
    with open_repository(settings) as repository:
        keys = repository.container_keys()
    if settings.json:
        output.data([{"id": key.ref.hex(), "kind": key.kind} for key in keys])
        return
    output.table(("ID", "Kind", "Added"), [(k.ref.hex()[:8], k.kind, local_time(k.time_ns)) for k in keys])


@key.command("add")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--key-file", "file", metavar="FILE", help="The key's file, or a file with its characters as text.")
@click.pass_obj
def add(settings: Settings, kind: str, file: str | None) -> None:
    """Keep a container key, sealed in the repository.

    For whatsapp that is the 64-digit key, or the phone's file encrypted_backup.key or key; for signal the recovery key
    of 64 characters, or the 30 digits of an older backup's passphrase. Without --key-file it is asked for.
    """
    output = settings.output()
    material = _content(file) if file else ask_text(f"Key of {kind}").encode()
    with open_repository(settings) as repository:
        ref = repository.add_container_key(kind, material)
    if settings.json:
        output.data({"message_type": "container_key", "id": ref.hex(), "kind": kind})
    else:
        output.note(f"The repository keeps the {kind} key {ref.hex()[:8]}. The next backup uses it.")


def _content(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MOST)
    except OSError as error:
        raise UsageError(f"The file {file} cannot be read ({error.strerror}).", "Check its path and rights.") from error
