"""/api/jobs: the list, its pages, types, and who sees what."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import keys, users
from app.core.models import User
from app.core.settings import Settings
from tests.api.conftest import error_of
from tests.api.records import Record
from tests.api.test_faults import app_with

LIST_FIELDS = ["items", "pagination"]
PAGINATION_FIELDS = ["total", "limit", "offset", "cursor", "next_cursor", "has_more"]
JOB_FIELDS = [
    "job_id",
    "job_type",
    "status",
    "progress",
    "message",
    "created_at",
    "started_at",
    "completed_at",
    "result",
    "error",
]
SORTS = ["created_at", "started_at", "completed_at", "progress", "job_type", "status"]
STATUSES = ["pending", "retrying", "running", "completed", "failed", "cancelled"]


@pytest.fixture
def record(session: Session) -> Record:
    return Record(session)


@pytest.fixture
def mixed(record: Record) -> Record:
    """Thirty jobs of every status, of three types in two queues, with ties in every order."""
    for number in range(30):
        status = STATUSES[number % 6]
        record.job(
            status=status,
            task=f"type_{number % 3}",
            queue=f"queue_{number % 2}",
            progress=100 if status == "completed" else number % 4 * 10,
        )
    # Cancelled before it was fetched.
    record.job(status="cancelled", started_at=None, attempts=0)
    return record


def pages(client: FlaskClient, path: str = "/api/jobs", **query: Any) -> list[dict[str, Any]]:
    """All jobs of a list, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = client.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        found += answer.json.get("items", answer.json.get("data"))
        place = answer.json.get("pagination", answer.json.get("meta"))
        assert place["has_more"] == (place["next_cursor"] is not None)
        if not place["has_more"]:
            return found
        query["cursor"] = place["next_cursor"]


def ids(jobs: list[dict[str, Any]]) -> list[int]:
    return [int(job["job_id"]) for job in jobs]


def test_a_list_has_the_fields_that_clients_know(client: FlaskClient, record: Record) -> None:
    record.job(status="failed", message="step 3", error_message="no space", result=None)
    record.job(result={"rows": 3})
    page = client.get("/api/jobs").json
    assert list(page) == LIST_FIELDS
    assert list(page["pagination"]) == [*PAGINATION_FIELDS, "total_is_exact"]
    done, failed = page["items"]
    assert list(done) == list(failed) == JOB_FIELDS
    assert (done["job_id"], done["status"], done["progress"]) == ("2", "completed", 100)
    assert done["result"] == {"rows": 3}
    assert done["error"] is None
    assert (failed["status"], failed["error"], failed["message"]) == (
        "failed",
        "no space",
        "step 3",
    )
    for job in (done, failed):
        for name in ("created_at", "started_at", "completed_at"):
            assert datetime.fromisoformat(job[name]).utcoffset() == timedelta(0)
    pagination = page["pagination"]
    assert (pagination["total"], pagination["limit"], pagination["offset"]) == (2, 50, 0)
    assert pagination["has_more"] is False
    assert pagination["total_is_exact"] is True


def test_a_large_result_is_given_with_its_job_only(client: FlaskClient, record: Record) -> None:
    digits = [str(hash((number, "x"))) for number in range(20_000)]
    job = record.job(result=digits)
    assert client.get("/api/jobs").json["items"][0]["result"] is None
    assert client.get(f"/api/jobs/{job.id}").json["result"] == digits


def test_pages_of_every_order_give_each_job_once_and_in_order(
    client: FlaskClient, mixed: Record
) -> None:
    for sort, order in product(SORTS, ("asc", "desc")):
        check_order(client, sort, order)


def check_order(client: FlaskClient, sort: str, order: str) -> None:
    found = pages(client, sort=sort, order=order, limit=4)
    assert sorted(ids(found)) == list(range(1, 32))
    whole = client.get("/api/jobs", query_string={"sort": sort, "order": order}).json["items"]
    assert ids(found) == ids(whole)
    if sort == "status":
        runs = [job["status"] for job in found]
        changes = sum(one != other for one, other in pairwise(runs))
        assert changes == len(set(runs)) - 1
    else:
        values = [job[sort] for job in found if job[sort] is not None]
        assert values == sorted(values, reverse=order == "desc")
        # What has no value comes last, whichever way.
        assert all(job[sort] is None for job in found[len(values) :])


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "pending"},
        {"status": "failed,cancelled"},
        {"status": "completed"},
        {"job_type": "type_1"},
        {"job_type": "type_1", "queue": "queue_1", "status": "processing,failed"},
    ],
)
def test_filters_hold_in_every_order(
    client: FlaskClient, mixed: Record, filters: dict[str, str]
) -> None:
    everything = pages(client)
    wanted = filters.get("status", "").replace("processing", "running").split(",")
    expected = [
        job["job_id"]
        for job in everything
        if (wanted == [""] or job["status"] in wanted)
        and filters.get("job_type", job["job_type"]) == job["job_type"]
        and ("queue" not in filters or int(job["job_id"]) % 2 == 0)
    ]
    for sort, order in product(SORTS, ("asc", "desc")):
        found = pages(client, sort=sort, order=order, limit=3, **filters)
        assert sorted(job["job_id"] for job in found) == sorted(expected), (sort, order)


def test_a_page_goes_on_where_it_ended_whatever_came_in_between(
    client: FlaskClient, record: Record
) -> None:
    for _ in range(6):
        record.job()
    first = client.get("/api/jobs", query_string={"limit": 3}).json
    record.job()
    cursor = first["pagination"]["next_cursor"]
    second = client.get("/api/jobs", query_string={"limit": 3, "cursor": cursor}).json
    assert ids(first["items"]) == [6, 5, 4]
    assert ids(second["items"]) == [3, 2, 1]
    assert second["pagination"]["cursor"] == cursor


def test_an_offset_still_works(client: FlaskClient, mixed: Record) -> None:
    whole = {
        sort: ids(client.get("/api/jobs", query_string={"sort": sort}).json["items"])
        for sort in SORTS
    }
    for sort, offset in product(SORTS, (0, 1, 10, 29, 30, 31, 100, 2**62)):
        query = {"sort": sort, "offset": offset, "limit": 3}
        page = client.get("/api/jobs", query_string=query).json
        assert ids(page["items"]) == whole[sort][offset : offset + 3]
        assert page["pagination"]["offset"] == offset
        assert page["pagination"]["has_more"] == (offset + 3 < 31)


def test_a_job_that_is_due_later_is_pending_and_can_be_asked_for(
    client: FlaskClient, record: Record
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    scheduled = record.job(status="pending", scheduled_at=later)
    record.job(status="pending")
    both = client.get("/api/jobs?status=pending").json["items"]
    assert [job["status"] for job in both] == ["pending", "pending"]
    assert ids(client.get("/api/jobs?status=scheduled").json["items"]) == [scheduled.id]


def test_a_limit_is_clamped(client: FlaskClient, record: Record) -> None:
    assert client.get("/api/jobs?limit=5000").json["pagination"]["limit"] == 1000
    assert client.get("/api/jobs/search?limit=5000").json["meta"]["limit"] == 1000
    job = record.job()
    assert client.get(f"/api/jobs/{job.id}/logs?limit=20000").status_code == 200


UNREADABLE = [
    ("limit", "0"),
    ("limit", "many"),
    ("offset", "-1"),
    ("offset", "x"),
    ("status", "done"),
    ("status", "failed,,"),
    ("sort", "id"),
    ("sort", "created_at; DROP TABLE job"),
    ("order", "up"),
    ("cursor", "x"),
    ("cursor", "é"),
    ("cursor", base64.urlsafe_b64encode(b"[1]").decode()),
    ("cursor", base64.urlsafe_b64encode(b'["jobs created_at desc 0", "x", 1]').decode()),
    ("cursor", base64.urlsafe_b64encode(b'["jobs created_at desc 0", 1, true]').decode()),
    ("cursor", base64.urlsafe_b64encode(b'["jobs status asc 0", 1, 2]').decode()),
    ("cursor", "A" * 3000),
]


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/search"])
def test_what_cannot_be_read_is_refused_by_its_name(client: FlaskClient, path: str) -> None:
    for param, value in UNREADABLE:
        error = error_of(client.get(path, query_string={param: value}), 400)
        assert error["param"] == param, value


def test_a_cursor_of_another_order_is_refused(client: FlaskClient, mixed: Record) -> None:
    cursor = client.get("/api/jobs?limit=1&sort=progress").json["pagination"]["next_cursor"]
    query = {"cursor": cursor, "sort": "started_at"}
    error = error_of(client.get("/api/jobs", query_string=query), 400)
    assert error["param"] == "cursor"
    assert "another order" in error["message"]


def test_types_are_the_built_in_ones_and_those_of_the_record(
    client: FlaskClient, record: Record
) -> None:
    for task in ("shop.mail", "shop.mail", "billing"):
        record.job(task=task)
    answer = client.get("/api/jobs/types").json
    assert list(answer) == ["job_types"]
    assert all(list(each) == ["name", "label", "description"] for each in answer["job_types"])
    labels = {each["name"]: each["label"] for each in answer["job_types"]}
    assert labels["batch_audit"] == "Batch Audit"
    assert labels["shop.mail"] == "shop.mail"
    names = [each["name"] for each in answer["job_types"]]
    assert names == sorted(set(names))
    assert {"shop.mail", "billing", "export", "batch_audit", "cleanup"} <= set(names)
    assert all(each["description"] for each in answer["job_types"])


@pytest.fixture
def kims(record: Record) -> int:
    """Kim's job, beside one of somebody else and one of nobody."""
    record.job(owner_name="alex", task="theirs")
    record.job(task="nobodys")
    return record.job(owner_name="kim", task="shop.mail").id


def test_others_see_only_their_own_jobs(
    make_client: Callable[[str], FlaskClient], kims: int, other_key: str
) -> None:
    kim = make_client(other_key)
    for sort in SORTS:
        assert ids(pages(kim, sort=sort)) == [kims]
    assert ids(pages(kim, "/api/jobs/search")) == [kims]
    assert ids(pages(kim, "/api/jobs/search", q="theirs")) == []
    assert ids(pages(kim, "/api/jobs/search", user="alex")) == []
    found = kim.get("/api/jobs/search").json
    assert found["aggregations"]["by_type"] == {"shop.mail": 1}
    assert kim.get("/api/jobs").json["pagination"]["total"] == 1
    names = [each["name"] for each in kim.get("/api/jobs/types").json["job_types"]]
    assert "shop.mail" in names
    assert "theirs" not in names
    for below in ("", "/detail", "/history", "/logs"):
        assert kim.get(f"/api/jobs/{kims}{below}").status_code == 200
        for job in (kims - 1, kims - 2, 999):
            error_of(kim.get(f"/api/jobs/{job}{below}"), 404)


def test_an_operator_sees_everybodys_jobs(
    make_client: Callable[[str], FlaskClient], session: Session, kims: int
) -> None:
    session.add(User(name="ola", role="operator"))
    session.flush()
    _, key = keys.create(session, users.get(session, "ola"), "ola's")
    session.commit()
    assert ids(pages(make_client(key))) == [3, 2, 1]


PATHS = ["", "/types", "/search?q=abc", "/1", "/1/detail", "/1/history", "/1/logs"]


def test_nobody_reads_without_a_key(make_client: Callable[[str | None], FlaskClient]) -> None:
    for path in PATHS:
        error_of(make_client(None).get("/api/jobs" + path), 401)


def test_a_database_that_does_not_answer_is_a_503(
    settings: Settings, engine: Engine, api_key: str
) -> None:
    with app_with(settings, page_timeout_seconds=0.2) as app, engine.begin() as other:
        other.execute(text("LOCK TABLE job IN ACCESS EXCLUSIVE MODE"))
        for path in PATHS:
            headers = {"Authorization": f"Bearer {api_key}"}
            answer = app.test_client().get("/api/jobs" + path, headers=headers)
            assert error_of(answer, 503)["type"] == "service_unavailable_error"
            assert int(answer.headers["Retry-After"]) > 0
