"""/api/timeline: what the timeline says of schedules to move, and of what is planned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from flask import Blueprint, g
from pydantic import Field
from sqlalchemy.orm import Session

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.overview import WindowQuery
from app.auth import needs
from app.core import contention, schedules, timeline_planned, timeline_runs
from app.core.contention import MOST_RUNS
from app.core.errors import Invalid
from app.core.timeline_planned import Planned
from app.extensions import db

blueprint = Blueprint("timeline_api", __name__, url_prefix="/api/timeline")

_USUAL = timedelta(hours=24)
_FARTHEST = timedelta(days=366)
_MOST = 5000


class Advice(Answer):
    """With this schedule `minutes` later, `peak_after` instead of `peak_before` ran at once at most."""

    schedule: str
    minutes: int
    peak_before: int
    peak_after: int


class AdviceList(Answer):
    """What lowers the peak most comes first; the timeline shows the first three.

    With `looked_back_to`, runs that ended before then were not looked at. Nothing is advised unless
    `is_judged`: there are two runs at least and not too many.
    """

    since: datetime
    until: datetime
    job_type: str | None
    looked_back_to: datetime | None
    runs: int
    is_judged: bool
    advice: list[Advice]


class PlannedQuery(Query):
    """GET /api/timeline/planned."""

    until: Moment | None = Field(
        None, description="In 24 hours unless given; later than now, by 366 days at most."
    )
    job_type: Annotated[str, Field(max_length=200)] | None = None
    limit: Limit(200, _MOST)  # type: ignore[valid-type]


class PlannedRun(Answer):
    """A job that waits for its time (`job_id`) or a schedule's run; it starts no earlier than `due_at`.

    Half of its type's runs took `usual_seconds` at most. A run `is_skipped_if_busy` while the
    schedule's last job has not ended.
    """

    job_type: str
    due_at: datetime
    job_id: str | None
    schedule_id: str | None
    schedule: str | None
    usual_seconds: float | None
    is_skipped_if_busy: bool


class PlannedRuns(Answer):
    """What is due, the next first. `periodic_tasks` are further ones, of which nobody knows when they run."""

    since: datetime
    until: datetime
    job_type: str | None
    planned: list[PlannedRun]
    count: int
    limit: int
    has_more: bool
    periodic_tasks: int


@blueprint.get("/advice")
@needs("read")
@describe(query=WindowQuery, answer=AdviceList)
def list_advice() -> AdviceList:
    """Which schedules to move so that less runs at once, by what ran in a window."""
    asked = read_query(WindowQuery)
    since, until = asked.window()
    session = db.session()
    runs = timeline_runs.read(
        session,
        since=since,
        until=until,
        now=datetime.now(UTC),
        task=asked.job_type,
        owner_name=g.actor.owner_name,
    )
    found = contention.advise(
        session, runs, min(runs.since(since), until), until, g.actor.owner_filter
    )
    return AdviceList(
        since=since,
        until=until,
        job_type=asked.job_type,
        looked_back_to=runs.known_from,
        runs=runs.size,
        is_judged=1 < runs.size <= MOST_RUNS,
        advice=[
            Advice(
                schedule=each.schedule,
                minutes=each.minutes,
                peak_before=each.before,
                peak_after=each.after,
            )
            for each in found
        ],
    )


@blueprint.get("/planned")
@needs("read")
@describe(query=PlannedQuery, answer=PlannedRuns)
def list_planned() -> PlannedRuns:
    """What is to start later: jobs that wait for their time, and the next runs of schedules."""
    asked = read_query(PlannedQuery)
    now = datetime.now(UTC)
    until = asked.until or now + _USUAL
    if not now < until <= now + _FARTHEST:
        raise Invalid("until must be later than now, by 366 days at most.", param="until")
    session = db.session()
    found = timeline_planned.read(
        session,
        now=now,
        until=until,
        task=asked.job_type,
        owner_id=g.actor.owner_filter,
        owner_name=g.actor.owner_name,
    )
    planned = [_planned(each) for each in found[: asked.limit]]
    return PlannedRuns(
        since=now,
        until=until,
        job_type=asked.job_type,
        planned=planned,
        count=len(planned),
        limit=asked.limit,
        has_more=len(found) > asked.limit,
        periodic_tasks=_count_periodic(session),
    )


def _count_periodic(session: Session) -> int:
    return 0 if g.actor.owner_filter is not None else len(schedules.list_periodic(session))


def _planned(each: Planned) -> PlannedRun:
    return PlannedRun(
        job_type=each.type,
        due_at=each.due_at,
        job_id=None if each.job_id is None else str(each.job_id),
        schedule_id=None if each.schedule_id is None else str(each.schedule_id),
        schedule=each.schedule,
        usual_seconds=each.seconds,
        is_skipped_if_busy=each.is_skipped_if_busy,
    )
