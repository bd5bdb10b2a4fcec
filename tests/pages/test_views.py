"""Saved views: a user's own names for pages with their filters."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import delete
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app.core import saved_views, users
from app.core.models import SavedView
from tests.pages.conftest import Complaints, violations

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]


@pytest.fixture(autouse=True)
def no_views(session: Session) -> None:
    """None of another test is there."""
    session.execute(delete(SavedView))
    session.commit()


def post(client: FlaskClient, path: str, **fields: str) -> TestResponse:
    token = client.get("/views").text.split('name="csrf_token" value="')[1].split('"')[0]
    return client.post(
        path, data={"csrf_token": token, **fields}, headers={"Sec-Fetch-Site": "same-origin"}
    )


def test_a_view_is_saved_renamed_and_deleted(sign_in: SignIn, session: Session) -> None:
    client = sign_in()
    answer = post(client, "/views", name=" Nightly ", address="/jobs?status=failed&type=export")
    assert answer.status_code == 303
    (view,) = saved_views.list_views(session, users.ensure_admin(session).id)
    assert (view.name, view.address) == ("Nightly", "/jobs?status=failed&type=export")
    assert post(client, f"/views/{view.id}/rename", name="Exports").status_code == 303
    page = client.get("/views").text
    assert "Exports" in page
    assert 'href="/jobs?status=failed&amp;type=export"' in page
    assert post(client, f"/views/{view.id}/delete").status_code == 303
    assert post(client, f"/views/{view.id}/delete").status_code == 303  # gone is gone
    assert "Nothing is saved yet" in client.get("/views").text


def test_a_name_is_taken_once_by_one_user(sign_in: SignIn) -> None:
    client, other = sign_in(), sign_in("kim", "user")
    assert post(client, "/views", name="A", address="/jobs").status_code == 303
    assert post(client, "/views", name="A", address="/queue").status_code == 409
    assert post(client, "/views", name="B", address="/queue").status_code == 303
    assert post(other, "/views", name="A", address="/queue").status_code == 303
    assert "/jobs" not in re.findall(r'href="([^"]*)"><b>', other.get("/views").text)


def test_another_users_view_can_not_be_touched(sign_in: SignIn, session: Session) -> None:
    client, other = sign_in(), sign_in("kim", "user")
    post(client, "/views", name="A", address="/jobs")
    (view,) = saved_views.list_views(session, users.ensure_admin(session).id)
    assert post(other, f"/views/{view.id}/rename", name="B").status_code == 404
    post(other, f"/views/{view.id}/delete")
    session.expire_all()
    assert [each.name for each in saved_views.list_views(session, view.user_id)] == ["A"]


def test_a_rename_to_a_name_that_is_taken_says_so_and_keeps_what_was_typed(
    sign_in: SignIn, session: Session
) -> None:
    client = sign_in()
    post(client, "/views", name="A", address="/jobs")
    post(client, "/views", name="B", address="/queue")
    view = saved_views.list_views(session, users.ensure_admin(session).id)[0]
    answer = post(client, f"/views/{view.id}/rename", name="B")
    assert answer.status_code == 409
    assert "“B” already" in answer.text
    assert post(client, f"/views/{view.id}/rename", name="  ").status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://evil.example/jobs",
        "//evil.example/jobs",
        "/\\evil.example",
        "javascript:alert(1)",
        "/nowhere",
        "/v1/batches",
        "/sign-in",
        "/changes",
        "jobs",
        "/jobs\n",
        "http://[",
        "/jobs?q=" + "x" * 5000,
    ],
)
def test_only_a_page_can_be_saved(sign_in: SignIn, address: str) -> None:
    answer = post(sign_in(), "/views", name="A", address=address)
    assert answer.status_code == 400
    assert "address" in answer.text


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\0b"])
def test_a_name_has_1_to_80_characters(sign_in: SignIn, name: str) -> None:
    answer = post(sign_in(), "/views", name=name, address="/jobs")
    assert answer.status_code == 400
    assert "name must have 1 to 80 characters" in answer.text


def test_there_is_an_end_to_how_many(session: Session) -> None:
    user = users.ensure_admin(session)
    for number in range(saved_views.MOST):
        saved_views.create(session, user.id, f"view {number}", "/jobs")
    with pytest.raises(saved_views.LimitReached):
        saved_views.create(session, user.id, "one more", "/jobs")
    session.rollback()


@pytest.mark.browser
def test_what_is_seen_is_saved_from_the_menu_and_found_in_menu_and_palette(
    open_page: Open, complaints: Complaints
) -> None:
    complaints.are_expected = True  # the browser notes the 409
    page = open_page("/jobs")
    page.select_option("[name=status]", "failed")
    expect(page).to_have_url(re.compile("status=failed"))
    page.click("#views-button")
    page.fill("#views-name", "What failed")
    page.keyboard.press("Enter")
    saved = page.locator("#views-list [data-view]")
    expect(saved).to_have_text("What failed")
    expect(page.locator("#views-name")).to_have_value("")
    page.fill("#views-name", "What failed")
    page.keyboard.press("Enter")
    expect(page.locator("#views-list [role=alert]")).to_contain_text("already")
    page.goto("/queue")
    page.click("#views-button")
    expect(saved).to_have_attribute("href", re.compile("status=failed"))
    saved.click()
    expect(page).to_have_url(re.compile(r"/jobs\?.*status=failed"))
    expect(page.locator("[name=status]")).to_have_value("failed")
    page.goto("/")
    page.keyboard.press("Control+k")
    page.keyboard.type("what failed")
    expect(page.locator("#palette-list [aria-selected=true]")).to_contain_text("Saved view")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("status=failed"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_of_views_fits_and_shuts_nobody_out(
    open_page: Open, session: Session, complaints: Complaints, width: int
) -> None:
    user = users.ensure_admin(session)
    saved_views.create(session, user.id, "W" * 80, "/jobs?q=" + "x" * 300)
    saved_views.create(session, user.id, "<b>bold</b>\u202egnp", "/history")
    session.commit()
    complaints.are_expected = True
    page = open_page("/views", width=width)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#views-button")
    expect(page.locator("#views-list [data-view]")).to_have_count(2)
    expect(page.locator("#views-list b")).to_have_count(0)
    assert violations(page) == []
