"""Jobs that are due far in the future: where they wait, and how they enter the queue."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from procrastinate import exceptions
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core import jobs, waiting_jobs
from app.core.errors import Invalid
from app.core.models import Job, JobSearch, JobTransition, WaitingJob
from app.core.settings import Settings
from tests.conftest import ROOT, process_environment, wait_until

NEXT_WEEK = timedelta(days=7)

MOVER = """
from sqlalchemy.orm import Session
from app.core import waiting_jobs
from app.core.db import make_engine
from app.core.settings import load_settings
with Session(make_engine(load_settings(), "mover")) as session:
    print(flush=True)
    while waiting_jobs.enter_due(session, chunk=7):
        pass
"""


def defer(session: Session, after: timedelta = NEXT_WEEK, **options: object) -> int:
    job_id = jobs.defer(
        session,
        "export",
        {"what": "jobs", "user": "mia"},
        queue="tasks",
        schedule_at=datetime.now(UTC) + after,
        **options,  # type: ignore[arg-type]
    )
    session.commit()
    return job_id


def queued(session: Session) -> list[int]:
    rows = session.execute(text("SELECT id FROM procrastinate_jobs ORDER BY id"))
    return [row.id for row in rows]


def make_due(session: Session) -> None:
    session.execute(update(WaitingJob).values(due_at=datetime.now(UTC)))
    session.commit()


def test_a_job_for_next_week_is_recorded_but_not_in_the_queue(session: Session) -> None:
    job_id = defer(session, priority=3, lock="a", owner_name="ben")
    assert queued(session) == []
    job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
    assert (job.status, job.task, job.queue, job.priority) == ("pending", "export", "tasks", 3)
    assert (job.lock, job.owner_name, job.arguments["what"]) == ("a", "ben", "jobs")
    assert job.scheduled_at is not None
    words = session.scalar(select(JobSearch.words).where(JobSearch.job_id == job_id))
    assert words is not None
    assert "ben" in words


def test_a_job_within_the_horizon_goes_straight_into_the_queue(session: Session) -> None:
    job_id = defer(session, timedelta(seconds=30))
    assert queued(session) == [job_id]
    assert session.scalar(select(WaitingJob)) is None


def test_a_rolled_back_defer_leaves_nothing(session: Session) -> None:
    jobs.defer(session, "export", {}, queue="q", schedule_at=datetime.now(UTC) + NEXT_WEEK)
    session.rollback()
    assert session.scalar(select(WaitingJob)) is None
    assert session.scalar(select(Job)) is None


def test_a_job_enters_the_queue_with_everything_it_was_deferred_with(session: Session) -> None:
    job_id = defer(session, priority=-2, lock="l", queueing_lock="q")
    assert waiting_jobs.enter_due(session) == 0
    assert waiting_jobs.enter_due(session, horizon_seconds=8 * 86_400) == 1
    row = session.execute(
        text(
            "SELECT id, task_name, queue_name, priority, lock, queueing_lock, args, status::text,"
            " scheduled_at > clock_timestamp() AS is_later FROM procrastinate_jobs"
        )
    ).one()
    assert tuple(row) == (
        job_id,
        "export",
        "tasks",
        -2,
        "l",
        "q",
        {"what": "jobs", "user": "mia"},
        "todo",
        True,
    )
    assert session.scalar(select(WaitingJob)) is None
    assert len(session.scalars(select(Job)).all()) == 1
    assert session.scalar(select(JobTransition)) is None


def test_workers_are_notified_when_a_job_enters_the_queue(session: Session) -> None:
    defer(session)
    make_due(session)
    connection = session.connection().connection.driver_connection
    assert connection is not None
    session.execute(text("LISTEN procrastinate_any_queue_v1"))
    session.commit()
    waiting_jobs.enter_due(session)
    assert session.connection().connection.driver_connection is connection
    heard = next(iter(connection.notifies(timeout=60, stop_after=1)))
    assert '"job_inserted"' in heard.payload


def test_a_waiting_job_can_be_cancelled(session: Session) -> None:
    job_id = defer(session)
    assert jobs.cancel_waiting(session, job_id)
    session.commit()
    job = session.execute(select(Job)).scalar_one()
    assert (job.status, job.ended_at is not None) == ("cancelled", True)
    told = session.execute(select(JobTransition)).scalar_one()
    assert (told.from_status, told.to_status) == ("pending", "cancelled")
    assert waiting_jobs.enter_due(session, horizon_seconds=8 * 86_400) == 0
    assert not jobs.cancel_waiting(session, job_id)


def test_a_job_that_has_entered_the_queue_can_still_be_cancelled(session: Session) -> None:
    job_id = defer(session)
    waiting_jobs.enter_due(session, horizon_seconds=8 * 86_400)
    assert jobs.cancel_waiting(session, job_id)
    session.commit()
    assert session.execute(select(Job)).scalar_one().status == "cancelled"


def test_a_second_job_with_the_same_queueing_lock_is_refused(session: Session) -> None:
    defer(session, queueing_lock="nightly")
    with pytest.raises(exceptions.AlreadyEnqueued):
        defer(session, queueing_lock="nightly")
    session.rollback()
    with pytest.raises(exceptions.AlreadyEnqueued):
        jobs.defer(session, "export", {}, queue="tasks", queueing_lock="nightly")


def test_a_queue_that_could_not_be_notified_is_refused_at_once(session: Session) -> None:
    with pytest.raises(Invalid):
        jobs.defer(session, "export", {}, queue="q" * 41, schedule_at=datetime.now(UTC) + NEXT_WEEK)


def test_a_job_whose_queueing_lock_is_held_waits_until_it_is_free(session: Session) -> None:
    defer(session, queueing_lock="nightly")
    other = defer(session)
    make_due(session)
    # A program that knows nothing of our table took the lock meanwhile.
    session.execute(
        text(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
            " VALUES ('q', 't', 'nightly')"
        )
    )
    session.commit()
    assert waiting_jobs.enter_due(session) == 1
    assert other in queued(session)
    session.execute(text("UPDATE procrastinate_jobs SET status = 'cancelled'"))
    session.commit()
    assert waiting_jobs.enter_due(session) == 1


@pytest.mark.faults
def test_each_job_enters_once_with_two_movers_of_which_one_is_killed(
    session: Session, settings: Settings
) -> None:
    ids = [
        jobs.defer(
            session, "export", {"i": i}, queue="q", schedule_at=datetime.now(UTC) + NEXT_WEEK
        )
        for i in range(1500)
    ]
    session.commit()
    make_due(session)
    movers = [
        subprocess.Popen(
            [sys.executable, "-c", MOVER],
            cwd=ROOT,
            env=process_environment(settings),
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        wait_until(lambda: len(queued(session)) > 100, "some have moved")
        movers[0].send_signal(signal.SIGKILL)
        assert movers[1].wait(60) == 0
    finally:
        for mover in movers:
            mover.kill()
            mover.wait()
            assert mover.stdout is not None
            mover.stdout.close()
    session.rollback()

    def enter_rest() -> bool:
        waiting_jobs.enter_due(session)  # not what the killed one's connection still holds
        return session.scalar(select(WaitingJob)) is None

    wait_until(enter_rest, "nothing waits any more")
    assert queued(session) == sorted(ids)
    assert len(session.scalars(select(Job.id)).all()) == len(ids)
    assert session.scalar(select(JobTransition)) is None
