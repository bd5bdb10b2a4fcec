"""A worker and the statistics, for programs: the same as on their pages, to the same readers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.core import rollups
from tests.pages import record_seed
from tests.pages.asking import ask, refused
from tests.pages.test_stats import forget_figures
from tests.pages.test_workers import add_worker

pytestmark = pytest.mark.usefixtures("clear_jobs", "forget_figures")

__all__ = ["forget_figures"]

SignIn = Callable[..., FlaskClient]
DAY = 24 * 60


# --- One worker


def test_a_worker_has_its_jobs_and_its_machines_lives_as_on_its_page(
    session: Session, sign_in: SignIn
) -> None:
    old = add_worker(session, "old", "stopped", started=600, stopped=300)
    new = add_worker(session, "new", started=60)
    before = record_seed.add_job(session, minutes=400, worker_name="old")
    done = record_seed.add_job(session, minutes=30, worker_name="new", run_seconds=30)
    runs = record_seed.add_job(session, "running", minutes=1, worker_name="new")
    client = sign_in()

    found = ask(client, f"/api/workers/{new}")

    assert (found["id"], found["is_alive"], found["gpu_temperature"]) == (str(new), True, 71)
    assert [each["job_id"] for each in found["jobs"]] == [str(runs), str(done)]
    assert [each["run_seconds"] for each in found["jobs"]] == [None, 30.0]
    assert [(each["name"], each["jobs"], each["is_alive"]) for each in found["lives"]] == [
        ("new", 2, True),
        ("old", 1, False),
    ]
    assert found["lives"][1]["lived_seconds"] == pytest.approx(300 * 60)
    page = client.get(f"/queue/workers/{new}").text
    assert page.index(f"/jobs/{runs}") < page.index(f"/jobs/{done}")
    assert f"/jobs/{before}" not in page
    assert "71 °C" in page
    gone = ask(client, f"/api/workers/{old}")
    assert ([each["job_id"] for each in gone["jobs"]], gone["is_alive"]) == ([str(before)], False)
    assert gone["gpu_temperature"] is None
    listed = ask(client, "/api/workers")["workers"]
    assert {name: gone[name] for name in listed[0]} in [
        {**each, "heartbeat_age_seconds": gone["heartbeat_age_seconds"]} for each in listed
    ]


def test_a_user_is_told_of_own_jobs_of_a_worker_only(session: Session, sign_in: SignIn) -> None:
    worker = add_worker(session, "w", started=60)
    mine = record_seed.add_job(session, minutes=30, worker_name="w", owner_name="ann")
    record_seed.add_job(session, minutes=30, worker_name="w", owner_name="bob")
    found = ask(sign_in("ann", "user"), f"/api/workers/{worker}")
    assert [(each["job_id"], each["user"]) for each in found["jobs"]] == [(str(mine), "ann")]
    assert found["lives"][0]["jobs"] == 1


def test_a_worker_that_nobody_knows_is_none(sign_in: SignIn) -> None:
    client = sign_in()
    assert refused(client, f"/api/workers/{uuid4()}") == (404, "worker_id")
    for unread in ("x", "..%2f", "0" * 400):
        answer = client.get(f"/api/workers/{unread}")
        assert (answer.status_code, list(answer.json or {})) == (404, ["error"])


# --- The statistics


def fill(session: Session) -> None:
    """Two days: exports were slower the day before, and one more of them failed today."""
    for number in range(6):
        record_seed.add_job(session, run_seconds=10, minutes=60, model="small")
        record_seed.add_job(session, run_seconds=40, minutes=DAY + 60 + number, model="small")
    record_seed.add_job(session, "failed", minutes=60, model="large")
    record_seed.add_job(session, "cancelled", task="import", queue="other", minutes=60)
    record_seed.add_job(session, "running", task="import", queue="other", minutes=1)
    record_seed.add_job(session, "retrying", minutes=1)


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_each_name_is_told_with_the_window_before_it(
    session: Session, sign_in: SignIn, is_rolled_up: bool
) -> None:
    fill(session)
    if is_rolled_up:
        rollups.refresh(session)
    client = sign_in()

    found = ask(client, "/api/stats")

    exports, imports = found["stats"]
    assert (exports["name"], imports["name"]) == ("export", "import")
    now, before = exports["now"], exports["before"]
    assert (now["completed"], now["failed"], before["completed"]) == (6, 1, 6)
    assert (now["average_run_seconds"], before["average_run_seconds"]) == (10.0, 40.0)
    assert now["success_rate"] == pytest.approx(6 / 7)
    assert [each["direction"] for each in exports["changes"]] == ["down", "down"]
    assert (imports["running"], exports["retrying"]) == (1, 1)
    assert imports["now"]["success_rate"] is None
    for name in ("completed", "failed", "cancelled"):
        assert sum(step[name] for step in exports["steps"]) == now[name]
    assert len(exports["steps"]) == len(found["begins"])
    assert sum(each["runs"] for each in exports["durations"]) == 6
    page = client.get("/stats").text
    for change in exports["changes"]:
        assert change["words"] in page


def test_it_is_told_by_queue_model_and_status(session: Session, sign_in: SignIn) -> None:
    fill(session)
    client = sign_in()

    def ended(by: str, **query: object) -> dict[str, int]:
        found = ask(client, "/api/stats", by=by, **query)["stats"]
        return {
            each["name"]: sum(each["now"][way] for way in ("completed", "failed", "cancelled"))
            for each in found
        }

    assert ended("queue") == {"tasks": 7, "other": 1}
    assert ended("model") == {"small": 6, "large": 1}
    said = ended("status")
    assert {name: said[name] for name in ("completed", "failed", "cancelled")} == {
        "completed": 6,
        "failed": 1,
        "cancelled": 1,
    }
    assert ended("queue", limit=1) == {"tasks": 7}
    assert ask(client, "/api/stats", by="queue", limit=1)["left_out"] == 1
    late = {"since": datetime.now(UTC) - timedelta(minutes=10)}
    assert ended("model", **late) == {}
    page = client.get("/stats?by=queue").text
    assert "other" in page


def test_a_user_is_told_of_own_figures_only(session: Session, sign_in: SignIn) -> None:
    record_seed.add_job(session, owner_name="ann")
    record_seed.add_job(session, owner_name="bob", queue="bobs")
    found = ask(sign_in("ann", "user"), "/api/stats", by="queue")["stats"]
    assert [(each["name"], each["now"]["completed"]) for each in found] == [("tasks", 1)]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"by": "user"}, "by"),
        ({"since": "soon"}, "since"),
        ({"since": "2020-01-01", "until": "2026-01-01"}, "since"),
        ({"limit": "-1"}, "limit"),
    ],
)
def test_what_cannot_be_read_of_the_statistics_is_named(
    sign_in: SignIn, query: dict[str, str], param: str
) -> None:
    assert refused(sign_in(), "/api/stats", **query) == (400, param)
