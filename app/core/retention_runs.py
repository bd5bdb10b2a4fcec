"""The runs of the retention: when the next one is due, and what the last ones did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.core.models import RetentionRun
from app.core.retention_rules import RULES
from app.core.settings import Settings

# The error of a run that was told to stop: the next one goes on.
STOPPED = "stopped"


def is_due(session: Session, settings: Settings, now: datetime) -> bool:
    """Whether the day's run has not begun or was broken off; a missed hour is made up for.

    Before the first run of all, only its hour counts.
    """
    hour = now.astimezone(UTC).replace(
        hour=settings.retention_hour, minute=0, second=0, microsecond=0
    )
    if hour > now:
        hour -= timedelta(days=1)
    if now - hour > timedelta(hours=1) and session.scalar(select(RetentionRun.id).limit(1)) is None:
        return False
    done = session.scalars(
        select(RetentionRun.table_name).where(
            RetentionRun.started_at >= hour,
            RetentionRun.ended_at.is_not(None),
            RetentionRun.error.is_distinct_from(STOPPED),
        )
    )
    return not set(RULES) <= set(done)


def last_runs(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """For each table its rule and its last run, as rows to show."""
    rows = session.scalars(
        select(RetentionRun)
        .ext(distinct_on(RetentionRun.table_name))
        .order_by(RetentionRun.table_name, RetentionRun.started_at.desc())
    )
    runs = {run.table_name: run for run in rows}
    columns = ("started_at", "ended_at", "rows_removed", "partitions_dropped", "error")
    return [
        {
            "table": rule.table,
            "days": rule.days(settings),
            **{name: getattr(runs.get(rule.table), name, None) for name in columns},
        }
        for rule in RULES.values()
    ]


# Of the database-wide advisory lock that lets one run at a time.
ONLY_RUN_KEY = 4_080_113_721


@dataclass(frozen=True)
class Run:
    """One run over all its tables. `rows` and `errors` are of those tables that had any.

    It is over when each table's part is; `seconds` is None while it goes on, or where it was broken off.
    """

    id: int
    started_at: datetime
    ended_at: datetime | None
    rows: dict[str, int]
    partitions_dropped: int
    errors: dict[str, str]

    @property
    def rows_removed(self) -> int:
        return sum(self.rows.values())

    @property
    def seconds(self) -> float | None:
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


def runs(session: Session, *, limit: int, offset: int = 0) -> tuple[list[Run], bool]:
    """The runs, newest first, and whether more follow."""
    number = func.coalesce(RetentionRun.run_id, RetentionRun.id)
    ids = session.scalars(
        select(number).distinct().order_by(number.desc()).offset(offset).limit(limit + 1)
    ).all()
    rows = session.scalars(
        select(RetentionRun).where(number.in_(ids[:limit])).order_by(RetentionRun.id)
    ).all()
    by_run: dict[int, list[RetentionRun]] = {each: [] for each in ids[:limit]}
    for row in rows:
        by_run[row.run_id or row.id].append(row)
    return [_run(number, of) for number, of in by_run.items()], len(ids) > limit


def _run(number: int, tables: Iterable[RetentionRun]) -> Run:
    of = list(tables)
    is_over = all(each.ended_at is not None for each in of)
    return Run(
        id=number,
        started_at=min(each.started_at for each in of),
        ended_at=max(each.ended_at for each in of if each.ended_at) if is_over else None,
        rows={each.table_name: each.rows_removed for each in of if each.rows_removed},
        partitions_dropped=sum(each.partitions_dropped for each in of),
        errors={each.table_name: each.error for each in of if each.error is not None},
    )


def goes_on(session: Session) -> bool:
    """Whether a run is under way: its lock is held for as long as its process lives."""
    held = text(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = :key AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return session.execute(held, {"key": ONLY_RUN_KEY}).first() is not None
