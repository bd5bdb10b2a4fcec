"""What a job's page draws: its way through the statuses, and the jobs that depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.dependencies import Graph
from app.core.models import Job, JobDependency, JobTransition
from app.pages import dependency_drawing, job_diagram
from app.pages.job_details import MOST_TRANSITIONS
from tests.pages import record_seed
from tests.pages.conftest import violations, wait_until_so

pytestmark = pytest.mark.usefixtures("clear_jobs")

Open = Callable[..., Page]
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
RETRIED = ("pending", "running", "retrying", "running", "retrying", "running", "completed")


class Node(NamedTuple):
    id: int
    status: str = "pending"
    task: str = "export"


class Edge(NamedTuple):
    needs_id: int
    job_id: int


def graph(*edges: tuple[int, int]) -> Any:
    ids = sorted({each for edge in edges for each in edge})
    return Graph([Node(each) for each in ids], [Edge(*edge) for edge in edges], has_more=False)  # type: ignore[misc]


def steps(*statuses: str) -> list[tuple[str, datetime, float | None]]:
    """Each of them 10 s after the one before."""
    return [
        (status, NOON + timedelta(seconds=10 * place), 10.0 if place else None)
        for place, status in enumerate(statuses)
    ]


# --- The drawings by themselves


def test_the_ways_that_were_taken_say_how_long_or_how_often() -> None:
    diagram = job_diagram.draw(steps(*RETRIED))

    taken = [way.word for way in diagram.ways if way.is_taken]
    assert sorted(taken) == ["10.0 s", "10.0 s", "2 ×", "2 ×"]
    words = {state.status: state.word for state in diagram.states if state.word}
    assert words == {
        "pending": "12:00:00",
        "running": "12:00:50, 3 times",
        "retrying": "12:00:40, 2 times",
        "completed": "12:01:00",
    }
    assert [state.status for state in diagram.states if state.is_current] == ["completed"]
    assert diagram.sentence.endswith("then running, then completed")


def test_a_way_that_is_unusual_is_drawn_too() -> None:
    diagram = job_diagram.draw(steps("pending", "running", "pending", "something new"))

    assert sum(way.is_taken for way in diagram.ways) == 3


def test_what_has_to_end_first_stands_at_the_left() -> None:
    drawing = dependency_drawing.draw(graph((1, 3), (2, 3), (3, 4), (1, 4)), 3)

    x = {box.id: box.x for box in drawing.boxes}
    assert x[1] == x[2] < x[3] < x[4]
    places = [(box.x, box.y) for box in drawing.boxes]
    assert len(set(places)) == 4
    assert len(drawing.arrows) == 4
    assert [box.id for box in drawing.boxes if box.is_own] == [3]


def test_of_very_many_jobs_the_nearest_are_drawn() -> None:
    chain = dependency_drawing.draw(graph(*pairwise(range(1, 200))), 100)
    star = dependency_drawing.draw(graph(*((1, each) for each in range(2, 102))), 1)

    assert sorted(box.id for box in chain.boxes) == list(range(85, 115))
    assert chain.count == star.count == dependency_drawing.MOST


def test_ids_that_came_again_in_a_circle_are_drawn_all_the_same() -> None:
    assert dependency_drawing.draw(graph((1, 2), (2, 1)), 1).count == 2


# --- On the page


def put_way(session: Session, job_id: int, statuses: tuple[str, ...]) -> None:
    """The job's transitions, a second each; commits."""
    job = session.query(Job).filter(Job.id == job_id).one()
    for place, (before, after) in enumerate(pairwise(statuses), start=1):
        session.add(
            JobTransition(
                job_id=job_id,
                job_created_at=job.created_at,
                at=job.created_at + timedelta(seconds=place),
                from_status=before,
                to_status=after,
            )
        )
    session.commit()


@pytest.mark.browser
def test_a_jobs_page_draws_its_way_and_lists_it(open_page: Open, session: Session) -> None:
    job_id = record_seed.add_job(session)
    put_way(session, job_id, RETRIED)

    page = open_page(f"/jobs/{job_id}")

    picture = page.get_by_role("img", name="Its statuses: pending, then running")
    expect(picture).to_be_visible()
    expect(picture.locator(".state.current")).to_contain_text("Completed")
    expect(page.locator(".path-step")).to_have_count(len(RETRIED))


@pytest.mark.browser
def test_on_a_phone_the_present_status_is_what_shows_of_the_drawing(
    open_page: Open, session: Session
) -> None:
    job_id = record_seed.add_job(session, "failed")
    put_way(session, job_id, ("pending", "running", "failed"))
    page = open_page(f"/jobs/{job_id}", width=390)
    drawing, state = page.locator(".drawing"), page.locator(".drawing .state.current")
    expect(state).to_contain_text("Failed")
    wait_until_so(page, "document.querySelector('.drawing').scrollLeft > 0")
    box, inner = drawing.bounding_box(), state.bounding_box()
    assert box is not None
    assert inner is not None
    assert box["x"] <= inner["x"]
    assert inner["x"] + inner["width"] <= box["x"] + box["width"]


@pytest.mark.browser
def test_of_a_very_long_way_the_latest_changes_are_shown(open_page: Open, session: Session) -> None:
    job_id = record_seed.add_job(session)
    put_way(session, job_id, ("pending", *("running", "retrying") * 60, "running", "completed"))

    page = open_page(f"/jobs/{job_id}")

    expect(page.locator(".path-step")).to_have_count(MOST_TRANSITIONS + 1)
    expect(page.locator(".path-between").first).to_have_text("after 1.0 s")
    expect(page.locator("section[aria-labelledby=job-path]")).to_contain_text(
        "The newest 60 changes; there were more before."
    )


@pytest.mark.browser
@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1440), ("dark", 390)], ids=("light-wide", "dark-narrow")
)
def test_the_jobs_that_depend_on_each_other_are_drawn_and_listed(
    open_page: Open, session: Session, scheme: str, width: int
) -> None:
    hostile = "<script>alert(1)</script>"
    ids = [
        record_seed.add_job(session, "completed" if place < 2 else "pending", task=task)
        for place, task in enumerate(("fetch", hostile, "train", "report"))
    ]
    for needs, job in ((0, 2), (1, 2), (2, 3)):
        session.add(JobDependency(job_id=ids[job], needs_id=ids[needs]))
    session.commit()
    page = open_page(f"/jobs/{ids[2]}", width=width, color_scheme=scheme)

    expect(page.locator(".depends .state")).to_have_count(4)
    expect(page.locator(".depends .state.current")).to_contain_text(f"#{ids[2]}")
    expect(page.locator("section[aria-labelledby=job-dependencies] tbody tr")).to_have_count(4)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width

    page.locator(".depends .state", has_text="fetch").click()

    expect(page.locator("article#job")).to_have_attribute("data-job", str(ids[0]))
    session.query(JobDependency).delete()
    session.commit()
