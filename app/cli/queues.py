"""`flask queues`: what waits where, and whether workers fetch it."""

from __future__ import annotations

import json

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import engines, queue_pauses, queue_stats
from app.extensions import current_settings, db

queues_group = CommandGroup("queues", help="The queues, and whether workers fetch from them.")

_ACTOR = "command line"
_COLUMNS = (
    "name",
    "pending",
    "scheduled",
    "retrying",
    "running",
    "failed_24h",
    "paused_at",
    "paused_by",
    "pause_reason",
)


@queues_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """Every queue, what it holds, and whether it is paused."""
    session = db.session()
    pauses = queue_pauses.by_queue(session)
    rows = []
    for each in queue_stats.queues(session, also=pauses):
        pause = pauses.get(each.name)
        rows.append(
            {
                "name": each.name,
                **each.counts,
                "failed_24h": each.failed_24h,
                "paused_at": pause and pause.paused_at,
                "paused_by": pause and pause.paused_by,
                "pause_reason": pause and pause.reason,
            }
        )
    show(rows, _COLUMNS, as_json=as_json)


@queues_group.command("pause")
@click.argument("name")
@click.argument("reason")
@as_json_option
def pause_command(name: str, reason: str, as_json: bool) -> None:
    """Let no worker fetch from the queue NAME, for REASON; what runs goes on."""
    session = db.session()
    made = queue_pauses.pause(session, name, reason, _ACTOR, models=_models())
    session.commit()
    if as_json:
        since = made.paused_at.isoformat()
        told = {"name": name, "is_paused": True, "paused_at": since, "paused_by": made.paused_by}
        click.echo(json.dumps({**told, "reason": made.reason}))
    else:
        click.echo(
            f"{name} is paused by {made.paused_by} since {made.paused_at:%Y-%m-%d %H:%M:%S} UTC: "
            f"{made.reason}"
        )


@queues_group.command("resume")
@click.argument("name")
@as_json_option
def resume_command(name: str, as_json: bool) -> None:
    """Let workers fetch from the queue NAME again."""
    session = db.session()
    was_paused = queue_pauses.resume(session, name, _ACTOR, models=_models())
    session.commit()
    if as_json:
        click.echo(json.dumps({"name": name, "is_paused": False, "was_paused": was_paused}))
    else:
        click.echo(f"{name} is resumed." if was_paused else f"{name} was not paused.")


def _models() -> list[str]:
    return list(engines.load_registry(current_settings().models_path).models)
