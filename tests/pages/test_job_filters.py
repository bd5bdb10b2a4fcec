"""The menus beside the search: a stretch of time, types by their labels, and each filter as a chip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tests.pages.conftest import Complaints, wait_until_so
from tests.pages.job_seed import add_job, no_jobs

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


@pytest.mark.browser
def test_a_stretch_of_time_is_chosen_typed_and_taken_away(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # of the times that can't be
    add_job(session, 1, minutes=1)
    add_job(session, 2, minutes=60 * 30)
    add_job(session, 3, minutes=60 * 24 * 10)
    page = open_page("/jobs")
    expect(page.locator("#jobs-filters [name=time]")).to_be_hidden()

    page.locator("#jobs-filters [name=range]").select_option("Last 7 days")
    expect(page.locator("#jobs-count")).to_have_text("2 jobs")
    expect(page.locator(".chip")).to_have_text("Created: last 7 days")
    page.locator("#jobs-filters [name=time]").select_option("when completed")
    expect(page.locator(".chip")).to_have_text("Completed: last 7 days")
    wait_until_so(page, "location.search === '?range=7d&time=completed'")

    page.locator("#jobs-filters [name=range]").select_option("From … to …")
    before = datetime.now(UTC) - timedelta(days=5)
    page.locator("#jobs-filters [name=to]").fill(f"{before:%Y-%m-%dT%H:%M}")
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    expect(page.locator("#row-3")).to_be_visible()
    expect(page.locator(".chip")).to_have_text(f"Completed: until {before:%Y-%m-%d %H:%M} UTC")
    page.reload()
    expect(page.locator("#jobs-filters [name=to]")).to_have_value(f"{before:%Y-%m-%dT%H:%M}")
    expect(page.locator("#jobs-count")).to_have_text("1 job")

    page.locator("#jobs-filters [name=from]").fill(f"{before + timedelta(days=1):%Y-%m-%dT%H:%M}")
    expect(page.locator("#search-error")).to_contain_text("From must be before to.")
    expect(page.locator("#jobs-filters [name=from]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#row-3")).to_be_visible()

    page.locator("#clear-all").click()
    expect(page.locator("#jobs-count")).to_have_text("3 jobs")
    expect(page.locator("#jobs-filters [name=to]")).to_be_hidden()
    wait_until_so(page, "location.search === ''")


@pytest.mark.browser
def test_the_menus_filters_are_chips_too(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed", task="batch_audit")
    add_job(session, 2)
    page = open_page("/jobs?status=failed&type=batch_audit&created=24h&q=gpu")
    expect(page.locator(".chip")).to_have_text(
        ["Status: failed", "Type: Batch Audit", "Created: last 24 hours", "gpu"]
    )
    page.get_by_role("link", name="Remove gpu").click()
    expect(page.locator(".chip")).to_have_count(3)
    page.get_by_role("link", name="Remove Status: failed").click()
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator("#jobs-filters [name=status]")).to_have_value("")
    expect(page.locator("#row-1")).to_be_visible()


@pytest.mark.browser
def test_types_are_called_by_their_labels_and_found_by_either_word(
    open_page: Open, session: Session
) -> None:
    add_job(session, 142, task="re_evaluation")
    add_job(session, 7, task="shop.tasks.mail")
    page = open_page('/jobs?q=type:"re-evaluation"')
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    expect(page.locator("#row-142 .joblist-type")).to_have_text("Re-evaluation")
    page.locator("#open-142").click()
    expect(page.locator(".job-title")).to_have_text("Re-evaluation #142")
    facts = page.locator("section[aria-labelledby=job-facts]")
    expect(facts).to_contain_text("re_evaluation")
    expect(facts).to_contain_text("Answer a finished batch again on another model")
    page.goto("/jobs")
    page.locator("#jobs-filters [name=type]").select_option("shop.tasks.mail")
    expect(page.locator("#row-7 .joblist-type")).to_have_text("shop.tasks.mail")
    expect(page.locator("#row-142")).to_have_count(0)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("range=9y", "range"),
        ("time=never", "time"),
        ("range=dates&from=soon", "from"),
        ("range=dates&from=2026-11-02T00:00&to=2026-11-01T00:00", "before to"),
    ],
)
def test_a_time_that_can_not_be_read_is_named(sign_in: SignIn, query: str, named: str) -> None:
    answer = sign_in().get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert named in answer.text
