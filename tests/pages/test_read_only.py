"""A dashboard that only shows: everything is seen, nothing is offered, and nothing can be changed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import sessions, users
from app.core.models import AuditEntry, User
from app.core.settings import Settings
from app.extensions import db
from app.factory import create_app
from app.pages.navigation import ENTRIES
from tests.pages import day, telling_seed
from tests.pages.test_alerts import SAME, token

_FORM = re.compile(
    r'<form[^>]*method="post"[^>]*action="([^"]+)"|<form[^>]*action="([^"]+)"[^>]*method="post"'
)
# Readers' own: how they see things, and their sign-out.
_PERSONAL = ("/preferences", "/views", "/sign-out")


@pytest.fixture
def closed(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings.model_copy(update={"read_only_pages": True}))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def reader(closed: Flask, session: Session) -> FlaskClient:
    """The administrator's browser."""
    return browser_of(closed, session, users.ensure_admin(session))


def browser_of(app: Flask, session: Session, user: User) -> FlaskClient:
    link = sessions.create_sign_in_link(session, user, 10)
    token = sessions.consume_sign_in_link(session, link, session_days=1)
    session.commit()
    client = app.test_client()
    client.set_cookie(app.config["STOKER_COOKIE_NAME"], token)
    return client


@pytest.fixture(autouse=True)
def _clear(session: Session, clear_jobs: None) -> Iterator[None]:
    telling_seed.clear(session)
    yield
    telling_seed.clear(session)


def test_an_administrator_sees_every_page_and_no_action_on_any(
    reader: FlaskClient, session: Session
) -> None:
    day.fill(session)
    telling_seed.add_alert(session, telling_seed.add_rule(session))
    telling_seed.add_endpoint(session)
    with reader.application.test_request_context():
        paths = [reader.application.url_for(entry.endpoint) for entry in ENTRIES]
    for path in paths:
        answer = reader.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        page = answer.text
        assert "This dashboard is read-only" in page, path
        forms = [one or other for one, other in _FORM.findall(page)]
        offered = [each for each in forms if not each.startswith(_PERSONAL)]
        assert not offered, f"{path} offers {offered}"


@pytest.mark.parametrize(
    "path",
    [
        "/storage/clean-up",
        "/queue/tasks/pause",
        "/tasks/export",
        "/alerts/new/disk_low",
        "/schedules",
    ],
)
def test_nothing_is_changed_and_the_reason_is_said(
    reader: FlaskClient, session: Session, path: str
) -> None:
    csrf = token(reader.get("/queue").text)
    before = session.query(AuditEntry).count()  # that the reader signed in
    session.rollback()
    answer = reader.post(path, data={"csrf_token": csrf, "reason": "x"}, headers=SAME)
    assert answer.status_code == 403
    assert "This dashboard is read-only: it shows, and changes nothing." in answer.text
    session.rollback()
    assert session.query(AuditEntry).count() == before


def test_the_api_refuses_a_browser_what_it_allows_a_key(
    closed: Flask, reader: FlaskClient, api_key: str
) -> None:
    rule = {"name": "disk", "kind": "disk_low", "targets": ["a@example.org"]}
    csrf = token(reader.get("/queue").text)
    by_browser = reader.post("/api/alerts", json=rule, headers={**SAME, "X-CSRFToken": csrf})
    assert by_browser.status_code == 403
    headers = {"Authorization": f"Bearer {api_key}"}
    assert closed.test_client().post("/api/alerts", json=rule, headers=headers).status_code == 200


def test_reading_by_post_and_what_is_the_readers_own_still_work(reader: FlaskClient) -> None:
    csrf = token(reader.get("/queue").text)
    headers = {**SAME, "X-CSRFToken": csrf}
    assert reader.post("/api/stats", json={"hours": 24}, headers=headers).status_code == 200
    view = {"csrf_token": csrf, "name": "mine", "address": "/jobs?status=failed"}
    assert reader.post("/views", data=view, headers=SAME).status_code in (200, 303)


def test_users_see_no_more_than_before(closed: Flask, session: Session) -> None:
    known = session.scalar(select(User).where(User.name == "ann"))
    user = known or User(name="ann", role="user")
    session.add(user)
    session.flush()
    ann = browser_of(closed, session, user)
    for path in ("/storage", "/audit", "/alerts", "/api/storage"):
        assert ann.get(path).status_code == 403
