"""One action on many jobs: picked or found, looked at first, done by a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job
from tests.pages.conftest import Complaints, violations, wait_until_live
from tests.pages.job_seed import add_job, no_jobs

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]


def asked_of(session: Session) -> Any:
    """The arguments of the bulk job."""
    session.rollback()
    return session.scalars(select(Job.arguments).where(Job.task == "bulk")).one()


def test_picked_rows_are_looked_at_and_handed_to_a_job(open_page: Open, session: Session) -> None:
    for number in (1, 2, 3):
        add_job(session, number, "failed", minutes=number)
    add_job(session, 4, "completed", minutes=4)
    page = open_page("/jobs")

    page.locator("#row-1 [data-select]").click()
    page.locator("#row-4 [data-select]").click(modifiers=["Shift"])
    expect(page.locator("#bulk-bar")).to_contain_text("4 selected")
    page.locator("#bulk-bar").get_by_role("button", name="Retry").click()

    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("Retry 3 jobs?")
    expect(dialog).to_contain_text("Of the 4 that you picked: 3 can be retried.")
    expect(dialog).to_contain_text("1 left out: a job that is completed can't be retried.")
    dialog.locator("button.act").click()

    expect(page.locator("#job")).to_contain_text("bulk")
    asked = asked_of(session)
    assert (asked["action"], asked["filter"]) == ("retry", {"q": "id:1,2,3,4"})


def test_all_that_match_are_counted_and_handed_on_as_a_filter(
    open_page: Open, session: Session
) -> None:
    for number in range(55):
        add_job(session, 100 + number, "failed", minutes=number)
    add_job(session, 1, "failed", task="other")
    page = open_page("/jobs?q=type:mail&status=failed")

    page.locator("#pick-all").check()
    expect(page.locator("#bulk-bar")).to_contain_text("50 selected")
    page.get_by_label("or all 55 that match").check()
    expect(page.locator("#bulk-bar")).to_contain_text("All 55 selected")
    page.locator("#bulk-bar").get_by_role("button", name="Delete").click()
    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("Delete 55 jobs?")
    expect(dialog).to_contain_text("This can't be undone.")
    dialog.locator("button.act").click()

    expect(page.locator("#job")).to_contain_text("bulk")
    assert asked_of(session)["filter"] == {"q": "type:mail", "status": "failed"}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("action=paint", "action"),
        ("action=retry&ids=x", "ids"),
        ("action=retry&q=colour:x", "column 1"),
    ],
)
def test_what_can_not_be_asked_is_named(
    open_page: Open, complaints: Complaints, query: str, named: str
) -> None:
    complaints.are_expected = True
    page = open_page("/jobs/bulk?" + query)

    expect(page.locator("main")).to_contain_text(named)


@pytest.mark.parametrize("width", [390, 1440])
def test_everybody_can_use_the_preview(
    open_page: Open, session: Session, complaints: Complaints, width: int
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    add_job(session, 1, "failed")
    add_job(session, 2, "completed")
    page = open_page("/jobs", width=width)
    wait_until_live(page)  # a list with picked rows is not asked for again
    page.locator("#row-1 [data-select]").check()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto("/jobs/bulk?action=retry")
    expect(page.locator("main")).to_contain_text("Of all jobs")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_buttons_follow_what_is_picked(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed")
    add_job(session, 2, "completed")
    add_job(session, 3, "running")
    page = open_page("/jobs")
    bar = page.locator("#bulk-bar")
    retry = bar.locator("[value=retry]")

    page.locator("#row-2 [data-select]").check()
    expect(retry).to_have_attribute("aria-disabled", "true")
    reason = "None of them can be retried: only a job that is failed or cancelled."
    expect(retry).to_have_attribute("title", reason)
    expect(retry).to_have_accessible_description(reason)
    expect(bar.locator("[value=delete]")).to_have_text("Delete")
    retry.click(force=True)
    expect(page.locator("#job-dialog")).to_be_hidden()

    page.locator("#row-1 [data-select]").check()
    page.locator("#row-3 [data-select]").check()
    expect(retry).not_to_have_attribute("aria-disabled", "true")
    expect(retry).to_have_text("Retry 1")
    expect(bar.locator("[value=delete]")).to_have_text("Delete 2")
    expect(bar.locator("[value=abort]")).to_have_text("Abort 1")
    retry.click()
    expect(page.locator("#job-dialog")).to_contain_text("Retry 1 job?")


def test_of_all_that_match_the_buttons_say_how_many(open_page: Open, session: Session) -> None:
    for number in range(51):
        add_job(session, 100 + number, minutes=number)
    add_job(session, 1, "failed")
    page = open_page("/jobs?q=type:mail")
    page.locator("#pick-all").check()
    page.get_by_label("or all 52 that match").check()
    bar = page.locator("#bulk-bar")
    expect(bar.locator("[value=retry]")).to_have_text("Retry 1")
    expect(bar.locator("[value=delete]")).to_have_text("Delete 52")
    expect(bar.locator("[value=abort]")).to_have_attribute("aria-disabled", "true")
