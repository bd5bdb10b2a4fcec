"""/api/workers/{worker_id}: one worker, the jobs that it ran, and the lives of its machine's workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, g

from app.api.jobs.answers import Status
from app.api.openapi import Answer, describe
from app.api.queue import WorkerRow, worker_row
from app.auth import needs
from app.core import queue_stats, worker_history
from app.core.models import Worker
from app.core.status import API
from app.core.worker_history import COUNT_LIMIT, Life
from app.extensions import db

blueprint = Blueprint("worker_api", __name__, url_prefix="/api/workers")

_FIGURES = (
    *("host_cpu_percent", "memory_bytes", "gpu_utilization", "gpu_memory_percent"),
    *("gpu_temperature", "tokens_per_second"),
)


class WorkerJob(Answer):
    """A job of which the worker ran the latest attempt; `run_seconds` is null while it runs."""

    job_id: str
    job_type: str
    status: Status
    user: str | None
    attempts: int
    created_at: datetime
    started_at: datetime
    completed_at: datetime | None
    run_seconds: float | None


class WorkerLife(Answer):
    """A worker of the same machine and kind from its start to its end.

    `jobs` counts those of which it ran the latest attempt, 1000 at most: with `has_more` there are more.
    """

    id: str
    name: str
    status: str
    is_alive: bool
    started_at: datetime
    stopped_at: datetime | None
    lived_seconds: float
    jobs: int
    has_more: bool


class WorkerDetail(WorkerRow):
    """One worker with the newest 50 jobs and the latest 20 lives; its figures only while it lives.

    Jobs are those that the caller may see.
    """

    host_cpu_percent: float | None
    memory_bytes: float | None
    gpu_utilization: float | None
    gpu_memory_percent: float | None
    gpu_temperature: float | None
    tokens_per_second: float | None
    jobs: list[WorkerJob]
    lives: list[WorkerLife]


@blueprint.get("/<uuid:worker_id>")
@needs("read")
@describe(answer=WorkerDetail)
def show(worker_id: UUID) -> WorkerDetail:
    """One worker: what it is, the jobs that it ran, and the lives of its machine's workers."""
    session, owner_name = db.session(), g.actor.owner_name
    worker = worker_history.get(session, worker_id)
    row = worker_row(worker, queue_stats.owned(session, worker.running_job_ids, owner_name))
    return WorkerDetail(
        **dict(row),
        **_figures(worker, is_alive=row.is_alive),
        jobs=[_job(each) for each in worker_history.list_jobs(session, worker, owner_name)],
        lives=[_life(each) for each in worker_history.list_lives(session, worker, owner_name)],
    )


def _figures(worker: Worker, *, is_alive: bool) -> dict[str, Any]:
    said = worker.metrics if is_alive else {}
    return {name: _number(said.get(name)) for name in _FIGURES}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _job(job: Any) -> WorkerJob:
    return WorkerJob(
        job_id=str(job.id),
        job_type=job.task,
        status=API.say(job.status),  # type: ignore[arg-type]
        user=job.owner_name,
        attempts=job.attempts,
        created_at=job.created_at,
        started_at=job.attempt_started_at,
        completed_at=job.ended_at,
        run_seconds=job.run_ms / 1000 if job.ended_at and job.run_ms is not None else None,
    )


def _life(life: Life) -> WorkerLife:
    row = worker_row(life.worker, set())
    return WorkerLife(
        id=row.id,
        name=row.name,
        status=row.status,
        is_alive=row.is_alive,
        started_at=row.started_at,
        stopped_at=row.stopped_at,
        lived_seconds=life.seconds,
        jobs=min(life.jobs, COUNT_LIMIT),
        has_more=life.has_more,
    )
