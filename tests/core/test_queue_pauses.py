"""Paused queues: from then on nothing is fetched from them, by any worker of ours, until they are resumed."""

from __future__ import annotations

import threading

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from app.core import jobs, queue, queue_pauses
from app.core.db import driver_connection
from app.core.errors import NotFound, Refused
from app.core.models import Adoption, AuditEntry
from tests.core.test_admission import fetch, put, worker

__all__ = ["worker"]


def pause(session: Session, name: str = "tasks", reason: str = "why") -> None:
    queue_pauses.pause(session, name, reason, "kim", models=["a"])
    session.commit()


def test_nothing_is_fetched_from_a_paused_queue_and_all_else_is(
    session: Session, worker: int
) -> None:
    held, other, batch = put(session, queue="tasks"), put(session), put(session, queue="batches")
    pause(session)
    pause(session, "batches")

    assert fetch(session, worker, "tasks") is None
    assert fetch(session, worker, "batches") is None
    assert fetch(session, worker, "tasks", "model:a") == other
    # Also beside somebody whose limit is reached, where the fetch is another statement.
    assert fetch(session, worker, "tasks", "model:a", per_user=1) is None

    assert queue_pauses.resume(session, "tasks", "lee", models=[])
    session.commit()
    assert fetch(session, worker, "tasks") == held
    assert fetch(session, worker, "batches") is None
    assert batch != held


def test_a_pause_says_who_why_and_since_and_a_second_one_changes_nothing(session: Session) -> None:
    pause(session, reason="disk")
    first = queue_pauses.by_queue(session)["tasks"]
    again = queue_pauses.pause(session, "tasks", "other", "lee", models=[])
    session.commit()

    assert (again.paused_by, again.reason, again.paused_at) == ("kim", "disk", first.paused_at)
    entries = session.execute(select(AuditEntry.actor, AuditEntry.action, AuditEntry.details)).all()
    assert [tuple(entry) for entry in entries] == [("kim", "queue.pause", "disk")]


def test_resuming_wakes_the_workers(session: Session, database_url: str) -> None:
    pause(session)
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute('LISTEN "procrastinate_queue_v1#tasks"')
        queue_pauses.resume(session, "tasks", "kim", models=[])
        session.commit()
        heard = next(listener.notifies(timeout=30))
    assert "job_inserted" in heard.payload
    assert not queue_pauses.resume(session, "tasks", "kim", models=[])


def test_a_pause_begins_when_it_is_done_and_not_after(
    session: Session, engine: Engine, worker: int
) -> None:
    """A fetch that has begun ends first; none that begins later takes a job."""
    put(session, queue="tasks")
    with Session(engine) as fetching:
        fetching.execute(
            text("SELECT * FROM stoker_fetch('{tasks}', :worker, '{tasks}', 0, 0)"),
            {"worker": worker},
        )
        done = threading.Event()

        def run() -> None:
            pause(session)
            done.set()

        pid = driver_connection(session).info.backend_pid
        thread = threading.Thread(target=run)
        thread.start()
        with Session(engine) as looking:
            while not looking.execute(text("SELECT pg_blocking_pids(:pid)"), {"pid": pid}).scalar():
                assert not done.is_set()
        fetching.commit()
        thread.join()
    put(session, queue="tasks")
    assert fetch(session, worker, "tasks") is None


def test_a_model_whose_queue_is_paused_gets_no_turn(session: Session) -> None:
    jobs.defer(session, "run_batch", {"batch_id": "b"}, queue="model:a", owner_name="kim")
    pause(session, "model:a")

    assert queue.list_waiting_models(session) == []


def test_only_queues_that_our_workers_read_are_paused(session: Session) -> None:
    put(session, queue="shop")

    for name, fault in (("shop", Refused), ("nothing", NotFound), ("model:b", NotFound)):
        with pytest.raises(fault):
            pause(session, name)
    put(session, queue="model:b")
    pause(session, "model:b")  # a model that was in the registry once


def test_another_apps_queue_of_the_same_name_is_not_ours_to_pause(session: Session) -> None:
    session.add(Adoption(id=1, may_archive=False))
    session.execute(text("SET application_name = 'shop'"))
    put(session, queue="tasks")

    with pytest.raises(Refused, match="another app's own workers"):
        pause(session)
