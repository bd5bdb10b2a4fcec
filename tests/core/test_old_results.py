"""What jobs returned goes when its lifetime is over; the record says so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import retention
from app.core.models import Attempt, Job, JobDependency, RetentionRun
from app.core.settings import Settings

EXPIRED = {"$stoker": "expired"}


def add_job(session: Session, job_id: int, task: str, hours: float, result: Any) -> None:
    """A job that has completed so many hours ago."""
    words = {"id": job_id, "task": task, "hours": hours, "result": json.dumps(result)}
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at, result, result_bytes)"
            " SELECT :id, at, :task, 'q', 'completed', at, CAST(:result AS jsonb), 9"
            " FROM (SELECT now() - make_interval(hours => 1) * :hours AS at) AS t"
        ),
        words,
    )
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, ended_at, outcome,"
            " result) SELECT id, created_at, 1, task, queue, ended_at, 'completed', result"
            " FROM job WHERE id = :id"
        ),
        words,
    )
    session.commit()


def results(session: Session) -> dict[int, Any]:
    session.expire_all()
    return {job.id: job.result for job in session.scalars(select(Job).order_by(Job.id))}


def with_times(settings: Settings, seconds: float, **by_task: float) -> Settings:
    return settings.model_copy(
        update={"result_ttl_seconds": seconds, "task_result_ttl_seconds": by_task}
    )


def test_results_stay_as_long_as_their_jobs_unless_said_otherwise(
    session: Session, settings: Settings
) -> None:
    add_job(session, 1, "t", 1000, {"rows": 1})
    (done,) = retention.run(settings, ["job_result"])
    assert (done.rows_removed, done.days) == (0, settings.job_days)
    assert results(session) == {1: {"rows": 1}}


@pytest.mark.parametrize("chunk", [1, 2000])
def test_a_result_goes_after_the_time_of_its_task_or_else_of_all(
    session: Session, settings: Settings, chunk: int
) -> None:
    for job_id, task, hours in (
        (1, "t", 3),
        (2, "t", 1),
        (3, "long", 3),
        (4, "long", 30),
        (5, "kept", 30),
        (6, "t", 4),
    ):
        add_job(session, job_id, task, hours, [job_id])
    times = with_times(settings, 2 * 3600.0, long=20 * 3600.0, kept=0)

    (dry,) = retention.run(times, ["job_result"], is_dry=True)
    assert dry.rows_removed == 3
    (done,) = retention.run(times, ["job_result"], chunk=chunk)
    assert done.rows_removed == 3
    assert results(session) == {1: EXPIRED, 2: [2], 3: [3], 4: EXPIRED, 5: [5], 6: EXPIRED}
    said = session.scalars(select(Attempt.result).order_by(Attempt.job_id)).all()
    assert said == list(results(session).values())
    bytes_left = session.scalars(select(Job.result_bytes).order_by(Job.id)).all()
    assert bytes_left == [None, 9, 9, None, 9, None]

    (again,) = retention.run(times, ["job_result"])
    assert again.rows_removed == 0
    assert session.scalars(select(RetentionRun.error)).all() == [None, None]


def test_only_a_tasks_results_may_have_a_time(session: Session, settings: Settings) -> None:
    add_job(session, 1, "t", 3, "words")
    add_job(session, 2, "export", 3, "words")
    retention.run(with_times(settings, 0, export=60), ["job_result"])
    assert results(session) == {1: "words", 2: EXPIRED}


def test_a_large_results_file_goes_with_it(session: Session, settings: Settings) -> None:
    settings.results_path.mkdir(parents=True)
    outside = settings.var_path / "1-1.json"
    for path in (settings.results_path / "1-1.json", outside):
        path.write_text("[]")
    add_job(session, 1, "t", 3, {"$stoker": "file", "name": "1-1.json", "bytes": 2})
    add_job(session, 2, "t", 3, {"$stoker": "file", "name": "../1-1.json", "bytes": 2})
    retention.run(with_times(settings, 60), ["job_result"])
    assert list(settings.results_path.iterdir()) == []
    assert outside.exists()
    assert results(session) == {1: EXPIRED, 2: EXPIRED}


def test_what_a_removed_job_depended_on_is_forgotten(session: Session, settings: Settings) -> None:
    add_job(session, 1, "t", 24 * 365, None)
    add_job(session, 2, "t", 1, None)
    session.execute(
        text(
            "INSERT INTO job_dependency (job_id, needs_id, created_at, met_at)"
            " VALUES (1, 9, now() - interval '1 year', now()),"
            " (2, 1, now() - interval '1 year', now())"
        )
    )
    session.commit()
    retention.run(settings, ["job", "job_dependency"])
    assert session.scalars(select(JobDependency.job_id)).all() == [2]
