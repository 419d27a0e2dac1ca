"""The command group: global options, lazy loading of verbs, and errors into exit codes.

Each verb is a module of `commands`, imported when it is called, so `keepstone version` loads nothing of the engine.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from keepstone_cli import __version__

if TYPE_CHECKING:
    from keepstone_cli.output import Output

AGAIN = "Run it again: what was stored so far is not stored twice."

VERBS = {
    "init": "Create a repository.",
    "backup": "Make a snapshot of files and folders.",
    "snapshots": "List the snapshots.",
    "ls": "List what a snapshot holds.",
    "find": "Find files by name in all snapshots.",
    "diff": "Show what differs between two snapshots.",
    "cat": "Print one file of a snapshot.",
    "restore": "Recreate a snapshot, a folder or a file.",
    "chats": "List the conversations of all phones and programs.",
    "messages": "Show the messages of a chat.",
    "timeline": "Show what snapshots brought and lost of a chat.",
    "search": "Find messages by their words.",
    "calls": "List calls.",
    "media": "List and extract the photos and files of messages.",
    "export": "Write chats as web pages, JSON, text, a table, mail, or for a phone.",
    "check": "Check that every snapshot can be restored.",
    "drill": "Try a restore, and write a signed receipt of it.",
    "stats": "Show what the repository holds and what that takes.",
    "key": "List, add, remove and change passwords and keys.",
    "container": "Keep the keys of encrypted message backups.",
    "index": "Rebuild the index.",
    "bench": "Measure the chunker, and the dedup of versions.",
    "completion": "Print the completion script for a shell.",
    "version": "Print the version.",
}


@dataclass(slots=True)
class Settings:
    """The global options."""

    repo: str | None = None
    password_file: str | None = None
    key_file: str | None = None
    json: bool = False
    quiet: bool = False
    no_cache: bool = False
    accept_rollback: bool = False

    def output(self) -> Output:
        from keepstone_cli.output import Output

        return Output(json=self.json, quiet=self.quiet)


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    settings = ctx.ensure_object(Settings)
    if param.name and value not in (None, False):
        setattr(settings, param.name, value)


def _global_options(*, hidden: bool) -> list[click.Parameter]:
    """Return the global options. They may stand before the verb and, hidden in its help, after it."""

    def option(*names: str, help: str, metavar: str | None = None) -> click.Option:
        return click.Option(
            names,
            metavar=metavar,
            is_flag=metavar is None,
            help=help,
            hidden=hidden,
            expose_value=False,
            callback=_keep,
        )

    return [
        option("-r", "--repo", metavar="PLACE", help="The repository: a folder. Default: one in your data folder."),
        option("--password-file", metavar="FILE", help="Read the password from the first line of a file."),
        option("--key-file", metavar="FILE", help="Unlock with the 64-digit key in a file."),
        option("--json", help="Print JSON on standard output."),
        option("-q", "--quiet", help="Print results and problems only."),
        option("--no-cache", help="Keep the local index in memory for this run."),
        option("--accept-rollback", help="Go on although the storage shows an older state than was seen."),
    ]


def _take_global_options(command: click.Command) -> None:
    if any(param.name == "repo" for param in command.params):
        return
    own = {option for param in command.params for option in param.opts}
    command.params.extend(param for param in _global_options(hidden=True) if not own & set(param.opts))
    command.epilog = "The options of `keepstone --help`, such as --repo and --json, may stand here too."
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _take_global_options(below)


class Lazy(click.Group):
    """A group that imports a verb's module when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"keepstone_cli.commands.{name}")
        command: click.Command = module.command
        _take_global_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Said here, as click would print an empty line first.
            from keepstone.errors import Interrupted

            raise Interrupted("Interrupted.") from None


@click.group(
    cls=Lazy,
    params=_global_options(hidden=False),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`keepstone COMMAND --help` tells more about a command. KEEPSTONE_REPOSITORY, KEEPSTONE_PASSWORD, "
    "KEEPSTONE_PASSWORD_FILE, KEEPSTONE_PASSWORD_COMMAND and KEEPSTONE_KEY_FILE stand in for the options.",
)
@click.version_option(__version__, message="%(prog)s %(version)s", help="Print the version and exit.")
def cli() -> None:
    """Keepstone backs up message histories, their media and any other files, encrypted end to end.

    Every run stores only what is new. Any snapshot can be restored.

    \b
      keepstone backup ~/Documents
      keepstone snapshots
      keepstone restore latest --target /tmp/back
    """


def main() -> None:
    """Run the command; every error becomes two sentences and an exit code."""
    _set_up_streams()
    try:
        code = cli.main(prog_name="keepstone", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes the end of any file for the end of the user's input.
            code = _fail_with(error.__cause__)
        else:
            code = _fail(130, "Interrupted.", AGAIN, "interrupted")
    except click.ClickException as error:
        code = _fail_with_usage(error)
    except BrokenPipeError:
        code = 1  # Whoever read the output has seen enough.
    except Exception as error:
        code = _fail_with(error)
    # All is done and said: stopping now would only make a success look like a failure.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_streams()
    sys.exit(code if isinstance(code, int) else 0)


def _set_up_streams() -> None:
    """No name, however odd, may end a command because the terminal's encoding lacks it; nor a stream that is closed."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # Else the next file that is opened, be it one of a repository, would be taken for the terminal.
    os.close(free)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_streams() -> None:
    """Let nothing that could not be printed raise once more when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fail_with_usage(error: click.ClickException) -> int:
    """Say what is wrong with the command line, and where its help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not _wants_json():
        error.show()
        return 2
    context = error.ctx if isinstance(error, click.UsageError) else None
    remedy = f"See `{context.command_path if context else 'keepstone'} --help`."
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        message = "A command is missing."
    elif isinstance(error, click.exceptions.NoSuchOption):
        message = error.message
        if error.possibilities and context:
            remedy = (
                f"Use {' or '.join(error.possibilities)} if you meant that, or see `{context.command_path} --help`."
            )
    return _fail(2, f"{' '.join(message.split()).rstrip('.')}.", remedy, "usage")


def _fail_with(error: Exception) -> int:
    from keepstone.errors import KeepstoneError

    if isinstance(error, KeepstoneError):
        return _fail(error.exit_code, error.message, error.remedy, error.kind)
    if isinstance(error, OSError):
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        what = f"{name}: {error.strerror}." if name else f"{error.strerror or error}."
        return _fail(1, what, "Check the path, its free space and your rights, then run the command again.")
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and "map segment" in str(error)):
        return _fail(1, "There is not enough memory.", "Close other programs, then run the command again.")
    return _fail(
        1,
        f"Keepstone met an error it does not know ({type(error).__name__}: {error}).",
        "Please report this; what was stored before is not affected.",
    )


def _fail(code: int, message: str, remedy: str, kind: str = "failed") -> int:
    from keepstone_cli.output import print_failure

    print_failure(code, message, remedy, kind, json=_wants_json())
    return code


def _wants_json() -> bool:
    """Return whether JSON was asked for, even if the command line is not understood otherwise."""
    return "--json" in sys.argv
