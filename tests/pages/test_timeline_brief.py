"""What ran beside what, in brief, on the Overview."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import timeline
from tests.pages.conftest import violations, wait_until_live
from tests.pages.timeline_day import NOON, Day, busy, window

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]

AROUND_NOON = window(NOON - timedelta(hours=1), NOON + timedelta(hours=3)).replace("/timeline", "/")


def test_it_has_the_runs_of_the_window_and_says_which_types_met_most(
    day: Day, sign_in: SignIn
) -> None:
    jobs = busy(day)
    page = sign_in().get(AROUND_NOON).text

    assert page.count('class="bar ') == 6
    assert f'id="run-{jobs["failed"].id}-1" class="bar failed"' in page
    assert "6 runs, " in page
    assert "3 ran at once at most" in page
    types = '<span title="export">Export</span> and <span title="run_batch">Batch</span>'
    met = re.search(rf'<a href="([^"]+)">{types}</a> had most time in common: 55', page)
    assert met
    assert met[1].startswith("/timeline?range=dates")
    assert "pair=export" in met[1]
    one = sign_in().get(f"{AROUND_NOON}&type=export").text
    assert one.count('class="bar ') == 1
    assert "had most time in common" not in one


def test_of_a_longer_window_it_has_the_last_day_and_says_so(day: Day, sign_in: SignIn) -> None:
    day.run("old", -60 * 30, -60 * 29)
    day.run("new", 0, 10)
    client = sign_in()
    since, until = NOON - timedelta(days=6), NOON + timedelta(hours=1)

    page = client.get(window(since, until).replace("/timeline", "/")).text

    assert page.count('class="bar ') == 1
    assert re.search("1 run, [^<]* to ", page)
    month = client.get("/?range=30d").text
    assert re.search(r"What ran beside what</h2><p class=\"count\">\d+ runs?, last 24 hours", month)


def test_a_user_sees_own_runs_only(day: Day, sign_in: SignIn) -> None:
    busy(day)
    page = sign_in("ada", "user").get(AROUND_NOON).text
    assert page.count('class="bar ') == 1
    assert "run_batch" in page


def test_many_runs_are_few_marks(day: Day, sign_in: SignIn) -> None:
    for number in range(timeline.BRIEF.rows + 1):  # more at once than it has rows
        day.run("export", number, 60)
    for number in range(timeline.BRIEF.lanes + 2):
        day.run(f"type {number:02}", 0, 30 + number)
    page = sign_in().get(AROUND_NOON).text
    assert 'class="strip' in page
    assert "3 more" in page
    assert page.count('class="lane"') == timeline.BRIEF.lanes + 1


def test_a_window_without_runs_says_so(day: Day, sign_in: SignIn) -> None:
    page = sign_in().get(AROUND_NOON).text
    assert "No job ran, " in page
    assert "No job of this type ran, " in sign_in().get("/?range=1h&type=export").text


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_its_runs_are_walked_told_and_opened_and_it_leads_to_the_timeline(
    day: Day, open_page: Open, session: Session, width: int
) -> None:
    jobs = busy(day)
    page = open_page(AROUND_NOON, width=width)
    page.locator("#plot").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-job='{jobs['failed'].id}']")).to_be_focused()
    expect(page.get_by_role("tooltip")).to_contain_text("CUDA out of memory")
    wait_until_live(page)
    day.run("backup", 120, 130)

    page.evaluate("htmx.trigger('#home-now', 'refresh')")

    expect(page.locator(".bar")).to_have_count(7)
    expect(page.locator(f"[data-job='{jobs['failed'].id}']")).to_be_focused()
    expect(page.get_by_role("tooltip")).to_contain_text("CUDA out of memory")
    if width < 600:
        expect(page.locator(".labels text", has_text="backup")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/jobs/{jobs['failed'].id}$"))
    page.go_back()
    page.get_by_role("link", name="Look into it").click()
    expect(page).to_have_url(re.compile("/timeline.range=dates"))
    expect(page.locator(".bar")).to_have_count(7)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_overview_with_it_shuts_nobody_out(day: Day, open_page: Open, scheme: str) -> None:
    busy(day)
    assert violations(open_page(AROUND_NOON, color_scheme=scheme)) == []


@pytest.mark.browser
def test_on_a_phone_what_needs_attention_is_seen_first(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(AROUND_NOON, width=390)
    top = {
        name: page.locator(name).bounding_box()["y"]  # type: ignore[index]
        for name in ("#attention-title", "#card-total", "#beside-title", "#next-title")
    }
    assert sorted(top, key=lambda name: top[name]) == list(top)
    wide = open_page(AROUND_NOON)
    wide.get_by_role("button", name=re.compile("attention")).click()
    expect(wide.locator("#attention-title")).to_be_in_viewport()
