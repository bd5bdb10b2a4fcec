"""The job history, as its users see and use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tests.pages import seed
from tests.pages.conftest import violations

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def card(page: Page, title: str) -> str:
    """A card's figure and the note below it."""
    place = page.locator(".cards dl > div", has_text=title)
    return " ".join(place.locator("dd").all_inner_texts())


def ends_with(path: str) -> re.Pattern[str]:
    """An address, whatever the server's."""
    return re.compile(rf"{re.escape(path)}$")


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
