"""A job whose worker has died: flagged, and put back or failed by whoever may."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import hindrances, jobs, other_workers, stuck, users
from app.core.errors import Conflict, Forbidden
from app.core.models import AuditEntry, Job
from app.core.settings import Settings
from app.core.users import Actor


@pytest.fixture
def actor(session: Session) -> Actor:
    return users.actor_of(users.ensure_admin(session))


def doing(session: Session, *, silent_seconds: float | None) -> Job:
    """A job that began an hour ago; its worker was last heard of so long ago, or (None) is gone."""
    job_id = jobs.defer(session, "export", {}, queue="tasks")
    worker = None
    if silent_seconds is not None:
        worker = session.scalar(
            text(
                "INSERT INTO procrastinate_workers (last_heartbeat)"
                " VALUES (now() - :silent * interval '1 s') RETURNING id"
            ),
            {"silent": silent_seconds},
        )
    asked = {"id": job_id, "worker": worker}
    session.execute(
        text("UPDATE procrastinate_jobs SET status = 'doing', worker_id = :worker WHERE id = :id"),
        asked,
    )
    session.execute(
        text("UPDATE job SET attempt_started_at = now() - interval '1 h' WHERE id = :id"), asked
    )
    session.commit()
    return session.scalars(select(Job).where(Job.id == job_id)).one()


def test_one_whose_worker_is_silent_says_since_when(session: Session, settings: Settings) -> None:
    job = doing(session, silent_seconds=settings.worker_stale_seconds + 190)

    found = stuck.find(session, settings, [job])[job.id]
    (reason,) = hindrances.find(session, settings, job, None)

    assert found.sentence(datetime.now(UTC)).startswith("Its worker has died: it was last heard of")
    assert reason.kind == "lost"


def test_one_whose_worker_was_removed_is_lost(session: Session, settings: Settings) -> None:
    job = doing(session, silent_seconds=None)

    assert job.id in stuck.find(session, settings, [job])


def test_of_an_app_whose_jobs_name_no_worker_nothing_is_said(
    session: Session, settings: Settings
) -> None:
    """As Procrastinate 3.0's are."""
    job = doing(session, silent_seconds=None)
    session.execute(text("ALTER TABLE procrastinate_jobs RENAME COLUMN worker_id TO unknown"))
    try:
        assert stuck.find(session, settings, [job]) == {}
        assert other_workers.may_live(session, settings.worker_stale_seconds)
    finally:
        session.rollback()


def test_one_whose_worker_lives_is_left_alone(
    session: Session, settings: Settings, actor: Actor
) -> None:
    job = doing(session, silent_seconds=0)

    assert stuck.find(session, settings, [job]) == {}
    with pytest.raises(Conflict, match="Its worker lives"):
        stuck.fail(session, settings, str(job.id), actor)


def test_put_back_it_waits_again(session: Session, settings: Settings, actor: Actor) -> None:
    job = doing(session, silent_seconds=None)

    done = stuck.put_back(session, settings, str(job.id), actor)
    session.commit()

    assert done.status in ("pending", "retrying")
    status = session.scalar(
        text("SELECT status FROM procrastinate_jobs WHERE id = :id"), {"id": job.id}
    )
    assert status == "todo"
    assert session.scalars(
        select(AuditEntry.action).where(AuditEntry.action == "job.put_back")
    ).all()


def test_failed_it_has_ended(session: Session, settings: Settings, actor: Actor) -> None:
    job = doing(session, silent_seconds=None)

    done = stuck.fail(session, settings, str(job.id), actor)
    session.commit()

    assert done.status == "failed"
    with pytest.raises(Conflict, match="is failed can't be put back"):
        stuck.put_back(session, settings, str(job.id), actor)


def test_who_may_only_look_rescues_nothing(session: Session, settings: Settings) -> None:
    job = doing(session, silent_seconds=None)

    with pytest.raises(Forbidden):
        stuck.fail(session, settings, str(job.id), Actor(1, "kim", frozenset({"read"})))
