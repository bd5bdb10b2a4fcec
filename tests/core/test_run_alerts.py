"""Alerts of schedules: runs that are late, and those that were missed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import users
from app.core.models import ScheduleFiring
from tests.core.alert_seed import Look, add_job, add_rule, after, types


def add_schedule(session: Session, name: str = "nightly", due: float = 3600, **more: Any) -> int:
    values = {"task": "mail", "queue": "q", "jitter": 0.0, **more}
    number: int = session.execute(
        text(
            "INSERT INTO schedule (owner_id, name, scopes, task, queue, trigger, missed_policy,"
            " missed_limit, overlap_policy, jitter_seconds, next_planned_at, next_due_at)"
            " VALUES (:owner, :name, '{}', :task, :queue, '{}', 'skip', 1, 'skip', :jitter, :due, :due)"
            " RETURNING id"
        ),
        {"owner": users.ensure_admin(session).id, "name": name, "due": after(due), **values},
    ).scalar_one()
    session.commit()
    return number


def add_firing(session: Session, schedule_id: int, planned: float, **said: Any) -> None:
    values = {"decided_at": after(planned), "planned_runs": 1, **said}
    session.add(ScheduleFiring(schedule_id=schedule_id, planned_at=after(planned), **values))
    session.commit()


def test_a_schedule_about_which_nothing_was_done_is_late(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=300)
    add_schedule(session, due=-200)
    assert look() == []
    (event,) = look(150)
    assert event["data"]["since"] == int(after(-200).timestamp())
    assert ": 5 min 50 s, nightly (the limit is 5 min)" in event["data"]["text"]
    session.execute(
        text("UPDATE schedule SET next_planned_at = :at, next_due_at = :at"), {"at": after(999)}
    )
    session.commit()
    assert types(look(160)) == ["alert.resolved"]


def test_a_schedule_whose_job_still_waits_is_late_until_it_starts(
    session: Session, look: Look
) -> None:
    add_rule(session, "late_run", threshold=300)
    add_firing(session, add_schedule(session), -400, job_id=7)
    add_job(session, 7, created_at=after(-400))
    (event,) = look()
    assert event["data"]["job_id"] == "7"
    session.execute(text("UPDATE job SET status = 'running', started_at = :at"), {"at": after(5)})
    session.commit()
    assert types(look(10)) == ["alert.resolved"]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ({}, 1),
        ({"queue": "q"}, 1),
        ({"queue": "other"}, 0),
        ({"task": "mail"}, 1),
        ({"task": "x"}, 0),
    ],
)
def test_late_runs_are_watched_of_one_queue_or_task(
    session: Session, look: Look, wanted: dict[str, str], number: int
) -> None:
    add_rule(session, "late_run", threshold=300, **wanted)
    add_schedule(session, due=-500)
    assert len(look()) == number


def test_a_built_in_tasks_schedule_is_in_its_tasks_queue(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=300, queue="tasks")
    add_schedule(session, due=-500, task="cleanup", queue=None)
    assert len(look()) == 1


def test_jitter_and_a_pause_make_no_run_late(session: Session, look: Look) -> None:
    add_rule(session, "late_run", threshold=1)
    jittery = add_schedule(session, "jittery", due=0, jitter=600.0)
    session.execute(
        text("UPDATE schedule SET next_due_at = :at WHERE id = :id"),
        {"at": after(590), "id": jittery},
    )
    paused = add_schedule(session, "paused", due=-5000)
    session.execute(
        text("UPDATE schedule SET paused_at = now(), pause_reason = 'x' WHERE id = :id"),
        {"id": paused},
    )
    session.commit()
    assert look(10) == []


def test_missed_runs_are_those_that_made_no_job_or_one_too_late(
    session: Session, look: Look
) -> None:
    add_rule(session, "missed_runs", threshold=9, window_seconds=3600)
    schedule_id = add_schedule(session)
    add_firing(session, schedule_id, -100, job_id=1)  # in time
    add_firing(session, schedule_id, -200, reason="Its job 8 has not ended.")  # its policy
    add_firing(session, schedule_id, -300, reason="12 of its jobs wait already.")  # its policy
    add_firing(session, schedule_id, -310, reason="paused by ann (a new disk)", planned_runs=600)
    add_firing(session, schedule_id, -400, job_id=2, decided_at=after(-380))  # nearly
    add_firing(session, schedule_id, -90, job_id=3, asked_by="ann", decided_at=after(-1))  # by hand
    add_firing(session, schedule_id, -9000, reason="missed")  # long ago
    add_firing(session, schedule_id, -500, reason="missed: 5 runs", planned_runs=5)
    add_firing(session, schedule_id, -600, reason="A user may have 10 jobs waiting at most.")
    assert look() == []
    add_firing(session, schedule_id, -800, job_id=4, planned_runs=3, decided_at=after(-300))
    (event,) = look()
    assert event["data"]["figure"] == 9.0
    assert ": 9 runs, nightly (the limit is 9 runs)" in event["data"]["text"]
    assert types(look(4000)) == ["alert.resolved"]
