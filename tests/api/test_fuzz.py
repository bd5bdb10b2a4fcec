"""Whatever is sent, the answer is never a fault of ours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.api.conftest import Upload

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LISTS = ["/v1/files", "/v1/batches", "/v1/jobs/history", "/v1/jobs/stats", "/v1/queue"]
LISTS += ["/api/audit", "/api/events", "/api/overview", "/api/failures"]
PARAMETERS = ["limit", "offset", "after", "order", "purpose", "status", "model"]
PARAMETERS += ["start_date", "end_date", "since", "until", "cursor", "actor", "job_type"]
FIELDS = ["input_file_id", "endpoint", "completion_window", "metadata", "priority", "webhook"]
FIELDS += ["output_expires_after", "url", "seconds", "anchor", "events", "max_retries"]

texts = some.text(max_size=40) | some.sampled_from(["asc", "24h", "created_at", "completed", "-1"])
dates = some.datetimes().map(str)
numbers = some.integers().map(str) | some.floats().map(str)
plain = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | texts
values = some.recursive(
    plain,
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.sampled_from(FIELDS) | texts, inner, max_size=5)
    ),
    max_leaves=15,
)


def check(answer: Any) -> None:
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        assert sorted(answer.json["error"]) == ["code", "message", "param", "type"]


@pytest.mark.parametrize("path", LISTS)
def test_no_query_makes_a_fault(client: FlaskClient, path: str) -> None:
    @FUZZ
    @given(some.dictionaries(some.sampled_from(PARAMETERS), texts | numbers | dates, max_size=4))
    def ask(query: dict[str, str]) -> None:
        check(client.get(path, query_string=query))

    ask()


def test_no_body_makes_a_fault(client: FlaskClient, upload: Upload) -> None:
    good = {
        "input_file_id": upload()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }

    @FUZZ
    @given(some.dictionaries(some.sampled_from(FIELDS), values, max_size=4))
    def send_fields(changes: dict[str, Any]) -> None:
        check(client.post("/v1/batches", json={**good, **changes}))

    @FUZZ
    @given(some.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
    def send_bytes(body: bytes) -> None:
        check(client.post("/v1/batches", data=body, content_type="application/json"))

    send_fields()
    send_bytes()


def test_no_path_and_no_header_make_a_fault(client: FlaskClient) -> None:
    headers = some.dictionaries(
        some.sampled_from(
            ["Idempotency-Key", "X-Stainless-Retry-Count", "X-Request-Id", "Range", "If-None-Match"]
        ),
        some.text(some.characters(min_codepoint=32, max_codepoint=255), max_size=30),
        max_size=3,
    )

    @FUZZ
    @given(some.sampled_from(["files", "batches", "models"]), texts, headers)
    def ask(noun: str, name: str, headers: dict[str, str]) -> None:
        path = f"/v1/{noun}/{name}"
        for call in (client.get, client.delete):
            check(call(path, headers=headers, buffered=True))
        check(client.post(f"{path}/cancel", headers=headers))

    ask()


def test_no_form_makes_a_fault(client: FlaskClient) -> None:
    names = some.sampled_from(
        ["purpose", "file", "expires_after[anchor]", "expires_after[seconds]"]
    )

    @FUZZ
    @given(some.dictionaries(names, texts | numbers, max_size=4), texts, some.binary(max_size=80))
    def send_form(form: dict[str, str], name: str, content: bytes) -> None:
        fields: dict[str, Any] = {**form, "file": (io.BytesIO(content), name)}
        check(client.post("/v1/files", data=fields))

    @FUZZ
    @given(some.binary(max_size=200))
    def send_bytes(body: bytes) -> None:
        body = b"--x\r\n" + body + b"\r\n--x--\r\n"
        check(client.post("/v1/files", data=body, content_type="multipart/form-data; boundary=x"))

    send_form()
    send_bytes()


def test_fuzzing_finds_the_way_in(create: Callable[..., dict[str, Any]]) -> None:
    """Else all of the above would only see one refusal."""
    assert create()["status"] == "validating"
