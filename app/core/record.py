"""The record's triggers and functions in the database: are they there, put them there, take them out.

Their text is code, not schema: `install` replaces them whenever it has changed, so they need no
migration of their own. What they do is in sql/record.sql, deletions.sql, followers.sql and reports.sql;
sql/fetch.sql has how our own workers fetch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from app.core import partitions

Connection = psycopg.Connection[Any]
Retries = Callable[[Callable[[], None]], None]

TRIGGERS = ("stoker_deferred", "stoker_changed", "stoker_deleted", "stoker_truncated")

_FILES = [
    Path(__file__).parent / "sql" / f"{name}.sql"
    for name in ("record", "deletions", "followers", "reports", "fetch", "triggers")
]


def is_current(connection: Connection) -> bool:
    """Whether the installed triggers and functions are this version's, with its privileges."""
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_proc') FROM pg_proc"
        " WHERE oid = to_regprocedure('stoker_deferred()')"
        # A dump may be restored without privileges.
        " AND NOT has_function_privilege('public', oid, 'EXECUTE')"
    ).fetchone()
    present = connection.execute(
        "SELECT count(*) FROM pg_trigger"
        " WHERE tgrelid = to_regclass('procrastinate_jobs') AND tgname = ANY (%s)"
        " AND tgenabled <> 'D'",
        [list(TRIGGERS)],
    ).fetchone()
    return row == (_version(),) and present == (len(TRIGGERS),)


def install(connection: Connection, with_retries: Retries) -> None:
    """Install or replace them, and make the partitions of now; `connection` is in autocommit.

    `with_retries` runs one transaction until it is not kept off by a lock.
    """
    partitions.ensure(connection)
    _index_words(connection)
    if is_current(connection):
        return
    with_retries(lambda: _install(connection))


def _version() -> str:
    return "version " + hashlib.sha256(_text().encode()).hexdigest()[:16]


def _text() -> str:
    return "\n".join(file.read_text("utf-8") for file in _FILES)


def _schema_of(connection: Connection, table: str) -> str:
    row = connection.execute(
        "SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE pg_class.oid = to_regclass(%s)",
        [table],
    ).fetchone()
    assert row is not None
    return str(row[0])


def _install(connection: Connection) -> None:
    text = _text().replace("{schema}", _schema_of(connection, "job_transition"))
    queue = _schema_of(connection, "procrastinate_jobs")
    text = text.replace("{queue}", queue.replace("'", "''")).replace("{queue_path}", queue)
    if not _has_workers(connection):
        # The column may yet come: an app's own migrations run under the triggers.
        text = text.replace("NEW.worker_id", "(to_jsonb(NEW) ->> 'worker_id')::bigint")
        text = text.replace("OLD.worker_id IS NULL", "to_jsonb(OLD) -> 'worker_id' = 'null'")
    with connection.transaction():
        connection.execute(text.encode())
        connection.execute(
            sql.SQL("COMMENT ON FUNCTION stoker_deferred() IS {}").format(sql.Literal(_version()))
        )


def _has_workers(connection: Connection) -> bool:
    """Whether jobs know their worker: not before Procrastinate's 3.1."""
    return (
        connection.execute(
            "SELECT FROM pg_attribute WHERE attrelid = to_regclass('procrastinate_jobs')"
            " AND attname = 'worker_id'"
        ).fetchone()
        is not None
    )


# Parts of words are found by them: of jobs, of batches by id, file name and metadata
# (app.core.models.BATCH_WORDS), and of incidents (INCIDENT_WORDS).
WORD_INDEXES: dict[str, LiteralString] = {
    "job_search_words_idx": "job_search USING gin (words gin_trgm_ops)",
    "batch_words_idx": (
        "batch USING gin (lower(id || ' ' || COALESCE(input_filename, '') || ' '"
        " || COALESCE(metadata::text, '')) gin_trgm_ops)"
    ),
    "incident_words_idx": (
        "incident USING gin (lower(text || ' ' || COALESCE(summary, '')) gin_trgm_ops)"
    ),
}


def _index_words(connection: Connection) -> None:
    """The indexes for searches, where the server offers trigrams; without them they read more."""
    for name, on in WORD_INDEXES.items():
        row = connection.execute(
            "SELECT to_regclass(%s) IS NULL"
            " AND EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')",
            [name],
        ).fetchone()
        if row == (True,):
            connection.execute(
                sql.SQL("CREATE INDEX {} ON ").format(sql.Identifier(name)) + sql.SQL(on)
            )


def remove(connection: Connection) -> None:
    """Take the triggers and functions out; the tables stay. In the caller's transaction.

    A trigger goes with its function: only the table's owner may drop it by itself.
    """
    functions = connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE proname LIKE 'stoker\\_%' AND pronamespace = ("
        "  SELECT relnamespace FROM pg_class WHERE oid = to_regclass('job_transition'))"
    ).fetchall()
    for (name,) in functions:
        connection.execute(f"DROP FUNCTION {name} CASCADE".encode())
