"""Recovery: jobs of lost workers go back to their queue, batches without a job get one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import procrastinate
import structlog
from procrastinate import exceptions
from sqlalchemy import Row, update
from sqlalchemy.orm import Session

from app.core import attempts, batches, workers
from app.core.models import Batch
from app.core.settings import Settings
from app.core.sql import statement

log = structlog.get_logger(__name__)


def recover(
    session: Session, settings: Settings, queue_app: procrastinate.App, tasks: Sequence[str]
) -> list[int]:
    """Mark silent workers as lost and put their jobs back; commits. Returns the jobs' ids.

    `queue_app` is an open Procrastinate app with a sync connector. A job counts as lost when its
    worker is, when no worker claims it, or when its worker lives but has not run it for several
    heartbeats (its end could not be recorded).
    """
    for worker in workers.mark_lost(session, settings.worker_stale_seconds):
        attempts.mark_lost(session, worker.id)
        log.warning("worker.lost", worker=worker.name, pid=worker.pid, host=worker.host)
    session.commit()
    rows = session.execute(
        statement("workers", "doing_jobs"),
        {"stale_seconds": settings.worker_stale_seconds, "tasks": list(tasks)},
    ).all()
    session.rollback()
    lost = [row for row in rows if _is_lost(row, settings)]
    return [row.id for row in lost if _put_back(queue_app, row.id)]


def _is_lost(row: Row[Any], settings: Settings) -> bool:
    if row.owner_id is None:
        # A worker that has just started may not have introduced itself yet.
        return bool(row.age_seconds > settings.worker_stale_seconds)
    if not row.owner_is_alive:
        return True
    slack = 3 * settings.worker_heartbeat_seconds
    return not row.owner_runs_it and (row.said_seconds_after_start or 0) > slack


def _put_back(queue_app: procrastinate.App, job_id: int) -> bool:
    try:
        queue_app.job_manager.retry_job_by_id(job_id, retry_at=datetime.now(UTC))
    except exceptions.ProcrastinateException as fault:
        # It has ended meanwhile, or a sibling holds its queueing lock: the others go on.
        log.warning("job.not_put_back", job_id=job_id, error=str(fault))
        return False
    log.warning("job.put_back", job_id=job_id)
    return True


def settle_batches(session: Session) -> int:
    """Give open batches that nobody would end a job that does; commits. How many there were."""
    due = session.execute(statement("workers", "due_batches"), {"queue": batches.QUEUE}).all()
    for row in due:
        batch = batches.get(session, row.id, None)
        if row.is_waiting:
            batches.hurry(session, batch)
            continue
        if row.is_cancelled and batch.status != "cancelling":
            # Somebody ended the job through Procrastinate itself.
            session.execute(
                update(Batch)
                .where(Batch.id == batch.id, Batch.status.in_(("validating", "in_progress")))
                .values(status="cancelling", cancelling_at=datetime.now(UTC))
            )
        batch.job_id = batches.defer_job(session, batch, priority=batch.priority)
        session.flush()
    session.commit()
    return len(due)
