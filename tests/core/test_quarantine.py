"""Jobs that cost their workers: put back a few times, then failed with the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core import batches, incidents, jobs, recovery, suspects, tasks, users, workers
from app.core.models import Attempt, Batch, Incident, Job, Suspect, Worker
from app.core.settings import Settings
from app.core.workers import Pulse

NAMES = tuple(tasks.TASKS)


@pytest.fixture
def export(session: Session) -> int:
    """A job that waits."""
    job_id = jobs.defer(session, "export", {"what": "jobs"}, queue=tasks.QUEUE)
    session.commit()
    return job_id


@pytest.fixture
def batch(session: Session) -> Batch:
    """A batch that was validated, with its job."""
    owner = users.ensure_admin(session)
    batch = Batch(
        id="batch_a",
        owner_id=owner.id,
        input_file_id="file-a",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        fingerprint="a",
        status="in_progress",
        model="fake",
        total=3,
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    batch.job_id = batches.defer_job(session, batch, priority=0)
    session.add(batch)
    session.commit()
    return batch


def fetch(session: Session, *job_ids: int) -> Worker:
    """A worker begins the jobs, one after the other."""
    queue_worker = session.execute(
        text("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
    ).scalar_one()
    pulse = Pulse(
        id=uuid4(),
        kind="worker",
        name=f"worker-{queue_worker}",
        running_job_ids=job_ids,
        queue_worker_ids=[queue_worker],
    )
    workers.beat(session, pulse)
    session.execute(
        text("SELECT stoker_register(:queue_worker, :id, :name, 'host', 1, '{}')"),
        {"queue_worker": queue_worker, "id": pulse.id, "name": pulse.name},
    )
    begin = text(
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = :worker WHERE id = :id"
    )
    for job_id in job_ids:
        session.execute(begin, {"worker": queue_worker, "id": job_id})
        session.commit()
    return session.get_one(Worker, pulse.id)


def die(session: Session, worker: Worker) -> None:
    """Its process is gone: what says so is that no process began when it says it did."""
    metrics = {**worker.metrics, "process_ticks": 1}
    session.execute(update(Worker).where(Worker.id == worker.id).values(metrics=metrics))
    session.commit()


def crash(session: Session, settings: Settings, *job_ids: int) -> list[int]:
    """A worker begins the jobs and dies; returns what is put back then."""
    die(session, fetch(session, *job_ids))
    return recovery.recover(session, settings, NAMES)


def row(session: Session, job_id: int) -> Job:
    session.expire_all()
    return session.scalars(select(Job).where(Job.id == job_id)).one()


def test_the_third_crash_of_a_job_is_its_last(
    session: Session, settings: Settings, export: int
) -> None:
    assert crash(session, settings, export) == [export]
    assert crash(session, settings, export) == [export]
    assert row(session, export).status == "retrying"
    assert crash(session, settings, export) == []

    job = row(session, export)
    assert (job.status, job.error_type, job.attempts) == ("failed", "Quarantined", 3)
    assert job.error_message is not None
    assert job.error_message.startswith("3 workers died while running this job: 20")
    ends = session.execute(select(Attempt.outcome, Attempt.ended_at, Attempt.worker_name)).all()
    assert [end.outcome for end in ends] == ["lost"] * 3
    for end in ends:
        assert f"{end.ended_at:%Y-%m-%d %H:%M:%S} UTC ({end.worker_name})" in job.error_message
    assert recovery.recover(session, settings, NAMES) == []
    status = session.execute(text("SELECT status::text FROM procrastinate_jobs")).scalar_one()
    assert status == "failed"


def test_a_quarantined_job_opens_an_incident_that_names_it(
    session: Session, settings: Settings, export: int
) -> None:
    for _ in range(3):
        crash(session, settings, export)
    # The scan leaves the last second for transactions that are not committed yet.
    session.execute(text("UPDATE job SET ended_at = ended_at - interval '2 seconds'"))
    session.commit()
    incidents.scan(session)
    found = session.scalars(
        select(Incident).where(Incident.fingerprint == "failure:export:Quarantined")
    ).one()
    assert (found.job_id, found.risk_level) == (export, "high")
    assert "3 workers died" in found.text


def test_how_many_crashes_are_too_many_is_a_setting(
    session: Session, settings: Settings, export: int
) -> None:
    strict = settings.model_copy(update={"quarantine_crashes": 1})
    assert crash(session, strict, export) == []
    assert row(session, export).status == "failed"


def test_a_restart_in_order_is_no_crash(session: Session, settings: Settings, export: int) -> None:
    for _ in range(2):
        crash(session, settings, export)
    fetch(session, export)
    session.execute(
        text("UPDATE attempt SET outcome = 'moved', ended_at = now() WHERE outcome IS NULL")
    )
    session.execute(
        text("SELECT procrastinate_retry_job_v2(:id, now(), NULL, NULL, NULL)"), {"id": export}
    )
    session.commit()
    assert recovery.recover(session, settings, NAMES) == []
    assert row(session, export).status == "pending"


def test_a_job_that_has_ended_meanwhile_is_left_alone(
    session: Session, settings: Settings, export: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(session, fetch(session, export))
    found = recovery._is_lost

    def and_then_it_ends(*given: object) -> bool:
        session.execute(
            text("SELECT procrastinate_finish_job_v1(:id, 'failed', false)"), {"id": export}
        )
        session.commit()
        return found(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(recovery, "_is_lost", and_then_it_ends)
    # Procrastinate itself would begin a failed job anew.
    assert recovery.recover(session, settings, NAMES) == []
    assert row(session, export).status == "failed"


@pytest.mark.parametrize(
    ("outcome", "queue_status", "status"),
    [("completed", "succeeded", "completed"), ("cancelled", "aborted", "cancelled")],
)
def test_a_job_that_was_through_when_its_worker_died_is_not_run_again(
    session: Session,
    settings: Settings,
    export: int,
    outcome: str,
    queue_status: str,
    status: str,
) -> None:
    worker = fetch(session, export)
    end = {"job": export, "number": 1, "outcome": outcome, "result": {"rows": 3}}
    session.execute(text("SELECT stoker_end(CAST(:ends AS jsonb))"), {"ends": json.dumps([end])})
    session.commit()
    die(session, worker)
    assert recovery.recover(session, settings, NAMES) == []
    job = row(session, export)
    assert (job.status, job.attempts, job.result) == (status, 1, {"rows": 3})
    known = session.execute(text("SELECT status::text FROM procrastinate_jobs")).scalar_one()
    assert known == queue_status


def test_a_crash_before_the_worker_introduced_itself_counts(
    session: Session, settings: Settings, export: int
) -> None:
    session.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
    session.execute(text("UPDATE procrastinate_events SET at = now() - interval '1 hour'"))
    session.commit()
    assert recovery.recover(session, settings, NAMES) == [export]
    assert session.scalars(select(Attempt.outcome)).all() == ["lost"]


def test_a_batch_that_gets_on_between_crashes_is_put_back_for_ever(
    session: Session, settings: Settings, batch: Batch
) -> None:
    assert batch.job_id is not None
    for _ in range(4):
        worker = fetch(session, batch.job_id)
        session.execute(update(Batch).values(last_result_at=func.clock_timestamp()))
        session.commit()
        die(session, worker)
        assert recovery.recover(session, settings, NAMES) == [batch.job_id]


def test_a_batch_that_only_crashes_gets_a_job_that_writes_its_end(
    session: Session, settings: Settings, batch: Batch
) -> None:
    first = batch.job_id
    assert first is not None
    session.execute(update(Batch).values(last_result_at=func.clock_timestamp()))
    session.commit()
    for _ in range(3):
        crash(session, settings, first)
    assert row(session, first).error_type == "Quarantined"
    assert recovery.settle_batches(session) == 1
    session.refresh(batch)
    assert batch.job_id is not None
    assert batch.job_id != first
    assert batch.status == "in_progress"
    assert batch.errors is not None
    assert batch.errors[0]["code"] == "quarantined"
    assert "3 workers died" in batch.errors[0]["message"]

    # And when even that one costs its workers, it is over.
    for _ in range(3):
        crash(session, settings, batch.job_id)
    session.refresh(batch)
    assert (batch.status, batch.failed_at is None) == ("failed", False)
    assert recovery.settle_batches(session) == 0


def lease(session: Session, batch: Batch) -> UUID:
    """The open attempt holds the batch."""
    token = session.scalars(select(Attempt.token).where(Attempt.outcome.is_(None))).one()
    session.execute(update(Batch).values(attempt_token=token))
    session.commit()
    return token


def deaths(session: Session) -> dict[int, int]:
    rows = session.execute(select(Suspect.line, Suspect.deaths))
    return {row.line: row.deaths for row in rows}


def test_a_batch_is_put_back_while_its_crashes_tell_which_request_causes_them(
    session: Session, settings: Settings, batch: Batch
) -> None:
    assert batch.job_id is not None
    for number in range(4):
        worker = fetch(session, batch.job_id)
        token = lease(session, batch)
        suspects.count_lost(session, batch.number, batch.job_id, token)
        if number:  # the first one did not note it
            suspects.note_sent(session, batch.number, token, 2, [])
        die(session, worker)
        assert recovery.recover(session, settings, NAMES) == [batch.job_id]
    fetch(session, batch.job_id)
    suspects.count_lost(session, batch.number, batch.job_id, lease(session, batch))
    assert deaths(session) == {2: 3}


def test_a_batch_whose_crashes_tell_of_ever_other_requests_is_quarantined_soon(
    session: Session, settings: Settings, batch: Batch
) -> None:
    """It is no request then, but the host, say: each window of requests would take two more."""
    assert batch.job_id is not None
    crashes = 0
    while crashes < 20:
        worker = fetch(session, batch.job_id)
        suspects.note_sent(session, batch.number, lease(session, batch), 2 + crashes // 2, [])
        die(session, worker)
        crashes += 1
        if not recovery.recover(session, settings, NAMES):
            break
    assert crashes == 6


def test_a_batch_of_many_deadly_requests_is_quarantined(
    session: Session, settings: Settings, batch: Batch
) -> None:
    assert batch.job_id is not None
    for _ in range(3):
        suspects.note_deaths(session, batch.number, [1, 2, 3], 1)
    for number in range(3):
        worker = fetch(session, batch.job_id)
        suspects.note_sent(session, batch.number, lease(session, batch), 4, [])
        die(session, worker)
        put_back = recovery.recover(session, settings, NAMES)
        assert put_back == ([batch.job_id] if number < 2 else [])


def test_what_a_worker_had_sent_before_it_stopped_in_order_is_no_suspect(
    session: Session, batch: Batch
) -> None:
    assert batch.job_id is not None
    fetch(session, batch.job_id)
    token = lease(session, batch)
    suspects.note_sent(session, batch.number, token, 1, [])
    suspects.note_sent(session, batch.number, token, 2, [1])
    assert deaths(session) == {2: 0}
    session.execute(
        text("UPDATE attempt SET outcome = 'moved', ended_at = now() WHERE outcome IS NULL")
    )
    suspects.count_lost(session, batch.number, batch.job_id, uuid4())
    assert deaths(session) == {2: 0}


def test_an_attempt_that_lost_the_batch_notes_nothing(session: Session, batch: Batch) -> None:
    suspects.note_sent(session, batch.number, uuid4(), 1, [])
    assert deaths(session) == {}


def test_jobs_that_died_together_twice_are_put_back_apart(
    session: Session, settings: Settings, export: int
) -> None:
    other = jobs.defer(session, "export", {"what": "jobs"}, queue=tasks.QUEUE)
    session.commit()

    def waits() -> list[float]:
        rows = session.execute(
            text("SELECT date_part('epoch', scheduled_at - now()) FROM procrastinate_jobs")
        )
        return sorted(rows.scalars())

    assert crash(session, settings, export, other) == [other, export]
    assert max(waits()) <= 0
    crash(session, settings, export, other)
    first, second = waits()
    assert first <= 0
    assert 50 < second <= 60


def test_of_jobs_that_die_together_the_one_that_began_last_bears_it(
    session: Session, settings: Settings, export: int
) -> None:
    bystander = jobs.defer(session, "backup", {}, queue=tasks.QUEUE)
    session.commit()
    for _ in range(2):
        crash(session, settings, bystander, export)
    assert crash(session, settings, bystander, export) == [bystander]
    assert row(session, export).status == "failed"
    assert row(session, bystander).status == "retrying"
    # Its next crash, of which nobody else can be the cause, is its own.
    assert crash(session, settings, bystander) == []
