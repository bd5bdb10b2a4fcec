"""/api/schedules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import schedule_firings
from app.core.models import Job
from tests.api.conftest import error_of

WEEKDAYS = {"kind": "cron", "cron": "30 7 * * 1-5", "timezone": "Europe/Berlin"}


def body(**said: Any) -> dict[str, Any]:
    return {"name": "report", "task": "export", "args": {"format": "zip"}, **said}


@pytest.fixture
def create(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    def create(**said: Any) -> dict[str, Any]:
        answer = client.post("/api/schedules", json=body(**{"trigger": WEEKDAYS, **said}))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json
        return made

    return create


def test_a_schedule_says_in_words_and_times_when_it_runs(
    client: FlaskClient, create: Callable[..., dict[str, Any]]
) -> None:
    made = create(jitter_seconds=30)

    assert made["text"] == "every weekday at 07:30 Europe/Berlin"
    assert (made["status"], made["owner"], made["trigger"]) == ("active", "admin", WEEKDAYS)
    assert (made["missed_policy"], made["missed_limit"]) == ("one", 10)
    assert (made["overlap_policy"], made["jitter_seconds"]) == ("skip", 30)
    runs = [datetime.fromisoformat(run) for run in made["next_runs"]]
    assert len(runs) == 5
    assert runs == sorted(runs)
    assert {run.weekday() for run in runs} == {0, 1, 2, 3, 4}
    assert (made["pause"], made["last_firing"]) == (None, None)
    assert client.get(f"/api/schedules/{made['id']}").json == made
    listed = client.get("/api/schedules").json
    assert listed == {"schedules": [made], "count": 1, "periodic_tasks": []}


def test_a_trigger_can_be_tried_before_it_is_kept(client: FlaskClient) -> None:
    answer = client.post(
        "/api/schedules/preview", json={"trigger": {"kind": "cron", "cron": "0 0 29 2 *"}}
    )
    assert answer.status_code == 200
    assert answer.json["text"] == "on the 29th of February at 00:00 UTC"
    assert [run[4:10] for run in answer.json["next_runs"]] == ["-02-29"] * 5
    assert client.get("/api/schedules").json["count"] == 0


def test_a_schedule_is_changed_paused_resumed_run_and_removed(
    client: FlaskClient, create: Callable[..., dict[str, Any]], session: Session
) -> None:
    path = f"/api/schedules/{create()['id']}"

    changed = client.patch(path, json={"trigger": {"kind": "interval", "seconds": 5400}})
    assert changed.status_code == 200
    assert changed.json["text"].startswith("every 90 minutes, from ")
    assert changed.json["args"] == {"format": "zip"}

    paused = client.post(f"{path}/pause", json={"reason": "the disk is full"}).json
    assert (paused["status"], paused["next_runs"]) == ("paused", [])
    assert paused["pause"]["reason"] == "the disk is full"
    assert paused["pause"]["by"].startswith("admin")
    again = error_of(client.post(f"{path}/pause", json={"reason": "x"}), 409)
    assert again["code"] == "already_paused"
    assert client.delete(f"{path}/pause").json["status"] == "active"
    assert error_of(client.delete(f"{path}/pause"), 409)["code"] == "not_paused"

    ran = client.post(f"{path}/run")
    assert ran.status_code == 202
    job = session.scalars(select(Job).where(Job.id == int(ran.json["job_id"]))).one()
    assert (job.task, job.owner_name) == ("export", "admin")
    assert "has not ended" in error_of(client.post(f"{path}/run"), 409)["message"]
    last = client.get(path).json["last_firing"]
    assert (last["job_id"], last["job_status"]) == (ran.json["job_id"], "pending")
    assert last["asked_by"].startswith("admin")

    assert client.delete(path).status_code == 204
    error_of(client.get(path), 404)


def test_the_history_has_every_planned_time_in_pages(
    client: FlaskClient, create: Callable[..., dict[str, Any]], session: Session
) -> None:
    made = create(trigger={"kind": "interval", "seconds": 60})
    first = datetime.fromisoformat(made["next_runs"][0])
    for n in range(3):
        schedule_firings.fire(session, int(made["id"]), first + timedelta(seconds=60 * n))
    session.commit()
    path = f"/api/schedules/{made['id']}/history"

    page = client.get(path, query_string={"limit": 2}).json
    assert [firing["reason"] is None for firing in page["firings"]] == [False, False]
    assert "has not ended" in page["firings"][0]["reason"]
    assert page["firings"][0]["fired_at"] is None
    rest = client.get(path, query_string={"limit": 2, "before": page["next_before"]}).json
    (fired,) = rest["firings"]
    assert datetime.fromisoformat(fired["planned_at"]) == first
    assert (fired["job_status"], fired["planned_runs"]) == ("pending", 1)
    assert rest["next_before"] is None


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"trigger": {"kind": "cron", "cron": "* * * *"}}, 400, "trigger.cron.cron"),
    ({"trigger": {"kind": "cron", "cron": "0 0 30 2 *"}}, 400, "trigger.cron.cron"),
    ({"trigger": {**WEEKDAYS, "timezone": "Mars"}}, 400, "trigger.cron.timezone"),
    ({"trigger": {"kind": "weekly"}}, 400, "trigger"),
    ({"trigger": {"kind": "once", "at": "2020-01-01T00:00Z"}}, 422, "trigger.at"),
    ({"trigger": {"kind": "interval", "seconds": 1}}, 400, "trigger.interval.seconds"),
    ({"missed_limit": 1000}, 400, "missed_limit"),
    ({"missed_policy": None}, 400, "missed_policy"),
    ({"jitter_seconds": -1}, 400, "jitter_seconds"),
    (
        {"trigger": {"kind": "interval", "seconds": 9}, "jitter_seconds": 9},
        422,
        "jitter_seconds",
    ),
    ({"name": ""}, 400, "name"),
    ({"colour": "red"}, 400, "colour"),
    ({"args": {"colour": "red"}}, 400, "colour"),
    ({"task": "nothing"}, 404, "task"),
    ({"queue": "elsewhere"}, 400, "queue"),
]


def test_what_is_wrong_is_named(client: FlaskClient, create: Callable[..., dict[str, Any]]) -> None:
    path = f"/api/schedules/{create(name='other')['id']}"
    for said, status, param in WRONG:
        made = client.post("/api/schedules", json=body(**{"trigger": WEEKDAYS, **said}))
        assert error_of(made, status)["param"] == param
        assert error_of(client.patch(path, json=said), status)["param"] == param
    for field in ("trigger", "name", "missed_policy"):
        error_of(client.patch(path, json={field: None}), 400)


def test_a_name_that_is_taken_is_a_conflict(
    client: FlaskClient, create: Callable[..., dict[str, Any]]
) -> None:
    create()
    answer = client.post("/api/schedules", json=body(trigger=WEEKDAYS))
    assert error_of(answer, 409)["code"] == "name_taken"


def test_somebody_elses_schedule_is_not_there(
    create: Callable[..., dict[str, Any]],
    make_client: Callable[[str | None], FlaskClient],
    other_key: str,
    session: Session,
) -> None:
    path = f"/api/schedules/{create()['id']}"
    kim = make_client(other_key)
    for method, below, said in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/run", None),
        ("POST", "/pause", {"reason": "x"}),
        ("DELETE", "/pause", None),
        ("GET", "/history", None),
    ):
        error_of(kim.open(path + below, method=method, json=said), 404)
    session.execute(
        text(
            "INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)"
            " VALUES ('tick', '', 1764072000)"
        )
    )
    session.commit()
    assert kim.get("/api/schedules").json == {"schedules": [], "count": 0, "periodic_tasks": []}
    assert error_of(
        kim.post("/api/schedules", json=body(task="backup", args={}, trigger=WEEKDAYS)), 403
    )
    own = kim.post("/api/schedules", json=body(trigger=WEEKDAYS))
    assert (own.status_code, own.json["owner"]) == (201, "kim")


def test_periodic_tasks_of_procrastinate_are_shown(client: FlaskClient, session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)"
            " VALUES ('tick', 'east', 1764072000)"
        )
    )
    session.commit()
    (tick,) = client.get("/api/schedules").json["periodic_tasks"]
    assert (tick["task"], tick["periodic_id"], tick["job_id"]) == ("tick", "east", None)
    assert datetime.fromisoformat(tick["last_planned_at"]) == datetime(2025, 11, 25, 12, tzinfo=UTC)


def test_an_id_that_is_none_is_not_there(client: FlaskClient) -> None:
    for schedule_id in ("0", "x", "9" * 30, "٣", "preview"):
        error_of(client.get(f"/api/schedules/{schedule_id}"), 404)
