"""The queues and who works on them: figures for dashboards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from flask import Blueprint, g

from app.api.openapi import Answer, describe
from app.auth import needs
from app.core import job_actions, job_retries, job_stats, queue_stats
from app.core.models import Worker
from app.core.queue_stats import QueueFigures
from app.extensions import current_settings, db

blueprint = Blueprint("queues", __name__, url_prefix="/api")


class QueueStats(Answer):
    """All queues together, and the machine."""

    pending_jobs: int
    running_jobs: int
    scheduled_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    retrying_jobs: int
    total_jobs: int
    queue_type: Literal["procrastinate"]
    cpu_usage_percent: float
    memory_usage_mb: float
    active_workers: int
    last_cleanup_at: datetime | None
    last_cleanup_removed: int


class JobMessage(Answer):
    """What was done, and the job that it leads to."""

    message: str
    job_id: str


class Queue(Answer):
    """One queue: what it holds now, and its last 24 hours (durations of completed jobs)."""

    name: str
    pending: int
    scheduled: int
    retrying: int
    running: int
    completed: int
    failed: int
    cancelled: int
    completed_24h: int
    failed_24h: int
    average_wait_seconds: float | None
    average_run_seconds: float | None
    p95_run_seconds: float | None


class Queues(Answer):
    """Every queue that ever had a job."""

    queues: list[Queue]
    count: int


class WorkerRow(Answer):
    """A process that works; `running_job_ids` has those that the caller may see."""

    id: str
    name: str
    kind: str
    host: str
    pid: int
    status: str
    is_alive: bool
    started_at: datetime
    last_heartbeat_at: datetime
    heartbeat_age_seconds: float
    stopped_at: datetime | None
    current_model: str | None
    models: list[str]
    engine_status: str | None
    engine_error: str | None
    running_jobs: int
    running_job_ids: list[str]


class Workers(Answer):
    """The processes that live, or ended in the last 24 hours."""

    workers: list[WorkerRow]
    count: int


@blueprint.get("/v1/jobs/queue/stats")
@needs("read")
@describe(answer=QueueStats)
def show_stats() -> QueueStats:
    """How many jobs there are of each status, and how the machine is doing."""
    session = db.session()
    totals = job_stats.totals(session, g.actor.owner_name)
    cleanup = queue_stats.last_cleanup(session)
    machine = queue_stats.machine()
    return QueueStats(
        **{f"{status}_jobs": jobs for status, jobs in totals.by_status.items()},
        total_jobs=totals.total,
        queue_type="procrastinate",
        cpu_usage_percent=machine.cpu_percent,
        memory_usage_mb=machine.memory_mb,
        active_workers=queue_stats.count_active_workers(
            session, current_settings().worker_stale_seconds
        ),
        last_cleanup_at=cleanup.ended_at,
        last_cleanup_removed=cleanup.rows_removed,
    )


@blueprint.post("/v1/jobs/cancel/<job_id>")
@needs("submit")
@describe(answer=JobMessage, errors=(409,))
def cancel_job(job_id: str) -> JobMessage:
    """End a waiting job at once, a running one after its current operation."""
    done = job_actions.cancel(db.session(), job_id, g.actor)
    db.session.commit()
    return JobMessage(message=done.message, job_id=str(done.job_id))


@blueprint.post("/v1/jobs/restart/<job_id>")
@needs("submit")
@describe(answer=JobMessage, errors=(409, 422))
def restart_job(job_id: str) -> JobMessage:
    """Make a new job like one that has ended, at once."""
    made = job_retries.retry(db.session(), current_settings(), job_id, g.actor)
    db.session.commit()
    return JobMessage(
        message=f"Job {made.job_id} retries job {made.retried_from}.", job_id=str(made.job_id)
    )


@blueprint.get("/queues")
@needs("read")
@describe(answer=Queues)
def list_queues() -> Queues:
    """Every queue, what it holds, and how it did in the last 24 hours."""
    found = [_queue(each) for each in queue_stats.queues(db.session(), g.actor.owner_name)]
    return Queues(queues=found, count=len(found))


@blueprint.get("/workers")
@needs("read")
@describe(answer=Workers)
def list_workers() -> Workers:
    """The processes that work, and what they do."""
    session = db.session()
    found = queue_stats.list_workers(session)
    ids = [job_id for worker in found for job_id in worker.running_job_ids]
    visible = queue_stats.owned(session, ids, g.actor.owner_name)
    workers = [_worker(worker, visible) for worker in found]
    return Workers(workers=workers, count=len(workers))


def _queue(each: QueueFigures) -> Queue:
    return Queue(
        name=each.name,
        **each.counts,
        completed_24h=each.completed_24h,
        failed_24h=each.failed_24h,
        average_wait_seconds=each.average_wait_seconds,
        average_run_seconds=each.average_run_seconds,
        p95_run_seconds=each.p95_run_seconds,
    )


def _worker(worker: Worker, visible: set[int]) -> WorkerRow:
    age = max(0.0, (datetime.now(UTC) - worker.last_heartbeat_at).total_seconds())
    return WorkerRow(
        id=str(worker.id),
        name=worker.name,
        kind=worker.kind,
        host=worker.host,
        pid=worker.pid,
        status=worker.status,
        is_alive=worker.stopped_at is None and age <= current_settings().worker_stale_seconds,
        started_at=worker.started_at,
        last_heartbeat_at=worker.last_heartbeat_at,
        heartbeat_age_seconds=round(age, 1),
        stopped_at=worker.stopped_at,
        current_model=worker.current_model,
        models=worker.models,
        engine_status=worker.engine_status,
        engine_error=worker.engine_error,
        running_jobs=len(worker.running_job_ids),
        running_job_ids=[str(job) for job in worker.running_job_ids if job in visible],
    )
