"""Passwords and keys."""

from __future__ import annotations

import os
import random
import sys

import click

import keepstone
from keepstone.errors import KeepstoneError, UsageError
from keepstone.repo.keys import DIGITS, PASSWORD
from keepstone_cli.main import Settings
from keepstone_cli.output import Output
from keepstone_cli.secrets import ask, credential, first_line, key_of_file
from keepstone_cli.settings import open_repository


@click.group("key")
def command() -> None:
    """List, add, remove and change the passwords and keys that open the repository."""


@command.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List the keyslots."""
    output = settings.output()
    with open_repository(settings) as repository:
        keys = repository.keys()
    if settings.json:
        output.data([{"id": key.id.hex(), "kind": key.kind, "memory_kib": key.memory_kib} for key in keys])
        return
    rows = [
        (k.id.hex()[:8], k.kind, f"Argon2id, {k.memory_kib // 1024} MiB" if k.kind == PASSWORD else "") for k in keys
    ]
    output.table(("ID", "Kind", "Protection"), rows)


@command.command("add")
@click.option(
    "--kind",
    type=click.Choice([PASSWORD, DIGITS]),
    default=PASSWORD,
    show_default=True,
    help="A password, or a random 64-digit key.",
)
@click.option("--out", metavar="FILE", help="Write the 64-digit key to a new file instead of showing it.")
@click.option("--new-password-file", metavar="FILE", help="Read the new password from a file.")
@click.option("--label", default="", metavar="TEXT", help="A note for the keyslot.")
@click.pass_obj
def add(settings: Settings, kind: str, out: str | None, new_password_file: str | None, label: str) -> None:
    """Add a password or a 64-digit key.

    A 64-digit key is shown once; two of its groups have to be entered to confirm that it was kept.
    """
    output = settings.output()
    with open_repository(settings) as repository:
        new = _new_digits(output, out) if kind == DIGITS else _new_password(new_password_file)
        try:
            added = repository.add_key(new, label=label)
        except KeepstoneError:
            if kind == DIGITS and out:
                os.unlink(out)
            raise
    if settings.json:
        output.data({"message_type": "key_added", "id": added.hex(), "kind": kind})
    else:
        output.note(f"Added keyslot {added.hex()[:8]}.")


@command.command("remove")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def remove(settings: Settings, key_id: str) -> None:
    """Remove a keyslot; the last one cannot be removed."""
    output = settings.output()
    with open_repository(settings) as repository:
        removed = repository.remove_key(key_id)
    if settings.json:
        output.data({"message_type": "key_removed", "id": removed.hex()})
    else:
        output.note(f"Removed keyslot {removed.hex()[:8]}.")
        output.note("Copies of the repository made before still open with it.")


@command.command("change")
@click.option("--new-password-file", metavar="FILE", help="Read the new password from a file.")
@click.option("--label", default="", metavar="TEXT", help="A note for the keyslot.")
@click.pass_obj
def change(settings: Settings, new_password_file: str | None, label: str) -> None:
    """Replace the password or key in use by a new password."""
    output = settings.output()
    old = credential(settings, prompt="Old password")
    with open_repository(settings, old) as repository:
        added = repository.change_key(old, _new_password(new_password_file), label=label)
    if settings.json:
        output.data({"message_type": "key_changed", "id": added.hex()})
    else:
        output.note(f"Changed; the new keyslot is {added.hex()[:8]}.")


def _new_password(file: str | None) -> keepstone.Credential:
    if file:
        return keepstone.password(first_line(file))
    if (value := os.environ.get("KEEPSTONE_NEW_PASSWORD")) is not None:
        return keepstone.password(value)
    return ask("New password", twice=True)


def _new_digits(output: Output, out: str | None) -> keepstone.Credential:
    new = keepstone.new_digits()
    text = keepstone.digits_text(new)
    if out:
        try:
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise UsageError(f"The file {out} exists already.", "Choose another name.") from error
        except OSError as error:
            raise UsageError(f"The file {out} cannot be made ({error.strerror}).", "Choose another place.") from error
        with os.fdopen(handle, "w") as file:
            file.write(f"# Keepstone 64-digit key; the last group is a checksum.\n{text}\n")
            file.flush()
            os.fsync(file.fileno())
        return key_of_file(out)
    if not sys.stdin.isatty():
        raise UsageError("A 64-digit key is shown on a terminal only.", "Write it to a file with --out.")
    _show(output, text)
    return new


def _show(output: Output, text: str) -> None:
    """Show a key once, and let two of its groups be entered."""
    groups = text.split(" ")
    output.result("Your 64-digit key, and a checksum as the last group. Write it down now; it is shown only once.\n")
    for at in range(0, len(groups), 4):
        output.result("    " + "  ".join(f"{n + 1:2}: {groups[n]}" for n in range(at, min(at + 4, len(groups)))))
    output.result("")
    for number in sorted(random.SystemRandom().sample(range(16), 2)):
        if click.prompt(f"Group {number + 1}").strip().lower() != groups[number]:
            raise UsageError("That is not what the key says, so it was not added.", "Run the command again.")
