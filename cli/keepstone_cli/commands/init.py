"""Create a repository."""

from __future__ import annotations

import click

import keepstone
from keepstone.chunking import ALGORITHMS as CHUNKERS
from keepstone.chunking import DEFAULT_ALGORITHM
from keepstone.sealing import ALGORITHMS
from keepstone_cli.main import Settings
from keepstone_cli.output import clean
from keepstone_cli.secrets import credential
from keepstone_cli.settings import place, state_folder


@click.command("init")
@click.option(
    "--cipher",
    type=click.Choice(list(ALGORITHMS)),
    default="aes-256-gcm",
    show_default=True,
    help="How data is encrypted; ChaCha20 is for machines without AES instructions.",
)
@click.option(
    "--chunker",
    type=click.Choice(list(CHUNKERS)),
    default=DEFAULT_ALGORITHM,
    show_default=True,
    help="How content is cut; aes is slower, and that its cuts tell nothing of its key rests on AES alone.",
)
@click.option("--label", default="", metavar="TEXT", help="A note for the first keyslot.")
@click.pass_obj
def command(settings: Settings, cipher: str, chunker: str, label: str) -> None:
    """Create an empty repository.

    It is unlocked with a password (asked for twice), or with the 64-digit key of --key-file. Whoever loses every
    password and key loses the backups: nobody can reset them.
    """
    where = place(settings)
    unlock = credential(settings, new=True, prompt="New password")
    identity = keepstone.init(where, unlock, state=state_folder(), label=label, cipher=cipher, chunker=chunker)
    output = settings.output()
    if settings.json:
        output.data({"message_type": "initialized", "id": identity, "repository": where})
    else:
        output.note(f"Created repository {identity[:8]} at {clean(where)}.")
        output.note("Keep the password or key: without it the backups cannot be read by anyone.")
