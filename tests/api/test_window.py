"""A window of the last hours: jobs, overlaps and statistics, field by field."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import job_windows, rollups
from app.core.models import Job, Worker
from app.core.settings import Settings
from tests.api.conftest import error_of
from tests.api.records import Record
from tests.api.test_faults import app_with

JOB_FIELDS = [
    "id", "job_type", "status", "claimed_by", "claimed_at", "claim_expires_at", "params",
    "progress_pct", "progress_message", "processed_count", "total_count", "result",
    "error_message", "created_at", "started_at", "completed_at",
]  # fmt: skip
OVERLAP_FIELDS = [
    "job1_id", "job1_type", "job1_start", "job1_end", "job2_id", "job2_type", "job2_start",
    "job2_end", "overlap_seconds",
]  # fmt: skip
STATS_FIELDS = [
    "job_type", "total_runs", "completed_runs", "failed_runs", "running_runs", "success_rate",
    "avg_duration_seconds", "min_duration_seconds", "max_duration_seconds", "p50_seconds",
    "p95_seconds", "last_run", "last_status", "is_slow",
]  # fmt: skip


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def ran(record: Record, begin: float, end: float | None, **values: Any) -> int:
    """A job that ran from `begin` to `end` minutes ago; None runs still."""
    values.setdefault("created_at", ago(minutes=begin))
    values.setdefault("status", "running" if end is None else "completed")
    started_at = ago(minutes=begin)
    ended_at = None if end is None else ago(minutes=end)
    run_ms = 0 if end is None else int((begin - end) * 60_000)
    job = record.job(started_at=started_at, ended_at=ended_at, run_ms=run_ms, **values)
    record.attempt(
        job,
        1,
        started_at=started_at,
        ended_at=ended_at,
        outcome=None if end is None else job.status,
    )
    return job.id


def post(client: FlaskClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_the_jobs_of_the_last_day_have_every_field(client: FlaskClient, record: Record) -> None:
    ran(record, 50, 40, worker_name="w1", arguments={"n": 1}, items_done=3, items_total=4)

    told = post(client, "/api/jobs")

    assert sorted(told) == ["count", "jobs", "timeRange", "truncated"]
    assert (told["count"], told["timeRange"], told["truncated"]) == (1, 24, False)
    [job] = told["jobs"]
    assert list(job) == JOB_FIELDS
    assert (job["status"], job["claimed_by"], job["params"]) == ("completed", "w1", {"n": 1})
    assert (job["processed_count"], job["total_count"], job["progress_pct"]) == (3, 4, 100)
    assert job["claim_expires_at"] is None
    assert datetime.fromisoformat(job["created_at"]).utcoffset() is not None


def test_jobs_are_listed_newest_first_and_in_the_clients_words(
    client: FlaskClient, record: Record
) -> None:
    old = ran(record, 60 * 30, 60 * 26)
    beyond = ran(record, 60 * 30, 60 * 23)
    running = ran(record, 60 * 40, None)
    new = record.job(status="retrying", created_at=ago(minutes=5)).id
    waits = record.job(status="pending", created_at=ago(minutes=4)).id

    told = post(client, "/api/jobs")

    ids = [int(job["id"]) for job in told["jobs"]]
    assert ids == [waits, new, beyond, running]
    assert old not in ids
    assert {job["status"] for job in told["jobs"]} == {"pending", "running", "completed"}


def test_a_claim_expires_when_its_worker_is_not_heard_of(
    client: FlaskClient, record: Record, session: Session
) -> None:
    beat = ago(seconds=3)
    session.add(
        Worker(
            id="5f1d4ab0-0000-4000-8000-000000000001",
            kind="worker",
            name="w1",
            host="h",
            pid=1,
            status="running",
            last_heartbeat_at=beat,
        )
    )
    ran(record, 5, None, worker_name="w1")

    [job] = post(client, "/api/jobs")["jobs"]

    assert datetime.fromisoformat(job["claim_expires_at"]) == beat + timedelta(seconds=30)


def test_only_jobs_of_the_type_are_listed(client: FlaskClient, record: Record) -> None:
    ran(record, 50, 40, task="export")
    ran(record, 50, 40, task="cleanup")

    assert post(client, "/api/jobs", jobType="all", hours=1)["count"] == 2
    [job] = post(client, "/api/jobs", jobType="cleanup")["jobs"]
    assert job["job_type"] == "cleanup"


def test_more_jobs_than_the_list_takes_are_said_to_be_cut(
    record: Record,
) -> None:
    for _ in range(3):
        ran(record, 50, 40)

    found, is_truncated = job_windows.list_jobs(record.session, since=ago(hours=1), limit=2)

    assert (len(found), is_truncated) == (2, True)
    found, is_truncated = job_windows.list_jobs(record.session, since=ago(hours=1), limit=3)
    assert (len(found), is_truncated) == (3, False)


def test_a_result_that_is_too_large_for_a_list_is_left_out(
    client: FlaskClient, record: Record
) -> None:
    ran(record, 50, 40, result={"text": secrets.token_hex(20_000)})

    assert post(client, "/api/jobs")["jobs"][0]["result"] is None


def test_overlaps_have_every_field(client: FlaskClient, record: Record) -> None:
    one = ran(record, 50, 30, task="export", created_at=ago(days=70))
    other = ran(record, 40, None, task="cleanup")

    told = post(client, "/api/overlaps")

    assert sorted(told) == ["by_pair", "concurrency", "count", "overlaps", "peak", "truncated"]
    assert (told["count"], told["truncated"]) == (1, False)
    [overlap] = told["overlaps"]
    assert list(overlap) == OVERLAP_FIELDS
    assert (overlap["job1_id"], overlap["job2_id"]) == (str(one), str(other))
    assert overlap["overlap_seconds"] == pytest.approx(600, abs=5)
    assert told["by_pair"] == [
        {"type1": "cleanup", "type2": "export", "pairs": 1,
         "overlap_seconds": overlap["overlap_seconds"]}
    ]  # fmt: skip
    assert [point["running"] for point in told["concurrency"]] == [1, 2, 1, 0]
    assert told["peak"] == told["concurrency"][1]


def test_the_list_of_overlaps_is_cut_and_the_figures_are_not(
    client: FlaskClient, record: Record
) -> None:
    for _ in range(4):
        ran(record, 50, 30)

    told = post(client, "/api/overlaps", limit=2)

    assert (len(told["overlaps"]), told["count"], told["truncated"]) == (2, 6, True)
    assert told["by_pair"][0]["pairs"] == 6


def test_a_window_without_runs_has_no_peak(client: FlaskClient) -> None:
    assert post(client, "/api/overlaps", jobType="all") == {
        "overlaps": [], "count": 0, "truncated": False, "by_pair": [], "concurrency": [],
        "peak": {"at": None, "running": 0},
    }  # fmt: skip


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_statistics_have_every_field_and_are_exact(
    client: FlaskClient, record: Record, session: Session, is_rolled_up: bool
) -> None:
    for minutes in (1, 2, 6):
        ran(record, 600, 600 - minutes, task="export")
    ran(record, 500, 499, task="export", status="failed")
    ran(record, 400, 399, task="export", status="cancelled")
    running = ran(record, 10, None, task="export")
    record.job(status="pending", task="export", created_at=ago(minutes=1))
    record.job(status="cancelled", task="export", started_at=None, created_at=ago(minutes=1))
    ran(record, 60 * 30, 60 * 29, task="export")
    ran(record, 300, 299.5, task="cleanup")
    if is_rolled_up:
        rollups.refresh(session)

    told = post(client, "/api/stats")

    assert sorted(told) == ["count", "stats"]
    assert told["count"] == 2
    cleanup, export = told["stats"]
    assert list(export) == list(cleanup) == STATS_FIELDS
    assert export == {
        "job_type": "export", "total_runs": 6, "completed_runs": 3, "failed_runs": 1,
        "running_runs": 1, "success_rate": 0.75, "avg_duration_seconds": 180.0,
        "min_duration_seconds": 60.0, "max_duration_seconds": 360.0,
        "p50_seconds": pytest.approx(120, rel=0.1), "p95_seconds": pytest.approx(360, rel=0.1),
        "last_run": export["last_run"], "last_status": "running", "is_slow": True,
    }  # fmt: skip
    [started_at] = session.scalars(select(Job.started_at).where(Job.id == running))
    assert datetime.fromisoformat(export["last_run"]) == started_at
    assert (cleanup["is_slow"], cleanup["last_status"]) == (False, "completed")


def test_a_type_that_only_runs_has_no_rate_and_no_durations(
    client: FlaskClient, record: Record
) -> None:
    ran(record, 10, None)

    [stats] = post(client, "/api/stats")["stats"]

    assert (stats["success_rate"], stats["avg_duration_seconds"], stats["p95_seconds"]) == (
        None, None, None,
    )  # fmt: skip


def test_all_jobs_are_counted_by_status_and_type(
    client: FlaskClient, record: Record, session: Session
) -> None:
    ran(record, 60 * 24 * 2.5, 60 * 24 * 2.5 - 2, task="export")
    ran(record, 60 * 24 * 2, 60 * 24 * 2 - 4, task="export", status="failed")
    rollups.refresh(session)
    # It ends after the refresh, so in the hour that is not over yet.
    now = datetime.now(UTC)
    minutes = min(26.0, (now.minute + now.second / 60) / 2)
    ran(record, minutes + 4, minutes, task="cleanup")
    record.job(status="pending", created_at=ago(seconds=90), task="cleanup")
    record.job(
        status="pending", created_at=ago(hours=5), scheduled_at=ago(hours=-1), task="cleanup"
    )
    record.job(status="retrying", created_at=ago(hours=5), scheduled_at=ago(seconds=5), task="b")

    told = client.get("/api/jobs/stats").json

    assert told["total_jobs"] == 6
    assert told["by_status"] == [
        {"status": "pending", "count": 3},
        {"status": "running", "count": 0},
        {"status": "completed", "count": 2},
        {"status": "failed", "count": 1},
        {"status": "cancelled", "count": 0},
    ]
    assert told["by_type"] == [
        {"job_type": "b", "count": 1},
        {"job_type": "cleanup", "count": 3},
        {"job_type": "export", "count": 2},
    ]
    assert told["average_duration_seconds"] == 180.0
    assert 90 <= told["oldest_pending_job_age_seconds"] < 120


def test_nobody_waits_in_an_empty_house(client: FlaskClient) -> None:
    told = client.get("/api/jobs/stats").json

    assert (told["total_jobs"], told["by_type"]) == (0, [])
    assert told["average_duration_seconds"] is told["oldest_pending_job_age_seconds"] is None


@pytest.mark.parametrize("path", ["/api/jobs", "/api/overlaps", "/api/stats"])
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": -1}, "hours"),
        ({"hours": "24"}, "hours"),
        ({"hours": None}, "hours"),
        ({"hours": 1e9}, "hours"),
        ({"hours": True}, "hours"),
    ],
)
def test_a_window_that_cannot_be_read_is_refused_by_name(
    client: FlaskClient, path: str, body: dict[str, Any], param: str
) -> None:
    assert error_of(client.post(path, json=body), 400)["param"] == param


def test_other_fields_that_cannot_be_read_are_refused_by_name(client: FlaskClient) -> None:
    for path, body, param in (
        ("/api/jobs", {"jobType": 7}, "jobType"),
        ("/api/overlaps", {"limit": 0}, "limit"),
        ("/api/overlaps", {"limit": "many"}, "limit"),
    ):
        assert error_of(client.post(path, json=body), 400)["param"] == param
    assert post(client, "/api/overlaps", limit=1_000_000)["count"] == 0
    error_of(client.post("/api/stats", data=b"nonsense"), 400)
    assert client.post("/api/stats").json == {"stats": [], "count": 0}


def test_people_see_their_own_jobs_only(
    make_client: Callable[[str | None], FlaskClient],
    client: FlaskClient,
    other_key: str,
    record: Record,
) -> None:
    ran(record, 50, 30, task="export", owner_name="kim")
    ran(record, 45, None, task="export", owner_name="ada")
    ran(record, 45, 35, task="cleanup")
    kim = make_client(other_key)

    assert [post(each, "/api/jobs")["count"] for each in (client, kim)] == [3, 1]
    assert [post(each, "/api/overlaps")["count"] for each in (client, kim)] == [3, 0]
    assert [post(each, "/api/stats")["count"] for each in (client, kim)] == [2, 1]
    told = kim.get("/api/jobs/stats").json
    assert (told["total_jobs"], told["by_type"]) == (1, [{"job_type": "export", "count": 1}])


def test_nobody_without_a_key_sees_anything(
    make_client: Callable[[str | None], FlaskClient],
) -> None:
    nobody = make_client(None)
    for path in ("/api/jobs", "/api/overlaps", "/api/stats"):
        error_of(nobody.post(path, json={}), 401)
    error_of(nobody.get("/api/jobs/stats"), 401)


def test_health_needs_no_key(make_client: Callable[[str | None], FlaskClient]) -> None:
    answer = make_client(None).get("/api/health")

    assert (answer.status_code, answer.json) == (
        200,
        {"status": "healthy", "database": "connected"},
    )


def test_a_database_that_is_away_is_said_so(settings: Settings, api_key: str) -> None:
    away = settings.database_url.rsplit("/", 1)[0] + "/nowhere"
    with app_with(settings, database_url=away) as app:
        client = app.test_client()
        headers = {"Authorization": f"Bearer {api_key}"}

        sick = client.get("/api/health")
        assert sick.status_code == 503
        assert sorted(sick.json) == ["error", "status"]
        assert sick.json["status"] == "unhealthy"
        assert "nowhere" not in sick.json["error"]
        assert sick.headers["Retry-After"]
        for path in ("/api/jobs", "/api/overlaps", "/api/stats"):
            answer = client.post(path, json={}, headers=headers)
            error_of(answer, 503)
            assert answer.headers["Retry-After"]
        for path in (
            "/api/jobs/stats",
            "/api/queues",
            "/api/workers",
            "/api/v1/jobs/queue/stats",
            "/platform/jobs/api/jobs/",
            "/platform/jobs/api/queues/",
            "/platform/jobs/api/performance/",
        ):
            error_of(client.get(path, headers=headers), 503)
