"""POST /api/jobs/defer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import jobs
from app.core.models import Job, WaitingJob
from tests.api.conftest import error_of


def test_a_task_is_deferred_with_its_arguments(client: FlaskClient, session: Session) -> None:
    answer = client.post(
        "/api/jobs/defer", json={"task": "export", "args": {"format": "zip"}, "priority": 3}
    )

    assert answer.status_code == 202
    assert sorted(answer.json) == ["job_id", "status"]
    job = session.scalars(select(Job).where(Job.id == int(answer.json["job_id"]))).one()
    assert (job.task, job.arguments, job.priority) == (
        "export",
        {"what": "jobs", "format": "zip"},
        3,
    )


def test_a_task_for_later_waits_until_it_is_due(client: FlaskClient, session: Session) -> None:
    later = datetime.now(UTC) + timedelta(days=3)

    answer = client.post(
        "/api/jobs/defer", json={"task": "cleanup", "schedule_at": later.isoformat()}
    )

    waiting = session.scalars(select(WaitingJob)).one()
    assert str(waiting.id) == answer.json["job_id"]
    assert waiting.due_at == later


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "task"),
        ({"task": "nothing"}, 404, "task"),
        ({"task": "run_batch", "args": {"batch_id": "b"}}, 404, "task"),
        ({"task": "export", "args": {"colour": "red"}}, 400, "colour"),
        ({"task": "export", "args": {"format": "xml"}}, 400, "format"),
        ({"task": "export", "args": []}, 400, "args"),
        ({"task": "export", "queue": "elsewhere"}, 400, "queue"),
        ({"task": "export", "priority": 10**9}, 400, "priority"),
        ({"task": "export", "schedule_at": "tomorrow"}, 400, "schedule_at"),
        ({"task": "export", "schedule_at": "9999-12-31T23:59:59-14:00"}, 400, "schedule_at"),
        ({"task": "export", "schedule_at": "2030-01-01T00:00:00"}, 400, "schedule_at"),
        ({"task": "export", "depends_on": ["999999"]}, 404, "depends_on"),
        ({"task": "export", "depends_on": ["x"]}, 400, "depends_on.0"),
        ({"task": "export", "depends_on": ["7"] * 101}, 400, "depends_on"),
        ({"task": "export", "timeout_seconds": 0}, 400, "timeout_seconds"),
        ({"task": "export", "timeout_seconds": 10**9}, 400, "timeout_seconds"),
        ({"task": "export", "idempotency_key": ""}, 400, "idempotency_key"),
        ({"task": "export", "idempotency_key": "k" * 256}, 400, "idempotency_key"),
    ],
)
def test_what_is_wrong_is_named(
    client: FlaskClient, body: dict[str, Any], status: int, param: str
) -> None:
    assert error_of(client.post("/api/jobs/defer", json=body), status)["param"] == param


def test_a_plain_user_starts_no_task_of_the_administrator(
    make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    other = make_client(other_key)

    assert other.post("/api/jobs/defer", json={"task": "backup"}).status_code == 403
    assert other.post("/api/jobs/defer", json={"task": "export"}).status_code == 202


def post(client: FlaskClient, key: str | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/api/jobs/defer", json={"task": "export", **body}, headers=headers)


def test_a_job_runs_after_those_it_depends_on(client: FlaskClient, session: Session) -> None:
    first = post(client).json["job_id"]
    after = post(client, depends_on=[first], timeout_seconds=90)

    assert after.status_code == 202
    assert after.json["status"] == "pending"
    shown = client.get(f"/api/jobs/{after.json['job_id']}").json
    assert (shown["status"], shown["message"]) == ("pending", f"Waiting for job {first}")
    job = session.scalars(select(Job).where(Job.id == int(after.json["job_id"]))).one()
    assert job.timeout_seconds == 90

    for job_id in (first, after.json["job_id"]):
        assert client.get(f"/api/jobs/{job_id}/dependencies").json == {
            "nodes": [
                {"job_id": first, "job_type": "export", "status": "pending"},
                {"job_id": after.json["job_id"], "job_type": "export", "status": "pending"},
            ],
            "edges": [{"from": first, "to": after.json["job_id"]}],
            "has_more": False,
        }


def test_a_job_that_can_not_complete_is_no_dependency(
    client: FlaskClient, session: Session
) -> None:
    first = post(client).json["job_id"]
    jobs.cancel_waiting(session, int(first))
    session.commit()
    assert error_of(post(client, depends_on=[first]), 422)["code"] == "dependency_failed"


def test_a_request_that_is_sent_again_makes_no_second_job(client: FlaskClient) -> None:
    first = post(client, key="k", priority=2)
    by_body = post(client, idempotency_key="k", priority=2)
    assert first.status_code == by_body.status_code == 202
    assert first.json == by_body.json

    assert error_of(post(client, key="k"), 409)["code"] == "idempotency_key_reused"
    refused = post(client, key="k", idempotency_key="other", priority=2)
    assert error_of(refused, 400)["param"] == "idempotency_key"


def test_a_request_that_is_sent_again_hears_where_the_job_stands(
    client: FlaskClient, session: Session
) -> None:
    job_id = post(client, key="k").json["job_id"]
    jobs.cancel_waiting(session, int(job_id))
    session.commit()
    assert post(client, key="k").json == {"job_id": job_id, "status": "cancelled"}


def test_the_graph_of_somebody_elses_job_is_not_there(
    client: FlaskClient, make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    job_id = post(client).json["job_id"]
    other = make_client(other_key)
    assert other.get(f"/api/jobs/{job_id}/dependencies").status_code == 404
    assert error_of(post(other, depends_on=[job_id]), 404)["param"] == "depends_on"
