"""/api/schedules: what runs by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from flask import Blueprint, Response, g
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.schemas import read_body
from app.auth import needs
from app.core import models, schedules
from app.core.schedule_definitions import Changes, Definition, trigger_of
from app.core.schedule_times import Trigger, runs_after
from app.core.schedule_words import describe as in_words
from app.core.status import API
from app.extensions import current_settings, db

blueprint = Blueprint("schedules", __name__, url_prefix="/api/schedules")

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


class PauseBody(BaseModel):
    """POST /api/schedules/{schedule_id}/pause."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class PreviewBody(BaseModel):
    """POST /api/schedules/preview."""

    model_config = ConfigDict(extra="forbid")

    trigger: Trigger


class HistoryQuery(Query):
    """GET /api/schedules/{schedule_id}/history."""

    limit: Limit(50, 1000)  # type: ignore[valid-type]
    before: Moment | None = Field(None, description="Only what was planned before this.")


@blueprint.get("")
@needs("read")
@describe(answer=Schedules)
def list_schedules() -> Schedules:
    """The schedules, those that run next first."""
    session = db.session()
    rows = schedules.list_schedules(session, g.actor.owner_filter)
    periodic = schedules.list_periodic(session) if g.actor.owner_filter is None else ()
    return Schedules(
        schedules=_answers(rows),
        count=len(rows),
        periodic_tasks=[
            PeriodicTask(
                task=row.task,
                periodic_id=row.periodic_id,
                last_planned_at=row.planned_at,
                job_id=_id(row.job_id),
                job_status=_status(row.job_status),
            )
            for row in periodic
        ],
    )


@blueprint.post("")
@needs("submit")
@describe(body=Definition, answer=Schedule, status=201, errors=(409, 422))
def create() -> Schedule:
    """Make a schedule."""
    definition = read_body(Definition)
    session = db.session()
    most = current_settings().schedules_per_user
    made = schedules.create(session, definition, g.actor, most=most, now=datetime.now(UTC))
    session.commit()
    return _answer(made)


@blueprint.post("/preview")
@needs("read")
@describe(body=PreviewBody, answer=Preview)
def preview() -> Preview:
    """What a trigger means and when it would run next; nothing is kept."""
    trigger = read_body(PreviewBody).trigger
    return Preview(text=in_words(trigger), next_runs=runs_after(trigger, datetime.now(UTC)))


@blueprint.get("/<schedule_id>")
@needs("read")
@describe(answer=Schedule)
def get(schedule_id: str) -> Schedule:
    """A schedule."""
    return _answer(schedules.get(db.session(), schedule_id, g.actor.owner_filter))


@blueprint.patch("/<schedule_id>")
@needs("submit")
@describe(body=Changes, answer=Schedule, errors=(409, 422))
def change(schedule_id: str) -> Schedule:
    """Change what is given of a schedule."""
    changes = read_body(Changes)
    session = db.session()
    changed = schedules.change(session, schedule_id, changes, g.actor, now=datetime.now(UTC))
    session.commit()
    return _answer(changed)


@blueprint.delete("/<schedule_id>")
@needs("submit")
@describe(status=204)
def delete(schedule_id: str) -> Response:
    """Remove a schedule and its history; its jobs stay."""
    session = db.session()
    schedules.delete(session, schedule_id, g.actor)
    session.commit()
    return Response(status=204)


@blueprint.post("/<schedule_id>/run")
@needs("submit")
@describe(answer=Run, status=202, errors=(409, 422))
def run(schedule_id: str) -> Run:
    """Run a schedule now, besides its planned times."""
    session = db.session()
    firing = schedules.run(session, schedule_id, g.actor, now=datetime.now(UTC))
    session.commit()
    return Run(
        schedule_id=str(firing.schedule_id),
        job_id=str(firing.job_id),
        planned_at=firing.planned_at,
    )


@blueprint.post("/<schedule_id>/pause")
@needs("submit")
@describe(body=PauseBody, answer=Schedule, errors=(409,))
def pause(schedule_id: str) -> Schedule:
    """Let a schedule not run until it is resumed."""
    reason = read_body(PauseBody).reason
    session = db.session()
    paused = schedules.pause(session, schedule_id, g.actor, reason, now=datetime.now(UTC))
    session.commit()
    return _answer(paused)


@blueprint.delete("/<schedule_id>/pause")
@needs("submit")
@describe(answer=Schedule, errors=(409,))
def resume(schedule_id: str) -> Schedule:
    """Let a paused schedule run again."""
    session = db.session()
    resumed = schedules.resume(session, schedule_id, g.actor, now=datetime.now(UTC))
    session.commit()
    return _answer(resumed)


@blueprint.get("/<schedule_id>/history")
@needs("read")
@describe(query=HistoryQuery, answer=History)
def history(schedule_id: str) -> History:
    """What became of a schedule's planned times."""
    asked = read_query(HistoryQuery)
    session = db.session()
    schedule = schedules.get(session, schedule_id, g.actor.owner_filter)
    rows = schedules.list_firings(session, schedule, before=asked.before, limit=asked.limit)
    return History(
        schedule_id=str(schedule.id),
        firings=[_firing(row) for row in rows],
        next_before=rows[-1].planned_at if len(rows) == asked.limit else None,
    )


def _answer(schedule: models.Schedule) -> Schedule:
    return _answers([schedule])[0]


def _answers(rows: Sequence[models.Schedule]) -> list[Schedule]:
    now = datetime.now(UTC)
    latest = schedules.latest_firings(db.session(), rows)
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
        text=in_words(trigger),
        missed_policy=row.missed_policy,  # type: ignore[arg-type]
        missed_limit=row.missed_limit,
        overlap_policy=row.overlap_policy,  # type: ignore[arg-type]
        jitter_seconds=row.jitter_seconds,
        next_runs=schedules.next_runs(row, now),
        next_due_at=row.next_due_at if pause is None else None,
        pause=pause,
        last_firing=_firing(latest) if latest is not None else None,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def _firing(row: Row[Any]) -> Firing:
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


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _status(status: str | None) -> Any:
    return None if status is None else API.say(status)
