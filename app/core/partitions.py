"""Partitions of the record's tables: by month of the job's creation, log lines by day.

Each table has a default partition too, so that a row of an unforeseen time is never refused; what
it holds is moved when the partition for it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

# Table -> the column that its partitions are ranges of.
BY_MONTH = {
    "job": "created_at",
    "job_transition": "job_created_at",
    "attempt": "job_created_at",
    "job_search": "job_created_at",
}
BY_DAY = {"log_line": "at"}
KEYS = {**BY_MONTH, **BY_DAY}

_MONTHS_AHEAD = 2
_DAYS_AHEAD = 3


@dataclass(frozen=True, order=True)
class Partition:
    """A partition's range: `begin` is in it, `end` is not."""

    table: str
    begin: datetime
    end: datetime

    @property
    def name(self) -> str:
        form = "%Y_%m_%d" if self.table in BY_DAY else "%Y_%m"
        return f"{self.table}_{self.begin:{form}}"


def at(table: str, moment: datetime) -> Partition:
    """The partition of `table` that a moment belongs to."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if table in BY_DAY:
        return Partition(table, day, day + timedelta(days=1))
    month = day.replace(day=1)
    return Partition(table, month, (month + timedelta(days=32)).replace(day=1))


def ensure(
    connection: Connection,
    *,
    since: datetime | None = None,
    now: datetime | None = None,
    tables: Iterable[str] = KEYS,
) -> list[str]:
    """Make the partitions from `since` (default: now) until some time ahead; those that were made.

    `since` is about jobs: log lines have no past. `connection` is in autocommit; each partition is
    one transaction. What the default partition holds of a range moves into its new partition.
    """
    now = now or datetime.now(UTC)
    made = []
    for table in tables:
        _ensure_default(connection, table)
        there = {partition.name for partition in existing(connection, table)}
        begin = min(since or now, now) if table in BY_MONTH else now
        for partition in _wanted(table, begin, now):
            if partition.name not in there:
                _make(connection, partition)
                made.append(partition.name)
    return made


def existing(connection: Connection, table: str) -> list[Partition]:
    """A table's partitions, oldest first, without the default one."""
    names = connection.execute(
        "SELECT child.relname FROM pg_inherits"
        " JOIN pg_class AS child ON child.oid = inhrelid"
        " WHERE inhparent = to_regclass(%s)",
        [table],
    )
    form = "%Y_%m_%d" if table in BY_DAY else "%Y_%m"
    found = []
    for (name,) in names:
        suffix = name.removeprefix(f"{table}_")
        if suffix != "default":
            found.append(at(table, datetime.strptime(suffix, form).replace(tzinfo=UTC)))
    return sorted(found)


def _wanted(table: str, since: datetime, now: datetime) -> Iterator[Partition]:
    ahead = timedelta(days=_DAYS_AHEAD if table in BY_DAY else 31 * _MONTHS_AHEAD)
    partition = at(table, since)
    while partition.begin <= now + ahead:
        yield partition
        partition = at(table, partition.end)


def _ensure_default(connection: Connection, table: str) -> None:
    name = sql.Identifier(f"{table}_default")
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} DEFAULT").format(
            name, sql.Identifier(table)
        )
    )


def _make(connection: Connection, partition: Partition) -> None:
    """Made apart and attached afterwards: that keeps nobody from writing to the others."""
    names = {
        "name": sql.Identifier(partition.name),
        "table": sql.Identifier(partition.table),
        "rest": sql.Identifier(f"{partition.table}_default"),
        "key": sql.Identifier(KEYS[partition.table]),
        "begin": sql.Literal(partition.begin.isoformat()),
        "end": sql.Literal(partition.end.isoformat()),
    }
    with connection.transaction():
        connection.execute(
            sql.SQL("CREATE TABLE {name} (LIKE {table} INCLUDING ALL EXCLUDING IDENTITY)").format(
                **names
            )
        )
        connection.execute(
            sql.SQL(
                "WITH moved AS (DELETE FROM {rest} WHERE {key} >= {begin} AND {key} < {end}"
                " RETURNING *) INSERT INTO {name} SELECT * FROM moved"
            ).format(**names)
        )
        connection.execute(
            sql.SQL(
                "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})"
            ).format(**names)
        )
