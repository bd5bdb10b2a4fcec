"""The platform's administration as JSON: its own words, with and without the slash at the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import rollups
from tests.api.conftest import error_of
from tests.api.records import Record

BASE = "/platform/jobs/api"
ACTIVE_FIELDS = ["task_id", "task_name", "worker", "args", "kwargs", "time_start", "status"]
FIELDS = {
    "active": ACTIVE_FIELDS,
    "pending": [*ACTIVE_FIELDS, "priority", "eta"],
    "completed": ["task_id", "task_name", "status", "execution_time", "completed_at"],
    "failed": ["task_id", "task_name", "status", "error", "can_retry", "completed_at"],
}
STATUSES = {
    "active": ["STARTED"],
    "pending": ["PENDING", "SCHEDULED", "RETRY"],
    "completed": ["SUCCESS"],
    "failed": ["FAILURE"],
}


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


@pytest.fixture
def mixed(record: Record) -> Record:
    """A job of each status, and one that is due later."""
    later = datetime.now(UTC) + timedelta(hours=1)
    record.job(status="running", queue="gpu", worker_name="w1", arguments={"n": 1})
    record.job(status="pending", queue="gpu", priority=5)
    record.job(status="pending", queue="gpu", scheduled_at=later)
    record.job(status="retrying", queue="tasks")
    record.job(status="completed", queue="tasks")
    record.job(status="failed", queue="tasks", error_message="it broke", owner_name="kim")
    record.job(status="cancelled", queue="tasks")
    return record


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("kind", FIELDS)
def test_each_kind_of_job_is_listed_in_the_platforms_words(
    client: FlaskClient, mixed: Record, kind: str, slash: str
) -> None:
    told = client.get(f"{BASE}/jobs{slash}?type={kind}").json

    assert list(told) == ["timestamp", "jobs"]
    assert [list(job) for job in told["jobs"]] == [FIELDS[kind]] * len(STATUSES[kind])
    assert [job["status"] for job in told["jobs"]] == STATUSES[kind]
    assert datetime.fromisoformat(told["timestamp"]).utcoffset() is not None


def test_jobs_are_told_with_real_values(client: FlaskClient, mixed: Record) -> None:
    [active] = client.get(f"{BASE}/jobs/?type=active").json["jobs"]
    pending, scheduled, _ = client.get(f"{BASE}/jobs/?type=pending").json["jobs"]
    [completed] = client.get(f"{BASE}/jobs/?type=completed").json["jobs"]
    [failed] = client.get(f"{BASE}/jobs/?type=failed").json["jobs"]

    assert (active["worker"], active["args"], active["kwargs"]) == ("w1", [], {"n": 1})
    assert active["time_start"]
    assert (pending["priority"], pending["eta"]) == (5, None)
    assert datetime.fromisoformat(scheduled["eta"]) > datetime.now(UTC)
    assert completed["execution_time"] == 4.0
    assert (failed["error"], failed["can_retry"]) == ("it broke", True)


def test_no_more_jobs_are_listed_than_asked_for(client: FlaskClient, mixed: Record) -> None:
    assert len(client.get(f"{BASE}/jobs/?type=pending&limit=2").json["jobs"]) == 2
    assert len(client.get(f"{BASE}/jobs/?type=pending&limit=99999").json["jobs"]) == 3
    error = error_of(client.get(f"{BASE}/jobs/?type=pending&limit=none"), 400)
    assert error["param"] == "limit"


@pytest.mark.parametrize("slash", ["", "/"])
def test_without_a_kind_the_jobs_are_counted(
    client: FlaskClient, mixed: Record, session: Session, slash: str
) -> None:
    rollups.refresh(session)
    told = client.get(f"{BASE}/jobs{slash}").json

    told.pop("timestamp")
    assert told == {
        "active_count": 1,
        "pending_count": 3,
        "completed_count": 1,
        "failed_count": 1,
        "queue_stats": {
            "gpu": {"active": 1, "pending": 1, "scheduled": 1},
            "tasks": {"active": 0, "pending": 1, "scheduled": 0},
        },
    }


def test_a_kind_that_is_none_is_refused_by_name(client: FlaskClient) -> None:
    assert error_of(client.get(f"{BASE}/jobs/?type=lost"), 400)["param"] == "type"


@pytest.mark.parametrize("slash", ["", "/"])
def test_queues_are_counted(client: FlaskClient, mixed: Record, slash: str) -> None:
    told = client.get(f"{BASE}/queues{slash}").json

    assert sorted(told) == ["queues", "timestamp"]
    assert told["queues"]["gpu"] == {"active": 1, "pending": 1, "scheduled": 1}


def attempt(record: Record, task: str, seconds: float, **values: Any) -> None:
    job = record.job(task=task, run_ms=int(seconds * 1000))
    record.attempt(
        job,
        1,
        outcome="completed",
        started_at=job.ended_at - timedelta(seconds=seconds),
        ended_at=job.ended_at,
        **values,
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_slow_and_intensive_types_are_named(
    client: FlaskClient, record: Record, slash: str
) -> None:
    attempt(record, "quick", 1, cpu_seconds=0.1, peak_memory_bytes=100 * 2**20)
    attempt(record, "slow", 90, cpu_seconds=9, peak_memory_bytes=100 * 2**20)
    attempt(record, "busy", 10, cpu_seconds=25, peak_memory_bytes=100 * 2**20)
    attempt(record, "large", 19, peak_memory_bytes=4000 * 2**20)

    told = client.get(f"{BASE}/performance{slash}").json

    assert list(told) == ["timestamp", "summary", "slow_jobs", "resource_intensive_jobs"]
    assert told["summary"] == {
        "total_job_types": 4,
        "slow_jobs_count": 1,
        "resource_intensive_count": 2,
        "avg_execution_time": 30.0,
        "avg_cpu_percent": 90.0,
        "avg_memory_mb": 1075.0,
    }
    [slow] = told["slow_jobs"]
    assert (slow["task_name"], slow["avg_execution_time"]) == ("slow", 90.0)
    assert (slow["avg_cpu_percent"], slow["avg_memory_mb"]) == (10.0, 100.0)
    assert [job["task_name"] for job in told["resource_intensive_jobs"]] == ["busy", "large"]


def test_people_see_their_own_jobs_only(
    make_client: Callable[[str | None], FlaskClient], other_key: str, mixed: Record
) -> None:
    kim = make_client(other_key)

    assert kim.get(f"{BASE}/jobs/?type=active").json["jobs"] == []
    assert len(kim.get(f"{BASE}/jobs/?type=failed").json["jobs"]) == 1
    told = kim.get(f"{BASE}/jobs/").json
    assert (told["active_count"], told["failed_count"]) == (0, 1)
    assert list(kim.get(f"{BASE}/queues/").json["queues"]) == ["tasks"]


def test_nobody_without_a_key_sees_anything(
    make_client: Callable[[str | None], FlaskClient],
) -> None:
    for path in ("jobs", "jobs/", "queues/", "performance/"):
        error_of(make_client(None).get(f"{BASE}/{path}"), 401)
    error_of(make_client("sk-stoker-wrong").get(f"{BASE}/jobs/"), 401)


def test_what_is_not_there_is_an_error_of_the_apis_shape(client: FlaskClient) -> None:
    error_of(client.get(f"{BASE}/nothing/"), 404)
