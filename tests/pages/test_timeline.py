"""The timeline, as its readers use it."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import users
from app.core.models import Job, Schedule, ScheduleFiring
from tests.api.records import Record
from tests.pages.conftest import violations, wait_until_live, wait_until_so
from tests.pages.seed import HOSTILE

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def window(since: datetime, until: datetime, **more: str) -> str:
    """The address of that stretch of time."""
    said = {
        "range": "dates",
        "from": f"{since:%Y-%m-%dT%H:%M:%S}",
        "to": f"{until:%Y-%m-%dT%H:%M:%S}",
    }
    return "/timeline?" + "&".join(f"{name}={value}" for name, value in {**said, **more}.items())


DAY = window(NOON - timedelta(hours=1), NOON + timedelta(hours=3))


class Day:
    """Runs around noon of yesterday, by minutes."""

    def __init__(self, session: Session) -> None:
        self.record = Record(session)

    def run(
        self,
        task: str,
        begin: float,
        end: float | None,
        outcome: str | None = "completed",
        **more: str | None,
    ) -> Job:
        at = [
            NOON + timedelta(minutes=minutes)
            for minutes in (begin, end if end is not None else begin)
        ]
        is_open = end is None
        job = self.record.job(
            task=task,
            status="running" if is_open else "failed" if outcome == "lost" else outcome,
            created_at=at[0] - timedelta(minutes=2),
            started_at=at[0],
            ended_at=None if is_open else at[1],
            wait_ms=120_000,
            owner_name=more.get("owner_name"),
            model=more.get("model"),
        )
        self.record.attempt(
            job,
            1,
            started_at=at[0],
            ended_at=None if is_open else at[1],
            outcome=None if is_open else outcome,
            worker_name=more.get("worker_name", "gpu-1"),
            error_type="RuntimeError" if outcome == "failed" else None,
            error_message="CUDA out of memory" if outcome == "failed" else None,
        )
        return job


@pytest.fixture
def day(session: Session) -> Iterator[Day]:
    yield Day(session)
    session.rollback()
    session.execute(text("TRUNCATE job, attempt, job_transition, job_search, schedule CASCADE"))
    session.commit()


def busy(day: Day) -> dict[str, Job]:
    """Some of everything; the export and the batch share 30 minutes."""
    return {
        "batch": day.run("run_batch", 0, 60, model="gemma-3-4b", owner_name="ada"),
        "export": day.run("export", 30, 75),
        "failed": day.run("backup", 80, 95, "failed"),
        "cancelled": day.run("cleanup", -20, -12, "cancelled"),
        "second": day.run("run_batch", 50, 110, model="qwen3-8b", owner_name="ben"),
        "short": day.run("cleanup", 100, 100.02),
    }


def test_each_run_is_a_bar_that_says_all_about_it(open_page: Open, day: Day) -> None:
    jobs = busy(day)
    page = open_page(DAY)

    expect(page.locator(".lane")).to_have_count(4)
    expect(page.locator(".bar")).to_have_count(6)
    tip = page.locator(f"[data-job='{jobs['failed'].id}']").get_attribute("aria-label")
    assert tip is not None
    for words in (
        f"#{jobs['failed'].id} backup",
        "failed",
        "ran 15 min 00 s",
        "waited 2 min 00 s",
        "CUDA out of memory",
    ):
        assert words in tip
    expect(page.locator(f"[data-job='{jobs['failed'].id}'] text")).to_contain_text("✕")
    page.locator(f"[data-job='{jobs['export'].id}'] .run").hover()
    expect(page.get_by_role("tooltip")).to_contain_text(f"#{jobs['export'].id} export")

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
    open_page: Open, day: Day, lanes: str, names: list[str]
) -> None:
    busy(day)
    page = open_page(f"{DAY}&lanes={lanes}")

    labels = [each.get_attribute("aria-label") for each in page.locator(".lane").all()]

    assert [str(label).partition(":")[0] for label in labels] == names


def test_a_pair_of_types_shows_when_both_ran(open_page: Open, day: Day) -> None:
    busy(day)
    page = open_page(DAY)

    page.get_by_role(
        "link", name=re.compile("^export and run_batch: 2 overlaps, 55 min 00 s")
    ).first.click()

    expect(page.locator(".band-words")).to_have_text("both ran for 45 min 00 s")
    expect(page.locator("rect.band:not(.key)")).to_have_count(1)
    expect(page).to_have_url(re.compile("pair=export&with=run_batch"))
    page.reload()
    expect(page.locator(".band-words")).to_have_text("both ran for 45 min 00 s")
    page.get_by_role("link", name="Clear export and run_batch").click()
    expect(page.locator(".band-words")).to_have_count(0)


def test_what_ran_beside_a_job_is_listed_by_the_time_in_common(open_page: Open, day: Day) -> None:
    jobs = busy(day)
    page = open_page(f"{DAY}&job={jobs['export'].id}")

    rows = page.get_by_role("region", name="What ran beside #").locator("tbody tr")

    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text(f"#{jobs['batch'].id}")
    expect(rows.nth(0)).to_contain_text("30 min 00 s")
    expect(rows.nth(1)).to_contain_text("25 min 00 s")
    expect(page.locator(f".bar.chosen[data-job='{jobs['export'].id}']")).to_have_count(1)


def test_a_jobs_page_leads_to_the_time_in_which_it_ran(open_page: Open, day: Day) -> None:
    jobs = busy(day)
    page = open_page(f"/jobs/{jobs['export'].id}")

    page.get_by_role("link", name="See it on the timeline").click()

    expect(page.locator(".band-words")).to_have_text(
        re.compile(rf"^#{jobs['export'].id} ran for 45 min 00 s$")
    )
    expect(page).to_have_url(re.compile(f"range=dates.*job={jobs['export'].id}"))


def test_a_stretch_is_chosen_by_dragging_and_the_way_back_is_kept(
    open_page: Open, day: Day
) -> None:
    jobs = busy(day)
    page = open_page(DAY)
    box = page.locator("#plot svg").bounding_box()
    assert box is not None
    unit = box["width"] / 1150

    # From 11:00 to 15:00: a quarter of the plot is an hour.
    page.mouse.move(box["x"] + unit * (150 + 530), box["y"] + box["height"] - 6)
    page.mouse.down()
    page.mouse.move(box["x"] + unit * (150 + 700), box["y"] + box["height"] - 6, steps=4)
    page.mouse.up()

    expect(page.locator(".bar")).to_have_count(4)
    expect(page.locator(f"[data-job='{jobs['batch'].id}']")).to_have_count(0)
    expect(page.locator("[name=range][value=dates]")).to_be_checked()
    page.go_back()
    expect(page.locator(".bar")).to_have_count(6)


def test_the_wheel_zooms_with_control_and_scrolls_without(open_page: Open, day: Day) -> None:
    busy(day)
    page = open_page(DAY)
    before = page.locator("#timeline").get_attribute("data-since")
    page.locator("#plot svg").hover(position={"x": 600, "y": 80})

    page.mouse.wheel(0, 40)
    assert page.url.endswith(DAY)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")

    wait_until_so(page, f"document.getElementById('timeline').dataset.since > '{before}'")


def test_the_keys_walk_from_run_to_run_and_zoom(open_page: Open, day: Day) -> None:
    jobs = busy(day)
    page = open_page(DAY)
    page.locator("#plot").focus()

    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-job='{jobs['failed'].id}']")).to_be_focused()  # of the first lane
    expect(page.get_by_role("tooltip")).to_contain_text("CUDA out of memory")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f"[data-job='{jobs['cancelled'].id}']")).to_be_focused()
    page.keyboard.press("+")
    expect(page.locator(".bar")).to_have_count(5)  # 12:00 to 14:00
    page.locator("#plot").focus()
    page.keyboard.press("-")
    expect(page.locator(".bar")).to_have_count(6)
    page.locator("#plot").focus()
    page.keyboard.press("0")
    expect(page.locator("[name=range][value='24h']")).to_be_checked()


def test_a_running_job_grows_and_keeps_the_focus(
    open_page: Open, session: Session, day: Day
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


def test_it_says_which_schedule_to_move_so_that_less_runs_at_once(
    open_page: Open, session: Session, day: Day
) -> None:
    day.run("run_batch", 0, 60)
    day.run("export", 0, 60)
    backup = day.run("backup", 50, 58)
    schedule = Schedule(
        owner_id=users.ensure_admin(session).id,
        name="nightly backup",
        scopes=["submit"],
        task="backup",
        trigger={"cron": "50 12 * * *"},
        missed_policy="skip",
        missed_limit=1,
        overlap_policy="allow",
    )
    session.add(schedule)
    session.flush()
    session.add(
        ScheduleFiring(schedule_id=schedule.id, planned_at=NOON, decided_at=NOON, job_id=backup.id)
    )
    session.commit()

    page = open_page(DAY)

    expect(page.locator(".advice li")).to_have_text(
        "Start nightly backup 10 min later: at most 2 instead of 3 would have run at once."
    )


def test_a_hundred_thousand_runs_are_strips_that_say_how_many(
    open_page: Open, session: Session, day: Day
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT number, at, 1, 'type ' || number % 25, 'tasks', at,"
            "  at + number % 37 * interval '1 second',"
            "  CASE WHEN number % 50 = 0 THEN 'failed' ELSE 'completed' END"
            " FROM generate_series(1, 100000) AS number, LATERAL (SELECT CAST(:noon AS timestamptz)"
            "  - interval '50 minutes' + number * interval '0.12 seconds' AS at) AS begun"
        ),
        {"noon": NOON},
    )
    session.commit()

    page = open_page("/")
    answer = page.request.get(DAY)

    assert answer.ok
    assert len(gzip.compress(answer.body())) < 150_000
    assert answer.text().count('class="bar ') == 0
    page.goto(DAY)
    expect(page.locator(".count").first).to_contain_text("100,000 runs")
    expect(page.locator(".lane")).to_have_count(25)
    expect(page.locator(".strip").first).to_have_attribute("aria-label", re.compile("runs here"))


def test_what_still_runs_has_run_until_now_in_any_window(
    open_page: Open, session: Session, day: Day
) -> None:
    job = day.run("export", -60, None)

    page = open_page(window(NOON, NOON + timedelta(hours=1)))

    tip = page.locator(f"[data-job='{job.id}']").get_attribute("aria-label")
    assert tip is not None
    assert "has not ended" in tip
    assert "ran 1 h" not in tip


def test_a_strip_of_a_short_window_leads_into_its_slice(
    open_page: Open, session: Session, day: Day
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, started_at, ended_at,"
            " outcome) SELECT number, CAST(:noon AS timestamptz), 1, 'mail', 'q',"
            " CAST(:noon AS timestamptz) + number % 60 * interval '1 second',"
            " CAST(:noon AS timestamptz) + number % 60 * interval '1 second' + interval '5 seconds',"
            " 'completed' FROM generate_series(1, 3000) AS number"
        ),
        {"noon": NOON},
    )
    session.commit()
    page = open_page(window(NOON, NOON + timedelta(seconds=60)))
    expect(page.locator(".strip")).not_to_have_count(0)

    links = [strip.get_attribute("href") for strip in page.locator(".strip").all()[:8]]

    assert [page.request.get(str(link)).status for link in links] == [200] * len(links)


def test_of_thousands_of_lanes_the_busiest_are_shown_and_the_others_are_one(
    open_page: Open, session: Session, day: Day
) -> None:
    session.execute(
        text(
            "INSERT INTO attempt (job_id, job_created_at, number, task, queue, worker_name,"
            " started_at, ended_at, outcome) SELECT number, CAST(:noon AS timestamptz), 1, 'mail',"
            " 'q', 'w' || number % 3000, CAST(:noon AS timestamptz) + number * interval '1 second',"
            " CAST(:noon AS timestamptz) + number * interval '1 second', 'completed'"
            " FROM generate_series(1, 6000) AS number"
        ),
        {"noon": NOON},
    )
    session.commit()

    page = open_page(f"{DAY}&lanes=worker")

    expect(page.locator(".lane")).to_have_count(31)
    expect(page.locator(".lane").last).to_have_attribute(
        "aria-label", re.compile("^2970 more: 5,940 runs")
    )


def test_on_a_narrow_screen_the_newest_is_seen_and_the_lanes_names_stay_through_a_refresh(
    open_page: Open, session: Session, day: Day
) -> None:
    day.run("export", (datetime.now(UTC) - timedelta(minutes=5) - NOON).total_seconds() / 60, None)
    page = open_page("/timeline?range=1h", width=390)
    wait_until_live(page)
    name = page.locator(".labels text", has_text="export")
    expect(name).to_be_in_viewport()
    expect(page.locator(".bar .run")).to_be_in_viewport()
    day.run("export", (datetime.now(UTC) - timedelta(minutes=9) - NOON).total_seconds() / 60, None)

    page.evaluate("htmx.trigger('#timeline', 'refresh')")

    expect(page.locator(".bar")).to_have_count(2)
    expect(name).to_be_in_viewport()


def test_the_picture_and_the_runs_are_taken_along(open_page: Open, day: Day) -> None:
    busy(day)
    page = open_page(DAY)

    with page.expect_download() as svg:
        page.get_by_role("link", name="SVG").click()
    picture = svg.value.path().read_text()
    with page.expect_download() as table:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(table.value.path().read_text())))
    with page.expect_download() as png:
        page.get_by_role("button", name="PNG").click()

    assert picture.count('class="bar ') == 6
    assert "<style>" in picture
    assert len(rows) == 6
    assert [rows[1][name] for name in ("attempt", "type", "status", "ended_at", "seconds")] == [
        "1",
        "run_batch",
        "completed",
        (NOON + timedelta(hours=1)).isoformat(),
        "3600.0",
    ]
    assert png.value.path().read_bytes().startswith(b"\x89PNG")


def test_nothing_that_a_name_says_is_obeyed(open_page: Open, day: Day) -> None:
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


def test_an_empty_window_says_whether_anything_hides_it(open_page: Open, day: Day) -> None:
    page = open_page("/timeline")
    expect(page.locator(".empty")).to_contain_text("flask tasks run cleanup")
    busy(day)

    page = open_page("/timeline?type=nothing")

    expect(page.locator(".empty")).to_contain_text("nothing ran in this window")
    page.get_by_role("link", name="Show the last 24 hours").click()
    expect(page.locator(".empty")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_timeline_is_accessible(open_page: Open, day: Day, scheme: str, width: int) -> None:
    busy(day)
    page = open_page(f"{DAY}&pair=export&with=run_batch", width=width, color_scheme=scheme)

    assert violations(page) == []
