"""The runs of the retention: when the next one is due, and what the last ones did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
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
