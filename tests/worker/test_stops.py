"""Cancel and abort as a real worker takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import job_actions, job_bulk, jobs, tasks, users
from app.core.models import Attempt, Job
from app.core.settings import Settings
from app.core.tasks import BulkFilter
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat, ids


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={"FAKE_DELAY": "0.05", "WINDOW": "2"})
    yield stack
    stack.stop()
    print(stack.logs())


def read(stack: Stack, job_id: object) -> Job:
    stack.session.rollback()
    query = select(Job).where(Job.id == int(str(job_id)))
    return stack.session.scalars(query.execution_options(populate_existing=True)).one()


def defer(stack: Stack, task: str) -> str:
    job_id = jobs.defer(stack.session, task, {}, queue=tasks.QUEUE)
    stack.session.commit()
    return str(job_id)


def wait_for_step(stack: Stack, job_id: str, message: str) -> None:
    wait_until(lambda: read(stack, job_id).message == message, f"{job_id} says {message!r}")


def test_a_task_stops_between_two_steps_and_one_that_does_not_takes_its_worker_along(
    stack: Stack,
) -> None:
    admin = users.actor_of(users.ensure_admin(stack.session))
    worker = stack.start("tests.worker.stubborn", STOKER_ABORT_GRACE_SECONDS="0.2")
    cancelled = defer(stack, "patient")
    wait_for_step(stack, cancelled, "looks up")
    job_actions.cancel(stack.session, cancelled, admin)
    stack.session.commit()
    wait_until(lambda: read(stack, cancelled).ended_at, "it has stopped")
    job = read(stack, cancelled)
    assert job.status == "cancelled"
    assert job.cancel_requested_at is not None
    assert job.cancel_acknowledged_at is not None
    assert job.cancel_requested_at < job.cancel_acknowledged_at

    aborted, beside = defer(stack, "stubborn"), defer(stack, "patient")
    wait_for_step(stack, aborted, "never looks up")
    wait_for_step(stack, beside, "looks up")
    job_actions.cancel(stack.session, aborted, admin)
    stack.session.commit()
    wait_until(lambda: read(stack, aborted).cancel_acknowledged_at, "its worker knows")
    assert read(stack, aborted).status == "running"
    job_actions.abort(stack.session, aborted, admin)
    stack.session.commit()
    assert worker.wait(60) == 3
    job = read(stack, aborted)
    assert (job.status, job.error_type) == ("cancelled", "CancelledError")
    assert read(stack, beside).status == "pending"
    outcomes = select(Attempt.outcome).where(Attempt.job_id == int(beside))
    assert stack.session.scalars(outcomes).all() == ["moved"]


def test_an_aborted_batch_drops_what_is_in_the_engine_and_keeps_its_answers(stack: Stack) -> None:
    admin = users.actor_of(users.ensure_admin(stack.session))
    stack.start(STOKER_WORKER_DRAIN_SECONDS="60")
    lines = [chat(f"q-{n}") for n in range(20)] + [chat(f"slow-{n}", "SLOW 600") for n in range(5)]
    batch = stack.submit(lines)
    stack.wait_for_results(batch, 20)
    job_id = str(batch.job_id)
    wait_until(lambda: len(stack.asked()) >= 22, "the slow ones are in the engine")
    # A cancel would let them finish.
    job_actions.cancel(stack.session, job_id, admin)
    stack.session.commit()
    wait_until(lambda: read(stack, job_id).cancel_acknowledged_at, "the worker knows")
    assert read(stack, job_id).status == "running"
    job_actions.abort(stack.session, job_id, admin)
    stack.session.commit()
    stack.wait(batch)
    assert (batch.status, batch.completed) == ("cancelled", 20)
    assert len(ids(stack.read(batch.output_file_id))) == 20
    assert len(ids(stack.read(batch.error_file_id))) == 5
    wait_until(lambda: read(stack, job_id).ended_at, "its job has ended")
    job = read(stack, job_id)
    assert (job.status, job.id) == ("cancelled", batch.job_id)

    # And a bulk job does its work beside.
    waiting = [
        str(jobs.defer(stack.session, "mail", {}, queue="shop", owner_name="ann")) for _ in range(3)
    ]
    stack.session.commit()
    bulk = job_bulk.start(stack.session, "cancel", BulkFilter(user="ann"), admin)
    stack.session.commit()
    wait_until(lambda: read(stack, bulk).ended_at, "the bulk job has ended")
    done = read(stack, bulk)
    assert (done.status, done.items_total, done.progress) == ("completed", 3, 100)
    assert done.result == {
        "action": "cancel",
        "matching": 3,
        "done": 3,
        "skipped": 0,
        "errors": [],
    }
    assert {read(stack, job_id).status for job_id in waiting} == {"cancelled"}
