"""What a job did and when, on its page and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import milestones
from app.core.models import Attempt
from app.pages import progress_drawing
from tests.pages.job_seed import add_job, no_jobs

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

SignIn = Callable[..., FlaskClient]


def reach(session: Session, job_id: int, written: Any) -> None:
    """What the worker wrote of the job's attempt; commits."""
    session.execute(
        text("UPDATE attempt SET milestones = CAST(:written AS jsonb) WHERE job_id = :id"),
        {"id": job_id, "written": json.dumps(written)},
    )
    session.commit()


def began(session: Session, job_id: int) -> float:
    at: datetime = session.execute(
        text("SELECT started_at FROM attempt WHERE job_id = :id"), {"id": job_id}
    ).scalar_one()
    return at.timestamp()


def test_its_steps_are_told_with_their_times_and_drawn(session: Session, sign_in: SignIn) -> None:
    job_id = add_job(session, 1)  # it ran 30 seconds
    at = began(session, job_id)
    reach(
        session,
        job_id,
        [
            {"at": at, "message": "Generating splits", "percent": 0, "done": 0},
            {"at": at + 5, "message": "Analyzing <chunks>", "percent": 20, "done": 2},
            {"at": at + 15, "message": "Analyzing <chunks>", "percent": 60, "done": 6},
            {"at": at + 20, "message": "Writing", "percent": 100, "done": 10},
        ],
    )
    client = sign_in()

    page = client.get(f"/jobs/{job_id}").get_data(as_text=True)

    assert "Progress history" in page
    assert "Analyzing &lt;chunks&gt;" in page
    rows = page.split('class="needs steps"')[1].split("<tbody>")[1].split("</tbody>")[0]
    took = [row.split('class="figure">')[1].split("<")[0] for row in rows.split("<tr")[1:]]
    assert took == ["5.0 s", "15.0 s", "10.0 s"]
    assert "Progress over 30.0 s: from 0 to 100 %, half of it after 15.0 s" in page
    history = client.get(f"/api/jobs/{job_id}/history").get_json()
    reached = history["attempts"][0]["milestones"]
    assert [(each["message"], each["percent"], each["items_processed"]) for each in reached] == [
        ("Generating splits", 0, 0),
        ("Analyzing <chunks>", 20, 2),
        ("Analyzing <chunks>", 60, 6),
        ("Writing", 100, 10),
    ]


def test_a_job_that_said_nothing_has_no_empty_history(session: Session, sign_in: SignIn) -> None:
    job_id = add_job(session, 1)
    assert "Progress history" not in sign_in().get(f"/jobs/{job_id}").get_data(as_text=True)


@pytest.mark.parametrize(
    "written",
    [
        {"at": 1},
        "text",
        [1, None, [], {"at": "x"}, {"at": 1e300}, {"message": "m"}, {"at": True, "percent": "9"}],
        [{"at": 1, "message": ["m"], "percent": -(10**30), "done": {}}],
    ],
)
def test_what_is_no_milestone_is_no_fault(session: Session, sign_in: SignIn, written: Any) -> None:
    job_id = add_job(session, 1)
    reach(session, job_id, written)
    client = sign_in()
    assert client.get(f"/jobs/{job_id}").status_code == 200
    assert client.get(f"/api/jobs/{job_id}/history").status_code == 200


def test_the_last_step_of_a_running_attempt_goes_on() -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    attempt = Attempt(
        number=1,
        started_at=now - timedelta(seconds=60),
        milestones=[{"at": now.timestamp() - 40, "message": "Loading", "percent": 1, "done": 1}],
    )
    reached = milestones.read(attempt)
    (step,) = milestones.steps(attempt, reached, now)
    assert (step.message, step.seconds, step.is_current) == ("Loading", 40.0, True)
    assert progress_drawing.draw(reached, attempt.started_at, now) is None
