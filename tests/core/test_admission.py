"""What our workers fetch: nothing beyond the limits of what runs at once, in the order of the queue."""

from __future__ import annotations

import hashlib
import threading
from importlib import resources

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import admission, batches, jobs, queue
from app.core.batches import NewBatch
from app.core.models import File, User
from app.core.settings import Settings

QUEUE = "model:a"
# Of Procrastinate's own function, which sql/fetch.sql says again with one more condition.
FETCH_DIGEST = "480631692f3e84a0"


@pytest.fixture
def worker(session: Session) -> int:
    """A worker of Procrastinate's."""
    registered: int = session.execute(
        text("SELECT procrastinate_register_worker_v1()")
    ).scalar_one()
    session.commit()
    return registered


def put(session: Session, owner: str | None = "kim", queue: str = QUEUE, **options: int) -> int:
    job_id = jobs.defer(session, "export", {}, queue=queue, owner_name=owner, **options)  # type: ignore[arg-type]
    session.commit()
    return job_id


def fetch(
    session: Session, worker: int, *queues: str, per_user: int = 2, overall: int = 4
) -> int | None:
    """The job that a worker gets; None when there is none for it."""
    row = session.execute(
        text("SELECT * FROM stoker_fetch(:queues, :worker, :limited, :per_user, :overall)"),
        {
            "queues": list(queues or (QUEUE,)),
            "worker": worker,
            "limited": list(admission.LIMITED_QUEUES),
            "per_user": per_user,
            "overall": overall,
        },
    ).one()
    session.commit()
    return row.id


def end(session: Session, job_id: int) -> None:
    session.execute(
        text("SELECT procrastinate_finish_job_v1(:job_id, 'succeeded', false)"), {"job_id": job_id}
    )
    session.commit()


def test_a_users_job_beyond_the_limit_waits_and_another_users_goes_first(
    session: Session, worker: int
) -> None:
    first, second, third, fourth = [put(session) for _ in range(4)]
    other = put(session, "lee")

    assert [fetch(session, worker) for _ in range(4)] == [first, second, other, None]
    end(session, second)
    assert [fetch(session, worker) for _ in range(2)] == [third, None]
    end(session, first)
    end(session, third)
    assert fetch(session, worker) == fourth


def test_the_urgent_one_of_those_that_wait_is_next(session: Session, worker: int) -> None:
    first, second, patient = [put(session) for _ in range(3)]
    assert [fetch(session, worker) for _ in range(3)] == [first, second, None]
    urgent = put(session, priority=1)

    end(session, first)

    assert [fetch(session, worker) for _ in range(2)] == [urgent, None]
    end(session, urgent)
    assert fetch(session, worker) == patient


def test_tasks_and_batches_of_all_models_count_together(session: Session, worker: int) -> None:
    batch, task = put(session), put(session, queue="tasks")
    assert fetch(session, worker) == batch
    assert fetch(session, worker, "tasks") == task
    put(session, queue="model:b")
    put(session, queue="tasks")

    assert fetch(session, worker, "model:b") is None
    assert fetch(session, worker, "tasks") is None
    # A file is validated whatever runs, and other queues are nothing to us.
    assert fetch(session, worker, put_in(session, "batches")) is not None
    assert fetch(session, worker, put_in(session, "elsewhere")) is not None


def put_in(session: Session, queue: str) -> str:
    put(session, queue=queue)
    return queue


def test_over_all_users_no_more_than_the_limit_run(session: Session, worker: int) -> None:
    own = [put(session, owner) for owner in ("ann", "ben", "cem", None, "dan", None)]

    got = [fetch(session, worker) for _ in range(6)]

    assert got == [*own[:4], None, None]
    end(session, own[0])
    assert fetch(session, worker) == own[4]


def test_jobs_of_nobody_know_only_the_overall_limit(session: Session, worker: int) -> None:
    own = [put(session, None) for _ in range(3)]

    assert [fetch(session, worker, per_user=1) for _ in range(3)] == own


def test_without_limits_all_that_waits_runs(session: Session, worker: int) -> None:
    own = [put(session) for _ in range(5)]

    assert [fetch(session, worker, per_user=0, overall=0) for _ in range(5)] == own


def test_a_held_job_is_cancelled_as_any_other(session: Session, worker: int) -> None:
    first, second = put(session), put(session)
    assert fetch(session, worker, per_user=1) == first
    assert fetch(session, worker, per_user=1) is None

    assert jobs.cancel_waiting(session, second)
    session.commit()
    end(session, first)

    assert fetch(session, worker, per_user=1) is None


def test_two_workers_do_not_both_take_the_last_place(
    session: Session, engine: Engine, worker: int
) -> None:
    for _ in range(12):
        put(session)
    got: list[int | None] = []
    together = threading.Barrier(4, timeout=30)

    def take() -> None:
        with Session(engine) as own:
            own.connection()
            together.wait()
            for _ in range(2):
                got.append(fetch(own, worker, per_user=3))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([job_id for job_id in got if job_id is not None]) == 3


def test_a_lock_and_a_time_are_kept_while_somebodys_limit_is_reached(
    session: Session, worker: int
) -> None:
    put(session)
    assert fetch(session, worker, per_user=1) is not None
    put(session)  # held
    locked = [
        jobs.defer(session, "export", {}, queue=QUEUE, owner_name=name, lock="one")
        for name in ("ann", "ben")
    ]
    session.commit()

    assert [fetch(session, worker, per_user=1) for _ in range(2)] == [locked[0], None]
    end(session, locked[0])
    assert fetch(session, worker, per_user=1) == locked[1]


def test_of_several_queues_the_most_urgent_job_that_may_start_is_next(
    session: Session, worker: int
) -> None:
    held = jobs.defer(session, "export", {}, queue="a", lock="one", priority=9)
    behind = jobs.defer(session, "export", {}, queue="a", lock="one", priority=8)
    session.commit()
    last, urgent = put(session, queue="a"), put(session, queue="b", priority=5)
    after = put(session, queue="c")

    assert fetch(session, worker, "a") == held
    got = [fetch(session, worker, "c", "b", "a") for _ in range(4)]

    assert got == [urgent, last, after, None]
    end(session, held)
    assert fetch(session, worker, "c", "b", "a") == behind


def test_what_another_worker_is_taking_is_passed_over(
    session: Session, engine: Engine, worker: int
) -> None:
    first, second = put(session), put(session)
    with Session(engine) as other:
        other.execute(
            text("SELECT FROM procrastinate_jobs WHERE id = :id FOR UPDATE"), {"id": first}
        )
        assert [fetch(session, worker) for _ in range(2)] == [second, None]

    assert fetch(session, worker) == first


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_fetch_reads_next_to_nothing_of_what_waits(
    session: Session, worker: int, is_analyzed: bool
) -> None:
    for name in ("elsewhere", QUEUE):
        session.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name)"
                " SELECT :queue, 't' FROM generate_series(1, 3000)"
            ),
            {"queue": name},
        )
    if is_analyzed:
        session.execute(text("ANALYZE procrastinate_jobs"))
    session.commit()

    before = rows_read(session)
    session.execute(
        text("SELECT * FROM stoker_fetch(:queues, :worker, '{}', 0, 0)"),
        {"queues": [QUEUE], "worker": worker},
    )

    assert 0 < rows_read(session) - before < 20
    session.rollback()


def rows_read(session: Session) -> int:
    """How many of the queue's rows this session has read."""
    read: int = session.execute(
        text(
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
            " WHERE relname = 'procrastinate_jobs'"
        )
    ).scalar_one()
    return read


def test_procrastinates_own_fetch_is_the_one_that_was_copied() -> None:
    """When this fails after an upgrade: compare its function with sql/fetch.sql, line by line."""
    schema = (resources.files("procrastinate") / "sql" / "schema.sql").read_text()
    _, _, after = schema.partition("CREATE FUNCTION procrastinate_fetch_job_v2(")
    words = " ".join(after.partition("$$;")[0].split())

    assert hashlib.sha256(words.encode()).hexdigest()[:16] == FETCH_DIGEST


def test_a_waiting_job_says_whose_limit_holds_it(
    session: Session, worker: int, settings: Settings
) -> None:
    own = settings.model_copy(update={"user_concurrent_jobs": 2, "concurrent_jobs": 3})
    first, second, _ = [put(session) for _ in range(3)]
    assert admission.read(session, own).reason(QUEUE, "kim") is None
    assert [fetch(session, worker) for _ in range(3)] == [first, second, None]

    holds = admission.read(session, own)
    assert holds.crowded == ["kim"]
    assert holds.reason(QUEUE, "kim") == "waits: 2 of kim's jobs run, which is the limit"
    assert holds.reason(QUEUE, "lee") is None
    assert holds.reason("batches", "kim") is None
    other = put(session, "lee")
    assert fetch(session, worker) == other
    assert admission.read(session, own).reason(QUEUE, "mia") == (
        "waits: 3 jobs run, which is the limit"
    )
    off = settings.model_copy(update={"user_concurrent_jobs": 0, "concurrent_jobs": 0})
    assert admission.read(session, off).reason(QUEUE, "kim") is None


def test_a_model_for_which_only_held_batches_wait_gets_no_turn(
    session: Session, settings: Settings
) -> None:
    for name, model in (("kim", "a"), ("lee", "b")):
        owner = User(name=name, role="user")
        session.add(owner)
        session.flush()
        file = File(
            id=f"file-{name}", owner_id=owner.id, purpose="batch", filename="f", bytes=1, sha256=""
        )
        session.add(file)
        session.flush()
        new = NewBatch(file.id, "/v1/chat/completions")
        batch = batches.create(session, owner.id, new, settings=settings)
        batch.status, batch.model, batch.validated_at = "in_progress", model, batch.created_at
        session.execute(
            text("UPDATE procrastinate_jobs SET queue_name = :queue WHERE id = :job_id"),
            {"queue": queue.model_queue(model), "job_id": batch.job_id},
        )
    session.commit()

    def models(*crowded: str) -> list[str]:
        return sorted(each.model for each in queue.list_waiting_models(session, crowded))

    assert models() == ["a", "b"]
    assert models("kim") == ["b"]
    assert models("kim", "lee") == []
