"""openapi.json says what the server does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

API = ("/v1/", "/api/", "/admin/", "/platform/jobs/api/")

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
FUZZ = settings(
    max_examples=12,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_every_route_of_the_api_is_described(app: Flask, client: FlaskClient) -> None:
    described = client.get("/openapi.json").json["paths"]

    undescribed = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(API) and not hasattr(app.view_functions[rule.endpoint], "operation")
    ]
    assert undescribed == []
    assert "/v1/batches/{batch_id}" in described


def test_the_description_needs_no_key(make_client: Any) -> None:
    answer = make_client(None).get("/openapi.json")

    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.0"


def test_two_routes_never_share_an_operation(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").json["paths"]

    names = [each["operationId"] for path in paths.values() for each in path.values()]
    assert sorted(names) == sorted(set(names))


def test_whatever_is_sent_the_answer_is_as_described(app: Flask, api_key: str) -> None:
    schema = schemathesis.openapi.from_wsgi(
        "/openapi.json", app, headers={"Authorization": f"Bearer {api_key}"}
    )
    asked = []
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        if "stream" in operation.path or "poll" in operation.path:
            continue  # they wait; tests/api/test_streams.py reads them
        asked.append(operation.path)
        _ask(operation, api_key, statuses)
    assert len(asked) > 15
    assert statuses[200] > len(asked)
    assert statuses[400] > 0
    assert statuses[401] == 0


def _ask(operation: Any, api_key: str, statuses: Counter[int]) -> None:
    @FUZZ
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.headers["Authorization"] = f"Bearer {api_key}"
        answer = case.call_and_validate(checks=CHECKS)
        statuses[answer.status_code] += 1

    ask()
