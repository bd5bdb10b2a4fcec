"""What the commands share: one sentence for a fault, a table for people, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import psycopg
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import exc as sql
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import StokerError
from app.core.models import JOB_FINAL, Job

_LOOK_SECONDS = 0.5


class CommandGroup(AppGroup):
    """Commands whose refusals end with one sentence on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StokerError as fault:
            raise click.ClickException(fault.message) from fault
        except (sql.OperationalError, psycopg.OperationalError) as fault:
            first_line = str(getattr(fault, "orig", fault)).strip().splitlines()[0]
            raise click.ClickException(f"The database can't be reached: {first_line}") from fault
        except sql.ProgrammingError as fault:
            if isinstance(fault.orig, psycopg.errors.UndefinedTable):
                raise click.ClickException(
                    "The database has no Stoker tables yet: run `flask db upgrade`."
                ) from fault
            raise


def as_json_option(command: Any) -> Any:
    """The `--json` switch."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def show(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table of `columns`, or as a JSON list of objects."""
    if as_json:
        click.echo(json.dumps([{name: plain(row[name]) for name in columns} for row in rows]))
        return
    # What a row is named by stays whole on a narrow screen.
    heads = [name.replace("_", " ") for name in columns]
    table = Table(Column(heads[0], no_wrap=True), *heads[1:])
    for row in rows:
        table.add_row(*(_shown(row[name]) for name in columns))
    Console(markup=False).print(table)


def show_one(fields: Mapping[str, Any]) -> None:
    """Print what one thing is, a line for each of its fields that has a value."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name.replace("_", " "), _shown(value))
    Console(highlight=False).print(table)


def follow(session: Session, job_id: int, *, is_quiet: bool) -> Job:
    """Show a job's progress until it has ended; returns it."""
    said = ""
    while True:
        session.rollback()
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
        line = f"{job.status} {job.progress}% {job.message or ''}".rstrip()
        if line != said and not is_quiet:
            said = line
            click.echo(line)
        if job.status in JOB_FINAL:
            return job
        time.sleep(_LOOK_SECONDS)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return printable(str(value))


def printable(text: str) -> str:
    """Text of others without what would move a terminal's cursor, or colour it."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)
