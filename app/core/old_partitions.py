"""What is past its retention in the record's partitioned tables: whole partitions go, rows of the rest.

A partition is dropped under a lock that is waited for, and held, for a fraction of a second. Rows go a
chunk at a time. Jobs that are open, or that an open batch names, stay, and so does their partition.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from psycopg import sql
from sqlalchemy.orm import Session

from app.core import partitions, rollups
from app.core.db import driver_connection
from app.core.partitions import Partition

# Tables that lose their partitions together: the first says what may go.
JOB_TABLES = ("job", "job_transition", "attempt", "job_search")
LOG_TABLES = ("log_line",)

# Where a walk through a partition begins; it is at its end when there is no place.
Place = tuple[datetime, int]
BEGIN: Place = (datetime(1970, 1, 1, tzinfo=UTC), -1)

# One for each of four tables and of their partitions: the sum stays below a second.
_LOCK_TIMEOUT = "100ms"
_STATEMENT_TIMEOUT = "800ms"

_NAMED_BY_OPEN = sql.SQL(
    "EXISTS (SELECT FROM batch WHERE batch.job_id = part.id"
    " AND batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))"
)
_REMOVABLE: dict[str, sql.Composable] = {
    "job": sql.SQL(
        "status IN ('completed', 'failed', 'cancelled') AND ended_at < %(before)s AND NOT {}"
    ).format(_NAMED_BY_OPEN),
    "log_line": sql.SQL("at < %(before)s"),
}
# Each part is answered by an index, also where nothing is kept.
_KEEPS = sql.SQL(
    "SELECT EXISTS (SELECT FROM {part} WHERE ended_at >= %(before)s)"
    " OR EXISTS (SELECT FROM {part} WHERE status IN ('pending', 'retrying', 'running'))"
    " OR EXISTS (SELECT FROM batch JOIN {part} AS part ON part.id = batch.job_id WHERE"
    " batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))"
)


def old(session: Session, table: str, before: datetime) -> list[Partition]:
    """The partitions that begin before a moment, oldest first."""
    found = partitions.existing(driver_connection(session), table)
    return [partition for partition in found if partition.begin < before]


def may_drop(session: Session, partition: Partition, before: datetime) -> bool:
    """Whether nothing in it has to stay."""
    if partition.end > before:
        return False
    if partition.table not in JOB_TABLES:
        return True
    row = (
        driver_connection(session)
        .execute(
            _KEEPS.format(part=sql.Identifier(partition.name)),
            {"before": before},
        )
        .fetchone()
    )
    return row == (False,)


def count(session: Session, table: str, name: str, before: datetime) -> int:
    """How many rows of a table's partition `name` are past their time."""
    row = (
        driver_connection(session)
        .execute(
            sql.SQL("SELECT count(*) FROM {} AS part WHERE {}").format(
                sql.Identifier(name), _REMOVABLE[table]
            ),
            {"before": before},
        )
        .fetchone()
    )
    assert row is not None
    return int(row[0])


def drop(session: Session, partition: Partition, tables: tuple[str, ...], before: datetime) -> bool:
    """Drop the range's partition of each of `tables` in the caller's transaction.

    False when a job of it has to stay after all. Raises LockNotAvailable or QueryCanceled when somebody
    uses one of the tables: roll back and try again.
    """
    connection = driver_connection(session)
    if tables == JOB_TABLES:
        rollups.forget(session, partition.end)
    connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.execute(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'")
    # In the order in which readers lock: the whole before its parts.
    connection.execute(
        sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
            sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(name)) for name in tables)
        )
    )
    if not may_drop(session, partition, before):
        return False
    names = [Partition(table, partition.begin, partition.end).name for table in tables]
    connection.execute(
        sql.SQL("DROP TABLE IF EXISTS {}").format(
            sql.SQL(", ").join(sql.Identifier(name) for name in names)
        )
    )
    return True


def remove_rows(
    session: Session, table: str, name: str, before: datetime, place: Place, limit: int
) -> tuple[int, Place | None]:
    """Remove the next rows of a table's partition `name`, with what belongs to them.

    In the caller's transaction. How many they were, and where to go on.
    """
    connection = driver_connection(session)
    rows = connection.execute(
        sql.SQL(
            "SELECT {key}, id FROM {name} AS part"
            " WHERE ({key}, id) > (%(at)s, %(id)s) AND {removable}"
            " ORDER BY {key}, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
        ).format(
            key=sql.Identifier(partitions.KEYS[table]),
            name=sql.Identifier(name),
            removable=_REMOVABLE[table],
        ),
        {"at": place[0], "id": place[1], "before": before, "limit": limit},
    ).fetchall()
    if not rows:
        return 0, None
    of = {"ids": [row[1] for row in rows], "begin": rows[0][0], "end": rows[-1][0]}
    for each in JOB_TABLES if table == "job" else LOG_TABLES:
        id_column = "id" if each == table else "job_id"
        connection.execute(
            sql.SQL(
                "DELETE FROM {} WHERE {} = ANY (%(ids)s) AND {} BETWEEN %(begin)s AND %(end)s"
            ).format(
                sql.Identifier(each),
                sql.Identifier(id_column),
                sql.Identifier(partitions.KEYS[each]),
            ),
            of,
        )
    last: tuple[Any, ...] = rows[-1]
    return len(rows), (last[0], last[1]) if len(rows) == limit else None
