"""What is to start later, on the timeline: drawn as what it is, no run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from app.core import schedules, timeline, timeline_ahead, users
from app.core.models import Schedule
from app.core.schedule_definitions import Definition
from app.core.timeline_planned import MOST_RUNS, Planned, read
from tests.pages import record_seed
from tests.pages.conftest import violations
from tests.pages.timeline_day import Day, window

pytestmark = pytest.mark.usefixtures("no_schedules")

Open = Callable[..., Page]


@pytest.fixture
def no_schedules(session: Session) -> Iterator[None]:
    """None is left for the next test."""
    yield
    session.rollback()
    session.execute(delete(Schedule))
    session.commit()


def every(session: Session, name: str, seconds: int, **more: object) -> Schedule:
    """A schedule whose next run is `seconds` from now."""
    now = datetime.now(UTC)
    trigger = {
        "kind": "interval",
        "seconds": seconds,
        "starts_at": now + timedelta(seconds=seconds),
    }
    made = schedules.create(
        session,
        Definition.model_validate({"name": name, "task": "cleanup", "trigger": trigger, **more}),
        users.actor_of(users.ensure_admin(session)),
        most=100,
        now=now,
    )
    session.commit()
    return made


def ahead(hours: float = 2) -> str:
    now = datetime.now(UTC)
    return window(now - timedelta(hours=hours), now + timedelta(hours=hours))


def test_jobs_with_a_time_and_the_next_runs_of_schedules_are_planned(
    day: Day, session: Session
) -> None:
    now = datetime.now(UTC)
    job = record_seed.add_job(session, "pending", scheduled_at=now + timedelta(minutes=30))
    record_seed.add_job(session, "pending", scheduled_at=now + timedelta(hours=9))
    every(session, "hourly", 3600)
    every(session, "often", 5)
    paused = every(session, "paused", 600)
    admin = users.actor_of(users.ensure_admin(session))
    schedules.pause(session, str(paused.id), admin, "it rests", now=now)
    session.commit()

    found = read(session, now=now, until=now + timedelta(hours=2, minutes=30))

    assert [each.due_at for each in found] == sorted(each.due_at for each in found)
    assert [each.job_id for each in found if each.job_id] == [job]
    named = [each.schedule for each in found]
    assert named.count("hourly") == 2
    assert named.count("often") == MOST_RUNS
    assert "paused" not in named
    assert not read(session, now=now, until=now)
    assert not read(session, now=now, until=now + timedelta(hours=3), task="nothing")


@pytest.mark.browser
def test_what_is_to_come_is_seen_ahead_of_now_and_leads_to_its_job_or_schedule(
    day: Day, open_page: Open, session: Session
) -> None:
    now = datetime.now(UTC)
    for minutes in (90, 80, 70):
        record_seed.add_job(session, minutes=minutes, run_seconds=600)
    job = record_seed.add_job(session, "pending", scheduled_at=now + timedelta(hours=3))
    made = every(session, "hourly", 3600)
    page = open_page("/timeline")
    expect(page.locator(".planned")).to_have_count(0)

    page.get_by_role("link", name="Ahead").click()

    bar = page.locator(f"#plan-{job}")
    expect(bar).to_have_attribute(
        "aria-label",
        re.compile(
            f"^#{job} Export\nplanned: starts no earlier than .* UTC\nhow long it then waits .*\n"
            "half of its type's runs took (9|10) min .* at most$"
        ),
    )
    lane = page.locator(".lane[aria-label^=Cleanup]")
    expect(lane).to_have_attribute("aria-label", re.compile("^Cleanup: 1[12] planned$"))
    expect(page.locator(".legend")).to_contain_text("planned: no earlier")
    first = page.locator(".planned[aria-label*=hourly]").first
    expect(first).to_have_attribute("aria-label", re.compile("left out if the schedule's last job"))
    expect(page.locator("#runs-table tbody tr")).to_have_count(0)
    now_x = float(page.locator(".now").get_attribute("x1") or 0)
    assert 640 < now_x < 660
    # Nearer, but not beyond what was shown.
    page.locator("#plot").focus()
    page.keyboard.press("+")
    expect(lane).to_have_attribute("aria-label", re.compile("^Cleanup: [56] planned$"))
    page.go_back()
    expect(bar).to_be_attached()
    assert not violations(page)
    first.click()
    expect(page).to_have_url(re.compile(f"/schedules/{made.id}$"))


@pytest.mark.browser
def test_the_picture_has_what_is_planned_and_the_table_only_runs(
    day: Day, open_page: Open, session: Session
) -> None:
    record_seed.add_job(
        session, "pending", scheduled_at=datetime.now(UTC) + timedelta(hours=1), task="later"
    )
    page = open_page(ahead())
    picture = page.request.get(page.url.replace("/timeline?", "/timeline/picture.svg?")).text()
    assert "planned: starts no earlier" in picture
    table = page.request.get(page.url.replace("/timeline?", "/timeline/runs.csv?")).text()
    assert "later" not in table


def test_what_does_not_fit_beside_each_other_is_counted() -> None:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    plans = [Planned("a", "export", at, job_id=number, seconds=60) for number in range(9)]
    (lane,) = timeline_ahead.with_planned([], plans, timedelta(hours=1))
    assert (lane.plans, len(lane.planned)) == (9, timeline_ahead.MOST_PLANNED_ROWS)
    many = [Planned(f"lane {number}", "export", at, job_id=number) for number in range(50)]
    lanes = timeline_ahead.with_planned([], many, timedelta(hours=1))
    assert len(lanes) == timeline.MOST_LANES + 1
    assert lanes[-1].others == 50 - timeline.MOST_LANES
    assert sum(lane.plans for lane in lanes) == 50


def test_what_is_next_on_the_overview_are_jobs_and_the_next_runs_of_schedules(
    day: Day, session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    now = datetime.now(UTC)
    due = record_seed.add_job(session, "pending", minutes=9)
    late = record_seed.add_job(session, "pending", scheduled_at=now + timedelta(hours=5))
    soon = record_seed.add_job(session, "pending", scheduled_at=now + timedelta(minutes=20))
    hourly = every(session, "hourly <b>", 3600)
    paused = every(session, "paused", 600)
    admin = users.actor_of(users.ensure_admin(session))
    schedules.pause(session, str(paused.id), admin, "it rests", now=now)
    session.commit()

    page = sign_in().get("/").text

    ids = re.findall(r'<li id="((?:next|run-of)-\d+)"', page)
    assert ids == [f"next-{due}", f"next-{soon}", f"run-of-{hourly.id}", f"next-{late}"]
    assert f'href="/schedules/{hourly.id}"><span title="cleanup">Cleanup</span></a>' in page
    assert "by the schedule hourly &lt;b&gt;" in page
    other = sign_in("ada", "user").get("/").text
    assert "run-of-" not in other
    assert "run-of-" not in sign_in().get("/?type=mail").text


def test_of_periodic_tasks_of_procrastinate_it_is_said_that_nobody_knows_when_they_run(
    day: Day, session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    client = sign_in()
    assert "Procrastinate's own" not in client.get(ahead()).text
    session.execute(
        text(
            "INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, periodic_id)"
            " VALUES ('shop.sweep', 1790000000, 'nightly')"
        )
    )
    session.commit()
    try:
        said = client.get(ahead()).text
        now = datetime.now(UTC)
        past = client.get(window(now - timedelta(hours=2), now - timedelta(hours=1))).text
        other = sign_in("ada", "user").get(ahead()).text
    finally:
        session.execute(text("DELETE FROM procrastinate_periodic_defers"))
        session.commit()
    assert "1 periodic task of Procrastinate's own" in said
    assert "Procrastinate's own" not in past
    assert "Procrastinate's own" not in other
