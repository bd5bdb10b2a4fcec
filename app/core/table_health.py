"""How the tables are: sizes, rows, dead rows, clean-up; from the server's statistics, no table is read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core.models.base import Base
from app.core.partitions import BY_MONTH, KEYS
from app.core.settings import Settings
from app.core.sql import statement


@dataclass(frozen=True)
class Part:
    """A table, or one partition of it. Rows are the server's estimate; times are None for never.

    `toast_bytes` are of long values, which the server keeps apart.
    """

    name: str
    rows: int
    dead_rows: int
    changed_rows: int
    total_bytes: int
    index_bytes: int
    toast_bytes: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None

    @property
    def row_bytes(self) -> int:
        """What the rows themselves take."""
        return max(0, self.total_bytes - self.index_bytes - self.toast_bytes)

    @property
    def dead_share(self) -> float:
        """Dead rows' share of all, 0..1."""
        every = self.rows + self.dead_rows
        return self.dead_rows / every if every else 0.0


@dataclass(frozen=True)
class Table(Part):
    """A table with all its partitions; the times are the latest of any."""

    parts: Sequence[Part] = ()

    @property
    def is_queue(self) -> bool:
        """Whether it is Procrastinate's."""
        return self.name.startswith("procrastinate_")

    @property
    def is_parted(self) -> bool:
        return self.name in KEYS

    @property
    def in_default(self) -> int:
        """Rows of times for which there was no partition."""
        return sum(part.rows for part in self.parts if part.name == f"{self.name}_default")


@dataclass(frozen=True)
class Month:
    """What the record of one month's jobs takes; `name` like 2026-11, or default. Bytes are by table."""

    name: str
    jobs: int
    bytes: dict[str, int]

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes.values())


@dataclass(frozen=True)
class Transaction:
    """The one that is open for the longest time; `ending` is the statement that ends it."""

    whose: str
    which: str
    began_at: datetime
    seconds: float
    ending: str


@dataclass(frozen=True)
class Health:
    """All of it. The disk is the data folder's, on the machine that answers."""

    database: str
    database_bytes: int
    transaction_age: int
    counted_since: datetime | None
    free_bytes: int
    disk_bytes: int
    oldest: Transaction | None
    tables: Sequence[Table]
    months: Sequence[Month]


def look(session: Session, settings: Settings) -> Health:
    """As things are now; the largest table first, the newest month first."""
    names = [table.name for table in Base.metadata.sorted_tables]
    rows = session.execute(statement("table_health", "tables"), {"names": names}).all()
    database = session.execute(statement("table_health", "database")).one()
    disk = shutil.disk_usage(settings.var_path)
    tables = _tables(rows)
    return Health(
        database=database.name,
        database_bytes=database.bytes,
        transaction_age=database.transaction_age,
        counted_since=database.counted_since,
        free_bytes=disk.free,
        disk_bytes=disk.total,
        oldest=_oldest(session),
        tables=tables,
        months=_months(tables),
    )


def _oldest(session: Session) -> Transaction | None:
    row = session.execute(statement("transactions", "oldest")).one_or_none()
    return None if row is None else Transaction(**row._mapping)


def _tables(rows: Iterable[Any]) -> list[Table]:
    parts: dict[str, list[Part]] = {}
    for row in rows:
        values = {name: value for name, value in row._mapping.items() if name != "part"}
        parts.setdefault(row.name, []).append(Part(**{**values, "name": row.part}))
    found = [_whole(name, of) for name, of in parts.items()]
    return sorted(found, key=lambda table: (-table.total_bytes, table.name))


def _whole(name: str, parts: list[Part]) -> Table:
    sums = ("rows", "dead_rows", "changed_rows", "total_bytes", "index_bytes", "toast_bytes")
    return Table(
        name=name,
        **{each: sum(getattr(part, each) for part in parts) for each in sums},
        vacuumed_at=_latest(part.vacuumed_at for part in parts),
        analyzed_at=_latest(part.analyzed_at for part in parts),
        parts=parts,
    )


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _months(tables: Iterable[Table]) -> list[Month]:
    """Those that hold anything: partitions are made ahead."""
    jobs: dict[str, int] = {}
    sizes: dict[str, dict[str, int]] = {}
    for table in tables:
        if table.name not in BY_MONTH:
            continue
        for part in table.parts:
            month = part.name.removeprefix(f"{table.name}_").replace("_", "-")
            sizes.setdefault(month, {})[table.name] = part.total_bytes
            if table.name == "job":
                jobs[month] = part.rows
    found = [Month(name, jobs.get(name, 0), of) for name, of in sizes.items()]
    # "default" stands behind every year.
    kept = [month for month in found if month.jobs]
    return sorted(kept, key=lambda month: (month.name != "default", month.name), reverse=True)
