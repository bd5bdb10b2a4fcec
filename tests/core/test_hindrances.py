"""Why a job that waits is not running, whichever of the reasons it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import hindrances, jobs, queue, workers
from app.core.models import Job
from app.core.settings import Settings
from app.core.workers import Pulse


def put(session: Session, name: str = queue.TASKS, **options: object) -> int:
    job_id = jobs.defer(session, "export", {}, queue=name, owner_name="kim", **options)  # type: ignore[arg-type]
    session.commit()
    return job_id


def fetched(session: Session, job_id: int) -> None:
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": job_id}
    )
    session.commit()


def kinds(
    session: Session, settings: Settings, job_id: int, owner_name: str | None = None
) -> list[str]:
    job = session.scalars(select(Job).where(Job.id == job_id)).one()
    session.refresh(job)
    return [each.kind for each in hindrances.find(session, settings, job, owner_name)]


@pytest.fixture
def worker(session: Session) -> Pulse:
    """A worker of ours that lives and has the model a loaded."""
    pulse = Pulse(uuid4(), "worker", "gpu-1", current_model="a", models=("a", "b"))
    workers.beat(session, pulse)
    return pulse


def test_without_a_worker_nothing_runs(session: Session, settings: Settings) -> None:
    assert kinds(session, settings, put(session)) == ["no worker"]


@pytest.mark.usefixtures("worker")
def test_it_is_only_not_its_turn(session: Session, settings: Settings) -> None:
    first, second = put(session), put(session)

    assert kinds(session, settings, first) == ["turn"]
    job = session.scalars(select(Job).where(Job.id == second)).one()
    (reason,) = hindrances.find(session, settings, job, None)
    assert reason.sentence == "1 job stands in front of it in the queue tasks"


@pytest.mark.usefixtures("worker")
def test_the_engine_is_busy_with_another_model(session: Session, settings: Settings) -> None:
    assert kinds(session, settings, put(session, queue.model_queue("b"))) == ["model"]
    assert kinds(session, settings, put(session, queue.model_queue("c"))) == ["no worker"]


@pytest.mark.usefixtures("worker")
def test_a_limit_is_reached(session: Session, settings: Settings) -> None:
    fetched(session, put(session))
    few = settings.model_copy(update={"user_concurrent_jobs": 1})

    assert kinds(session, few, put(session)) == ["limit"]


@pytest.mark.usefixtures("worker")
def test_it_is_due_later_or_needs_another(session: Session, settings: Settings) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)

    assert kinds(session, settings, put(session, schedule_at=later)) == ["later"]
    assert "dependency" in kinds(session, settings, put(session, needs=1))


@pytest.mark.usefixtures("worker")
def test_a_lock_is_held_by_a_job_that_only_those_who_may_see_it_are_told(
    session: Session, settings: Settings
) -> None:
    holder = put(session, lock="printer")
    fetched(session, holder)
    job = session.scalars(select(Job).where(Job.id == put(session, lock="printer"))).one()

    (known,) = hindrances.find(session, settings, job, None)
    (hidden,) = hindrances.find(session, settings, job, "ada")
    assert (known.kind, known.job_id) == ("lock", holder)
    assert hidden.job_id is None
    assert "somebody else's job" in hidden.sentence


@pytest.mark.usefixtures("worker")
def test_what_runs_or_has_ended_is_hindered_by_nothing(
    session: Session, settings: Settings
) -> None:
    job_id = put(session)
    fetched(session, job_id)

    assert kinds(session, settings, job_id) == []
