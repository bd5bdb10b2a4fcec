"""`flask audit`: who did what, when, to what, from where."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import audit
from app.extensions import db

audit_group = CommandGroup("audit", help="The audit trail: who did what.")


def _moment(_: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter("must be a time like 2026-11-22T09:30 (UTC).") from None


@audit_group.command("list")
@click.option("--actor", help="Who: a user with all its keys, or one `NAME (key ID)`.")
@click.option("--action", help="What was done, like job.retry.")
@click.option("--object", "object_id", help="To what: its id.")
@click.option("--since", callback=_moment, help="From then on (UTC unless it says otherwise).")
@click.option("--until", callback=_moment, help="Before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@as_json_option
def list_command(
    actor: str | None,
    action: str | None,
    object_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """The newest entries, newest first."""
    wanted = audit.Filter(actor, action, object_id, since, until)
    found, _ = audit.list_entries(db.session(), wanted, limit=limit)
    rows = [{name: getattr(each, name) for name in audit.COLUMNS} for each in found]
    columns = audit.COLUMNS if as_json else audit.COLUMNS[1:]
    show(rows, columns, as_json=as_json)
