"""Databases as another program with some version of Procrastinate left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from app.core import queue_schema

Connection = psycopg.Connection[Any]


def apply(connection: Connection, names: list[str]) -> None:
    """What another program's own migrating left: these files of Procrastinate's, in order."""
    folder = Path(SchemaManager.get_migrations_path())
    for name in names:
        connection.execute((folder / name).read_text())


def files_until(last: str) -> list[str]:
    """Procrastinate's migrations up to and with `last`."""
    return [name for name in queue_schema.files() if name <= last]


def catalogue(connection: Connection) -> list[str]:
    """Procrastinate's part of the database's catalogue, one line for each thing."""
    statement = Path(__file__).with_name("catalogue.sql").read_text()
    return [line for (line,) in connection.execute(statement)]


def functions(connection: Connection) -> list[Any]:
    """The functions' own ids: a function that is made anew has another."""
    return connection.execute(
        "SELECT oid FROM pg_proc WHERE proname LIKE 'procrastinate_%' ORDER BY oid"
    ).fetchall()
