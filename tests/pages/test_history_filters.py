"""The history's filters: in the address, in the menus, by words, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tests.pages import seed
from tests.pages.conftest import Complaints

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def ends_with(path: str) -> re.Pattern[str]:
    """An address, whatever the server's."""
    return re.compile(rf"{re.escape(path)}$")


def choose_status(page: Page, *statuses: str) -> None:
    """Check these in the menu, and nothing else."""
    if not page.locator("#status-menu").evaluate("menu => menu.open"):
        page.click("#status-menu summary")
    for box in page.locator("#status-menu [name=status]").all():
        box.set_checked(box.get_attribute("value") in statuses)
    page.keyboard.press("Escape")


def test_filters_live_in_the_address_and_the_menus_send_them(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session, id="batch_a", model="one")
    seed.add_batch(session, "cancelled", id="batch_b", model="one")
    seed.add_batch(
        session, id="batch_c", model="two", created_at=datetime.now(UTC) - timedelta(days=3)
    )
    page = open_page("/history")
    page.select_option("[name=model]", "one")
    expect(page.locator(".job")).to_have_count(2)
    choose_status(page, "cancelled")
    expect(page.locator(".job")).to_have_count(1)
    expect(page).to_have_url(ends_with("/history?status=cancelled&model=one"))
    page.reload()
    expect(page.locator("#job-batch_b")).to_be_visible()
    expect(page.locator("[name=model]")).to_have_value("one")
    page.click("text=Clear all")
    expect(page.locator(".job")).to_have_count(3)
    page.check("[name=range][value='24h']", force=True)
    expect(page.locator(".job")).to_have_count(2)
    total = page.locator(".cards dl > div", has_text="Total jobs").locator("dd")
    expect(total).to_have_text(["2", "last 24 hours"])


def test_times_can_be_chosen_to_the_minute(open_page: Open, session: Session) -> None:
    for day in (19, 20, 21):
        seed.add_batch(
            session, id=f"batch_{day}", created_at=datetime(2026, 1, day, 23, 30, tzinfo=UTC)
        )
    page = open_page("/history")
    page.check("[name=range][value=dates]", force=True)
    page.fill("[name=from]", "2026-01-20T23:00")
    page.fill("[name=to]", "2026-01-21T23:30")
    expect(page.locator(".job")).to_have_count(1)
    expect(page.locator("#job-batch_20")).to_be_visible()
    expect(page.locator(".chip")).to_have_text("Created: 2026-01-20 23:00 to 2026-01-21 23:30 UTC")
    page.reload()
    expect(page.locator("[name=to]")).to_have_value("2026-01-21T23:30")
    # An address with days alone, as they were once: the last one counts whole.
    page.goto("/history?range=dates&from=2026-01-20&to=2026-01-20")
    expect(page.locator(".job")).to_have_count(1)


def test_several_statuses_are_chosen_at_once_and_each_can_be_taken_away(
    open_page: Open, session: Session
) -> None:
    for status in ("completed", "failed", "cancelled", "in_progress"):
        seed.add_batch(session, status, id=f"batch_{status}")
    page = open_page("/history")
    choose_status(page, "failed", "cancelled")
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator("#jobs-title")).to_have_text("Failed and cancelled jobs")
    expect(page.locator("#status-said")).to_have_text("Status: 2")
    expect(page.locator(".chip")).to_have_text(["Status: Failed", "Status: Cancelled"])
    page.click(".chip >> text=Failed")
    expect(page.locator(".job")).to_have_count(1)
    expect(page.locator("#job-batch_cancelled")).to_be_visible()
    expect(page.locator("#status-said")).to_have_text("Status: 1")
    page.go_back()
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator("[name=status]:checked")).to_have_count(2)


def test_a_search_finds_while_it_is_typed_and_keeps_the_caret(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session, id="batch_a", input_filename="nightly-questions.jsonl")
    seed.add_batch(session, id="batch_b", custom_metadata={"team": "ranking"})
    page = open_page("/history")
    page.locator("#history-q").press_sequentially("question")
    expect(page.locator(".job")).to_have_count(1)
    expect(page.locator("#job-batch_a")).to_be_visible()
    expect(page.locator("#history-q")).to_be_focused()
    expect(page).to_have_url(ends_with("/history?q=question"))
    page.fill("#history-q", "team=ranking")
    expect(page.locator("#job-batch_b")).to_be_visible()
    page.click(".chips >> text=Clear all")
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator("#history-q")).to_have_value("")


def test_a_batch_that_was_looked_at_leaves_the_filters_as_they_were(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session, "failed", id="batch_a", model="one")
    page = open_page("/history")
    choose_status(page, "failed")
    expect(page).to_have_url(ends_with("/history?status=failed"))
    page.click("#open-batch_a")
    expect(page.locator("#batch-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#batch-dialog")).to_be_hidden()
    expect(page).to_have_url(ends_with("/history?status=failed"))
    expect(page.locator("[name=status]:checked")).to_have_count(1)
    expect(page.locator("#status-said")).to_have_text("Status: 1")
    page.select_option("[name=model]", "one")
    expect(page).to_have_url(ends_with("/history?status=failed&model=one"))


def test_an_address_that_cant_be_read_says_what_is_wrong(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True
    for query, words in (
        ("status=nope", "status must be one or more of"),
        ("sort=size", "sort must be one of"),
        ("range=dates&from=x", "from must be a time like"),
        ("cursor=x", "cursor is none that a list gave"),
    ):
        page = open_page(f"/history?{query}")
        expect(page.locator(".empty")).to_contain_text(words)
    page.click(".empty >> text=Clear all")
    expect(page.locator(".empty")).to_contain_text("No job yet")


def test_filters_that_hide_everything_say_so_and_can_be_cleared(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session)
    page = open_page("/history?status=failed")
    expect(page.locator(".empty")).to_contain_text("No job matches these filters")
    page.locator(".empty >> text=Clear all").click()
    expect(page.locator(".job")).to_have_count(1)


def test_the_filters_work_without_scripts(open_page: Open, session: Session) -> None:
    seed.add_batch(session, id="batch_a")
    seed.add_batch(session, "cancelled", id="batch_b")
    page = open_page("/history", java_script_enabled=False)
    page.click("#status-menu summary")
    page.check("[name=status][value=cancelled]")
    page.click("text=Apply")
    expect(page.locator(".job")).to_have_count(1)
    page.click("text=batch_b")
    expect(page.locator("h1")).to_contain_text("batch_b")


@pytest.mark.parametrize(
    "q", ['"', '""', "=", "a=", "=b", 'a="', "\\", "%", "_", "'; --", "batch_%", "é=ü", "\u202e", "a" * 200]
)  # fmt: skip
def test_an_odd_search_is_never_a_fault(
    sign_in: Callable[..., FlaskClient], session: Session, q: str
) -> None:
    seed.add_batch(session)
    client = sign_in()
    for path in ("/history", "/history/export.csv"):
        assert client.get(path, query_string={"q": q}).status_code == 200


def test_the_filters_have_no_frame_of_their_own_while_one_is_used(open_page: Open) -> None:
    page = open_page("/history")
    for field in ("#history-q", "[name=model]"):
        page.focus(field)
        shadow = "getComputedStyle(document.querySelector('#history-filters')).boxShadow"
        assert page.evaluate(shadow) == "none"
