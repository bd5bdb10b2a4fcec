"""/api/alerts: rules, silences, tests and the history, for operators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import alerts
from app.core.settings import Settings
from tests.api.conftest import error_of

BODY = {"name": "late", "kind": "queue_age", "targets": ["ops@example.org"], "threshold": 60}


def make(client: FlaskClient, **changes: Any) -> Any:
    answer = client.post("/api/alerts", json={**BODY, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_rule_is_made_changed_and_deleted(client: FlaskClient) -> None:
    made = make(client, queue="q")
    assert (made["unit"], made["cooldown_seconds"], made["is_enabled"]) == ("seconds", 900, True)
    assert (made["is_open"], made["created_by"].partition(" ")[0]) == (False, "admin")
    path = f"/api/alerts/{made['id']}"
    changed = client.patch(path, json={"threshold": 90, "queue": None}).json
    assert (changed["threshold"], changed["queue"], changed["name"]) == (90, None, "late")
    assert client.get(path).json == changed
    assert client.get("/api/alerts").json == {"rules": [changed], "count": 1}
    assert client.delete(path).json == {"id": made["id"], "deleted": True}
    error_of(client.get(path), 404)


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"kind": "sunshine"}, 400, "kind"),
        ({"targets": []}, 400, "targets"),
        ({"targets": ["nobody"]}, 422, "targets"),
        ({"threshold": -1}, 400, "threshold"),
        ({"threshold": "NaN"}, 400, "threshold"),
        ({"queue": "q", "task": "t"}, 422, "queue"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_what_is_unfit_is_named(
    client: FlaskClient, changes: dict[str, Any], status: int, param: str
) -> None:
    answer = client.post("/api/alerts", json={**BODY, **changes})
    assert error_of(answer, status)["param"] == param


def test_two_rules_of_one_name_are_a_409(client: FlaskClient) -> None:
    make(client)
    error_of(client.post("/api/alerts", json=BODY), 409)


def test_rules_are_for_operators(
    make_client: Callable[[str], FlaskClient], other_key: str, client: FlaskClient
) -> None:
    kim = make_client(other_key)
    rule = make(client)
    error_of(kim.get("/api/alerts"), 403)
    error_of(kim.post(f"/api/alerts/{rule['id']}/test"), 403)


def test_a_silence_says_until_when_who_and_why(client: FlaskClient) -> None:
    path = f"/api/alerts/{make(client)['id']}/silence"
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    silenced = client.post(path, json={"until": until.isoformat(), "reason": "moving"}).json
    assert datetime.fromisoformat(silenced["silenced_until"]) == until
    assert silenced["silenced_by"].startswith("admin")
    assert silenced["silence_reason"] == "moving"
    past = {"until": "2020-01-01T00:00:00Z", "reason": "late"}
    assert error_of(client.post(path, json=past), 422)["param"] == "until"
    naive = {"until": "2050-01-01T00:00:00", "reason": "where?"}
    assert error_of(client.post(path, json=naive), 400)["param"] == "until"
    assert client.delete(path).json["silenced_until"] is None


def test_the_history_says_what_since_when_the_figure_and_the_limit(
    client: FlaskClient, session: Session, settings: Settings
) -> None:
    rule = make(client)
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue)"
            " VALUES (7, now() - interval '1 hour', 'mail', 'q')"
        )
    )
    session.commit()
    assert alerts.evaluate(session, settings) == 1
    (alert,) = client.get(f"/api/alerts/history?rule_id={rule['id']}").json["alerts"]
    assert (alert["rule"], alert["threshold"], alert["job_id"]) == ("late", 60, "7")
    assert alert["figure"] == pytest.approx(3600, abs=600)
    assert (alert["resolved_at"], alert["told_at"] is not None) == (None, True)
    shown = client.get("/api/alerts").json["rules"][0]
    assert (shown["is_open"], shown["figure"]) == (True, alert["figure"])
    assert client.get("/api/alerts/history?rule_id=99").json["alerts"] == []


def test_a_test_without_a_housekeeper_is_a_503(client: FlaskClient) -> None:
    answer = client.post(f"/api/alerts/{make(client)['id']}/test")
    assert "housekeeper" in error_of(answer, 503)["message"]
