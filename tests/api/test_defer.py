"""POST /api/jobs/defer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

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
        ({"task": "export", "depends_on": ["1"]}, 400, "depends_on"),
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
