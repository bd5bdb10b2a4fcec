"""How pages refresh: nothing is sent twice, nothing of the reader's is lost, a lost connection shows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import url_for
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.pages.navigation import ENTRIES
from tests.pages import seed
from tests.pages.conftest import Complaints, wait_until_live, wait_until_so
from tests.pages.job_seed import add_job, no_jobs  # noqa: F401 - a fixture

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
CHANGED = "document.dispatchEvent(new Event('changed'))"


def test_a_part_that_is_known_already_is_not_sent_again(sign_in: SignIn, session: Session) -> None:
    # One that has ended: how long another has been running is news each second.
    batch = seed.add_batch(session, "completed", id="batch_a")
    client = sign_in()
    first = client.get("/history", headers=PART)
    tag = first.headers["ETag"]
    again = client.get("/history", headers={**PART, "If-None-Match": tag})
    assert again.status_code == 304
    assert again.data == b""
    batch.completed = 77
    session.commit()
    news = client.get("/history", headers={**PART, "If-None-Match": tag})
    assert news.status_code == 200
    assert news.headers["ETag"] != tag


def test_a_page_is_always_sent_and_nothing_is_stored(sign_in: SignIn, session: Session) -> None:
    client = sign_in()
    for headers in ({}, PART):
        answer = client.get("/history", headers=headers)
        assert answer.headers["Cache-Control"] == "no-store"
        assert {"HX-Request", "HX-Request-Type", "HX-Target"} <= set(answer.vary), answer.vary
    assert "ETag" not in client.get("/history").headers


def test_each_part_is_a_page_too(sign_in: SignIn, session: Session) -> None:
    client = sign_in()
    for entry in ENTRIES:
        path = "/" if entry.endpoint == "home.index" else None
        page = client.get(path or _path(client, entry.endpoint))
        assert "<!doctype html>" in page.text
        for address in re.findall(r'data-live hx-get="([^"]+)"', page.text):
            address = address.replace("&amp;", "&")
            assert "<!doctype html>" in client.get(address).text, address
            assert "<!doctype html>" not in client.get(address, headers=PART).text, address


def _path(client: FlaskClient, endpoint: str) -> str:
    app = client.application
    with app.test_request_context("/"):
        return url_for(endpoint)


@pytest.mark.browser
def test_a_refresh_without_news_swaps_nothing(open_page: Open, session: Session) -> None:
    seed.add_batch(session, id="batch_a")
    page = open_page("/history")
    statuses: list[int] = []
    page.on(
        "response",
        lambda response: (
            statuses.append(response.status) if response.url.endswith("/history") else None
        ),
    )
    wait_until_live(page)
    page.evaluate(CHANGED)
    expect_until(page, lambda: 304 in statuses)
    # It still sends what is new.
    seed.add_batch(session, id="batch_b")
    page.evaluate(CHANGED)
    expect(page.locator("#job-batch_b")).to_be_visible()


def expect_until(page: Page, condition: Callable[[], bool]) -> None:
    """Let the page run, and ask it for refreshes, until it is so."""
    for _ in range(600):
        if condition():
            return
        page.evaluate(CHANGED)
        page.wait_for_timeout(50)
    raise AssertionError("waited in vain")


@pytest.mark.browser
@pytest.mark.usefixtures("no_jobs")
def test_open_details_focus_and_scroll_survive_a_refresh(open_page: Open, session: Session) -> None:
    for number in range(40):
        add_job(session, 5000 + number, "failed", error_message=f"line {number} is wrong")
    page = open_page("/queue")
    wait_until_live(page)
    # A part of the region that the reader has opened; the server knows nothing of it.
    page.evaluate(
        """() => {
          const region = document.querySelector("[data-live]");
          const details = document.createElement("details");
          details.id = "opened";
          details.innerHTML = "<summary>More</summary><p>text</p>";
          region.append(details);
          details.open = true;
        }"""
    )
    morphed = page.evaluate(
        """async () => {
          const region = document.querySelector("[data-live]");
          await htmx.swap({
            text: region.outerHTML.replace('id="opened" open=""', 'id="opened"').replace(">text<", ">other text<"),
            target: region, swap: "outerMorph", sourceElement: region, request: {},
          });
          return [document.getElementById("opened").open, document.getElementById("opened").textContent];
        }"""
    )
    assert morphed == [True, "Moreother text"]
    page.goto("/jobs")
    wait_until_live(page)
    page.locator(".joblist-row").nth(20).scroll_into_view_if_needed()
    page.locator(".joblist-open").nth(20).focus()
    before = page.evaluate("[scrollY, document.activeElement.id]")
    page.evaluate(CHANGED)
    wait_until_so(page, "!document.querySelector('.htmx-request')")
    assert page.evaluate("[scrollY, document.activeElement.id]") == before


@pytest.mark.browser
def test_text_that_is_selected_is_left_alone_until_it_is_not(
    open_page: Open, session: Session
) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#job-batch_a .id'))")
    batch.completed = 57
    session.commit()
    page.evaluate(CHANGED)
    page.wait_for_timeout(1500)
    assert page.evaluate("getSelection().toString()").strip() == "batch_a"
    expect(page.locator("#job-batch_a .counts")).not_to_have_text("57 / 100")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#job-batch_a .counts")).to_have_text("57 / 100")


@pytest.mark.browser
def test_who_listens_is_told_how_many_rows_changed(open_page: Open, session: Session) -> None:
    batch = seed.add_batch(session, "in_progress", id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    said = page.locator("#said")
    expect(said).to_be_empty()
    batch.completed = 57
    session.commit()
    page.evaluate(CHANGED)
    expect(said).to_have_text("Refreshed: 1 row changed.")
    assert said.get_attribute("role") == "status"


@pytest.mark.browser
def test_times_count_on_by_themselves(open_page: Open, session: Session) -> None:
    seed.add_batch(session, id="batch_a")
    page = open_page("/history")
    wait_until_live(page)
    created = page.locator("#job-batch_a .created time")
    expect(created).to_have_text(re.compile("1[0-4] min ago"))
    page.evaluate(
        "document.querySelector('#job-batch_a .created time').dateTime ="
        " new Date(Date.now() - 3 * 3600000).toISOString()"
    )
    expect(created).to_have_text("3 h ago")


@pytest.mark.browser
def test_a_server_that_falls_silent_shows_soon_and_heals_by_itself(
    open_page: Open, complaints: Complaints
) -> None:
    complaints.are_expected = True
    page = open_page("/history")
    wait_until_live(page)
    # No beat comes: as if the way to the server were gone without a sign.
    page.evaluate(
        """() => {
          window.heldBack = (event) => event.stopImmediatePropagation();
          for (const type of ["beat", "changed"]) addEventListener(type, window.heldBack, { capture: true });
          window.heldBackAt = performance.now();
        }"""
    )
    expect(page.locator("#live-word")).to_have_text("Reconnecting")
    page.evaluate(
        """() => {
          for (const type of ["beat", "changed"]) removeEventListener(type, window.heldBack, { capture: true });
        }"""
    )
    expect(page.locator("#live-word")).to_have_text("Live")
