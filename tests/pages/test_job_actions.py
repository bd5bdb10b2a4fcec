"""What may be done to a job from the pages: asked in words, done once, refused beside the job."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.models import Job
from tests.pages.conftest import Complaints, violations
from tests.pages.job_seed import add_job, move, no_jobs, queue_job

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]


def status_of(session: Session, job_id: int) -> str | None:
    session.rollback()
    return session.scalar(select(Job.status).where(Job.id == job_id))


def test_a_waiting_job_is_cancelled_after_a_dialog_said_what_happens(
    open_page: Open, session: Session
) -> None:
    job_id = queue_job(session)
    page = open_page(f"/jobs?job={job_id}")

    page.locator("#job").get_by_role("button", name="Cancel").click()
    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("It has not begun, so it is cancelled at once.")
    dialog.get_by_role("link", name="Keep it").or_(
        dialog.get_by_role("button", name="Keep it")
    ).click()
    expect(dialog).to_be_hidden()
    assert status_of(session, job_id) == "pending"
    page.locator("#job").get_by_role("button", name="Cancel").click()
    dialog.locator("button.act").click()

    expect(dialog).to_be_hidden()
    expect(page.locator("#job-said")).to_contain_text("The job is cancelled.")
    expect(page.locator("#job .kicker .badge")).to_have_text("Cancelled")
    expect(page.locator(f"#row-{job_id} .badge")).to_have_text("Cancelled")
    assert status_of(session, job_id) == "cancelled"


def test_an_abort_warns_of_what_it_may_leave(open_page: Open, session: Session) -> None:
    job_id = queue_job(session)
    move(session, job_id, "doing")
    page = open_page(f"/jobs/{job_id}")

    page.get_by_role("button", name="Abort").click()
    expect(page.locator("#job-dialog")).to_contain_text("WARNING")
    expect(page.locator("#job-dialog")).to_contain_text("data may be inconsistent")
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#job-said")).to_contain_text("The job is being stopped at once.")
    expect(page.locator("#job .stop")).to_contain_text("Abort requested")


def test_a_failed_job_is_retried_with_one_click_and_once(open_page: Open, session: Session) -> None:
    add_job(session, 5, "failed")
    page = open_page("/jobs?job=5")

    retry = page.locator("#job").get_by_role("button", name="Retry", exact=True)
    retry.click()
    expect(page.locator("#job-said")).to_contain_text("It is made again as job")
    retry.click()
    expect(page.locator("#job-said")).to_contain_text("It was made again already, as job")

    session.rollback()
    made = session.scalars(select(Job.id).where(Job.retried_from == 5)).all()
    assert len(made) == 1
    expect(page.locator("#job-said a")).to_have_attribute("href", f"/jobs/{made[0]}")


def test_a_retry_takes_a_time_and_other_arguments(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 400
    add_job(session, 5, "failed", arguments={"to": "ada"})
    page = open_page("/jobs/5")

    page.get_by_role("button", name="Retry with changes").click()
    page.get_by_text("With other arguments").click()
    page.locator("#ask-args").fill("{nonsense")
    page.locator("#job-dialog button.act").click()
    expect(page.locator("#job-dialog")).to_contain_text("args is no JSON")
    expect(page.locator("#ask-args")).to_have_value("{nonsense")
    page.locator("#ask-args").fill('{"to": "kim"}')
    page.get_by_label("Not before").fill("2040-02-03T04:05")
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#job-said")).to_contain_text("It is made again as")
    session.rollback()
    made = session.scalars(select(Job).where(Job.retried_from == 5)).one()
    assert made.arguments == {"to": "kim"}
    assert made.scheduled_at is not None
    assert made.scheduled_at.year == 2040


def test_an_argument_that_cant_be_stored_is_refused(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 400
    add_job(session, 5, "failed", task="export", arguments={"what": "jobs"})
    page = open_page("/jobs/5")

    page.get_by_role("button", name="Retry with changes").click()
    page.get_by_text("With other arguments").click()
    page.locator("#ask-args").fill('{"what": "jobs", "job_type": "a\\u0000"}')
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#banner")).to_contain_text("a value that can't be stored")
    session.rollback()
    assert session.scalars(select(Job.id).where(Job.retried_from == 5)).all() == []


def test_a_record_is_deleted_from_the_list_and_the_address(
    open_page: Open, session: Session
) -> None:
    add_job(session, 5)
    add_job(session, 6)
    page = open_page("/jobs?status=completed&job=5")

    page.locator("#job").get_by_role("button", name="Delete").click()
    expect(page.locator("#job-dialog")).to_contain_text("This can't be undone.")
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#row-5")).to_have_count(0)
    expect(page.locator("#job")).to_have_count(0)
    expect(page.locator("#job-said")).to_contain_text("The job's record is deleted.")
    assert page.evaluate("location.search") == "?status=completed"
    assert status_of(session, 5) is None


def test_on_a_stale_page_the_refusal_stands_beside_the_row(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 409
    job_id = queue_job(session)
    page = open_page(f"/jobs?job={job_id}")
    page.locator("#job").get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-dialog")).to_be_visible()

    move(session, job_id, "doing", "succeeded")
    with page.expect_response(lambda answer: answer.request.method == "POST") as found:
        page.locator("#job-dialog button.act").click()

    assert found.value.status == 409
    expect(page.locator("#job-dialog")).to_be_hidden()
    said = "A job that is completed can't be cancelled."
    expect(page.locator(f"#said-{job_id}")).to_contain_text(said)
    expect(page.locator("#job-said")).to_contain_text(said)
    expect(page.locator(f"#row-{job_id} .badge")).to_have_text("Completed")


def test_keys_ask_about_the_row_that_has_the_focus(open_page: Open, session: Session) -> None:
    add_job(session, 5, "failed")
    job_id = queue_job(session)
    page = open_page("/jobs")

    page.locator("#open-5").focus()
    page.keyboard.press("r")
    expect(page.locator("#job-dialog")).to_contain_text("Retry mail #5?")
    page.keyboard.press("Escape")
    page.locator(f"#open-{job_id}").focus()
    page.keyboard.press("c")
    expect(page.locator("#job-dialog")).to_contain_text(f"Cancel mail #{job_id}?")
    page.locator("#job-dialog button.act").click()

    expect(page.locator(f"#said-{job_id}")).to_contain_text("The job is cancelled.")


def test_a_waiting_job_is_moved_in_its_queue(open_page: Open, session: Session) -> None:
    job_id = queue_job(session)
    page = open_page(f"/jobs/{job_id}")

    page.get_by_role("button", name="Reschedule").click()
    page.get_by_label("Time").fill("2040-02-03T04:05")
    page.locator("#job-dialog button.act").click()
    expect(page.locator(".why")).to_contain_text("2040-02-03 04:05:00 UTC")
    # Asked again, it begins with the time that the job has.
    page.get_by_role("button", name="Reschedule").click()
    expect(page.get_by_label("Time")).to_have_value(re.compile(r"2040-02-03T04:05"))
    page.get_by_label("Time").fill("2041-02-03T04:05")
    page.locator("#job-dialog button.act").click()
    expect(page.locator(".why")).to_contain_text("2041-02-03 04:05:00 UTC")
    page.get_by_role("button", name="Priority").click()
    page.get_by_label("Priority").fill("7")
    page.locator("#job-dialog button.act").click()
    expect(page.locator(".facts > div", has_text="Queue").first.locator("dd")).to_have_text("shop")
    expect(page.locator(".facts > div", has_text="Priority").locator("dd")).to_have_text("7")
    page.get_by_role("button", name="Run next").click()
    page.locator("#job-dialog button.act").click()
    expect(page.locator("#job .kicker .badge")).to_have_text("Pending")


def test_without_scripts_the_same_forms_are_pages(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True
    job_id = queue_job(session)
    page = open_page(f"/jobs/{job_id}", java_script_enabled=False)

    page.get_by_role("button", name="Cancel").click()
    page.locator("main button.act").click()
    expect(page.locator("#job .kicker .badge")).to_have_text("Cancelled")
    page.goto(f"/jobs/{job_id}/cancel")
    expect(page.locator("main")).to_contain_text("can't have this done to it")
    page.goto(f"/jobs/{job_id}/paint")
    expect(page.locator("main")).to_contain_text("There is nothing at GET")


def test_a_post_without_the_forms_token_is_refused(open_page: Open, session: Session) -> None:
    job_id = queue_job(session)
    page = open_page(f"/jobs/{job_id}")

    answer = page.request.post(f"/jobs/{job_id}/cancel", headers={"Sec-Fetch-Site": "same-origin"})

    assert answer.status == 403
    assert status_of(session, job_id) == "pending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_dialogs(
    open_page: Open, session: Session, complaints: Complaints, scheme: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    add_job(session, 5, "failed", arguments={"to": "ada"})
    page = open_page("/jobs/5", color_scheme=scheme, width=390)
    page.get_by_role("button", name="Retry with changes").click()
    page.get_by_text("With other arguments").click()
    assert violations(page) == []
    session.execute(text("UPDATE job SET status = 'running', ended_at = NULL WHERE id = 5"))
    session.commit()
    page.goto("/jobs/5/abort")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_arguments_keep_every_digit_and_the_audit_says_that_they_are_others(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 400
    add_job(session, 5, "completed", arguments={"account": 123456789012345678901234567890, "n": 1})
    page = open_page("/jobs/5")

    page.get_by_role("button", name="Run again").click()
    page.get_by_text("With other arguments").click()
    for wrong, why in (('{"n": NaN}', "NaN"), ('{"n": 1e999}', "1e999"), ("[1]", "object")):
        page.locator("#ask-args").fill(wrong)
        page.locator("#job-dialog button.act").click()
        expect(page.locator("#job-dialog [role=alert]")).to_contain_text(why)
        expect(page.locator("#ask-args")).to_have_value(wrong)
    page.locator("#ask-args").fill('{"account": 123456789012345678901234567890, "n": 2}')
    page.locator("#job-dialog button.act").click()

    expect(page.locator("#job-said")).to_contain_text("It is made again as")
    session.rollback()
    made = session.execute(
        text("SELECT id, arguments::text AS given FROM job WHERE retried_from = 5")
    ).one()
    assert made.given == '{"n": 2, "account": 123456789012345678901234567890}'
    details = session.execute(
        text("SELECT details FROM audit_entry WHERE action = 'job.retry' ORDER BY id DESC LIMIT 1")
    ).scalar_one()
    assert details == f"job {made.id} with other arguments"
    expect(page.locator(".path")).to_contain_text(f"retried as job {made.id} with other arguments")


def stopping(session: Session, seconds: float, **fields: Any) -> int:
    """A running job that ada asked to cancel so long ago; commits."""
    asked = datetime.now(UTC) - timedelta(seconds=seconds)
    job_id = add_job(session, 7, "running", cancel_requested_at=asked, **fields)
    session.execute(
        text(
            "INSERT INTO job_transition (job_id, job_created_at, at, from_status, to_status,"
            " triggered_by, details) SELECT id, created_at, :asked, 'running', 'running', 'ada',"
            " 'cancel requested' FROM job WHERE id = :id"
        ),
        {"asked": asked, "id": job_id},
    )
    session.commit()
    return job_id


def test_a_cancel_says_how_far_it_is_and_offers_force_when_it_takes_long(
    open_page: Open, session: Session
) -> None:
    asked = datetime.now(UTC) - timedelta(seconds=100)
    job_id = stopping(session, 100, cancel_acknowledged_at=asked + timedelta(seconds=2))
    page = open_page(f"/jobs/{job_id}")
    stop = page.locator("#job .stop")

    expect(stop.locator("li")).to_contain_text(
        [re.compile("Cancel requested .* ago by ada"), "its worker knows since", "so far"]
    )
    expect(stop).to_contain_text("It takes long.")
    assert violations(page) == []
    stop.get_by_role("button", name="Abort").click()
    expect(page.locator("#job-dialog")).to_contain_text("WARNING")
    page.get_by_text("Keep it").click()

    session.execute(
        text(
            "UPDATE job SET status = 'cancelled', ended_at = cancel_requested_at + interval '12 s'"
        )
    )
    session.commit()
    page.reload()
    expect(stop.locator("li").last).to_contain_text("Stopped after 12.0 s")
    expect(stop).not_to_contain_text("It takes long.")


def test_a_young_cancel_is_given_its_time(open_page: Open, session: Session) -> None:
    page = open_page(f"/jobs/{stopping(session, 1)}")
    expect(page.locator("#job .stop")).to_contain_text("Its worker has not answered yet")
    expect(page.locator("#job .stop-long")).to_have_count(0)
