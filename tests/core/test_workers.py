"""Which workers count as lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.core import workers
from app.core.models import Worker
from app.core.workers import Hearing, Pulse, process_space
from tests.conftest import wait_until

HERE = process_space()


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def add(session: Session, pid: int, *, space: str | None = HERE, silent_seconds: int = 0) -> UUID:
    """A worker's row, as that process would have written it."""
    pulse = Pulse(id=uuid4(), kind="worker", name="test")
    workers.beat(session, pulse)
    metrics = {"process_space": space}
    session.execute(
        update(Worker)
        .where(Worker.id == pulse.id)
        .values(
            pid=pid,
            metrics=metrics,
            last_heartbeat_at=func.clock_timestamp() - timedelta(seconds=silent_seconds),
        )
    )
    session.commit()
    return pulse.id


def lost(session: Session) -> set[UUID]:
    return {worker.id for worker in workers.mark_lost(session, stale_seconds=3600)}


def test_a_worker_whose_process_is_gone_is_lost_before_it_falls_silent(
    session: Session, gone: int
) -> None:
    add(session, os.getpid())
    dead = add(session, gone)
    assert lost(session) == {dead}
    assert lost(session) == set()


def test_a_process_that_began_later_is_not_the_worker(session: Session) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        worker = add(session, child.pid)
        session.execute(update(Worker).values(metrics={"process_ticks": 1, "process_space": HERE}))
        assert lost(session) == {worker}


def test_a_living_worker_is_its_own_process_whatever_the_clock_says(session: Session) -> None:
    pulse = Pulse(id=uuid4(), kind="worker", name="test")
    workers.beat(session, pulse)
    ticks = session.get_one(Worker, pulse.id).metrics["process_ticks"]
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 < since_boot - ticks / os.sysconf("SC_CLK_TCK") < 86_400
    assert lost(session) == set()


@pytest.mark.parametrize("space", ["another-boot pid:[1]", None])
def test_a_worker_in_another_container_of_the_same_host_name_is_not_judged_by_our_processes(
    session: Session, gone: int, space: str | None
) -> None:
    add(session, gone, space=space)
    assert lost(session) == set()


def test_a_worker_says_where_its_number_counts(session: Session) -> None:
    pulse = Pulse(id=uuid4(), kind="worker", name="test")
    workers.beat(session, pulse)
    row = session.get_one(Worker, pulse.id)
    assert HERE is not None
    assert row.metrics["process_space"] == HERE


def test_a_silent_worker_is_lost_wherever_it_is(session: Session) -> None:
    # Silence counts from the server's start at the earliest.
    elsewhere = add(session, os.getpid(), space="another-boot pid:[1]", silent_seconds=7200)
    found = {worker.id for worker in workers.mark_lost(session, stale_seconds=0.001)}
    assert elsewhere in found


def test_silence_counts_only_while_the_database_was_there_to_be_told(session: Session) -> None:
    elsewhere = add(session, os.getpid(), space="another-boot pid:[1]", silent_seconds=7200)

    def lost_by(hearing: Hearing) -> set[UUID]:
        found = {worker.id for worker in workers.mark_lost(session, 0.3, hearing)}
        session.rollback()
        return found

    hearing = Hearing(gap_seconds=0.2)
    assert lost_by(hearing) == set()
    wait_until(lambda: hearing.seconds() > 0.3, "it has been heard long enough")
    assert lost_by(hearing) == {elsewhere}
    time.sleep(0.21)  # nothing was heard meanwhile
    assert lost_by(hearing) == set()
