"""The figures of queues, workers and the machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, RetentionRun, Worker
from tests.api.conftest import error_of
from tests.api.records import Record
from tests.worker.stack import Stack

STATS_FIELDS = [
    "pending_jobs", "running_jobs", "scheduled_jobs", "completed_jobs", "failed_jobs",
    "cancelled_jobs", "retrying_jobs", "total_jobs", "queue_type", "cpu_usage_percent",
    "memory_usage_mb", "active_workers", "last_cleanup_at", "last_cleanup_removed",
]  # fmt: skip


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def work(session: Session, name: str, **values: Any) -> None:
    values = {"kind": "worker", "host": "h", "pid": 7, "status": "running", **values}
    session.add(Worker(id=uuid4(), name=name, **values))
    session.commit()


def test_the_queue_statistics_have_every_field(
    client: FlaskClient, record: Record, session: Session
) -> None:
    for status in ("pending", "running", "running", "retrying", "completed", "failed", "cancelled"):
        record.job(status=status)
    record.job(status="pending", scheduled_at=ago(hours=-1))
    work(session, "lives")
    work(session, "is silent", last_heartbeat_at=ago(minutes=5))
    work(session, "stopped", stopped_at=ago(seconds=1))
    work(session, "keeps house", kind="housekeeper")
    for run, table, removed, hours in ((1, "job", 100, 3), (2, "job", 5, 3), (2, "log_line", 7, 3)):
        session.add(
            RetentionRun(
                run_id=run, table_name=table, before=ago(days=9), ended_at=ago(hours=hours),
                rows_removed=removed,
            )
        )  # fmt: skip
    session.commit()

    told = client.get("/api/v1/jobs/queue/stats").json

    assert list(told) == STATS_FIELDS
    counts = {name: told[name] for name in STATS_FIELDS[:8]}
    assert counts == {
        "pending_jobs": 1, "running_jobs": 2, "scheduled_jobs": 1, "completed_jobs": 1,
        "failed_jobs": 1, "cancelled_jobs": 1, "retrying_jobs": 1, "total_jobs": 8,
    }  # fmt: skip
    assert told["queue_type"] == "procrastinate"
    assert told["active_workers"] == 1
    assert told["last_cleanup_removed"] == 12
    assert datetime.fromisoformat(told["last_cleanup_at"]).utcoffset() is not None
    assert told["memory_usage_mb"] > 0
    assert 0 <= told["cpu_usage_percent"] <= 100


def test_a_house_that_was_never_cleaned_says_so(client: FlaskClient) -> None:
    told = client.get("/api/v1/jobs/queue/stats").json

    assert (told["last_cleanup_at"], told["last_cleanup_removed"]) == (None, 0)
    assert told["total_jobs"] == 0


def test_every_queue_is_told_with_its_last_day(client: FlaskClient, record: Record) -> None:
    record.job(status="running", queue="gpu")
    record.job(status="pending", queue="gpu", scheduled_at=ago(hours=-1))
    for hours, status in ((30, "completed"), (3, "completed"), (2, "failed")):
        record.job(
            queue="gpu", status=status, created_at=ago(hours=hours), wait_ms=3000, run_ms=8000
        )
    record.job(status="pending", queue="tasks")

    told = client.get("/api/queues").json

    assert told["count"] == 2
    gpu, tasks = told["queues"]
    assert gpu == {
        "name": "gpu", "pending": 0, "scheduled": 1, "retrying": 0, "running": 1, "completed": 2,
        "failed": 1, "cancelled": 0, "completed_24h": 1, "failed_24h": 1,
        "average_wait_seconds": 3.0, "average_run_seconds": 8.0, "p95_run_seconds": 8.0,
        "paused_at": None, "paused_by": None, "pause_reason": None,
    }  # fmt: skip
    assert (tasks["name"], tasks["pending"], tasks["p95_run_seconds"]) == ("tasks", 1, None)


def test_workers_are_told_the_living_first(
    client: FlaskClient, record: Record, session: Session
) -> None:
    job = record.job(status="running")
    work(session, "gone for long", stopped_at=ago(days=3))
    work(session, "stopped", stopped_at=ago(hours=3), status="stopped")
    work(session, "lives", running_job_ids=[job.id], current_model="tiny", models=["tiny"])

    told = client.get("/api/workers").json

    assert told["count"] == 2
    lives, stopped = told["workers"]
    assert (lives["name"], lives["is_alive"], lives["running_jobs"]) == ("lives", True, 1)
    assert (lives["running_job_ids"], lives["current_model"]) == ([str(job.id)], "tiny")
    assert lives["heartbeat_age_seconds"] >= 0
    assert (stopped["name"], stopped["is_alive"]) == ("stopped", False)


def test_people_see_their_own_jobs_only(
    make_client: Callable[[str | None], FlaskClient],
    other_key: str,
    record: Record,
    session: Session,
) -> None:
    mine = record.job(status="running", queue="gpu", owner_name="kim")
    other = record.job(status="running", queue="tasks", owner_name="ada")
    work(session, "lives", running_job_ids=[mine.id, other.id])
    kim = make_client(other_key)

    assert kim.get("/api/v1/jobs/queue/stats").json["total_jobs"] == 1
    assert [queue["name"] for queue in kim.get("/api/queues").json["queues"]] == ["gpu"]
    [worker] = kim.get("/api/workers").json["workers"]
    assert (worker["running_jobs"], worker["running_job_ids"]) == (2, [str(mine.id)])


def test_a_queue_is_paused_and_resumed_by_name(
    client: FlaskClient, record: Record, session: Session
) -> None:
    first = client.post("/api/queues/tasks/pause", json={"reason": " disk is moved "})
    again = client.post("/api/queues/tasks/pause", json={"reason": "something else"})

    assert first.status_code == again.status_code == 200
    assert first.json == again.json
    assert (first.json["is_paused"], first.json["reason"]) == (True, "disk is moved")
    assert first.json["paused_by"].startswith("admin")
    [told] = client.get("/api/queues").json["queues"]
    assert (told["name"], told["pending"], told["pause_reason"]) == ("tasks", 0, "disk is moved")
    assert told["paused_at"] == first.json["paused_at"]

    for _ in range(2):
        resumed = client.delete("/api/queues/tasks/pause")
        assert resumed.status_code == 200
        assert resumed.json == {
            "name": "tasks", "is_paused": False, "paused_at": None, "paused_by": None, "reason": None
        }  # fmt: skip
    assert client.get("/api/queues").json["queues"] == []
    actions = session.scalars(select(AuditEntry.action).where(AuditEntry.object_id == "tasks"))
    assert sorted(actions) == ["queue.pause", "queue.resume"]


def test_the_queue_of_a_model_whose_name_has_a_slash_is_paused(
    client: FlaskClient, stack: Stack
) -> None:
    stack.write_models(**{"org/tiny": {}})

    assert client.post("/api/queues/model:org%2Ftiny/pause", json={"reason": "r"}).json["is_paused"]
    [told] = client.get("/api/queues").json["queues"]
    assert told["name"] == "model:org/tiny"


def test_what_is_no_queue_of_ours_is_not_paused(client: FlaskClient, record: Record) -> None:
    record.job(status="pending", queue="shop", created_by="shop")

    unknown = client.post("/api/queues/taskz/pause", json={"reason": "r"})
    assert error_of(unknown, 404)["param"] == "name"
    assert error_of(client.delete("/api/queues/model:nobody/pause"), 404)
    foreign = error_of(client.post("/api/queues/shop/pause", json={"reason": "r"}), 422)
    assert foreign["code"] == "not_our_queue"
    for body in ({}, {"reason": " "}, {"reason": "r" * 501}, {"reason": "r", "why": "r"}):
        error_of(client.post("/api/queues/tasks/pause", json=body), 400)


def test_only_an_operator_pauses_a_queue(
    make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    kim = make_client(other_key)

    error_of(kim.post("/api/queues/tasks/pause", json={"reason": "r"}), 403)
    error_of(kim.delete("/api/queues/tasks/pause"), 403)


def test_a_job_says_that_its_queue_is_paused(
    client: FlaskClient, record: Record, create: Callable[..., dict[str, Any]]
) -> None:
    record.last = 900  # the batch below has a job of the queue's own
    waits = record.job(status="pending", queue="tasks", message="Reading")
    later = record.job(status="pending", queue="tasks", scheduled_at=ago(hours=-1))
    client.post("/api/queues/tasks/pause", json={"reason": "disk"})
    client.post("/api/queues/batches/pause", json={"reason": "disk"})

    said = client.get(f"/api/jobs/{waits.id}").json["message"]
    assert said.startswith("waits: tasks is paused by admin")
    assert said.endswith("UTC: disk")
    assert client.get(f"/api/jobs/{later.id}").json["message"] is None
    listed = client.get("/api/jobs?queue=tasks").json["items"]
    assert {job["job_id"]: job["message"] for job in listed} == {
        str(waits.id): said,
        str(later.id): None,
    }
    detail = client.get(f"/api/jobs/{waits.id}/detail").json
    assert detail["progress"]["current_step"] == said
    assert create()["waiting_reason"].startswith("waits: batches is paused by admin")
    client.delete("/api/queues/tasks/pause")
    assert client.get(f"/api/jobs/{waits.id}").json["message"] == "Reading"
