"""What every page of the navigation does alike: it refreshes, says so, and disturbs nobody by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from flask import url_for
from flask.testing import FlaskClient
from playwright.sync_api import Page, Route, expect
from sqlalchemy.orm import Session

from app.pages.navigation import ENTRIES
from app.pages.refresh import ENDPOINTS
from tests.pages import record_seed, seed, telling_seed
from tests.pages.conftest import Complaints, wait_until_so
from tests.pages.test_live import CHANGED, PART

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]

# Those that show what may change by itself.
LIVE = {entry.word: entry.endpoint for entry in ENTRIES if entry.endpoint in ENDPOINTS}
# What hides something on each, and leaves nothing where there is nothing anyway.
FILTERS = {
    "Overview": "range=7d&type=export",
    "Timeline": "range=7d&type=export",
    "Jobs": "status=failed&type=export",
    "History": "status=failed",
    "Failures": "range=7d&type=export",
    "Events": "range=7d&severity=high",
    "Stats": "range=7d&by=queue",
    "Audit": "action=nothing.done",
}
every_live_page = pytest.mark.parametrize("word", LIVE)


@pytest.fixture(autouse=True)
def _clear(session: Session) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


def fill(session: Session) -> None:
    """Something to see on each page, and more than fits on a screen."""
    for number in range(40):
        record_seed.add_job(session, "completed", minutes=20 + number)
        record_seed.add_job(session, "failed", minutes=20 + number, error_type=f"Fault{number}")
        seed.add_batch(session, id=f"batch_{number}")
    rule = telling_seed.add_rule(session)
    telling_seed.add_alert(session, rule)
    telling_seed.add_delivery(session, telling_seed.add_endpoint(session))


def path_of(client: FlaskClient, word: str) -> str:
    with client.application.test_request_context("/"):
        return url_for(LIVE[word])


def region(page: Page) -> str:
    """The selector of the part that refreshes."""
    return page.locator("[data-refreshes]").get_attribute("data-refreshes") or ""


def test_all_pages_but_the_forms_and_the_description_refresh() -> None:
    assert {entry.word for entry in ENTRIES} - set(LIVE) == {"Tasks", "API"}


@every_live_page
def test_how_often_a_page_refreshes_is_in_its_address_and_in_its_links(
    sign_in: SignIn, word: str
) -> None:
    client = sign_in()
    path = path_of(client, word)
    page = client.get(path).text
    assert 'hx-trigger="every 30s, refresh"' in page
    assert "Refresh now" in page
    assert "Last updated" in page
    calm = client.get(f"{path}?refresh=60").text
    assert 'hx-trigger="every 60s"' in calm
    assert re.search(r'<option value="60" selected>Refresh: every minute', calm)
    shown = re.search(r'data-live[^>]* hx-get="([^"]+)"', calm)
    assert shown
    assert "refresh=60" in shown[1]
    off = client.get(f"{path}?refresh=off").text
    assert re.search(r'data-live[^>]* hx-trigger="(?!never)', off) is None
    wrong = client.get(f"{path}?refresh=often")
    assert wrong.status_code == 400
    assert "refresh must be one of off, 30, 60, 300, live" in wrong.text


@every_live_page
def test_a_part_is_a_page_too_is_not_stored_and_not_sent_twice(sign_in: SignIn, word: str) -> None:
    client = sign_in()
    for path in (path_of(client, word), f"{path_of(client, word)}?{FILTERS.get(word, '')}"):
        page = client.get(path)
        assert page.status_code == 200
        part = client.get(path, headers=PART)
        for answer in (page, part):
            assert answer.headers["Cache-Control"] == "no-store"
            assert {"HX-Request", "HX-Request-Type"} <= set(answer.vary)
        assert "<!doctype html>" in page.text
        assert "<!doctype html>" not in part.text
        assert part.headers["ETag"]


NOTHING = {
    # What there is to do while there is nothing yet, and the words when a filter hides what there is.
    "Jobs": ("flask tasks run export", "Clear all"),
    "History": ("client.batches.create", "Clear all filters"),
    "Failures": ("No job failed", "Clear all"),
    "Events": ("are told here by themselves", "Clear all"),
    "Stats": ("Nothing ended", ""),
    "Overview": ("client.batches.create", "Clear all"),
    "Timeline": ("flask tasks run", "Show the last 24 hours of all types"),
    "Schedules": ("Make the first schedule", ""),
    "Alerts": ("Make the first rule", ""),
    "Webhooks": ("Make the first endpoint", ""),
    "Queue": ("has the command that sends a first batch", ""),
    "Platform": ("flask tasks run export", ""),
    "Audit": ("session.create", "Clear all"),
    "Storage": ("the housekeeper begins the first", ""),
}


@every_live_page
def test_nothing_yet_and_nothing_that_matches_are_told_apart(
    sign_in: SignIn, session: Session, word: str
) -> None:
    client = sign_in()
    path = path_of(client, word)
    yet, clear = NOTHING[word]
    page = client.get(path).text
    assert yet in page
    if clear:
        assert clear not in page
        assert clear in client.get(f"{path}?{FILTERS[word]}").text


@pytest.mark.browser
@every_live_page
def test_a_refresh_moves_nothing_and_loses_nothing_of_the_reader(
    open_page: Open, sign_in: SignIn, session: Session, complaints: Complaints, word: str
) -> None:
    complaints.are_expected = True  # of the stream that is cut
    fill(session)
    path = path_of(sign_in(), word)
    page = open_page("/nowhere")
    page.clock.install()
    page.goto(path)
    page.wait_for_selector("#live[data-status=live]")
    wait_until_so(page, "!document.querySelector('.htmx-request')")
    part = region(page)

    # What the reader has typed, where the caret stands, and how far down the page is.
    field = page.locator("main :is(input[type=search], input[type=text]):visible").first
    if field.count():
        field.evaluate("field => { field.value = 'abc'; }")
        field.focus()
        field.evaluate("field => field.setSelectionRange(1, 2)")
    page.evaluate("scrollTo(0, 120)")
    page.evaluate(
        """() => {
          window.shifted = 0;
          new PerformanceObserver((list) => {
            for (const each of list.getEntries()) shifted += each.hadRecentInput ? 0 : each.value;
          }).observe({ type: "layout-shift" });
        }"""
    )
    before = page.evaluate(READER)

    # A slow answer: what was there stays, dimmed.
    def hold(route: Route) -> None:
        """No answer comes."""

    page.route(lambda url: url.endswith(path), hold)
    page.locator("#refresh-now").evaluate("button => button.click()")
    expect(page.locator(part)).to_have_css("opacity", "0.55")
    expect(page.locator("#refresh-now")).to_have_class(re.compile("busy"))
    assert page.locator(part).inner_text().strip()
    page.unroute_all()  # which lets them go
    expect(page.locator(part)).to_have_css("opacity", "1")
    expect(page.locator("#refresh-now")).not_to_have_class(re.compile("busy"))
    page.evaluate(CHANGED)
    wait_until_so(page, "!document.querySelector('.htmx-request')")
    assert page.evaluate(READER) == before
    assert page.evaluate("shifted") < 0.01

    # No beat comes, as if the way to the server were gone without a sign: that shows within 5 s.
    page.evaluate(
        """() => {
          window.heldBack = (event) => event.stopImmediatePropagation();
          for (const type of ["beat", "changed"]) addEventListener(type, heldBack, { capture: true });
        }"""
    )
    page.clock.fast_forward(5000)
    expect(page.locator("#live-word")).to_have_text("Reconnecting")
    page.evaluate(
        """() => {
          for (const type of ["beat", "changed"]) removeEventListener(type, heldBack, { capture: true });
        }"""
    )
    expect(page.locator("#live-word")).to_have_text("Live")


READER = """() => {
  const at = document.activeElement;
  return [scrollX, scrollY, at.id, at.value ?? null, at.selectionStart ?? null, at.selectionEnd ?? null];
}"""


@pytest.mark.browser
@every_live_page
def test_back_and_reload_restore_what_was_chosen_and_where_the_reader_was(
    open_page: Open, sign_in: SignIn, session: Session, word: str
) -> None:
    fill(session)
    page = open_page(f"{path_of(sign_in(), word)}?{FILTERS.get(word, '')}")
    page.locator("[name=refresh]").select_option("300")
    wait_until_so(page, "location.search.includes('refresh=300')")
    address = page.url
    chosen = page.evaluate(CHOSEN)
    page.evaluate("scrollTo(0, 90)")
    place = page.evaluate("scrollY")
    page.reload()
    wait_until_so(page, f"scrollY === {place}")
    assert page.evaluate(CHOSEN) == chosen
    page.goto("/tasks")
    page.go_back()
    assert page.url == address
    wait_until_so(page, f"scrollY === {place}")
    assert page.evaluate(CHOSEN) == chosen
    page.go_back()  # before the choice
    wait_until_so(page, "!location.search.includes('refresh')")
    expect(page.locator("[name=refresh]")).to_have_value("live")


CHOSEN = """() => [...document.querySelectorAll("main form.filters [name], [data-refreshes] [name]")].map(
  (each) => [each.name, each.value, each.checked ?? null])"""
