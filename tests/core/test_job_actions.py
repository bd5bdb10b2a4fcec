"""What may be done to a job: one guarded change each, whoever else acts at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from app.core import (
    batches,
    files,
    follow_ups,
    job_actions,
    job_moves,
    job_retries,
    jobs,
    logs,
    result_files,
    stops,
    storage,
    users,
)
from app.core.batches import NewBatch
from app.core.errors import Conflict, Forbidden, Invalid, NotFound, Refused, StokerError
from app.core.models import (
    Attempt,
    AuditEntry,
    Batch,
    Job,
    JobSearch,
    JobTransition,
    LogLine,
    WaitingJob,
)
from app.core.settings import Settings
from app.core.users import Actor
from tests.core.queue_hand import Hand
from tests.worker.stack import chat, jsonl

LATER = timedelta(days=3)


@pytest.fixture
def hand(session: Session) -> Hand:
    return Hand(session)


def history(hand: Hand, job_id: str) -> list[tuple[str, str, str | None]]:
    """A job's changes: from, to, details."""
    hand.session.rollback()
    rows = hand.session.execute(
        select(JobTransition.from_status, JobTransition.to_status, JobTransition.details)
        .where(JobTransition.job_id == int(job_id))
        .order_by(JobTransition.id)
    )
    return [tuple(row) for row in rows]  # type: ignore[misc]


def submit(hand: Hand, settings: Settings) -> Batch:
    """A batch that waits to be validated."""
    owner = users.get(hand.session, "admin")
    with storage.Draft(settings) as draft:
        draft.write(jsonl([chat("a")]))
        file = files.create(
            hand.session,
            settings,
            draft,
            owner_id=owner.id,
            purpose="batch",
            filename="input.jsonl",
        )
    batch = batches.create(
        hand.session,
        owner.id,
        NewBatch(file.id, "/v1/chat/completions", priority=-1),
        settings=None,
    )
    hand.session.commit()
    return batch


# Cancel and abort


@pytest.mark.parametrize("after", [None, timedelta(minutes=1), LATER])
def test_a_waiting_job_is_cancelled_at_once(hand: Hand, after: timedelta | None) -> None:
    job_id = hand.defer(schedule_at=None if after is None else datetime.now(UTC) + after)
    done = job_actions.cancel(hand.session, job_id, hand.admin)
    hand.session.commit()

    assert (done.status, done.message) == ("cancelled", "The job is cancelled.")
    assert hand.job(job_id).status == "cancelled"
    assert hand.fetch() is None
    told = hand.session.scalars(select(JobTransition)).one()
    assert (told.to_status, told.triggered_by) == ("cancelled", "admin")
    audited = hand.session.scalars(select(AuditEntry)).one()
    assert (audited.actor, audited.action, audited.object_id) == ("admin", "job.cancel", job_id)


def test_a_running_job_is_asked_to_stop_hears_of_it_and_stops(hand: Hand) -> None:
    job_id = hand.defer()
    assert hand.fetch() == job_id
    for _ in range(2):
        done = job_actions.cancel(hand.session, job_id, hand.admin)
        hand.session.commit()
        assert done.status == "running"
    assert hand.queued(job_id) == ("doing", True)
    assert stops.acknowledge(hand.session, int(job_id)) is False
    hand.session.commit()
    hand.finish(job_id, "aborted")

    job = hand.job(job_id)
    assert job.status == "cancelled"
    assert job.cancel_requested_at
    assert job.cancel_acknowledged_at
    assert job.ended_at
    assert job.cancel_requested_at < job.cancel_acknowledged_at < job.ended_at
    assert history(hand, job_id) == [
        ("pending", "running", "attempt 1"),
        ("running", "running", "cancel requested"),
        ("running", "running", "its worker stops it"),
        ("running", "cancelled", None),
    ]


def test_a_cancel_that_does_not_help_may_become_an_abort(hand: Hand) -> None:
    job_id = hand.defer()
    hand.fetch()
    job_actions.cancel(hand.session, job_id, hand.admin)
    hand.session.commit()
    assert stops.acknowledge(hand.session, int(job_id)) is False
    for _ in range(2):
        done = job_actions.abort(hand.session, job_id, hand.admin)
        hand.session.commit()
        assert done.warning == "It leaves nothing: an export appears whole or not at all."

    assert stops.acknowledge(hand.session, int(job_id)) is True
    hand.session.commit()
    details = [each[2] for each in history(hand, job_id)]
    assert details == [
        "attempt 1",
        "cancel requested",
        "its worker stops it",
        "abort requested",
    ]


def test_only_a_running_job_can_be_aborted(hand: Hand) -> None:
    for job_id in (hand.failed(), hand.defer(), hand.defer(schedule_at=datetime.now(UTC) + LATER)):
        with pytest.raises(Invalid, match="Only a job that is running"):
            job_actions.abort(hand.session, job_id, hand.admin)
        hand.session.rollback()


def test_a_job_that_would_be_tried_again_when_it_is_asked_to_stop_is_cancelled(hand: Hand) -> None:
    job_id = hand.defer()
    hand.fetch()
    job_actions.cancel(hand.session, job_id, hand.admin)
    hand.session.commit()
    hand.try_again(job_id)

    assert hand.queued(job_id) == ("failed", True)  # Procrastinate's word for it
    assert hand.job(job_id).status == "cancelled"
    assert hand.session.scalars(select(Attempt.outcome)).all() == ["cancelled"]


@pytest.mark.parametrize("end", ["succeeded", "failed", "aborted"])
def test_a_job_that_has_ended_can_not_be_cancelled(hand: Hand, end: str) -> None:
    job_id = hand.defer()
    hand.fetch()
    hand.finish(job_id, end)
    before = history(hand, job_id)
    with pytest.raises(Conflict, match="can't be cancelled") as refused:
        job_actions.cancel(hand.session, job_id, hand.admin)
    assert refused.value.code == "status"
    assert history(hand, job_id) == before


def test_another_programs_job_is_stopped_through_procrastinate(hand: Hand) -> None:
    job_id = hand.defer_foreign()
    assert hand.fetch("shop") == job_id
    done = job_actions.abort(hand.session, job_id, hand.admin)
    hand.session.commit()
    assert hand.queued(job_id) == ("doing", True)
    assert done.warning
    assert done.warning.startswith("Another program runs this job")


# Whose


@pytest.mark.parametrize(
    "act",
    [
        job_actions.cancel,
        job_actions.abort,
        job_actions.delete,
        job_moves.expedite,
        lambda session, job_id, actor: job_moves.set_priority(session, job_id, actor, 1),
        lambda session, job_id, actor: job_moves.reschedule(
            session, job_id, actor, datetime.now(UTC)
        ),
    ],
)
def test_somebody_elses_job_is_not_there_and_an_operator_may_act_on_it(
    hand: Hand, act: Callable[[Session, str, Actor], object]
) -> None:
    ann, ben = hand.user("ann"), hand.user("ben")
    job_id = hand.defer(ann)
    if act is job_actions.abort:
        hand.fetch()
    for who in (ben, Actor(ann.user_id, "ann", frozenset({"read"}))):
        with pytest.raises((NotFound, Forbidden)):
            act(hand.session, job_id, who)
        hand.session.rollback()
    operator = Actor(ben.user_id, "ben", frozenset({"read", "submit", "operate"}))
    act(hand.session, job_id, operator)


# Delete


def test_a_deleted_record_takes_everything_of_the_job_along(hand: Hand, settings: Settings) -> None:
    kept, job_id = hand.failed(), hand.failed()
    hand.session.add(LogLine(job_id=int(job_id), level="info", message="gone"))
    hand.session.execute(
        text("UPDATE attempt SET result = CAST(:mark AS jsonb) WHERE job_id = :id"),
        {"mark": f'{{"$stoker": "file", "name": "{job_id}-1.json"}}', "id": int(job_id)},
    )
    hand.session.commit()
    settings.results_path.mkdir(parents=True)
    (settings.results_path / f"{job_id}-1.json").write_text("[]")

    done = job_actions.delete(hand.session, job_id, hand.admin)
    hand.session.commit()
    result_files.remove(settings, done.files)

    assert done.status == "deleted"
    assert hand.session.scalars(select(Job.id)).all() == [int(kept)]
    assert hand.session.scalars(select(Attempt.job_id)).all() == [int(kept)]
    assert set(hand.session.scalars(select(JobTransition.job_id))) == {int(kept)}
    assert hand.session.scalars(select(JobSearch.job_id)).all() == [int(kept)]
    assert hand.session.scalars(select(LogLine)).all() == []
    assert hand.queued(job_id) is None
    assert list(settings.results_path.iterdir()) == []
    with pytest.raises(NotFound):
        job_actions.delete(hand.session, job_id, hand.admin)


def test_deleting_a_job_that_has_not_ended_cancels_or_aborts_it(hand: Hand) -> None:
    waiting, running = hand.defer(), hand.defer(priority=1)
    assert hand.fetch() == running
    assert job_actions.delete(hand.session, waiting, hand.admin).status == "cancelled"
    assert job_actions.delete(hand.session, running, hand.admin).warning
    hand.session.commit()
    assert hand.job(running).abort_requested_at is not None
    assert hand.job(waiting).status == "cancelled"


def test_deleting_a_cancelled_task_cancels_the_batch_that_it_made(
    hand: Hand, settings: Settings
) -> None:
    job_id = hand.defer()
    job_actions.cancel(hand.session, job_id, hand.admin)
    batch = submit(hand, settings)
    batch.idempotency_key = follow_ups.key_of(int(job_id))
    hand.session.commit()
    job_actions.delete(hand.session, job_id, hand.admin)
    hand.session.commit()
    hand.session.refresh(batch)
    assert batch.status == "cancelling"


# Batches


def test_cancelling_the_job_of_a_waiting_batch_lets_its_end_be_written(
    hand: Hand, settings: Settings
) -> None:
    batch = submit(hand, settings)
    first = batch.job_id
    done = job_actions.cancel(hand.session, str(first), hand.admin)
    hand.session.commit()
    hand.session.refresh(batch)
    assert (done.status, batch.status) == ("cancelled", "cancelling")
    assert batch.job_id != first
    # The one that writes the batch's files goes on, however often it is cancelled.
    again = job_actions.cancel(hand.session, str(batch.job_id), hand.admin)
    hand.session.commit()
    assert (again.status, "writes the files" in again.message) == ("pending", True)
    assert hand.job(str(batch.job_id)).status == "pending"


@pytest.mark.parametrize("is_abort", [False, True])
def test_a_running_batch_hears_of_it_by_its_status_and_an_abort_by_procrastinate_too(
    hand: Hand, settings: Settings, is_abort: bool
) -> None:
    batch = submit(hand, settings)
    job_id = str(batch.job_id)
    assert hand.fetch(batches.QUEUE) == job_id
    act = job_actions.abort if is_abort else job_actions.cancel
    for _ in range(2):
        done = act(hand.session, job_id, hand.admin)
        hand.session.commit()
        assert done.status == "running"
    hand.session.refresh(batch)
    assert (batch.status, str(batch.job_id)) == ("cancelling", job_id)
    assert hand.queued(job_id) == ("doing", is_abort)
    job = hand.job(job_id)
    assert job.cancel_requested_at is not None
    assert (job.abort_requested_at is not None) == is_abort
    words = "abort requested" if is_abort else "cancel requested"
    assert [each[2] for each in history(hand, job_id)].count(words) == 1


def test_a_deleted_job_leaves_its_batch_with_results_and_log(
    hand: Hand, settings: Settings
) -> None:
    batch = submit(hand, settings)
    job_id = str(batch.job_id)
    hand.fetch(batches.QUEUE)
    hand.finish(job_id)
    with pytest.raises(Conflict, match="has not ended"):
        job_actions.delete(hand.session, job_id, hand.admin)
    hand.session.rollback()
    batch.status, batch.completed_at = "completed", datetime.now(UTC)
    hand.session.add(
        LogLine(job_id=int(job_id), batch_number=batch.number, level="info", message="validated")
    )
    hand.session.commit()
    job_actions.delete(hand.session, job_id, hand.admin)
    hand.session.commit()
    assert batches.get(hand.session, batch.id, None).status == "completed"
    assert "validated" in logs.read_text(hand.session, batch)


def test_a_batch_has_its_own_priorities_and_no_time(hand: Hand, settings: Settings) -> None:
    batch = submit(hand, settings)
    job_id = str(batch.job_id)
    with pytest.raises(Refused, match="-1, 0 or 1"):
        job_moves.set_priority(hand.session, job_id, hand.admin, 5)
    with pytest.raises(Refused, match="completion window"):
        job_moves.reschedule(hand.session, job_id, hand.admin, datetime.now(UTC) + LATER)
    job_moves.expedite(hand.session, job_id, hand.admin)
    hand.session.commit()
    hand.session.refresh(batch)
    assert (batch.priority, hand.job(job_id).priority) == (1, 1)


# Expedite, reschedule, priority


def test_an_expedited_job_is_the_next_of_its_queue_and_stays_so(hand: Hand) -> None:
    first = hand.defer(priority=7)
    job_id = hand.defer(schedule_at=datetime.now(UTC) + timedelta(minutes=5))
    for _ in range(2):
        assert job_moves.expedite(hand.session, job_id, hand.admin).status == "pending"
        hand.session.commit()
    assert hand.job(job_id).priority == 8
    assert len(history(hand, job_id)) == 1
    assert [hand.fetch(), hand.fetch()] == [job_id, first]


def test_a_job_for_next_week_enters_the_queue_when_it_is_expedited(hand: Hand) -> None:
    job_id = hand.defer(schedule_at=datetime.now(UTC) + LATER)
    other = hand.defer()
    job_moves.expedite(hand.session, job_id, hand.admin)
    later = jobs.defer(hand.session, "export", {}, queue="tasks")  # recorded, too
    hand.session.commit()
    assert hand.session.scalar(select(WaitingJob)) is None
    assert hand.job(str(later)).status == "pending"
    assert [hand.fetch(), hand.fetch(), hand.fetch()] == [job_id, other, str(later)]


@pytest.mark.parametrize("before", [None, timedelta(minutes=5), LATER])
@pytest.mark.parametrize("after", [-LATER, timedelta(minutes=7), LATER * 2])
def test_a_waiting_job_may_have_any_other_time(
    hand: Hand, before: timedelta | None, after: timedelta
) -> None:
    now = datetime.now(UTC)
    job_id = hand.defer(schedule_at=None if before is None else now + before)
    for _ in range(2):
        done = job_moves.reschedule(hand.session, job_id, hand.admin, now + after)
        hand.session.commit()
    is_later = after > timedelta(0)
    assert done.status == ("scheduled" if is_later else "pending")
    assert hand.job(job_id).scheduled_at == now + after
    assert len(history(hand, job_id)) == 1
    assert (hand.fetch() is None) == is_later


def test_a_job_that_is_tried_again_keeps_its_attempts_when_it_is_expedited(hand: Hand) -> None:
    job_id = hand.defer()
    hand.fetch()
    hand.try_again(job_id, datetime.now(UTC) + timedelta(hours=1))
    assert hand.fetch() is None
    job_moves.expedite(hand.session, job_id, hand.admin)
    hand.session.commit()
    assert hand.fetch() == job_id
    assert hand.job(job_id).attempts == 2


def test_workers_are_told_of_a_job_that_becomes_due(hand: Hand) -> None:
    job_id = hand.defer(schedule_at=datetime.now(UTC) + timedelta(minutes=5))
    hand.session.execute(text('LISTEN "procrastinate_queue_v1#tasks"'))
    hand.session.commit()
    connection = hand.session.connection().connection.driver_connection
    job_moves.expedite(hand.session, job_id, hand.admin)
    hand.session.commit()
    assert connection is not None
    heard = next(iter(connection.notifies(timeout=10, stop_after=1)))
    assert '"job_inserted"' in heard.payload


def test_what_runs_or_has_ended_has_no_other_time_or_priority(hand: Hand) -> None:
    running, ended = hand.defer(priority=1), hand.failed(priority=9)
    assert hand.fetch() == running
    for job_id in (running, ended):
        for act in (
            lambda job_id=job_id: job_moves.expedite(hand.session, job_id, hand.admin),
            lambda job_id=job_id: job_moves.set_priority(hand.session, job_id, hand.admin, 5),
            lambda job_id=job_id: job_moves.reschedule(
                hand.session, job_id, hand.admin, datetime.now(UTC)
            ),
        ):
            with pytest.raises(Conflict):
                act()
            hand.session.rollback()


# At once


def at_once(engine: Engine, count: int, act: Callable[[Session], object]) -> Counter[str]:
    """How calls that begin together end: the class of what each returned or raised."""
    ends: Counter[str] = Counter()
    gate = threading.Barrier(count, timeout=30)

    def one() -> None:
        with Session(engine) as session:
            session.connection()
            gate.wait()
            try:
                given = act(session)
                session.commit()
                ends[type(given).__name__] += 1
            except StokerError as fault:
                ends[type(fault).__name__] += 1

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_verbs_that_meet_take_effect_once(hand: Hand, engine: Engine, settings: Settings) -> None:
    waiting, running, ended, gone = hand.defer(), hand.defer(priority=9), "", ""
    assert hand.fetch() == running
    ended, gone = hand.failed(priority=9), hand.failed(priority=9)
    admin = hand.admin

    ends = at_once(engine, 4, lambda session: job_actions.cancel(session, waiting, admin))
    assert ends == {"Done": 1, "Conflict": 3}
    assert [each[1] for each in history(hand, waiting)] == ["cancelled"]

    ends = at_once(engine, 4, lambda session: job_actions.abort(session, running, admin))
    assert ends == {"Done": 4}
    assert [each[2] for each in history(hand, running)] == ["attempt 1", "abort requested"]

    ends = at_once(engine, 4, lambda session: job_retries.retry(session, settings, ended, admin))
    assert ends == {"Retry": 4}
    made = select(func.count()).where(Job.retried_from == int(ended))
    assert hand.session.scalar(made) == 1

    ends = at_once(engine, 4, lambda session: job_actions.delete(session, gone, admin))
    assert ends["Done"] == 1
    assert ends.total() == 4
