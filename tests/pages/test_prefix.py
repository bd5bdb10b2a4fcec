"""Stoker below a path of a host that has other sites: nothing leaves it. Through nginx, as shipped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from app.core import sessions, users
from app.core.settings import Settings, SettingsError, load_settings
from app.extensions import db
from app.factory import create_app
from app.pages.navigation import ENTRIES
from tests.conftest import LiveServer, free_port, serve
from tests.deploy.nginx import running_nginx, write_configuration
from tests.pages import seed
from tests.pages.conftest import PATIENCE_SECONDS, Complaints, wait_until_live
from tests.pages.job_seed import add_job, no_jobs  # noqa: F401 - a fixture

PREFIX = "/stoker"


@pytest.fixture(scope="module")
def live_server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """A web server that knows its prefix."""
    folder = tmp_path_factory.mktemp("log")
    with serve(settings, folder, STOKER_URL_PREFIX=PREFIX) as server:
        yield server


@dataclass(frozen=True)
class Site:
    """nginx on a port of its own; `origin` is where it listens."""

    origin: str


@pytest.fixture(scope="module")
def site(live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """deploy/nginx-prefix.conf but for ports and TLS; outside the prefix there is nothing."""
    folder = tmp_path_factory.mktemp("nginx")
    upstream, port = urlsplit(live_server.url).netloc, free_port()
    changes = {
        "server 127.0.0.1:4080;": f"server {upstream};",
        "server 127.0.0.1:4081;": f"server {upstream};",
        "server 127.0.0.1:4080 backup;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "ssl_certificate /etc/ssl/intranet/fullchain.pem;": "",
        "ssl_certificate_key /etc/ssl/intranet/privkey.pem;": "location / { return 404; }",
    }
    write_configuration(folder, "nginx-prefix.conf", changes)
    with running_nginx(folder, port):
        yield Site(f"http://127.0.0.1:{port}")


@pytest.fixture
def asked(
    browser: Browser, site: Site, complaints: Complaints, session: Session
) -> Iterator[tuple[Page, list[str]]]:
    """A page behind nginx that has just signed in by a link, and every address that it asks for."""
    link = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
    session.commit()
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    page.on("console", complaints.note)
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.origin}{PREFIX}/sign-in/{link}")
    page.click("main button")
    expect(page.locator(".pages")).to_be_visible()
    yield page, asked
    context.close()
    assert complaints == []


def assert_within(site: Site, asked: list[str]) -> None:
    """Nothing was asked for outside the prefix."""
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(f"{site.origin}{PREFIX}/")] == []


@pytest.mark.browser
@pytest.mark.usefixtures("no_jobs")
def test_no_page_leaves_the_prefix(
    asked: tuple[Page, list[str]], site: Site, session: Session
) -> None:
    page, urls = asked
    seed.add_batch(session, id="batch_a")
    add_job(session, 4711, "failed")
    cookies = {each["name"]: each["path"] for each in page.context.cookies()}
    assert set(cookies.values()) == {PREFIX}, cookies
    for entry in ENTRIES:
        if page.locator(f".pages a:visible:has-text('{entry.word}')").count():
            page.click(f".pages a:has-text('{entry.word}')")
        else:
            page.get_by_role("button", name="More").click()
            page.click(f"#more-pages a:has-text('{entry.word}')")
        expect(page.locator(".pages a[aria-current]")).to_have_text(entry.word)
        if page.locator("[data-live]").count():
            wait_until_live(page)
    assert_within(site, urls)


@pytest.mark.browser
@pytest.mark.usefixtures("no_jobs")
def test_dialogs_actions_searches_and_back_stay_within_the_prefix(
    asked: tuple[Page, list[str]], site: Site, session: Session
) -> None:
    page, urls = asked
    seed.add_batch(session, id="batch_a")
    add_job(session, 4711, "failed")
    page.goto(f"{site.origin}{PREFIX}/history")
    page.click("#open-batch_a")
    expect(page.locator("#batch-dialog")).to_be_visible()
    assert page.url == f"{site.origin}{PREFIX}/history/batch_a"
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{site.origin}{PREFIX}/history")
    page.goto(f"{site.origin}{PREFIX}/jobs")
    wait_until_live(page)
    page.fill("#jobs-q", "status:failed")
    expect(page).to_have_url(re.compile(f"{PREFIX}/jobs\\?q="))
    page.locator("#jobs-q").blur()
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page.locator("#job-dialog")).to_be_visible()
    page.click("#job-dialog button.act")
    expect(page.locator("#job-dialog")).to_be_hidden()
    page.goto(f"{site.origin}{PREFIX}/tasks")
    page.click("button:has-text('Start export')")
    expect(page).to_have_url(re.compile(f"{PREFIX}/jobs/\\d+"))
    page.click(".account")
    page.click("text=Sign out")
    expect(page).to_have_url(f"{site.origin}{PREFIX}/sign-in")
    page.goto(f"{site.origin}{PREFIX}/queue?x=1")
    expect(page).to_have_url(f"{site.origin}{PREFIX}/sign-in?next=/stoker/queue%3Fx%3D1")
    page.goto(f"{site.origin}{PREFIX}")
    expect(page).to_have_url(f"{site.origin}{PREFIX}/sign-in")
    assert_within(site, [url for url in urls if url != f"{site.origin}{PREFIX}"])


@pytest.fixture
def below(settings: Settings) -> Iterator[Callable[..., Flask]]:
    """Makes an application with the prefix."""
    made = []

    def make(**more: object) -> Flask:
        own = {"var": settings.var, "database_url": settings.database_url}
        made.append(create_app(load_settings(**own, url_prefix=PREFIX, **more)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def test_the_description_for_programs_names_the_prefix(below: Callable[..., Flask]) -> None:
    client = below().test_client()
    described = client.get("/openapi.json").get_json()
    assert described["servers"] == [{"url": PREFIX}]


def test_paths_without_the_prefix_are_answered_too(below: Callable[..., Flask]) -> None:
    client = below().test_client()
    assert client.get("/health", base_url="http://localhost/").status_code == 200
    assert client.get("/stokerhealth", base_url="http://localhost/").status_code in (303, 404)


def test_over_https_the_session_is_not_sent_to_the_hosts_other_sites(
    below: Callable[..., Flask], session: Session
) -> None:
    link = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
    session.commit()
    client = below(secure_cookies=True).test_client()
    asking = client.get(f"{PREFIX}/sign-in/{link}", base_url="https://localhost").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', asking)
    assert token
    answer = client.post(
        f"{PREFIX}/sign-in/{link}",
        headers={"Sec-Fetch-Site": "same-origin", "Referer": "https://localhost/stoker/"},
        data={"csrf_token": token[1]},
        base_url="https://localhost",
    )
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(PREFIX + "/")
    (cookie,) = (
        each
        for each in answer.headers.getlist("Set-Cookie")
        if each.startswith("__Secure-session=")
    )
    assert f"Path={PREFIX}" in cookie
    assert "Secure" in cookie


@pytest.mark.parametrize("prefix", ["stoker", "/a b", "//evil.example", "/a/../b", "https://x"])
def test_a_prefix_that_is_no_plain_path_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="url_prefix"):
        load_settings(var=tmp_path, url_prefix=prefix)


def test_a_closing_slash_of_the_prefix_does_not_matter(tmp_path: Path) -> None:
    assert load_settings(var=tmp_path, url_prefix="/stoker/").url_prefix == "/stoker"
