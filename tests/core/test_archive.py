"""Which rows leave Procrastinate's tables when they are finished, and which stay."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core import batches, recovery, users
from app.core.archive import Archive, release_workers
from app.core.models import Adoption, Attempt, Batch, Job, JobTransition
from app.core.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"archive_after_seconds": 0.0, "archive_rows": 3})


@pytest.fixture
def archive(settings: Settings, session: Session) -> Callable[[], int]:
    """Walks to the table's end; the next walk begins anew."""
    walk = Archive(settings)
    return lambda: walk.run(session)


def worker(session: Session) -> int:
    row = session.execute(text("SELECT worker_id FROM procrastinate_register_worker_v1()"))
    return int(row.scalar_one())


def add(session: Session, status: str = "succeeded", task: str = "export") -> int:
    """A job that came to this status the usual way."""
    job_id: int = session.execute(
        text(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', :t) RETURNING id"
        ),
        {"t": task},
    ).scalar_one()
    if status in ("doing", "succeeded", "failed"):
        session.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing', worker_id = :w WHERE id = :id"),
            {"w": worker(session), "id": job_id},
        )
    if status in ("succeeded", "failed"):
        session.execute(
            text(
                "SELECT procrastinate_finish_job_v1("
                ":id, CAST(:status AS procrastinate_job_status), false)"
            ),
            {"id": job_id, "status": status},
        )
    if status == "cancelled":
        session.execute(
            text("SELECT procrastinate_cancel_job_v1(:id, false, false)"), {"id": job_id}
        )
    session.commit()
    return job_id


def queued(session: Session) -> list[int]:
    rows = session.execute(text("SELECT id FROM procrastinate_jobs ORDER BY id"))
    return [row.id for row in rows]


def test_finished_rows_leave_with_their_events_and_stay_in_the_record(
    session: Session, archive: Callable[[], int]
) -> None:
    ids = [add(session, status) for status in ("succeeded", "failed", "cancelled") * 3]
    open_ones = [add(session, "todo"), add(session, "doing")]
    assert archive() == len(ids)
    assert queued(session) == open_ones
    events = session.execute(text("SELECT DISTINCT job_id FROM procrastinate_events ORDER BY 1"))
    assert [row.job_id for row in events] == open_ones
    rows = session.execute(select(Job.status).where(Job.id.in_(ids)).order_by(Job.id))
    assert [row.status for row in rows] == ["completed", "failed", "cancelled"] * 3
    assert len(session.scalars(select(Attempt)).all()) == 7
    told = session.scalars(select(JobTransition.details)).all()
    assert "its row was deleted" not in told


def test_a_row_stays_until_it_is_old_enough(session: Session, settings: Settings) -> None:
    add(session)
    young = settings.model_copy(update={"archive_after_seconds": 600.0})
    assert Archive(young).run(session) == 0
    session.execute(text("UPDATE job SET ended_at = ended_at - interval '11 minutes'"))
    session.commit()
    assert Archive(young).run(session) == 1


def test_a_row_whose_end_is_not_recorded_stays(
    session: Session, archive: Callable[[], int]
) -> None:
    unknown, running = add(session), add(session)
    session.execute(text("DELETE FROM job WHERE id = :id"), {"id": unknown})
    session.execute(update(Job).where(Job.id == running).values(status="running", ended_at=None))
    session.commit()
    assert archive() == 0
    assert queued(session) == [unknown, running]


def test_rows_of_other_tasks_leave_only_where_that_is_wanted(
    session: Session, settings: Settings, archive: Callable[[], int]
) -> None:
    add(session, task="theirs")
    assert archive() == 0
    wanted = settings.model_copy(update={"archive_foreign": True})
    assert Archive(wanted).run(session) == 1


def test_an_adopted_apps_rows_stay_even_under_the_name_of_a_task_of_ours(
    session: Session, settings: Settings, archive: Callable[[], int]
) -> None:
    session.add(Adoption(id=1))
    session.commit()
    ours = add(session, task="cleanup")
    theirs = add(session, task="cleanup")
    session.execute(update(Job).where(Job.id == theirs).values(created_by="shop"))
    session.commit()
    wanted = settings.model_copy(update={"archive_foreign": True})
    assert Archive(wanted).run(session) == 1
    assert ours not in queued(session)
    assert queued(session) == [theirs]
    session.execute(update(Adoption).values(may_archive=True))
    session.commit()
    assert archive() == 1


def test_a_row_that_another_session_holds_is_left_for_later(
    session: Session, settings: Settings, archive: Callable[[], int]
) -> None:
    held, free = add(session), add(session)
    with psycopg.connect(settings.database_url) as other:
        other.execute("SELECT FROM procrastinate_jobs WHERE id = %s FOR UPDATE", [held])
        assert archive() == 1
        assert free not in queued(session)
    assert archive() == 1


def test_a_run_goes_on_where_the_last_one_ended(session: Session, settings: Settings) -> None:
    for _ in range(7):
        add(session)
    walk = Archive(settings)
    assert [walk.run(session, pages=1) for _ in range(4)] == [3, 3, 1, 0]
    assert queued(session) == []


def open_batch(session: Session, job_id: int) -> Batch:
    batch = Batch(
        id="batch_1",
        owner_id=users.ensure_admin(session).id,
        input_file_id="file-1",
        endpoint="/v1/completions",
        completion_window="24h",
        fingerprint="",
        status="in_progress",
        model="m",
        job_id=job_id,
        expires_at=text("clock_timestamp() + interval '1 day'"),
    )
    session.add(batch)
    session.commit()
    return batch


def test_an_open_batchs_ended_job_stays_until_the_batch_is_settled(
    session: Session, archive: Callable[[], int]
) -> None:
    job_id = add(session, "cancelled", task=batches.TASK)
    batch = open_batch(session, job_id)
    assert archive() == 0
    assert recovery.settle_batches(session) == 1
    # That it was cancelled is still known: the batch is cancelled, not run again.
    assert batch.status == "cancelling"
    assert batch.job_id != job_id
    assert archive() == 1


def test_a_final_batchs_job_leaves_and_nothing_is_deferred_for_it(
    session: Session, archive: Callable[[], int]
) -> None:
    batch = open_batch(session, add(session, task=batches.TASK))
    batch.status, batch.cancelled_at = "cancelled", batch.created_at
    session.commit()
    assert archive() == 1
    assert recovery.settle_batches(session) == 0


def test_a_batch_whose_jobs_row_is_gone_gets_another_job(session: Session) -> None:
    job_id = add(session, task=batches.TASK)
    batch = open_batch(session, job_id)
    session.execute(text("DELETE FROM procrastinate_jobs"))
    session.commit()
    assert recovery.settle_batches(session) == 1
    assert batch.job_id != job_id


def worker_ids(session: Session) -> list[int | None]:
    rows = session.execute(text("SELECT worker_id FROM procrastinate_jobs ORDER BY id"))
    return [row.worker_id for row in rows]


def test_an_ended_job_holds_no_worker_any_more(session: Session) -> None:
    for status in ("succeeded", "failed", "doing"):
        add(session, status)
    first, second, third = worker_ids(session)
    assert (first, second) == (None, None)
    assert third is not None
    session.execute(
        text("SELECT procrastinate_retry_job_v2(:id, now(), NULL, NULL, NULL)"),
        {"id": queued(session)[2]},
    )
    assert worker_ids(session)[2] is None
    # The record knows still who ran them.
    assert None not in session.scalars(select(Attempt.queue_worker_id)).all()


def test_jobs_that_ended_before_the_trigger_let_go_of_their_worker_too(session: Session) -> None:
    ids = [add(session) for _ in range(5)]
    running = add(session, "doing")
    session.execute(
        text("UPDATE procrastinate_jobs SET worker_id = :w WHERE id = ANY (:ids)"),
        {"w": worker(session), "ids": ids},
    )
    session.execute(
        text("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 hours'")
    )
    alive = worker(session)
    session.commit()
    assert release_workers(session, limit=2) == 6
    assert worker_ids(session)[:5] == [None] * 5
    left = session.execute(text("SELECT id FROM procrastinate_workers ORDER BY id")).scalars().all()
    holder = session.execute(
        text("SELECT worker_id FROM procrastinate_jobs WHERE id = :id"), {"id": running}
    ).scalar_one()
    assert left == [holder, alive]


def test_an_adopted_apps_workers_are_left_alone(session: Session) -> None:
    worker(session)
    session.execute(
        text("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 hours'")
    )
    session.add(Adoption(id=1))
    session.commit()
    assert release_workers(session) == 0
