"""One partial index per queue: Procrastinate's own fetch from one does not read what waits in the others.

Our own workers fetch by sql/fetch.sql and need none of these; but a program may run workers of its own
on our queue. Procrastinate's own index holds what waits in all queues: with a million jobs of one queue
in front, its fetch from another takes half a second, and two milliseconds with that queue's index.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
import structlog
from psycopg import sql

from app.core import adoption

Connection = psycopg.Connection[Any]

_PREFIX = "stoker_todo_"
# A queue in which nothing was deferred for so long needs none.
_LATELY_DAYS = 7
_LOCK_TIMEOUT_SECONDS = 5

_log = structlog.get_logger("queue_indexes")

# From one queue's name to the next by the index on (queue, created_at, id), whatever the number of jobs.
_LATELY = """
WITH RECURSIVE name AS (
    (SELECT queue FROM job ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM job WHERE queue > name.queue ORDER BY queue LIMIT 1)
    FROM name WHERE name.queue IS NOT NULL
)
SELECT name.queue
FROM name
CROSS JOIN LATERAL (
    SELECT created_at FROM job WHERE job.queue = name.queue ORDER BY created_at DESC LIMIT 1
) AS last
WHERE last.created_at > clock_timestamp() - make_interval(days => %s)
ORDER BY last.created_at DESC
"""


def name_of(queue: str) -> str:
    """The index's name; a queue may be called anything."""
    return _PREFIX + hashlib.sha256(queue.encode()).hexdigest()[:16]


def ensure(connection: Connection, most: int) -> list[str]:
    """Make the indexes that are missing, drop those that are not needed; the queues that got one.

    `connection` is in autocommit. Nobody waits for a build, and a build that has to wait too long for
    old transactions is given up until the next time. In another app's queue nothing is done.
    """
    if adoption.is_adopted(connection) or not _owns_table(connection):
        return []
    there = _drop_invalid(connection)
    lately = [str(queue) for (queue,) in connection.execute(_LATELY, [_LATELY_DAYS])]
    # What has an index keeps it, or busy queues in excess of `most` would take turns.
    lately.sort(key=lambda queue: name_of(queue) not in there)
    wanted = {name_of(queue): queue for queue in lately[:most]}
    connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'")
    try:
        for name in there - set(wanted):
            _drop(connection, name)
        made = [queue for name, queue in wanted.items() if name not in there]
        for queue in made:
            _make(connection, queue)
    except psycopg.errors.LockNotAvailable:
        _log.info("queue_indexes.later", why="an old transaction is still open")
        return []
    finally:
        connection.execute("RESET lock_timeout")
    return made


def _owns_table(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class"
        " WHERE oid = to_regclass('procrastinate_jobs')"
    ).fetchone()
    return row == (True,)


def _drop_invalid(connection: Connection) -> set[str]:
    """The indexes that are there; what a broken-off build left is removed."""
    rows = connection.execute(
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = to_regclass('procrastinate_jobs') AND starts_with(relname::text, %s)",
        [_PREFIX],
    ).fetchall()
    for name, is_valid in rows:
        if not is_valid:
            _drop(connection, name)
    return {name for name, is_valid in rows if is_valid}


def _drop(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))


def _make(connection: Connection, queue: str) -> None:
    connection.execute(
        sql.SQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON procrastinate_jobs (priority DESC, id)"
            " WHERE status = 'todo' AND queue_name = {}"
        ).format(sql.Identifier(name_of(queue)), sql.Literal(queue))
    )
    _log.info("queue_indexes.made", queue=queue)
