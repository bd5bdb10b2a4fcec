"""The database's schema: is it current, and bring it there.

Stoker's own tables are Alembic's (`migrations/`); Procrastinate's are `app.core.queue_schema`'s.
All names resolve along the connection's search_path, so the schema is `public` unless the
database or the role says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import OperationalError

from app.core import adoption, queue_schema, record

MIGRATIONS = Path(__file__).parents[2] / "migrations"
OLDEST_POSTGRES = 14

LOCK_TIMEOUT_SECONDS = 2.0
LOCK_TRIES = 30

# One migration at a time in a database. The number is arbitrary, and Stoker's for ever.
_ADVISORY_KEY = 4_080_113_719

_log = structlog.get_logger("schema")

SchemaError = queue_schema.SchemaError


def head() -> str:
    """The newest revision: versions are numbered files, `0001_initial.py`."""
    return max(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def is_current(connection: psycopg.Connection[Any]) -> bool:
    """Whether nothing is left to upgrade: one cheap look that needs no Alembic."""
    return (
        is_at_head(connection)
        and (adoption.is_adopted(connection) or not queue_schema.missing(connection))
        and record.is_current(connection)
    )


def is_at_head(connection: psycopg.Connection[Any]) -> bool:
    """Whether our tables are those of the newest revision."""
    # Another schema of the search_path may have another program's.
    row = connection.execute(
        "SELECT to_regclass(quote_ident(current_schema()) || '.alembic_version')"
    ).fetchone()
    if row is None or row[0] is None:
        return False
    versions = [
        version for (version,) in connection.execute("SELECT version_num FROM alembic_version")
    ]
    return versions == [head()]


def upgrade(database_url: str, *, is_adopting: bool = False) -> None:
    """Bring an empty database, or one with Procrastinate's tables of 3.x, to the current schema.

    The same as `flask db upgrade`, without Flask. `is_adopting`: make Stoker's tables, all or none,
    and mark the database as one whose queue is another app's. Raises SchemaError.
    """
    from alembic import command
    from alembic.config import Config

    config = Config(MIGRATIONS / "alembic.ini")
    config.attributes["database_url"] = database_url
    config.attributes["is_adopting"] = is_adopting
    command.upgrade(config, "head")


def check_server(connection: psycopg.Connection[Any]) -> None:
    """Raises SchemaError when the server is too old."""
    major = connection.info.server_version // 10_000
    if major < OLDEST_POSTGRES:
        raise SchemaError(
            f"Stoker needs Postgres {OLDEST_POSTGRES} or newer, this server is {major}: "
            "upgrade it, or point DATABASE_URL at another."
        )


@contextmanager
def only_migration(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold the database's migration lock; `connection` is in autocommit.

    Asked for again and again rather than waited for: a waiting statement has a snapshot, and
    `CREATE INDEX CONCURRENTLY` in the holder would wait for that.
    """
    is_told = False
    while connection.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_KEY]).fetchone() != (
        True,
    ):
        if not is_told:
            _log.info("another upgrade of this database runs, waiting for it")
            is_told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_KEY])


def with_lock_retries(step: Callable[[], None]) -> None:
    """Run `step`, again when a table was locked too long: its own wait would stall live workers.

    `step` must leave nothing behind when it fails. Raises SchemaError after the last try.
    """
    for number in range(1, LOCK_TRIES + 1):
        try:
            return step()
        except psycopg.errors.LockNotAvailable:
            pass
        except OperationalError as fault:
            if not isinstance(fault.orig, psycopg.errors.LockNotAvailable):
                raise
        _log.warning("a table is in use by a long transaction, trying again", tries=number)
        time.sleep(min(0.25 * number, 2.0))
    raise SchemaError(
        "Another session holds a table for so long that the upgrade gave up (nothing is half done): "
        "end its transaction (see pg_stat_activity) and run the upgrade again."
    )
