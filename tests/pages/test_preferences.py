"""Theme, clock, density and keys: chosen once, written into the page by the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.pages import display
from tests.pages import record_seed, seed
from tests.pages.conftest import wait_until_live

Open = Callable[..., Page]
AT = datetime(2026, 1, 5, 23, 30, 5, tzinfo=UTC)


def choose(client: FlaskClient, app: Flask, **choices: str) -> None:
    client.set_cookie(f"stoker_look_{app.extensions['stoker'].port}", urlencode(choices))


def test_times_are_utc_unless_local_time_is_chosen(app: Flask) -> None:
    with app.test_request_context("/"):
        assert display.clock(AT) == "2026-01-05 23:30:05 UTC"
        assert display.clocks(AT) == "2026-01-05 23:30:05 UTC"
        assert display.clock_time(AT) == "23:30:05"


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Europe/Berlin", "2026-01-06 00:30:05 CET"),
        ("Asia/Kolkata", "2026-01-06 05:00:05 IST"),
        ("America/Sao_Paulo", "2026-01-05 20:30:05 UTC-03"),
        ("UTC", "2026-01-05 23:30:05 UTC"),
    ],
)
def test_local_times_name_their_zone_and_the_tooltip_has_utc_too(
    app: Flask, zone: str, shown: str
) -> None:
    kept = urlencode({"time": "local", "zone": zone})
    name = f"stoker_look_{app.extensions['stoker'].port}"
    with app.test_request_context("/", headers={"Cookie": f"{name}={kept}"}):
        assert display.clock(AT) == shown
        assert display.iso(AT) == "2026-01-05T23:30:05+00:00"
        if zone != "UTC":
            assert display.clocks(AT) == f"{shown} (2026-01-05 23:30:05 UTC)"


@pytest.mark.usefixtures("clear_jobs")
def test_hours_of_charts_and_tables_name_the_readers_zone(
    app: Flask, session: Session, sign_in: Callable[..., FlaskClient]
) -> None:
    record_seed.add_job(session, "failed", minutes=30)
    seed.add_batch(session)
    client = sign_in()
    choose(client, app, time="local", zone="Asia/Kolkata")
    for path in ("/", "/stats", "/failures", "/history?range=24h"):
        page = client.get(path).text
        assert re.search(r"From \(IST\)| IST[\"<.]", page), path
        assert not re.search(r"From \(UTC\)|(?<!:)\b\d\d:\d\d UTC", page), path


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../../etc/passwd", "Europe", "a" * 500, "\0", "/etc/passwd"]
)
def test_a_zone_that_is_none_is_utc(
    app: Flask, sign_in: Callable[..., FlaskClient], zone: str
) -> None:
    client = sign_in()
    choose(client, app, time="local", zone=zone, theme="<script>", density="x" * 300)
    answer = client.get("/history")
    assert answer.status_code == 200
    assert 'data-zone="UTC"' in answer.text
    assert "data-theme=" not in answer.text.split(">", 2)[1]


def test_without_scripts_a_form_keeps_the_choice_and_goes_back(
    app: Flask, sign_in: Callable[..., FlaskClient]
) -> None:
    client = sign_in()
    text = client.get("/history").text
    token = text.split('name="csrf_token" value="')[1].split('"')[0]
    answer = client.post(
        "/preferences",
        data={"csrf_token": token, "theme": "dark", "density": "compact", "nonsense": "1"},
        headers={
            "Sec-Fetch-Site": "same-origin",
            "Referer": "http://localhost/history?status=failed",
        },
    )
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/history?status=failed"
    page = client.get("/history").text
    assert 'data-theme="dark" data-density="compact"' in page


@pytest.mark.parametrize(
    "referer", ["https://evil.example/x", "http://localhost//evil.example", ""]
)
def test_the_form_leads_to_no_other_site(sign_in: Callable[..., FlaskClient], referer: str) -> None:
    client = sign_in()
    token = client.get("/history").text.split('name="csrf_token" value="')[1].split('"')[0]
    answer = client.post(
        "/preferences",
        data={"csrf_token": token, "theme": "dark"},
        headers={"Sec-Fetch-Site": "same-origin", "Referer": referer},
    )
    assert answer.status_code == 303
    assert answer.headers["Location"] in ("/", "/evil.example")


@pytest.mark.browser
def test_local_time_is_the_browsers_and_stays_through_refreshes(
    open_page: Open, session: Session
) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history", timezone_id="Asia/Kolkata")
    wait_until_live(page)
    created = page.locator("#job-batch_a .created time")
    expect(created).to_have_attribute("title", display.clock(batch.created_at))
    page.click(".account")
    page.check("#time [value=local]", force=True)
    local = batch.created_at.astimezone(ZoneInfo("Asia/Kolkata"))
    title = f"{local:%Y-%m-%d %H:%M:%S} IST ({batch.created_at:%Y-%m-%d %H:%M:%S} UTC)"
    expect(created).to_have_attribute("title", title)
    expect(created).to_have_attribute("datetime", display.iso(batch.created_at))
    wait_until_live(page)
    batch.completed = 57
    session.commit()
    page.evaluate("document.dispatchEvent(new Event('changed'))")
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")
    expect(created).to_have_attribute("title", title)


@pytest.mark.browser
def test_compact_rows_are_lower_from_the_first_paint_on(open_page: Open, session: Session) -> None:
    seed.fill(session, count=10)
    page = open_page("/history")
    row = page.locator(".job").first
    before = row.bounding_box()
    page.click(".account")
    page.check("#density [value=compact]", force=True)
    page.reload()
    after = row.bounding_box()
    assert before
    assert after
    assert after["height"] < before["height"]
    assert page.content().index('data-density="compact"') < 400


@pytest.mark.browser
def test_another_tab_takes_over_the_theme_when_it_is_looked_at(open_page: Open) -> None:
    page = open_page("/history")
    other = page.context.new_page()
    other.goto("/queue")
    other.click(".account")
    other.check("#theme [value=dark]", force=True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.browser
@pytest.mark.usefixtures("clear_jobs")
def test_what_is_not_chosen_follows_the_system_down_to_each_box(
    open_page: Open, session: Session
) -> None:
    record_seed.add_job(session)
    page = open_page("/jobs", color_scheme="dark")
    box = page.locator(".joblist-row [data-select]").first
    dark = box.evaluate("each => getComputedStyle(each).backgroundColor")
    page.emulate_media(color_scheme="light")
    expect(box).not_to_have_css("background-color", dark)
    page.click(".account")
    page.check("[name=theme][value=dark]", force=True)
    expect(box).to_have_css("background-color", dark)
    page.check("[name=theme][value=system]", force=True)
    expect(box).not_to_have_css("background-color", dark)
