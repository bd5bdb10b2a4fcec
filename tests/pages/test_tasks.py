"""Built-in tasks, started from their page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, IdempotencyKey, Job
from tests.pages.conftest import Complaints, violations

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def newest(session: Session) -> Job:
    session.rollback()
    return session.scalars(select(Job).order_by(Job.created_at.desc()).limit(1)).one()


def test_a_task_is_started_with_what_the_form_says(open_page: Open, session: Session) -> None:
    page = open_page("/tasks")

    page.locator("#export-format").select_option("json")
    page.locator("#export-job_type").fill("run_batch")
    page.get_by_role("button", name="Start export").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Export")
    job = newest(session)
    assert job.task == "export"
    assert job.arguments == {"what": "jobs", "format": "json", "job_type": "run_batch"}
    assert job.owner_name == "admin"
    audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    assert (audit.action, audit.object_id) == ("job.defer", str(job.id))


def test_an_argument_that_is_missing_is_named_and_nothing_is_lost(
    open_page: Open, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser says that the answer was a 400
    page = open_page("/tasks")

    page.locator("#export-what").select_option("results")
    page.locator("#export-source").fill("camera 7")
    page.get_by_role("button", name="Start export").click()

    expect(page.get_by_role("alert").filter(has_text="Not started")).to_contain_text("batch_id")
    expect(page.locator("#export-what")).to_have_value("results")
    expect(page.locator("#export-source")).to_have_value("camera 7")


def test_a_task_is_started_at_a_time_and_after_others(open_page: Open, session: Session) -> None:
    page = open_page("/tasks")
    page.get_by_role("button", name="Start cleanup").click()
    expect(page.locator("#job")).to_contain_text("cleanup")
    first = newest(session)

    page.goto("/tasks")
    form = page.locator("section.task").filter(has=page.locator("#task-export"))
    form.get_by_text("When and how").click()
    form.get_by_label("Not before").fill("2040-02-03T04:05")
    form.get_by_label("Priority").fill("7")
    form.get_by_label("lock").fill("nightly")
    form.get_by_label("Time-out in seconds").fill("2.5")
    form.get_by_label("After the jobs").fill(str(first.id))
    form.get_by_label("Key").fill("once")
    form.get_by_role("button", name="Start export").click()

    expect(page.locator("#job")).to_contain_text(f"Waiting for job {first.id}")
    expect(page.locator(".badge").first).to_have_text("Scheduled")
    expect(page.locator("table.needs")).to_contain_text(f"Cleanup {first.id}")
    job = newest(session)
    assert job.scheduled_at == datetime(2040, 2, 3, 4, 5, tzinfo=UTC)
    assert (job.priority, job.lock, job.timeout_seconds) == (7, "nightly", 2.5)
    assert job.arguments == {"what": "jobs", "format": "csv"}
    assert session.scalars(select(IdempotencyKey.job_id)).all() == [job.id]
    session.execute(text("TRUNCATE idempotency_key"))
    session.commit()


def test_a_refused_dependency_is_shown_beside_its_form(
    open_page: Open, complaints: Complaints
) -> None:
    complaints.are_expected = True
    page = open_page("/tasks")
    form = page.locator("section.task").filter(has=page.locator("#task-cleanup"))
    form.get_by_text("When and how").click()
    form.get_by_label("After the jobs").fill("987654321")
    form.get_by_role("button", name="Start cleanup").click()

    expect(page.get_by_role("alert").filter(has_text="Not started")).to_contain_text("987654321")
    expect(page.locator("#cleanup-how-depends_on")).to_be_visible()
    expect(page.locator("#cleanup-how-depends_on")).to_have_value("987654321")
    expect(page.locator("#cleanup-how-depends_on")).to_have_attribute("aria-invalid", "true")


def test_a_job_that_runs_shows_its_progress_as_it_comes(open_page: Open, session: Session) -> None:
    page = open_page("/tasks")
    page.get_by_role("button", name="Start cleanup").click()
    expect(page.locator(".kicker .badge")).to_have_text("Pending")
    job_id = newest(session).id

    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": job_id}
    )
    session.commit()
    session.execute(
        text(
            "SELECT stoker_progress(jsonb_build_array(jsonb_build_object("
            "'job', :id, 'number', 1, 'done', 3, 'total', 4, 'percent', 75,"
            "'message', 'dropping partitions')))"
        ),
        {"id": job_id},
    )
    session.commit()

    expect(page.locator(".kicker .badge")).to_have_text("Running")
    expect(page.locator("#job")).to_contain_text("dropping partitions")
    expect(page.locator("#job")).to_contain_text("75 %, 3 of 4")


def test_a_job_that_failed_says_why(open_page: Open, session: Session) -> None:
    job_id = session.scalar(
        text(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status)"
            " VALUES ('tasks', 'backup', 'todo') RETURNING id"
        )
    )
    for status in ("doing", "failed"):
        session.execute(
            text(
                "UPDATE procrastinate_jobs SET status = CAST(:s AS procrastinate_job_status)"
                " WHERE id = :id"
            ),
            {"s": status, "id": job_id},
        )
    session.execute(
        text(
            "SELECT stoker_end(jsonb_build_array(jsonb_build_object('job', :id, 'number', 1,"
            "'outcome', 'failed', 'error_type', 'OSError', 'error_message', 'no room',"
            "'traceback', 'Traceback: no room')))"
        ),
        {"id": job_id},
    )
    session.commit()

    page = open_page(f"/jobs/{job_id}")

    expect(page.locator(".kicker .badge")).to_have_text("Failed")
    expect(page.locator(".faults")).to_contain_text("no room")
    expect(page.locator("#job")).to_contain_text("Traceback: no room")


def test_a_job_of_many_attempts_shows_the_newest(open_page: Open, session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO job (id, task, queue, status, ended_at)"
            " VALUES (77, 'mail', 'shop', 'failed', now())"
        )
    )
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, ended_at, outcome,"
            " traceback)"
            " SELECT 77, created_at, number, task, queue, now(), 'failed', 'try ' || number"
            " FROM job, generate_series(1, 60) AS number"
        )
    )
    session.commit()

    page = open_page("/jobs/77")

    expect(page.locator("#job")).to_contain_text("The newest 50 attempts.")
    expect(page.locator("#job h3")).to_have_count(50)
    expect(page.locator("#job h3").last).to_contain_text("60: failed")


@pytest.mark.parametrize(
    ("started_at", "said"), [("now()", "not known"), ("NULL", "none: it never ran")]
)
def test_a_job_that_ended_without_a_known_worker_says_so(
    open_page: Open, session: Session, started_at: str, said: str
) -> None:
    session.execute(
        text(
            "INSERT INTO job (id, task, queue, status, started_at, ended_at)"
            f" VALUES (77, 'mail', 'shop', 'failed', {started_at}, now())"
        )
    )
    session.commit()

    page = open_page("/jobs/77")

    worker = page.locator("#job .facts > div").filter(has_text="Worker")
    expect(worker.locator("dd")).to_have_text(said)


def test_a_job_that_does_not_exist_is_said_so(open_page: Open, complaints: Complaints) -> None:
    complaints.are_expected = True
    page = open_page("/jobs/999999999")

    expect(page.locator("main")).to_contain_text("999999999")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_everybody_can_read_and_use_the_pages(
    open_page: Open, complaints: Complaints, width: int, scheme: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    page = open_page("/tasks", width=width, color_scheme=scheme)
    assert violations(page) == []
    form = page.locator("section.task").filter(has=page.locator("#task-cleanup"))
    form.get_by_text("When and how").click()
    expect(page.locator("#cleanup-how-lock")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Start cleanup").click()
    expect(page.locator("#job")).to_contain_text("cleanup")
    assert violations(page) == []
    page.goto("/openapi")
    page.locator("summary").first.click()
    assert violations(page) == []
