"""/v1/jobs/history and /v1/jobs/stats, /v1/queue and /v1/models."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core import admission, jobs, queue
from app.core.models import Batch, User
from app.core.settings import Settings
from tests.api.conftest import error_of

Create = Callable[..., dict[str, Any]]

HISTORY_FIELDS = [
    "batch_id",
    "status",
    "model",
    "created_at",
    "completed_at",
    "failed_at",
    "cancelled_at",
    "total_requests",
    "completed_requests",
    "failed_requests",
    "duration",
    "throughput",
    "priority",
    "webhook_url",
    "has_errors",
    "request_throughput",
    "total_tokens",
    "token_throughput",
]
STATS_FIELDS = [
    "total_jobs",
    "by_status",
    "by_model",
    "success_rate",
    "avg_duration",
    "total_requests",
    "completed_requests",
    "failed_requests",
    "total_tokens",
    "avg_token_throughput",
    "timeline",
]
COMPLETED = (
    "status = 'completed', model = 'fake', created_at = now() - interval '1 hour',"
    " in_progress_at = now() - interval '30 seconds', completed_at = now() - interval '20 seconds',"
    " total = 10, completed = 8, failed = 2, input_tokens = 60, output_tokens = 40"
)
FAILED = "status = 'failed', failed_at = now()"
BIGGEST = 2**62


@pytest.fixture
def history(create: Create, session: Session) -> list[str]:
    """Four batches: completed, failed, queued, cancelled."""
    file_id = create()["input_file_id"]
    ids = [create(input_file_id=file_id)["id"] for _ in range(3)]
    ids.insert(0, session.execute(text("SELECT id FROM batch ORDER BY number LIMIT 1")).scalar())
    for batch, change in zip(
        ids,
        (
            COMPLETED,
            FAILED,
            "model = 'fake'",
            "status = 'cancelled', cancelled_at = now()",
        ),
        strict=True,
    ):
        session.execute(text(f"UPDATE batch SET {change} WHERE id = :id"), {"id": batch})
    session.commit()
    return ids


def test_a_job_of_the_history_has_its_fields_and_they_are_numbers(
    client: FlaskClient, history: list[str]
) -> None:
    page = client.get("/v1/jobs/history").json
    assert list(page) == ["jobs", "total", "limit", "offset", "has_more"]
    assert (page["total"], page["limit"], page["offset"], page["has_more"]) == (4, 50, 0, False)
    assert all(list(job) == HISTORY_FIELDS for job in page["jobs"])
    job = next(job for job in page["jobs"] if job["batch_id"] == history[0])
    assert job["duration"] == pytest.approx(10, abs=0.1)
    assert job["throughput"] == pytest.approx(1, abs=0.1)
    assert job["token_throughput"] == pytest.approx(10, abs=0.1)
    assert job["total_tokens"] == 100
    assert type(job["completed_at"]) is int
    assert job["webhook_url"] is False
    assert job["has_errors"] is True


def test_the_history_is_filtered_by_status_model_and_dates(
    client: FlaskClient, history: list[str]
) -> None:
    def ids(**query: Any) -> list[str]:
        page = client.get("/v1/jobs/history", query_string=query).json
        return [job["batch_id"] for job in page["jobs"]]

    completed, failed, queued, cancelled = history
    assert ids(status="completed") == [completed]
    assert ids(status="failed") == [failed]
    assert ids(status="queued") == [queued]
    assert ids(status="cancelled") == [cancelled]
    assert ids(status="in_progress") == []
    assert ids(model="fake") == [queued, completed]
    assert ids(model="nobody") == []
    before = int(time.time()) - 1800
    assert ids(end_date=before) == [completed]
    assert completed not in ids(start_date=before)
    assert ids(limit=2, offset=1) == [queued, failed]


def test_a_limit_is_clamped_and_says_so(client: FlaskClient) -> None:
    assert client.get("/v1/jobs/history?limit=1000").json["limit"] == 500
    assert client.get("/v1/batches?limit=1000").status_code == 200
    assert client.get("/v1/files?limit=100000").status_code == 200


@pytest.mark.parametrize("route", ["/v1/jobs/history", "/v1/jobs/stats"])
@pytest.mark.parametrize("name", ["start_date", "end_date"])
@pytest.mark.parametrize(
    "value", ["soon", "nan", "inf", "-inf", "1e300", "9" * 400, "2025-01-01", "1 2"]
)
def test_an_unreadable_date_is_named(
    client: FlaskClient, route: str, name: str, value: str
) -> None:
    assert error_of(client.get(route, query_string={name: value}), 400)["param"] == name


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "x"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "x"}, "offset"),
        ({"offset": str(2**63)}, "offset"),
        ({"status": "nonsense"}, "status"),
        ({"model": "a\x00b"}, "model"),
    ],
)
def test_an_unreadable_parameter_is_named(
    client: FlaskClient, query: dict[str, str], param: str
) -> None:
    error = error_of(client.get("/v1/jobs/history", query_string=query), 400)
    assert error["param"] == param


def test_an_offset_beyond_the_end_is_an_empty_page(client: FlaskClient, history: list[str]) -> None:
    page = client.get(f"/v1/jobs/history?offset={BIGGEST}").json
    assert (page["jobs"], page["total"], page["has_more"]) == ([], 4, False)


def test_statistics_count_jobs_requests_and_tokens(client: FlaskClient, history: list[str]) -> None:
    stats = client.get("/v1/jobs/stats").json
    assert list(stats) == STATS_FIELDS
    assert stats["total_jobs"] == 4
    assert stats["by_status"] == {"completed": 1, "failed": 1, "queued": 1, "cancelled": 1}
    assert stats["by_model"] == {"fake": 2}
    assert stats["success_rate"] == 0.5
    assert stats["avg_duration"] == pytest.approx(10, abs=0.1)
    assert (stats["completed_requests"], stats["failed_requests"]) == (8, 2)
    assert stats["total_tokens"] == 100
    assert len(stats["timeline"]) == 24
    assert sum(point["jobs"] for point in stats["timeline"]) == 4
    assert all(list(point) == ["timestamp", "jobs"] for point in stats["timeline"])


def test_a_timeline_covers_the_asked_range_with_its_empty_hours(
    client: FlaskClient, history: list[str]
) -> None:
    now = int(time.time())
    query = {"start_date": now - 5 * 3600, "end_date": now}
    timeline = client.get("/v1/jobs/stats", query_string=query).json["timeline"]
    steps = {later["timestamp"] - point["timestamp"] for point, later in pairwise(timeline)}
    assert steps == {3600}
    assert timeline[0]["timestamp"] <= query["start_date"]
    assert timeline[-1]["timestamp"] > now - 3600


@pytest.mark.parametrize("moment", ["-1", "-62135596800", "253402300800", "nan", "inf", "1e400"])
def test_a_moment_outside_of_the_calendar_is_refused(client: FlaskClient, moment: str) -> None:
    answer = client.get(f"/v1/jobs/stats?end_date={moment}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "end_date"


def test_a_range_of_centuries_is_answered_in_bounds(client: FlaskClient) -> None:
    answer = client.get("/v1/jobs/stats?start_date=0&end_date=253402300799")
    assert answer.status_code == 200
    assert len(answer.json["timeline"]) <= 1001


def test_the_queue_says_who_works_and_who_waits(client: FlaskClient, create: Create) -> None:
    batch = create(priority=1)
    queue = client.get("/v1/queue").json
    assert list(queue) == ["worker", "current_job", "queue", "queue_length"]
    assert list(queue["worker"]) == ["status", "current_model", "last_seen", "age_seconds"]
    assert queue["current_job"] is None
    assert queue["queue_length"] == 1
    entry = queue["queue"][0]
    assert entry["batch_id"] == batch["id"]
    assert entry["position"] == 1
    assert sorted(entry) == sorted(
        (
            "position",
            "batch_id",
            "model",
            "status",
            "total_requests",
            "total_tokens",
            "created_at",
            "estimated_duration_seconds",
            "estimated_duration_minutes",
            "starts_in_seconds",
            "starts_in_minutes",
            "waiting_reason",
        )
    )
    assert entry["waiting_reason"] is None


def test_the_queue_says_why_a_batch_is_held(
    client: FlaskClient, create: Create, session: Session
) -> None:
    batch = create()
    paused = client.post("/api/queues/batches/pause", json={"reason": "the file server is away"})
    assert paused.status_code == 200, paused.text
    (entry,) = client.get("/v1/queue").json["queue"]
    assert entry["waiting_reason"].startswith("waits: batches is paused by ")
    assert entry["waiting_reason"].endswith("the file server is away")
    assert (
        entry["waiting_reason"] == client.get(f"/v1/batches/{batch['id']}").json["waiting_reason"]
    )


def test_the_queue_tells_whose_jobs_are_in_the_way_only_to_who_may_see_them(
    create: Create, settings: Settings, session: Session
) -> None:
    create()
    session.execute(update(Batch).values(status="in_progress", model="fake"))
    owner_id = session.scalars(select(Batch.owner_id)).one()
    name = session.scalars(select(User.name)).one()
    for _ in range(2):
        running = jobs.defer(session, "export", {}, queue="tasks", owner_name=name)
        session.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": running}
        )
    session.commit()
    limited = settings.model_copy(update={"user_concurrent_jobs": 2})

    def said(viewer: int | None) -> list[str]:
        found = queue.read(session)
        return list(admission.queue_reasons(session, limited, found, viewer).values())

    named = [f"waits: 2 of {name}'s jobs run, which is the limit"]
    assert said(None) == said(owner_id) == named
    assert said(owner_id + 1) == ["waits: 2 of its owner's jobs run, which is the limit"]


def test_the_models_are_those_of_the_registry_as_it_is_now(client: FlaskClient, stack: Any) -> None:
    stack.write_models(**{"fake": {}, "org/model-7b": {}})
    models = client.get("/v1/models").json
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["fake", "org/model-7b"]
    model = client.get("/v1/models/org/model-7b").json
    assert model == models["data"][1]
    assert list(model) == ["id", "object", "created", "owned_by", "endpoints"]
    assert "/v1/chat/completions" in model["endpoints"]
    assert client.get("/v1/models/org%2Fmodel-7b").json == model
    assert error_of(client.get("/v1/models/none"), 404)["code"] == "model_not_found"


def test_a_broken_registry_is_said_and_not_a_fault(client: FlaskClient, stack: Any) -> None:
    stack.settings.models_path.write_text("nonsense")
    error = error_of(client.get("/v1/models"), 503)
    assert "TOML" in error["message"]
