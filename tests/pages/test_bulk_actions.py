"""Bulk actions, found again: what each was, how far it came, and what it did to every job."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import bulk_items
from tests.pages.conftest import Complaints, violations
from tests.pages.job_seed import add_job, no_jobs

pytestmark = pytest.mark.usefixtures("no_jobs", "no_items")

__all__ = ["no_jobs"]

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
LATE = "A job that is running can't be retried."


@pytest.fixture
def no_items(session: Session) -> Iterator[None]:
    yield
    session.rollback()
    session.execute(text("DELETE FROM bulk_item"))
    session.commit()


def add_bulk(session: Session, job_id: int, status: str = "completed", **fields: Any) -> int:
    """A bulk action's job: a retry of what failed, unless it is said otherwise."""
    asked = {"action": "retry", "filter": {"status": "failed"}, "scopes": ["read", "submit"]}
    fields = {"task": "bulk", "queue": "tasks", "arguments": asked, **fields}
    return add_job(session, job_id, status, **fields)


def add_items(session: Session, bulk_id: int) -> None:
    """Two jobs were made again, 60 skipped for one reason and one for another."""
    for number in (1, 2):
        add_job(session, number, "failed", minutes=30)
        add_job(session, 10 + number, "pending", minutes=20, retried_from=number)
        bulk_items.record_done(session, bulk_id, (number, "mail"), 10 + number)
    for number in range(100, 160):
        bulk_items.record_skipped(session, bulk_id, (number, "mail"), LATE)
    bulk_items.record_skipped(session, bulk_id, (7, "=mail"), "There is no job '7'.")
    session.commit()


def page_of(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_bulk_job_tells_every_reason_with_its_count(session: Session, sign_in: SignIn) -> None:
    result = {"action": "retry", "matching": 63, "done": 2, "skipped": 61, "errors": []}
    add_bulk(session, 8, result=result, items_done=63, items_total=63)
    add_items(session, 8)
    client = sign_in()

    page = page_of(client, "/jobs/8")
    assert "Why jobs were skipped" in page
    assert "There is no job …" in page
    assert 'href="/jobs?q=bulk:8"' in page
    assert "The 2 new jobs" in page
    assert "Still to come" not in page

    found = page_of(client, "/jobs?q=bulk:8")
    assert "2 jobs" in found
    assert 'id="row-11"' in found
    assert 'id="row-12"' in found
    assert 'id="row-1"' not in found


def test_every_skipped_job_is_reachable_in_pages_and_as_a_table(
    session: Session, sign_in: SignIn
) -> None:
    add_bulk(session, 8)
    add_items(session, 8)
    client = sign_in()

    seen: list[str] = []
    path = "/jobs/bulk-actions/8"
    while path:
        page = page_of(client, path)
        seen += [part.split('"')[0] for part in page.split('id="item-')[1:]]
        after = page.split('rel="next" href="')
        path = after[1].split('"')[0].replace("&amp;", "&") if len(after) > 1 else ""
    assert seen == [*(str(number) for number in range(100, 160)), "7"]

    rows = list(csv.DictReader(io.StringIO(page_of(client, "/jobs/bulk-actions/8/jobs.csv"))))
    assert len(rows) == 61
    assert (rows[0]["job_id"], rows[0]["outcome"], rows[0]["reason"]) == ("100", "skipped", LATE)
    assert rows[-1]["job_type"] == "'=mail"  # a spreadsheet takes it for no formula
    some = page_of(client, "/jobs/bulk-actions/8/jobs.csv?kind=There is no job …")
    assert len(some.splitlines()) == 2
    done = page_of(client, "/jobs/bulk-actions/8?outcome=done")
    assert 'href="/jobs/11"' in done


def test_one_that_runs_says_how_far_it_is_and_can_be_cancelled(
    session: Session, sign_in: SignIn
) -> None:
    add_bulk(session, 8, "running", items_done=63, items_total=100, progress=63)
    add_items(session, 8)
    client = sign_in()

    page = page_of(client, "/jobs/8")
    assert "How far it is" in page
    assert "Still to come</dt><dd>37<" in page
    assert 'href="/jobs/8/cancel"' in page
    listed = page_of(client, "/jobs/bulk-actions")
    assert 'href="/jobs/8/cancel"' in listed
    assert "data-live" in listed


def test_one_that_was_cancelled_says_what_it_has_done(session: Session, sign_in: SignIn) -> None:
    add_bulk(session, 8, "cancelled", items_done=63, items_total=100)
    add_items(session, 8)
    page = page_of(sign_in(), "/jobs/8")
    assert "It was cancelled before its end." in page
    assert "Not come to</dt><dd>37<" in page


def test_the_deleted_jobs_are_listed_without_their_records(
    session: Session, sign_in: SignIn
) -> None:
    add_bulk(session, 8, arguments={"action": "delete", "filter": {"q": "id:5"}, "scopes": []})
    bulk_items.record_done(session, 8, (5, "mail"), None)
    session.commit()
    client = sign_in()
    assert "1 job that was picked" in page_of(client, "/jobs/8")
    page = page_of(client, "/jobs/bulk-actions/8?outcome=done")
    assert 'id="item-5"' in page
    assert 'href="/jobs/5"' not in page


def test_the_bulk_actions_are_found_again_with_their_filter(
    session: Session, sign_in: SignIn
) -> None:
    asked = {"status": "failed", "job_type": "send mail", "created_after": "2026-11-01T08:00:00Z"}
    for number in range(60):
        arguments = {"action": "cancel", "filter": asked, "scopes": []}
        add_bulk(session, 1000 + number, minutes=number, arguments=arguments)
    add_bulk(session, 5, owner_name="kim", arguments={"action": "cancel", "filter": {}})
    add_bulk(session, 6, arguments={"of": "another app"})
    client = sign_in()

    page = page_of(client, "/jobs/bulk-actions")
    search = "status:failed type:&#34;send mail&#34; created:&gt;=2026-11-01T08:00:00Z"
    assert search in page
    assert "all jobs" in page
    assert page.count('id="bulk-1') == 48
    after = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert page_of(client, after).count('id="bulk-1') == 12

    theirs = page_of(sign_in("kim", "user"), "/jobs/bulk-actions")
    assert 'id="bulk-5"' in theirs
    assert theirs.count('<tr id="bulk-') == 1


def test_nobody_sees_what_is_somebody_elses_or_no_bulk_action(
    session: Session, sign_in: SignIn
) -> None:
    add_bulk(session, 8)
    add_items(session, 8)
    kim = sign_in("kim", "user")
    for path in ("/jobs/bulk-actions/8", "/jobs/bulk-actions/8/jobs.csv"):
        assert kim.get(path).status_code == 404
    assert "No job matches" in page_of(kim, "/jobs?q=bulk:8")
    client = sign_in()
    assert client.get("/jobs/bulk-actions/1").status_code == 404
    assert client.get("/jobs/bulk-actions/x").status_code == 404
    for query in ("outcome=maybe", "cursor=nonsense", "kind=" + "x" * 400):
        assert client.get(f"/jobs/bulk-actions/8?{query}").status_code == 400


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_everybody_can_read_the_pages(
    open_page: Open, session: Session, complaints: Complaints, width: int
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    add_bulk(session, 8)
    add_items(session, 8)
    add_bulk(session, 9, "running", items_done=5, items_total=100, progress=5)
    for path in ("/jobs/8", "/jobs/bulk-actions", "/jobs/bulk-actions/8"):
        page = open_page(path, width=width)
        expect(page.locator("main")).to_contain_text("8")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_a_running_one_is_cancelled_from_the_list_of_them(
    open_page: Open, session: Session
) -> None:
    add_bulk(session, 9, "running", items_done=5, items_total=100, progress=5)
    page = open_page("/jobs/bulk-actions")
    page.locator("#bulk-9").get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-dialog")).to_contain_text("The job completes its current operation")
