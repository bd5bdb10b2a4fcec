"""Procrastinate's tables: which of its migrations a database has had, and the ones it still needs.

Procrastinate records nothing about its schema; our table `procrastinate_migration` does. Its SQL
files come with the package, so a newer package is picked up by the next `flask db upgrade`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import structlog
from procrastinate.schema import SchemaManager
from psycopg import sql

Connection = psycopg.Connection[Any]
Retries = Callable[[Callable[[], None]], None]

OLDEST = "03.00.00"  # files before this one belong to Procrastinate 0.x to 2.x

# What our own queue has beside Procrastinate's indexes.
INDEXES: dict[str, LiteralString] = {
    # Without it the removal of one worker row reads every finished job.
    "procrastinate_jobs_worker_id_idx": "(worker_id) WHERE worker_id IS NOT NULL",
    # Each queue in its order, for the fetches of our own workers (sql/fetch.sql).
    "procrastinate_jobs_next_idx": "(queue_name, priority DESC, id) WHERE status = 'todo'",
    # Who has or wants a lock: without it each that has to wait for one costs a look at all that wait.
    "procrastinate_jobs_lock_open_idx": (
        "(lock) WHERE lock IS NOT NULL AND status = ANY (ARRAY['todo', 'doing']"
        "::procrastinate_job_status[])"
    ),
}

_log = structlog.get_logger("schema")

_ALREADY_THERE = (
    psycopg.errors.DuplicateColumn,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
)


class SchemaError(RuntimeError):
    """The schema can't be brought up to date; the message is one sentence with the remedy."""


def files() -> tuple[str, ...]:
    """The names of the installed package's migrations, in the order they are applied."""
    return tuple(sorted(file.name for file in _folder().glob("*.sql")))


def missing(connection: Connection) -> list[str]:
    """The package's migrations that the database has not had, oldest first."""
    applied = _recorded(connection)
    return [name for name in files() if name not in applied]


def unknown(connection: Connection) -> list[str]:
    """The migrations that the database has had and that the package does not know, oldest first."""
    return sorted(_recorded(connection) - set(files()))


def upgrade(connection: Connection, with_retries: Retries) -> None:
    """Create or upgrade Procrastinate's tables; `connection` is in autocommit.

    `with_retries` runs one step, which is one transaction, until it is not kept off by a lock.
    Raises SchemaError.
    """
    if _scalar(connection, "SELECT to_regclass('procrastinate_jobs') IS NULL"):
        with_retries(lambda: _create(connection))
    elif not _recorded(connection):
        _adopt(connection)
    _refuse_newer(connection)
    for name in missing(connection):
        _log.info("applying a migration of Procrastinate's", name=name)
        with_retries(lambda name=name: _apply(connection, name))  # type: ignore[misc]
    _tune(connection, with_retries)


def _folder() -> Path:
    return Path(SchemaManager.get_migrations_path())


def _recorded(connection: Connection) -> set[str]:
    if _scalar(connection, "SELECT to_regclass('procrastinate_migration') IS NULL"):
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM procrastinate_migration")}


def _record(connection: Connection, names: list[str]) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS procrastinate_migration ("
        " name text CONSTRAINT procrastinate_migration_pkey PRIMARY KEY,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    connection.execute(
        "INSERT INTO procrastinate_migration (name) SELECT unnest(%s::text[])"
        " ON CONFLICT (name) DO UPDATE SET applied_at = DEFAULT",
        [names],
    )


def _create(connection: Connection) -> None:
    with connection.transaction():
        connection.execute(SchemaManager.get_schema())
        _record(connection, list(files()))


def _adopt(connection: Connection) -> None:
    """Record what a database of another Procrastinate program has had, by what it holds."""
    statement = resources.files("app.core") / "sql" / "procrastinate_applied.sql"
    found = {name for (name,) in connection.execute(statement.read_text("utf-8"))}
    if not found:
        raise SchemaError(
            "This database holds the tables of a Procrastinate older than 3.0: upgrade that program "
            "to Procrastinate 3.0, apply its migrations up to 03.00.00, and run this again."
        )
    with connection.transaction():
        _record(connection, [name for name in files() if name < OLDEST or name in found])


def _refuse_newer(connection: Connection) -> None:
    newer = unknown(connection)
    if newer:
        raise SchemaError(
            f"The database has had Procrastinate's migration {newer[-1]}, which the installed "
            "package does not know: install the Procrastinate that wrote it, or a newer one."
        )


def _apply(connection: Connection, name: str) -> None:
    text = (_folder() / name).read_text("utf-8")
    try:
        with connection.transaction():
            connection.execute(text)
            _record(connection, [name])
    except _ALREADY_THERE as fault:
        raise SchemaError(
            f"Procrastinate's migration {name} can't be applied, {fault.diag.message_primary}: if "
            "another program applied it, add its name to the table procrastinate_migration."
        ) from fault


def _tune(connection: Connection, with_retries: Retries) -> None:
    """What Procrastinate leaves to us: plans that see the queue's name, quick worker removal.

    What an operator set himself stays.
    """
    tuned = _scalar(
        connection,
        "SELECT proconfig::text LIKE '%plan_cache_mode%' FROM pg_proc WHERE oid ="
        " to_regprocedure('procrastinate_fetch_job_v2(character varying[], bigint)')",
    )
    if not tuned:
        # A generic plan can't use a queue's partial index; each new version of the function loses
        # the setting.
        connection.execute(
            "ALTER FUNCTION procrastinate_fetch_job_v2 SET plan_cache_mode = force_custom_plan"
        )
    tuned = _scalar(
        connection,
        "SELECT reloptions::text LIKE '%autovacuum_vacuum_scale_factor%' FROM pg_class"
        " WHERE oid = to_regclass('procrastinate_jobs')",
    )
    if not tuned:
        with_retries(
            lambda: _execute(
                connection,
                "ALTER TABLE procrastinate_jobs SET"
                " (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
            )
        )
    for name, on in INDEXES.items():
        _index(connection, name, on)
    for extension in ("pg_trgm", "pg_stat_statements"):
        _try_extension(connection, extension)


def _index(connection: Connection, name: str, on: LiteralString) -> None:
    """Built beside live workers: that waits for old transactions, but nobody waits for it, so
    here there is no lock time-out. A broken-off build leaves an invalid index.
    """
    is_valid = _scalar(
        connection,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
        [name],
    )
    if is_valid:
        return
    _log.info(f"building the index {name}")
    timeout = _scalar(connection, "SELECT current_setting('lock_timeout')")
    connection.execute("SET lock_timeout = 0")
    if is_valid is False:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
    connection.execute(
        sql.SQL("CREATE INDEX CONCURRENTLY {} ON procrastinate_jobs ").format(sql.Identifier(name))
        + sql.SQL(on)
    )
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [timeout])


def _try_extension(connection: Connection, name: str) -> None:
    """Have the extension where the server has it and lets us; everything works without."""
    offered = _scalar(
        connection,
        "SELECT installed_version IS NULL FROM pg_available_extensions WHERE name = %s",
        [name],
    )
    if not offered:
        return
    try:
        connection.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name))
        )
    except psycopg.Error as fault:
        _log.info("doing without an extension", name=name, why=fault.diag.message_primary)


def _scalar(
    connection: Connection,
    statement: LiteralString,
    parameters: list[str] | None = None,
) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]


def _execute(connection: Connection, statement: LiteralString) -> None:
    connection.execute(statement)
