"""Why a job does not run and what ran beside it, for programs: the same as on its page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pages.asking import ask, refused
from tests.pages.job_seed import add_job, move, no_jobs, queue_job

pytestmark = pytest.mark.usefixtures("no_jobs")

__all__ = ["no_jobs"]

SignIn = Callable[..., FlaskClient]


def test_a_job_that_waits_says_why_as_on_its_page(session: Session, sign_in: SignIn) -> None:
    holder = queue_job(session, lock="printer")
    locked = queue_job(session, lock="printer")
    ours = queue_job(session, "export", "tasks")
    move(session, holder, "doing")
    session.execute(
        text("INSERT INTO queue_pause (queue, paused_by, reason) VALUES ('tasks', 'kim', 'rest')")
    )
    session.commit()
    client = sign_in()

    found = ask(client, f"/api/jobs/{locked}/reasons")

    assert (found["job_id"], found["status"]) == (str(locked), "pending")
    reason = next(each for each in found["reasons"] if each["job_id"] == str(holder))
    assert "lets one job run at a time" in reason["sentence"]
    assert f"Look at job {holder}" in client.get(f"/jobs/{locked}").text
    reasons = ask(client, f"/api/jobs/{ours}/reasons")["reasons"]
    assert "tasks is paused by kim" in reasons[0]["sentence"]
    why = client.get(f"/jobs/{ours}").text.partition('class="why"')[2].partition("</ul>")[0]
    places = [why.index(each["sentence"]) for each in reasons]
    assert places == sorted(places)


def test_a_job_that_has_ended_has_no_reason_and_one_that_never_ran_no_company(
    session: Session, sign_in: SignIn
) -> None:
    add_job(session, 7)
    waiting = queue_job(session)
    client = sign_in()
    assert ask(client, "/api/jobs/7/reasons")["reasons"] == []
    assert ask(client, f"/api/jobs/{waiting}/beside") == {
        "job_id": str(waiting),
        "attempt_number": None,
        "since": None,
        "until": None,
        "jobs": [],
        "count": 0,
        "is_cut": False,
    }


def test_what_ran_beside_a_job_is_what_its_page_says(session: Session, sign_in: SignIn) -> None:
    add_job(session, 7)
    add_job(session, 8, task="export", minutes=5.25)
    add_job(session, 9, minutes=60)
    add_job(session, 10, "running", minutes=5.5, owner_name="ann")
    client = sign_in()

    found = ask(client, "/api/jobs/7/beside")

    said = [(each["job_id"], each["job_type"], each["is_running"]) for each in found["jobs"]]
    assert said == [("10", "mail", True), ("8", "export", False)]
    assert (found["attempt_number"], found["count"], found["is_cut"]) == (1, 2, False)
    longest, other = (each["shared_seconds"] for each in found["jobs"])
    assert longest == pytest.approx(30)
    assert 10 < other < longest
    shown = client.get("/jobs/7").text.partition('id="job-company"')[2]
    assert shown.index("/jobs/10") < shown.index("/jobs/8")
    assert "/jobs/9" not in shown.partition("</section>")[0]
    first = ask(client, "/api/jobs/7/beside", limit=1)
    assert ([each["job_id"] for each in first["jobs"]], first["count"]) == (["10"], 2)


def test_a_user_is_told_of_own_jobs_only(session: Session, sign_in: SignIn) -> None:
    add_job(session, 7, owner_name="ann")
    add_job(session, 8, owner_name="bob")
    ann = sign_in("ann", "user")
    assert ask(ann, "/api/jobs/7/beside")["jobs"] == []
    assert ask(sign_in(), "/api/jobs/7/beside")["count"] == 1
    for part in ("reasons", "beside"):
        assert refused(ann, f"/api/jobs/8/{part}") == (404, "job_id")
        assert refused(ann, f"/api/jobs/x/{part}") == (404, "job_id")
    assert refused(ann, "/api/jobs/7/beside", limit="many") == (400, "limit")
