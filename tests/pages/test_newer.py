"""Lists whose newest rows come on top: new rows come in while the reader is there, else "12 new" tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.models import AuditEntry, Incident
from tests.pages import record_seed, seed, telling_seed
from tests.pages.conftest import wait_until_live, wait_until_so

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("clear_jobs")]

Open = Callable[..., Page]
# Adds a row as of so many minutes ago; returns the id of its element.
Add = Callable[[Session, float], str]


@pytest.fixture(autouse=True)
def _clear(session: Session) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


def add_job(session: Session, minutes: float) -> str:
    return f"row-{record_seed.add_job(session, 'completed', minutes=minutes)}"


def add_failed(session: Session, minutes: float) -> str:
    return f"row-{record_seed.add_job(session, 'failed', minutes=minutes)}"


def add_running(session: Session, minutes: float) -> str:
    return f"row-{record_seed.add_job(session, 'running', minutes=minutes)}"


def add_batch(session: Session, minutes: float) -> str:
    made_at = datetime.now(UTC) - timedelta(minutes=minutes)
    return f"job-{seed.add_batch(session, created_at=made_at).id}"


def add_incident(session: Session, minutes: float) -> str:
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    incident = Incident(
        source="failure",
        risk_level="low",
        fingerprint=str(minutes),
        text="export failed",
        opened_at=at,
        last_seen_at=at,
    )
    session.add(incident)
    session.commit()
    return f"incident-{incident.id}"


def add_entry(session: Session, minutes: float) -> str:
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    entry = AuditEntry(actor="ada", action="queue.pause", object_id="tasks", details="", at=at)
    session.add(entry)
    session.commit()
    return f"entry-{entry.id}"


def add_delivery(session: Session, minutes: float) -> str:
    endpoint = telling_seed.the_endpoint(session)
    return telling_seed.add_delivery(session, endpoint, minutes=minutes).id


def add_letter(session: Session, minutes: float) -> str:
    endpoint = telling_seed.the_endpoint(session)
    letter = telling_seed.add_delivery(session, endpoint, "dead", minutes=minutes)
    return f"letter-{letter.id}"


def add_alert(session: Session, minutes: float) -> str:
    rule = telling_seed.the_rule(session)
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    return f"alert-{telling_seed.add_alert(session, rule, minutes, resolved_at=at).id}"


LISTS = {
    "/jobs": add_job,
    "/history": add_batch,
    "/events": add_incident,
    "/audit?action=queue.pause": add_entry,
    "/platform/jobs/active/": add_running,
    "/platform/jobs/completed/": add_job,
    "/platform/jobs/failed/": add_failed,
    "/webhooks/we_shown": add_delivery,
    "/webhooks/dead-letters": add_letter,
    "/alerts": add_alert,
}


def tell(session: Session) -> None:
    """Something changed."""
    session.execute(text("SELECT pg_notify('stoker_changes', '{}')"))
    session.commit()


@pytest.mark.parametrize("path", LISTS)
def test_new_rows_come_in_at_the_top_and_are_counted_elsewhere(
    open_page: Open, session: Session, path: str
) -> None:
    add = LISTS[path]
    for number in range(55):
        add(session, 100 + number)
    page = open_page(path)
    page.set_viewport_size({"width": 1440, "height": 500})
    wait_until_live(page)

    # On top: they come in.
    first = add(session, 50)
    page.locator("[data-rows] > *").first.scroll_into_view_if_needed()
    tell(session)
    expect(page.locator("[data-rows] > *").first).to_have_id(first)
    expect(page.locator("#newer")).not_to_be_visible()

    # Further down: they wait, nothing moves, and the rows that are there stay.
    page.locator("[data-rows] > *").last.scroll_into_view_if_needed()
    shown = page.locator("[data-rows] > *").evaluate_all("rows => rows.map(row => row.id)")
    place = page.evaluate("scrollY")
    add(session, 40)
    newest = add(session, 39)
    tell(session)
    expect(page.locator("#newer")).to_have_text("2 new")
    assert page.locator("[data-rows] > *").evaluate_all("rows => rows.map(row => row.id)") == shown
    assert page.evaluate("scrollY") == place
    page.locator("#newer").click()
    expect(page.locator("[data-rows] > *").first).to_have_id(newest)
    expect(page.locator("[data-rows] > *").first).to_be_in_viewport()
    expect(page.locator("#newer")).not_to_be_visible()

    # On the next page: they are counted, and the way to them is as short.
    page.locator("nav.paging a").last.click()
    expect(page.locator("[data-later]")).to_be_visible()
    wait_until_live(page)
    wait_until_so(page, "stoker.newest() !== undefined")  # it knows what was the newest
    newest = add(session, 30)
    tell(session)
    expect(page.locator("#newer")).to_have_text("1 new")
    page.locator("#newer").click()
    expect(page.locator("[data-rows] > *").first).to_have_id(newest)
    expect(page.locator("[data-later]")).to_have_count(0)


def test_while_rows_are_picked_new_ones_are_only_counted(open_page: Open, session: Session) -> None:
    for number in range(3):
        add_job(session, 100 + number)
    page = open_page("/jobs")
    wait_until_live(page)
    page.locator("[data-select]").first.check()
    tell(session)
    wait_until_so(page, "stoker.newest() !== undefined")
    newest = add_job(session, 1)
    tell(session)
    expect(page.locator("#newer")).to_have_text("1 new")
    expect(page.locator(f"#{newest}")).to_have_count(0)
    page.locator("[data-select]").first.uncheck()
    expect(page.locator(f"#{newest}")).to_be_visible()
    expect(page.locator("#newer")).not_to_be_visible()


def test_who_scrolls_back_to_the_top_has_the_new_rows_come_in(
    open_page: Open, session: Session
) -> None:
    for number in range(50):
        add_job(session, 100 + number)
    page = open_page("/jobs")
    wait_until_live(page)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    newest = add_job(session, 1)
    tell(session)
    expect(page.locator("#newer")).to_have_text("1 new")
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(f"#{newest}")).to_be_visible()
    expect(page.locator("#newer")).not_to_be_visible()


def test_more_than_a_page_of_new_rows_is_said_as_that(open_page: Open, session: Session) -> None:
    for number in range(50):
        add_job(session, 100 + number)
    page = open_page("/jobs")
    wait_until_live(page)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    for number in range(51):
        add_job(session, 90 - number)
    tell(session)
    expect(page.locator("#newer")).to_have_text("50+ new")
    expect(page.locator("[data-rows] > *")).to_have_count(50)
    page.locator("#newer").click()
    expect(page.locator("#newer")).not_to_be_visible()
