"""The lanes of machines and what waits now, on the timeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.models import WorkerSample
from tests.pages import record_seed
from tests.pages.conftest import violations, wait_until_live
from tests.pages.seed import HOSTILE
from tests.pages.timeline_day import DAY, NOON, Day, busy

pytestmark = pytest.mark.browser

Open = Callable[..., Page]


def put_samples(session: Session, **figures: Any) -> None:
    """An hour from noon: half of it with one model, half with another."""
    for minutes in range(60):
        for seconds in (0, 20, 40):
            session.add(
                WorkerSample(
                    at=NOON + timedelta(minutes=minutes, seconds=seconds),
                    worker_id=UUID(int=5),
                    **{
                        "host": "gpu-1",
                        "model": "google/gemma-3-4b-it" if minutes < 30 else "Qwen/Qwen3-8B",
                        "cpu_percent": 25.0,
                        "memory_percent": 50.0,
                        "engine_cpu_percent": 20.0,
                        "engine_memory_bytes": 2_000_000_000,
                        "worker_memory_bytes": 200_000_000,
                        **figures,
                    },
                )
            )
    session.commit()


def test_the_gpu_and_the_models_that_were_loaded_have_a_lane(
    day: Day, open_page: Open, session: Session
) -> None:
    busy(day)
    put_samples(session, gpu_utilization=80.0, gpu_memory_percent=90.0)
    page = open_page(DAY)

    lane = page.get_by_role("group", name="GPU, gpu-1: 80 %, memory 90 %")
    expect(lane.locator(".busy")).to_have_attribute("d", re.compile("^M.*Z$"))
    blocks = lane.locator(".block")
    expect(blocks).to_have_count(2)
    expect(lane.locator(".block-name").first).to_have_text("gemma-3-4b-it")
    for words in ("google/gemma-3-4b-it loaded", "30 min", "GPU 80 %, memory 90 %", "engine: CPU"):
        expect(blocks.first).to_have_attribute("aria-label", re.compile(re.escape(words)))
    page.get_by_text("The machines as a table").click()
    table = page.locator("#machines-table tbody tr")
    expect(table).to_have_count(3)
    expect(table.nth(1)).to_contain_text("Qwen/Qwen3-8B")

    blocks.first.locator(".run").click()

    expect(page.locator("[name=range][value=dates]")).to_be_checked()
    expect(page.locator(".block")).to_have_count(1)


def test_without_a_gpu_the_lane_shows_the_processor_and_says_so(
    day: Day, open_page: Open, session: Session
) -> None:
    busy(day)
    put_samples(session)
    page = open_page(DAY)

    expect(page.get_by_role("group", name="CPU, no GPU is told of, gpu-1")).to_be_attached()
    expect(page.locator("#timeline")).to_contain_text("No worker tells of a GPU")
    expect(page.locator(".legend")).to_contain_text("CPU busy")
    expect(page.locator(".block").first).to_have_attribute(
        "aria-label", re.compile("engine: CPU 20 %, memory 2.0 GB")
    )
    assert (
        "CPU, no GPU"
        in page.request.get(DAY.replace("/timeline?", "/timeline/picture.svg?")).text()
    )


def test_a_machine_is_shown_where_nothing_ran(day: Day, open_page: Open, session: Session) -> None:
    put_samples(session, host=HOSTILE[:100], model=HOSTILE[:100], gpu_utilization=1.0)
    page = open_page(DAY)

    expect(page.locator(".block")).to_have_count(1)
    expect(page.locator(".empty")).to_contain_text("Nothing ran here")
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


def test_an_open_table_stays_open_when_the_page_is_refreshed(
    day: Day, open_page: Open, session: Session
) -> None:
    began = (datetime.now(UTC) - timedelta(minutes=30) - NOON).total_seconds() / 60
    day.run("export", began, began + 5)
    page = open_page("/timeline?range=1h")
    wait_until_live(page)
    page.get_by_text("The latest runs as a table").click()
    other = day.run("export", began + 1, began + 10)

    page.evaluate("htmx.trigger('#timeline', 'refresh')")

    expect(page.locator("#runs-table tbody")).to_contain_text(f"#{other.id}")
    expect(page.locator("#runs-table tbody")).to_be_visible()


def test_what_waits_now_is_an_open_bar_that_is_no_run(
    day: Day, open_page: Open, session: Session
) -> None:
    began = (datetime.now(UTC) - timedelta(minutes=30) - NOON).total_seconds() / 60
    day.run("export", began, began + 5)
    waiting = [
        record_seed.add_job(session, "pending", minutes=minutes) for minutes in (9, 20, 5, 2)
    ]
    alone = record_seed.add_job(session, "pending", minutes=30, task="reindex")
    page = open_page("/timeline?range=1h")

    lane = page.get_by_role("group", name="Export: 1 run, 4 waiting")
    expect(lane.locator(".waits")).to_have_count(3)
    expect(lane.locator(".waits").first).to_have_attribute("data-job", str(waiting[1]))
    expect(page.locator(".count").first).to_have_text(re.compile("^1 run,"))
    expect(page.get_by_role("group", name="reindex: 1 waiting")).to_be_attached()
    expect(page.locator(".legend")).to_contain_text("waits now, no run yet")
    expect(page.locator(f"#wait-{alone}")).to_have_attribute(
        "aria-label", re.compile("#.* reindex\nwaits, has not started\nsince .*\nfor 30 min")
    )

    page.locator("#plot").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"#wait-{alone}")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(rf"/jobs/{alone}$"))


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_lanes_of_machines_and_of_what_waits_are_accessible(
    day: Day, open_page: Open, session: Session, scheme: str, width: int
) -> None:
    busy(day)
    put_samples(session)
    record_seed.add_job(session, "pending", minutes=30)
    page = open_page(DAY, width=width, color_scheme=scheme)
    for table in page.locator("details.as-table summary").all():
        table.click()

    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
