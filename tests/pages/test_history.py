"""The job history, as its users see and use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import deliveries, jobs
from app.core.deliveries import Outcome
from app.core.models import Batch
from app.core.settings import Settings
from tests.pages import seed
from tests.pages.conftest import Complaints, violations, wait_until_live, wait_until_so

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def card(page: Page, title: str) -> str:
    """A card's figure and the note below it."""
    place = page.locator(".cards dl > div", has_text=title)
    return " ".join(place.locator("dd").all_inner_texts())


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


def progress(session: Session, batch: Batch, completed: int) -> None:
    """The worker wrote results, and said so."""
    batch.completed = completed
    jobs.announce(session, "batch", batch.id)
    session.commit()


def test_the_cards_tell_jobs_and_requests_apart(open_page: Open, session: Session) -> None:
    seed.add_batch(session, total=100, completed=90, failed=10, run_seconds=10.0)
    seed.add_batch(session, total=100, run_seconds=20.0)
    seed.add_batch(session, "failed", total=0, errors=[{"code": "empty_file", "message": "Empty."}])
    seed.add_batch(session, "queued", total=50)
    page = open_page("/history")
    assert card(page, "Total jobs") == "4 since the beginning"
    assert card(page, "Success rate, jobs") == "66.7 % 2 of 3 ended"
    assert card(page, "Success rate, requests") == "95.0 % 10 of 200 failed"
    assert card(page, "Average duration").startswith("15.0 s")
    assert card(page, "Total requests") == "250 190 completed"


def test_every_row_says_how_it_stands_in_word_and_shape(open_page: Open, session: Session) -> None:
    words = {
        "validating": "Validating",
        "queued": "Waiting",
        "in_progress": "Running",
        "finalizing": "Finalizing",
        "completed": "Completed",
        "failed": "Failed",
        "expired": "Expired",
        "cancelling": "Cancelling",
        "cancelled": "Cancelled",
    }
    for status in words:
        seed.add_batch(session, status, id=f"batch_{status}")
    page = open_page("/history")
    for status, word in words.items():
        badge = page.locator(f"#job-batch_{status} .badge")
        expect(badge).to_have_text(word)
        assert badge.locator("svg use").get_attribute("href")
    running = page.locator("#job-batch_in_progress")
    expect(running.locator("progress")).to_have_attribute("value", "33")
    expect(running.locator(".counts")).to_have_text("33 / 100")
    expect(page.locator("#job-batch_completed .duration")).to_have_text("20.0 s")
    expect(page.locator("#job-batch_completed .throughput")).to_have_text("5.0 req/s")
    expect(page.locator("#job-batch_queued .requests")).to_contain_text("in queue")


def test_an_empty_history_shows_the_command_that_fills_it(open_page: Open) -> None:
    page = open_page("/history")
    expect(page.locator(".empty")).to_contain_text("No job yet")
    expect(page.locator("#first-batch")).to_contain_text("OPENAI_API_KEY")
    assert "sk-stoker" not in page.content()


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


def test_every_column_sorts_by_a_click_on_its_head(open_page: Open, session: Session) -> None:
    now = datetime.now(UTC)
    for place, (run, total) in enumerate(((5.0, 10), (90.0, 30), (40.0, 20))):
        seed.add_batch(
            session,
            id=f"batch_{place}",
            total=total,
            run_seconds=run,
            model=f"model-{(place * 2) % 3}",
            created_at=now - timedelta(minutes=place + 3),
        )
    page = open_page("/history")
    rows = page.locator(".job .id")
    expect(page.locator("thead th.created")).to_have_attribute("aria-sort", "descending")
    for head, order in (
        ("duration", ["batch_1", "batch_2", "batch_0"]),
        ("requests", ["batch_1", "batch_2", "batch_0"]),
        ("throughput", ["batch_0", "batch_2", "batch_1"]),
        ("model", ["batch_0", "batch_2", "batch_1"]),
        ("batch", ["batch_0", "batch_1", "batch_2"]),
        ("status", ["batch_0", "batch_1", "batch_2"]),
        ("user", ["batch_0", "batch_1", "batch_2"]),
    ):
        page.click(f"#sort-{head}")
        expect(page).to_have_url(ends_with(f"/history?sort={head}"))
        expect(rows).to_have_text(order)
        own = page.locator("th", has=page.locator(f"#sort-{head}"))
        assert own.get_attribute("aria-sort") in ("ascending", "descending")
        expect(page.locator("th[aria-sort=none]")).to_have_count(7)
    page.click("#sort-duration")
    expect(page.locator("th.duration")).to_have_attribute("aria-sort", "descending")
    page.click("#sort-duration")
    expect(page).to_have_url(ends_with("/history?sort=duration&order=asc"))
    expect(rows).to_have_text(["batch_0", "batch_2", "batch_1"])
    expect(page.locator("#sort-duration")).to_be_focused()
    page.select_option("[name=model]", "model-0")
    expect(page).to_have_url(ends_with("/history?model=model-0&sort=duration&order=asc"))
    page.go_back()
    expect(rows).to_have_count(3)
    expect(page.locator("[name=model]")).to_have_value("")


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


def test_the_charts_say_in_words_and_tables_what_they_draw(
    open_page: Open, session: Session
) -> None:
    made = datetime.now(UTC) - timedelta(hours=2)
    seed.add_batch(session, created_at=made, total=100, completed=90, failed=10)
    seed.add_batch(session, "failed", created_at=made, total=0, errors=[{"code": "x"}])
    seed.add_batch(session, created_at=made - timedelta(hours=4), total=20, model="other")
    page = open_page("/history")
    expect(page.locator("#chart-batches-sentence")).to_contain_text("3 in all")
    expect(page.locator("#chart-requests-sentence")).to_contain_text("120 in all")
    assert page.locator(".chart rect.failed").count() >= 2
    page.click("#chart-requests-table summary")
    expect(page.locator("#chart-requests-table tbody tr")).to_have_count(2)
    expect(page.locator("#chart-requests-table tbody tr").last).to_contain_text("90")
    # Open it stays, whatever is chosen.
    page.select_option("[name=model]", "other")
    expect(page.locator("#chart-requests-sentence")).to_contain_text("20 in all")
    expect(page.locator("#chart-requests-table tbody tr")).to_have_count(1)
    expect(page.locator("#chart-requests-table tbody tr")).to_be_visible()


def test_a_user_sees_and_finds_only_their_own(
    sign_in: Callable[..., FlaskClient], session: Session
) -> None:
    seed.add_batch(session, id="batch_admins", input_filename="secret.jsonl")
    ada = sign_in("ada", "user")
    for query in ("", "?q=secret", "?user=admin", "?sort=user", "?q=batch_admins"):
        page = ada.get(f"/history{query}").text
        assert 'id="job-batch_admins"' not in page
        assert "All users" not in page
    assert ada.get("/history/batch_admins").status_code == 404
    assert ada.get("/history/batch_admins/requests").status_code == 404
    assert ada.get("/history/batch_admins/requests/1").status_code == 404
    assert ada.get("/history/batch_admins/results.jsonl").status_code == 404
    assert ada.get("/history/compare?ids=batch_admins,batch_b").status_code == 404
    assert "batch_admins" not in ada.get("/history/export.csv").text
    assert "batch_admins" not in ada.get("/history/export.json").text
    admin = sign_in()
    assert 'id="job-batch_admins"' in admin.get("/history?user=admin").text
    assert 'id="job-batch_admins"' not in admin.get("/history?user=ada").text


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_list_has_nothing_that_axe_finds(
    open_page: Open, session: Session, theme: Any, width: int
) -> None:
    seed.fill(session, 30)
    page = open_page("/history?status=completed,failed&range=7d", width=width, color_scheme=theme)
    page.locator("[data-select]").first.check()
    page.click("#chart-batches-table summary")
    expect(page.locator("#chart-batches-table table")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


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


def test_previous_and_next_turn_the_pages(open_page: Open, session: Session) -> None:
    start = datetime.now(UTC) - timedelta(hours=5)
    for place in range(60):
        seed.add_batch(
            session, id=f"batch_{place}", created_at=start + timedelta(minutes=place), total=1
        )
    page = open_page("/history")
    expect(page.locator(".job")).to_have_count(50)
    expect(page.locator(".paging")).to_contain_text("1–50 of 60")
    page.click("#next-page")
    expect(page.locator(".job")).to_have_count(10)
    expect(page.locator(".paging")).to_contain_text("51–60 of 60")
    expect(page).to_have_url(re.compile(r"/history\?cursor="))
    page.click("#previous-page")
    expect(page.locator(".job")).to_have_count(50)
    expect(page.locator(".job").first).to_have_id("job-batch_59")
    page.go_back()
    expect(page.locator(".job")).to_have_count(10)


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


def test_hostile_text_is_shown_and_never_obeyed(open_page: Open, session: Session) -> None:
    hostile = seed.HOSTILE
    faults = [{"code": hostile, "line": 1, "param": hostile, "message": hostile}]
    seed.add_batch(
        session,
        "failed",
        id="batch_x",
        model=hostile,
        custom_metadata={hostile: hostile},
        webhook={"url": hostile},
        errors=faults,
    )
    page = open_page("/history")
    expect(page.locator("#job-batch_x .model")).to_contain_text("<script>alert(1)</script>")
    page.click("#open-batch_x")
    dialog = page.locator("#batch-dialog")
    expect(dialog).to_contain_text("⟨202E⟩gnp.exe⟨001B⟩")
    assert page.locator("main script").count() == 0
    assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")


def test_times_are_relative_with_the_absolute_beside_them(
    open_page: Open, session: Session
) -> None:
    created_at = datetime.now(UTC) - timedelta(hours=2, minutes=5)
    seed.add_batch(session, id="batch_a", created_at=created_at)
    time = open_page("/history").locator("#job-batch_a time")
    expect(time).to_have_text("2 h ago")
    expect(time).to_have_attribute("title", f"{created_at:%Y-%m-%d %H:%M:%S} UTC")
    expect(time).to_have_attribute("datetime", created_at.isoformat(timespec="seconds"))


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
