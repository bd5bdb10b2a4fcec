"""What every address of every page has alike: its headers, its words while the database is away, and that
all it leads to stays below the path that Stoker is mounted at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import users
from app.core.settings import Settings
from app.extensions import db
from app.factory import create_app
from tests.pages import house
from tests.pages.addresses import addresses, more_numbers
from tests.pages.test_live import PART
from tests.pages.test_outages import away
from tests.pages.test_read_only import browser_of

PREFIX = "/stoker"
LEADING = (
    "href",
    "src",
    "action",
    "formaction",
    "hx-get",
    "hx-post",
    "hx-sse:connect",
    "data-newest",
    "data-href",
)


@pytest.fixture
def numbers(session: Session, settings: Settings) -> Iterator[dict[str, str]]:
    """The house; none of it is left for the next test."""
    house.clear(session)
    yield house.fill(session, settings) | more_numbers(session)
    house.clear(session)


def test_every_answer_is_fresh_and_says_what_it_depends_on(
    sign_in: Callable[..., FlaskClient], numbers: dict[str, str]
) -> None:
    client = sign_in()
    pages, parts = 0, 0
    for _, _, path in addresses(client.application, numbers, {"GET"}):
        for headers in ({}, PART):
            with client.get(path, headers=headers) as answer:
                assert answer.status_code < 500, path
                assert answer.headers["Cache-Control"] == "no-store", path
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy or policy == "sandbox", path
                if answer.mimetype != "text/html" or answer.status_code >= 300:
                    continue
                assert {"HX-Request", "HX-Request-Type", "HX-Target"} <= set(answer.vary), path
                if headers:
                    assert answer.headers["ETag"], path
                    again = client.get(
                        path, headers={**headers, "If-None-Match": answer.headers["ETag"]}
                    )
                    assert again.status_code in (200, 304), path  # 200: something is new
                    parts += "<!doctype html>" not in answer.text
                else:
                    pages += "<!doctype html>" in answer.text
    assert pages > 50
    assert parts > 20


def test_every_address_says_that_the_database_is_away_and_is_back_after_it(
    sign_in: Callable[..., FlaskClient], numbers: dict[str, str], settings: Settings, postgres: str
) -> None:
    client = sign_in()
    asked = [
        path
        for endpoint, _, path in addresses(client.application, numbers, {"GET"})
        if not endpoint.startswith(("operation.", "sign_in.", "description."))
    ]
    with away(settings, postgres):
        for path in asked:
            with client.get(path) as page:
                assert page.status_code == 503, path
                assert page.headers["Retry-After"], path
                assert "The database can&#39;t be reached" in page.text.replace("'", "&#39;"), path
            with client.get(path, headers=PART) as part:
                assert part.status_code == 503, path
                # The rest of the page and its address stay as they are.
                assert part.headers["HX-Retarget"] == "#banner", path
                assert part.headers["HX-Push-Url"] == "false", path
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").status_code == 200
    assert client.get("/queue").status_code == 200


class Leads(HTMLParser):
    """Where a page leads, and what it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found |= {value or "" for name, value in attributes if name in LEADING}


@pytest.fixture
def below(settings: Settings) -> Iterator[Flask]:
    """Stoker below a path."""
    app = create_app(settings.model_copy(update={"url_prefix": PREFIX}))
    yield app
    with app.app_context():
        db.engine.dispose()


def test_nothing_that_any_page_leads_to_or_loads_is_outside_the_prefix(
    below: Flask, numbers: dict[str, str], session: Session
) -> None:
    client = browser_of(below, session, users.ensure_admin(session))
    outside: dict[str, str] = {}
    seen = 0
    for _, _, path in addresses(below, numbers, {"GET"}):
        for headers in ({}, PART):
            with client.get(f"{PREFIX}{path}", headers=headers) as answer:
                if 300 <= answer.status_code < 400:
                    assert answer.headers["Location"].startswith(PREFIX), path
                if answer.mimetype != "text/html":
                    continue
                for lead in Leads(answer.text).found:
                    seen += 1
                    if lead.startswith("/") and not lead.startswith(f"{PREFIX}/"):
                        outside[lead] = path
    assert outside == {}
    assert seen > 1000
