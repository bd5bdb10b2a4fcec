"""/api/overview, /api/attention and /api/failures: what the Overview and the failures' page show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Query, describe, read_query
from app.auth import needs
from app.core import (
    attention,
    failures,
    overview,
    queue_pauses,
    queue_stats,
    window_counts,
    worker_health,
)
from app.core.errors import Invalid
from app.extensions import current_settings, db

blueprint = Blueprint("overview", __name__, url_prefix="/api")

_USUAL = timedelta(hours=24)
_LONGEST = timedelta(days=366)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)


class SpanQuery(Query):
    """A window of time, the last 24 hours unless told otherwise."""

    since: Moment | None = Field(None, description="24 hours before `until` unless given.")
    until: Moment | None = Field(
        None, description="Now unless given; 366 days after `since` at most."
    )

    def window(self) -> tuple[datetime, datetime]:
        """From when until when. Raises Invalid."""
        until = min(max(self.until or datetime.now(UTC), _FIRST), _LAST)
        since = min(max(self.since or until - _USUAL, _FIRST), _LAST)
        if since >= until:
            raise Invalid("since must be before until.", param="since")
        if until - since > _LONGEST:
            raise Invalid("since must be 366 days before until at most.", param="since")
        return since, until


class WindowQuery(SpanQuery):
    """The same, and one type of job or all."""

    job_type: Annotated[str, Field(max_length=200)] | None = None


class Step(Answer):
    """The jobs that ended in one step; durations of completed runs, waits of all that were started."""

    begins_at: datetime
    completed: int
    failed: int
    cancelled: int
    p50_run_seconds: float | None
    p95_run_seconds: float | None
    p50_wait_seconds: float | None
    p95_wait_seconds: float | None


class Open(Answer):
    """What has not ended, as of now, whatever the window."""

    running: int
    waiting: int
    scheduled: int
    oldest_waiting_since: datetime | None


class Overview(Answer):
    """A window in steps of `step_seconds` without gaps, all of it together, and what is open now."""

    since: datetime
    until: datetime
    job_type: str | None
    step_seconds: int
    completed: int
    failed: int
    cancelled: int
    success_rate: float | None
    average_run_seconds: float | None
    steps: list[Step]
    open: Open


class Concern(Answer):
    """One thing to look at, for people; `at` is since when, of an incident when it was last seen.

    An incident names the job that it is about, and how often it was seen.
    """

    kind: Literal[
        "worker",
        "engine",
        "alert",
        "letters",
        "disk",
        "machine",
        "queue",
        "pause",
        "incident",
        "incidents",
        "failures",
    ]
    title: str
    words: str
    is_bad: bool
    at: datetime | None
    job_id: str | None
    times: int


class Attention(Answer):
    """What needs attention now, in the Overview's order; jobs that failed are those of the window."""

    since: datetime
    until: datetime
    job_type: str | None
    concerns: list[Concern]
    count: int


class Group(Answer):
    """Failed jobs of one type, one kind of error and one shape of message; `counts` by step."""

    fingerprint: str
    job_type: str
    error_type: str
    message: str
    jobs: int
    first_at: datetime
    last_at: datetime
    last_job_id: str
    counts: list[int]


class FailureGroups(Answer):
    """The groups with the most jobs first; `left_out` counts those beyond the first 50.

    With `looked_back_to`, jobs that failed before then were not looked at.
    """

    since: datetime
    until: datetime
    job_type: str | None
    step_seconds: int
    begins_at: datetime
    looked_back_to: datetime | None
    jobs: int
    left_out: int
    groups: list[Group]


@blueprint.get("/overview")
@needs("read")
@describe(query=WindowQuery, answer=Overview)
def show() -> Overview:
    """How many jobs ended in each step of a window, how long they waited and ran, and what is open."""
    asked = read_query(WindowQuery)
    since, until = asked.window()
    session, owner_name = db.session(), g.actor.owner_name
    series = overview.series(
        session, since=since, until=until, task=asked.job_type, owner_name=owner_name
    )
    now = overview.count_open(session, task=asked.job_type, owner_name=owner_name)
    return Overview(
        since=since,
        until=until,
        job_type=asked.job_type,
        step_seconds=series.step_seconds,
        completed=series.whole.completed,
        failed=series.whole.failed,
        cancelled=series.whole.cancelled,
        success_rate=series.success_rate,
        average_run_seconds=series.average_run_seconds,
        steps=[_step(each) for each in series.steps],
        open=Open(
            running=now.running,
            waiting=now.waiting,
            scheduled=now.scheduled,
            oldest_waiting_since=now.oldest_at,
        ),
    )


@blueprint.get("/attention")
@needs("read")
@describe(query=WindowQuery, answer=Attention)
def list_concerns() -> Attention:
    """What somebody should look at, the same as on the Overview."""
    asked = read_query(WindowQuery)
    since, until = asked.window()
    session, settings, owner_name = db.session(), current_settings(), g.actor.owner_name
    pauses = queue_pauses.by_queue(session)
    found = attention.everything(
        session,
        settings,
        g.actor,
        queue_stats.queues(session, owner_name, also=pauses),
        pauses,
        health=worker_health.look(session, settings.worker_stale_seconds),
        alive=queue_stats.count_active_workers(session, settings.worker_stale_seconds),
        waiting=overview.count_open(session, task=asked.job_type, owner_name=owner_name).waiting,
    )
    series = overview.series(
        session, since=since, until=until, task=asked.job_type, owner_name=owner_name
    )
    found += attention.failures(series.whole.failed)
    return Attention(
        since=since,
        until=until,
        job_type=asked.job_type,
        concerns=[_concern(each) for each in found],
        count=len(found),
    )


@blueprint.get("/failures")
@needs("read")
@describe(query=WindowQuery, answer=FailureGroups)
def list_failures() -> FailureGroups:
    """The failed jobs of a window by what went wrong."""
    asked = read_query(WindowQuery)
    since, until = asked.window()
    found = failures.find(
        db.session(),
        since=since,
        until=until,
        task=asked.job_type,
        owner_name=g.actor.owner_name,
    )
    return FailureGroups(
        since=since,
        until=until,
        job_type=asked.job_type,
        step_seconds=found.step_seconds,
        begins_at=found.begins_at,
        looked_back_to=found.back_to,
        jobs=found.jobs,
        left_out=found.left_out,
        groups=[_group(each) for each in found.groups],
    )


def _step(step: window_counts.Step) -> Step:
    return Step(
        begins_at=step.begins_at,
        completed=step.completed,
        failed=step.failed,
        cancelled=step.cancelled,
        p50_run_seconds=step.run_seconds(0.5),
        p95_run_seconds=step.run_seconds(0.95),
        p50_wait_seconds=step.wait_seconds(0.5),
        p95_wait_seconds=step.wait_seconds(0.95),
    )


def _concern(each: attention.Concern) -> Concern:
    job_id = None if each.job_id is None else str(each.job_id)
    return Concern(**{**vars(each), "job_id": job_id})


def _group(group: failures.Group) -> Group:
    return Group(
        fingerprint=group.fingerprint,
        job_type=group.task,
        error_type=group.error_type,
        message=group.message,
        jobs=group.jobs,
        first_at=group.first_at,
        last_at=group.last_at,
        last_job_id=str(group.job_id),
        counts=group.counts,
    )
