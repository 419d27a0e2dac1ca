"""Writes the reference of the command from the command itself: `python tests/docs/cli_reference.py > docs/cli.md`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click

from keepstone import errors
from keepstone_cli.main import cli

HEAD = """\
# The command `keepstone`

<!-- Written by tests/docs/cli_reference.py from the commands; do not edit. -->

Results go to standard output; progress, notes and errors go to standard error. With `--json`, standard output holds
JSON only: one document, or one document a line, the last of which sums up. Fields are added, never renamed or removed.
A path that is not UTF-8 has a second field, ending in `_base64`, with its exact bytes.

A command that fails prints what happened and what to do; with `--json` it prints a line
`{"message_type":"exit_error","code":..,"kind":..,"message":..,"remedy":..}` on standard error.
"""

CODES = [
    (0, "Done."),
    (1, "Failed: nothing was done, or `check` found damage."),
    (2, "The command line makes no sense, or no usable password was given."),
    (3, "Partial: something could not be read or restored, and was listed; everything else was."),
    (10, "There is no repository at this place."),
    (11, "Locked: another process of this user writes to the repository."),
    (12, "Wrong password or key."),
    (130, "Interrupted. What was stored so far is not stored twice."),
]

VARIABLES = [
    ("KEEPSTONE_REPOSITORY", "The repository, where `--repo` does not name it."),
    ("KEEPSTONE_PASSWORD", "The password."),
    ("KEEPSTONE_PASSWORD_FILE", "A file whose first line is the password."),
    ("KEEPSTONE_PASSWORD_COMMAND", "A shell command whose first line of output is the password."),
    ("KEEPSTONE_NEW_PASSWORD", "The new password of `key add` and `key change`."),
    ("KEEPSTONE_KEY_FILE", "A file with a 64-digit key; lines beginning with # are ignored."),
    ("KEEPSTONE_CACHE_DIR", "The folder of local indexes; may be deleted at any time. Default: `~/.cache/keepstone`."),
    (
        "KEEPSTONE_STATE_DIR",
        "The folder in which this computer remembers what it has seen of a repository. Default: "
        "`~/.local/state/keepstone`.",
    ),
    ("XDG_DATA_HOME", "The default repository is `keepstone/repository` in it. Default: `~/.local/share`."),
    ("XDG_CACHE_HOME, XDG_STATE_HOME", "Where the folders above are by default."),
]

ORDER = [
    "`--key-file` or `--password-file`; both together are refused",
    "`KEEPSTONE_KEY_FILE`",
    "`KEEPSTONE_PASSWORD`",
    "`KEEPSTONE_PASSWORD_FILE`",
    "`KEEPSTONE_PASSWORD_COMMAND`",
    "a prompt on the terminal, without echo; a new password is asked for twice",
]


def reference() -> str:
    """Return the whole document."""
    parts = [HEAD, "## Global options\n", "They may stand before or after the command.\n", _options(cli)]
    parts += [part for name, command in _commands() for part in _command(name, command)]
    parts += ["## Exit codes\n", _table(("Code", "Meaning"), [(str(code), text) for code, text in CODES])]
    parts += ["## Environment\n", _table(("Variable", "Meaning"), [(f"`{name}`", text) for name, text in VARIABLES])]
    parts += [
        "## Where the password comes from\n",
        "The first of these that is there is used:\n",
        "".join(f"{number}. {text};\n" for number, text in enumerate(ORDER, 1)).rstrip(";\n") + ".\n",
        "A password is never taken from the command line, where other users could see it.",
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def exit_codes_of_the_engine() -> set[int]:
    """Return every code that an error of the engine ends with."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return {kind.exit_code for kind in kinds if issubclass(kind, errors.KeepstoneError)}


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command, and the group of all."""
    yield "", cli
    yield from _commands()


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield from _below(name, command)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for below, subcommand in sorted(command.commands.items()):
            yield from _below(f"{name} {below}", subcommand)
    else:
        yield name, command


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"keepstone {name}")
    usage = " ".join([f"keepstone {name}", *command.collect_usage_pieces(context)])
    yield f"## keepstone {name}\n"
    yield f"    {usage}\n"
    yield _prose(command.help or "") + "\n"
    if options := _options(command):
        yield options


def _prose(text: str) -> str:
    paragraphs = inspect.cleandoc(text).replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _options(command: click.Command) -> str:
    rows = []
    context = click.Context(command)
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            record = param.get_help_record(context)
            assert record is not None
            text = " ".join(record[1].split())
            rows.append((f"`{record[0]}`".replace("|", "\\|"), re.sub(r"\s*\[required\]", " Required.", text)))
    return _table(("Option", "Meaning"), rows) if rows else ""


def _table(heads: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |" for left, right in [heads, ("---", "---"), *rows]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
