"""Time-outs of jobs: a task is asked to stop, and given up when it does not; by a real worker."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import procrastinate
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.core import jobs, tasks, users
from app.core.engines import RegistryFile
from app.core.models import Attempt, Job
from app.core.settings import Settings
from worker.engine import Engine as ModelEngine
from worker.house import Helpers, House
from worker.outages import Patience
from worker.queue_connector import make_connector
from worker.queue_workers import make_task_worker
from worker.tasks import work
from worker.tasks.work import Work
from worker.turns import Turns

Run = Callable[..., Job]


@pytest.fixture
def run(
    settings: Settings, session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs a function as the one task of a worker in this process, until its job has ended."""
    helpers = Helpers()

    def run(function: Callable[[Work], Any], timeout: float | None, **changed: Any) -> Job:
        users.ensure_admin(session)
        job_id = jobs.defer(
            session, "slow", {}, queue=tasks.QUEUE, owner_name="admin", timeout_seconds=timeout
        )
        session.commit()
        here = settings.model_copy(update={"poll_seconds": 0.1, **changed})
        sessions = sessionmaker(engine, expire_on_commit=False)
        patience = Patience()
        registry = RegistryFile(here.models_path)
        turns = Turns(here, registry, sessions, ModelEngine(here))
        house = House(here, sessions, registry, turns, helpers, uuid4(), patience)
        app = procrastinate.App(connector=make_connector(here, patience))
        monkeypatch.setattr(work, "app", app)

        @work.built_in("slow", tasks.Cleanup)
        def slow(its: Work, asked: tasks.Cleanup) -> Any:
            return function(its)

        async def live() -> None:
            async with app.open_async():
                worker = make_task_worker(app, house)
                running = asyncio.create_task(worker.run())  # type: ignore[no-untyped-call]
                while (await asyncio.to_thread(find)).ended_at is None:
                    await asyncio.sleep(0.02)
                worker.stop()  # type: ignore[no-untyped-call]
                await running

        def find() -> Job:
            session.rollback()
            return session.scalars(select(Job).where(Job.id == job_id)).one()

        asyncio.run(asyncio.wait_for(live(), 60))
        return find()

    yield run
    helpers.close()


def until_stopped(its: Work) -> None:
    its._stop.wait(60)
    its.check()


def test_a_task_that_is_too_slow_is_stopped_and_its_job_fails(run: Run, session: Session) -> None:
    job = run(until_stopped, 0.3)

    assert (job.status, job.error_type) == ("failed", "TimeoutError")
    assert job.error_message is not None
    words = r"It was stopped after \d+\.\d s: its time-out is 0\.3 s\."
    assert re.fullmatch(words, job.error_message)
    outcomes = session.scalars(select(Attempt.outcome).where(Attempt.job_id == job.id)).all()
    assert outcomes == ["failed"]


def test_the_setting_bounds_what_has_no_time_out_of_its_own(run: Run) -> None:
    job = run(until_stopped, None, job_timeout_seconds=0.2)
    assert job.error_message is not None
    assert job.error_message.endswith("its time-out is 0.2 s.")


def test_a_task_that_does_not_stop_is_given_up_after_the_grace_with_its_worker(run: Run) -> None:
    let_go = threading.Event()

    houses = []

    def deaf(its: Work) -> dict[str, bool]:
        houses.append(its.house)
        let_go.wait(60)
        return {"was_heard": True}

    try:
        job = run(deaf, 0.1, job_timeout_grace_seconds=0.1)
    finally:
        let_go.set()
    assert houses[0].stuck.is_set()
    assert (job.status, job.error_type, job.result) == ("failed", "TimeoutError", None)
    assert job.error_message is not None
    assert "s: its time-out is 0.1 s." in job.error_message
    assert "so its worker was ended" in job.error_message


def test_a_task_that_was_through_in_its_grace_has_completed(run: Run) -> None:
    def late(its: Work) -> dict[str, bool]:
        its._stop.wait(60)
        return {"is_through": True}

    job = run(late, 0.1)
    assert (job.status, job.result) == ("completed", {"is_through": True})


def test_an_error_in_the_grace_is_the_jobs_error(run: Run) -> None:
    def breaks(its: Work) -> None:
        its._stop.wait(60)
        raise OSError("disk full")

    job = run(breaks, 0.1)
    assert (job.status, job.error_type, job.error_message) == ("failed", "OSError", "disk full")


def test_a_task_in_its_time_is_left_alone(run: Run) -> None:
    job = run(lambda its: {"rows": 1}, 60)
    assert (job.status, job.result) == ("completed", {"rows": 1})
