"""A batch's requests one by one, and its results so far."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import storage
from app.core.models import Batch
from app.core.settings import Settings
from tests.pages import seed
from tests.pages.conftest import violations
from tests.pages.request_seed import Exchange, add_requests

Open = Callable[..., Page]


def running_batch(session: Session, settings: Settings) -> Batch:
    """One that has answered some of its requests; the second and the fourth failed."""
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    exchanges = [
        Exchange("sky-1", answer="Air scatters blue light."),
        Exchange("sky-2", error="Too long.", error_type="context_length_exceeded"),
        Exchange("sea-1", answer="It mirrors the sky.", seconds=2.5),
        Exchange("sea-2", error="Timed out.", error_type="timeout"),
        Exchange("sea-3"),
    ]
    add_requests(session, settings, batch, exchanges)
    return batch


def test_failures_come_first_then_answers_then_what_waits(
    open_page: Open, session: Session, settings: Settings
) -> None:
    running_batch(session, settings)
    page = open_page("/history/batch_a")
    rows = page.locator(".requests-table tbody tr")
    expect(rows.locator(".id")).to_have_text(["sky-2", "sea-2", "sky-1", "sea-1", "sea-3"])
    expect(rows.locator(".badge")).to_have_text(
        ["Failed", "Failed", "Completed", "Completed", "Waiting"]
    )
    expect(rows.nth(0)).to_contain_text("Too long.")
    expect(rows.nth(2)).to_contain_text("Air scatters blue light.")
    expect(rows.nth(2).locator(".tokens")).to_have_text("31 + 12")
    expect(rows.nth(3).locator(".took")).to_have_text("2.5 s")


def test_requests_are_filtered_by_status_and_searched_by_custom_id(
    open_page: Open, session: Session, settings: Settings
) -> None:
    running_batch(session, settings)
    page = open_page("/history/batch_a")
    ids = page.locator(".requests-table tbody .id")
    page.check("#requests-filters [value=failed]", force=True)
    expect(ids).to_have_text(["sky-2", "sea-2"])
    expect(page).to_have_url(re.compile(r"/history/batch_a/requests\?status=failed$"))
    page.fill("#requests-q", "sea")
    page.press("#requests-q", "Enter")
    expect(ids).to_have_text(["sea-2"])
    page.reload()
    expect(ids).to_have_text(["sea-2"])
    expect(page.locator("#requests-q")).to_have_value("sea")
    page.check("#requests-filters [value='']", force=True)
    expect(ids).to_have_text(["sea-2", "sea-1", "sea-3"])
    page.fill("#requests-q", "s%")
    page.press("#requests-q", "Enter")
    expect(page.locator("#batch-requests .empty")).to_contain_text("No request matches")
    page.click("#batch-requests .empty >> text=Clear all")
    expect(ids).to_have_count(5)


def test_many_requests_come_in_pages_across_the_kinds(
    open_page: Open, session: Session, settings: Settings
) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    kinds: list[dict[str, Any]] = [{"error": "No."}, {"answer": "Yes."}, {}]
    exchanges = [Exchange(f"r-{place:03}", **kinds[place % 3]) for place in range(120)]
    add_requests(session, settings, batch, exchanges)
    page = open_page("/history/batch_a/requests")
    rows = page.locator(".requests-table tbody tr")
    seen = []
    for count in (50, 50, 20):
        expect(rows).to_have_count(count)
        seen += rows.locator(".badge").all_inner_texts()
        if count == 50:
            first = rows.first.get_attribute("id")
            page.click("#next-requests")
            expect(rows.first).not_to_have_id(first or "")
    assert seen == ["Failed"] * 40 + ["Completed"] * 40 + ["Waiting"] * 40
    page.click("#first-requests")
    expect(rows.first).to_have_id("request-1")


def test_one_request_shows_what_was_asked_and_what_came_of_it(
    open_page: Open, session: Session, settings: Settings
) -> None:
    running_batch(session, settings)
    page = open_page("/history/batch_a/requests")
    page.click(".requests-table >> text=sky-1")
    main = page.locator("main")
    for words in (
        "sky-1", "Completed", "Why is the sky blue?", "You answer in one sentence.",
        "Air scatters blue light.", "31", "12", "Answered in 1.5 s", "stop", "temperature",
    ):  # fmt: skip
        expect(main).to_contain_text(words)
    page.click("#raw-answered summary")
    expect(page.locator("#raw-answered pre")).to_contain_text('"finish_reason": "stop"')
    page.goto("/history/batch_a/requests/2")
    expect(page.locator(".faults")).to_contain_text("Too long.")
    expect(page.locator(".faults")).to_contain_text("context_length_exceeded · HTTP 400")
    page.goto("/history/batch_a/requests/5")
    expect(page.locator(".sentence")).to_have_text("It waits for its answer.")


def test_a_request_whose_file_is_gone_still_shows_its_answer(
    sign_in: Callable[..., FlaskClient], session: Session, settings: Settings
) -> None:
    batch = running_batch(session, settings)
    storage.path(settings, batch.input_file_id).unlink()
    page = sign_in().get("/history/batch_a/requests/1").text
    assert "The input file is no longer kept." in page
    assert "Air scatters blue light." in page


def test_hostile_requests_are_shown_and_never_obeyed(
    open_page: Open, session: Session, settings: Settings
) -> None:
    hostile = seed.HOSTILE
    batch = seed.add_batch(session, id="batch_x")
    other = seed.add_batch(session, id="batch_y")
    exchange = Exchange(hostile, asked=hostile, answer=hostile, parameters=((hostile, hostile),))
    failed = Exchange("failed", error=hostile, error_type=hostile)
    add_requests(session, settings, batch, [exchange, failed])
    add_requests(session, settings, other, [exchange])
    for path in ("/history/batch_x", "/history/batch_x/requests/1", "/history/batch_x/requests/2",
                 "/history/compare?ids=batch_x,batch_y"):  # fmt: skip
        page = open_page(path, width=390)
        expect(page.locator("main")).to_contain_text("⟨202E⟩gnp.exe⟨001B⟩")
        assert page.locator("main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_what_is_no_request_of_the_batch_is_refused_with_a_sentence(
    sign_in: Callable[..., FlaskClient], session: Session, settings: Settings
) -> None:
    running_batch(session, settings)
    client = sign_in()
    for path, status in (
        ("requests/6", 404),
        ("requests/0", 404),
        ("requests/99999999999999999999", 404),
        ("requests?status=odd", 400),
        ("requests?cursor=x", 400),
        ("requests?q=%00", 400),
        ("requests?q=" + "x" * 513, 400),
    ):
        answer = client.get(f"/history/batch_a/{path}")
        assert answer.status_code == status, path


def test_the_results_so_far_of_a_running_batch_are_downloaded(
    open_page: Open, session: Session, settings: Settings
) -> None:
    running_batch(session, settings)
    page = open_page("/history/batch_a")
    with page.expect_download() as waited:
        page.click("#so-far")
    assert waited.value.suggested_filename == "batch_a_so_far.jsonl"
    lines = [json.loads(line) for line in waited.value.path().read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == ["sky-1", "sky-2", "sea-1", "sea-2"]
    assert lines[1]["response"]["body"]["error"]["message"] == "Too long."


def test_a_batch_without_requests_says_why(open_page: Open, session: Session) -> None:
    faults = [{"code": "empty_file", "line": None, "param": None, "message": "Empty."}]
    seed.add_batch(session, "failed", id="batch_a", total=0, errors=faults)
    page = open_page("/history/batch_a/requests")
    expect(page.locator("#batch-requests .empty")).to_contain_text("its file could not be run")


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1440)])
def test_the_requests_have_nothing_that_axe_finds(
    open_page: Open, session: Session, settings: Settings, theme: Any, width: int
) -> None:
    running_batch(session, settings)
    page = open_page("/history/batch_a/requests", width=width, color_scheme=theme)
    for path in ("", "/1", "/2", "/5"):
        page.goto(f"/history/batch_a/requests{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
