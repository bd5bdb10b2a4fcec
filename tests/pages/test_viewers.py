"""Who may only look, and whoever is signed in where nothing may be changed: all is seen, no address offers
an action, and none is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth import _PERSONAL as _OWN
from app.core import keys, sessions, users
from app.core.models import AuditEntry, User
from app.core.settings import Settings
from app.extensions import db
from app.factory import create_app
from app.pages.navigation import ENTRIES
from tests.conftest import LiveServer
from tests.pages import house
from tests.pages.addresses import addresses, more_numbers
from tests.pages.conftest import wait_until_live
from tests.pages.test_alerts import SAME, token
from tests.pages.test_read_only import _PERSONAL, browser_of

# What is no action for all its method: each only reads, or is the reader's own.
EXEMPT = {
    "window.list_jobs",
    "window.list_overlaps",
    "window.list_stats",
    "schedules.preview",
    "preferences.change",
    "sign_in.sign_in",
    "sign_in.sign_out",
    "views.create",
    "views.delete",
    "views.rename",
}
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
READ_ONLY = "This dashboard is read-only: it shows, and changes nothing."
VIEWER = "A viewer sees how things stand, and changes nothing."


class Offers(HTMLParser):
    """Where the buttons of a page's forms lead that change something; what is disabled leads nowhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []
        self._leads = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self._leads = (given.get("action") or "?") if given.get("method") == "post" else ""
        presses = tag == "button" and given.get("type", "submit") == "submit"
        if (presses or given.get("type") == "submit") and "disabled" not in given:
            leads = given.get("formaction") or self._leads
            if leads and not leads.startswith(_PERSONAL):
                self.found.append(leads)
        if tag == "a" and (given.get("href") or "").startswith("/"):
            self.links.append(given["href"] or "")
        for name in ("hx-post", "hx-delete", "hx-put", "hx-patch"):
            if (
                (leads := given.get(name) or "")
                and tag != "form"
                and not leads.startswith(_PERSONAL)
            ):
                self.found.append(leads)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._leads = ""


@pytest.fixture
def full(session: Session, settings: Settings) -> Iterator[dict[str, str]]:
    """Something at every address; what stands in the addresses."""
    house.clear(session)
    numbers = house.fill(session, settings)
    numbers |= more_numbers(session)
    yield numbers
    house.clear(session)


def kind_of(app: Flask, link: str) -> tuple[str, str]:
    """The endpoint that a link leads to, and the action there."""
    with app.test_request_context():
        endpoint, values = app.url_map.bind("localhost").match(
            link.partition("?")[0].partition("#")[0]
        )
    return endpoint, values.get("action", "")


@pytest.fixture(params=[READ_ONLY, VIEWER])
def looker(
    request: pytest.FixtureRequest, settings: Settings, session: Session
) -> Iterator[tuple[FlaskClient, str]]:
    """An administrator's browser where nothing may be changed, or a viewer's; and the sentence that says so."""
    is_closed = request.param == READ_ONLY
    app = create_app(settings.model_copy(update={"read_only_pages": is_closed}))
    user = users.ensure_admin(session) if is_closed else viewer(session)
    yield browser_of(app, session, user), request.param
    with app.app_context():
        db.engine.dispose()


def viewer(session: Session) -> User:
    known = session.scalar(select(User).where(User.name == "vic"))
    return known or users.create(session, "vic", "viewer", "test")


def test_every_page_is_seen_and_no_address_offers_an_action(
    looker: tuple[FlaskClient, str], full: dict[str, str]
) -> None:
    client, sentence = looker
    for entry in ENTRIES:
        with client.application.test_request_context():
            path = client.application.url_for(entry.endpoint)
        page = client.get(path)
        if sentence == VIEWER and entry.needs == "admin":
            assert page.status_code == 403
            continue
        assert page.status_code == 200, path
        assert sentence in page.text, path
    refused = set()
    links = {}  # one of each kind
    for endpoint, method, path in addresses(client.application, full, {"GET"}):
        for query in ("", "?action=delete&status=failed"):
            with client.open(path + query, method=method) as answer:
                assert answer.status_code < 500, path
                if answer.mimetype == "text/html":
                    page_offers = Offers(answer.text)
                    assert page_offers.found == [], path
                    # Batches are picked to be compared, which changes nothing.
                    picks = answer.text.count("data-select") - answer.text.count(
                        '"compare" data-select'
                    )
                    assert picks <= 0, f"{path} has rows to pick for nothing"
                    for link in page_offers.links:
                        links[kind_of(client.application, link)] = (link, path)
                if answer.status_code == 403:
                    refused.add(endpoint)
                    if sentence == READ_ONLY:
                        assert sentence in answer.text, path
    assert len(links) > 30
    for link, path in links.values():
        with client.get(link, buffered=False) as answer:
            assert answer.status_code != 403, f"{path} leads to {link}"
    # Addresses that only ask for an action say why there is none.
    assert {
        "alerts_page.new", "alerts_page.edit", "alerts_page.ask_to_delete", "alerts_page.ask_to_silence",
        "schedules_pages.new", "schedules_pages.edit", "schedules_pages.ask", "webhooks.new",
        "queue.ask_to_pause", "events_pages.ask", "failures.ask", "job_bulk.ask",
    } <= refused  # fmt: skip


def test_nothing_at_any_address_changes_anything(
    looker: tuple[FlaskClient, str], full: dict[str, str], session: Session
) -> None:
    client, sentence = looker
    csrf = token(client.get("/queue").text)
    trail = select(AuditEntry.id).order_by(AuditEntry.id.desc()).limit(1)
    before = session.scalar(trail)
    session.rollback()
    for endpoint, method, path in addresses(client.application, full, CHANGING):
        if endpoint in EXEMPT:
            continue
        answer = client.open(
            path,
            method=method,
            data={"csrf_token": csrf, "reason": "x", "action": "delete"},
            headers=SAME,
        )
        assert answer.status_code == 403, (method, path)
        assert sentence in answer.text, (method, path)
    assert session.scalar(trail) == before


def test_what_those_may_send_who_only_look_is_a_short_list(app: Flask) -> None:
    exempt = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if CHANGING & (rule.methods or set())
        and (
            rule.endpoint.startswith(_OWN)
            or getattr(app.view_functions[rule.endpoint], "scope", "") == "read"
        )
    }
    assert exempt == EXEMPT


def test_a_viewers_key_reads_and_changes_nothing(
    app: Flask, session: Session, full: dict[str, str]
) -> None:
    _, key = keys.create(session, viewer(session), "eyes")
    session.commit()
    client = app.test_client()
    headers = {"Authorization": f"Bearer {key}"}
    jobs = client.post("/api/jobs", json={}, headers=headers)
    assert jobs.status_code == 200
    assert full["job"] in jobs.text, "a viewer sees everybody's"
    assert client.get("/api/alerts", headers=headers).status_code == 200
    assert client.get("/api/audit", headers=headers).status_code == 403
    known = {**full, "job_id": full["job"], "name": "tasks", "rule_id": full["rule_id"]}
    asked = 0
    for rule in app.url_map.iter_rules():
        scope = getattr(app.view_functions[rule.endpoint], "scope", None)
        for method in CHANGING & (rule.methods or set()):
            if scope in (None, "read"):
                continue
            path = rule.rule
            for argument in rule.arguments:
                for kind in ("", "path:", "int:", "uuid:"):
                    path = path.replace(f"<{kind}{argument}>", known.get(argument, "1"))
            answer = client.open(path, method=method, json={}, headers=headers)
            assert answer.status_code == 403, (method, path)
            asked += 1
    assert asked > 30


def test_a_role_that_changes_holds_for_a_browser_that_is_signed_in(
    app: Flask, session: Session, full: dict[str, str]
) -> None:
    user = session.scalar(select(User).where(User.name == "olga"))
    user = user or users.create(session, "olga", "operator", "test")
    users.change_role(session, "olga", "operator", "test")
    olga = browser_of(app, session, user)
    csrf = token(olga.get("/queue/tasks/pause").text)
    users.change_role(session, "olga", "viewer", "test")
    session.commit()
    answer = olga.post("/queue/tasks/pause", data={"csrf_token": csrf, "reason": "x"}, headers=SAME)
    assert answer.status_code == 403
    assert VIEWER in answer.text


@pytest.mark.browser
def test_a_viewer_walks_the_jobs_and_opens_one_and_has_nothing_to_pick(
    open_page: Callable[..., Page], session: Session, live_server: LiveServer, full: dict[str, str]
) -> None:
    link = sessions.create_sign_in_link(session, viewer(session), 10)
    token = sessions.consume_sign_in_link(session, link, session_days=1)
    session.commit()
    page = open_page("/sign-in", is_signed_in=False)
    name = f"stoker_session_{urlsplit(live_server.url).port}"
    page.context.add_cookies([{"name": name, "value": token, "url": live_server.url}])
    page.goto(f"/jobs?job={full['job']}")
    wait_until_live(page)
    expect(page.locator(".read-only")).to_contain_text(VIEWER)
    expect(page.locator("#job-panel")).to_contain_text("No space left on device")
    expect(page.locator("#jobs-list input[type=checkbox]")).to_have_count(0)
    row = page.locator(".joblist-row").first
    main = row.locator(".joblist-main").evaluate("each => each.getBoundingClientRect().width")
    assert main > row.evaluate("each => each.getBoundingClientRect().width") * 0.85
    for key in ("j", "x"):  # the second has nothing to pick
        page.keyboard.press(key)
    expect(page.locator(".joblist-open:focus")).to_have_count(1)
    page.keyboard.press("c")
    dialog = page.locator("#job-dialog")
    expect(dialog).to_contain_text("You may look at this job, and not change it.")
    expect(dialog.locator("button.act")).to_have_count(0)
