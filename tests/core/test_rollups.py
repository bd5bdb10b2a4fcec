"""Rollups equal the jobs' rows, whatever happened to the jobs and whenever they were counted."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import rollups, tallies
from app.core.models import DIMENSIONS, DirtyHour, Job, Rollup, RollupSpan

FINAL = ("completed", "failed", "cancelled")
TASKS = ("export", "cleanup", "run_batch")
NOW = datetime.now(UTC)
# The seconds before now at which something ended; many on the edges of hours and days.
EDGE = (NOW - NOW.replace(minute=0, second=0, microsecond=0)).total_seconds()
AGES = st.one_of(
    st.floats(0, 80 * 3600),
    st.integers(0, 80).map(lambda hours: EDGE + hours * 3600),
    st.integers(0, 80).map(lambda hours: EDGE + hours * 3600 + 1e-6),
)
DURATIONS = st.one_of(st.none(), st.integers(0, 30), st.integers(0, 2**33))

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("end"),
            st.sampled_from(TASKS),
            st.sampled_from((None, "tiny", "large")),
            st.sampled_from(("succeeded", "failed", "cancelled")),
            AGES,
            DURATIONS,
            DURATIONS,
        ),
        st.tuples(st.just("defer"), st.sampled_from(TASKS)),
        st.tuples(st.just("fetch"), st.sampled_from(TASKS)),
        st.tuples(st.just("restart"), st.integers(0, 30)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("refresh")),
    ),
    max_size=25,
)


class History:
    """Does to real jobs, through the triggers, what a step says."""

    def __init__(self, session: Session) -> None:
        self.session = session
        for table in ("procrastinate_jobs", "job", "rollup", "rollup_span", "dirty_hour"):
            session.execute(text(f"TRUNCATE {table} CASCADE"))
        session.commit()

    def do(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])
        self.session.commit()

    def defer(self, task: str, model: str | None = None) -> int:
        arguments = "{}" if model is None else f'{{"model": "{model}"}}'
        return self.session.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
                " VALUES (:queue, :task, CAST(:arguments AS jsonb)) RETURNING id"
            ),
            {"queue": f"of {task}", "task": task, "arguments": arguments},
        ).scalar_one()

    def become(self, job_id: int, status: str) -> None:
        self.session.execute(
            text(
                "UPDATE procrastinate_jobs SET status ="
                " CAST(:status AS procrastinate_job_status) WHERE id = :id"
            ),
            {"status": status, "id": job_id},
        )

    def fetch(self, task: str) -> None:
        self.become(self.defer(task), "doing")

    def end(
        self,
        task: str,
        model: str | None,
        how: str,
        age: float,
        run_ms: int | None,
        wait_ms: int | None,
    ) -> None:
        job_id = self.defer(task, model)
        if run_ms is not None:
            self.become(job_id, "doing")
        self.become(job_id, how)
        ended_at = NOW - timedelta(seconds=age)
        # As if it had happened then. This is no change that the triggers must notice: the hour's
        # rollups may have been made already, so it is said.
        self.session.execute(
            text(
                "UPDATE job SET ended_at = :ended_at, run_ms = coalesce(:run_ms, 0),"
                " wait_ms = :wait_ms, started_at = CASE WHEN :run_ms IS NOT NULL"
                " THEN CAST(:ended_at AS timestamptz) - interval '1 second' END WHERE id = :id"
            ).bindparams(ended_at=ended_at, run_ms=run_ms, wait_ms=wait_ms, id=job_id)
        )
        self.session.add(DirtyHour(hour=ended_at.replace(minute=0, second=0, microsecond=0)))

    def restart(self, number: int) -> None:
        ids = self.session.scalars(
            text("SELECT id FROM procrastinate_jobs WHERE status = 'failed' ORDER BY id")
        ).all()
        if ids:
            self.become(ids[number % len(ids)], "todo")

    def remove(self, number: int) -> None:
        ids = self.session.scalars(select(Job.id).order_by(Job.id)).all()
        if ids:
            self.session.execute(
                text("DELETE FROM job WHERE id = :id"), {"id": ids[number % len(ids)]}
            )

    def refresh(self) -> None:
        rollups.refresh(self.session)

    def jobs(self) -> list[Job]:
        self.session.expire_all()
        return list(self.session.scalars(select(Job)))


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def histogram(durations: list[int]) -> list[int]:
    counts = [0] * rollups.BUCKETS
    for duration in durations:
        counts[bisect_right(rollups.BOUNDS, duration)] += 1
    return counts


def name_of(job: Job, dimension: str) -> Any:
    return getattr(job, dimension)


def expected_rollups(jobs: list[Job]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """By (dimension, hour, name, status), the slow way."""
    groups: dict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        if job.ended_at is not None:
            hour = job.ended_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            for dimension in DIMENSIONS:
                if name_of(job, dimension) is not None:
                    groups[dimension, hour, name_of(job, dimension), job.status].append(job)
    return {key: sums(group) for key, group in groups.items()}


def sums(jobs: list[Job]) -> tuple[Any, ...]:
    runs = [job.run_ms for job in jobs if job.started_at is not None]
    waits = [job.wait_ms for job in jobs if job.wait_ms is not None]
    starts = [job.started_at for job in jobs if job.started_at is not None]
    return (
        len(jobs),
        len(runs),
        sum(runs),
        min(runs, default=None),
        max(runs, default=None),
        max(starts, default=None),
        histogram(runs),
        len(waits),
        sum(waits),
        histogram(waits),
    )


def kept_rollups(session: Session, span: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        (row.dimension, row.begins_at, row.name, row.status): (
            row.jobs,
            row.runs,
            row.run_ms,
            row.min_run_ms,
            row.max_run_ms,
            row.last_started_at,
            row.run_histogram,
            row.waits,
            row.wait_ms,
            row.wait_histogram,
        )
        for row in session.scalars(select(Rollup).where(Rollup.span == span))
    }


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_rollups_equal_the_jobs_after_any_history(session: Session, steps: list[Any]) -> None:
    history = History(session)
    for step in steps:
        history.do(step)

    history.refresh()

    assert kept_rollups(session, "hour") == expected_rollups(history.jobs())
    assert session.scalars(select(DirtyHour)).all() == []


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, ages=st.tuples(AGES, AGES), is_all=st.booleans())
def test_a_tally_is_right_before_and_after_any_refresh(
    session: Session, steps: list[Any], ages: tuple[float, float], is_all: bool
) -> None:
    """Whatever of the window is rolled up, whatever is dirty: what is counted is what is there."""
    history = History(session)
    for step in steps:
        history.do(step)
    until, since = (NOW - timedelta(seconds=age) for age in sorted(ages))
    window = {"since": None, "until": None} if is_all else {"since": since, "until": until}

    jobs = [
        job
        for job in history.jobs()
        if job.ended_at is None or is_all or since <= job.ended_at < until
    ]
    for dimension in DIMENSIONS:
        told = tallies.count(session, dimension, with_waiting=True, histograms_of=FINAL, **window)
        groups: dict[tuple[str, str], list[Job]] = defaultdict(list)
        for job in jobs:
            if name_of(job, dimension) is not None:
                groups[name_of(job, dimension), job.status].append(job)
        assert {
            (name, status): tally.jobs for name, by in told.items() for status, tally in by.items()
        } == {key: len(group) for key, group in groups.items()}
        for (name, status), group in groups.items():
            if status in FINAL:
                tally = told[name][status]
                assert (
                    tally.jobs,
                    tally.runs,
                    tally.run_ms,
                    tally.min_run_ms,
                    tally.max_run_ms,
                    tally.last_started_at,
                    tally.histogram.tolist(),
                    tally.waits,
                    tally.wait_ms,
                ) == sums(group)[:9]


def test_a_day_is_the_sum_of_its_hours(session: Session) -> None:
    history = History(session)
    for hours in range(30, 90):
        history.end("export", "tiny", "succeeded", hours * 3600.0, hours * 1000, hours)

    history.refresh()

    days = kept_rollups(session, "day")
    whole = [begins_at for _, begins_at, _, _ in days]
    assert len(set(whole)) >= 2
    for (dimension, day, name, status), values in days.items():
        ended = [
            job for job in history.jobs() if job.ended_at and job.ended_at.date() == day.date()
        ]
        assert (name, status) == (name_of(ended[0], dimension), "completed")
        assert values == sums(ended)


def test_a_job_that_begins_anew_leaves_its_day_until_it_is_counted_again(session: Session) -> None:
    history = History(session)
    history.end("export", None, "failed", 40 * 3600.0, 5, 5)
    history.refresh()
    assert session.scalars(select(RollupSpan).where(RollupSpan.span == "day")).all()

    history.do(("restart", 0))
    before = tallies.count(session, "status")
    history.refresh()

    assert before == tallies.count(session, "status") == {}
    assert session.scalars(select(Rollup)).all() == []


def test_history_is_counted_newest_first_and_goes_on_where_it_stopped(session: Session) -> None:
    history = History(session)
    for hours in (2, 50, 100):
        history.end("export", None, "succeeded", hours * 3600.0, 5, 5)
    session.commit()

    first = rollups.refresh(session, seconds=0, is_stopping=lambda: True)
    assert first == 0
    steps = iter((False, True))
    before = this_hour()
    assert rollups.refresh(session, is_stopping=lambda: next(steps, True)) == 1
    [newest] = session.scalars(select(RollupSpan.begins_at))
    assert newest in (before, this_hour())  # the next one may have begun meanwhile

    assert rollups.refresh(session) > 100
    assert kept_rollups(session, "hour") == expected_rollups(history.jobs())


def test_rollups_of_a_dropped_partition_are_forgotten(session: Session) -> None:
    history = History(session)
    history.end("export", None, "succeeded", 70 * 3600.0, 5, 5)
    history.end("export", None, "succeeded", 3600.0, 5, 5)
    session.execute(text("UPDATE job SET created_at = created_at - interval '75 hours'"))
    late = NOW - timedelta(hours=30)
    history.refresh()

    rollups.forget(session, late)
    session.execute(text("TRUNCATE job"))
    session.commit()
    history.refresh()

    assert kept_rollups(session, "hour") == {}
    assert tallies.count(session, "status") == {}


@pytest.mark.parametrize("share", [0.5, 0.95])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(durations=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60))
def test_percentiles_are_within_ten_percent(share: float, durations: list[int]) -> None:
    told = rollups.percentile(np.array(histogram(durations)), share, min(durations), max(durations))

    exact = sorted(durations)[int(np.ceil(share * len(durations) - 1e-9)) - 1] / 1000
    assert told == pytest.approx(exact, rel=0.1)


def test_no_runs_have_no_percentile() -> None:
    assert rollups.percentile(np.zeros(rollups.BUCKETS, dtype=np.int64), 0.5, None, None) is None
