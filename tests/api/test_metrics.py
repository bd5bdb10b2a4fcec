"""GET /metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.core import ended_jobs, jobs
from app.core.models import Job
from app.core.workers import Pulse, beat

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(client: FlaskClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_prometheus_reads_what_waits_and_who_works(client: FlaskClient, session: Session) -> None:
    for _ in range(3):
        jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    beat(
        session,
        Pulse(
            id=uuid4(),
            kind="worker",
            name="worker-1",
            running_job_ids=[7],
            metrics={"tokens_per_second": 12.5},
        ),
    )

    found = scrape(client)

    assert found["stoker_jobs", ("pending",)] == 3
    assert found["stoker_queue_jobs", ("pending", "tasks")] == 3
    assert found["stoker_oldest_pending_job_age_seconds", ()] >= 0
    assert found["stoker_worker_alive", ("worker", "worker-1")] == 1
    assert found["stoker_worker_running_jobs", ("worker", "worker-1")] == 1
    assert found["stoker_worker_tokens_per_second", ("worker", "worker-1")] == 12.5


def test_prometheus_reads_how_long_the_oldest_job_of_each_queue_waits(
    client: FlaskClient, session: Session
) -> None:
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    session.execute(update(Job).where(Job.id == job_id).values(created_at=hour_ago))
    session.commit()
    age = scrape(client)["stoker_queue_oldest_pending_job_age_seconds", ("tasks",)]
    assert 3600 <= age < 7200


def test_an_empty_server_can_be_scraped(client: FlaskClient) -> None:
    assert scrape(client)["stoker_open_batches", ()] == 0


def end(session: Session, count: int = 1, minutes_ago: float = 10, **fields: object) -> None:
    """Jobs that ended so long ago."""
    values = {
        "task": "export",
        "queue": "tasks",
        "status": "completed",
        "run_ms": 700,
        "wait_ms": 40,
    }
    session.execute(
        text(
            "INSERT INTO job (id, task, queue, status, created_at, started_at, ended_at, run_ms, wait_ms)"
            " SELECT nextval('procrastinate_jobs_id_seq'), :task, :queue, :status, :at, :started_at, :at,"
            " :run_ms, :wait_ms FROM generate_series(1, :count)"
        ),
        {
            "at": (at := datetime.now(UTC) - timedelta(minutes=minutes_ago)),
            "started_at": at,
            "count": count,
            **values,
            **fields,
        },
    )
    session.commit()


def count_ended(session: Session) -> None:
    ended_jobs.count(session)
    session.commit()


def test_waits_and_runs_are_histograms_that_add_up(client: FlaskClient, session: Session) -> None:
    end(session, 3)
    end(session, 2, run_ms=30_000, wait_ms=None, status="failed")
    end(session, 1, run_ms=30_001, wait_ms=10**9)
    end(session, 1, run_ms=0, started_at=None, wait_ms=None, status="cancelled")
    count_ended(session)
    families = {
        family.name: family
        for family in text_string_to_metric_families(client.get("/metrics").text)
    }
    assert families["stoker_job_run_seconds"].type == "histogram"
    assert families["stoker_jobs_ended"].type == "counter"
    for name, total, seconds in (
        ("stoker_job_run_seconds", 6, 3 * 0.7 + 2 * 30 + 30.001),
        ("stoker_job_wait_seconds", 4, 3 * 0.04 + 10**6),
    ):
        samples = families[name].samples
        buckets = [each for each in samples if each.name == f"{name}_bucket"]
        assert [float(each.labels["le"]) for each in buckets] == [
            *ended_jobs.BOUNDS_SECONDS,
            float("inf"),
        ]
        values = [each.value for each in buckets]
        assert values == sorted(values)
        (count,) = (each.value for each in samples if each.name == f"{name}_count")
        (sum_,) = (each.value for each in samples if each.name == f"{name}_sum")
        assert values[-1] == count == total
        assert sum_ == pytest.approx(seconds)
    found = scrape(client)
    assert found["stoker_job_run_seconds_bucket", ("0.5", "export", "tasks")] == 0
    assert found["stoker_job_run_seconds_bucket", ("1.0", "export", "tasks")] == 3
    # A bound is in its bucket.
    assert found["stoker_job_run_seconds_bucket", ("30.0", "export", "tasks")] == 5
    assert found["stoker_job_wait_seconds_bucket", ("86400.0", "export", "tasks")] == 3
    assert found["stoker_jobs_ended_total", ("export", "failed", "tasks")] == 2


def test_counts_of_ended_jobs_never_shrink_and_count_each_end_once(
    client: FlaskClient, session: Session
) -> None:
    name = ("stoker_jobs_ended_total", ("completed", "export", "tasks"))
    end(session, 5)
    count_ended(session)
    count_ended(session)
    assert scrape(client)[name] == 5
    session.execute(text("DELETE FROM job"))
    session.commit()
    count_ended(session)
    assert scrape(client)[name] == 5


def test_names_beyond_the_most_pairs_are_others(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_jobs, "MOST_PAIRS", 2)
    for number in range(5):
        end(session, 1, task=f"task-{number}")
    count_ended(session)
    found = scrape(client)
    ended = {
        labels: value
        for (name, labels), value in found.items()
        if name == "stoker_jobs_ended_total"
    }
    assert ended == {
        ("completed", "task-0", "tasks"): 1,
        ("completed", "task-1", "tasks"): 1,
        ("completed", "other", "other"): 3,
    }


def test_hostile_names_do_not_break_the_format(client: FlaskClient, session: Session) -> None:
    end(session, 1, task='a"b\\c\nd')
    count_ended(session)
    assert scrape(client)["stoker_jobs_ended_total", ('a"b\\c\nd', "completed", "tasks")] == 1


def test_the_figures_are_not_everybodys(
    make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    assert make_client(other_key).get("/metrics").status_code == 403
    assert make_client(None).get("/metrics").status_code == 401
