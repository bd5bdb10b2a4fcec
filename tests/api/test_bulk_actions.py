"""Bulk actions for programs: each with its filter and how far it came, job by job with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import bulk_items
from tests.api.conftest import error_of
from tests.pages.job_seed import add_job

LATE = "A job that is running can't be retried."


@pytest.fixture(autouse=True)
def no_items(session: Session) -> Iterator[None]:
    yield
    session.rollback()
    session.execute(text("DELETE FROM bulk_item"))
    session.commit()


def ask(client: FlaskClient, path: str = "", **query: object) -> dict[str, Any]:
    answer = client.get(f"/api/jobs/bulk-actions{path}", query_string=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def add_bulk(session: Session, job_id: int, status: str = "completed", **fields: Any) -> None:
    asked = {"action": "retry", "filter": {"status": "failed"}, "scopes": ["submit"]}
    fields = {"task": "bulk", "queue": "tasks", "arguments": asked, **fields}
    add_job(session, job_id, status, **fields)


def add_items(session: Session) -> None:
    """Of bulk action 8: one job made again, three skipped for two reasons."""
    add_job(session, 11, "pending", retried_from=1)
    bulk_items.record_done(session, 8, (1, "mail"), 11)
    for number in (2, 3):
        bulk_items.record_skipped(session, 8, (number, "mail"), LATE)
    bulk_items.record_skipped(session, 8, (4, "mail"), "There is no job '4'.")
    session.commit()


def test_bulk_actions_are_listed_newest_first_in_pages(
    session: Session, client: FlaskClient
) -> None:
    add_bulk(session, 7, minutes=20, owner_name="ann", items_done=0, items_total=0,
             result={"action": "retry", "matching": 0, "done": 0, "skipped": 0})  # fmt: skip
    add_bulk(session, 8, "running", minutes=3, progress=40, items_total=9)
    add_items(session)
    first = ask(client, limit=1)
    assert first["has_more"]
    (running,) = first["bulk_actions"]
    assert (running["job_id"], running["action"], running["status"]) == ("8", "retry", "running")
    assert running["filter"] == {"status": "failed"}
    assert (running["done"], running["skipped"], running["matching"]) == (1, 3, 9)
    second = ask(client, limit=1, cursor=first["next_cursor"])
    assert [each["job_id"] for each in second["bulk_actions"]] == ["7"]
    assert second["bulk_actions"][0]["owner"] == "ann"
    assert (second["has_more"], second["next_cursor"]) == (False, None)


def test_one_tells_why_it_skipped_what_and_each_job(session: Session, client: FlaskClient) -> None:
    add_bulk(session, 8)
    add_items(session)
    one = ask(client, "/8")
    assert one["reasons"] == [{"kind": LATE, "jobs": 2}, {"kind": "There is no job …", "jobs": 1}]

    skipped = ask(client, "/8/jobs", limit=2)
    rest = ask(client, "/8/jobs", limit=2, cursor=skipped["next_cursor"])
    told = [(each["job_id"], each["reason"]) for each in skipped["jobs"] + rest["jobs"]]
    assert told == [("2", LATE), ("3", LATE), ("4", "There is no job '4'.")]
    assert not rest["has_more"]
    assert [each["job_id"] for each in ask(client, "/8/jobs", kind=LATE)["jobs"]] == ["2", "3"]
    (done,) = ask(client, "/8/jobs", outcome="done")["jobs"]
    assert (done["job_id"], done["job_type"], done["found_id"]) == ("1", "mail", "11")
    assert (done["outcome"], done["reason"]) == ("done", None)


def test_one_that_cannot_be_read_is_told_without_its_action(
    session: Session, client: FlaskClient
) -> None:
    add_bulk(session, 8, arguments={"another": "app"})
    one = ask(client, "/8")
    assert (one["action"], one["filter"], one["reasons"]) == (None, None, [])


def test_what_is_no_bulk_action_or_cannot_be_read_is_refused(
    session: Session, client: FlaskClient
) -> None:
    add_job(session, 5)
    for path in ("/5", "/5/jobs", "/99", "/x"):
        error_of(client.get(f"/api/jobs/bulk-actions{path}"), 404)
    add_bulk(session, 8)
    for path, param in (
        ("?cursor=x", "cursor"),
        ("?limit=none", "limit"),
        ("/8/jobs?outcome=perhaps", "outcome"),
        ("/8/jobs?cursor=x", "cursor"),
        (f"/8/jobs?kind={'x' * 301}", "kind"),
    ):
        error = error_of(client.get(f"/api/jobs/bulk-actions{path}"), 400)
        assert error["param"] == param


def test_somebody_elses_are_not_there(
    session: Session, make_client: Callable[[str | None], FlaskClient], other_key: str
) -> None:
    add_bulk(session, 7, owner_name="ann")
    add_bulk(session, 8, owner_name="kim")
    kim = make_client(other_key)
    assert [each["job_id"] for each in ask(kim)["bulk_actions"]] == ["8"]
    for path in ("/7", "/7/jobs"):
        error_of(kim.get(f"/api/jobs/bulk-actions{path}"), 404)
    assert make_client(None).get("/api/jobs/bulk-actions").status_code == 401
