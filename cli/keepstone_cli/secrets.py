"""Where passwords and keys come from: option, environment, file, command, or a prompt on the terminal.

A secret is never taken from the command line itself, where other users could see it.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

from keepstone.errors import UsageError
from keepstone.repo.keys import Credential, parse_digits, password
from keepstone_cli.main import Settings

NEED = (
    "Set KEEPSTONE_PASSWORD, KEEPSTONE_PASSWORD_FILE, KEEPSTONE_PASSWORD_COMMAND or KEEPSTONE_KEY_FILE, "
    "or run it on a terminal."
)

NEED_FILE = "Name a file with --key-file, or run it on a terminal."


def credential(settings: Settings, *, new: bool = False, prompt: str = "Password") -> Credential:
    """Return what unlocks the repository. A new password is asked for twice.

    An option goes before the environment, and a key before a password.

    Raises:
        UsageError: nothing was given and there is no terminal to ask on.
    """
    if settings.key_file and settings.password_file:
        raise UsageError("Both a key file and a password file were given.", "Leave out one of the two options.")
    if settings.key_file:
        return key_of_file(settings.key_file)
    if settings.password_file:
        return password(first_line(settings.password_file))
    if file := os.environ.get("KEEPSTONE_KEY_FILE"):
        return key_of_file(file)
    found = _environment_password()
    if found is not None:
        return password(found)
    return ask(prompt, twice=new)


def _environment_password() -> str | None:
    if (value := os.environ.get("KEEPSTONE_PASSWORD")) is not None:
        return value
    if file := os.environ.get("KEEPSTONE_PASSWORD_FILE"):
        return first_line(file)
    if command := os.environ.get("KEEPSTONE_PASSWORD_COMMAND"):
        return _of_command(command)
    return None


def ask(prompt: str, *, twice: bool = False) -> Credential:
    """Ask on the terminal, without echo.

    Raises:
        UsageError: there is no terminal, or the two entries differ.
    """
    if not sys.stdin.isatty():
        raise UsageError("No password was given.", NEED)
    first = _prompt(prompt)
    again = _prompt(f"{prompt} again") if twice else first
    if again != first:
        raise UsageError("The two entries differ.", "Run the command again.")
    return password(first)


def ask_text(prompt: str) -> str:
    """Ask for something secret that is no password of the repository.

    Raises:
        UsageError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", NEED_FILE)
    return _prompt(prompt, "key", NEED_FILE)


def _prompt(prompt: str, what: str = "password", need: str = NEED) -> str:
    try:
        return getpass.getpass(f"{prompt}: ")
    except EOFError:
        raise UsageError(f"The input ended before a {what} was entered.", need) from None


def key_of_file(path: str) -> Credential:
    """Return the 64-digit key in a file; lines beginning with # are ignored."""
    text = _read(path)
    return parse_digits("".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))


def first_line(path: str) -> str:
    """Return the first line of a file."""
    return _read(path).split("\n", 1)[0].rstrip("\r")


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
            return file.read(65536)
    except OSError as error:
        raise UsageError(f"The file {path} cannot be read ({error.strerror}).", "Check its path and rights.") from error


def _of_command(command: str) -> str:
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise UsageError(
            f"KEEPSTONE_PASSWORD_COMMAND ended with code {done.returncode}.",
            "Run the command by itself to see why.",
        )
    return done.stdout.decode("utf-8", "surrogateescape").split("\n", 1)[0].rstrip("\r")
