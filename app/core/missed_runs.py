"""Runs of schedules that did not come when they were planned: late ones, and those that were missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.core.schedule_firings import BY_POLICY, MISSED_AFTER_SECONDS
from app.core.schedule_times import delay
from app.core.sql import statement
from app.core.tasks import TASKS


@dataclass(frozen=True)
class Late:
    """A run that was due at `since` and has not started; without a job, nothing was done about it yet."""

    schedule_id: int
    name: str
    since: datetime
    job_id: int | None


@dataclass(frozen=True)
class Missed:
    """How many planned runs came to nothing, or a minute or more too late; the first was planned at `since`.

    `name` is the latest one's schedule, `job_id` the job that made up for one.
    """

    runs: int
    since: datetime | None = None
    name: str | None = None
    job_id: int | None = None


def late(
    session: Session, now: datetime, *, task: str | None = None, queue: str | None = None
) -> list[Late]:
    """The schedules that are late now, the longest late first."""
    rows = session.execute(statement("missed_runs", "late"), {"now": now, **_filters(task, queue)})
    found = [
        Late(
            row.schedule_id,
            row.name,
            row.planned_at + delay(row.schedule_id, row.planned_at, row.jitter_seconds),
            row.job_id,
        )
        for row in rows
    ]
    return sorted((each for each in found if each.since < now), key=lambda each: each.since)


def missed(
    session: Session,
    since: datetime,
    now: datetime,
    *,
    task: str | None = None,
    queue: str | None = None,
) -> Missed:
    """What was decided in a window about planned runs: how many were missed."""
    row = session.execute(
        statement("missed_runs", "missed"),
        {
            "since": since,
            "now": now,
            "late_seconds": MISSED_AFTER_SECONDS,
            "by_policy": list(BY_POLICY),
            **_filters(task, queue),
        },
    ).one()
    return Missed(row.runs, row.since, row.name, row.job_id)


def to_flag(session: Session, now: datetime) -> dict[int, Late]:
    """By schedule the runs that are later than any is by itself."""
    longest = timedelta(seconds=MISSED_AFTER_SECONDS)
    return {each.schedule_id: each for each in late(session, now) if now - each.since > longest}


def _filters(task: str | None, queue: str | None) -> dict[str, object]:
    """Built-in tasks have queues of their own, which their schedules do not name."""
    of_queue = [spec.name for spec in TASKS.values() if spec.queue == queue]
    return {"task": task, "queue": queue, "tasks_of_queue": of_queue}
