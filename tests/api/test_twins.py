"""What the Overview, the failures and the incidents show, for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import incidents, keys
from app.core.models import User
from tests.pages import record_seed

MakeClient = Callable[[str | None], FlaskClient]


def ask(client: FlaskClient, path: str, **query: object) -> dict[str, Any]:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


@pytest.fixture
def ann(session: Session, make_client: MakeClient) -> FlaskClient:
    """The program of a user who is no operator."""
    user = User(name="ann", role="user")
    session.add(user)
    session.flush()
    _, plain = keys.create(session, user, "own")
    session.commit()
    return make_client(plain)


def test_the_overview_counts_by_steps_what_ended_and_what_is_open(
    session: Session, client: FlaskClient
) -> None:
    record_seed.add_job(session, run_seconds=10)
    record_seed.add_job(session, run_seconds=30)
    record_seed.add_job(session, "failed", task="import")
    record_seed.add_job(session, "pending", minutes=7)
    record_seed.add_job(session, "running")
    found = ask(client, "/api/overview")
    assert (found["completed"], found["failed"], found["cancelled"]) == (2, 1, 0)
    assert found["success_rate"] == pytest.approx(2 / 3)
    assert found["average_run_seconds"] == pytest.approx(20)
    steps = found["steps"]
    assert sum(step["completed"] for step in steps) == 2
    begins = [datetime.fromisoformat(step["begins_at"]) for step in steps]
    assert {(b - a).total_seconds() for a, b in pairwise(begins)} == {found["step_seconds"]}
    assert (found["open"]["running"], found["open"]["waiting"]) == (1, 1)
    assert found["open"]["oldest_waiting_since"] is not None
    assert ask(client, "/api/overview", job_type="import")["failed"] == 1
    assert ask(client, "/api/overview", job_type="import")["completed"] == 0


def test_failures_are_grouped_by_what_went_wrong(session: Session, client: FlaskClient) -> None:
    for row in (17, 18):
        record_seed.add_job(
            session, "failed", error_type="ValueError", error_message=f"row {row} is empty"
        )
    record_seed.add_job(session, "failed", error_type="KeyError", error_message="'x'")
    found = ask(client, "/api/failures")
    assert [(each["error_type"], each["jobs"]) for each in found["groups"]] == [
        ("ValueError", 2),
        ("KeyError", 1),
    ]
    assert found["jobs"] == 3
    assert all(sum(each["counts"]) == each["jobs"] for each in found["groups"])
    assert found["looked_back_to"] is None


def test_a_user_is_told_of_its_own_jobs_only(
    session: Session, client: FlaskClient, ann: FlaskClient
) -> None:
    record_seed.add_job(session, "failed", owner_name="ann")
    record_seed.add_job(session, "failed", owner_name="bob")
    for path, name in (("/api/overview", "failed"), ("/api/failures", "jobs")):
        assert ask(ann, path)[name] == 1
        assert ask(client, path)[name] == 2


@pytest.mark.parametrize("path", ["/api/overview", "/api/failures"])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"since": "soon"}, "since"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, "since"),
        ({"since": "2020-01-01", "until": "2026-01-01"}, "since"),
        ({"job_type": "x" * 300}, "job_type"),
        ({"job_type": "\x00"}, "job_type"),
    ],
)
def test_what_cannot_be_read_is_named(
    client: FlaskClient, path: str, query: dict[str, str], param: str
) -> None:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 400
    assert (answer.json or {})["error"]["param"] == param


def add_incident(session: Session, number: int, **fields: Any) -> int:
    values: dict[str, Any] = {
        "source": "failure",
        "risk_level": "low",
        "fingerprint": f"f{number}",
        "text": f"incident {number}",
        "seen_at": datetime.now(UTC) - timedelta(minutes=10 - number),
    }
    found = incidents.report(session, **values | fields)
    session.commit()
    return found


def test_incidents_are_listed_filtered_and_paged(session: Session, client: FlaskClient) -> None:
    ids = [add_incident(session, number) for number in range(5)]
    slow = add_incident(session, 5, source="slow", risk_level="high", job_id=7)
    incidents.review(session, ids[0], "ann")
    session.commit()

    def listed(**query: object) -> list[str]:
        return [each["id"] for each in ask(client, "/api/events", **query)["events"]]

    everything = listed()
    assert sorted(everything, key=int) == [str(each) for each in [*ids, slow]]
    assert listed(source="slow") == [str(slow)]
    assert listed(risk_level="high") == [str(slow)]
    assert listed(reviewed="true") == [str(ids[0])]
    assert len(listed(reviewed="false")) == 5
    assert listed(since="2999-01-01") == []
    first = ask(client, "/api/events", limit=4)
    second = ask(client, "/api/events", limit=4, cursor=first["next_cursor"])
    assert [each["id"] for each in first["events"] + second["events"]] == everything
    assert (first["has_more"], second["has_more"]) == (True, False)
    event = next(each for each in first["events"] + second["events"] if each["id"] == str(slow))
    assert (event["job_id"], event["reviewed_by"]) == ("7", None)


def test_incidents_are_for_operators(client: FlaskClient, ann: FlaskClient) -> None:
    assert ann.get("/api/events").status_code == 403
    assert client.get("/api/events?reviewed=perhaps").status_code == 400
    assert client.get("/api/events?cursor=x").status_code == 400


def test_an_incident_is_read_with_its_details_and_reviewed_once(
    session: Session, client: FlaskClient, ann: FlaskClient
) -> None:
    number = add_incident(session, 1, job_id=7, details={"task": "export"})
    path = f"/api/events/{number}"
    found = ask(client, path)
    assert (found["id"], found["job_id"], found["details"]) == (
        str(number),
        "7",
        {"task": "export"},
    )
    assert client.post(f"{path}/review").json["reviewed_by"]  # type: ignore[index]
    again = client.post(f"{path}/review")
    assert (again.status_code, (again.json or {})["error"]["type"]) == (409, "conflict_error")
    assert ask(client, path)["reviewed_at"] is not None
    for absent in ("/api/events/999", f"/api/events/{10**30}", "/api/events/x"):
        assert client.get(absent).status_code == 404
    assert (ann.get(path).status_code, ann.post(f"{path}/review").status_code) == (403, 403)
