"""A worker that drains is alive and hears; notifications that get lost cost a poll."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import batches
from app.core.models import Attempt, Batch, Worker
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import QUICK, Stack, chat

pytestmark = pytest.mark.faults

STALE_SECONDS = float(QUICK["STOKER_WORKER_STALE_SECONDS"])


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={"WINDOW": "2"})
    yield stack
    stack.stop()


def attempt(stack: Stack, batch: Batch) -> Attempt:
    """The latest one."""
    stack.session.rollback()
    stack.session.expire_all()
    of_job = select(Attempt).where(Attempt.job_id == batch.job_id)
    return stack.session.scalars(of_job.order_by(Attempt.number.desc()).limit(1)).one()


def worker_status(stack: Stack) -> str:
    stack.session.rollback()
    stack.session.expire_all()
    return stack.session.scalars(select(Worker.status).where(Worker.kind == "worker")).one()


def ask_for_long(stack: Stack) -> Batch:
    """A batch of which two requests are in the engine, for half a minute."""
    batch = stack.submit([chat(f"q-{n}", f"SLOW 30 {n}") for n in range(4)])
    wait_until(lambda: len(stack.asked()) == 2, "the requests are in the engine")
    return batch


def test_a_draining_worker_is_alive_and_its_batch_can_be_cancelled(stack: Stack) -> None:
    stack.start("worker.housekeeper")
    worker = stack.start(STOKER_WORKER_DRAIN_SECONDS="25")
    batch = ask_for_long(stack)
    worker.terminate()
    wait_until(lambda: worker_status(stack) == "draining", "it drains")
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5 * STALE_SECONDS:
        assert (worker_status(stack), attempt(stack, batch).outcome) == ("draining", None)
        time.sleep(0.1)
    batches.cancel(stack.session, batch.id, None)
    stack.session.commit()
    stack.wait(batch, "cancelled", seconds=15)
    assert worker.wait(15) == 0
    assert worker_status(stack) == "stopped"
    assert len(stack.asked()) == 2


def test_a_second_signal_ends_the_drain(stack: Stack) -> None:
    worker = stack.start(STOKER_WORKER_DRAIN_SECONDS="300")
    batch = ask_for_long(stack)
    worker.terminate()
    wait_until(lambda: worker_status(stack) == "draining", "it drains")
    worker.terminate()
    assert worker.wait(20) == 0
    assert attempt(stack, batch).outcome == "moved"
    assert stack.refresh(batch).status == "in_progress"


def test_lost_notifications_and_a_lost_listener_cost_a_poll_and_no_job(stack: Stack) -> None:
    session = stack.session
    stack.start("worker.housekeeper")
    worker = stack.start()
    stack.wait(stack.submit([chat("a")]))

    def listeners() -> list[Any]:
        session.rollback()
        query = text(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'stoker queue' AND query LIKE 'LISTEN%'"
        )
        return list(session.scalars(query))

    heard = set(listeners())
    assert heard
    session.execute(
        text("SELECT pg_terminate_backend(pid) FROM unnest(:pids) AS pid"), {"pids": list(heard)}
    )
    session.commit()
    wait_until(lambda: set(listeners()) - heard, "it listens again")
    # And now nobody is told of anything.
    names = session.scalars(
        text(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'procrastinate_jobs'::regclass"
            " AND tgname LIKE '%notify%'"
        )
    ).all()
    assert names
    for name in names:
        session.execute(text(f"ALTER TABLE procrastinate_jobs DISABLE TRIGGER {name}"))
    session.commit()
    begun = time.monotonic()
    stack.wait(stack.submit([chat("b")]))
    assert time.monotonic() - begun < 15
    running = stack.submit([chat("c", "SLOW 30")])
    wait_until(lambda: len(stack.asked()) == 3, "the request is in the engine")
    batches.cancel(session, running.id, None)
    session.commit()
    stack.wait(running, "cancelled", seconds=15)
    assert worker.poll() is None
