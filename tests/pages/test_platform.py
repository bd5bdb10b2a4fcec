"""The platform's pages: active, pending, completed and failed jobs, with priority, ETA and retry."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import tasks, users
from app.core.models import Job
from tests.conftest import wait_until
from tests.pages import record_seed
from tests.pages.conftest import violations

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


def row(page: str, job_id: int) -> str:
    """What a list says of a job, its tags left out."""
    begin = page.index(f'id="row-{job_id}"')
    return " ".join(re.sub(r"<[^>]*>", " ", page[begin : page.index("</tr>", begin)]).split())


def defer(session: Session, **terms: object) -> int:
    """A job that waits in the queue itself; commits."""
    admin = users.actor_of(users.ensure_admin(session))
    job_id = tasks.defer_task(session, "export", {}, admin, settings=None, **terms)  # type: ignore[arg-type]
    session.commit()
    return job_id


def test_each_list_has_its_jobs_and_no_others(session: Session, sign_in: SignIn) -> None:
    made = {
        status: record_seed.add_job(session, status)
        for status in ("running", "pending", "retrying", "completed", "failed", "cancelled")
    }
    client = sign_in()
    for kind, statuses in {
        "active": {"running"},
        "pending": {"pending", "retrying"},
        "completed": {"completed"},
        "failed": {"failed"},
    }.items():
        page = client.get(f"/platform/jobs/{kind}/").text
        shown = {int(number) for number in re.findall(r'id="row-(\d+)"', page)}
        assert shown == {made[status] for status in statuses}, kind


def test_what_waits_stands_in_the_order_of_its_turn(session: Session, sign_in: SignIn) -> None:
    session.execute(text("DELETE FROM procrastinate_jobs"))  # other tests' places
    session.commit()
    second = defer(session)
    third = defer(session, priority=-2)
    first = defer(session, priority=5)
    later = defer(session, schedule_at=datetime.now(UTC) + timedelta(hours=3, minutes=5))
    after = defer(session, depends_on=[first], priority=9)
    page = sign_in().get("/platform/jobs/pending/").text
    assert [int(number) for number in re.findall(r'id="row-(\d+)"', page)] == [
        first,
        second,
        third,
        later,
        after,
    ]
    assert "High , 5 tasks Next in line as soon as a worker is free" in row(page, first)
    assert "Medium , 0 tasks 2nd in line when its turn comes" in row(page, second)
    assert "Low , -2 tasks 3rd in line" in row(page, third)
    assert "Scheduled" in row(page, later)
    assert "in 3 h" in row(page, later)


def test_what_runs_says_how_long_it_still_takes(session: Session, sign_in: SignIn) -> None:
    started_at = datetime.now(UTC) - timedelta(minutes=10)
    job_id = record_seed.add_job(
        session,
        "running",
        progress=50,
        message="row 5",
        worker_name="worker-a",
        started_at=started_at,
        attempt_started_at=started_at,
    )
    said = row(sign_in().get("/platform/jobs/active/").text, job_id)
    for words in ("50 % row 5", "worker-a", "Medium", "10 min 0"):
        assert words in said
    assert said.count("10 min 0") == 2  # it has run, and will run, as long


def test_a_failed_job_says_whether_it_can_be_retried_and_why_not(
    session: Session, sign_in: SignIn
) -> None:
    plain = record_seed.add_job(session, "failed", error_type="ValueError", error_message="row 4")
    retried = record_seed.add_job(session, "failed", owner_name="ann")
    again = record_seed.add_job(session, "pending", minutes=1, retried_from=retried)
    done = record_seed.add_job(session, "failed")
    redone = record_seed.add_job(session, "completed", minutes=1, retried_from=done)
    lost = record_seed.add_job(
        session, "failed", task="run_batch", arguments={"batch_id": "batch_gone"}
    )
    page = sign_in().get("/platform/jobs/failed/").text
    assert "ValueError : row 4" in row(page, plain)
    assert f"/platform/jobs/{plain}/retry/" in page
    assert f"its retry has not ended. Retried as {again}" in row(page, retried)
    assert f"Retry job {done} Retried as {redone}" in row(page, done)
    assert "its batch is gone" in row(page, lost)
    backup = record_seed.add_job(session, "failed", task="backup", owner_name="ann")
    page = sign_in("ann", "user").get("/platform/jobs/failed/").text
    assert "needs the scope" in row(page, backup)
    assert f"row-{plain}" not in page


def test_the_first_page_counts_and_names_what_is_slow(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, "completed", task="train", run_seconds=90)
    record_seed.add_job(session, "pending", queue="tasks")
    record_seed.add_job(session, "failed")
    client = sign_in()
    # The figures are kept for a moment: they may be those of another test.
    wait_until(
        lambda: 'data-label="Average">1 min 30 s' in client.get("/platform/jobs/").text, "slow"
    )
    wait_until(lambda: 'id="count-pending">1<' in client.get("/platform/jobs/").text, "one")
    page = client.get("/platform/jobs/").text
    for kind, count in {"active": 0, "pending": 1, "completed": 1, "failed": 1}.items():
        assert f'id="count-{kind}">{count}<' in page
    slow = page[page.index('id="slow-title"') : page.index('id="latest-title"')]
    assert "train" in slow
    assert "1 min 30 s" in slow
    stats = client.get("/platform/jobs/stats/").text
    assert "Slow" in stats
    assert "100 %" in stats


def test_a_user_sees_own_jobs_only(session: Session, sign_in: SignIn) -> None:
    theirs = record_seed.add_job(session, "pending", owner_name="bob")
    client = sign_in("ann", "user")
    assert f"row-{theirs}" not in client.get("/platform/jobs/pending/").text
    for path in ("", "retry/", "cancel/"):
        assert client.get(f"/platform/jobs/{theirs}/{path}").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/platform/jobs/done/", 404),
        ("/platform/jobs/active/?cursor=x", 400),
        ("/platform/jobs/pending/?offset=-1", 400),
        ("/platform/jobs/pending/?offset=99999", 200),
        ("/platform/jobs/failed/?type=%00&cursor=", 200),
        ("/platform/jobs/failed/?type=" + "x" * 3000, 400),
        ("/platform/jobs/1/abort/", 404),
        ("/platform/jobs/%F0%9F%A6%86/", 404),
    ],
)
def test_what_a_client_sends_is_never_our_fault(sign_in: SignIn, path: str, status: int) -> None:
    assert sign_in().get(path).status_code == status


def test_who_is_not_signed_in_is_sent_to_sign_in(sign_in: SignIn) -> None:
    client = sign_in().application.test_client()
    for path in ("", "active/", "stats/", "7/"):
        answer = client.get(f"/platform/jobs/{path}")
        assert answer.status_code in (302, 303, 401), path


@pytest.mark.browser
def test_a_failed_job_is_retried_after_it_was_said_what_that_does(
    open_page: Open, session: Session
) -> None:
    failed = record_seed.add_job(
        session, "failed", owner_name="admin", error_message="<img src=x>\u202e", arguments={}
    )
    page = open_page("/platform/jobs/failed/")
    expect(page.locator(f"#row-{failed}")).to_contain_text("<img src=x>⟨202E⟩")
    page.get_by_role("button", name=f"Retry job {failed}").click()
    expect(page.locator(".ask")).to_contain_text("A new job with the same task")
    page.get_by_role("button", name="Retry it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Export")
    session.rollback()
    again = session.scalars(select(Job).where(Job.retried_from == failed)).one()
    assert again.task == "export"


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_pages_are_for_everybody(
    open_page: Open, session: Session, theme: str, width: int
) -> None:
    record_seed.fill(session)
    record_seed.add_job(session, "pending", priority=3)
    record_seed.add_job(session, "pending", priority=-3)
    page = open_page("/platform/jobs/", width=width, color_scheme=theme)
    for path in ("", "active/", "pending/", "completed/", "failed/", "stats/"):
        page.goto(f"/platform/jobs/{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    session.rollback()
    record_seed.clear(session)
    page.goto("/platform/jobs/active/")
    expect(page.locator(".empty")).to_contain_text("Nothing runs")
    assert violations(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 300])
def test_the_open_tab_is_wholly_in_sight_on_a_phone(open_page: Open, width: int) -> None:
    page = open_page("/platform/jobs/", width=width)
    for kind in ("active", "failed", "stats"):
        page.goto(f"/platform/jobs/{kind}/")
        tabs, tab = page.locator(".tabs"), page.locator(".tabs [aria-current]")
        expect(tab).to_have_text(kind.capitalize())
        bar, box = tabs.bounding_box(), tab.bounding_box()
        assert bar is not None
        assert box is not None
        assert bar["x"] <= box["x"], kind
        assert box["x"] + box["width"] <= bar["x"] + bar["width"] + 0.5, kind
        assert page.evaluate("scrollY") == 0


@pytest.mark.browser
def test_on_a_tablet_words_stay_whole_and_the_page_does_not_stick_out(
    open_page: Open, session: Session
) -> None:
    for _ in range(2):
        record_seed.add_job(session, "pending", task="batch_audit", queue="model:gemma-3-4b")
    page = open_page("/platform/jobs/pending/", width=768)
    name = page.locator("[data-rows] .name").first
    expect(name).to_contain_text("Batch Audit")
    box = name.bounding_box()
    assert box is not None
    assert box["width"] >= 130
    assert box["height"] < 90
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
