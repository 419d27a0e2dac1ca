"""List calls."""

from __future__ import annotations

import click
import msgspec

from keepstone.views.chat import shown_time
from keepstone_cli.main import Settings
from keepstone_cli.messages import SNAPSHOT, here
from keepstone_cli.output import clean
from keepstone_cli.settings import open_repository


@click.command("calls")
@SNAPSHOT
@click.pass_obj
def command(settings: Settings, snapshot: str | None) -> None:
    """List the calls of all phones and programs."""
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        archive = repository.messages(repository.snapshot(snapshot) if snapshot is not None else None)
        calls = sorted(archive.calls(), key=lambda call: (call.time_ms, call.identity))
    if settings.json:
        for call in calls:
            output.data({"message_type": "call", **msgspec.to_builtins(call)})
        return
    rows = [
        (
            shown_time(call.time_ms, zone), call.service, call.direction, call.outcome,
            f"{call.seconds // 60}:{call.seconds % 60:02}",
            ", ".join(clean(person.name or person.address) for person in call.people if person.name or person.address)
            or "unknown",
        )
        for call in calls
    ]  # fmt: skip
    if rows:
        output.table(("When", "Service", "Direction", "Outcome", "Length", "Who"), rows)
    else:
        output.note(f"There are no calls in this {'repository' if snapshot is None else 'snapshot'}.")
