"""Work that kills its workers is set aside, and the rest goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import retries, tasks, users
from app.core.models import Attempt, Incident, Job
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack, chat, ids

pytestmark = pytest.mark.faults


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={"FAKE_DELAY": "0.02", "WINDOW": "4"})
    stack.environment |= {"STOKER_FLUSH_ROWS": "2"}
    yield stack
    stack.stop()


@contextmanager
def kept_alive(stack: Stack) -> Iterator[None]:
    """A worker that is started again whenever it dies, as `flask up` and systemd do."""
    is_over = threading.Event()

    def keep_alive() -> None:
        while not is_over.is_set():
            worker = stack.start("tests.faults.poisoned")
            while worker.poll() is None and not is_over.is_set():
                is_over.wait(0.05)

    keeper = threading.Thread(target=keep_alive)
    stack.start("worker.housekeeper")
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()


def test_a_request_that_kills_its_workers_fails_alone(stack: Stack) -> None:
    # The longest answers are asked for first: it kills before anything is answered.
    lines = [chat(f"q-{n}", f"Question {n}", max_tokens=10) for n in range(30)]
    lines[5] = chat("q-5", "POISON", max_tokens=20)
    with kept_alive(stack):
        batch = stack.wait(stack.submit(lines))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 29, 1)
    (error,) = stack.read(batch.error_file_id)
    assert (error["custom_id"], error["error"]["code"]) == ("q-5", "engine_crashed")
    assert "died 3 times" in error["error"]["message"]
    lost = select(Attempt.number).where(Attempt.job_id == batch.job_id, Attempt.outcome == "lost")
    # At the first one nobody had noted what was sent.
    assert len(stack.session.scalars(lost).all()) >= 4


def test_what_kills_its_workers_is_set_aside_and_everything_else_is_done(stack: Stack) -> None:
    stack.environment["STOKER_QUARANTINE_CRASHES"] = "1"
    with kept_alive(stack):
        _set_aside(stack)


def _set_aside(stack: Stack) -> None:
    session = stack.session
    admin = users.actor_of(users.ensure_admin(session))
    poison = tasks.defer_task(session, "export", {"what": "events"}, admin, settings=None)
    session.commit()
    # One is found and fails; it is too many here, and the next ends the batch.
    lines = [chat(f"q-{n}", "POISON" if n in (5, 6) else "Hello") for n in range(30)]

    def job(job_id: int) -> Job:
        session.rollback()
        session.expire_all()
        return session.scalars(select(Job).where(Job.id == job_id)).one()

    def outcomes(job_id: int | None) -> list[str | None]:
        session.rollback()
        of_job = select(Attempt.outcome).where(Attempt.job_id == job_id)
        return list(session.scalars(of_job.order_by(Attempt.number)))

    try:
        wait_until(lambda: job(poison).ended_at, "it has ended")
        assert (job(poison).status, job(poison).error_type) == ("failed", "Quarantined")
        assert outcomes(poison) == ["lost"]

        batch = stack.submit(lines)
        first = batch.job_id
        stack.wait(batch)
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n{stack.logs()}") from None
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors[0]["code"] == "quarantined"
    assert outcomes(first)[-1:] == ["lost"]
    # What was written between the crashes is kept, and each request is in one of the files.
    answered = ids(stack.read(batch.output_file_id))
    missing = ids(stack.read(batch.error_file_id))
    assert len(answered) >= 2
    assert "q-5" in missing
    assert sorted(answered + missing) == sorted(ids(lines))

    fingerprints = ["failure:export:Quarantined", "failure:run_batch:Quarantined"]
    found = select(Incident.fingerprint).where(Incident.fingerprint.in_(fingerprints))

    def incidents() -> list[str]:
        session.rollback()
        return sorted(session.scalars(found))

    wait_until(lambda: incidents() == fingerprints, "the incidents are open")
    again = retries.retry_failed(session, stack.settings, batch.id, None)
    session.commit()
    assert again.job_id not in (first, batch.job_id)
