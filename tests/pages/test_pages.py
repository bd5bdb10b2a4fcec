"""What every page owes its readers: no complaint of the browser, and nobody shut out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import keys, users
from app.core.settings import Settings
from tests.conftest import ROOT, LiveServer
from tests.pages import seed
from tests.pages.conftest import Complaints, violations, wait_until_live

pytestmark = pytest.mark.browser

Open = Callable[..., Page]

PATHS = (
    "/",
    "/queue",
    "/failures",
    "/history",
    "/history?status=failed&range=24h",
    "/history/batch_a",
    "/nowhere",
)


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_no_page_shuts_anybody_out(
    open_page: Open, session: Session, complaints: Complaints, width: int, scheme: str
) -> None:
    complaints.are_expected = True  # axe itself offends the policy; see the next test
    seed.fill(session, count=8)
    batch = seed.add_batch(session, id="batch_a", completed=99, failed=1)
    seed.add_failure(session, batch, 1, "Too long.")
    page = open_page("/sign-in", is_signed_in=False, width=width, color_scheme=scheme)
    assert violations(page) == []
    page = open_page("/", width=width, color_scheme=scheme)
    for path in PATHS:
        page.goto(path)
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto("/history")
    page.click("#open-batch_a")
    expect(page.locator("#batch-dialog")).to_be_visible()
    assert violations(page) == []
    page.goto("/history?status=cancelled&model=none")
    page.click(".account")
    expect(page.locator("#theme")).to_be_visible()
    assert violations(page) == []


def test_no_page_makes_the_browser_complain(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    seed.fill(session, count=60)
    seed.add_batch(session, id="batch_a")
    open_page("/sign-in", is_signed_in=False).wait_for_timeout(100)
    page = open_page("/")
    for path in PATHS[:-1]:
        page.goto(path)
        wait_until_live(page) if path in (
            "/",
            "/queue",
            "/failures",
            "/history",
        ) else page.wait_for_timeout(300)
    assert complaints == []


def test_the_theme_is_kept_and_applied_before_the_page_shows(open_page: Open) -> None:
    page = open_page("/history", color_scheme="light")
    page.click(".account")
    page.check("#theme [value=dark]", force=True)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click(".account")
    page.check("#theme [value=system]", force=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_the_indicator_says_offline_and_live_again(open_page: Open, complaints: Complaints) -> None:
    page = open_page("/history")
    wait_until_live(page)
    expect(page.locator("#live")).to_contain_text("Live · updated just now")
    complaints.are_expected = True
    page.context.set_offline(True)
    expect(page.locator("#live")).to_contain_text("Offline")
    page.context.set_offline(False)
    expect(page.locator("#live")).to_contain_text("Live")


def test_without_a_stream_pages_refresh_every_30_seconds(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/")
    page.route("**/changes", lambda route: route.fulfill(status=503))
    page.clock.install()
    page.goto("/history")
    expect(page.locator("#live")).to_contain_text("Every 30 s")
    batch.completed = 57
    session.commit()
    page.clock.fast_forward(31_000)
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")


def test_a_page_that_the_database_can_not_give_says_so_and_what_still_holds(
    open_page: Open, session: Session, complaints: Complaints
) -> None:
    complaints.are_expected = True
    page = open_page("/")
    session.execute(text("ALTER TABLE batch RENAME TO batch_away"))
    session.commit()
    try:
        answer = page.goto("/history")
        assert answer is not None
        assert answer.status == 503
        expect(page.locator("main")).to_contain_text("Nothing that was sent is lost")
        assert violations(page) == []
    finally:
        session.execute(text("ALTER TABLE batch_away RENAME TO batch"))
        session.commit()
    page.click("text=try now")
    expect(page.locator("h1")).to_have_text("Job history")


def test_the_first_key_press_offers_to_skip_to_the_content(open_page: Open) -> None:
    page = open_page("/history")
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_nothing_moves_for_readers_who_asked_for_that(open_page: Open, session: Session) -> None:
    seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history", reduced_motion="reduce")
    moves = "getComputedStyle(document.querySelector('.badge .icon')).animationName"
    assert page.evaluate(moves) == "none"


def test_narrow_screens_have_the_pages_in_reach_and_rows_as_cards(
    open_page: Open, session: Session
) -> None:
    seed.add_batch(session, id="batch_a")
    page = open_page("/history", width=390)
    bar = page.locator(".pages").bounding_box()
    assert bar is not None
    assert bar["y"] + bar["height"] == pytest.approx(900, abs=1)
    expect(page.locator(".jobs thead")).not_to_be_in_viewport(ratio=0.5)
    link = page.locator("#open-batch_a").bounding_box()
    assert link is not None
    assert link["height"] >= 44


def test_home_tells_what_is_served_and_links_the_history(open_page: Open, session: Session) -> None:
    page = open_page("/")
    expect(page.locator(".models")).to_contain_text("smollm2-135m-instruct")
    expect(page.locator(".models")).to_contain_text("/v1/chat/completions")
    expect(page.locator(".sentence")).to_contain_text("No batch runs. No batch waits.")
    expect(page.locator("#send-batch")).to_contain_text("OPENAI_BASE_URL")
    assert "sk-stoker" not in page.content()
    seed.add_batch(session, "queued")
    page.get_by_role("link", name="History").click()
    expect(page.locator("h1")).to_have_text("Job history")


def test_the_command_on_the_page_sends_a_batch(
    open_page: Open, session: Session, settings: Settings, live_server: LiveServer
) -> None:
    page = open_page("/history")
    wait_until_live(page)
    command = page.locator("#first-batch").inner_text()
    _, key = keys.create(session, users.ensure_admin(session), "pages")
    session.commit()
    (settings.var_path / "env").write_text(
        f"export OPENAI_BASE_URL={live_server.api_url}\nexport OPENAI_API_KEY={key}\n"
    )
    assert command.startswith(f". {settings.var}/env")
    command = command.replace(".venv/bin/python", sys.executable)
    sent = subprocess.run(["sh", "-c", command], cwd=ROOT, check=False, capture_output=True)
    assert sent.returncode == 0, sent.stderr.decode()
    batch_id = sent.stdout.decode().strip()
    expect(page.locator(f"#job-{batch_id} .badge")).to_have_text("Validating")


def test_no_template_has_inline_script_or_style(app: Flask) -> None:
    environment = app.jinja_env
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        for forbidden in (" style=", "<style", "onclick", "hx-on", "javascript:", "|safe", " js:"):
            # A picture that is saved has its colours in it.
            if (name, forbidden) != ("timeline/picture.svg", "<style"):
                assert forbidden not in source, (name, forbidden)
