"""The history stays fresh without disturbing its reader, and readable without its database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import jobs
from app.core.models import Batch
from tests.pages import seed
from tests.pages.conftest import Complaints, wait_until_live, wait_until_so

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def progress(session: Session, batch: Batch, completed: int) -> None:
    """The worker wrote results, and said so."""
    batch.completed = completed
    jobs.announce(session, "batch", batch.id)
    session.commit()


def test_a_change_shows_at_once_and_tints_its_row(open_page: Open, session: Session) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    seed.add_batch(session, id="batch_b")
    page = open_page("/history")
    wait_until_live(page)
    # A tint lasts a second: the page itself notes whose it sees.
    page.evaluate(
        """() => {
            window.tinted = new Set();
            new MutationObserver(() => {
                for (const row of document.querySelectorAll(".changed")) tinted.add(row.id);
            }).observe(document, { subtree: true, attributeFilter: ["class"] });
        }"""
    )
    progress(session, batch, 57)
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")
    wait_until_so(page, "tinted.size > 0")
    expect(page.locator(".changed")).to_have_count(0)
    assert page.evaluate("[...tinted]") == ["job-batch_a"]
    seed.add_batch(session, "queued", id="batch_c")
    progress(session, batch, 58)
    expect(page.locator("#job-batch_c")).to_be_visible()


def test_a_refresh_keeps_focus_and_scroll(open_page: Open, session: Session) -> None:
    start = datetime.now(UTC) - timedelta(hours=5)
    for place in range(45):
        seed.add_batch(
            session, id=f"batch_{place}", created_at=start + timedelta(minutes=place), total=1
        )
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    page.focus("#open-batch_3")
    scroll = page.evaluate("scrollY")
    assert scroll > 0
    progress(session, batch, 57)
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")
    expect(page.locator("#open-batch_3")).to_be_focused()
    assert page.evaluate("scrollY") == scroll


def test_a_refresh_waits_while_text_is_selected(open_page: Open, session: Session) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    seed.add_batch(session, id="batch_b")
    page = open_page("/history")
    wait_until_live(page)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#open-batch_b'))")
    progress(session, batch, 57)
    page.wait_for_timeout(1500)
    expect(page.locator("#job-batch_a .counts")).to_have_text("33 / 100")
    assert page.evaluate("String(getSelection())") == "batch_b"
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")


def test_a_refresh_waits_for_an_open_dialog_whose_own_figures_go_on(
    open_page: Open, session: Session
) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    page.click("#open-batch_a")
    expect(page.locator("#batch-dialog")).to_be_visible()
    progress(session, batch, 57)
    expect(page.locator("#batch .sentence")).to_contain_text("57 of 100 requests answered")
    expect(page.locator("#batch-dialog")).to_be_visible()
    expect(page.locator("#job-batch_a .counts")).to_have_text("33 / 100")
    page.click("#batch-dialog [data-close]")
    expect(page.locator("#batch-dialog")).to_be_hidden()
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")


def test_a_database_that_is_away_leaves_the_page_readable(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    seed.add_batch(session, id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    complaints.are_expected = True
    session.execute(text("ALTER TABLE batch RENAME TO batch_away"))
    session.commit()
    page.select_option("[name=model]", seed.MODELS[0])
    expect(page.locator("#banner")).to_contain_text("schema")
    expect(page.locator("#job-batch_a")).to_be_visible()
    assert page.url.endswith("/history")
    session.execute(text("ALTER TABLE batch_away RENAME TO batch"))
    session.commit()
    page.select_option("[name=model]", "")
    expect(page.locator("#banner")).to_be_empty()
