"""The views on jobs: earlier systems' queries keep working, and read from indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session

from app.core import db as database
from app.core import rollups, schema
from app.core.models import Attempt, Job, Worker

CREATED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
STATUSES = ("pending", "retrying", "running", "completed", "failed", "cancelled")

# As the earlier systems' users have them in their scripts.
RECENT = """
SELECT id, job_type, status, created_at, started_at, completed_at, error_message
FROM background_jobs
WHERE created_at >= NOW() - INTERVAL '24 hours'
ORDER BY created_at DESC
LIMIT 20
"""
BY_TYPE = """
SELECT job_type, COUNT(*) AS total_runs,
       COUNT(*) FILTER (WHERE status = 'completed') AS completed_runs,
       AVG(EXTRACT(EPOCH FROM (completed_at - started_at))) FILTER (WHERE status = 'completed')
FROM background_jobs
WHERE created_at >= NOW() - INTERVAL '24 hours'
GROUP BY job_type
ORDER BY job_type
"""
RUNNING = "SELECT id, claimed_by FROM background_jobs WHERE status = 'running' ORDER BY created_at"
FAILURES = """
SELECT task_id, task_name, error_message, traceback FROM job_executions
WHERE status = 'FAILURE' ORDER BY queued_at DESC LIMIT 50
"""
ONE = "SELECT task_name, status, retry_count FROM job_executions WHERE task_id = '4'"
SLOW = """
SELECT task_name, total_executions, avg_execution_time FROM job_statistics
WHERE avg_execution_time > 60 ORDER BY avg_execution_time DESC
"""


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    schema.upgrade(url)
    engine = create_engine(
        database.sqlalchemy_url(url),
        poolclass=NullPool,
        connect_args=database.connect_args("test"),
    )
    with Session(engine) as session:
        yield session


def add_job(session: Session, id: int, status: str, **values: Any) -> Job:
    created_at = values.setdefault("created_at", CREATED + timedelta(minutes=id))
    if status not in ("pending",):
        values.setdefault("started_at", created_at + timedelta(seconds=10))
        values.setdefault("attempts", 1)
    if status in ("completed", "failed", "cancelled"):
        values.setdefault("run_ms", 90_000)
        values.setdefault("ended_at", created_at + timedelta(seconds=100))
    values = {"task": "export", "queue": "tasks", "arguments": {"n": id}, **values}
    job = Job(id=id, status=status, **values)
    session.add(job)
    session.flush()
    return job


@pytest.fixture
def jobs(session: Session) -> list[Job]:
    """One of each status, with ids from 1."""
    jobs = [add_job(session, id, status) for id, status in enumerate(STATUSES, start=1)]
    jobs[4].error_message, jobs[4].attempts = "it broke", 3
    jobs[2].worker_name = "w1"
    session.flush()
    return jobs


def test_recent_jobs_are_told_in_the_dashboards_words(session: Session, jobs: list[Job]) -> None:
    rows = session.execute(text(RECENT)).all()

    assert [(row.id, row.status) for row in rows] == [
        (6, "cancelled"),
        (5, "failed"),
        (4, "completed"),
        (3, "running"),
        (2, "pending"),
        (1, "pending"),
    ]
    assert rows[1].error_message == "it broke"
    assert rows[2].completed_at - rows[2].started_at == timedelta(seconds=90)


def test_jobs_are_counted_by_type(session: Session, jobs: list[Job]) -> None:
    assert session.execute(text(BY_TYPE)).all() == [("export", 6, 1, 90)]


def test_a_running_job_says_who_claims_it_and_until_when(session: Session, jobs: list[Job]) -> None:
    beat = datetime.now(UTC)
    session.add(
        Worker(
            id="5f1d4ab0-0000-4000-8000-000000000001",
            kind="worker",
            name="w1",
            host="h",
            pid=1,
            status="running",
            last_heartbeat_at=beat,
        )
    )
    session.flush()

    assert session.execute(text(RUNNING)).all() == [(3, "w1")]
    claims = session.execute(text("SELECT id, claim_expires_at FROM background_jobs")).all()
    assert {id: until for id, until in claims if until} == {3: beat + timedelta(seconds=30)}


def test_executions_speak_the_platforms_words(session: Session, jobs: list[Job]) -> None:
    rows = session.execute(text("SELECT task_id, status FROM job_executions ORDER BY id")).all()

    assert [status for _, status in rows] == [
        "PENDING",
        "RETRY",
        "STARTED",
        "SUCCESS",
        "FAILURE",
        "REVOKED",
    ]
    assert session.execute(text(ONE)).all() == [("export", "SUCCESS", 0)]


def test_failures_have_their_traceback(session: Session, jobs: list[Job]) -> None:
    for number in (1, 2, 3):
        session.add(
            Attempt(
                job_id=5,
                job_created_at=jobs[4].created_at,
                number=number,
                task="export",
                queue="tasks",
                ended_at=CREATED,
                outcome="failed",
                traceback=f"traceback {number}",
            )
        )
    session.flush()

    assert session.execute(text(FAILURES)).all() == [(5, "export", "it broke", "traceback 3")]
    row = session.execute(text("SELECT * FROM job_executions WHERE task_id = 5")).one()
    assert (row.retry_count, row.kwargs, row.args, row.execution_time) == (2, {"n": 5}, [], 90.0)


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_statistics_are_exact(session: Session, jobs: list[Job], is_rolled_up: bool) -> None:
    add_job(session, 7, "completed", run_ms=30_000)
    add_job(session, 8, "completed", task="quick", run_ms=1000)
    add_job(session, 9, "cancelled", task="never ran", started_at=None)
    session.commit()
    if is_rolled_up:
        rollups.refresh(session)

    rows = session.execute(text("SELECT * FROM job_statistics ORDER BY task_name")).all()

    assert [row.task_name for row in rows] == ["export", "quick"]
    export = rows[0]
    assert (export.total_executions, export.successful_executions) == (4, 2)
    assert (export.failed_executions, export.success_rate) == (1, pytest.approx(2 / 3))
    assert export.avg_execution_time == 60.0
    assert (export.min_execution_time, export.max_execution_time) == (30.0, 90.0)
    assert not export.is_slow
    assert session.execute(text(SLOW)).all() == []


@pytest.fixture
def many(session: Session, jobs: list[Job]) -> None:
    """Five thousand more jobs, of which fifty failed."""
    session.execute(
        text(
            "INSERT INTO job (id, task, queue, status, created_at, started_at, ended_at)"
            " SELECT n, 'export', 'tasks', CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'completed' END,"
            " at, at, at FROM generate_series(1001, 6000) AS n, LATERAL ("
            "  SELECT CAST(:at AS timestamptz) + n * interval '1 s' AS at) AS moment"
        ),
        {"at": CREATED},
    )
    session.commit()
    session.execute(text("ANALYZE job"))


@pytest.mark.parametrize(
    "query",
    [
        RECENT,
        RUNNING,
        FAILURES,
        ONE,
        "SELECT * FROM background_jobs ORDER BY created_at DESC LIMIT 50",
        "SELECT * FROM job_executions ORDER BY queued_at DESC LIMIT 50",
        "SELECT count(*) FROM job_executions WHERE status = 'STARTED'",
    ],
)
def test_few_rows_are_read_for_few_answers(session: Session, many: None, query: str) -> None:
    lines = "\n".join(session.scalars(text("EXPLAIN (ANALYZE, TIMING OFF) " + query)))

    read = [float(rows) for rows in re.findall(r"actual rows=([\d.]+)", lines)]
    read += [float(rows) for rows in re.findall(r"Rows Removed by Filter: (\d+)", lines)]
    assert max(read) < 200, lines


def test_a_table_of_an_earlier_system_is_left_alone(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE background_jobs (id int)")

        schema.upgrade(url)

        kinds = connection.execute(
            "SELECT relname, relkind FROM pg_class"
            " WHERE relname IN ('background_jobs', 'job_executions') ORDER BY 1"
        ).fetchall()
    assert kinds == [("background_jobs", "r"), ("job_executions", "v")]
