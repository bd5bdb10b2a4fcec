"""What programs may do to jobs: the routes of each verb, and of the earlier systems."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import sessions, users
from app.core.models import Job
from tests.api.conftest import error_of
from tests.api.test_access import form_token
from tests.core.queue_hand import Hand

MakeClient = Callable[[str | None], FlaskClient]


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


def test_a_waiting_job_is_cancelled_and_then_it_is_a_conflict(
    client: FlaskClient, hand: Hand
) -> None:
    job_id = hand.defer()
    answer = client.post(f"/api/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json) == (
        200,
        {"job_id": job_id, "status": "cancelled", "message": "The job is cancelled."},
    )
    error = error_of(client.post(f"/api/jobs/{job_id}/cancel"), 409)
    assert (error["code"], error["param"]) == ("status", "job_id")


def test_a_running_jobs_detail_and_history_say_that_it_is_to_stop(
    client: FlaskClient, hand: Hand
) -> None:
    job_id = hand.defer()
    hand.fetch()
    assert client.get(f"/api/jobs/{job_id}/detail").json["cancellation"] is None
    said = client.post(f"/api/jobs/{job_id}/cancel").json
    assert said["status"] == "running"
    answer = client.post(f"/api/jobs/{job_id}/abort")
    assert answer.status_code == 200
    assert list(answer.json) == ["job_id", "status", "message", "warning"]
    assert "export" in answer.json["warning"]
    hand.finish(job_id, "aborted")

    told = client.get(f"/api/jobs/{job_id}/detail").json["cancellation"]
    assert list(told) == ["kind", "requested_at", "acknowledged_at", "stopped_at"]
    assert (told["kind"], told["acknowledged_at"]) == ("abort", None)
    assert told["requested_at"] < told["stopped_at"]
    transitions = client.get(f"/api/jobs/{job_id}/history").json["transitions"]
    assert [(each["details"], each["triggered_by"]) for each in transitions[2:4]] == [
        ("cancel requested", "admin (key 1)"),
        ("abort requested", "admin (key 1)"),
    ]
    assert transitions[-1]["to"] == "cancelled"


def test_an_abort_of_what_does_not_run_is_a_bad_request(client: FlaskClient, hand: Hand) -> None:
    assert error_of(client.post(f"/api/jobs/{hand.defer()}/abort"), 400)["code"] == "status"


@pytest.mark.parametrize("verb", ["cancel", "abort", "retry", "expedite", "reschedule", "priority"])
def test_a_job_that_is_not_there_or_not_yours_is_absent(
    make_client: MakeClient, other_key: str, hand: Hand, verb: str
) -> None:
    body = {"reschedule": {"schedule_at": "2030-01-01T00:00:00Z"}, "priority": {"priority": 1}}
    other = make_client(other_key)
    for job_id in (hand.failed(), "999", "x"):
        path = f"/api/jobs/{job_id}/{verb}"
        assert error_of(other.post(path, json=body.get(verb, {})), 404)["param"] == "job_id"
        assert other.delete(f"/api/jobs/{job_id}").status_code == 404


def test_a_retry_is_a_new_job_that_names_the_old_one(client: FlaskClient, hand: Hand) -> None:
    old = hand.failed()
    answer = client.post(f"/api/jobs/{old}/retry")
    assert answer.status_code == 202
    assert answer.json == {"job_id": str(int(old) + 1), "retried_from": old}
    detail = client.get(f"/api/jobs/{answer.json['job_id']}/detail").json
    assert detail["retry_info"]["retried_from"] == old
    error_of(client.post(f"/api/jobs/{answer.json['job_id']}/retry"), 409)

    due = datetime.now(UTC) + timedelta(days=1)
    other = client.post(
        f"/api/jobs/{hand.failed(priority=5)}/retry",
        json={"args": {"format": "zip"}, "schedule_at": due.isoformat()},
    )
    made = hand.job(other.json["job_id"])
    assert (made.arguments["format"], made.scheduled_at) == ("zip", due)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"args": {"colour": "red"}}, "colour"),
        ({"args": []}, "args"),
        ({"schedule_at": "tomorrow"}, "schedule_at"),
        ({"when": "now"}, "when"),
    ],
)
def test_what_is_wrong_in_a_retry_is_named(
    client: FlaskClient, hand: Hand, body: dict[str, Any], param: str
) -> None:
    assert error_of(client.post(f"/api/jobs/{hand.failed()}/retry", json=body), 400)["param"] == (
        param
    )


def test_a_record_is_deleted(client: FlaskClient, hand: Hand) -> None:
    job_id = hand.failed()
    assert client.delete(f"/api/jobs/{job_id}").json == {
        "job_id": job_id,
        "status": "deleted",
        "message": "The job's record is deleted.",
        "warning": None,
    }
    assert client.get(f"/api/jobs/{job_id}").status_code == 404
    waiting = hand.defer()
    assert client.delete(f"/api/jobs/{waiting}").json["status"] == "cancelled"


def test_a_waiting_job_gets_another_time_and_priority(client: FlaskClient, hand: Hand) -> None:
    job_id = hand.defer()
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    path = f"/api/jobs/{job_id}"
    answer = client.post(f"{path}/reschedule", json={"schedule_at": due.isoformat()})
    assert (answer.status_code, answer.json["status"]) == (200, "pending")
    assert hand.job(job_id).scheduled_at == due
    assert client.post(f"{path}/priority", json={"priority": 12}).status_code == 200
    assert client.post(f"{path}/expedite").status_code == 200
    assert hand.fetch() == job_id
    assert error_of(client.post(f"{path}/priority", json={"priority": 1001}), 400)["param"] == (
        "priority"
    )
    error_of(client.post(f"{path}/priority", json={"priority": 3}), 409)


def test_several_are_cancelled_by_their_ids(
    client: FlaskClient, make_client: MakeClient, other_key: str, hand: Hand
) -> None:
    waiting, ended = [hand.defer() for _ in range(3)], hand.failed(priority=9)
    ids: list[Any] = [*waiting[:2], int(waiting[2]), waiting[0], ended, "none"]
    answer = client.post("/api/jobs/bulk-cancel", json={"job_ids": ids})
    assert answer.status_code == 200
    assert (answer.json["cancelled"], answer.json["failed"]) == (3, 2)
    assert [each["job_id"] for each in answer.json["errors"]] == [ended, "none"]
    assert {hand.job(job_id).status for job_id in waiting} == {"cancelled"}
    for wrong in ([], ["1"] * 101, "1", [None], [True]):
        error_of(client.post("/api/jobs/bulk-cancel", json={"job_ids": wrong}), 400)
    other = make_client(other_key)
    theirs = other.post("/api/jobs/bulk-cancel", json={"job_ids": [hand.defer()]})
    assert (theirs.json["cancelled"], theirs.json["failed"]) == (0, 1)


def test_an_action_on_a_search_is_looked_at_first_and_then_a_job(
    client: FlaskClient, hand: Hand
) -> None:
    failed = [hand.failed() for _ in range(2)]
    body = {"action": "retry", "filter": {"status": "failed", "q": "type:export"}}
    looked = client.post("/api/jobs/bulk", json={**body, "dry_run": True})
    assert looked.status_code == 200
    assert list(looked.json) == ["matching", "matching_is_exact", "sample"]
    assert looked.json["matching"] == 2
    assert sorted(job["job_id"] for job in looked.json["sample"]) == failed

    begun = client.post("/api/jobs/bulk", json=body)
    assert begun.status_code == 202
    assert (begun.json["status"], begun.json["progress"]) == ("pending", 0)
    job = hand.job(begun.json["job_id"])
    assert (job.task, job.arguments["action"]) == ("bulk", "retry")
    for wrong, param in (
        ({"action": "paint", "filter": {}}, "action"),
        ({"action": "retry"}, "filter"),
        ({"action": "retry", "filter": {"colour": "red"}}, "filter.colour"),
        ({"action": "retry", "filter": {"status": "blue"}}, "status"),
        ({"action": "retry", "filter": {"q": "colour:red"}}, "q"),
    ):
        error = error_of(client.post("/api/jobs/bulk", json=wrong), 400)
        assert error["param"] == param


def test_the_job_gui_cancels_and_restarts(client: FlaskClient, hand: Hand) -> None:
    waiting, failed = hand.defer(), hand.failed(priority=9)
    answer = client.post(f"/api/v1/jobs/cancel/{waiting}")
    assert answer.json == {"message": "The job is cancelled.", "job_id": waiting}
    answer = client.post(f"/api/v1/jobs/restart/{failed}")
    assert list(answer.json) == ["message", "job_id"]
    assert hand.job(answer.json["job_id"]).retried_from == int(failed)
    error_of(client.post(f"/api/v1/jobs/cancel/{failed}"), 409)


def test_the_platforms_forms_lead_to_the_job(
    app: Flask, make_client: MakeClient, session: Session, hand: Hand
) -> None:
    link = sessions.create_sign_in_link(session, users.get(session, "admin"), 5)
    cookie = sessions.consume_sign_in_link(session, link, session_days=1)
    failed, waiting = hand.failed(), hand.defer()
    browser = make_client(None)
    browser.set_cookie(app.config["STOKER_COOKIE_NAME"], cookie)
    form = {"csrf_token": form_token(app, browser)}
    own = {"Sec-Fetch-Site": "same-origin"}

    answer = browser.post(f"/platform/jobs/{waiting}/cancel/", data=form, headers=own)
    assert (answer.status_code, answer.location) == (303, f"/jobs/{waiting}")
    assert hand.job(waiting).status == "cancelled"
    answer = browser.post(f"/platform/jobs/{failed}/retry/", data=form, headers=own)
    assert hand.job(answer.location.rsplit("/", 1)[1]).retried_from == int(failed)
    answer = browser.post(f"/platform/jobs/{failed}/cancel/", data=form, headers=own)
    assert answer.status_code == 409
    assert browser.post(f"/platform/jobs/{failed}/retry/", headers=own).status_code == 403


def at_once(make_client: MakeClient, key: str, path: str, count: int = 50) -> Counter[int]:
    statuses: Counter[int] = Counter()
    gate = threading.Barrier(count, timeout=60)

    def post() -> None:
        client = make_client(key)
        gate.wait()
        statuses[client.post(path).status_code] += 1

    threads = [threading.Thread(target=post) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_fifty_calls_at_once_take_effect_once(
    make_client: MakeClient, api_key: str, hand: Hand
) -> None:
    failed, waiting = hand.failed(), hand.defer()
    assert at_once(make_client, api_key, f"/api/jobs/{failed}/retry") == {202: 50}
    made = select(func.count()).where(Job.retried_from == int(failed))
    assert hand.session.scalar(made) == 1
    hand.session.rollback()
    assert at_once(make_client, api_key, f"/api/jobs/{waiting}/cancel") == {200: 1, 409: 49}
