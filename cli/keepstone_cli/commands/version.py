"""The version."""

from __future__ import annotations

import platform

import click

from keepstone_cli import __version__
from keepstone_cli.main import Settings

LIBRARIES = ("blake3", "zstandard", "cryptography", "lmdb", "click", "msgspec", "rich")


@click.command("version")
@click.option("-v", "--verbose", is_flag=True, help="Also show the chunker kernel and the libraries.")
@click.pass_obj
def command(settings: Settings, verbose: bool) -> None:
    """Print the version."""
    output = settings.output()
    if not verbose:
        if settings.json:
            output.data({"message_type": "version", "version": __version__, "format": 1})
        else:
            output.result(f"keepstone {__version__}")
        return
    from importlib.metadata import version

    from keepstone.chunking import kernel, kernels

    libraries = {name: version(name) for name in LIBRARIES}
    if settings.json:
        output.data(
            {
                "message_type": "version",
                "version": __version__,
                "format": 1,
                "kernel": kernel(),
                "kernels": kernels(),
                "python": platform.python_version(),
                "libraries": libraries,
            }
        )
        return
    output.result(f"keepstone {__version__}, repository format 1")
    output.result(f"chunker kernel: {kernel()} (runs here: {', '.join(kernels())})")
    output.result(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    output.result(", ".join(f"{name} {found}" for name, found in libraries.items()))
