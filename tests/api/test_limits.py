"""Refusals at submission, as programs get them: a status, words, and when to come back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.models import Batch, Worker
from app.core.settings import Settings, load_settings
from tests.api.conftest import Upload, error_of
from tests.worker.stack import chat, jsonl

Create = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With room for two jobs, and for files of 1000 bytes in all."""
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    return load_settings(**{**own, "user_queued_jobs": 2, "user_queued_bytes": 1000})


def body(upload: Upload, lines: int = 1) -> dict[str, str]:
    file = upload(jsonl([chat(str(number)) for number in range(lines)]))
    return {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }


def test_one_job_too_many_is_a_429_that_says_when_to_come_back(
    client: FlaskClient, upload: Upload, session: Session
) -> None:
    assert client.post("/v1/batches", json=body(upload)).status_code == 200
    assert client.post("/api/jobs/defer", json={"task": "export"}).status_code == 202

    refused = client.post("/v1/batches", json=body(upload))
    error = error_of(refused, 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_jobs")
    assert "You have 2 jobs waiting, and 2 is the limit: try again in 5 seconds" in error["message"]
    assert refused.headers["Retry-After"] == "5"
    for path, sent in (("/api/jobs/defer", {"task": "export"}), ("/api/events/export", {})):
        assert error_of(client.post(path, json=sent), 429)["code"] == "too_many_jobs"
    session.execute(update(Batch).values(in_progress_at=datetime.now(UTC), status="in_progress"))
    session.commit()
    assert client.post("/v1/batches", json=body(upload)).status_code == 200


def test_a_repeated_request_gets_the_batch_that_was_accepted(
    client: FlaskClient, upload: Upload
) -> None:
    sent, key = body(upload), {"Idempotency-Key": "a"}
    first = client.post("/v1/batches", json=sent, headers=key)
    client.post("/v1/batches", json=body(upload))

    again = client.post("/v1/batches", json=sent, headers=key)
    assert (again.status_code, again.json["id"]) == (200, first.json["id"])


def test_too_many_bytes_are_a_429_or_for_ever_a_413(client: FlaskClient, upload: Upload) -> None:
    assert client.post("/v1/batches", json=body(upload, 5)).status_code == 200

    refused = client.post("/v1/batches", json=body(upload, 5))
    assert error_of(refused, 429)["code"] == "too_many_bytes"
    assert int(refused.headers["Retry-After"]) >= 5
    large = client.post("/v1/batches", json=body(upload, 20))
    assert error_of(large, 413)["param"] == "input_file_id"
    assert "Retry-After" not in large.headers


def test_retrying_the_failed_requests_keeps_to_the_limit(
    client: FlaskClient, create: Create, session: Session
) -> None:
    ended = create()
    session.execute(
        update(Batch)
        .where(Batch.id == ended["id"])
        .values(status="failed", failed_at=datetime.now(UTC))
    )
    session.commit()
    for _ in range(2):
        client.post("/api/jobs/defer", json={"task": "export"})

    refused = client.post(f"/v1/batches/{ended['id']}/retry-failed")
    assert error_of(refused, 429)["code"] == "too_many_jobs"


def test_while_the_gpu_is_too_hot_a_batch_is_a_503(
    client: FlaskClient, upload: Upload, session: Session
) -> None:
    hot = Worker(
        id=uuid4(), kind="worker", name="w", host="h", pid=1, status="idle",
        metrics={"gpu_temperature": 95},
    )  # fmt: skip
    session.add(hot)
    session.commit()

    refused = client.post("/v1/batches", json=body(upload))
    assert error_of(refused, 503)["code"] == "gpu_too_hot"
    assert refused.headers["Retry-After"] == "60"
    hot.metrics = {"gpu_temperature": 40}
    session.commit()
    assert client.post("/v1/batches", json=body(upload)).status_code == 200
