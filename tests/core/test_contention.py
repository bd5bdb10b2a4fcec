"""Which schedule to move so that less runs at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.core import contention, timeline_runs, users
from app.core.contention import Advice
from app.core.models import Attempt, Schedule, ScheduleFiring, User

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SINCE, UNTIL = NOON - timedelta(hours=1), NOON + timedelta(hours=3)


def run(session: Session, job_id: int, begin: float, end: float) -> None:
    """A run, in minutes after noon."""
    started_at, ended_at = (NOON + timedelta(minutes=each) for each in (begin, end))
    session.add(
        Attempt(
            job_id=job_id,
            job_created_at=started_at,
            number=1,
            task="export",
            queue="tasks",
            started_at=started_at,
            ended_at=ended_at,
            outcome="completed",
        )
    )
    session.flush()


def schedule(session: Session, name: str, *job_ids: int, owner: User | None = None) -> None:
    """A schedule of which those jobs came."""
    made = Schedule(
        owner_id=(owner or users.ensure_admin(session)).id,
        name=name,
        scopes=["submit"],
        task="export",
        trigger={"cron": "0 12 * * *"},
        missed_policy="skip",
        missed_limit=1,
        overlap_policy="allow",
    )
    session.add(made)
    session.flush()
    for place, job_id in enumerate(job_ids):
        at = NOON + timedelta(seconds=place)
        session.add(
            ScheduleFiring(schedule_id=made.id, planned_at=at, decided_at=at, job_id=job_id)
        )
    session.flush()


def advise(session: Session, owner_id: int | None = None) -> list[Advice]:
    runs = timeline_runs.read(session, since=SINCE, until=UNTIL, now=UNTIL)
    return contention.advise(session, runs, SINCE, UNTIL, owner_id)


def test_the_shortest_move_that_lowers_the_peak_is_advised(session: Session) -> None:
    run(session, 1, 0, 60)
    run(session, 2, 0, 60)
    run(session, 3, 50, 58)
    schedule(session, "backup", 3)

    assert advise(session) == [Advice("backup", minutes=10, before=3, after=2)]


def test_what_lowers_it_most_comes_first(session: Session) -> None:
    for job_id in (1, 2):
        run(session, job_id, 0, 4)
    run(session, 3, 0, 4)
    run(session, 4, 0, 4)
    schedule(session, "one", 3)
    schedule(session, "two", 1, 2)

    assert [(each.schedule, each.after) for each in advise(session)] == [("two", 2), ("one", 3)]


def test_a_move_that_would_only_make_another_peak_is_not_advised(session: Session) -> None:
    run(session, 1, -60, 180)
    run(session, 2, 0, 90)
    schedule(session, "backup", 2)

    assert advise(session) == []


def test_a_run_alone_or_too_many_to_try_have_no_advice(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(session, 1, 0, 4)
    schedule(session, "backup", 1)
    assert advise(session) == []
    run(session, 2, 0, 4)
    assert advise(session) != []
    monkeypatch.setattr(contention, "MOST_RUNS", 1)

    assert advise(session) == []


def test_a_user_is_told_of_their_own_schedules_only(session: Session) -> None:
    user = User(name="ada", role="user")
    session.add(user)
    session.flush()
    run(session, 1, 0, 4)
    run(session, 2, 0, 4)
    schedule(session, "somebody's", 1)
    schedule(session, "own", 2, owner=user)

    assert [each.schedule for each in advise(session, user.id)] == ["own"]
