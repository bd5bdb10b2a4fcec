"""One job's page: its log as it comes, its reasons, its way, its values, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.conftest import LiveServer
from tests.pages import job_seed
from tests.pages.conftest import Complaints, violations, wait_until_live
from tests.pages.job_seed import add_job, add_line, move, no_jobs, queue_job

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

__all__ = ["no_jobs"]

Open = Callable[..., Page]

HOSTILE = (
    "<script>window.isHit = true</script>",
    '"><img src=x onerror="window.isHit = true">',
    "'-alert(1)-'",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.isHit=true",
    "</textarea></template><svg onload=window.isHit=true>",
    "\u202egnp.exe\x1b[31m",
    "<hx-partial hx-target='body'>gone</hx-partial>",
    "&lt;b&gt;&#60;script&#62;",
)


def running(session: Session) -> int:
    """A job that a worker has fetched."""
    job_id = queue_job(session)
    move(session, job_id, "doing")
    return job_id


def test_the_log_comes_by_itself_and_is_filtered(open_page: Open, session: Session) -> None:
    job_id = running(session)
    add_line(session, job_id, "loading")
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    expect(log.locator(".log-status")).to_have_text("Live")

    add_line(session, job_id, "disk is slow", "warning")
    add_line(session, job_id, "no room", "error")

    expect(log.locator("li")).to_have_count(3)
    expect(log.locator("li").last).to_contain_text("ERROR no room")
    log.locator("[data-log-level]").select_option("warning")
    expect(log.locator(".count")).to_have_text("2 of 3 logs")
    log.locator("[data-log-search]").fill("ROOM")
    expect(log.locator(".count")).to_have_text("1 of 3 logs")
    expect(log.locator("li:visible")).to_have_count(1)
    log.locator("[data-log-search]").fill("")
    log.locator("[data-log-level]").select_option("")
    log.get_by_role("button", name="Clear").click()
    expect(log.locator("li")).to_have_count(0)
    expect(log.get_by_role("button", name="Clear")).to_be_disabled()
    add_line(session, job_id, "and on")
    expect(log.locator("li")).to_have_count(1)


def test_a_paused_log_holds_lines_back_until_it_goes_on(open_page: Open, session: Session) -> None:
    job_id = running(session)
    page = open_page(f"/jobs/{job_id}")
    log = page.locator("#job-log")
    expect(log.locator(".log-status")).to_have_text("Live")
    log.get_by_role("button", name="Pause").click()

    add_line(session, job_id, "held")

    expect(log.locator(".count")).to_have_text("0 logs, 1 held back")
    expect(log.locator("li")).to_have_count(0)
    log.get_by_role("button", name="Resume").click()
    expect(log.locator("li")).to_have_count(1)


def test_a_lost_stream_is_told_and_tried_again(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser tells of what failed
    job_id = running(session)
    page = open_page("/jobs")
    stream = "**/logs/stream*"

    page.route(stream, lambda route: route.abort())
    page.goto(f"/jobs/{job_id}")
    status = page.locator(".log-status")
    expect(status).to_have_text(re.compile(r"Reconnecting [1-9]"))
    page.unroute(stream)
    expect(status).to_have_text("Live")
    page.route(stream, lambda route: route.fulfill(status=503))
    page.reload()
    expect(status).to_have_text("Failed")
    page.unroute(stream)
    status.click()
    expect(status).to_have_text("Live")


def test_a_refused_stream_heals_by_itself(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True
    job_id = running(session)
    page = open_page("/jobs")
    stream = "**/logs/stream*"
    page.route(stream, lambda route: route.fulfill(status=502))
    page.goto(f"/jobs/{job_id}")
    expect(page.locator(".log-status")).to_have_text("Failed")

    page.unroute(stream)

    add_line(session, job_id, "said meanwhile")
    expect(page.locator(".log-status")).to_have_text("Live")
    expect(page.locator("#job-log-lines")).to_contain_text("said meanwhile")


def test_a_server_that_falls_silent_is_told_and_nothing_of_the_log_is_lost(
    open_page: Open, session: Session, live_server: LiveServer, complaints: Complaints
) -> None:
    complaints.are_expected = True
    job_id = running(session)
    page = open_page(f"/jobs/{job_id}")
    wait_until_live(page)
    status = page.locator(".log-status")
    expect(status).to_have_text("Live")

    with stopped(live_server):
        expect(status).to_have_text(re.compile(r"Reconnecting [1-9]"))
        add_line(session, job_id, "said meanwhile")

    expect(status).to_have_text("Live")
    expect(page.locator("#job-log-lines .log-line")).to_have_count(1)


@contextmanager
def stopped(server: LiveServer) -> Iterator[None]:
    """The server's connections stay open, and nobody says anything on them."""
    workers = psutil.Process(server.process.pid).children(recursive=True)
    for each in workers:
        each.suspend()
    try:
        yield
    finally:
        for each in workers:
            each.resume()


def test_the_log_ends_with_the_job_and_survives_a_reload(open_page: Open, session: Session) -> None:
    job_id = running(session)
    add_line(session, job_id, "first")
    page = open_page(f"/jobs/{job_id}")
    expect(page.locator(".log-status")).to_have_text("Live")

    add_line(session, job_id, "last")
    move(session, job_id, "succeeded")

    expect(page.locator(".log-status")).to_have_text("Ended")
    expect(page.locator("#job-log li")).to_have_count(2)
    page.reload()
    expect(page.locator("#job-log li")).to_have_count(2)
    answer = page.request.get(f"/jobs/{job_id}/log.txt")
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job_id}.log"'
    assert [line.split()[-1] for line in answer.text().splitlines()] == ["first", "last"]


@pytest.mark.parametrize("lock", ["tenant:{id}", "{}", "{:>99999999}", "%s {0}"])
def test_a_lock_may_be_called_anything(open_page: Open, session: Session, lock: str) -> None:
    holder = queue_job(session, lock=lock)
    move(session, holder, "doing")
    locked = queue_job(session, lock=lock)

    page = open_page(f"/jobs/{locked}")

    expect(page.locator(".why")).to_contain_text(
        f"The lock {lock!r} lets one job run at a time, and it is the turn of job {holder}"
    )


def test_why_a_job_waits_is_said(open_page: Open, session: Session) -> None:
    holder = queue_job(session, lock="printer")
    move(session, holder, "doing")
    locked = queue_job(session, lock="printer")
    later = queue_job(session, scheduled_at=datetime.now(UTC) + timedelta(hours=2))
    unserved = queue_job(session, queue="model:no-such-model")
    ours = queue_job(session, "export", "tasks")
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES ('tasks', 'kim', 'rest')")
    )
    session.commit()

    page = open_page(f"/jobs/{locked}")
    expect(page.locator(".why")).to_contain_text("'printer' lets one job run at a time")
    expect(page.locator(".why a")).to_have_attribute("href", f"/jobs/{holder}")
    page.goto(f"/jobs/{later}")
    expect(page.locator(".why")).to_contain_text("It is due later, in 1 h")
    page.goto(f"/jobs/{unserved}")
    expect(page.locator(".why")).to_contain_text(
        "No worker lives that reads the queue model:no-such-model"
    )
    page.goto(f"/jobs/{ours}")
    expect(page.locator(".why")).to_contain_text("tasks is paused by kim")
    page.goto(f"/jobs/{holder}")
    expect(page.locator("#job")).to_be_visible()
    expect(page.locator(".why")).to_have_count(0)


@pytest.mark.parametrize("width", [1440, 1000])
def test_on_a_wide_screen_a_jobs_own_page_has_its_details_at_the_right(
    open_page: Open, session: Session, width: int
) -> None:
    add_job(session, 1)
    page = open_page("/jobs/1", width=width)
    facts = page.locator("[aria-labelledby=job-facts]").bounding_box()
    log = page.locator("[data-log]").bounding_box()
    assert facts is not None
    assert log is not None

    is_beside = facts["x"] > log["x"] + log["width"]
    assert is_beside == (width == 1440)
    assert is_beside or facts["y"] + facts["height"] <= log["y"]


def test_every_digit_of_arguments_and_result_is_shown(open_page: Open, session: Session) -> None:
    arguments = '{"big": 123456789012345678901234567890, "exact": 0.1234567890123456789012345}'
    add_job(session, 7, arguments=arguments, result='{"rows": 9007199254740993}')

    page = open_page("/jobs/7")

    expect(page.locator("#job-arguments-value")).to_contain_text("123456789012345678901234567890")
    expect(page.locator("#job-arguments-value")).to_contain_text("0.1234567890123456789012345")
    expect(page.locator("#job-result-value")).to_contain_text("9007199254740993")
    assert "123456789012345678901234567890" in page.request.get("/jobs/7/arguments.json").text()


def test_what_is_large_is_folded(open_page: Open, session: Session) -> None:
    add_job(session, 7, result={"rows": ["x" * 100] * 2000})

    page = open_page("/jobs/7")

    expect(page.locator("#job-result-value")).to_be_hidden()
    page.locator(".folded summary").click()
    expect(page.locator("#job-result-value")).to_be_visible()
    expect(page.locator("#job")).to_contain_text("The first 100,000 characters.")
    assert len(page.request.get("/jobs/7/result.json").json()["rows"]) == 2000


def test_a_very_long_error_is_folded_and_all_there(open_page: Open, session: Session) -> None:
    add_job(session, 1, "failed", error_type="ValueError", error_message="x" * 19_990 + "the end")
    page = open_page("/jobs/1")

    box = page.locator(".faults").bounding_box()
    assert box is not None
    assert box["height"] < 500
    for place in (".faults", ".attempt-error"):
        whole = page.locator(f"{place} pre")
        expect(whole).to_be_hidden()
        page.locator(f"{place} summary").click()
        expect(whole).to_contain_text("the end")
        expect(whole).to_be_visible()
    assert violations(page) == []


def test_its_way_its_attempts_and_its_company_are_told(open_page: Open, session: Session) -> None:
    add_job(
        session,
        7,
        "failed",
        error_type="OSError",
        error_message="no room",
        traceback="Traceback: deep",
    )
    add_job(session, 8, "completed", task="export")
    add_job(session, 9, "completed", minutes=60)

    page = open_page("/jobs/7")

    steps = page.locator(".path-step")
    expect(steps.locator(".badge")).to_have_text(["Pending", "Running", "Failed"])
    expect(steps.nth(1)).to_contain_text("after 2.0 s")
    expect(steps.nth(2)).to_contain_text("after 30.0 s")
    attempts = page.locator("section[aria-labelledby=job-attempts]")
    expect(attempts).to_contain_text("OSError: no room")
    expect(attempts.locator("pre")).to_have_text("Traceback: deep")
    company = page.locator("section[aria-labelledby=job-company]")
    expect(company).to_contain_text("Export #8")
    expect(company).not_to_contain_text("#9")


def test_nothing_that_a_job_says_is_obeyed(open_page: Open, session: Session) -> None:
    for number, said in enumerate(HOSTILE, 1):
        clean = said.replace("\x00", "")
        add_job(
            session,
            number,
            "failed",
            minutes=number,
            task=clean,
            queue=clean,
            worker_name=clean,
            message=clean,
            arguments={clean: clean},
            result={clean: clean},
            error_type=clean,
            error_message=clean,
            traceback=clean,
        )
        add_line(session, number, clean)
    page = open_page("/jobs")
    for number in range(1, len(HOSTILE) + 1):
        page.locator(f"#open-{number}").click()
        expect(page.locator("#job .id").first).to_have_text(f"#{number}")
        expect(page.locator("#job-log li")).to_have_count(1)
    for said in HOSTILE[:6]:
        page.goto("/jobs/suggestions?q=type:" + said[:1])
        page.goto(f"/jobs?type={said.replace('#', '').replace('&', '').replace('%', '')}")

    assert page.evaluate("window.isHit") is None
    expect(page.locator("nav.pages")).to_be_visible()


def test_hostile_log_lines_that_stream_in_stay_text(open_page: Open, session: Session) -> None:
    job_id = running(session)
    page = open_page(f"/jobs/{job_id}")
    expect(page.locator(".log-status")).to_have_text("Live")

    for said in HOSTILE:
        add_line(session, job_id, said)

    expect(page.locator("#job-log li")).to_have_count(len(HOSTILE))
    expect(page.locator("#job-log li").nth(6)).to_contain_text("⟨202E⟩gnp.exe⟨001B⟩[31m")
    assert page.evaluate("window.isHit") is None


def test_a_user_sees_only_their_own_jobs(open_page: Open, session: Session) -> None:
    add_job(session, 1, owner_name="ada")
    add_job(session, 2, owner_name="kim", lock="secret")
    session.execute(
        text("INSERT INTO user_account (name, role) VALUES ('ada', 'user') ON CONFLICT DO NOTHING")
    )
    session.commit()
    page = open_page("/jobs", is_signed_in=False)
    page.context.add_cookies([job_seed.sign_in(session, "ada", page.url)])
    page.goto("/jobs")

    expect(page.locator("#row-1")).to_be_visible()
    expect(page.locator("#row-2")).to_have_count(0)
    expect(page.locator("#jobs-count")).to_have_text("1 job")
    for path in ("/jobs/2", "/jobs/2/arguments.json", "/jobs/2/log.txt", "/jobs/2/cancel"):
        assert page.request.get(path).status == 404, path


def test_its_whole_configuration_and_rate_are_told(open_page: Open, session: Session) -> None:
    add_job(
        session, 1, "running", timeout_seconds=90, queueing_lock="report", lock="nightly",
        items_done=3000, items_total=9000, progress=33,
    )  # fmt: skip
    facts = open_page("/jobs/1").locator("section[aria-labelledby=job-facts]")

    for said in ("Priority", "Time limit", "1 min 30 s for each attempt", "report", "nightly"):
        expect(facts).to_contain_text(said)
    expect(facts).to_contain_text("items/s")


def test_long_lines_of_the_log_are_wrapped_or_not(open_page: Open, session: Session) -> None:
    add_job(session, 1, "completed")
    add_line(session, 1, "a long line " * 60)
    page = open_page("/jobs/1")
    lines = page.locator(".log-lines")
    expect(lines).to_contain_text("a long line")
    is_wide = "lines => lines.scrollWidth > lines.clientWidth"

    assert not lines.evaluate(is_wide)
    page.get_by_role("button", name="Wrap").click()
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")
    assert lines.evaluate(is_wide)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
