"""One job's record: the job itself, its attempts and transitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.core.errors import NotFound
from app.core.models import Attempt, Job, JobTransition

_MOST_ID = 2**63 - 1
# Workers' clocks say when a line was written, the database's when its job was created.
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Timing:
    """How long a job has run and how long it still may, in seconds."""

    duration_seconds: float | None
    estimated_remaining_seconds: float | None


def get(session: Session, job_id: str, owner_name: str | None) -> Job:
    """A user's (or, with None, anybody's) job. Raises NotFound."""
    is_number = job_id.isascii() and job_id.isdecimal() and len(job_id) <= 19
    job = None
    if is_number and int(job_id) <= _MOST_ID:
        query = select(Job).where(Job.id == int(job_id))
        if owner_name is not None:
            query = query.where(Job.owner_name == owner_name)
        job = session.scalar(query.order_by(Job.created_at.desc()).limit(1))
    if job is None:
        raise absent(job_id)
    return job


def absent(job_id: str) -> NotFound:
    """That there is no such job, or that it is somebody else's."""
    return NotFound(f"There is no job {job_id[:100]!r}.", param="job_id", code="not_found")


def list_attempts(session: Session, job: Job) -> Sequence[Attempt]:
    """A job's attempts, the first one first; there may be many, so their tracebacks stay behind."""
    return session.scalars(
        select(Attempt)
        .options(defer(Attempt.traceback))
        .where(Attempt.job_created_at == job.created_at, Attempt.job_id == job.id)
        .order_by(Attempt.number)
    ).all()


def latest_attempt(session: Session, job: Job) -> Attempt | None:
    """A job's last attempt; None when it has not run."""
    query = (
        select(Attempt)
        .options(defer(Attempt.traceback), defer(Attempt.result))
        .where(Attempt.job_created_at == job.created_at, Attempt.job_id == job.id)
    )
    return session.scalars(query.order_by(Attempt.number.desc()).limit(1)).first()


def list_transitions(
    session: Session, job: Job, *, latest: int | None = None
) -> Sequence[JobTransition]:
    """A job's changes of status after its creation, the first one first; only so many of the latest."""
    found = select(JobTransition).where(
        JobTransition.job_created_at == job.created_at, JobTransition.job_id == job.id
    )
    if latest is None:
        return session.scalars(found.order_by(JobTransition.id)).all()
    newest = session.scalars(found.order_by(JobTransition.id.desc()).limit(latest)).all()
    return list(reversed(newest))


def timing(job: Any, now: datetime) -> Timing:
    """How long a job has run over all of its attempts, and how long it will still run.

    The estimate goes by the rate of the present attempt: items where they are counted, else percent.
    """
    if job.started_at is None:
        return Timing(None, None)
    seconds = job.run_ms / 1000
    if job.status != "running" or job.attempt_started_at is None:
        return Timing(round(seconds, 3), None)
    elapsed = max((now - job.attempt_started_at).total_seconds(), 0.0)
    done: float = job.items_done or 0
    total: float = job.items_total or 0
    if not total:
        done, total = job.progress, 100
    rest = elapsed * (total - done) / done if 0 < done <= total else None
    return Timing(round(seconds + elapsed, 3), None if rest is None else round(rest, 1))


def worker_of(attempt: Attempt) -> str | None:
    """How a worker is named; without the middleware only Procrastinate's number of it is known."""
    if attempt.worker_name is not None:
        return attempt.worker_name
    if attempt.worker_id is not None:
        return str(attempt.worker_id)
    return None if attempt.queue_worker_id is None else str(attempt.queue_worker_id)


def error_of(attempt: Attempt) -> str | None:
    """Why an attempt failed, in a line."""
    words = [word for word in (attempt.error_type, attempt.error_message) if word]
    if words:
        return ": ".join(words)
    return "Its worker was lost." if attempt.outcome == "lost" else None


def previous_errors(job: Job, attempts: Sequence[Attempt]) -> list[str]:
    """Why the attempts before the one that counts failed."""
    is_over = job.ended_at is not None
    before = [attempt for attempt in attempts if not (is_over and attempt is attempts[-1])]
    return [error for attempt in before if (error := error_of(attempt)) is not None]


def next_retry_at(job: Job) -> datetime | None:
    """When a job that failed an attempt is due again; at once, if that is before its last one."""
    return job.scheduled_at if job.status == "retrying" else None
