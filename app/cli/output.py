"""What the commands share: one sentence for a fault, a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import psycopg
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import exc as sql

from app.core.errors import StokerError


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
        click.echo(json.dumps([{name: _plain(row[name]) for name in columns} for row in rows]))
        return
    # What a row is named by stays whole on a narrow screen.
    heads = [name.replace("_", " ") for name in columns]
    table = Table(Column(heads[0], no_wrap=True), *heads[1:])
    for row in rows:
        table.add_row(*(_shown(row[name]) for name in columns))
    Console().print(table)


def show_one(fields: Mapping[str, Any]) -> None:
    """Print what one thing is, a line for each of its fields that has a value."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name.replace("_", " "), _shown(value))
    Console(highlight=False).print(table)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
