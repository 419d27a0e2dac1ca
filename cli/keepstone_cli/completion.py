"""Completion of snapshot ids.

It must answer at once and cannot ask for a password, so ids come from a small file that the last `snapshots` left in
the cache folder; it holds short ids only.
"""

from __future__ import annotations

import click


def complete_snapshot(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return `latest` and the known ids that begin like this."""
    from keepstone_cli.settings import known_ids

    return [name for name in ("latest", *known_ids()) if name.startswith(incomplete)]
