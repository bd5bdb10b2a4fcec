"""What tests of the pages' JSON twins ask."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient


def ask(client: FlaskClient, path: str, **query: object) -> dict[str, Any]:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def refused(client: FlaskClient, path: str, **query: object) -> tuple[int, str]:
    answer = client.get(path, query_string=query)
    return answer.status_code, (answer.json or {})["error"]["param"]
