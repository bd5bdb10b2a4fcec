"""The statistics: each type in a window, how it changed, and charts with tables behind them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core import rollups, window_stats
from app.core.window_stats import Line
from app.pages import stats
from tests.pages import record_seed
from tests.pages.conftest import violations, wait_until_live, wait_until_so

pytestmark = pytest.mark.usefixtures("clear_jobs", "forget_figures")

Open = Callable[..., Page]
SignIn = Callable[..., FlaskClient]
DAY = 24 * 60


@pytest.fixture
def forget_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test has counted is not shown here."""
    monkeypatch.setattr(stats, "_figures", stats.StatsCache[stats.Figures](seconds=0.0))


def lines(session: Session, hours: float = 24, owner_name: str | None = None) -> dict[str, Line]:
    until = datetime.now(UTC)
    found = window_stats.by_type(
        session, since=until - timedelta(hours=hours), until=until, owner_name=owner_name
    )
    return {line.name: line for line in found}


def test_a_type_is_counted_with_its_rates_and_times(session: Session) -> None:
    for seconds in (10, 20, 30, 100):
        record_seed.add_job(session, "completed", run_seconds=seconds, wait_seconds=4, minutes=30)
    record_seed.add_job(session, "failed", minutes=20)
    record_seed.add_job(session, "cancelled", minutes=20)
    record_seed.add_job(session, "retrying", minutes=20)
    record_seed.add_job(session, "running", minutes=20)
    record_seed.add_job(session, "completed", minutes=3 * DAY)
    (line,) = lines(session).values()
    assert (line.now.completed, line.now.failed, line.now.cancelled) == (4, 1, 1)
    assert (line.retrying, line.running) == (1, 1)
    assert line.success_rate == 0.8
    assert line.average_seconds == 40.0
    assert not line.is_slow
    assert line.now.run_seconds(0.5) == pytest.approx(20, rel=0.1)
    assert line.now.run_seconds(0.99) == pytest.approx(100, rel=0.1)
    assert line.now.wait_seconds(0.95) == pytest.approx(4, rel=0.1)
    assert lines(session, owner_name="nobody") == {}


def test_rollups_and_rows_say_the_same(session: Session) -> None:
    for minutes in range(30, 9 * DAY, 611):
        record_seed.add_job(session, "completed", minutes=minutes, owner_name="ann")
        record_seed.add_job(session, "failed", minutes=minutes, task="import", owner_name="ann")
    until = datetime.now(UTC)

    def said() -> list[object]:
        found: list[object] = []
        for owner_name in (None, "ann"):
            for line in window_stats.by_type(
                session, since=until - timedelta(days=5), until=until, owner_name=owner_name
            ):
                found.append((line.name, line.now.ended, line.before.ended, line.now.run_ms))
            for dimension in window_stats.DIMENSIONS:
                begins, courses = window_stats.courses(
                    session,
                    dimension,
                    since=until - timedelta(days=5),
                    until=until,
                    step_seconds=6 * 3600,
                    owner_name=owner_name,
                )
                assert all(len(course.steps) == len(begins) for course in courses)
                found.append([(course.name, course.total, course.steps) for course in courses])
        return found

    before = said()
    rollups.refresh(session)
    after = said()
    assert after == before
    half = len(before) // 2
    assert before[:half] == before[half:]  # all of it is ann's


@pytest.mark.parametrize(
    ("now", "before", "said", "is_good"),
    [
        ((20.0, 0), (10.0, 0), "slower by 100 %", False),
        ((8.0, 0), (10.0, 0), "faster by 20 %", True),
        ((10.0, 3), (10.0, 0), "success 100 % to 62 %", False),
        ((10.0, 0), (10.4, 0), "about the same", None),
    ],
)
def test_a_change_is_told_by_arrow_and_word(
    session: Session,
    now: tuple[float, int],
    before: tuple[float, int],
    said: str,
    is_good: bool | None,
) -> None:
    for minutes, (seconds, failures) in ((300, now), (300 + DAY, before)):
        for _ in range(5):
            record_seed.add_job(session, minutes=minutes, run_seconds=seconds)
        for _ in range(failures):
            record_seed.add_job(session, "failed", minutes=minutes)
    (trend,) = lines(session)["export"].trends
    assert (trend.word, trend.is_good) == (said, is_good)


def test_what_is_new_has_no_trend(session: Session) -> None:
    record_seed.add_job(session)
    assert lines(session)["export"].trends[0].word.startswith("new")


def test_durations_are_told_in_doublings(session: Session) -> None:
    for seconds in (0.3, 0.9, 1.5, 1.6, 9.0):
        record_seed.add_job(session, run_seconds=seconds)
    bars = window_stats.durations(lines(session)["export"].now.run_histogram)
    assert sum(bar.runs for bar in bars) == 5
    assert bars[0].least <= 0.3 < bars[0].most
    assert bars[-1].least <= 9.0 < bars[-1].most
    assert all(one.most == other.least for one, other in itertools.pairwise(bars))
    for seconds, runs in ((1.55, 2), (0.9, 1)):
        assert [bar.runs for bar in bars if bar.least <= seconds < bar.most] == [runs]


def test_the_page_has_figures_and_tables(session: Session, sign_in: SignIn) -> None:
    record_seed.fill(session)
    page = sign_in().get("/stats?range=7d&by=queue&type=batch_audit").text
    assert "Slow" in page
    table = page[page.index('id="courses-table"') :]
    assert "model:google/gemma-3-4b-it" in table
    assert "Durations of Batch Audit" in page
    assert re.search(r"\d+ completed runs; most, \d+, took 1\.1 min to 2\.2 min", page)


def test_a_user_sees_own_jobs_only(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, task="theirs", owner_name="bob")
    record_seed.add_job(session, task="mine", owner_name="ann")
    page = sign_in("ann", "user").get("/stats").text
    assert "mine" in page
    assert "theirs" not in page


def test_many_types_are_drawn_as_the_most_frequent_and_the_others(
    session: Session, sign_in: SignIn
) -> None:
    for number in range(15):
        record_seed.add_job(session, task=f"task-{number:02}")
    page = sign_in().get("/stats").text
    assert "4 others" in page
    assert "15 types" in page


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("range=1y", 400),
        ("by=worker", 400),
        ("type=%00%3Cscript%3E", 200),
        ("type=" + "x" * 3000, 200),
        ("by=model&range=90d", 200),
        ("by=status&range=30d", 200),
    ],
)
def test_what_a_client_sends_is_never_our_fault(sign_in: SignIn, query: str, status: int) -> None:
    answer = sign_in().get(f"/stats?{query}")
    assert answer.status_code == status
    assert "<script>" not in re.sub(r"<script (defer )?src=", "", answer.text)


@pytest.mark.browser
def test_an_opened_table_stays_open_when_the_figures_are_fetched_anew(
    open_page: Open, session: Session
) -> None:
    record_seed.add_job(session)
    page = open_page("/stats")
    wait_until_live(page)
    page.locator("#courses-table summary").click()
    with page.expect_response(lambda answer: "/stats" in answer.url):
        page.evaluate("htmx.trigger(document.getElementById('stats'), 'refresh')")
    wait_until_so(page, "!document.querySelector('#stats.htmx-request')")
    expect(page.locator("#courses-table table")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_for_everybody(
    open_page: Open, session: Session, theme: str, width: int
) -> None:
    record_seed.fill(session)
    page = open_page("/stats?range=7d&by=type", width=width, color_scheme=theme)
    for detail in ("courses-table", "durations-table"):
        page.locator(f"#{detail} summary").click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 768, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("By queue").check()
    expect(page).to_have_url(re.compile("by=queue"))
    page.get_by_label("24 h").check()
    expect(page).not_to_have_url(re.compile("range=7d"))
