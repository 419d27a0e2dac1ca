"""Shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from keepstone_cli.main import Settings, cli


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def command(settings: Settings, shell: str) -> None:
    """Print the completion script for a shell.

    For bash: `eval "$(keepstone completion bash)"` in ~/.bashrc.
    """
    found = get_completion_class(shell)
    assert found is not None
    settings.output().result(found(cli, {}, "keepstone", "_KEEPSTONE_COMPLETE").source())
