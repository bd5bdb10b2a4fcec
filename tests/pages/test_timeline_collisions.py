"""What collided, and what would stagger it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import users
from app.core.models import Schedule, ScheduleFiring
from tests.pages.timeline_day import DAY, NOON, Day, busy

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def test_a_pair_of_types_shows_when_both_ran(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY)

    page.get_by_role(
        "link", name=re.compile("^Export and Batch: 2 overlaps, 55 min 00 s")
    ).first.click()

    expect(page.locator(".band-words")).to_have_text("both ran for 45 min 00 s (2,700 s)")
    expect(page.locator("rect.band:not(.key)")).to_have_count(1)
    expect(page).to_have_url(re.compile("pair=export&with=run_batch"))
    page.reload()
    expect(page.locator(".band-words")).to_have_text("both ran for 45 min 00 s (2,700 s)")
    page.set_viewport_size({"width": 390, "height": 900})
    expect(page.locator(".band-said")).to_be_visible()
    page.get_by_role("link", name="Clear Export and Batch").click()
    expect(page.locator(".band-words")).to_have_count(0)


def test_what_ran_beside_a_job_is_listed_by_the_time_in_common(day: Day, open_page: Open) -> None:
    jobs = busy(day)
    page = open_page(f"{DAY}&job={jobs['export'].id}")

    rows = page.get_by_role("region", name="What ran beside #").locator("tbody tr")

    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text(f"#{jobs['batch'].id}")
    expect(rows.nth(0)).to_contain_text("30 min 00 s")
    expect(rows.locator("td:nth-child(3)")).to_have_text(["Completed", "Completed"])
    expect(rows.nth(1)).to_contain_text("25 min 00 s")
    expect(page.locator(f".bar.chosen[data-job='{jobs['export'].id}']")).to_have_count(1)


def test_a_jobs_page_leads_to_the_time_in_which_it_ran(day: Day, open_page: Open) -> None:
    jobs = busy(day)
    page = open_page(f"/jobs/{jobs['export'].id}")

    page.get_by_role("link", name="See it on the timeline").click()

    expect(page.locator(".band-words")).to_have_text(
        re.compile(rf"^#{jobs['export'].id} ran for 45 min 00 s \(2,700 s\)$")
    )
    expect(page).to_have_url(re.compile(f"range=dates.*job={jobs['export'].id}"))


def test_it_says_which_schedule_to_move_so_that_less_runs_at_once(
    day: Day, open_page: Open, session: Session
) -> None:
    day.run("run_batch", 0, 60)
    day.run("export", 0, 60)
    backup = day.run("backup", 50, 58)
    schedule = Schedule(
        owner_id=users.ensure_admin(session).id,
        name="nightly backup",
        scopes=["submit"],
        task="backup",
        trigger={"cron": "50 12 * * *"},
        missed_policy="skip",
        missed_limit=1,
        overlap_policy="allow",
    )
    session.add(schedule)
    session.flush()
    session.add(
        ScheduleFiring(schedule_id=schedule.id, planned_at=NOON, decided_at=NOON, job_id=backup.id)
    )
    session.commit()

    page = open_page(DAY)

    expect(page.locator(".advice li")).to_have_text(
        "Start nightly backup 10 min later: at most 2 instead of 3 would have run at once."
    )
