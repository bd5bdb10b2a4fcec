"""One batch of the history: opened from its row, and what it tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import deliveries
from app.core.deliveries import Outcome
from app.core.settings import Settings
from tests.pages import seed
from tests.pages.conftest import wait_until_live

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def ends_with(path: str) -> re.Pattern[str]:
    """An address, whatever the server's."""
    return re.compile(rf"{re.escape(path)}$")


def test_a_row_opens_the_details_and_back_closes_them(open_page: Open, session: Session) -> None:
    batch = seed.add_batch(
        session,
        id="batch_a",
        output_file_id="file-out",
        custom_metadata={"team": "search"},
        webhook={"url": "https://hooks.example.org/", "events": ["completed"]},
    )
    seed.add_file(session, "file-out", "answers.jsonl", 1_400)
    page = open_page("/history")
    page.locator("#job-batch_a .created").click()
    dialog = page.locator("#batch-dialog")
    expect(dialog).to_be_visible()
    expect(page).to_have_url(ends_with("/history/batch_a"))
    for words in (
        batch.id, "Completed", "All 100 requests succeeded.", "Validated", "First result",
        "answers.jsonl", "1.4 kB", "https://hooks.example.org/", "team", "search", "0.32.0",
    ):  # fmt: skip
        expect(dialog).to_contain_text(words)
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(ends_with("/history"))
    page.go_forward()
    expect(dialog).to_be_visible()
    page.reload()
    expect(page.locator("main h1")).to_contain_text("batch_a")


def test_the_keyboard_opens_and_closes_the_details_and_keeps_its_place(
    open_page: Open, session: Session
) -> None:
    now = datetime.now(UTC)
    for place in range(3):
        created_at = now - timedelta(minutes=place)
        seed.add_batch(session, id=f"batch_{place}", created_at=created_at)
    page = open_page("/history?range=24h")
    page.focus("#open-batch_0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    dialog = page.locator("#batch-dialog")
    expect(dialog).to_contain_text("batch_1")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#open-batch_1")).to_be_focused()
    expect(page).to_have_url(ends_with("/history?range=24h"))


def test_a_failed_batch_tells_why_line_by_line(open_page: Open, session: Session) -> None:
    faults = [{"code": "invalid_json_line", "line": 17, "param": None, "message": "Not JSON."}]
    seed.add_batch(session, "failed", id="batch_a", total=0, errors=faults)
    page = open_page("/history/batch_a")
    expect(page.locator(".faults")).to_contain_text("Not JSON.")
    expect(page.locator(".faults")).to_contain_text("invalid_json_line · line 17")


def test_a_waiting_batch_tells_its_place_in_the_queue(open_page: Open, session: Session) -> None:
    seed.add_batch(session, "queued", id="batch_a")
    seed.add_batch(session, "queued", id="batch_b")
    page = open_page("/history/batch_b")
    expect(page.locator(".sentence")).to_contain_text("2nd in queue")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "About to be sent"),
        ({"tries": 3, "last_error": "HTTP 500", "seconds": 290}, "3rd try failed: HTTP 500; next in 4 min"),
        ({"tries": 1, "last_error": "HTTP 500"}, "1st try failed: HTTP 500; next now"),
        ({"tries": 5, "last_error": "HTTP 410", "status": "dead"}, "Given up after 5 tries: HTTP 410"),
        ({"tries": 1, "status": "delivered", "hours_ago": 2}, "Delivered 2 h ago"),
    ],
)  # fmt: skip
def test_the_details_say_how_the_webhooks_last_event_stands(
    open_page: Open, session: Session, fields: dict[str, Any], words: str
) -> None:
    webhook = {"url": "https://hooks.example.org/", "events": ["completed"]}
    batch = seed.add_batch(session, id="batch_a", webhook=webhook)
    seed.add_delivery(session, batch, "evt_old", status="dead", created_at=batch.created_at)
    fields = dict(fields)
    if hours := fields.pop("hours_ago", None):
        fields["delivered_at"] = datetime.now(UTC) - timedelta(hours=hours)
    seed.add_delivery(session, batch, "evt_new", **fields)
    page = open_page("/history/batch_a")
    expect(page.locator("#batch-webhook")).to_contain_text(words)
    is_live = fields.get("status") is None
    expect(page.locator("#batch[data-live]")).to_have_count(1 if is_live else 0)


def test_a_webhook_that_is_heard_while_one_looks_shows_it(
    open_page: Open, session: Session
) -> None:
    batch = seed.add_batch(session, id="batch_a", job_id=1, webhook={"url": "https://example.org"})
    seed.add_delivery(session, batch, "evt_a")
    page = open_page("/history/batch_a")
    wait_until_live(page)
    (due,) = deliveries.claim(session, 1)
    deliveries.record(session, due, Outcome(200), Settings())
    expect(page.locator("#batch-webhook")).to_have_text("Delivered just now")


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ({"temperature": 0.6, "top_p": 0.95}, "temperature 0.6, top_p 0.95"),
        ({}, "the engine's own"),
        (None, None),
    ],
)
def test_the_details_say_which_sampling_defaults_applied(
    open_page: Open, session: Session, defaults: dict[str, Any] | None, words: str | None
) -> None:
    seed.add_batch(session, id="batch_a", engine={"version": "1", "sampling_defaults": defaults})
    row = open_page("/history/batch_a").locator("dl > div", has_text="Engine sampling defaults")
    if words is None:
        expect(row).to_have_count(0)
    else:
        expect(row.locator("dd")).to_have_text(words)
