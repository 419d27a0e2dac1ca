"""The command group: global options, lazy loading of verbs, and errors into exit codes.

Each verb is a module of `commands`, imported when it is called, so `keepstone version` loads nothing of the engine.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keepstone_cli.output import Output

VERBS = {
    "init": "Create a repository.",
    "backup": "Make a snapshot of files and folders.",
    "snapshots": "List the snapshots.",
    "ls": "List what a snapshot holds.",
    "find": "Find files by name in all snapshots.",
    "diff": "Show what differs between two snapshots.",
    "cat": "Print one file of a snapshot.",
    "restore": "Recreate a snapshot, a folder or a file.",
    "check": "Check that every snapshot can be restored.",
    "stats": "Show what the repository holds and what that takes.",
    "key": "List, add, remove and change passwords and keys.",
    "index": "Rebuild the index.",
    "completion": "Print the completion script for a shell.",
    "version": "Print the version.",
}


@dataclass(slots=True)
class Settings:
    """The global options."""

    repo: str | None
    password_file: str | None
    key_file: str | None
    json: bool
    quiet: bool
    accept_rollback: bool
    no_cache: bool

    def output(self) -> Output:
        from keepstone_cli.output import Output

        return Output(json=self.json, quiet=self.quiet)


class Lazy(click.Group):
    """A group that imports a verb's module when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"keepstone_cli.commands.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-r",
    "--repo",
    metavar="PLACE",
    envvar="KEEPSTONE_REPOSITORY",
    help="The repository: a folder. Default: one in your data folder.",
)
@click.option("--password-file", metavar="FILE", help="Read the password from the first line of a file.")
@click.option("--key-file", metavar="FILE", envvar="KEEPSTONE_KEY_FILE", help="Unlock with the 64-digit key in a file.")
@click.option("--json", is_flag=True, help="Print JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and problems only.")
@click.option("--no-cache", is_flag=True, help="Keep the local index in memory for this run.")
@click.option("--accept-rollback", is_flag=True, help="Go on although the storage shows an older state than was seen.")
@click.pass_context
def cli(
    ctx: click.Context,
    repo: str | None,
    password_file: str | None,
    key_file: str | None,
    json: bool,
    quiet: bool,
    no_cache: bool,
    accept_rollback: bool,
) -> None:
    """Keepstone backs up message histories, their media and any other files, encrypted end to end.

    Every run stores only what is new. Any snapshot can be restored.

    \b
      keepstone backup ~/Documents
      keepstone snapshots
      keepstone restore latest --target /tmp/back
    """
    ctx.obj = Settings(repo, password_file, key_file, json, quiet, accept_rollback, no_cache)


def main() -> None:
    """Run the command; every error becomes two sentences and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = _fail(130, "Interrupted.", "Run it again: what was stored so far is not stored twice.")
    except click.ClickException as error:
        error.show()
        code = 2
    except KeyboardInterrupt:
        code = _fail(130, "Interrupted.", "Run it again: what was stored so far is not stored twice.")
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except Exception as error:
        code = _fail_with(error)
    sys.exit(code if isinstance(code, int) else 0)


def _fail_with(error: Exception) -> int:
    from keepstone.errors import KeepstoneError

    if isinstance(error, KeepstoneError):
        return _fail(error.exit_code, error.message, error.remedy, error.kind)
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        return _fail(1, what, "Check the path and your rights, then run the command again.")
    if isinstance(error, MemoryError):
        return _fail(1, "There is not enough memory.", "Close other programs, then run the command again.")
    return _fail(
        1,
        f"Keepstone met an error it does not know ({type(error).__name__}: {error}).",
        "Please report this; what was stored before is not affected.",
    )


def _fail(code: int, message: str, remedy: str, kind: str = "failed") -> int:
    from keepstone_cli.output import print_failure

    print_failure(code, message, remedy, kind, json="--json" in sys.argv)
    return code
