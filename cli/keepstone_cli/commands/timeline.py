"""Show what happened to a chat."""

from __future__ import annotations

from datetime import datetime, tzinfo

import click

from keepstone.views.chat import Chat
from keepstone.views.choose import check_span, chosen_chats, parse_moment, view_of
from keepstone.work.timeline import MessageChange, Moment, by_day
from keepstone_cli.main import Settings
from keepstone_cli.messages import here, line
from keepstone_cli.output import clean, count
from keepstone_cli.settings import open_repository

_SIGNS = {"added": "+", "edited": "M", "deleted": "x", "gone": "-", "back": "+"}


@click.command("timeline")
@click.argument("chat", metavar="CHAT")
@click.option("--from", "since", metavar="WHEN", help="From a day on, or after a snapshot.")
@click.option("--to", "until", metavar="WHEN", help="To the end of a day, or to a snapshot.")
@click.option("--by", type=click.Choice(("snapshot", "day")), default="snapshot", show_default=True, help="Blocks.")
@click.option("--limit", type=click.IntRange(0), default=0, show_default=True, help="Messages to show of each block.")
@click.option("--all", "everything", is_flag=True, help="Show all messages of each block.")
@click.pass_obj
def command(
    settings: Settings, chat: str, since: str | None, until: str | None, by: str, limit: int, everything: bool
) -> None:  # fmt: skip
    """Show what each snapshot brought, changed and no longer had of a chat.

    Edits are shown with the old and the new text. What is gone from all its sources, or was deleted, is still in the
    archive. A WHEN is 2024, 2024-03, 2024-03-31, latest, or the first digits of a snapshot's id.
    """
    output, zone = settings.output(), here()
    with open_repository(settings) as repository:
        known = repository.snapshots()
        start = parse_moment(since, zone, known) if since is not None else None
        end = parse_moment(until, zone, known, after=True) if until is not None else None
        check_span(start, end)
        for conversation in chosen_chats(repository.messages(), (chat,)):
            view = view_of(conversation)
            if not settings.json:
                output.note(f"{clean(view.title)} ({view.conversation.service})")
            moments = [
                moment for moment in repository.timeline(conversation)
                if (start is None or moment.time_ms >= start) and (end is None or moment.time_ms < end)
            ]  # fmt: skip
            if not moments:
                output.note("Nothing happened to it in this time." if since or until else "Nothing is known of it.")
            for moment in by_day(moments, zone) if by == "day" else moments:
                shown = moment.changes if everything else moment.changes[:limit]
                if settings.json:
                    output.data(_document(view, moment, shown))
                    continue
                output.result(_head(moment, by, zone))
                for change in shown:
                    output.result(_line(view, change, zone))
                if shown and len(shown) < len(moment.changes):
                    output.result(f"    and {count(len(moment.changes) - len(shown), 'more change')}")


def _head(moment: Moment, by: str, zone: tzinfo) -> str:
    form = "%Y-%m-%d" if by == "day" else "%Y-%m-%d %H:%M"
    when = datetime.fromtimestamp(moment.time_ms / 1000, zone).strftime(form)
    names = " ".join(name[:8] for name in moment.snapshots)
    counts = moment.counts()
    told = ", ".join(f"{counts[kind]} {kind}" for kind in _SIGNS if kind in counts)
    return f"{when}  {names}  {told}" if names else f"{when}  {told}"


def _line(view: Chat, change: MessageChange, zone: tzinfo) -> str:
    text = f"  {_SIGNS[change.kind]} {line(view, change.shown.message, zone)}"
    if change.kind != "edited":
        return text if change.kind in ("added", "gone") else f"{text} ({change.kind})"
    old, new = (" / ".join(clean(part) for part in said.split("\n")) for said in (change.before, change.after))
    return f"{text}\n      {old} -> {new}"


def _document(view: Chat, moment: Moment, shown: tuple[MessageChange, ...]) -> dict[str, object]:
    changes = []
    for change in shown:
        message = change.shown.message
        one: dict[str, object] = {
            "kind": change.kind, "time_ms": change.time_ms, "identity": message.identity.hex(),
            "sent_ms": message.time_ms, "author": message.author, "direction": message.direction,
            "text": message.text,
        }  # fmt: skip
        if change.kind == "edited":
            one |= {"before": change.before, "after": change.after}
        changes.append(one)
    return {
        "message_type": "moment", "title": view.title, "service": view.conversation.service,
        "key": view.conversation.key, "time_ms": moment.time_ms, "snapshots": list(moment.snapshots),
        "counts": moment.counts(), "changes": changes,
    }  # fmt: skip
