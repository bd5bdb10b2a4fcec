"""A running job whose worker has died: the pages say so, and let it be failed or put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import jobs
from tests.pages.conftest import Complaints, violations
from tests.pages.job_seed import no_jobs

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]


@pytest.fixture
def lost(session: Session) -> int:
    """A job that began an hour ago, and whose worker the queue has removed."""
    job_id = jobs.defer(session, "export", {}, queue="tasks", owner_name="admin")
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": job_id}
    )
    session.execute(
        text("UPDATE job SET attempt_started_at = now() - interval '1 h' WHERE id = :id"),
        {"id": job_id},
    )
    session.commit()
    return job_id


@pytest.mark.parametrize("width", [390, 1440])
def test_it_is_flagged_and_failed_by_whoever_read_what_that_means(
    open_page: Open, complaints: Complaints, lost: int, width: int
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    page = open_page("/jobs", width=width)
    expect(page.locator(f"#row-{lost} .badge")).to_have_text("Worker lost")
    expect(page.locator(f"#row-{lost}")).to_contain_text("Its worker has died")
    page.goto(f"/jobs/{lost}")
    expect(page.locator(".why")).to_contain_text("Its worker has died")
    assert violations(page) == []

    page.get_by_role("button", name="Fail", exact=True).click()
    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("nothing runs again")
    dialog.locator("button.act").click()

    expect(page.locator("#job .badge").first).to_have_text("Failed")
    expect(page.locator(".why")).to_have_count(0)


def test_it_is_put_back(open_page: Open, lost: int) -> None:
    page = open_page(f"/jobs/{lost}")

    page.get_by_role("button", name="Put back").click()
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#job-said")).to_contain_text("It waits for a worker again.")


def test_it_is_not_put_back_beside_one_that_waits_with_its_queueing_lock(
    open_page: Open, complaints: Complaints, session: Session, lost: int
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 409
    session.execute(
        text("UPDATE procrastinate_jobs SET queueing_lock = 'nightly' WHERE id = :id"), {"id": lost}
    )
    session.commit()
    jobs.defer(session, "export", {}, queue="tasks", owner_name="admin", queueing_lock="nightly")
    session.commit()
    page = open_page(f"/jobs/{lost}")

    page.get_by_role("button", name="Put back").click()
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#job-said")).to_contain_text(
        "Another job waits with its queueing lock 'nightly'"
    )
    expect(page.locator("#job .badge").first).to_have_text("Worker lost")
