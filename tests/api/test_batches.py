"""/v1/batches, call by call; a batch's way through the worker is told in test_sdk.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import batches
from app.core.models import Request, Result
from tests.api.conftest import Upload, error_of

Create = Callable[..., dict[str, Any]]

FIELDS = {
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "usage",
    "metadata",
    "priority",
    "queue_position",
    "estimated_start_time",
    "estimated_completion_time",
    "waiting_reason",
}


def test_a_new_batch_has_every_field_with_nulls_for_what_is_not_yet(create: Create) -> None:
    batch = create(metadata={"run": "7"}, priority=1)
    assert set(batch) == FIELDS
    assert batch["object"] == "batch"
    assert batch["status"] == "validating"
    assert batch["metadata"] == {"run": "7"}
    assert batch["priority"] == 1
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    assert batch["expires_at"] - batch["created_at"] == 86400
    assert type(batch["created_at"]) is int
    assert abs(batch["created_at"] - time.time()) < 60
    for field in ("errors", "output_file_id", "error_file_id", "in_progress_at", "completed_at"):
        assert batch[field] is None
    assert batch["queue_position"] == 1
    assert type(batch["estimated_start_time"]) is int
    assert type(batch["estimated_completion_time"]) is int


def test_places_in_the_queue_respect_priority(client: FlaskClient, create: Create) -> None:
    ids = [create(priority=priority)["id"] for priority in (0, -1, 1, 0)]
    places = [client.get(f"/v1/batches/{batch}").json["queue_position"] for batch in ids]
    assert places == [2, 4, 1, 3]
    listed = {batch["id"]: batch for batch in client.get("/v1/batches").json["data"]}
    assert [listed[batch]["queue_position"] for batch in ids] == places


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": 5}, "input_file_id"),
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": ""}, "input_file_id"),
        ({"endpoint": "/v1/nonsense"}, "endpoint"),
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "169h"}, "completion_window"),
        ({"completion_window": "٢٤h"}, "completion_window"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"priority": 2}, "priority"),
        ({"priority": -2}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": 0.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "seconds"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "anchor"),
        ({"output_expires_after": {"seconds": 3600}}, "anchor"),
        ({"webhook": {"url": "ftp://example.org/"}}, "webhook.url"),
        ({"webhook": {"url": "javascript:alert(1)"}}, "webhook.url"),
        ({"webhook": {"url": "http://"}}, "webhook.url"),
        ({"webhook": {"url": "https://u:p@example.org/"}}, "webhook.url"),
        ({"webhook": {"url": "https://example.org/\r\nX: y"}}, "webhook.url"),
        ({"webhook": {"url": "http://[::1/"}}, "webhook.url"),
        ({"webhook": {}}, "webhook.url"),
        ({"webhook": {"url": "https://example.org/", "events": ["nonsense"]}}, "webhook.events"),
        ({"webhook": {"url": "https://example.org/", "events": []}}, "webhook.events"),
        ({"webhook": {"url": "https://example.org/", "secret": "whsec_"}}, "webhook.secret"),
        ({"webhook": {"url": "https://example.org/", "secret": "whsec_?"}}, "webhook.secret"),
        ({"webhook": {"url": "https://example.org/", "max_retries": 11}}, "webhook.max_retries"),
        ({"webhook": {"url": "https://example.org/", "timeout": 4}}, "webhook.timeout"),
        ({"prioritty": 1}, "prioritty"),
    ],
)
def test_a_body_that_is_not_right_is_refused_by_name(
    client: FlaskClient, upload: Upload, session: Session, change: dict[str, Any], param: str
) -> None:
    body = {
        "input_file_id": upload()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    error = error_of(client.post("/v1/batches", json={**body, **change}), 400)
    assert error["param"] is not None
    assert param in error["param"]
    assert error["type"] == "invalid_request_error"
    assert session.execute(text("SELECT count(*) FROM batch")).scalar() == 0
    assert session.execute(text("SELECT count(*) FROM procrastinate_jobs")).scalar() == 0


@pytest.mark.parametrize("field", ["input_file_id", "endpoint", "completion_window"])
def test_a_missing_field_is_named(client: FlaskClient, field: str) -> None:
    body = {"input_file_id": "file-x", "endpoint": "/v1/completions", "completion_window": "24h"}
    del body[field]
    error = error_of(client.post("/v1/batches", json=body), 400)
    assert error["param"] == field
    assert error["message"] == f"Missing required parameter: '{field}'."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"input_file_id":"\\ud800"}',
        b'{"input_file_id":"\\u0000","endpoint":"/v1/completions","completion_window":"24h"}',
        b"[" * 100_000,
        b'{"metadata":' * 5000,
        b"1" * 10_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, body: bytes) -> None:
    error_of(client.post("/v1/batches", data=body, content_type="application/json"), 400)


def test_a_large_body_is_refused_before_it_is_read(client: FlaskClient) -> None:
    error_of(client.post("/v1/batches", data=b" " * 2_000_000), 413)


def test_an_endpoint_that_no_model_serves_is_named(
    client: FlaskClient, create: Create, stack: Any
) -> None:
    models = stack.settings.models_path
    models.write_text(models.read_text() + 'endpoints = ["/v1/chat/completions"]\n')
    create()
    body = {"input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    error = error_of(client.post("/v1/batches", json=body), 400)
    assert error["param"] == "endpoint"
    assert "/v1/embeddings" in error["message"]


def test_an_unknown_file_or_one_for_something_else_is_refused(
    client: FlaskClient, upload: Upload
) -> None:
    body = {
        "input_file_id": "file-none",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    assert error_of(client.post("/v1/batches", json=body), 404)["param"] == "input_file_id"
    body["input_file_id"] = upload(purpose="user_data")["id"]
    assert error_of(client.post("/v1/batches", json=body), 400)["param"] == "input_file_id"


def test_a_retried_post_makes_one_batch(client: FlaskClient, upload: Upload) -> None:
    body = {
        "input_file_id": upload()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    first = client.post("/v1/batches", json=body).json
    again = client.post("/v1/batches", json=body, headers={"X-Stainless-Retry-Count": "1"}).json
    assert again["id"] == first["id"]
    other = client.post("/v1/batches", json=body, headers={"X-Stainless-Retry-Count": "0"}).json
    assert other["id"] != first["id"]


def test_an_idempotency_key_makes_one_batch(client: FlaskClient, upload: Upload) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {
        "input_file_id": upload()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    first = client.post("/v1/batches", json=body, headers=headers).json
    assert client.post("/v1/batches", json=body, headers=headers).json["id"] == first["id"]
    answer = client.post("/v1/batches", json={**body, "priority": 1}, headers=headers)
    assert error_of(answer, 409)["param"] == "Idempotency-Key"
    assert answer.headers["x-should-retry"] == "false"
    for key in ("", "x" * 256):
        error_of(client.post("/v1/batches", json=body, headers={"Idempotency-Key": key}), 400)


def test_webhook_and_output_expiry_are_kept(create: Create, session: Session) -> None:
    webhook = {"url": "https://example.org/hook", "secret": "s", "events": ["progress"]}
    create(webhook=webhook, output_expires_after={"anchor": "created_at", "seconds": 7200})
    row = session.execute(
        text("SELECT webhook, output_expires_after_seconds AS s FROM batch")
    ).one()
    assert row.webhook == {**webhook, "max_retries": 3, "timeout": 30}
    assert row.s == 7200


def test_batches_are_listed_newest_first_and_walked_by_cursor(
    client: FlaskClient, create: Create, session: Session
) -> None:
    file_id = create()["input_file_id"]
    ids = [create(input_file_id=file_id)["id"] for _ in range(4)]
    session.execute(text("UPDATE batch SET created_at = now()"))
    session.commit()
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/v1/batches", query_string=query).json
        assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
        seen += [batch["id"] for batch in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert seen[:4] == ids[::-1]
    assert len(seen) == len(set(seen)) == 5
    assert error_of(client.get("/v1/batches?after=batch_none"), 404)["code"]


def test_a_cancelled_batch_says_so_and_a_final_one_refuses(
    client: FlaskClient, create: Create, session: Session
) -> None:
    batch = create()
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json["status"] == "cancelling"
    assert type(answer.json["cancelling_at"]) is int
    assert client.post(f"/v1/batches/{batch['id']}/cancel").status_code == 200
    session.execute(text("UPDATE batch SET status = 'cancelled', cancelled_at = now()"))
    session.commit()
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    error_of(answer, 409)
    assert answer.headers["x-should-retry"] == "false"


def test_errors_of_a_failed_batch_have_line_and_param(
    client: FlaskClient, create: Create, session: Session
) -> None:
    batch = create()
    fault = {"code": "invalid_json_line", "line": 2, "message": "No.", "param": None}
    session.execute(
        text(
            "UPDATE batch SET status = 'failed', failed_at = now(), errors = CAST(:errors AS jsonb)"
        ),
        {"errors": json.dumps([fault])},
    )
    session.commit()
    batch = client.get(f"/v1/batches/{batch['id']}").json
    assert batch["errors"] == {"object": "list", "data": [fault]}
    assert batch["queue_position"] is None
    assert batch["estimated_start_time"] is None


@pytest.fixture
def failures(create: Create, session: Session) -> str:
    """The id of a batch of ten requests of which every second one failed."""
    batch = batches.get(session, create()["id"], None)
    for line in range(1, 11):
        request = Request(
            batch_number=batch.number,
            line=line,
            custom_id=f"r{line}",
            position=0,
            length=1,
            max_tokens=1,
            prefix_key=UUID(int=0),
        )
        result = Result(
            batch_number=batch.number,
            line=line,
            id=f"batch_req_{line}",
            is_success=line % 2 == 1,
            status_code=200 if line % 2 else 400,
            body=json.dumps({"error": {"message": f"No {line}.", "type": "bad"}}),
            last_tried_at=batch.created_at,
        )
        session.add_all([request, result])
    session.commit()
    return batch.id


def test_failed_requests_come_in_pages(client: FlaskClient, failures: str) -> None:
    path = f"/v1/batches/{failures}/failed"
    whole = client.get(path).json
    assert not whole["has_more"]
    assert [each["request_index"] for each in whole["failed_requests"]] == [1, 3, 5, 7, 9]
    assert whole["failed_requests"][0]["error_message"] == "No 2."
    first = client.get(f"{path}?limit=3").json
    assert first["has_more"]
    after = first["failed_requests"][-1]["request_index"]
    rest = client.get(f"{path}?limit=3&after={after}").json
    assert not rest["has_more"]
    assert first["failed_requests"] + rest["failed_requests"] == whole["failed_requests"]
    assert client.get(f"{path}?after=9").json["failed_requests"] == []
    assert client.get(f"{path}?after=2147483646&limit=99999").json["failed_requests"] == []


@pytest.mark.parametrize("after", ["-1", "x", "2147483647", "99999999999999999999"])
def test_an_after_that_is_no_place_in_a_file_is_named(
    client: FlaskClient, failures: str, after: str
) -> None:
    error = error_of(client.get(f"/v1/batches/{failures}/failed?after={after}"), 400)
    assert error["param"] == "after"


def test_somebody_elses_batches_are_absent(
    make_client: Any, other_key: str, create: Create, client: FlaskClient
) -> None:
    batch = create()["id"]
    kim = make_client(other_key)
    assert kim.get("/v1/batches").json["data"] == []
    assert kim.get("/v1/jobs/history").json["total"] == 0
    assert kim.get("/v1/jobs/stats").json["total_jobs"] == 0
    for path in ("", "/results", "/failed", "/logs"):
        error_of(kim.get(f"/v1/batches/{batch}{path}"), 404)
    for path in ("/cancel", "/retry-failed"):
        error_of(kim.post(f"/v1/batches/{batch}{path}"), 404)
    assert client.get(f"/v1/batches/{batch}").json["status"] == "validating"


def test_an_unknown_batch_is_absent_everywhere(client: FlaskClient) -> None:
    for path in ("", "/results", "/failed", "/logs"):
        error_of(client.get(f"/v1/batches/batch_none{path}"), 404)
    for path in ("/cancel", "/retry-failed"):
        error_of(client.post(f"/v1/batches/batch_none{path}"), 404)
