"""More than can be told apart."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pages.timeline_day import DAY, NOON, Day, window

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def test_a_hundred_thousand_runs_are_strips_that_say_how_many(
    day: Day, open_page: Open, session: Session
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT number, at, 1, 'type ' || number % 25, 'tasks', at,"
            "  at + number % 37 * interval '1 second',"
            "  CASE WHEN number % 50 = 0 THEN 'failed' ELSE 'completed' END"
            " FROM generate_series(1, 100000) AS number, LATERAL (SELECT CAST(:noon AS timestamptz)"
            "  - interval '50 minutes' + number * interval '0.12 seconds' AS at) AS begun"
        ),
        {"noon": NOON},
    )
    session.commit()

    page = open_page("/")
    answer = page.request.get(DAY)

    assert answer.ok
    assert len(gzip.compress(answer.body())) < 150_000
    assert answer.text().count('class="bar ') == 0
    page.goto(DAY)
    expect(page.locator(".count").first).to_contain_text("100,000 runs")
    expect(page.locator(".lane")).to_have_count(25)
    expect(page.locator(".strip").first).to_have_attribute("aria-label", re.compile("runs here"))


def test_a_strip_of_a_short_window_leads_into_its_slice(
    day: Day, open_page: Open, session: Session
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT number, CAST(:noon AS timestamptz), 1, 'mail', 'q',"
            " CAST(:noon AS timestamptz) + number % 60 * interval '1 second',"
            " CAST(:noon AS timestamptz) + number % 60 * interval '1 second' + interval '5 seconds',"
            " 'completed' FROM generate_series(1, 3000) AS number"
        ),
        {"noon": NOON},
    )
    session.commit()
    page = open_page(window(NOON, NOON + timedelta(seconds=60)))
    expect(page.locator(".strip")).not_to_have_count(0)

    links = [strip.get_attribute("href") for strip in page.locator(".strip").all()[:8]]

    assert [page.request.get(str(link)).status for link in links] == [200] * len(links)


def test_of_thousands_of_lanes_the_busiest_are_shown_and_the_others_are_one(
    day: Day, open_page: Open, session: Session
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, worker_name,"
            " started_at, ended_at, outcome) SELECT number, CAST(:noon AS timestamptz), 1, 'mail',"
            " 'q', 'w' || number % 3000, CAST(:noon AS timestamptz) + number * interval '1 second',"
            " CAST(:noon AS timestamptz) + number * interval '1 second', 'completed'"
            " FROM generate_series(1, 6000) AS number"
        ),
        {"noon": NOON},
    )
    session.commit()

    page = open_page(f"{DAY}&lanes=worker")

    expect(page.locator(".lane")).to_have_count(31)
    expect(page.locator(".lane").last).to_have_attribute(
        "aria-label", re.compile("^2970 more: 5,940 runs")
    )


def test_where_more_ran_than_can_be_compared_the_figures_say_of_which_time_they_are(
    day: Day, open_page: Open, session: Session
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT number, at, 1, 'type ' || number % 3, 'tasks', at,"
            "  at + interval '1 second', 'completed'"
            " FROM generate_series(0, 205199) AS number, LATERAL (SELECT CAST(:noon AS timestamptz)"
            "  + number * interval '0.01 seconds' AS at) AS begun"
        ),
        {"noon": NOON},
    )
    session.commit()

    page = open_page(window(NOON, NOON + timedelta(hours=1)))

    # 5,200 runs of 10 ms each are left out: those of 52 s.
    note = page.locator("#capped")
    expect(note).to_contain_text("the 200,000 that ended last")
    expect(note).to_contain_text(f"from {NOON:%Y-%m-%d} 12:00:53 UTC on")
    expect(page.locator(".count").first).to_contain_text("200,000+ runs")
    expect(page.locator("[fill='url(#unknown)']")).to_have_count(1)
