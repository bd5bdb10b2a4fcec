"""The queues and who works on them: figures for dashboards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from flask import Blueprint, g
from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi import Answer, describe
from app.api.schemas import read_body
from app.api.v1.models import registry
from app.auth import needs
from app.core import job_actions, job_retries, job_stats, queue_pauses, queue_stats, reasons
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
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None


class Queues(Answer):
    """Every queue that ever had a job, or is paused."""

    queues: list[Queue]
    count: int


class PauseBody(BaseModel):
    """POST /api/queues/{name}/pause."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: Annotated[str, Field(min_length=1, max_length=reasons.LONGEST)]


class QueuePause(Answer):
    """Whether workers fetch from a queue; if not, who wanted that, why and since when."""

    name: str
    is_paused: bool
    paused_at: datetime | None
    paused_by: str | None
    reason: str | None


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
    """Every queue, what it holds, how it did in the last 24 hours, and whether it is paused."""
    session = db.session()
    pauses = queue_pauses.by_queue(session)
    figures = queue_stats.queues(session, g.actor.owner_name, also=pauses)
    found = [_queue(each, pauses.get(each.name)) for each in figures]
    return Queues(queues=found, count=len(found))


@blueprint.post("/queues/<path:name>/pause")
@needs("operate")
@describe(body=PauseBody, answer=QueuePause, errors=(422,))
def pause(name: str) -> QueuePause:
    """Let no worker fetch from a queue; what runs goes on. A pause that is there stays as it is."""
    body = read_body(PauseBody)
    session = db.session()
    made = queue_pauses.pause(
        session, name, body.reason, g.actor.label, models=registry().models.keys()
    )
    session.commit()
    return QueuePause(
        name=name,
        is_paused=True,
        paused_at=made.paused_at,
        paused_by=made.paused_by,
        reason=made.reason,
    )


@blueprint.delete("/queues/<path:name>/pause")
@needs("operate")
@describe(answer=QueuePause, errors=(422,))
def resume(name: str) -> QueuePause:
    """Let workers fetch from a queue again; one that is not paused stays so."""
    session = db.session()
    queue_pauses.resume(session, name, g.actor.label, models=registry().models.keys())
    session.commit()
    return QueuePause(name=name, is_paused=False, paused_at=None, paused_by=None, reason=None)


@blueprint.get("/workers")
@needs("read")
@describe(answer=Workers)
def list_workers() -> Workers:
    """The processes that work, and what they do."""
    session = db.session()
    found = queue_stats.list_workers(session)
    ids = [job_id for worker in found for job_id in worker.running_job_ids]
    visible = queue_stats.owned(session, ids, g.actor.owner_name)
    workers = [worker_row(worker, visible) for worker in found]
    return Workers(workers=workers, count=len(workers))


def _queue(each: QueueFigures, pause: queue_pauses.Pause | None) -> Queue:
    return Queue(
        name=each.name,
        **each.counts,
        completed_24h=each.completed_24h,
        failed_24h=each.failed_24h,
        average_wait_seconds=each.average_wait_seconds,
        average_run_seconds=each.average_run_seconds,
        p95_run_seconds=each.p95_run_seconds,
        paused_at=pause.paused_at if pause else None,
        paused_by=pause.paused_by if pause else None,
        pause_reason=pause.reason if pause else None,
    )


def worker_row(worker: Worker, visible: set[int]) -> WorkerRow:
    """A worker as programs get it, with those of its jobs that are visible."""
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
