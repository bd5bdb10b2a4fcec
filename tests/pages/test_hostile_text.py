"""Text that would like to be markup, script or a trick of the eye: in every field and every parameter
of every page it is text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient
from playwright.sync_api import Dialog, Page, expect
from sqlalchemy import delete, text
from sqlalchemy.orm import Session
from werkzeug.datastructures import ImmutableMultiDict

from app.core import saved_views, sessions, users
from app.core.models import RetentionRun, SavedView, User
from app.core.settings import Settings
from tests.conftest import LiveServer
from tests.pages import hostile_house, house, request_seed, seed
from tests.pages.addresses import addresses, more_numbers
from tests.pages.conftest import Complaints, wait_until_live, wait_until_so
from tests.pages.job_seed import add_job, add_line, no_jobs  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("no_jobs", "no_views")

Open = Callable[..., Page]

CORPUS = (
    "<script>window.isHit = true</script>",
    '"><img src=x onerror="window.isHit = true">',
    "'><svg/onload=window.isHit=true>",
    "' onfocus='window.isHit=true' autofocus='",
    "</title></textarea></template></style><script>window.isHit=true</script>",
    "javascript:window.isHit=true",
    "{{ 7 * 7 }}{% raw %}${7*7}<%= 7*7 %>",
    "\u202egnp.exe\u2066\x1b[31mred\x1b]8;;http://evil.example\x07\x9b",
    "<hx-partial hx-target='body'>gone</hx-partial><div hx-get='/sign-out' hx-trigger='load'>",
    "&lt;b&gt;&#60;script&#62;window.isHit=true&#60;/script&#62;",
    "<!--<base href=//evil.example><meta http-equiv=refresh content=0;url=//evil.example>",
    "<form action=//evil.example><input name=q><iframe srcdoc='<script>parent.isHit=true</script>'>",
)
UNSEEN = "\u202e\u2066\x1b\x07\x9b"
EVERYTHING = " ".join(CORPUS)

# Paths, and a parameter that each reads; {job} and {batch} are filled in.
PAGES = {
    "/": "range",
    "/timeline": "range",
    "/jobs": "q",
    "/jobs/{job}": "x",
    "/jobs/bulk": "action",
    "/jobs/suggestions": "q",
    "/jobs/stats": "range",
    "/history": "range",
    "/history/{batch}": "x",
    "/queue": "x",
    "/failures": "range",
    "/tasks": "x",
    "/openapi": "x",
    "/views": "x",
    "/sign-in": "next",
}


class Suspicious(HTMLParser):
    """What no page of ours has: scripts in the page, handlers in attributes, elements of strangers, and
    signs that can't be seen where text is read. (A field's value has them: it is sent back as it is.)"""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._field = ""
        self.feed(page)

    def handle_data(self, data: str) -> None:
        if set(UNSEEN) & set(data) and self._field != "textarea":
            self.found.append(f"what can't be seen: {data.strip()[:100]!r}")

    def handle_endtag(self, tag: str) -> None:
        self._field = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self._field = tag
        for name in ("title", "aria-label", "alt", "placeholder"):
            self.handle_data(given.get(name) or "")
        if tag == "script" and "src" not in given:
            self.found.append("a script in the page")
        if tag in ("img", "iframe", "base", "object", "embed", "hx-partial", "style"):
            self.found.append(tag)
        if tag == "meta" and "http-equiv" in given:
            self.found.append("a meta element that acts")
        for name, value in attributes:
            if name.startswith(("on", "hx-on")) or name in ("style", "srcdoc"):
                self.found.append(name)
            if name in ("href", "src", "action", "hx-get", "hx-post") and value:
                start = value.strip().lower()
                if start.startswith(("javascript:", "data:", "//", "http")):
                    self.found.append(f"{name}={value}")


@pytest.fixture
def no_views(session: Session) -> None:
    session.execute(delete(SavedView))
    session.commit()


@pytest.fixture
def places(session: Session) -> dict[str, str]:
    """Everything that a page shows is hostile; the ids of a job and a batch of that kind."""
    for number, hostile in enumerate(CORPUS):
        words = hostile.replace("\x00", "")
        add_job(
            session,
            6000 + number,
            ("failed", "completed", "running", "cancelled", "pending")[number % 5],
            task=words,
            queue=words,
            owner_name=words,
            message=words,
            arguments={words: words},
            result={words: [words]},
            error_type=words,
            error_message=words,
            traceback=words,
        )
        add_line(session, 6000 + number, words, "error")
    batch = seed.add_batch(
        session,
        "failed",
        id="batch_hostile",
        model=EVERYTHING,
        custom_metadata={EVERYTHING[:64]: EVERYTHING},
        webhook={"url": EVERYTHING},
        errors=[{"code": EVERYTHING, "line": 1, "param": EVERYTHING, "message": EVERYTHING}],
    )
    for line, hostile in enumerate(CORPUS, start=1):
        seed.add_failure(session, batch, line, hostile)
    user = session.query(User).filter_by(name=EVERYTHING[:200]).one_or_none()
    if user is None:
        user = User(name=EVERYTHING[:200], role="admin")
        session.add(user)
        session.flush()
    for hostile in CORPUS:
        saved_views.create(session, user.id, hostile[:80], "/jobs?" + urlencode({"q": hostile}))
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES (:all, :all, :all)"),
        {"all": EVERYTHING},
    )
    link = sessions.create_sign_in_link(session, user, 10)
    token = sessions.consume_sign_in_link(session, link, session_days=1)
    session.commit()
    return {"job": "6000", "batch": "batch_hostile", "token": token}


@pytest.fixture
def client(app: Flask, places: dict[str, str]) -> FlaskClient:
    """The hostile user's browser, without the browser."""
    client = app.test_client()
    client.set_cookie(app.config["STOKER_COOKIE_NAME"], places["token"])
    return client


@pytest.mark.parametrize("path", PAGES)
def test_what_is_stored_is_shown_as_text(
    client: FlaskClient, places: dict[str, str], path: str
) -> None:
    answer = client.get(path.format(**places))
    assert answer.status_code < 500
    assert Suspicious(answer.text).found == []


@pytest.mark.parametrize("hostile", CORPUS)
def test_a_path_is_shown_as_text(client: FlaskClient, hostile: str) -> None:
    for before in ("/", "/jobs/", "/history/", "/queue/", "/sign-in/"):
        answer = client.get(before + hostile.replace("?", "").replace("#", ""))
        assert answer.status_code < 500
        if answer.status_code not in (303, 308):  # else nobody reads it
            assert Suspicious(answer.text).found == [], before


@pytest.mark.browser
def test_no_page_obeys_what_it_shows(
    open_page: Open, places: dict[str, str], live_server: LiveServer, complaints: Complaints
) -> None:
    page = open_page("/sign-in", is_signed_in=False)
    port = live_server.url.rpartition(":")[2]
    page.context.add_cookies(
        [
            {
                "name": f"stoker_session_{port}",
                "value": places["token"],
                "url": live_server.url,
            }
        ]
    )
    dialogs: list[str] = []

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    for path in PAGES:
        if path == "/jobs/suggestions":
            continue
        name = PAGES[path]
        for query in ("", f"?{urlencode({name: CORPUS[1]})}"):
            answer = page.goto(path.format(**places) + query)
            assert answer
            if answer.status < 400 and page.locator("[data-live]").count() and not query:
                wait_until_live(page)
            strange = page.evaluate(
                "[document.querySelectorAll('img, iframe, base, hx-partial, script:not([src])').length,"
                " window.isHit ?? null]"
            )
            assert strange == [0, None], path + query
        if page.locator("#views-button").count():
            wait_until_so(page, "window.stoker?.keys")
            page.keyboard.press("Control+k")
            page.locator("#palette-text").fill("window")
            expect(page.locator("#palette-list li").first).to_be_visible()
            page.keyboard.press("Escape")
    assert dialogs == []
    # That a parameter was refused is no complaint of the page's.
    complaints[:] = [each for each in complaints if not each.startswith("Failed to load resource")]


@pytest.fixture
def spoiled(session: Session, settings: Settings) -> Iterator[dict[str, str]]:
    """A house full of it; what stands in the pages' addresses, and the administrator's `session`."""
    house.clear(session)
    numbers = house.fill(session, settings)
    batch = seed.add_batch(session, id="batch_hostile", input_filename="x.jsonl")
    asked = [
        request_seed.Exchange(f"{number} {each}", asked=each, answer=each)
        for number, each in enumerate(CORPUS)
    ]
    asked.append(request_seed.Exchange(EVERYTHING[:200], asked=EVERYTHING, error=EVERYTHING))
    request_seed.add_requests(session, settings, batch, asked)
    numbers |= more_numbers(session) | {"batch": batch.id, "file_id": f"file-{batch.id}"}
    link = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
    numbers["session"] = sessions.consume_sign_in_link(session, link, session_days=1)
    session.add(
        RetentionRun(
            table_name="job", before=datetime.now(UTC), ended_at=datetime.now(UTC), error="x"
        )
    )
    names = {row.id: row.name for row in session.execute(text("SELECT id, name FROM user_account"))}
    hostile_house.spoil(session, EVERYTHING)
    yield numbers
    session.rollback()
    for number, name in names.items():
        session.execute(
            text("UPDATE user_account SET name = :name WHERE id = :number"),
            {"name": name, "number": number},
        )
    session.execute(text("DELETE FROM retention_run"))
    session.commit()
    house.clear(session)


@pytest.fixture
def spoiled_client(app: Flask, spoiled: dict[str, str]) -> FlaskClient:
    client = app.test_client()
    client.set_cookie(app.config["STOKER_COOKIE_NAME"], spoiled["session"])
    return client


def test_no_text_that_is_kept_is_forgotten_here(session: Session) -> None:
    known = {
        (table, column)
        for kind in (hostile_house.THEIRS, hostile_house.OURS)
        for table, columns in kind.items()
        for column in columns
    }
    assert hostile_house.kept_texts(session) == known


@pytest.mark.parametrize("as_fragment", [False, True], ids=["page", "part"])
def test_every_address_shows_all_that_is_kept_as_text(
    spoiled_client: FlaskClient, spoiled: dict[str, str], as_fragment: bool
) -> None:
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"} if as_fragment else {}
    shown = set()
    found: dict[str, list[str]] = {}
    for endpoint, _, path in addresses(spoiled_client.application, spoiled, {"GET"}):
        with spoiled_client.get(path, headers=headers) as answer:
            assert answer.status_code < 500, path
            if answer.mimetype == "text/html":
                if strange := Suspicious(answer.text).found:
                    found[path] = strange
                if "window.isHit" in answer.text:
                    shown.add(endpoint)
            else:  # what is saved, and never shown
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
                assert answer.mimetype != "image/svg+xml" or "<script" not in answer.text, path
    assert found == {}
    assert {
        "home.index", "timeline.index", "jobs.index", "jobs.show", "job_log.show", "bulk_actions.index",
        "bulk_actions.show", "history.index", "history.show", "batch_requests.index", "batch_requests.show",
        "queue.index", "workers.show", "failures.index", "schedules_pages.index", "schedules_pages.show",
        "events_pages.index", "events_pages.show", "stats_pages.index", "platform_jobs.index",
        "platform_jobs.list_jobs", "platform_jobs.show", "alerts_page.index", "alerts_page.edit",
        "webhooks.index", "webhooks.show", "dead_letters_page.index", "audit_page.index", "storage.index",
        "views.index",
    } <= shown  # fmt: skip


class Noting(ImmutableMultiDict[str, str]):
    """Parameters, and which of them a page asks for."""

    names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)

    def getlist(self, name: str, type: Any = None) -> list[Any]:
        self.names.add(name)
        return super().getlist(name, type)


class NotingRequest(Request):
    parameter_storage_class = Noting


def test_every_address_shows_all_that_is_asked_for_as_text(
    spoiled_client: FlaskClient, spoiled: dict[str, str]
) -> None:
    spoiled_client.application.request_class = NotingRequest
    paths: dict[str, str] = {}  # one of those that read the same
    for endpoint, _, path in addresses(spoiled_client.application, spoiled, {"GET"}):
        paths.setdefault(endpoint, path)
    asked = 0
    found: dict[str, list[str]] = {}
    part = {"HX-Request": "true", "HX-Request-Type": "partial"}
    for path in paths.values():
        Noting.names.clear()
        spoiled_client.get(path).close()
        for name in sorted(Noting.names - {"csrf_token"}):
            for hostile, headers in (
                (EVERYTHING, {}), (CORPUS[1], part), (f"\x00{UNSEEN}", part), ("9" * 400, part), ("٣", part)
            ):  # fmt: skip
                address = f"{path}?{urlencode({name: hostile})}"
                with spoiled_client.get(address, headers=headers) as answer:
                    assert answer.status_code < 500, address
                    is_page = answer.mimetype == "text/html"
                    if strange := is_page and Suspicious(answer.text).found:
                        found[f"{path} {name}={hostile[:20]!a}"] = strange
                asked += 1
    assert found == {}
    assert asked > 300


@pytest.mark.browser
def test_no_page_of_the_house_obeys_what_it_shows(
    open_page: Open, spoiled: dict[str, str], live_server: LiveServer, complaints: Complaints
) -> None:
    page = open_page("/sign-in", is_signed_in=False)
    name = f"stoker_session_{live_server.url.rpartition(':')[2]}"
    page.context.add_cookies([{"name": name, "value": spoiled["session"], "url": live_server.url}])
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    found: dict[str, object] = {}
    # No queue has that name here; the test above asks for every address.
    for path in (path for name, path in house.PAGES.items() if name != "queue-pause"):
        page.goto(path.format(**spoiled))
        if page.locator("[data-live]").count():
            wait_until_live(page)
        strange = page.evaluate(
            "[document.querySelectorAll('img, iframe, base, hx-partial, script:not([src])').length,"
            " window.isHit ?? null, document.documentElement.scrollWidth > innerWidth]"
        )
        if strange != [0, None, False]:
            found[path] = strange
    assert found == {}
    assert dialogs == []
    # That a queue has another name now is no complaint of the page's.
    complaints[:] = [each for each in complaints if not each.startswith("Failed to load resource")]
