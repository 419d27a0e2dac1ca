"""The version."""

from __future__ import annotations

import os
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

    from keepstone.chunking import ALGORITHMS, KERNEL_VARIABLE, kernels
    from keepstone.chunking import kernel as kernel_of

    # A demanded kernel may be one of a single algorithm; repositories with the other one can not be written then.
    demanded = os.environ.get(KERNEL_VARIABLE)
    able = [each for each in ALGORITHMS if not demanded or demanded in kernels(each)]
    in_use = {each: kernel_of(each) for each in able or ALGORITHMS}
    libraries = {name: version(name) for name in LIBRARIES}
    if settings.json:
        output.data(
            {
                "message_type": "version",
                "version": __version__,
                "format": 1,
                "kernel": next(iter(in_use.values())),
                "kernels": kernels(next(iter(in_use))),
                "chunkers": {each: {"kernel": in_use.get(each), "kernels": kernels(each)} for each in ALGORITHMS},
                "python": platform.python_version(),
                "libraries": libraries,
            }
        )
        return
    output.result(f"keepstone {__version__}, repository format 1")
    for each in ALGORITHMS:
        kernel = in_use.get(each, f"none, {demanded!r} is not one of them")
        output.result(f"chunker {each}, kernel: {kernel} (runs here: {', '.join(kernels(each))})")
    output.result(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    output.result(", ".join(f"{name} {found}" for name, found in libraries.items()))
