"""A job's log on the page: of which attempt a line is, what is picked of it, and logs that are long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pages.conftest import violations, wait_until_so
from tests.pages.job_seed import add_job, add_line, move, no_jobs, queue_job

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]


def say(session: Session, job_id: int, message: str, attempt: int | None, **fields: Any) -> None:
    """A line of one attempt's log; commits."""
    values = {"job_id": job_id, "level": "info", "message": message, "attempt_number": attempt}
    values |= fields
    names = ", ".join(values)
    session.execute(
        text(f"INSERT INTO log_line ({names}) VALUES ({', '.join(f':{name}' for name in values)})"),
        values,
    )
    session.commit()


def say_many(session: Session, job_id: int, count: int, attempt: int = 1) -> None:
    """So many lines, the first of them an error; commits."""
    session.execute(
        text(
            "INSERT INTO log_line (job_id, level, message, attempt_number)"
            " SELECT :job_id, CASE number WHEN 1 THEN 'error' ELSE 'info' END, 'line ' || number,"
            " :attempt FROM generate_series(1, :count) AS number ORDER BY number"
        ),
        {"job_id": job_id, "count": count, "attempt": attempt},
    )
    session.commit()


def retried(session: Session) -> int:
    """A job in its second attempt."""
    job_id = queue_job(session)
    move(session, job_id, "doing")
    # As Procrastinate puts back what is to be tried again.
    session.execute(
        text(
            "UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1 WHERE id = :id"
        ),
        {"id": job_id},
    )
    session.commit()
    move(session, job_id, "doing")
    return job_id


def test_where_a_new_attempt_begins_is_said_and_one_can_be_picked(
    open_page: Open, session: Session
) -> None:
    job_id = retried(session)
    say(session, job_id, "first try", 1)
    say(session, job_id, "first trouble", 1, level="error")
    say(session, job_id, "second try", 2)

    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")

    expect(log.locator(".log-break")).to_have_text(["Attempt 1", "Attempt 2"])
    expect(log.locator(".count")).to_have_text("3 logs")
    log.locator("[data-log-attempt]").select_option("Attempt 1")
    expect(log.locator(".count")).to_have_text("2 of 3 logs")
    expect(log.locator(".log-break:visible")).to_have_text(["Attempt 1"])
    log.get_by_label("Least level").select_option("error")
    expect(log.locator(".count")).to_have_text("1 of 3 logs")
    with page.expect_download() as download:
        log.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"job-{job_id}-attempt-1.log"
    saved = download.value.path().read_text().splitlines()
    assert [line.split(maxsplit=1)[1] for line in saved] == [
        "Attempt 1 ---",
        "ERROR   first trouble",
    ]
    assert violations(page) == []


def test_an_attempt_that_begins_while_the_page_is_open_is_said(
    open_page: Open, session: Session
) -> None:
    job_id = queue_job(session)
    move(session, job_id, "doing")
    say(session, job_id, "first try", 1)
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    expect(log.locator(".log-status")).to_have_text("Live")
    expect(log.locator(".log-break")).to_have_count(0)
    expect(log.locator("[data-log-attempt]")).to_be_hidden()

    say(session, job_id, "second try", 2)

    expect(log.locator(".log-break")).to_have_text(["Attempt 1", "Attempt 2"])
    log.locator("[data-log-attempt]").select_option("Attempt 2")
    expect(log.locator(".count")).to_have_text("1 of 2 logs")


def test_lines_that_do_not_say_their_attempt_are_told_by_their_time(
    open_page: Open, session: Session
) -> None:
    job_id = retried(session)
    began = session.execute(
        text("SELECT started_at FROM attempt WHERE job_id = :id ORDER BY number"), {"id": job_id}
    ).scalars()
    for number, at in enumerate(began, 1):
        say(session, job_id, f"try {number}", None, at=at)

    page = open_page(f"/jobs/{job_id}")

    expect(page.locator("#job-log li")).to_contain_text(
        ["Attempt 1", "try 1", "Attempt 2", "try 2"]
    )
    answer = page.request.get(f"/jobs/{job_id}/log.txt?attempt=2").text()
    assert answer.splitlines()[0] == "--- Attempt 2 ---"
    assert "try 2" in answer
    assert "try 1" not in answer
    lines = page.request.get(f"/api/jobs/{job_id}/logs?attempt=1").json()["logs"]
    assert [(line["message"], line["attempt_number"]) for line in lines] == [("try 1", 1)]


def test_what_the_page_has_not_is_looked_for_by_the_server(
    open_page: Open, session: Session
) -> None:
    job_id = queue_job(session)
    move(session, job_id, "doing")
    say_many(session, job_id, 1200)
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    expect(log.locator("[data-log-cut]")).to_have_text(
        "The newest 500 lines; the download has them all."
    )
    expect(log.locator(".count")).to_have_text("500 logs")

    log.get_by_label("Least level").select_option("error")
    expect(log.locator(".log-line")).to_have_count(1)
    expect(log.locator(".log-line")).to_contain_text("ERROR line 1")
    expect(log.locator(".log-status")).to_have_text("Live")
    say(session, job_id, "and more", 1, level="error")
    expect(log.locator(".log-line:visible")).to_have_count(2)
    log.get_by_label("Least level").select_option("")
    expect(log.locator(".count")).to_have_text("500 logs")
    log.get_by_label("Search in the log").fill("LINE 7")
    # 7, 70 to 79, 700 to 799.
    expect(log.locator(".count")).to_have_text("111 logs")


def test_what_a_line_has_besides_reads_the_same_as_it_comes_and_later(
    open_page: Open, session: Session
) -> None:
    job_id = queue_job(session)
    move(session, job_id, "doing")
    page = open_page(f"/jobs/{job_id}")
    expect(page.locator(".log-status")).to_have_text("Live")
    session.execute(
        text(
            "INSERT INTO log_line (job_id, level, message, context) VALUES (:id, 'info', 'said', :context)"
        ),
        {
            "id": job_id,
            "context": '{"of": "O\'Neill & <b>co</b>", "id": 123456789012345678901234567890, "half": 0.5}',
        },
    )
    session.commit()
    # As Postgres keeps it: shorter names first.
    whole = '{"id":123456789012345678901234567890,"of":"O\'Neill & <b>co</b>","half":0.5}'

    expect(page.locator(".log-context")).to_have_text(whole)
    page.reload()
    expect(page.locator(".log-context")).to_have_text(whole)


def test_what_was_chosen_outlasts_a_reload(open_page: Open, session: Session) -> None:
    job_id = add_job(session, 1, "failed")
    add_line(session, job_id, "loading the model")
    add_line(session, job_id, "no room", "error")
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    log.get_by_label("Search in the log").fill("room")
    log.get_by_role("button", name="Wrap").click()
    log.get_by_role("button", name="Auto-scroll").click()
    expect(log.locator(".count")).to_have_text("1 of 2 logs")

    page.reload()

    expect(log.locator(".count")).to_have_text("1 of 2 logs")
    expect(log.get_by_label("Search in the log")).to_have_value("room")
    expect(log.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")
    expect(log.get_by_role("button", name="Auto-scroll")).to_have_attribute("aria-pressed", "false")
    page.goto(f"/jobs/{add_job(session, 2)}")
    expect(log.get_by_label("Search in the log")).to_have_value("")


def test_a_flood_of_lines_neither_fills_nor_stops_the_page(
    open_page: Open, session: Session
) -> None:
    job_id = queue_job(session)
    move(session, job_id, "doing")
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    expect(log.locator(".log-status")).to_have_text("Live")

    say_many(session, job_id, 100_000)

    expect(log.locator(".log-line").last).to_contain_text("line 100000", timeout=120_000)
    expect(log.locator(".log-line")).to_have_count(5000)
    expect(log.locator(".count")).to_have_text("5,000 logs")
    expect(log.locator("[data-log-cut]")).to_have_text(
        "The page keeps the newest 5,000 lines; the download has them all."
    )
    # What has left the page is still found.
    log.get_by_label("Least level").select_option("error")
    expect(log.locator(".log-line")).to_have_count(1)
    wait_until_so(
        page, "document.querySelector('#job-log .log-line').textContent.includes('line 1')"
    )


def test_without_scripts_the_log_is_a_page(open_page: Open, session: Session) -> None:
    job_id = add_job(session, 1, "failed")
    add_line(session, job_id, "loading")
    add_line(session, job_id, "no room", "error")
    page = open_page(f"/jobs/{job_id}", java_script_enabled=False)
    page.get_by_label("Least level").select_option("error")

    page.get_by_role("button", name="Show").click()

    expect(page).to_have_title("Log of job 1 · Stoker")
    expect(page.locator(".log-line")).to_have_count(1)
    expect(page.get_by_label("Least level")).to_have_value("error")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("level=loud", "level"),
        ("attempt=x", "attempt"),
        ("attempt=0", "attempt"),
        ("attempt=2", "attempt"),
        ("attempt=99999999999999999999", "attempt"),
        ("q=%00", "q"),
        (f"q={'a' * 201}", "q"),
    ],
)
def test_what_cant_be_wanted_of_a_log_is_told(
    sign_in: Any, session: Session, query: str, name: str
) -> None:
    add_job(session, 1, "failed")
    client = sign_in()
    for path in ("/jobs/1/log", "/jobs/1/log.txt"):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code in (400, 422), (path, answer.status)
        assert name in answer.get_data(as_text=True)
