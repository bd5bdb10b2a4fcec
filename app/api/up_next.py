"""/api/overview/next: what the Overview says is up next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Blueprint, g
from pydantic import Field

from app.api.openapi import Answer, Query, describe, read_query
from app.auth import needs
from app.core import admission, coming, overview
from app.core.timeline_planned import Planned
from app.extensions import current_settings, db

blueprint = Blueprint("up_next", __name__, url_prefix="/api/overview")


class NextQuery(Query):
    """GET /api/overview/next."""

    job_type: Annotated[str, Field(max_length=200)] | None = None


class Next(Answer):
    """A job that waits (`job_id`), or the next run of a schedule.

    One that is due has been so since `waiting_since`; any other starts no earlier than `due_at`.
    `reason` says what holds a job although its turn may have come.
    """

    job_type: str
    job_id: str | None
    model: str | None
    schedule_id: str | None
    schedule: str | None
    due_at: datetime | None
    waiting_since: datetime | None
    reason: str | None


class UpNext(Answer):
    """The next five, in order."""

    job_type: str | None
    next: list[Next]
    count: int


@blueprint.get("/next")
@needs("read")
@describe(query=NextQuery, answer=UpNext)
def show() -> UpNext:
    """The five jobs or runs of schedules that are next."""
    task = read_query(NextQuery).job_type
    session, now = db.session(), datetime.now(UTC)
    jobs = overview.up_next(session, task=task, owner_name=g.actor.owner_name)
    reasons = admission.reasons(session, current_settings(), jobs)
    found = [
        _of_run(each.run) if each.run else _of_job(each.job, reasons.get(each.job.id), now)
        for each in coming.find(session, jobs, task=task, owner_id=g.actor.owner_filter)
    ]
    return UpNext(job_type=task, next=found, count=len(found))


def _of_job(job: Any, reason: str | None, now: datetime) -> Next:
    is_later = job.scheduled_at is not None and job.scheduled_at > now
    return Next(
        job_type=job.task,
        job_id=str(job.id),
        model=job.model,
        schedule_id=None,
        schedule=None,
        due_at=job.scheduled_at,
        waiting_since=None if is_later else job.scheduled_at or job.created_at,
        reason=reason,
    )


def _of_run(run: Planned) -> Next:
    return Next(
        job_type=run.type,
        job_id=None,
        model=None,
        schedule_id=str(run.schedule_id),
        schedule=run.schedule,
        due_at=run.due_at,
        waiting_since=None,
        reason=None,
    )
