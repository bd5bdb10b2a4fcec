"""/api/jobs/{job_id}: its detail, history and log have real values in every field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.api.conftest import error_of
from tests.api.records import BEGIN, Record
from tests.api.test_api_jobs import JOB_FIELDS

DETAIL_FIELDS = {
    "id": None,
    "job_type": None,
    "status": None,
    "queue_name": None,
    "priority": None,
    "progress": ["percent", "current_step", "items_processed", "items_total"],
    "timing": [
        "created_at",
        "started_at",
        "completed_at",
        "duration_seconds",
        "estimated_remaining_seconds",
    ],
    "retry_info": [
        "attempt_number",
        "max_attempts",
        "next_retry_at",
        "previous_errors",
        "retried_from",
    ],
    "cancellation": None,
    "result": None,
    "error": None,
    "metadata": ["input_params", "worker_id"],
}
HISTORY_FIELDS = [
    "job_id",
    "job_type",
    "status",
    "created_at",
    "started_at",
    "completed_at",
    "transitions",
    "attempts",
]
TRANSITION_FIELDS = ["from", "to", "at", "triggered_by", "details"]
ATTEMPT_FIELDS = [
    "attempt_number",
    "started_at",
    "ended_at",
    "status",
    "error",
    "worker_id",
    "duration_seconds",
    "result",
    "milestones",
]
LOG_FIELDS = ["job_id", "logs", "total", "has_more"]
LINE_FIELDS = ["timestamp", "level", "message", "context", "attempt_number"]


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


@pytest.fixture
def failed(record: Record) -> int:
    """A job that failed twice and gave up."""
    job = record.job(
        status="failed",
        created_by="app",
        attempts=2,
        max_attempts=2,
        priority=5,
        arguments={"customer": 42},
        worker_name="worker 2",
        run_ms=9000,
        error_type="OSError",
        error_message="no space left",
    )
    begun = job.created_at + timedelta(seconds=1)
    record.attempt(
        job,
        1,
        started_at=begun,
        ended_at=begun + timedelta(seconds=4),
        outcome="failed",
        worker_name="worker 1",
        error_type="ValueError",
        error_message="bad row",
    )
    record.attempt(
        job,
        2,
        started_at=begun + timedelta(seconds=10),
        ended_at=begun + timedelta(seconds=15),
        outcome="failed",
        worker_id=uuid4(),
        error_type="OSError",
        error_message="no space left",
        result={"rows": 1},
    )
    for seconds, before, after, why in (
        (1, "pending", "running", "attempt 1"),
        (5, "running", "retrying", None),
        (11, "retrying", "running", "attempt 2"),
        (16, "running", "failed", None),
    ):
        at = job.created_at + timedelta(seconds=seconds)
        record.transition(job, before, after, at=at, triggered_by="stoker worker", details=why)
    return job.id


def test_a_job_has_the_fields_of_the_list(client: FlaskClient, failed: int) -> None:
    job = client.get(f"/api/jobs/{failed}").json
    assert list(job) == JOB_FIELDS
    assert job == client.get("/api/jobs").json["items"][0]


def test_the_detail_has_real_values_in_every_field(client: FlaskClient, failed: int) -> None:
    detail = client.get(f"/api/jobs/{failed}/detail").json
    assert list(detail) == list(DETAIL_FIELDS)
    for name, fields in DETAIL_FIELDS.items():
        assert fields is None or list(detail[name]) == fields
    assert detail["id"] == str(failed)
    assert (detail["queue_name"], detail["priority"]) == ("tasks", 5)
    assert detail["timing"]["duration_seconds"] == 9
    assert detail["timing"]["estimated_remaining_seconds"] is None
    assert detail["retry_info"] == {
        "attempt_number": 2,
        "max_attempts": 2,
        "next_retry_at": None,
        "previous_errors": ["ValueError: bad row"],
        "retried_from": None,
    }
    assert detail["error"] == "no space left"
    assert detail["metadata"] == {"input_params": {"customer": 42}, "worker_id": "worker 2"}


def test_a_running_job_says_how_long_it_will_still_take(
    client: FlaskClient, record: Record
) -> None:
    now = datetime.now(UTC)
    job = record.job(
        status="running",
        created_at=now - timedelta(seconds=100),
        attempt_started_at=now - timedelta(seconds=30),
        run_ms=50_000,
        attempts=2,
        progress=25,
        items_done=25,
        items_total=100,
        message="row 25",
    )
    detail = client.get(f"/api/jobs/{job.id}/detail").json
    assert detail["progress"] == {
        "percent": 25,
        "current_step": "row 25",
        "items_processed": 25,
        "items_total": 100,
    }
    timing = detail["timing"]
    assert timing["duration_seconds"] >= 80
    ran = timing["duration_seconds"] - 50
    assert timing["estimated_remaining_seconds"] == pytest.approx(3 * ran, abs=0.1)


def test_a_job_without_items_is_estimated_by_its_percent(
    client: FlaskClient, record: Record
) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=60)
    half = record.job(status="running", created_at=begun, attempt_started_at=begun, progress=50)
    fresh = record.job(status="running", created_at=begun, attempt_started_at=begun, progress=0)
    timing = client.get(f"/api/jobs/{half.id}/detail").json["timing"]
    assert timing["estimated_remaining_seconds"] >= 60
    timing = client.get(f"/api/jobs/{fresh.id}/detail").json["timing"]
    assert timing["estimated_remaining_seconds"] is None


def test_a_retrying_job_says_when_and_why(client: FlaskClient, record: Record) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job = record.job(status="retrying", scheduled_at=due, max_attempts=3)
    record.attempt(job, 1, started_at=BEGIN, ended_at=BEGIN, outcome="lost", worker_name="worker 1")
    detail = client.get(f"/api/jobs/{job.id}/detail").json
    assert detail["status"] == "pending"
    assert datetime.fromisoformat(detail["retry_info"]["next_retry_at"]) == due
    assert detail["retry_info"]["previous_errors"] == ["Its worker was lost."]
    assert detail["metadata"]["worker_id"] == "worker 1"


def test_the_history_begins_with_the_creation(client: FlaskClient, failed: int) -> None:
    history = client.get(f"/api/jobs/{failed}/history").json
    assert list(history) == HISTORY_FIELDS
    assert all(list(each) == TRANSITION_FIELDS for each in history["transitions"])
    moves = [(each["from"], each["to"]) for each in history["transitions"]]
    assert moves == [
        (None, "pending"),
        ("pending", "running"),
        ("running", "pending"),
        ("pending", "running"),
        ("running", "failed"),
    ]
    first = history["transitions"][0]
    assert (first["at"], first["triggered_by"]) == (history["created_at"], "app")
    assert history["transitions"][1]["details"] == "attempt 1"


def test_the_history_has_every_attempt(client: FlaskClient, failed: int) -> None:
    one, two = client.get(f"/api/jobs/{failed}/history").json["attempts"]
    assert list(one) == list(two) == ATTEMPT_FIELDS
    assert (one["attempt_number"], one["status"], one["duration_seconds"]) == (1, "failed", 4)
    assert (one["error"], one["worker_id"]) == ("ValueError: bad row", "worker 1")
    assert two["result"] == {"rows": 1}
    assert two["worker_id"]


def test_a_job_through_the_queue_is_told_as_it_went(
    client: FlaskClient, session: Session, record: Record
) -> None:
    """Procrastinate's own functions make the changes, and the triggers the record."""
    session.execute(
        text(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            " VALUES ('mail', 'shop.mail', '{\"to\": \"kim\"}')"
        )
    )
    session.execute(text("SELECT worker_id FROM procrastinate_register_worker_v1()"))
    fetched = "SELECT id FROM procrastinate_fetch_job_v2(ARRAY['mail'], 1)"
    job_id = session.execute(text(fetched)).scalar_one()
    session.execute(
        text("SELECT procrastinate_finish_job_v1(:id, 'succeeded', false)"), {"id": job_id}
    )
    session.commit()
    history = client.get(f"/api/jobs/{job_id}/history").json
    moves = [(each["from"], each["to"]) for each in history["transitions"]]
    assert moves == [(None, "pending"), ("pending", "running"), ("running", "completed")]
    assert [each["status"] for each in history["attempts"]] == ["completed"]
    detail = client.get(f"/api/jobs/{job_id}/detail").json
    assert detail["progress"]["percent"] == 100
    assert detail["metadata"] == {"input_params": {"to": "kim"}, "worker_id": "1"}


@pytest.fixture
def talkative(record: Record) -> Any:
    job = record.job()
    for number, level in enumerate(("debug", "info", "INFO", "warning", "error", "notice")):
        record.line(
            job,
            f"line {number}",
            level=level,
            at=job.created_at + timedelta(seconds=number),
            context={"row": number} if number else None,
            attempt_number=1,
        )
    record.line(record.job(), "somebody else's")
    return job


def messages(client: FlaskClient, job: Any, **query: Any) -> list[str]:
    answer = client.get(f"/api/jobs/{job.id}/logs", query_string=query)
    assert answer.status_code == 200, answer.text
    return [line["message"] for line in answer.json["logs"]]


def test_a_log_is_told_oldest_first(client: FlaskClient, talkative: Any) -> None:
    log = client.get(f"/api/jobs/{talkative.id}/logs").json
    assert list(log) == LOG_FIELDS
    assert all(list(line) == LINE_FIELDS for line in log["logs"])
    assert [line["message"] for line in log["logs"]] == [f"line {number}" for number in range(6)]
    assert (log["job_id"], log["total"], log["has_more"]) == (str(talkative.id), 6, False)
    assert log["logs"][0]["context"] is None
    assert log["logs"][1]["context"] == {"row": 1}
    assert log["logs"][1]["attempt_number"] == 1


def test_a_log_is_filtered_by_least_level_and_time(client: FlaskClient, talkative: Any) -> None:
    assert len(messages(client, talkative, level="debug")) == 6
    assert messages(client, talkative, level="info") == [f"line {n}" for n in range(1, 6)]
    assert messages(client, talkative, level="WARNING") == ["line 3", "line 4"]
    assert messages(client, talkative, level="critical") == []
    since = (talkative.created_at + timedelta(seconds=3)).isoformat()
    assert messages(client, talkative, since=since) == ["line 4", "line 5"]


def test_a_log_is_read_on_from_its_last_line(client: FlaskClient, talkative: Any) -> None:
    first = client.get(f"/api/jobs/{talkative.id}/logs?limit=4").json
    assert (len(first["logs"]), first["total"], first["has_more"]) == (4, 6, True)
    # A `+` that nobody escaped means a plus here.
    since = first["logs"][-1]["timestamp"].replace("Z", "+00:00")
    rest = client.get(f"/api/jobs/{talkative.id}/logs?since={since}").json
    assert [line["message"] for line in rest["logs"]] == ["line 4", "line 5"]


UNREADABLE = [
    ("level", "loud"),
    ("since", "yesterday"),
    ("since", "0001-01-01T00:00:00+23:00"),
    ("limit", "0"),
    ("limit", "x"),
]


def test_what_a_log_cannot_be_asked_is_refused_by_its_name(
    client: FlaskClient, talkative: Any
) -> None:
    for param, value in UNREADABLE:
        answer = client.get(f"/api/jobs/{talkative.id}/logs", query_string={param: value})
        assert error_of(answer, 400)["param"] == param, value


NO_IDS = ["0", "99", "-1", "x", "1.0", "9" * 19, "9" * 40, "9" * 3000, "٣", "1 ", "%00", "a%2Fb"]


@pytest.mark.parametrize("below", ["", "/detail", "/history", "/logs"])
def test_an_id_of_no_job_is_a_404(client: FlaskClient, below: str) -> None:
    for job_id in NO_IDS:
        error_of(client.get(f"/api/jobs/{job_id}{below}"), 404)
