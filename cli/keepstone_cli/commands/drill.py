"""Try a restore."""

from __future__ import annotations

import os
from pathlib import Path

import click

from keepstone.errors import UsageError
from keepstone.work.drill import DrillOptions, DrillResult
from keepstone_cli.main import Settings
from keepstone_cli.output import Output, clean, count, duration, path_fields, size
from keepstone_cli.settings import open_repository

_RECEIPTS = "Name a file that `keepstone drill --receipt FILE` wrote, as it was written."


@click.command("drill")
@click.option("--full", is_flag=True, help="Restore everything, not a sample.")
@click.option("--files", type=click.IntRange(1, 1_000_000), default=30, show_default=True, help="Files a snapshot.")
@click.option(
    "--snapshots",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    help="The newest, and others at random.",
)
@click.option(
    "--scratch", type=click.Path(file_okay=False), default="", help="Folder for restored files, one at a time."
)
@click.option(
    "--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Write the signed receipt to this file."
)
@click.option(
    "--verify-receipt", type=click.Path(dir_okay=False, path_type=Path), help="Check a receipt; restore nothing."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Draw the same sample again.")
@click.pass_obj
def command(
    settings: Settings, full: bool, files: int, snapshots: int, scratch: str, receipt: Path | None,
    verify_receipt: Path | None, seed: int | None,
) -> int:  # fmt: skip
    """Restore a sample to a scratch place and look whether it is right.

    Compares what comes back with its chunks, with the originals that still stand, and lets databases check themselves.
    Writes a signed receipt. Ends with 1 if anything is wrong.
    """
    output = settings.output()
    with open_repository(settings) as repository:
        if verify_receipt is not None:
            passed = repository.check_drill_receipt(_text(verify_receipt))
            if settings.json:
                output.data({"message_type": "receipt", "genuine": True, "passed": passed})
            else:
                output.result("The receipt is genuine; the drill " + ("passed." if passed else "did not pass."))
            return 0 if passed else 1
        if receipt is not None and not os.access(receipt.parent, os.W_OK):
            raise UsageError(f"The receipt {receipt} cannot be written.", "Name a file in a folder that is writable.")
        try:
            options = DrillOptions(files, snapshots, full, scratch, seed)
            result = repository.drill(options, output.listen)
        finally:
            output.stop_meter()
    if settings.json:
        output.data(
            {
                "message_type": "summary", "passed": result.passed, "snapshots": result.snapshots,
                "files": result.files, "bytes": result.bytes, "databases": result.databases,
                "originals": result.originals, "messages": result.messages,
                "contents": result.contents, "seed": result.seed, "receipt": result.receipt,
                "findings": [
                    {"snapshot": f.snapshot, **path_fields(f.path), "what": f.what} for f in result.findings
                ],
                "duration": result.duration,
            }
        )  # fmt: skip
    else:
        _tell(output, result)
    if receipt is not None:
        _write(receipt, result.receipt)
    return 0 if result.passed else 1


def _tell(output: Output, result: DrillResult) -> None:
    """Say what was restored, and whether it was right."""
    for finding in result.findings:
        output.result(f"wrong: {finding.snapshot[:8]}:{clean(finding.path)}: {clean(finding.what)}")
    output.note(
        f"{count(result.files, 'file')} ({size(result.bytes)}) of {count(len(result.snapshots), 'snapshot')} restored "
        f"in {duration(result.duration)}; {count(result.originals, 'file')} compared with the original, "
        f"{count(result.databases, 'database')} checked, {count(result.messages, 'message')} and "
        f"{count(result.contents, 'attachment')} compared with the catalogue"
    )
    output.result("the drill passed" if result.passed else f"the drill FAILED (seed {result.seed})")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > 1024 * 1024:
            raise UsageError(f"{path} is no receipt of a drill.", _RECEIPTS)
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"The receipt {path} cannot be read ({error.strerror}).", _RECEIPTS) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The receipt {path} cannot be written ({error.strerror}).") from error
