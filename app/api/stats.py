"""GET /api/stats: how the jobs of each type, queue, model or status did, and how that changed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Blueprint, g

from app.api.openapi import Answer, Limit, describe, read_query
from app.api.overview import SpanQuery
from app.auth import needs
from app.core import overview, window_stats
from app.core.window_counts import Step
from app.core.window_stats import Course, Line
from app.extensions import db

blueprint = Blueprint("stats_api", __name__, url_prefix="/api/stats")

# The core's words for what a client asks for.
_BY = {"type": "task", "queue": "queue", "model": "model", "status": "status"}


class ByQuery(SpanQuery):
    """GET /api/stats."""

    by: Literal["type", "queue", "model", "status"] = "type"
    limit: Limit(50, 500)  # type: ignore[valid-type]


class Figures(Answer):
    """The jobs that ended in a window; durations of completed runs, waits of all that were started."""

    completed: int
    failed: int
    cancelled: int
    success_rate: float | None
    average_run_seconds: float | None
    p50_run_seconds: float | None
    p95_run_seconds: float | None
    p50_wait_seconds: float | None
    p95_wait_seconds: float | None


class Change(Answer):
    """How a duration or a success changed, in words; one that is neither good nor bad has null."""

    direction: Literal["up", "down", "same"]
    words: str
    is_good: bool | None


class Ended(Answer):
    """How many jobs ended in one step."""

    completed: int
    failed: int
    cancelled: int


class Duration(Answer):
    """Completed runs of `least` up to `most` seconds."""

    least: float
    most: float
    runs: int


class NameStats(Answer):
    """One name's jobs in the window, in the one of the same length `before` it, and now."""

    name: str
    running: int
    retrying: int
    is_slow: bool
    now: Figures
    before: Figures
    changes: list[Change]
    durations: list[Duration]
    steps: list[Ended]


class StatsBy(Answer):
    """The names with the most jobs first; each has a step for each of `begins`.

    `left_out` counts the names beyond the first `limit`.
    """

    since: datetime
    until: datetime
    by: Literal["type", "queue", "model", "status"]
    step_seconds: int
    begins: list[datetime]
    stats: list[NameStats]
    limit: int
    left_out: int


@blueprint.get("")
@needs("read")
@describe(query=ByQuery, answer=StatsBy)
def show() -> StatsBy:
    """How each type, queue, model or status did in a window, and against the window before."""
    asked = read_query(ByQuery)
    since, until = asked.window()
    session, owner_name, dimension = db.session(), g.actor.owner_name, _BY[asked.by]
    lines = window_stats.by(session, dimension, since=since, until=until, owner_name=owner_name)
    step_seconds = overview.step_seconds((until - since).total_seconds())
    begins, courses = window_stats.courses(
        session,
        dimension,
        since=since,
        until=until,
        step_seconds=step_seconds,
        owner_name=owner_name,
    )
    by_name = {course.name: course for course in courses}
    shown = lines[: asked.limit]
    return StatsBy(
        since=since,
        until=until,
        by=asked.by,
        step_seconds=step_seconds,
        begins=begins,
        stats=[_line(each, by_name.get(each.name), len(begins)) for each in shown],
        limit=asked.limit,
        left_out=len(lines) - len(shown),
    )


def _line(line: Line, course: Course | None, steps: int) -> NameStats:
    counts = course.steps if course else [dict.fromkeys(window_stats.ENDED, 0)] * steps
    return NameStats(
        name=line.name,
        running=line.running,
        retrying=line.retrying,
        is_slow=line.is_slow,
        now=_figures(line.now),
        before=_figures(line.before),
        changes=[
            Change(direction=each.direction, words=each.word, is_good=each.is_good)  # type: ignore[arg-type]
            for each in line.trends
        ],
        durations=[
            Duration(**vars(each)) for each in window_stats.durations(line.now.run_histogram)
        ],
        steps=[Ended(**each) for each in counts],
    )


def _figures(step: Step) -> Figures:
    return Figures(
        completed=step.completed,
        failed=step.failed,
        cancelled=step.cancelled,
        success_rate=window_stats.success_rate(step),
        average_run_seconds=window_stats.average_seconds(step),
        p50_run_seconds=step.run_seconds(0.5),
        p95_run_seconds=step.run_seconds(0.95),
        p50_wait_seconds=step.wait_seconds(0.5),
        p95_wait_seconds=step.wait_seconds(0.95),
    )
