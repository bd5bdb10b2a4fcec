"""What is past its retention in the record's partitioned tables: whole partitions go, rows of the rest.

A partition is dropped under a lock that is waited for, and held, for a fraction of a second. Rows go a
chunk at a time. Jobs that are open, or that an open batch names, stay, and so does their partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import sql
from sqlalchemy.orm import Session

from app.core import partitions, rollups
from app.core.db import driver_connection
from app.core.models.jobs import JOB_FINAL
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
_YOUNG = sql.SQL("EXISTS (SELECT FROM {part} WHERE {young})")
# Each part is answered by an index, also where nothing is kept.
_OPEN = sql.SQL(
    "EXISTS (SELECT FROM {part} WHERE status IN ('pending', 'retrying', 'running'))"
    " OR EXISTS (SELECT FROM batch JOIN {part} AS part ON part.id = batch.job_id WHERE"
    " batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))"
)

# Before which moment what goes, by a job's status; of log lines there is one moment.
Times = Mapping[str, datetime]


def old(session: Session, table: str, times: Times) -> list[Partition]:
    """The partitions in which something may be past its time, oldest first."""
    found = partitions.existing(driver_connection(session), table)
    return [partition for partition in found if partition.begin < max(times.values())]


def walks(times: Times) -> list[Times]:
    """The times apart: statuses that go at the same moment are walked through together."""
    return [
        {status: before for status, before in times.items() if before == each}
        for each in sorted(set(times.values()))
    ]


def may_drop(session: Session, partition: Partition, times: Times) -> bool:
    """Whether nothing in it has to stay."""
    if partition.end > max(times.values()):
        return False
    if partition.table not in JOB_TABLES:
        return True
    part = sql.Identifier(partition.name)
    young = [_YOUNG.format(part=part, young=_by_end(walk, ">=")) for walk in walks(times)]
    query = sql.SQL("SELECT {}").format(sql.SQL(" OR ").join([*young, _OPEN.format(part=part)]))
    return driver_connection(session).execute(query).fetchone() == (False,)


def count(session: Session, table: str, name: str, times: Times) -> int:
    """How many rows of a table's partition `name` are past their time."""
    query = sql.SQL("SELECT count(*) FROM {} AS part WHERE {}").format(
        sql.Identifier(name), _removable(table, times)
    )
    row = driver_connection(session).execute(query).fetchone()
    assert row is not None
    return int(row[0])


def estimate(session: Session, name: str) -> int:
    """About how many rows a partition has, by the server's statistics."""
    row = (
        driver_connection(session)
        .execute(
            "SELECT CASE WHEN n_live_tup > 0 THEN n_live_tup ELSE greatest(reltuples, 0) END"
            " FROM pg_class LEFT JOIN pg_stat_all_tables ON relid = oid WHERE oid = to_regclass(%s)",
            [name],
        )
        .fetchone()
    )
    return 0 if row is None else int(row[0])


def _removable(table: str, times: Times) -> sql.Composable:
    if table not in JOB_TABLES:
        return sql.SQL("at < {}").format(sql.Literal(max(times.values())))
    past = sql.SQL(" OR ").join(_by_end(walk, "<") for walk in walks(times))
    return sql.SQL("({}) AND NOT {}").format(past, _NAMED_BY_OPEN)


def _by_end(walk: Times, sign: str) -> sql.Composable:
    """That a job of one walk ended before its moment, or not; one status alone so that its index serves."""
    end = sql.SQL("ended_at {} {}").format(sql.SQL(sign), sql.Literal(max(walk.values())))
    if len(walk) == len(JOB_FINAL):
        return end  # only what is final has ended
    statuses = sql.SQL(" OR ").join(
        sql.SQL("status = {}").format(sql.Literal(status)) for status in walk
    )
    return sql.SQL("({}) AND {}").format(statuses, end)


def drop(session: Session, partition: Partition, tables: tuple[str, ...], times: Times) -> bool:
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
    if not may_drop(session, partition, times):
        return False
    names = [Partition(table, partition.begin, partition.end).name for table in tables]
    connection.execute(
        sql.SQL("DROP TABLE IF EXISTS {}").format(
            sql.SQL(", ").join(sql.Identifier(name) for name in names)
        )
    )
    return True


def remove_rows(
    session: Session, table: str, name: str, times: Times, place: Place, limit: int
) -> tuple[int, Place | None]:
    """Remove the next rows of a table's partition `name`, with what belongs to them.

    In the caller's transaction; `times` are those of one walk. How many they were, and where to go on.
    """
    connection = driver_connection(session)
    rows = connection.execute(
        sql.SQL(
            "SELECT {key}, id FROM {name} AS part"
            " WHERE ({key}, id) > (%(at)s, %(id)s) AND {key} < {before} AND {removable}"
            " ORDER BY {key}, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
        ).format(
            key=sql.Identifier(partitions.KEYS[table]),
            name=sql.Identifier(name),
            # Nothing ended before it was made: the walk need not see what is younger.
            before=sql.Literal(max(times.values())),
            removable=_removable(table, times),
        ),
        {"at": place[0], "id": place[1], "limit": limit},
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
