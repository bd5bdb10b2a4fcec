"""/api/overview and /api/failures: what the Overview and the failures' page show, for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from flask import Blueprint, g
from pydantic import Field

from app.api.jobs.queries import Moment
from app.api.openapi import Answer, Query, describe, read_query
from app.auth import needs
from app.core import failures, overview, window_counts
from app.core.errors import Invalid
from app.extensions import db

blueprint = Blueprint("overview", __name__, url_prefix="/api")

_USUAL = timedelta(hours=24)
_LONGEST = timedelta(days=366)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)


class WindowQuery(Query):
    """A window of time, the last 24 hours unless told otherwise, and one type of job or all."""

    since: Moment | None = Field(None, description="24 hours before `until` unless given.")
    until: Moment | None = Field(
        None, description="Now unless given; 366 days after `since` at most."
    )
    job_type: Annotated[str, Field(max_length=200)] | None = None

    def window(self) -> tuple[datetime, datetime]:
        """From when until when. Raises Invalid."""
        until = min(max(self.until or datetime.now(UTC), _FIRST), _LAST)
        since = min(max(self.since or until - _USUAL, _FIRST), _LAST)
        if since >= until:
            raise Invalid("since must be before until.", param="since")
        if until - since > _LONGEST:
            raise Invalid("since must be 366 days before until at most.", param="since")
        return since, until


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
