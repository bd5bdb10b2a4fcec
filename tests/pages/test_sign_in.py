"""Signing in by a one-time link, and out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import sessions, users
from tests.pages.conftest import Complaints

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


@pytest.fixture
def link(session: Session) -> str:
    """The path of a fresh sign-in link of the administrator's."""
    token = sessions.create_sign_in_link(session, users.ensure_admin(session), 10)
    session.commit()
    return f"/sign-in/{token}"


def test_a_link_signs_in_once_and_signing_out_ends_it(
    open_page: Open, link: str, complaints: Complaints
) -> None:
    page = open_page(link, is_signed_in=False)
    page.click("text=Sign in as admin")
    expect(page.locator("h1")).to_have_text("Job history")
    page.click(".account")
    page.click("text=Sign out")
    expect(page.locator("h1")).to_have_text("Sign in")
    page.goto("/history")
    expect(page.locator("h1")).to_have_text("Sign in")
    assert complaints == []
    complaints.are_expected = True  # the browser notes the 401
    page.goto(link)
    expect(page.locator("main")).to_contain_text("used already or is too old")


def test_looking_at_a_link_does_not_use_it_up(
    make_client: Callable[[str | None], FlaskClient], link: str
) -> None:
    client = make_client(None)
    for _ in range(3):
        answer = client.get(link)
        assert answer.status_code == 200
        assert b"Sign in as admin" in answer.data
    assert client.head(link).status_code == 200


def test_a_link_can_not_be_used_from_another_site(
    make_client: Callable[[str | None], FlaskClient], link: str
) -> None:
    client = make_client(None)
    answer = client.post(link, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert client.get(link).status_code == 200


def test_pages_ask_strangers_to_sign_in(make_client: Callable[[str | None], FlaskClient]) -> None:
    client = make_client(None)
    for path in ("/", "/history", "/history/batch_a", "/changes", "/files/file-a/content"):
        answer = client.get(path)
        assert answer.status_code == 303, path
        assert answer.location.startswith("/sign-in")


def test_sign_in_tells_how_to_get_a_link(open_page: Open) -> None:
    page = open_page("/sign-in", is_signed_in=False)
    expect(page.locator("main")).to_contain_text("flask users link")
