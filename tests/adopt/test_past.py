"""What the record says of jobs that are older than itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.core import partitions
from app.core.adoption import adopting
from app.core.adoption.past import Progress
from tests.adopt.conftest import Connection, Flask
from tests.adopt.shops import differences

TOLD = """
SELECT job.id, job.task, job.queue, job.priority, job.lock, job.queueing_lock, job.arguments,
    job.scheduled_at, job.owner_name, job.model, job.status, job.attempts, job.progress,
    job.cancel_requested_at IS NULL, job.started_at IS NULL, job.attempt_started_at IS NULL,
    job.ended_at IS NULL, job.run_ms IS NULL, job.wait_ms IS NULL, job_search.words,
    (SELECT array_agg((number, outcome, task, queue, ended_at IS NULL)::text ORDER BY number)
     FROM attempt WHERE job_id = job.id),
    (SELECT array_agg((from_status, to_status, details)::text ORDER BY at, id)
     FROM job_transition WHERE job_id = job.id)
FROM job JOIN job_search ON job_search.job_id = job.id ORDER BY job.id
"""


def defer(db: Connection, jobs: int, **columns: object) -> list[int]:
    names = {"queue_name": "mails", "task_name": "mail", **columns}
    row = ", ".join(f"%({name})s" for name in names)
    rows = db.execute(
        f"INSERT INTO procrastinate_jobs ({', '.join(names)})"
        f" SELECT {row} FROM generate_series(1, {jobs}) RETURNING id".encode(),
        names,
    )
    return [id for (id,) in rows.fetchall()]


def fetch(db: Connection, id: int, worker: int | None = None) -> None:
    db.execute(
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s", [worker, id]
    )


def finish(db: Connection, id: int, status: str, *, delete: bool = False) -> None:
    db.execute("SELECT procrastinate_finish_job_v1(%s, %s, %s)", [id, status, delete])


def retry(db: Connection, id: int) -> None:
    db.execute("SELECT procrastinate_retry_job_v2(%s, now(), 3, NULL, NULL)", [id])


def lives(db: Connection) -> None:
    """Jobs with every course that Procrastinate knows."""
    row = db.execute("SELECT procrastinate_register_worker_v1()").fetchone()
    assert row is not None
    worker = row[0]
    ids = iter(
        [
            *defer(db, 13, args='{"user": "ada", "model": "tiny", "n": 1}'),
            *defer(
                db, 1, scheduled_at=datetime(2030, 1, 1, tzinfo=UTC), lock="l", queueing_lock="q"
            ),
        ]
    )
    next(ids)  # waits
    fetch(db, next(ids), worker)  # runs
    for status in ("succeeded", "failed", "aborted"):
        fetch(db, id := next(ids), worker)
        finish(db, id, status)
    db.execute("SELECT procrastinate_cancel_job_v1(%s, false, false)", [next(ids)])
    db.execute("SELECT procrastinate_cancel_job_v1(%s, true, false)", [next(ids)])
    fetch(db, id := next(ids), worker)
    db.execute("SELECT procrastinate_cancel_job_v1(%s, true, false)", [id])
    fetch(db, id := next(ids), worker)  # waits for its second try
    retry(db, id)
    fetch(db, id := next(ids), worker)  # succeeds in its third
    retry(db, id)
    fetch(db, id, worker)
    retry(db, id)
    fetch(db, id, worker)
    finish(db, id, "succeeded")
    fetch(db, id := next(ids), worker)  # had failed, runs again
    finish(db, id, "failed")
    retry(db, id)
    fetch(db, id, worker)
    fetch(db, id := next(ids), worker)  # aborted, and asked to be
    db.execute("SELECT procrastinate_cancel_job_v1(%s, true, false)", [id])
    finish(db, id, "aborted")
    finish(db, next(ids), "succeeded")  # never ran


def test_the_past_is_told_as_if_it_had_been_recorded(queue: Connection, flask: Flask) -> None:
    assert flask("adopt").exit_code == 0
    lives(queue)
    recorded = queue.execute(TOLD).fetchall()
    assert len(recorded) == 14
    assert flask("adopt", "--remove", "--yes").exit_code == 0

    assert flask("adopt").exit_code == 0

    told = queue.execute(TOLD).fetchall()
    for was, now in zip(recorded, told, strict=True):
        assert now == was
    assert queue.execute(
        "SELECT count(*) FROM attempt WHERE outcome IS NULL AND queue_worker_id IS NULL"
    ).fetchone() == (0,)


def test_the_past_has_its_own_times_and_partitions(queue: Connection, flask: Flask) -> None:
    born = datetime.now(UTC).replace(day=15) - timedelta(days=200)
    (id,) = defer(queue, 1)
    fetch(queue, id)
    finish(queue, id, "succeeded")
    for minutes, type in ((0, "deferred"), (2, "started"), (5, "succeeded")):
        queue.execute(
            "UPDATE procrastinate_events SET at = %s WHERE type = %s",
            [born + timedelta(minutes=minutes), type],
        )

    assert flask("adopt").exit_code == 0

    assert queue.execute(
        "SELECT tableoid::regclass::text, created_at, started_at, ended_at, run_ms, wait_ms FROM job"
    ).fetchall() == [
        (
            partitions.at("job", born).name,
            born,
            born + timedelta(minutes=2),
            born + timedelta(minutes=5),
            180_000,
            120_000,
        )
    ]
    assert queue.execute("SELECT DISTINCT hour FROM dirty_hour").fetchall() == [
        ((born + timedelta(minutes=5)).replace(minute=0, second=0, microsecond=0),)
    ]


def test_jobs_whose_events_are_gone_are_recorded_by_what_is_left(
    queue: Connection, flask: Flask
) -> None:
    defer(queue, 3)
    fetch(queue, 2)
    fetch(queue, 3)
    finish(queue, 3, "failed")
    queue.execute("DELETE FROM procrastinate_events WHERE job_id > 1")

    assert flask("adopt").exit_code == 0

    assert queue.execute(
        "SELECT id, status, created_at >= min(created_at) OVER () FROM job ORDER BY id"
    ).fetchall() == [(1, "pending", True), (2, "running", True), (3, "failed", True)]
    finish(queue, 2, "succeeded")
    assert queue.execute("SELECT status FROM job WHERE id = 2").fetchone() == ("completed",)


@pytest.fixture
def other(url: str) -> Iterator[Connection]:
    """The app's connection, in whose transactions things happen beside the adoption."""
    with psycopg.connect(url) as connection:
        yield connection


def test_what_changes_unseen_while_the_past_is_taken_over_comes_out_right(
    queue: Connection, other: Connection, url: str
) -> None:
    """The other's transaction begins before its jobs' chunks, and ends after them all."""
    defer(queue, 9)
    fetch(queue, 5)
    told: list[Progress] = []

    def beside(progress: Progress) -> None:
        if not told:
            assert progress.jobs == 1
            fetch(other, 1)  # starts
            fetch(other, 2)  # starts and ends
            finish(other, 2, "failed")
            fetch(other, 3)  # starts, and is to be tried again
            retry(other, 3)
            fetch(other, 4)  # starts and is deleted
            finish(other, 4, "succeeded", delete=True)
            finish(other, 5, "succeeded")
            other.execute("SELECT procrastinate_cancel_job_v1(6, true, false)")
            other.execute("UPDATE procrastinate_jobs SET priority = 9 WHERE id = 7")
        elif progress.waits_for:
            other.commit()
        told.append(progress)

    done = adopting.adopt(url, beside, chunk_jobs=1)

    assert any(progress.waits_for == (other.info.backend_pid,) for progress in told)
    assert done.is_finished
    assert (done.jobs, done.corrected) == (9, 7)
    assert differences(queue) == []
    assert queue.execute("SELECT id, status, priority FROM job ORDER BY id").fetchall() == [
        (1, "running", 0),
        (2, "failed", 0),
        (3, "retrying", 3),
        (4, "completed", 0),
        (5, "completed", 0),
        (6, "cancelled", 0),
        (7, "pending", 9),
        (8, "pending", 0),
        (9, "pending", 0),
    ]
    assert queue.execute(
        "SELECT job_id, from_status, to_status FROM job_transition ORDER BY job_id, id"
    ).fetchall() == [
        (1, "pending", "running"),
        (2, "pending", "running"),
        (2, "running", "failed"),
        (3, "pending", "running"),
        (3, "running", "retrying"),
        (4, "pending", "completed"),
        (5, "pending", "running"),
        (5, "running", "completed"),
        (6, "pending", "cancelled"),
    ]


def test_a_try_that_ends_unseen_before_the_next_one_does_not_stand_in_its_jobs_way(
    queue: Connection, other: Connection, url: str
) -> None:
    """The record holds the first try for open when the app begins the second."""
    *ids, newest = defer(queue, 4)
    for id in ids:
        fetch(queue, id)
    told: list[Progress] = []

    def beside(progress: Progress) -> None:
        if not told:
            assert progress.jobs == 1
            for id in ids:
                retry(other, id)
        elif progress.waits_for and not told[-1].waits_for:
            other.commit()
            for id in ids:
                fetch(other, id)
            finish(other, ids[0], "succeeded", delete=True)
            finish(other, ids[1], "succeeded")
            other.commit()
        told.append(progress)

    adopting.adopt(url, beside, chunk_jobs=1)

    assert differences(queue) == []
    assert queue.execute("SELECT id, status FROM job ORDER BY id").fetchall() == [
        (ids[0], "completed"),
        (ids[1], "completed"),
        (ids[2], "running"),
        (newest, "pending"),
    ]
    assert queue.execute(
        "SELECT job_id, number, outcome FROM attempt ORDER BY job_id, number"
    ).fetchall() == [
        (ids[0], 1, "failed"),
        (ids[0], 2, "deleted"),
        (ids[1], 1, "failed"),
        (ids[1], 2, "completed"),
        (ids[2], 1, "failed"),
        (ids[2], 2, None),
    ]


def test_an_adoption_that_was_broken_off_goes_on(queue: Connection, url: str) -> None:
    class PulledThePlug(Exception):
        pass

    defer(queue, 25)

    def stop(progress: Progress) -> None:
        if progress.jobs >= 10:
            raise PulledThePlug

    with pytest.raises(PulledThePlug):
        adopting.adopt(url, stop, chunk_jobs=5)
    assert queue.execute("SELECT count(*) FROM job").fetchone() == (10,)
    defer(queue, 2)
    fetch(queue, 1)

    done = adopting.adopt(url, lambda progress: None, chunk_jobs=5)

    assert done.jobs == 25
    assert differences(queue) == []
    assert queue.execute("SELECT count(*) FROM job").fetchone() == (27,)


def test_two_adoptions_at_once_are_refused(queue: Connection, url: str) -> None:
    defer(queue, 2)
    refusals = []

    def second(progress: Progress) -> None:
        with pytest.raises(adopting.Refused, match="Another `flask adopt`") as refused:
            adopting.adopt(url, lambda progress: None)
        refusals.append(refused)

    adopting.adopt(url, second, chunk_jobs=2)

    assert refusals
    assert differences(queue) == []


def test_a_queue_that_is_locked_for_long_stays_as_it_was(
    queue: Connection, other: Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting.schema, "LOCK_TRIES", 1)
    monkeypatch.setattr(adopting.schema, "LOCK_TIMEOUT_SECONDS", 0.1)
    other.execute("LOCK TABLE procrastinate_jobs IN ROW EXCLUSIVE MODE")

    with pytest.raises(adopting.schema.SchemaError, match="Another session holds a table"):
        adopting.adopt(url, lambda progress: None)

    other.rollback()
    assert queue.execute(
        "SELECT to_regclass('job'), to_regclass('alembic_version')"
    ).fetchone() == (
        None,
        None,
    )
