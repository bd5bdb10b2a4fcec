"""Retrying a job that has ended: always a new job, which names the old one in `retried_from`.

Asked for again while the new one has not ended, or within moments, it gives that one: a double click
and a client that repeats its call make one job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from procrastinate import exceptions
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import acting, audit, batches, job_bulk, jobs, tasks
from app.core.batches import NewBatch
from app.core.errors import Conflict, NotFound, Refused
from app.core.models import JOB_FINAL, Batch, Job
from app.core.settings import Settings
from app.core.sql import statement
from app.core.users import Actor, authorize

# A repeated call within so many seconds means the same.
_AT_ONCE_SECONDS = 5.0


@dataclass(frozen=True)
class Retry:
    """The new job. `is_new` is false when an earlier call has made it."""

    job_id: int
    retried_from: int
    is_new: bool


def retry(
    session: Session,
    settings: Settings,
    job_id: str,
    actor: Actor,
    *,
    arguments: Mapping[str, Any] | None = None,
    schedule_at: datetime | None = None,
    since: datetime | None = None,
) -> Retry:
    """Make a job like one that has ended, now or for a time, with other arguments where given.

    It is its owner's, with the same queue, priority and lock, and no queueing lock. Of a batch's job it
    is a new batch of the same file. What was made later than `since` is not made once more. The caller
    commits. Raises NotFound, Forbidden (also where the actor could not start the task), Conflict when
    the job has not ended or a different retry of it has not, Invalid (an argument), Refused.
    """
    job = acting.begin(session, job_id, actor, None)
    if job.status not in JOB_FINAL:
        raise acting.refusal(job, "retried")
    acting.hold(session, job)
    earlier = _earlier(session, job, since)
    if earlier is not None:
        if arguments is not None and dict(arguments) != earlier.arguments:
            raise Conflict(
                f"Job {earlier.id} retries this one with other arguments, and has not ended.",
                param="job_id",
                code="already_retried",
            )
        return Retry(earlier.id, job.id, is_new=False)
    new_id = _make(session, settings, job, actor, arguments, _future(schedule_at))
    session.execute(
        statement("job_actions", "name_retry"),
        {
            "job_id": new_id,
            "retried_from": job.id,
            "owner_name": job.owner_name,
            # Who looks after another app's jobs must not take the new one for ours.
            "created_by": None if acting.is_ours(session, job) else job.created_by,
        },
    )
    how = "" if arguments is None else " with other arguments"
    told = {**acting.key_of(job), "details": f"retried as job {new_id}{how}"}
    session.execute(statement("job_actions", "tell"), told)
    audit.record(session, actor.label, "job.retry", str(job.id), f"job {new_id}{how}")
    return Retry(new_id, job.id, is_new=True)


def _earlier(session: Session, job: Job, since: datetime | None) -> Any:
    """The retry that an earlier call has made, if this one means it, too."""
    row = session.execute(
        statement("job_actions", "newest_retry"),
        {**acting.key_of(job), "seconds": _AT_ONCE_SECONDS},
    ).one_or_none()
    if row is None:
        return None
    is_since = since is not None and row.created_at >= since
    return row if is_since or row.is_young or row.status not in JOB_FINAL else None


def _future(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and moment.astimezone(UTC) > datetime.now(UTC) else None


def _make(
    session: Session,
    settings: Settings,
    job: Job,
    actor: Actor,
    arguments: Mapping[str, Any] | None,
    schedule_at: datetime | None,
) -> int:
    given = job.arguments if arguments is None else dict(arguments)
    if not acting.is_ours(session, job):
        if arguments is not None:
            # We don't know what that program's task takes.
            authorize(actor, "operate")
        return _clone(session, settings, job, given, schedule_at)
    if job.task == batches.TASK:
        if arguments is not None or schedule_at is not None:
            raise Refused(
                "A batch is retried as it is, and at once.",
                param="args" if arguments is not None else "schedule_at",
            )
        return _batch_again(session, settings, job)
    if job.task == job_bulk.TASK:
        return job_bulk.defer(session, given, actor, schedule_at=schedule_at)
    return tasks.defer_task(
        session,
        job.task,
        given,
        actor,
        settings=settings,
        priority=job.priority,
        lock=job.lock,
        schedule_at=schedule_at,
        timeout_seconds=job.timeout_seconds,
        horizon_seconds=settings.waiting_horizon_seconds,
    )


def _clone(
    session: Session,
    settings: Settings,
    job: Job,
    arguments: Mapping[str, Any],
    schedule_at: datetime | None,
) -> int:
    try:
        return jobs.defer(
            session,
            job.task,
            arguments,
            queue=job.queue,
            priority=job.priority,
            lock=job.lock,
            schedule_at=schedule_at,
            timeout_seconds=job.timeout_seconds,
            horizon_seconds=settings.waiting_horizon_seconds,
            model=job.model,
        )
    except exceptions.ConnectorException as fault:
        # An app's Procrastinate before 3.2 lacks the function that defers.
        words = str(fault.__cause__ or fault).splitlines()[0]
        raise Refused(f"The queue does not take the job: {words}.") from fault


def _batch_again(session: Session, settings: Settings, job: Job) -> int:
    """A new batch of the same file and settings; its completion window begins now."""
    batch = session.scalar(select(Batch).where(Batch.id == str(job.arguments.get("batch_id"))))
    if batch is None:
        raise NotFound("The job's batch is gone.", param="job_id", code="not_found")
    if not batches.is_final(batch):
        raise Conflict(
            f"Its batch {batch.id} has not ended: it is {batch.status}.",
            param="job_id",
            code="status",
        )
    new = batches.create(
        session,
        batch.owner_id,
        NewBatch.again(batch, batch.input_file_id),
        settings=settings,
    )
    assert new.job_id is not None
    return new.job_id
