"""GET /metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core import jobs
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


def test_the_figures_are_not_everybodys(
    make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    assert make_client(other_key).get("/metrics").status_code == 403
    assert make_client(None).get("/metrics").status_code == 401
