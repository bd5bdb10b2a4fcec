"""The timeline, as its readers use it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tests.pages.conftest import violations, wait_until_live
from tests.pages.seed import HOSTILE
from tests.pages.timeline_day import DAY, NOON, Day, busy, run_lately, window

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def test_each_run_is_a_bar_that_says_all_about_it(day: Day, open_page: Open) -> None:
    jobs = busy(day)
    page = open_page(DAY)

    expect(page.locator(".lane")).to_have_count(4)
    expect(page.locator(".bar")).to_have_count(6)
    tip = page.locator(f"[data-job='{jobs['failed'].id}']").get_attribute("aria-label")
    assert tip is not None
    for words in (
        f"#{jobs['failed'].id} Backup",
        "failed",
        "ran 15 min 00 s",
        "waited 2 min 00 s",
        "CUDA out of memory",
    ):
        assert words in tip
    expect(page.locator(f"[data-job='{jobs['failed'].id}'] text")).to_contain_text("✕")
    page.locator(f"[data-job='{jobs['export'].id}'] .run").hover()
    expect(page.get_by_role("tooltip")).to_contain_text(f"#{jobs['export'].id} Export")

    page.locator(f"[data-job='{jobs['export'].id}'] .run").click()

    expect(page).to_have_url(re.compile(rf"/jobs/{jobs['export'].id}$"))


@pytest.mark.parametrize(
    ("lanes", "names"),
    [
        ("queue", ["tasks"]),
        ("worker", ["gpu-1"]),
        ("model", ["gemma-3-4b", "qwen3-8b", "none"]),
        ("user", ["ada", "ben", "none"]),
    ],
)
def test_lanes_are_of_whatever_one_asks_for(
    day: Day, open_page: Open, lanes: str, names: list[str]
) -> None:
    busy(day)
    page = open_page(f"{DAY}&lanes={lanes}")

    labels = [each.get_attribute("aria-label") for each in page.locator(".lane").all()]

    assert [str(label).partition(":")[0] for label in labels] == names


def test_a_running_job_grows_and_keeps_the_focus(
    day: Day, open_page: Open, session: Session
) -> None:
    began = (datetime.now(UTC) - timedelta(minutes=30) - NOON).total_seconds() / 60
    job = day.run("export", began, None)
    page = open_page("/timeline?range=1h")
    wait_until_live(page)
    bar = page.locator(f"[data-job='{job.id}']")
    expect(bar).to_have_class(re.compile("running"))
    page.locator("#plot").focus()
    page.keyboard.press("ArrowDown")
    expect(bar).to_be_focused()
    other = day.run("export", began + 1, began + 10)

    page.evaluate("htmx.trigger('#timeline', 'refresh')")

    expect(page.locator(f"[data-job='{other.id}']")).to_have_count(1)
    expect(bar).to_be_focused()


def test_what_still_runs_has_run_until_now_in_any_window(
    day: Day, open_page: Open, session: Session
) -> None:
    job = day.run("export", -60, None)

    page = open_page(window(NOON, NOON + timedelta(hours=1)))

    tip = page.locator(f"[data-job='{job.id}']").get_attribute("aria-label")
    assert tip is not None
    assert "has not ended" in tip
    assert "ran 1 h" not in tip


def test_on_a_narrow_screen_the_newest_is_seen_and_the_lanes_names_stay_through_a_refresh(
    day: Day, open_page: Open, session: Session
) -> None:
    day.run("export", (datetime.now(UTC) - timedelta(minutes=5) - NOON).total_seconds() / 60, None)
    page = open_page("/timeline?range=1h", width=390)
    wait_until_live(page)
    name = page.locator(".labels text", has_text="Export")
    expect(name).to_be_in_viewport()
    expect(page.locator(".bar .run")).to_be_in_viewport()
    day.run("export", (datetime.now(UTC) - timedelta(minutes=9) - NOON).total_seconds() / 60, None)

    page.evaluate("htmx.trigger('#timeline', 'refresh')")

    expect(page.locator(".bar")).to_have_count(2)
    expect(name).to_be_in_viewport()


def test_the_picture_and_the_runs_are_taken_along(day: Day, open_page: Open) -> None:
    busy(day)
    page = open_page(DAY)

    with page.expect_download() as svg:
        page.get_by_role("link", name="SVG").click()
    picture = svg.value.path().read_text()
    with page.expect_download() as table:
        page.get_by_role("link", name="CSV").click()
    said = table.value.path().read_text()
    rows = list(csv.DictReader(io.StringIO(said)))
    with page.expect_download() as png:
        page.get_by_role("button", name="PNG").click()

    assert picture.count('class="bar ') == 6
    assert "<style>" in picture
    assert len(rows) == 6
    assert said.splitlines()[0] == "job_id,attempt,type,status,started_at,ended_at,seconds"
    assert [rows[1][name] for name in ("attempt", "type", "status", "ended_at", "seconds")] == [
        "1",
        "run_batch",
        "completed",
        (NOON + timedelta(hours=1)).isoformat(),
        "3600.0",
    ]
    assert png.value.path().read_bytes().startswith(b"\x89PNG")


def test_nothing_that_a_name_says_is_obeyed(day: Day, open_page: Open) -> None:
    day.run(HOSTILE[:150], 0, 60, worker_name=HOSTILE[:150])
    day.run("export", 30, 75)
    page = open_page(f"{DAY}&lanes=worker")

    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    expect(page.locator(".lane").first).to_be_attached()
    assert "<script>alert(1)</script>" in str(page.locator(".labels").text_content()) + str(
        page.locator(".matrix").text_content()
    )


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/timeline?range=never", "range must be one of"),
        ("/timeline?lanes=colour", "lanes must be one of"),
        ("/timeline?pair=export", "pair and with name"),
        ("/timeline?job=x", "job must be the number"),
        (f"/timeline?job={'0' * 20}{'9' * 30}", "job must be the number"),
        ("/timeline?range=dates&from=yesterday", "from must be a time"),
    ],
)
def test_what_cant_be_read_in_the_address_is_named(
    open_page: Open, path: str, words: str, complaints: list[str]
) -> None:
    complaints.are_expected = True  # type: ignore[attr-defined]  # the browser says that it was a 400
    page = open_page(path)

    expect(page.locator("main")).to_contain_text(words)


def test_an_empty_window_says_whether_anything_hides_it(day: Day, open_page: Open) -> None:
    page = open_page("/timeline")
    expect(page.locator(".empty")).to_contain_text("flask tasks run cleanup")
    busy(day)
    run_lately(day)

    page = open_page("/timeline?type=mail")

    expect(page.locator(".empty")).to_contain_text("No job of the type mail ran in this")
    page.get_by_role("link", name="Show the last 24 hours").click()
    expect(page.locator(".empty")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_timeline_is_accessible(day: Day, open_page: Open, scheme: str, width: int) -> None:
    busy(day)
    page = open_page(f"{DAY}&pair=export&with=run_batch", width=width, color_scheme=scheme)

    assert violations(page) == []
