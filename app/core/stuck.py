"""Jobs that are said to run and whose worker is dead or unknown: found, put back, or failed.

Our own tasks are put back by the housekeeper (app.core.recovery). Another app's are that app's business, so
somebody has to say it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from procrastinate import exceptions
from sqlalchemy.orm import Session

from app.core import other_workers, recovery
from app.core.acting import Done, batch_of, begin, done, look_again, refusal
from app.core.errors import Conflict
from app.core.models import Job
from app.core.settings import Settings
from app.core.sql import statement
from app.core.users import Actor


@dataclass(frozen=True)
class Stuck:
    """A job without a worker, which was `heard_at` last (None: never)."""

    job_id: int
    attempts: int
    heard_at: datetime | None

    def sentence(self, now: datetime) -> str:
        """Like: Its worker has died: it was last heard of 3 min ago."""
        if self.heard_at is None:
            return "Its worker has died: nothing is known of it any more"
        return f"Its worker has died: it was last heard of {_age(now - self.heard_at)} ago"


def find(session: Session, settings: Settings, jobs: Iterable[Any]) -> dict[int, Stuck]:
    """Which of some jobs (columns `id`, `status`, `attempt_started_at`) have no living worker."""
    now = datetime.now(UTC)
    silent = timedelta(seconds=settings.worker_stale_seconds)
    began = {
        job.id: job.attempt_started_at
        for job in jobs
        if job.status == "running"
        and (job.attempt_started_at is None or job.attempt_started_at < now - silent)
    }
    if not began or not other_workers.are_known(session):
        return {}
    rows = session.execute(statement("stuck", "heard"), {"job_ids": list(began)})
    return {
        row.id: Stuck(row.id, row.attempts, row.heard_at)
        for row in rows
        if row.is_gone or row.heard_at < now - silent
    }


def put_back(session: Session, settings: Settings, job_id: str, actor: Actor) -> Done:
    """Let such a job wait for a worker again. The caller commits.

    Raises NotFound, Forbidden, and Conflict when it does not run, its worker lives, or another job waits
    with its queueing lock.
    """
    job, stuck = _hold(session, settings, job_id, actor, "put back")
    session.execute(statement("workers", "lose"), {"id": job.id, "attempts": stuck.attempts})
    queueing_lock = job.queueing_lock
    try:
        recovery.put_back(session, job.id)
    except exceptions.ProcrastinateException as fault:
        if queueing_lock is None or not isinstance(fault, exceptions.UniqueViolation):
            raise
        raise Conflict(
            f"Another job waits with its queueing lock {queueing_lock!r}, so this one can't be put back:"
            " fail it, or wait until that one has begun.",
            param="job_id",
            code="already_enqueued",
        ) from fault
    return done(session, job, actor, "job.put_back", "It waits for a worker again.")


def fail(session: Session, settings: Settings, job_id: str, actor: Actor) -> Done:
    """End such a job as failed. The caller commits. Raises as `put_back`."""
    job, stuck = _hold(session, settings, job_id, actor, "failed")
    if batch_of(session, job) is not None:
        raise Conflict(
            "A batch goes on with another job: put this one back, or cancel the batch.",
            param="job_id",
            code="status",
        )
    session.execute(statement("workers", "lose"), {"id": job.id, "attempts": stuck.attempts})
    recovery.fail(session, job.id)
    return done(session, job, actor, "job.fail", "The job has failed.")


def _hold(
    session: Session, settings: Settings, job_id: str, actor: Actor, participle: str
) -> tuple[Job, Stuck]:
    """The job, locked in the queue, and still without a worker."""
    job = begin(session, job_id, actor, "its worker has died")
    if job.status == "running":
        session.execute(statement("stuck", "hold"), {"job_id": job.id})
        look_again(session, job)
    if job.status != "running":
        raise refusal(job, participle)
    stuck = find(session, settings, [job]).get(job.id)
    if stuck is None:
        raise Conflict(
            f"Its worker lives, so it can't be {participle}: cancel or abort it.",
            param="job_id",
            code="status",
        )
    return job, stuck


def _age(away: timedelta) -> str:
    seconds = away.total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
