"""Adopt another app's queue, or let it go: what `flask adopt` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, NullPool, create_engine, exc, update

from app.core import adoption, db, partitions, record, schema
from app.core.adoption import past
from app.core.adoption.checks import VIEWS, Driver, Refused, Sight, look, taken_names
from app.core.models import Adoption, Base

# Jobs that are older share the default partition.
_OLDEST_PARTITION = timedelta(days=3650)

# Arbitrary, and Stoker's for ever.
_ADVISORY_KEY = 4_080_113_722


@contextmanager
def connected(database_url: str) -> Iterator[tuple[Connection, Driver]]:
    """A connection in autocommit, and the driver's below it."""
    arguments = db.connect_args("adoption", statement_timeout_seconds=0)
    arguments["options"] += (
        f" -c lock_timeout={int(schema.LOCK_TIMEOUT_SECONDS * 1000)}"
        # What a plan for any number of jobs would do to thousands takes minutes.
        " -c plan_cache_mode=force_custom_plan"
    )
    engine = create_engine(
        db.sqlalchemy_url(database_url),
        poolclass=NullPool,
        connect_args=arguments,
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        yield connection, driver


def adopt(
    database_url: str,
    report: Callable[[past.Progress], None],
    *,
    may_archive: bool | None = None,
    chunk_jobs: int = past.CHUNK_JOBS,
) -> past.Progress:
    """Make the tables, install the triggers, take the past over; what is there already stays.

    `report` hears of each chunk. Raises Refused, or SchemaError.
    """
    with connected(database_url) as (connection, driver):
        sight = look(connection, driver)
        _make_tables(database_url, driver, sight)
        try:
            with schema.only_migration(driver):
                _install(driver, sight)
        except schema.SchemaError:
            if not sight.is_adopted:
                remove(database_url)
            raise
        if may_archive is not None:
            connection.execute(update(Adoption).values(may_archive=may_archive))
        _only_one(driver)
        past.begin(connection, driver)
        for progress in past.take_over(connection, driver, chunk_jobs=chunk_jobs):
            report(progress)
        return progress


def _install(driver: Driver, sight: Sight) -> None:
    if sight.oldest_at is not None:
        oldest = datetime.now(UTC) - _OLDEST_PARTITION
        partitions.ensure(driver, since=max(sight.oldest_at, oldest))
    record.install(driver, schema.with_lock_retries)


def _only_one(driver: Driver) -> None:
    """Hold the lock of those that take the past over, until the connection ends."""
    if driver.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_KEY]).fetchone() != (True,):
        raise Refused("Another `flask adopt` is taking over this database's past: wait for it.")


def _make_tables(database_url: str, driver: Driver, sight: Sight) -> None:
    try:
        schema.upgrade(database_url, is_adopting=True)
    except exc.ProgrammingError as fault:
        if not isinstance(
            fault.orig, psycopg.errors.DuplicateTable | psycopg.errors.DuplicateObject
        ):
            raise
        taken = [str(fault.orig.diag.message_primary).split('"')[1]]
        raise Refused(taken_names(driver, sight.home, sight.queue_schema, taken)) from fault


def remove(database_url: str) -> list[str]:
    """Take the triggers, functions and tables out; the names of the tables that went.

    All or nothing. Raises Refused, or SchemaError.
    """
    with connected(database_url) as (_, driver):
        if not adoption.is_adopted(driver):
            raise Refused("This database is not adopted: there is nothing to remove.")
        removed: list[str] = []
        with schema.only_migration(driver):
            try:
                schema.with_lock_retries(lambda: _remove(driver, removed))
            except psycopg.errors.InsufficientPrivilege as fault:
                raise Refused(
                    f"{str(fault.diag.message_primary).capitalize()}: run this as the role that "
                    "adopted the database."
                ) from fault
            except psycopg.errors.DependentObjectsStillExist as fault:
                raise Refused(
                    f"Something that is not Stoker's needs its tables: {fault.diag.message_detail}"
                ) from fault
        return removed


def _remove(driver: Driver, removed: list[str]) -> None:
    home = driver.execute("SELECT current_schema()").fetchone()
    assert home is not None
    removed.clear()
    with driver.transaction():
        record.remove(driver)
        for name in VIEWS:
            driver.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(home[0], name)))
        names = [
            name
            for name in Base.metadata.tables
            if driver.execute(
                "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s))", [home[0], name]
            ).fetchone()
            != (None,)
        ]
        if _is_version_table_ours(driver):
            names.append("alembic_version")
        driver.execute(
            sql.SQL("DROP TABLE {}").format(
                sql.SQL(", ").join(sql.Identifier(home[0], name) for name in names)
            )
        )
        removed.extend(sorted(names))


def _is_version_table_ours(driver: Driver) -> bool:
    """Whether the versions are all ours; else only those are taken out of the table."""
    known = [script.revision for script in ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()]
    driver.execute("DELETE FROM alembic_version WHERE version_num = ANY (%s)", [known])
    return driver.execute("SELECT FROM alembic_version").fetchone() is None
