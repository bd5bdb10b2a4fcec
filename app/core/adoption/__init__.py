"""Another app's queue with Stoker's record over it: `flask adopt`.

The app's database keeps its own Procrastinate, in whatever 3.x and with its own migrations; Stoker
adds its tables and the record's triggers, and nothing else. The one row of the table `adoption` says
that a database is such a one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def is_adopted(connection: Connection) -> bool:
    """Whether the queue is another app's: its schema, and its jobs, are left alone."""
    return _row(connection) is not None


def may_archive(connection: Connection) -> bool:
    """Whether finished jobs may leave Procrastinate's tables: ours may, another app's if it said so."""
    row = _row(connection)
    return row is None or bool(row[0])


def may_change_queue(connection: Connection) -> bool:
    """Whether the role may make and delete jobs: to watch another app's needs no such rights."""
    row = connection.execute(
        "SELECT has_table_privilege(jobs, 'INSERT') AND has_table_privilege(jobs, 'UPDATE')"
        " AND has_table_privilege(jobs, 'DELETE')"
        " FROM (SELECT to_regclass('procrastinate_jobs')::oid AS jobs) AS queue"
    ).fetchone()
    return row == (True,)


def hindrance(connection: Connection, queues: Sequence[str]) -> str | None:
    """Why Stoker's worker must not run here, where it must not: it would end another app's jobs.

    `queues` are those that the worker reads, as patterns of LIKE.
    """
    if not is_adopted(connection):
        return None
    if not may_change_queue(connection):
        return "this role may watch the app's queue, and not change it"
    shared = connection.execute(
        "SELECT queue FROM job WHERE queue LIKE ANY (%s)"
        " AND coalesce(created_by, '') NOT LIKE 'stoker %%' LIMIT 1",
        [list(queues)],
    ).fetchone()
    return None if shared is None else f"the app has jobs in the queue {shared[0]}, too"


def _row(connection: Connection) -> tuple[Any, ...] | None:
    # Another program may have a table of that name, too.
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attname = 'may_archive' AND attrelid ="
        " to_regclass(quote_ident(current_schema()) || '.adoption'))"
    ).fetchone()
    if found != (True,):
        return None
    return connection.execute("SELECT may_archive FROM adoption").fetchone()
