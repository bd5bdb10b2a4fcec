"""/api/jobs/search: words, fields, filters, facets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import job_lists, job_matching, job_orders, job_search
from tests.api.conftest import error_of
from tests.api.records import BEGIN, Record
from tests.api.test_api_jobs import JOB_FIELDS, ids, pages

META_FIELDS = ["total", "limit", "offset", "next_cursor", "has_more", "total_is_exact"]
FACETS = ["by_status", "by_type", "by_queue"]


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


@pytest.fixture
def jobs(record: Record) -> Record:
    """Eight jobs that differ in what a search can ask for."""
    record.job(arguments={"customer": 42, "to": {"name": "Kim Lee"}}, owner_name="kim")
    record.job(task="import", queue="slow", status="failed", run_ms=90_000, model="smol",
               worker_name="worker 1", error_type="RuntimeError",
               error_message="CUDA out of memory at step 4")  # fmt: skip
    record.job(task="import", queue="slow", status="failed", run_ms=500, error_message="100% full")
    record.job(status="running", message="row 12", owner_name="alex")
    record.job(status="pending", arguments={"customer": 421})
    record.job(status="cancelled", model="big", worker_name="worker 2")
    record.job(task="shop.mail", arguments={"text": "50_50 \\ ok", "customer": 7})
    record.job(task="shop.mail", created_at=BEGIN - timedelta(days=40), run_ms=61_000,
               status="retrying", error_message="connection reset")  # fmt: skip
    return record


def found(client: FlaskClient, q: str | None = None, **query: Any) -> list[int]:
    """The ids, in order."""
    if q is not None:
        query["q"] = q
    return ids(pages(client, "/api/jobs/search", **query))


def test_a_search_has_the_fields_that_clients_know(client: FlaskClient, jobs: Record) -> None:
    answer = client.get("/api/jobs/search?limit=3").json
    assert list(answer) == ["data", "meta", "aggregations"]
    assert all(list(job) == JOB_FIELDS for job in answer["data"])
    assert list(answer["meta"]) == META_FIELDS
    assert list(answer["aggregations"]) == FACETS
    assert (answer["meta"]["total"], answer["meta"]["total_is_exact"]) == (8, True)
    assert answer["aggregations"]["by_status"] == {
        "completed": 2,
        "failed": 2,
        "running": 1,
        "pending": 2,
        "cancelled": 1,
    }
    assert answer["aggregations"]["by_type"] == {"export": 4, "import": 2, "shop.mail": 2}
    assert answer["aggregations"]["by_queue"] == {"tasks": 6, "slow": 2}


def test_facets_count_all_pages_of_what_matches(client: FlaskClient, jobs: Record) -> None:
    for path in ("q=type:import", "job_type=import", "q=import", "q=import&offset=1&sort=status"):
        answer = client.get(f"/api/jobs/search?limit=1&{path}").json
        assert answer["aggregations"]["by_status"] == {"failed": 2}
        assert answer["aggregations"]["by_type"] == {"import": 2}
        assert answer["meta"]["total"] == 2


FINDS: list[tuple[str, list[int]]] = [
    ("memory", [2]),
    ("CUDA step", [2]),
    ('"out of memory"', [2]),
    ("of memory", [2]),
    ("full", [3]),
    ('"100% f"', [3]),
    ("100_", []),
    ("50_50", [7]),
    ('"50_50 \\\\ ok"', [7]),
    ("kim", [1]),
    ('"kim lee"', [1]),
    ("421", [5]),
    ("42", [5, 1]),
    ("zz", []),
    ("nowhere", []),
    ("row", []),  # a message is found once its job has ended
    ("-import", [7, 6, 5, 4, 1, 8]),
    ("import -memory", [3]),
    ("type:import", [3, 2]),
    ("type:import,shop.mail", [7, 3, 2, 8]),
    ("-type:export status:failed,completed", [7, 3, 2]),
    ("status:failed memory", [2]),
    ("status:processing", [4]),
    ("status:pending", [5, 8]),
    ("status:retrying", [8]),
    ("-status:completed,failed", [6, 5, 4, 8]),
    ("queue:slow", [3, 2]),
    ("user:kim", [1]),
    ("-user:kim queue:tasks", [7, 6, 5, 4, 8]),
    ("model:smol", [2]),
    ('worker:"worker 2"', [6]),
    ("id:3", [3]),
    ("id:1,3,99", [3, 1]),
    ("id:>6", [7, 8]),
    ('error:"out of memory"', [2]),
    ("error:runtimeerror", [2]),
    ("error:reset", [8]),
    ("error:4", [2]),
    ("-error:memory type:import", [3]),
    ("duration:>60", [2]),
    ("duration:>=90", [2]),
    ("duration:<1", [3]),
    ("duration:4", [7, 6, 1]),
    ("duration:<=1m type:import", [3]),
    ("args.customer:42", [1]),
    ("args.customer:7", [7]),
    ("args.to.name:\"kim lee\"", [1]),
    ("args.customer:4", []),
    ("-args.customer:42 type:export", [6, 5, 4]),
    ("created:<30d", [8]),
    ("created:>30d status:failed", [3, 2]),
    ("created:30d status:failed", [3, 2]),
    ("completed:>30d queue:slow", [3, 2]),
    ("started:<30d", [8]),
    ("type:nothing", []),
]  # fmt: skip


def test_a_search_finds(client: FlaskClient, jobs: Record) -> None:
    for q, expected in FINDS:
        assert found(client, q) == expected, q
        assert found(client, q, limit=1) == expected, q
        for sort in ("status", "started_at", "job_type"):
            assert sorted(found(client, q, sort=sort, limit=2)) == sorted(expected), (q, sort)


COMMON = ["export", "export -kim", "import status:failed", "shop mail", "-zz"]


@pytest.mark.parametrize("common", [0, 3])
def test_what_is_common_is_found_like_what_is_rare(
    client: FlaskClient, jobs: Record, monkeypatch: pytest.MonkeyPatch, common: int
) -> None:
    expected_of = {q: found(client, q) for q in COMMON}
    for module in (job_lists, job_matching, job_orders, job_search):
        monkeypatch.setattr(module, "COUNT_LIMIT", common)
    for q, expected in expected_of.items():
        assert expected
        assert found(client, q, limit=2) == expected, q
        assert sorted(found(client, q, sort="progress", limit=2)) == sorted(expected), q
        answer = client.get("/api/jobs/search", query_string={"q": q, "limit": 1}).json
        assert answer["meta"]["total_is_exact"] == (len(expected) <= common), q
        assert answer["meta"]["total"] <= len(expected), q


def test_short_words_alone_are_looked_for_among_the_newest_jobs(
    client: FlaskClient, jobs: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "LOOSE_LIMIT", 4)
    answer = client.get("/api/jobs/search?q=42").json
    assert ids(answer["data"]) == [5]
    assert answer["meta"]["total_is_exact"] is False
    # With a longer word or another condition they are found wherever they are.
    assert found(client, "42 export") == [5, 1]
    assert found(client, "42 user:kim") == [1]


def test_filters_are_asked_by_parameters_too(client: FlaskClient, jobs: Record) -> None:
    assert found(client, status="failed,cancelled") == [6, 3, 2]
    assert found(client, job_type="import", queue="slow", status="failed") == [3, 2]
    assert found(client, user="kim") == [1]
    assert found(client, model="big") == [6]
    assert found(client, worker="worker 1") == [2]
    assert found(client, has_error="true") == [3, 2, 8]
    assert found(client, has_error="false") == [7, 6, 5, 4, 1]
    assert found(client, min_duration="60") == [2]
    assert found(client, max_duration="0.5") == [3]
    assert found(client, min_duration="1", max_duration="10") == [7, 6, 1]
    before = (BEGIN - timedelta(days=10)).isoformat()
    assert found(client, created_before=before) == [8]
    assert found(client, created_after=before, status="failed") == [3, 2]
    assert found(client, completed_after=before, job_type="import") == [3, 2]
    assert found(client, completed_before=before) == []
    assert found(client, started_before=before) == [8]
    assert found(client, started_after=before, job_type="import") == [3, 2]
    assert found(client, "memory", has_error="true", min_duration="60") == [2]


UNREADABLE = [
    ("created_after", "soon"),
    ("created_before", "2026-13-01"),
    ("completed_after", "0"),
    ("completed_before", "9999-12-31T23:59:59-12:00"),
    ("has_error", "perhaps"),
    ("min_duration", "-1"),
    ("max_duration", "nan"),
    ("max_duration", "long"),
    ("q", "colour:red"),
    ("q", "status:done"),
    ("q", "duration:>soon"),
    ("q", "-duration:>5"),
    ("q", "created:soon"),
    ("q", "id:>1,2"),
    ("q", 'error:"never closed'),
]


def test_what_cannot_be_asked_is_refused_by_its_name(client: FlaskClient, jobs: Record) -> None:
    for param, value in UNREADABLE:
        error = error_of(client.get("/api/jobs/search", query_string={param: value}), 400)
        assert error["param"] == param, value


def test_a_mistake_in_the_text_is_told_by_its_column(client: FlaskClient) -> None:
    query = {"q": "type:export colour:red"}
    error = error_of(client.get("/api/jobs/search", query_string=query), 400)
    assert error["message"].startswith("column 13: there is no field 'colour'")


def test_statuses_that_no_job_can_have_at_once_find_nothing(
    client: FlaskClient, jobs: Record
) -> None:
    for sort in ("created_at", "status", "progress"):
        assert found(client, "status:failed", status="running", sort=sort) == []
    assert found(client, "-status:pending,running,completed,failed,cancelled") == []


def test_dates_are_whole_days(client: FlaskClient, record: Record) -> None:
    day = datetime(2026, 3, 4, tzinfo=UTC)
    moments = [day - timedelta(seconds=1), day, day + timedelta(hours=23), day + timedelta(days=1)]
    for moment in moments:
        record.job(created_at=moment)
    assert found(client, "created:2026-03-04") == [3, 2]
    assert found(client, "created:>2026-03-04") == [4]
    assert found(client, "created:>=2026-03-04") == [4, 3, 2]
    assert found(client, "created:<2026-03-04") == [1]
    assert found(client, "created:<=2026-03-04") == [3, 2, 1]
