"""`flask adopt`: record the jobs of another app of Procrastinate, in that app's database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import exc

from app.core.adoption import adopting, past
from app.core.adoption.checks import Sight, look
from app.core.record import TRIGGERS
from app.core.schema import SchemaError
from app.extensions import current_settings

# Measured; only to give an idea.
_JOBS_A_SECOND = 10_000


@click.command("adopt")
@click.option("--dry-run", is_flag=True, help="Say what it would do, and change nothing.")
@click.option("--remove", "is_removal", is_flag=True, help="Take everything of Stoker's out again.")
@click.option(
    "--archive/--no-archive",
    "may_archive",
    default=None,
    help="Let finished jobs leave the app's tables once they are recorded. Default: never.",
)
@click.option("--yes", is_flag=True, help="Remove without asking.")
@with_appcontext
def adopt_command(dry_run: bool, is_removal: bool, may_archive: bool | None, yes: bool) -> None:
    """Record the jobs of another app of Procrastinate 3.x, in that app's database.

    DATABASE_URL names the database. The app is neither changed nor stopped; run this again after it
    was broken off, and it goes on.
    """
    url = _database_url()
    with _refusals():
        if is_removal:
            _remove(url, dry_run=dry_run, yes=yes)
        elif dry_run:
            with adopting.connected(url) as (connection, driver):
                _tell(look(connection, driver))
        else:
            _adopt(url, may_archive)


def _database_url() -> str:
    url = current_settings().database_url
    if not url:
        raise click.ClickException("DATABASE_URL must name the database of the app to adopt.")
    return url


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except SchemaError as fault:
        raise click.ClickException(str(fault)) from fault
    except (exc.OperationalError, psycopg.OperationalError) as fault:
        first_line = str(getattr(fault, "orig", fault)).strip().splitlines()[0]
        raise click.ClickException(f"The database can't be used: {first_line}") from fault


def _tell(sight: Sight) -> None:
    months = "none"
    if sight.oldest_at is not None:
        months = f"since {sight.oldest_at:%Y-%m}"
    click.echo(
        f"Procrastinate's tables: schema {sight.queue_schema}, up to {sight.queue_migration}\n"
        f"Stoker's tables: schema {sight.home}, "
        + ("there already" if sight.is_adopted else f"{len(sight.tables)} to make")
        + f"\nTriggers on {sight.queue_schema}.procrastinate_jobs: {', '.join(TRIGGERS)}\n"
        f"Partitions by month: {months}\n"
        f"Jobs to take over: {sight.jobs}, in about {max(1, sight.jobs // _JOBS_A_SECOND)} s\n"
        "Nothing was changed."
    )


def _adopt(url: str, may_archive: bool | None) -> None:
    with adopting.connected(url) as (connection, driver):
        total = look(connection, driver).jobs
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("jobs", total=total)

        def report(progress: past.Progress) -> None:
            waits = ", ".join(map(str, progress.waits_for))
            bar.update(
                task,
                completed=min(progress.jobs, total),
                description=f"waiting for the transactions of {waits}" if waits else "jobs",
            )

        done = adopting.adopt(url, report, may_archive=may_archive)
    rate = done.jobs / done.seconds if done.seconds else 0.0
    click.echo(
        f"Recorded {done.jobs} older jobs with {done.attempts} attempts in {done.seconds:.1f} s "
        f"({rate:.0f} jobs/s); {done.corrected} had changed meanwhile. "
        "From now on the triggers record every job."
    )


def _remove(url: str, *, dry_run: bool, yes: bool) -> None:
    if dry_run:
        click.echo("It would take out the triggers, functions, views and tables of Stoker's.")
        return
    if not yes and sys.stdin.isatty():
        click.confirm("The record of all jobs goes with it. Remove it?", abort=True)
    removed = adopting.remove(url)
    click.echo(f"Removed {len(TRIGGERS)} triggers and {len(removed)} tables: {', '.join(removed)}.")
