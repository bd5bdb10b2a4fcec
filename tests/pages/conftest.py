"""A real Chromium on a real web server, signed in; every console message is held against the page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import sessions, users
from app.core.models import User
from app.core.settings import Settings, load_settings
from tests.conftest import LiveServer, new_database, serve
from tests.pages import record_seed, telling_seed
from tests.pages.browser import launch
from tests.pages.timeline_day import Day

# What a page shows sooner or later; the limit only bounds a test that fails.
PATIENCE_SECONDS = 30
expect.set_options(timeout=PATIENCE_SECONDS * 1000)

AXE = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The Chromium on PATH, or the one that Playwright has downloaded."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """One database for all pages; `session` empties it.

    The queue's own numbers begin where no made-up record has one.
    """
    with new_database(postgres, template_database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SEQUENCE procrastinate_jobs_id_seq RESTART WITH 50000001")
        yield url


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Settings:
    """Settings of the one web server that all pages come from."""
    var = tmp_path_factory.mktemp("var")
    (var / "models.toml").write_text('[models.smollm2-135m-instruct]\npath = "org/model"\n')
    return load_settings(var=var, database_url=database_url)


@pytest.fixture(scope="package")
def live_server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The web server, started once: a page does not see which test asked before it."""
    with serve(settings, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture
def session(session: Session) -> Iterator[Session]:
    """As everywhere, and no batch is left for the next test."""
    yield session
    session.rollback()
    # Row by row: a page that is being made may still read them.
    for table in (
        "result", "request", "webhook_try", "webhook_delivery", "batch", "file", "worker"
    ):  # fmt: skip
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


@pytest.fixture
def cookie(session: Session, live_server: LiveServer) -> dict[str, str]:
    """The administrator's browser session."""
    user = users.ensure_admin(session)
    link = sessions.create_sign_in_link(session, user, 10)
    token = sessions.consume_sign_in_link(session, link, session_days=1)
    session.commit()
    port = urlsplit(live_server.url).port
    return {"name": f"stoker_session_{port}", "value": token, "url": live_server.url}


@pytest.fixture
def clear_jobs(session: Session) -> Iterator[None]:
    """No job is there before the test, and none is left for the next."""
    record_seed.clear(session)
    yield
    record_seed.clear(session)


@pytest.fixture
def clear_telling(session: Session) -> Iterator[None]:
    """No rule, endpoint, delivery or audit entry is there before the test, and none is left for the next."""
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


@pytest.fixture
def day(session: Session) -> Iterator[Day]:
    """Runs for the timeline; none is left for the next test. To be asked for before `open_page`: what it
    removes is then shown by no page any more.
    """
    yield Day(session)
    session.rollback()
    tables = "job, attempt, job_transition, job_search, schedule, worker_sample"
    session.execute(text(f"TRUNCATE {tables} CASCADE"))
    session.commit()


@pytest.fixture
def sign_in(app: Flask, session: Session) -> Callable[..., FlaskClient]:
    """A signed-in browser's requests, without the browser."""

    def sign_in(name: str = "admin", role: str = "admin") -> FlaskClient:
        user = users.ensure_admin(session)
        if name != "admin":
            known = session.scalar(select(User).where(User.name == name))
            user = known or User(name=name, role=role)
            session.add(user)
            session.flush()
        link = sessions.create_sign_in_link(session, user, 10)
        token = sessions.consume_sign_in_link(session, link, session_days=1)
        session.commit()
        client = app.test_client()
        client.set_cookie(app.config["STOKER_COOKIE_NAME"], token)
        return client

    return sign_in


class Complaints(list[str]):
    """What the page's console said that it should not have."""

    are_expected = False  # a test that provokes some says so

    def note(self, message: ConsoleMessage) -> None:
        """Keep warnings and errors, policy reports among them."""
        if message.type in ("error", "warning") and not self.are_expected:
            self.append(message.text)


@pytest.fixture
def complaints() -> Complaints:
    """Every page's, together."""
    return Complaints()


@pytest.fixture
def open_page(
    browser: Browser,
    live_server: LiveServer,
    complaints: Complaints,
    request: Any,
    session: Session,  # so that pages are closed before it empties the tables that they show
) -> Iterator[Callable[..., Page]]:
    """Opens a path in a window of its own: `open_page("/history", width=390)`."""
    contexts = []

    def open_(path: str, *, is_signed_in: bool = True, width: int = 1440, **options: Any) -> Page:
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": width, "height": 900}, **options
        )
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        contexts.append(context)
        if is_signed_in:
            context.add_cookies([request.getfixturevalue("cookie")])
        page = context.new_page()
        page.on("console", complaints.note)
        page.on("pageerror", lambda fault: complaints.append(str(fault)))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def wait_until_live(page: Page) -> None:
    """Until the page hears of changes, and has asked once for what it may have missed."""
    page.wait_for_selector("#live[data-status=live]")
    wait_until_so(
        page,
        "performance.getEntriesByType('resource').some(each => each.name === location.href"
        " || [...document.querySelectorAll('[data-live]')].some(region =>"
        " each.name === new URL(region.getAttribute('hx-get'), location.href).href))",
    )


def wait_until_so(page: Page, expression: str) -> None:
    """As Playwright's wait_for_function, which the page's policy forbids."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"waited in vain: {expression}"
        page.wait_for_timeout(20)


def violations(page: Page) -> list[Any]:
    """What axe-core finds; it comes by the debugger, which the page's policy does not stop.

    It may not copy style sheets, which the policy would complain of.
    """
    if page.locator("[data-live]").count():
        wait_until_live(page)
    wait_until_so(page, "!document.querySelector('.htmx-request')")
    # Nothing is dimmed any more.
    wait_until_so(
        page,
        "[...document.querySelectorAll('[data-loading]')]"
        ".every(each => getComputedStyle(each).opacity === '1')",
    )
    debugger = page.context.new_cdp_session(page)
    debugger.send("Runtime.evaluate", {"expression": AXE.read_text()})
    # Nor is anything dimmed by a refresh that begins only now.
    page.evaluate(
        "document.querySelectorAll('[data-loading]')"
        ".forEach(each => each.removeAttribute('data-loading'))"
    )
    answer = debugger.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run({preload: false}).then(found => JSON.stringify(found.violations.map("
            "each => [each.id, each.nodes.map(node => node.html)])))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    found: list[Any] = json.loads(answer["result"]["value"])
    return found
