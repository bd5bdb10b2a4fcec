"""`flask retention`: what is kept how long, and the removal of what is past that."""

from __future__ import annotations

from dataclasses import asdict

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import retention, retention_runs
from app.core.retention_rules import RULES
from app.extensions import current_settings, db

retention_group = CommandGroup("retention", help="What is kept how long.")

_COLUMNS = ("table", "days", "before", "rows_removed", "partitions_dropped", "error")


@retention_group.command("run")
@click.option("--dry-run", is_flag=True, help="Count what would go, and remove nothing.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(list(RULES)),
    help="Only this table; repeat for several.",
)
@as_json_option
def run_command(dry_run: bool, tables: tuple[str, ...], as_json: bool) -> None:
    """Remove what is past its time, now. Exits with 1 when a table could not be finished."""
    done = retention.run(current_settings(), tables, is_dry=dry_run)
    show([{**asdict(each), "before": each.before} for each in done], _COLUMNS, as_json=as_json)
    if any(outcome.error for outcome in done):
        raise SystemExit(1)


@retention_group.command("show")
@as_json_option
def show_command(as_json: bool) -> None:
    """How long each table's rows are kept, and its last run."""
    columns = (
        "table",
        "days",
        "started_at",
        "ended_at",
        "rows_removed",
        "partitions_dropped",
        "error",
    )
    show(retention_runs.last_runs(db.session(), current_settings()), columns, as_json=as_json)
