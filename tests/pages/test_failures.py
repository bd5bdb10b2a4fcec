"""What fails, by what went wrong, and one action on all of a kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import failures, job_bulk, users
from app.core.models import Job
from app.core.tasks import Bulk, BulkFilter
from tests.pages import record_seed

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


def fail(session: Session, message: str | None, **fields: object) -> int:
    values = {"task": "import", "error_type": "ValueError", "error_message": message, **fields}
    return record_seed.add_job(session, "failed", **values)


def find(session: Session, hours: float = 24, **asked: str) -> failures.Failures:
    until = datetime.now(UTC)
    return failures.find(session, since=until - timedelta(hours=hours), until=until, **asked)


def test_failures_are_the_same_whatever_numbers_and_ids_are_in_them(session: Session) -> None:
    fail(session, "row 17 is empty\nsecond line", minutes=90)
    newest = fail(session, "row 18 is empty", minutes=10)
    fail(session, "no file file-0af31b2c99", minutes=11)
    fail(session, "no file file-ffffffff01", minutes=12)
    fail(session, "row 18 is empty", minutes=13, error_type="KeyError")
    fail(session, "row 18 is empty", minutes=13, task="export")
    fail(session, None, minutes=5, error_type=None)
    fail(session, "row 19 is empty", minutes=3000)
    found = find(session)
    assert [group.jobs for group in found.groups] == [2, 2, 1, 1, 1]
    rows = next(group for group in found.groups if group.job_id == newest)
    assert rows.message == "row 18 is empty"
    assert rows.first_at < rows.last_at
    assert sum(rows.counts) == 2
    assert len([count for count in rows.counts if count]) == 2
    assert found.back_to is None
    assert find(session, 100).jobs == 8


def test_a_group_is_found_again_by_its_fingerprint_and_nothing_else_is(session: Session) -> None:
    same = {fail(session, f"row {number} is é {number:08x}…") for number in (1, 22, 333)}
    fail(session, "row 4 is another")
    fail(session, "row 5 is é", task="export")
    (group,) = [group for group in find(session).groups if group.jobs == 3]
    admin = users.actor_of(users.ensure_admin(session))
    asked = BulkFilter(status="failed", job_type="import", error_fingerprint=group.fingerprint)
    assert job_bulk.preview(session, "retry", asked, admin).matching == 3
    bulk = Bulk(action="delete", filter=asked, scopes=sorted(admin.scopes))
    matching = job_bulk.find_jobs(session, bulk, admin, datetime.now(UTC))
    assert {job_id for job_id, _ in matching} == same


def test_it_is_said_when_older_failures_were_not_looked_at(
    session: Session, monkeypatch: pytest.MonkeyPatch, sign_in: SignIn
) -> None:
    for minutes in (1, 2, 3):
        fail(session, "no", minutes=minutes)
    monkeypatch.setattr(failures, "MOST_JOBS", 2)
    found = find(session)
    assert found.jobs == 2
    assert found.back_to is not None
    client = sign_in()
    page = client.get("/failures").text
    assert "Only the 2 jobs that failed last are looked at" in page
    # Nor are those acted on.
    (url,) = re.findall(r'href="(/failures/[0-9a-f]+/retry[^"]*)"', page)
    assert "Retry 2 failed jobs?" in client.get(url.replace("&amp;", "&")).text


def test_a_user_sees_and_acts_on_own_failures_only(session: Session, sign_in: SignIn) -> None:
    fail(session, "mine", owner_name="ann")
    fail(session, "theirs", owner_name="bob")
    client = sign_in("ann", "user")
    page = client.get("/failures").text
    assert "mine" in page
    assert "theirs" not in page
    (group,) = find(session, owner_name="bob").groups
    asked = client.get(f"/failures/{group.fingerprint}/delete?type=import").text
    assert "Nothing to delete" in asked


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/failures/x/retry", 404),
        ("/failures/" + "0" * 32 + "/abort", 404),
        ("/failures/" + "0" * 32 + "/retry?range=no", 400),
        ("/failures/" + "0" * 32 + "/retry?type=%00", 200),
        ("/failures?range=dates&from=no", 400),
        ("/failures?type=" + "x" * 3000, 200),
    ],
)
def test_what_a_client_sends_is_never_our_fault(sign_in: SignIn, path: str, status: int) -> None:
    assert sign_in().get(path).status_code == status


def test_a_message_is_shown_and_never_obeyed(session: Session, sign_in: SignIn) -> None:
    fail(session, "<img src=x onerror=alert(1)>\u202e\x1b[31m", error_type="<script>")
    page = sign_in().get("/failures").text
    assert "<img src=x" not in page
    assert "<script>" not in re.sub(r"<script (defer )?src=", "", page)
    assert "⟨202E⟩" in page


@pytest.mark.browser
def test_a_group_is_retried_after_it_was_shown_what_that_is(
    open_page: Open, session: Session
) -> None:
    for number in (1, 2, 3):
        fail(session, f"row {number} is empty")
    page = open_page("/failures?type=import")
    group = page.locator(".group")
    expect(group).to_have_count(1)
    expect(group.locator(".how-many")).to_contain_text("3")
    expect(group.locator(".spark rect")).not_to_have_count(0)
    group.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 3 failed jobs?")
    expect(page.locator(".ask li")).to_have_count(3)
    page.get_by_role("button", name="Retry them").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Bulk Action")
    session.rollback()
    bulk = session.scalars(select(Job).where(Job.task == "bulk")).one()
    assert bulk.arguments["action"] == "retry"
    assert bulk.arguments["filter"]["job_type"] == "import"
    assert set(bulk.arguments["filter"]) >= {"error_fingerprint", "completed_after"}


@pytest.mark.browser
def test_a_window_without_failures_says_so(open_page: Open) -> None:
    page = open_page("/failures?range=6h&type=nothing")
    expect(page.locator(".empty")).to_contain_text("No job of this type failed, last 6 hours.")
    page.locator(".empty").get_by_role("button", name="Clear all").click()
    expect(page).to_have_url(re.compile("/failures$"))
    expect(page.locator("[name=range]:checked")).to_have_value("")


@pytest.mark.browser
@pytest.mark.usefixtures("clear_jobs")
def test_a_group_and_each_bar_of_it_lead_to_their_jobs(open_page: Open, session: Session) -> None:
    for minutes, words in ((200, "line 1 is empty"), (10, "line 2 is empty"), (5, "no answer")):
        record_seed.add_job(
            session, "failed", minutes=minutes, error_type="ValueError", error_message=words
        )
    page = open_page("/failures")
    group = page.locator(".group", has_text="is empty")
    latest = group.locator(".spark a").last.get_attribute("href")

    group.locator(".how-many a").click()
    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    page.goto(latest or "")
    expect(page.locator("#jobs-count")).to_have_text("1 job")
