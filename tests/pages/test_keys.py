"""Keys and the command palette: the same on every page, and never while somebody types."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.pages.navigation import ENTRIES
from tests.pages import record_seed, seed
from tests.pages.conftest import Complaints, violations, wait_until_live, wait_until_so
from tests.pages.job_seed import add_job, no_jobs  # noqa: F401 - a fixture

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_jobs")]

Open = Callable[..., Page]


def test_no_two_pages_have_one_key() -> None:
    keys = Counter(entry.key for entry in ENTRIES if entry.key)
    assert [key for key, count in keys.items() if count > 1] == []
    assert {"o", "t", "j", "h", "q", "f"} <= set(keys)


def test_g_and_a_key_go_to_each_page(open_page: Open) -> None:
    page = open_page("/views")
    for entry in ENTRIES:
        if not entry.key:
            continue
        wait_until_so(page, "window.stoker?.keys && document.readyState === 'complete'")
        page.keyboard.press("g")
        page.keyboard.press(entry.key)
        expect(page.locator(".pages a[aria-current] span")).to_have_text(entry.word)


def test_a_key_alone_does_not_what_it_does_after_g(open_page: Open) -> None:
    page = open_page("/history")
    page.keyboard.press("t")
    page.keyboard.press("g")
    page.keyboard.press("Shift")
    page.keyboard.press("9")  # no page's
    page.keyboard.press("t")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    assert page.url.endswith("/history")


def test_the_list_of_keys_says_what_works_on_this_page(open_page: Open, session: Session) -> None:
    add_job(session, 4711, "failed")
    page = open_page("/queue")
    page.keyboard.press("?")
    keys = page.locator("#keys-dialog")
    expect(keys).to_contain_text("Timeline")
    expect(keys).not_to_contain_text("Retry or run again")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.goto("/jobs")
    page.keyboard.press("?")
    expect(keys).to_contain_text("Retry or run again")
    expect(keys).to_contain_text("Next, previous row")
    page.click("#keys-dialog [data-dismiss]")
    expect(keys).to_be_hidden()
    page.click(".account")
    page.click("#account [data-keys]")
    expect(keys).to_be_visible()
    expect(page.locator("#account")).to_be_hidden()


def test_j_and_k_walk_the_rows_of_any_page_and_enter_opens_one(
    open_page: Open, session: Session
) -> None:
    now = datetime.now(UTC)
    seed.add_batch(session, id="batch_a", created_at=now - timedelta(minutes=12))
    seed.add_batch(session, id="batch_b", created_at=now - timedelta(minutes=2))
    page = open_page("/history")
    wait_until_live(page)
    page.keyboard.press("j")
    expect(page.locator("#open-batch_b")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#open-batch_a")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#open-batch_a")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator("#batch-dialog #batch-title")).to_contain_text("batch_b")
    page.keyboard.press("Escape")
    expect(page.locator("#batch-dialog")).to_be_hidden()


def test_no_key_acts_while_somebody_types_or_in_a_menu(open_page: Open) -> None:
    page = open_page("/jobs")
    page.keyboard.press("/")
    expect(page.locator("#jobs-q")).to_be_focused()
    page.keyboard.type("gt?jx/")
    expect(page.locator("#jobs-q")).to_have_value("gt?jx/")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    page.locator("#jobs-q").fill("")
    page.click("#views-button")
    expect(page.locator("#views-name")).to_be_focused()
    page.keyboard.type("gt?")
    expect(page.locator("#views-name")).to_have_value("gt?")
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    assert "/jobs" in page.url


def test_single_keys_can_be_switched_off_and_the_palette_stays(open_page: Open) -> None:
    page = open_page("/history")
    page.click(".account")
    page.check("#keys [value=off]", force=True)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    page.goto("/queue")
    page.keyboard.press("?")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    expect(page.locator("#keys-dialog")).to_be_hidden()
    page.keyboard.type("shortcuts on")
    page.keyboard.press("Enter")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()


def test_the_palette_goes_to_pages_jobs_batches_and_searches(
    open_page: Open, session: Session
) -> None:
    add_job(session, 4711, "failed")
    seed.add_batch(session, id="batch_a")
    page = open_page("/history")
    chosen = page.locator("#palette-list [aria-selected=true]")
    for text, first, url in (
        ("time", "Timeline", r"/timeline$"),
        ("4711", "Open job 4711", r"/jobs/4711$"),
        ("#4711", "Open job 4711", r"/jobs/4711$"),
        ("batch_a", "Open batch_a", r"/history/batch_a$"),
        ("out of memory", "Search the jobs for “out of memory”", r"/jobs\?q=out(%20|\+)of"),
    ):
        wait_until_so(page, "window.stoker?.keys && document.readyState === 'complete'")
        page.keyboard.press("Control+k")
        expect(page.locator("#palette-text")).to_be_focused()
        page.keyboard.type(text)
        expect(chosen.locator(".palette-words")).to_have_text(first)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(url))
    page.goto("/history")
    page.click("[data-palette]")
    page.keyboard.press("ArrowDown")
    expect(chosen).to_contain_text("Timeline")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(chosen).to_contain_text("Sign out")
    assert page.locator("#palette-text").get_attribute("aria-activedescendant") == (
        chosen.get_attribute("id")
    )
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    expect(page.locator("[data-palette]")).to_be_focused()


def test_the_palette_changes_how_pages_look(open_page: Open) -> None:
    page = open_page("/history")
    for text, attribute, value in (
        ("dark", "data-theme", "dark"),
        ("compact", "data-density", "compact"),
    ):
        page.keyboard.press("Control+k")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        expect(page.locator("html")).to_have_attribute(attribute, value)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-density", "compact")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_menus_palette_and_list_of_keys_shut_nobody_out(
    open_page: Open, complaints: Complaints, width: int, scheme: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy
    page = open_page("/history", width=width, color_scheme=scheme)
    wait_until_live(page)
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-list li").first).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    page.click("#views-button")
    expect(page.locator("#views-name")).to_be_focused()
    expect(page.locator("#views-list .note")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_j_walks_the_kinds_of_failure_and_r_asks_to_retry_one(
    open_page: Open, session: Session, clear_jobs: None
) -> None:
    record_seed.add_job(session, "failed", minutes=3, error_type="OSError")
    record_seed.add_job(session, "failed", minutes=4, error_type="ValueError")
    record_seed.add_job(session, "failed", minutes=5, error_type="ValueError")
    page = open_page("/failures")
    wait_until_live(page)
    groups = page.locator(".groups > .group")
    expect(groups).to_have_count(2)
    page.keyboard.press("r")  # none is chosen yet
    page.keyboard.press("j")
    expect(groups.nth(0).locator(".how-many a")).to_be_focused()
    page.keyboard.press("j")
    expect(groups.nth(1).locator(".how-many a")).to_be_focused()
    page.keyboard.press("r")
    expect(page.locator("#ask-title")).to_contain_text("Retry 1 failed job?")
