"""Jobs that run after others: released with the last one's end, cancelled with the first that fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from app.core import dependencies, jobs, overview, tasks, users, waiting_jobs
from app.core.errors import NotFound, Refused
from app.core.models import Job, JobTransition, WaitingJob
from tests.conftest import wait_until


def defer(session: Session, *depends_on: int, **options: object) -> int:
    job_id = tasks.defer_task(
        session,
        "export",
        {},
        users.actor_of(users.ensure_admin(session)),
        depends_on=depends_on,
        settings=None,
        **options,  # type: ignore[arg-type]
    )
    session.commit()
    return job_id


def move(session: Session, job_id: int, *statuses: str) -> None:
    """As a worker would, without one."""
    for status in statuses:
        session.execute(
            text(
                "UPDATE procrastinate_jobs SET status = CAST(:status AS procrastinate_job_status),"
                " attempts = attempts + CASE WHEN :status = 'doing' THEN 0 ELSE 1 END WHERE id = :id"
            ),
            {"status": status, "id": job_id},
        )
        session.commit()


def end(session: Session, job_id: int, how: str = "succeeded") -> None:
    move(session, job_id, "doing", how)


def job(session: Session, job_id: int) -> Job:
    session.expire_all()
    return session.scalars(select(Job).where(Job.id == job_id)).one()


def queued(session: Session) -> list[int]:
    rows = session.execute(
        text("SELECT id FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")
    )
    return [row.id for row in rows]


def details(session: Session, job_id: int) -> Sequence[str | None]:
    return session.scalars(
        select(JobTransition.details)
        .where(JobTransition.job_id == job_id)
        .order_by(JobTransition.id)
    ).all()


def test_a_job_waits_outside_of_the_queue_and_says_for_what(session: Session) -> None:
    first, second = defer(session), defer(session)
    after_one, after_both = defer(session, first), defer(session, first, second)

    assert queued(session) == [first, second]
    assert job(session, after_one).status == "pending"
    assert job(session, after_one).message == f"Waiting for job {first}"
    assert job(session, after_both).message == "Waiting for 2 jobs"
    assert waiting_jobs.enter_due(session) == 0


def test_a_job_enters_the_queue_in_the_transaction_that_completes_the_last_one(
    session: Session,
) -> None:
    first, second = defer(session), defer(session)
    after = defer(session, first, second, priority=5, lock="l")

    end(session, second)
    assert queued(session) == [first]
    assert job(session, after).message == f"Waiting for job {first}"

    move(session, first, "doing")
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = :i"), {"i": first}
    )
    assert queued(session) == [after]
    session.rollback()
    assert queued(session) == []
    move(session, first, "succeeded")
    assert queued(session) == [after]

    row = session.execute(
        text(
            "SELECT task_name, priority, lock, scheduled_at FROM procrastinate_jobs WHERE id = :i"
        ),
        {"i": after},
    ).one()
    assert tuple(row)[:3] == ("export", 5, "l")
    released = job(session, after)
    assert released.message is None
    assert released.scheduled_at == row.scheduled_at  # since when it has waited for a worker
    assert session.scalar(select(WaitingJob)) is None
    assert details(session, after) == [
        f"job {second}, on which it depends, completed",
        f"job {first}, on which it depends, completed",
    ]
    end(session, after)
    assert job(session, after).status == "completed"


def test_a_job_that_is_also_for_later_waits_for_both(session: Session) -> None:
    first = defer(session)
    later = datetime.now(UTC) + timedelta(days=2)
    after = defer(session, first, schedule_at=later)
    end(session, first)

    assert queued(session) == []
    assert job(session, after).scheduled_at == later
    assert waiting_jobs.enter_due(session, horizon_seconds=3 * 86_400) == 1
    assert queued(session) == [after]


@pytest.mark.parametrize(
    ("how", "said"),
    [("failed", "failed"), ("aborted", "was cancelled"), ("cancelled", "was cancelled")],
)
def test_what_depends_on_a_job_that_does_not_complete_is_cancelled_down_the_graph(
    session: Session, how: str, said: str
) -> None:
    first, other = defer(session), defer(session)
    second = defer(session, first, other)
    third = defer(session, second)
    fourth = defer(session, other)
    session.execute(text("SELECT set_config('stoker.actor', 'mia', false)"))
    if how == "cancelled":
        jobs.cancel_waiting(session, first)
        session.commit()
    else:
        end(session, first, how)

    assert [job(session, each).status for each in (second, third, fourth)] == [
        "cancelled",
        "cancelled",
        "pending",
    ]
    assert details(session, second) == [f"cancelled: job {first}, on which it depends, {said}"]
    assert details(session, third) == [
        f"cancelled: job {second}, on which it depends, was cancelled"
    ]
    assert job(session, second).message == f"Job {first}, on which it depends, {said}"
    assert job(session, second).ended_at is not None
    who = session.scalars(
        select(JobTransition.triggered_by).where(JobTransition.job_id == third)
    ).all()
    assert who == ["mia"]
    end(session, other)
    assert queued(session) == [fourth]


def test_a_cancelled_job_that_waits_takes_those_along_that_wait_for_it(session: Session) -> None:
    first = defer(session)
    second = defer(session, first)
    third = defer(session, second)

    assert jobs.cancel_waiting(session, second)
    session.commit()

    assert job(session, third).status == "cancelled"
    end(session, first)
    assert queued(session) == []


def test_a_chain_of_any_length_is_cancelled(session: Session) -> None:
    first = defer(session)
    second = defer(session, first)
    for link in (
        "INSERT INTO job (id, task, queue, is_needed)"
        " SELECT :id + n, 'export', 'tasks', true FROM generate_series(1, 2000) AS n",
        "INSERT INTO waiting_job (id, due_at, task, queue, needs)"
        " SELECT :id + n, now(), 'export', 'tasks', 1 FROM generate_series(1, 2000) AS n",
        "INSERT INTO job_dependency (job_id, needs_id)"
        " SELECT :id + n, :id + n - 1 FROM generate_series(1, 2000) AS n",
    ):
        session.execute(text(link), {"id": second})
    session.execute(text("UPDATE job SET is_needed = true"))
    session.commit()
    end(session, first, "failed")
    assert job(session, second + 2000).status == "cancelled"
    assert session.scalar(select(WaitingJob)) is None


def test_a_retry_of_an_attempt_is_no_end(session: Session) -> None:
    first = defer(session)
    after = defer(session, first)
    move(session, first, "doing", "todo")
    assert job(session, first).status == "retrying"
    assert job(session, after).status == "pending"
    end(session, first)
    assert after in queued(session)


def test_what_has_completed_counts_and_what_has_failed_is_refused(session: Session) -> None:
    good, bad, gone = defer(session), defer(session), defer(session)
    end(session, good)
    end(session, bad, "failed")
    jobs.cancel_waiting(session, gone)
    session.commit()

    after = defer(session, good)
    assert queued(session) == [after]
    for job_id, how in ((bad, "failed"), (gone, "was cancelled")):
        with pytest.raises(Refused, match=f"Job {job_id} {how}") as refusal:
            defer(session, good, job_id)
        assert refusal.value.param == "depends_on"
        session.rollback()


def test_nobody_depends_on_a_job_that_is_not_his(session: Session) -> None:
    first = defer(session)
    session.add(users.User(name="ann", role="user"))
    session.flush()
    ann = users.actor_of(users.get(session, "ann"))
    for job_id in (first, 999_999):
        with pytest.raises(NotFound, match=str(job_id)):
            tasks.defer_task(session, "export", {}, ann, depends_on=[job_id], settings=None)


def test_a_job_that_ends_while_another_is_made_to_depend_on_it_releases_it(
    session: Session, engine: object
) -> None:
    first = defer(session)
    move(session, first, "doing")
    admin = users.actor_of(users.ensure_admin(session))
    session.commit()
    after = tasks.defer_task(session, "export", {}, admin, depends_on=[first], settings=None)

    with sessionmaker(engine)() as other:  # type: ignore[call-overload]
        ends = threading.Thread(target=move, args=(other, first, "succeeded"))
        ends.start()
        wait_until(lambda: waits_for_a_lock(session), "its end waits")
        session.commit()
        ends.join()
    session.rollback()
    assert queued(session) == [after]


def test_two_that_end_at_once_release_what_depends_on_both(
    session: Session, engine: object
) -> None:
    first, second = defer(session), defer(session)
    after = defer(session, first, second)
    for job_id in (first, second):
        move(session, job_id, "doing")
    succeed = text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = :id")
    session.execute(succeed, {"id": first})

    with sessionmaker(engine)() as other:  # type: ignore[call-overload]
        ends = threading.Thread(target=move, args=(other, second, "succeeded"))
        ends.start()
        wait_until(lambda: waits_for_a_lock(session), "the second end waits")
        session.commit()
        ends.join()
    session.rollback()
    assert queued(session) == [after]


def waits_for_a_lock(session: Session) -> bool:
    # One lock table for all databases: others' tests may run beside this one.
    return bool(
        session.scalar(
            text(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
        )
    )


@pytest.mark.parametrize(
    "delete", ["DELETE FROM procrastinate_jobs", "TRUNCATE procrastinate_jobs CASCADE"]
)
def test_a_queue_that_is_emptied_cancels_what_depends_on_its_jobs(
    session: Session, delete: str
) -> None:
    first = defer(session)
    after = defer(session, first)
    session.execute(text(delete))
    session.commit()
    assert job(session, after).status == "cancelled"
    assert session.scalar(select(WaitingJob)) is None


def test_a_job_whose_queueing_lock_is_held_enters_when_it_is_free(session: Session) -> None:
    first = defer(session)
    admin = users.actor_of(users.ensure_admin(session))
    needed = dependencies.hold(session, [first], admin.owner_name)
    after = jobs.defer(session, "export", {}, queue="tasks", queueing_lock="q", needs=1)
    dependencies.add(session, after, needed)
    session.execute(
        text(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
            " VALUES ('q', 't', 'q')"
        )
    )
    session.commit()
    end(session, first)
    assert after not in queued(session)
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'cancelled' WHERE queue_name = 'q'")
    )
    session.commit()
    assert waiting_jobs.enter_due(session) == 1
    assert queued(session) == [after]


def test_the_end_of_a_job_does_not_fail_where_its_follower_can_not_enter(
    session: Session,
) -> None:
    first = defer(session)
    after = defer(session, first)
    session.execute(
        text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RAISE EXCEPTION ''no more jobs''; END'"
        )
    )
    session.execute(
        text(
            "CREATE TRIGGER refuse BEFORE INSERT ON procrastinate_jobs"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    )
    session.commit()
    end(session, first)
    assert job(session, first).status == "completed"
    assert session.scalars(select(WaitingJob.id)).all() == [after]

    session.execute(text("DROP TRIGGER refuse ON procrastinate_jobs"))
    session.commit()
    assert waiting_jobs.enter_due(session) == 1


def test_a_job_that_others_depend_on_may_be_deferred_in_the_same_transaction(
    session: Session,
) -> None:
    admin = users.actor_of(users.ensure_admin(session))
    first = tasks.defer_task(session, "export", {}, admin, settings=None)
    after = tasks.defer_task(session, "export", {}, admin, depends_on=[first], settings=None)
    session.commit()
    end(session, first)
    assert queued(session) == [after]


def test_jobs_deferred_after_one_was_released_in_a_transaction_are_recorded(
    session: Session,
) -> None:
    first = defer(session)
    after = defer(session, first)
    move(session, first, "doing")
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = :i"), {"i": first}
    )
    new = jobs.defer(session, "export", {}, queue="tasks")
    session.commit()
    assert job(session, new).status == "pending"
    assert queued(session) == [after, new]


def test_a_job_that_waits_for_others_does_not_wait_for_a_worker_yet(session: Session) -> None:
    first = defer(session)
    after = defer(session, first)
    move(session, first, "doing")
    assert overview.count_open(session).oldest_at is None
    move(session, first, "succeeded")
    assert overview.count_open(session).oldest_at == job(session, after).scheduled_at


def test_the_graph_shows_what_is_connected(session: Session) -> None:
    first = defer(session)
    second, third = defer(session, first), defer(session, first)
    last = defer(session, second, third)
    defer(session)

    graph = dependencies.graph(session, job(session, third), None)
    assert [row.id for row in graph.nodes] == [first, second, third, last]
    assert [tuple(row) for row in graph.edges] == [
        (first, second),
        (first, third),
        (second, last),
        (third, last),
    ]
    assert not graph.has_more
    part = dependencies.graph(session, job(session, third), None, limit=3)
    assert len(part.nodes) == 3
    assert part.has_more


def test_the_graph_ends_at_what_is_somebody_elses(session: Session) -> None:
    session.add(users.User(name="ann", role="user"))
    session.flush()
    ann = users.actor_of(users.get(session, "ann"))
    hers = tasks.defer_task(session, "export", {}, ann, settings=None)
    after = defer(session, hers)
    end(session, hers)

    alone = dependencies.graph(session, job(session, hers), "ann")
    assert ([row.id for row in alone.nodes], alone.edges) == ([hers], [])
    whole = dependencies.graph(session, job(session, hers), None)
    assert [row.id for row in whole.nodes] == [hers, after]
