"""What /api/schedules answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.api.openapi import Answer
from app.core import models, schedules
from app.core.schedule_definitions import trigger_of
from app.core.schedule_times import Trigger
from app.core.schedule_words import describe
from app.core.status import API

JobStatus = Literal["pending", "running", "completed", "failed", "cancelled"]


class Pause(Answer):
    """Who paused it, why and since when."""

    by: str
    reason: str
    since: datetime


class Firing(Answer):
    """A planned time: the job that came of it, or the reason why there is none.

    `planned_runs` is how many planned times it stands for; `asked_by` who ran it by hand.
    """

    planned_at: datetime
    fired_at: datetime | None
    decided_at: datetime
    job_id: str | None
    job_status: JobStatus | None
    planned_runs: int
    asked_by: str | None
    reason: str | None


class Schedule(Answer):
    """A schedule. `text` says its trigger in words; `next_runs` are its next planned times."""

    id: str
    name: str
    owner: str
    status: Literal["active", "paused", "ended"]
    task: str
    args: dict[str, Any]
    queue: str | None
    priority: int
    trigger: Trigger
    text: str
    missed_policy: Literal["skip", "one", "all"]
    missed_limit: int
    overlap_policy: Literal["allow", "skip", "queue"]
    jitter_seconds: float
    next_runs: list[datetime]
    next_due_at: datetime | None
    pause: Pause | None
    last_firing: Firing | None
    created_at: datetime
    changed_at: datetime | None


class PeriodicTask(Answer):
    """A periodic task of Procrastinate's own, with its latest launch. It can only be looked at."""

    task: str
    periodic_id: str
    last_planned_at: datetime
    job_id: str | None
    job_status: JobStatus | None


class Schedules(Answer):
    """The schedules that the caller may see; periodic tasks are for operators."""

    schedules: list[Schedule]
    count: int
    periodic_tasks: list[PeriodicTask]


class Run(Answer):
    """The job that running a schedule made."""

    schedule_id: str
    job_id: str
    planned_at: datetime


class History(Answer):
    """A page of firings, latest first; `next_before` leads to the page after it."""

    schedule_id: str
    firings: list[Firing]
    next_before: datetime | None


class Preview(Answer):
    """A trigger in words, and when it would run."""

    text: str
    next_runs: list[datetime]


def describe_all(session: Session, rows: Sequence[models.Schedule]) -> list[Schedule]:
    """Schedules, each with its latest firing."""
    now = datetime.now(UTC)
    latest = schedules.latest_firings(session, rows)
    return [_described(row, latest.get(row.id), now) for row in rows]


def _described(row: models.Schedule, latest: Row[Any] | None, now: datetime) -> Schedule:
    trigger = trigger_of(row)
    status: Any = schedules.status_of(row)
    pause = None
    if row.paused_at is not None:
        pause = Pause(by=row.paused_by or "", reason=row.pause_reason or "", since=row.paused_at)
    return Schedule(
        id=str(row.id),
        name=row.name,
        owner=row.owner.name,
        status=status,
        task=row.task,
        args=row.arguments,
        queue=row.queue,
        priority=row.priority,
        trigger=trigger,
        text=describe(trigger),
        missed_policy=row.missed_policy,  # type: ignore[arg-type]
        missed_limit=row.missed_limit,
        overlap_policy=row.overlap_policy,  # type: ignore[arg-type]
        jitter_seconds=row.jitter_seconds,
        next_runs=schedules.next_runs(row, now),
        next_due_at=row.next_due_at if pause is None else None,
        pause=pause,
        last_firing=firing(latest) if latest is not None else None,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def firing(row: Row[Any]) -> Firing:
    """One line of a history."""
    return Firing(
        planned_at=row.planned_at,
        fired_at=row.decided_at if row.job_id is not None else None,
        decided_at=row.decided_at,
        job_id=_id(row.job_id),
        job_status=_status(row.job_status),
        planned_runs=row.planned_runs,
        asked_by=row.asked_by,
        reason=row.reason,
    )


def periodic_task(row: Row[Any]) -> PeriodicTask:
    """One of Procrastinate's own."""
    return PeriodicTask(
        task=row.task,
        periodic_id=row.periodic_id,
        last_planned_at=row.planned_at,
        job_id=_id(row.job_id),
        job_status=_status(row.job_status),
    )


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _status(status: str | None) -> Any:
    return None if status is None else API.say(status)
