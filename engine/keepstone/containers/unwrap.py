"""Recognise a container by its first bytes, unwrap it, and say what was found.

Whatever goes wrong on the way means only that bytes stay as they are: a container is never a reason for a backup to
fail. Nothing is returned that was not encoded again and compared with the original during this very call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keepstone.clock import SYSTEM, Clock
from keepstone.containers import signal, signal_folder, sms, streams, tar, whatsapp, zips
from keepstone.containers.context import HEAD, Budget, Context, Patience, Report
from keepstone.containers.keys import Keys
from keepstone.containers.nodes import Node, covers
from keepstone.containers.source import Broken, Source

_SELF_EXTRACTING = (b"MZ", b"\x7fELF", b"#!")

Unwrap = Callable[[Source, Context, int], Node | None]


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What an unwrapping ended with: an expression, if there is one, and why, if there is none."""

    node: Node | None
    report: Report


def recognise(head: bytes) -> bool:
    """Return whether a file that begins with these bytes (`HEAD` of them, or all) may be a container."""
    return _format_of(head, 0) is not None


def unwrap(
    source: Source,
    keys: Keys | None = None,
    budget: Budget | None = None,
    clock: Clock = SYSTEM,
    companion: bytes = b"",
    patience: Patience | None = None,
) -> Unwrapped:
    """Return the proven expression of a container.

    The source must not change meanwhile; whether it did is for the caller to find out, once it has read the leaves.

    Args:
        companion: the content of the file beside it that `companion_of` named.
        patience: shared by all containers of one backup.

    Raises:
        SourceError: it cannot be read.
    """
    context = Context(source.size, keys or Keys(), budget or Budget(), _examine, _is_nested, clock, patience)
    try:
        if companion and signal_folder.looks_like_metadata(companion):
            node: Node | None = signal_folder.unwrap_main(source, companion, context, 0)
        else:
            node = _examine(source, context, 0)
    except Broken as error:
        node = None
        context.report.reason = context.report.reason or str(error)
    return Unwrapped(node, context.report)


def _examine(source: Source, context: Context, depth: int) -> Node | None:
    found = _format_of(source.read_at(0, HEAD), depth)
    node = found(source, context, depth) if found else None
    # Each transform has proven itself; that nothing lies between them or twice is proven here.
    return node if node is not None and covers(node, source.size) else None


def _is_nested(head: bytes) -> bool:
    return _format_of(head, 1) is not None


def _format_of(head: bytes, depth: int) -> Unwrap | None:
    if head.startswith((zips.MAGIC, zips.EMPTY)) or (depth == 0 and head.startswith(_SELF_EXTRACTING)):
        return zips.unwrap_zip
    if head.startswith(streams.GZIP):
        return streams.unwrap_gzip
    if head[tar.MAGIC_AT : tar.MAGIC_AT + len(tar.MAGIC)] == tar.MAGIC:
        return tar.unwrap_tar
    if sms.looks_like_sms(head):
        return sms.unwrap_sms
    if head.startswith(streams.ZLIB):
        return streams.unwrap_zlib
    if signal.looks_like_signal(head):
        return signal.unwrap_signal
    if whatsapp.looks_like_whatsapp(head):
        return whatsapp.unwrap_whatsapp
    return None
