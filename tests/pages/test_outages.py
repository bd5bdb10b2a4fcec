"""What the history says while Postgres is slow or away: words, over what was known before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.settings import Settings
from tests.conftest import LiveServer, serve
from tests.pages import seed
from tests.pages.conftest import Complaints, wait_until_live

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
Outage = Callable[[Settings, str], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def live_server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """A web server with little patience."""
    folder = tmp_path_factory.mktemp("log")
    with serve(settings, folder, STOKER_PAGE_TIMEOUT_SECONDS="2") as server:
        yield server


@contextmanager
def slow(settings: Settings, _: str) -> Iterator[None]:
    """Every query of batches takes longer than a page may."""
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("LOCK TABLE batch IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def away(settings: Settings, server_url: str) -> Iterator[None]:
    """The web's connections break, and it gets no new ones."""
    name = urlsplit(settings.database_url).path[1:]
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[call-overload]
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE '%%web%%'",
            [name],
        )
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]


OUTAGES = pytest.mark.parametrize(
    ("outage", "words"),
    [(slow, "took too long to answer"), (away, "can't be reached")],
)


@OUTAGES
def test_an_open_page_keeps_its_rows_under_a_banner_and_mends_itself(
    open_page: Open,
    session: Session,
    settings: Settings,
    postgres: str,
    complaints: Complaints,
    outage: Outage,
    words: str,
) -> None:
    seed.add_batch(session, id="batch_a")
    session.rollback()
    page = open_page("/history")
    wait_until_live(page)
    complaints.are_expected = True  # the browser notes each 503
    with outage(settings, postgres):
        page.select_option("[name=model]", seed.MODELS[0])
        banner = page.locator("#banner")
        expect(banner).to_contain_text(words)
        expect(banner).to_contain_text(re.compile(r"What you see is from \d\d:\d\d:\d\d UTC"))
        expect(page.locator("#live-word")).to_have_text("Trying again")
        expect(page.locator("#job-batch_a")).to_be_visible()
        expect(page.locator(".htmx-request")).to_have_count(0)
        page.click("#open-batch_a")
        expect(page.locator("#banner")).to_contain_text(words)
    page.select_option("[name=model]", "")
    expect(page.locator("#banner")).to_be_empty()
    expect(page.locator("#live-word")).to_have_text("Live")
    expect(page.locator("#job-batch_a")).to_be_visible()


@OUTAGES
def test_a_page_that_is_opened_meanwhile_says_what_is_away(
    open_page: Open,
    session: Session,
    settings: Settings,
    postgres: str,
    complaints: Complaints,
    outage: Outage,
    words: str,
) -> None:
    seed.add_batch(session, id="batch_a")
    session.rollback()
    page = open_page("/history")
    complaints.are_expected = True
    with outage(settings, postgres):
        answer = page.goto("/history")
        assert answer is not None
        assert answer.status == 503
        assert answer.headers["retry-after"]
        expect(page.locator("main")).to_contain_text(words)
    page.goto("/history")
    expect(page.locator("#job-batch_a")).to_be_visible()


PAGES = (
    "/", "/timeline", "/jobs", "/history", "/queue", "/failures", "/schedules", "/events", "/stats",
    "/platform/jobs/", "/alerts", "/webhooks", "/audit", "/storage", "/jobs/bulk-actions",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_live_page_stays_dimmed_under_a_banner_and_usable_and_heals(
    open_page: Open, settings: Settings, postgres: str, complaints: Complaints, path: str
) -> None:
    page = open_page(path)
    wait_until_live(page)
    region = page.locator("[data-live]").first
    complaints.are_expected = True
    with away(settings, postgres):
        ask_until(page, "document.getElementById('banner').textContent.includes('reached')")
        expect(page.locator("#banner")).to_contain_text(re.compile(r"from \d\d:\d\d:\d\d UTC"))
        expect(page.locator("html")).to_have_attribute("data-connection", "stale")
        expect(region).to_have_css("opacity", "0.7")
        assert region.inner_text().strip()
        page.keyboard.press("Control+k")  # what needs no database works
        expect(page.locator("#palette-list li").first).to_be_visible()
        page.keyboard.press("Escape")
        page.click(".account")
        page.check("#theme [value=dark]", force=True)
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ask_until(page, "document.getElementById('banner').childElementCount === 0")
    expect(page.locator("#live-word")).to_have_text("Live")
    expect(region).to_have_css("opacity", "1")


def ask_until(page: Page, expression: str) -> None:
    """Have the page refresh until it is so: a refresh may have begun before it could be."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.evaluate("document.dispatchEvent(new Event('changed'))")
        page.wait_for_timeout(100)
    raise AssertionError(f"waited in vain: {expression}")
