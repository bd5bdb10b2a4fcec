"""Two to four batches side by side, and where their answers differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.models import Batch
from app.core.settings import Settings
from tests.pages import seed
from tests.pages.conftest import violations
from tests.pages.request_seed import Exchange, add_requests

Open = Callable[..., Page]


def two_batches(session: Session, settings: Settings) -> tuple[Batch, Batch]:
    """The same questions of two models: one failed, one was answered otherwise, one is in one file only."""
    one = seed.add_batch(session, id="batch_one", model="small", run_seconds=10.0)
    other = seed.add_batch(
        session,
        id="batch_other",
        model="large",
        run_seconds=20.0,
        engine={"version": "0.33.0", "flags": ["--max-num-seqs", "512"]},
    )
    add_requests(
        session,
        settings,
        one,
        [
            Exchange("same", answer="It scatters."),
            Exchange("otherwise", answer="Air scatters blue light most."),
            Exchange("fails", error="Too long.", error_type="context_length_exceeded"),
            Exchange("both fail", error="Timed out.", error_type="timeout"),
            Exchange("here only", answer="Yes."),
        ],
    )
    add_requests(
        session,
        settings,
        other,
        [
            Exchange("both fail", error="Timed out.", error_type="timeout"),
            Exchange("fails", answer="It scatters."),
            Exchange("otherwise", answer="Air scatters violet light most."),
            Exchange("same", answer="It scatters."),
            Exchange("there only", answer="No.", parameters=(("max_tokens", 64),)),
        ],
    )
    return one, other


def test_batches_are_picked_in_the_list_and_compared(
    open_page: Open, session: Session, settings: Settings
) -> None:
    two_batches(session, settings)
    for _ in range(3):
        seed.add_batch(session)
    page = open_page("/history")
    expect(page.locator("#compare-go")).to_be_disabled()
    page.check("#job-batch_one [data-select]")
    expect(page.locator("#compare-said")).to_contain_text("check one more")
    expect(page.locator("#compare-go")).to_be_disabled()
    # What is picked stays so in another order of the list.
    page.click("#sort-duration")
    expect(page.locator("th[aria-sort=descending] #sort-duration")).to_be_visible()
    expect(page.locator("#job-batch_one [data-select]")).to_be_checked()
    page.check("#job-batch_other [data-select]")
    expect(page.locator("#compare-said")).to_contain_text("2 batches are picked")
    page.click("#compare-go")
    expect(page).to_have_url(re.compile(r"/history/compare\?ids=batch_one,batch_other$"))
    expect(page.locator("h1")).to_have_text("2 batches side by side")
    # Back brings the picked ones back, as a reload does; whoever comes anew begins anew.
    page.go_back()
    expect(page.locator(".job")).to_have_count(5)
    expect(page.locator("#compare-said")).to_contain_text("2 batches are picked")
    expect(page.locator("#job-batch_other [data-select]")).to_be_checked()
    page.reload()
    expect(page.locator("#compare-said")).to_contain_text("2 batches are picked")
    page.goto("/history")
    expect(page.locator("#compare-said")).to_contain_text("Check 2 to 4 batches")
    expect(page.locator("[data-select]:checked")).to_have_count(0)


def test_no_more_than_four_can_be_picked(open_page: Open, session: Session) -> None:
    for place in range(5):
        seed.add_batch(session, id=f"batch_{place}")
    page = open_page("/history")
    for place in range(4):
        page.check(f"#job-batch_{place} [data-select]")
    expect(page.locator("#job-batch_4 [data-select]")).to_be_disabled()
    page.click("[data-unpick=batch_2]")
    expect(page.locator("#job-batch_2 [data-select]")).not_to_be_checked()
    expect(page.locator("#job-batch_4 [data-select]")).to_be_enabled()
    page.click("#compare-none")
    expect(page.locator("[data-select]:checked")).to_have_count(0)


def test_what_differs_is_marked_in_words_and_shape(
    open_page: Open, session: Session, settings: Settings
) -> None:
    two_batches(session, settings)
    page = open_page("/history/compare?ids=batch_one&ids=batch_other")

    def row(word: str) -> Any:
        exact = re.compile(rf"^{re.escape(word)}( differs)?$")
        return page.locator(".compare tr", has=page.locator("th[scope=row]", has_text=exact))

    expect(row("Model").locator("td")).to_have_text(["small", "large"])
    expect(row("Model").locator(".mark")).to_have_text("differs")
    expect(row("Model").locator(".mark svg use")).to_have_count(1)
    expect(row("Endpoint").locator(".mark")).to_have_count(0)
    expect(row("Engine version").locator("td")).to_have_text(["0.32.0", "0.33.0"])
    expect(row("Engine flags").locator(".mark")).to_have_count(1)
    expect(row("max_tokens").locator("td")).to_have_text(["64", "64"])
    expect(row("temperature").locator("td")).to_have_text(["0.2", "varies from line to line"])
    expect(row("Completed").locator("td")).to_have_text(["3", "4"])
    expect(row("Ran").locator("td")).to_have_text(["10.0 s", "20.0 s"])
    expect(row("context_length_exceeded (400)").locator("td")).to_have_text(["1", "–"])
    expect(row("timeout (400)").locator("td")).to_have_text(["1", "1"])


def test_requests_that_came_out_differently_are_matched_by_custom_id_failures_first(
    open_page: Open, session: Session, settings: Settings
) -> None:
    two_batches(session, settings)
    page = open_page("/history/compare?ids=batch_one,batch_other")
    found = page.locator(".diffs > li")
    expect(found.locator("h3 .id")).to_have_text(["fails", "otherwise", "here only", "there only"])
    expect(found.nth(0)).to_contain_text("status differs")
    expect(found.nth(0)).to_contain_text("Too long.")
    expect(found.nth(1).locator(".mark")).to_have_text("answer differs after 13 characters")
    expect(found.nth(1).locator("mark")).to_have_text(["blue light most.", "violet light most."])
    expect(found.nth(3)).to_contain_text("Not in this batch")
    found.nth(1).locator("a").first.click()
    expect(page.locator("#request-title")).to_have_text("otherwise")


def test_many_differences_come_in_pages(
    open_page: Open, session: Session, settings: Settings
) -> None:
    for name in ("one", "other"):
        batch = seed.add_batch(session, id=f"batch_{name}")
        exchanges = [
            Exchange(f"request-{place:03}", answer=f"{name} {place}") for place in range(60)
        ]
        add_requests(session, settings, batch, exchanges)
    page = open_page("/history/compare?ids=batch_one,batch_other")
    expect(page.locator(".diffs h3 .id").first).to_have_text("request-000")
    page.click("#next-differences")
    expect(page.locator(".diffs h3 .id").first).to_have_text("request-025")
    page.click("#next-differences")
    expect(page.locator(".diffs > li")).to_have_count(10)
    expect(page.locator("#differences .count")).to_contain_text("60 compared")
    page.go_back()
    expect(page.locator(".diffs h3 .id").first).to_have_text("request-025")


def test_batches_that_came_out_the_same_say_so(
    open_page: Open, session: Session, settings: Settings
) -> None:
    for name in ("one", "other"):
        batch = seed.add_batch(session, id=f"batch_{name}")
        add_requests(session, settings, batch, [Exchange("a", answer="Yes.")])
    page = open_page("/history/compare?ids=batch_one,batch_other")
    expect(page.locator("#differences .empty")).to_contain_text("Every request came out the same")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?ids=batch_a", 400),
        ("?ids=batch_a,batch_a", 400),
        ("?ids=1,2,3,4,5", 400),
        ("?ids=batch_a,batch_nowhere", 404),
        ("?ids=%00,%FF,batch_a", 404),
        ("?ids=batch_a,batch_b&cursor=x", 400),
    ],
)
def test_what_cant_be_compared_is_refused_with_a_sentence(
    sign_in: Callable[..., FlaskClient], session: Session, query: str, status: int
) -> None:
    for name in ("a", "b"):
        seed.add_batch(session, id=f"batch_{name}")
    answer = sign_in().get(f"/history/compare{query}")
    assert answer.status_code == status
    assert any(word in answer.text for word in ("ids must name", "There is no batch", "cursor"))


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1440)])
def test_the_comparison_has_nothing_that_axe_finds(
    open_page: Open, session: Session, settings: Settings, theme: Any, width: int
) -> None:
    two_batches(session, settings)
    page = open_page("/history/compare?ids=batch_one,batch_other", width=width, color_scheme=theme)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
