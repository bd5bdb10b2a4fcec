"""Runs under `flask db …` and under plain Alembic: Procrastinate's migrations first, then ours.

The connection is our own, not the web's: no statement time-out, a short wait for locks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, func, select, text
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import OperationalError

from app.core import adoption, db, queue_schema, record, schema
from app.core.models import Base

_FOREIGN = re.compile(
    r"alembic_version$|procrastinate_|(job|job_transition|attempt|job_search|log_line)_(default|\d)"
)


def database_url() -> str:
    """From `schema.upgrade`, else the Flask app's."""
    given: str | None = context.config.attributes.get("database_url")
    if given is not None:
        return given
    from flask import current_app

    engine = current_app.extensions["migrate"].db.engine
    connected(engine).close()  # the app's own refusal, where no database is named
    return str(engine.url.render_as_string(hide_password=False))


def connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except OperationalError as fault:
        why = str(fault.orig).splitlines()[0]
        raise schema.SchemaError(f"The database can't be reached: {why}") from fault


def connect_args() -> dict[str, Any]:
    arguments = db.connect_args("migration", statement_timeout_seconds=0)
    lock_timeout = int(schema.LOCK_TIMEOUT_SECONDS * 1000)
    arguments["options"] += f" -c lock_timeout={lock_timeout}"
    return arguments


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Procrastinate's tables and the partitions are no business of autogenerate's."""
    if kind == "index":
        return name not in record.WORD_INDEXES  # made where the server offers trigrams
    return kind != "table" or not _FOREIGN.match(name or "")


def number_revision(
    migration_context: MigrationContext, revision: Any, directives: list[MigrationScript]
) -> None:
    """Versions are numbered; one that changes nothing is not written."""
    if not directives:
        return
    script = directives[0]
    if getattr(context.config.cmd_opts, "autogenerate", False):
        operations = script.upgrade_ops
        if operations is not None and operations.is_empty():
            directives.clear()
            return
    heads: Iterable[str] = ScriptDirectory.from_config(context.config).get_heads()
    script.rev_id = f"{max((int(head) for head in heads), default=0) + 1:04d}"


def is_adopting() -> bool:
    return bool(context.config.attributes.get("is_adopting"))


def run_migrations(connection: Connection) -> None:
    def once() -> None:
        with context.begin_transaction():
            context.run_migrations()
            if is_adopting():
                connection.execute(
                    text("INSERT INTO adoption DEFAULT VALUES ON CONFLICT DO NOTHING")
                )

    home = connection.scalar(select(func.current_schema()))
    connection.rollback()
    context.configure(
        connection=connection,
        # Another schema of the search_path may have another program's.
        version_table_schema=home,
        target_metadata=Base.metadata,
        include_name=is_ours,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=not is_adopting(),
        process_revision_directives=number_revision,
    )
    schema.with_lock_retries(once)


def is_upgrade() -> bool:
    """Whether the command is `upgrade`, and not one that only looks."""
    command: Any = context.get_context().opts.get("fn")
    return getattr(command, "__name__", "") == "upgrade"


def run() -> None:
    if context.is_offline_mode():
        raise RuntimeError(
            "The upgrade looks at the database to know what it needs: run it without --sql."
        )
    url = make_url(db.sqlalchemy_url(database_url()))
    engine = create_engine(url, poolclass=NullPool, connect_args=connect_args())
    with connected(engine) as guard, connected(engine) as connection:
        guard.execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = guard.connection.driver_connection
        schema.check_server(driver)
        with schema.only_migration(driver):
            context.configure(connection=connection)
            if is_upgrade() and not is_adopting() and not adoption.is_adopted(driver):
                queue_schema.upgrade(driver, schema.with_lock_retries)
            run_migrations(connection)
            # The record's functions are written for the newest tables.
            if is_upgrade() and not is_adopting() and schema.is_at_head(driver):
                record.install(driver, schema.with_lock_retries)


run()
