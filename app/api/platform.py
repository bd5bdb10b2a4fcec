"""/platform/jobs/api: the JSON of the platform's administration, in its own words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from flask import Blueprint, g
from pydantic import Field, RootModel

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import job_stats, platform_jobs, retry_eligibility
from app.core.models import Job
from app.core.platform_jobs import Performance
from app.core.status import PLATFORM, PLATFORM_LIST, shown
from app.extensions import db

blueprint = Blueprint("platform", __name__, url_prefix="/platform/jobs/api")

Status = Literal["PENDING", "SCHEDULED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED"]


class JobsQuery(Query):
    """Which jobs; without `type`, only how many there are."""

    type: Literal["active", "pending", "completed", "failed"] | None = None
    limit: Limit(100, 1000)  # type: ignore[valid-type]


class ActiveJob(Answer):
    """A job that runs."""

    task_id: str
    task_name: str
    worker: str | None
    args: list[Any]
    kwargs: dict[str, Any]
    time_start: datetime | None
    status: Status


class PendingJob(ActiveJob):
    """A job that waits; `eta` is when it is due, if later than its creation."""

    priority: int
    eta: datetime | None


class CompletedJob(Answer):
    """A job that ended well."""

    task_id: str
    task_name: str
    status: Status
    execution_time: float
    completed_at: datetime | None


class FailedJob(Answer):
    """A job that did not."""

    task_id: str
    task_name: str
    status: Status
    error: str | None
    can_retry: bool
    completed_at: datetime | None


class JobList(Answer):
    """Jobs of one kind."""

    timestamp: datetime
    jobs: list[PendingJob] | list[ActiveJob] | list[CompletedJob] | list[FailedJob]


class QueueCounts(Answer):
    """How many jobs a queue holds."""

    active: int
    pending: int
    scheduled: int


class JobCounts(Answer):
    """How many jobs there are."""

    timestamp: datetime
    active_count: int
    pending_count: int
    completed_count: int
    failed_count: int
    queue_stats: dict[str, QueueCounts]


class Jobs(RootModel[JobList | JobCounts]):
    """Jobs of the kind that was asked for, or else the counts."""


class Queues(Answer):
    """Every queue."""

    queues: dict[str, QueueCounts]
    timestamp: datetime


class PerformanceSummary(Answer):
    """All types together; averages are null where nothing was measured."""

    total_job_types: int
    slow_jobs_count: int
    resource_intensive_count: int
    avg_execution_time: float | None
    avg_cpu_percent: float | None
    avg_memory_mb: float | None


class JobPerformance(Answer):
    """One type of job."""

    task_name: str
    total_executions: int
    success_rate: float | None = Field(description="0 to 1.")
    avg_execution_time: float | None
    max_execution_time: float | None
    avg_cpu_percent: float | None
    avg_memory_mb: float | None


class PerformanceReport(Answer):
    """What is slow and what takes much: runs of the last 30 days."""

    timestamp: datetime
    summary: PerformanceSummary
    slow_jobs: list[JobPerformance]
    resource_intensive_jobs: list[JobPerformance]


@blueprint.get("/jobs/")
@needs("read")
@describe(query=JobsQuery, answer=Jobs)
def list_jobs() -> JobList | JobCounts:
    """Active, pending, completed or failed jobs; without `type`, how many there are of each."""
    asked = read_query(JobsQuery)
    session, now = db.session(), datetime.now(UTC)
    if asked.type is None:
        queues = job_stats.shown_counts(session, "queue", g.actor.owner_name)
        return JobCounts(
            timestamp=now,
            active_count=_sum(queues, "running"),
            pending_count=_sum(queues, "pending", "scheduled", "retrying"),
            completed_count=_sum(queues, "completed"),
            failed_count=_sum(queues, "failed"),
            queue_stats=_queues(queues),
        )
    found = platform_jobs.list_jobs(
        session, asked.type, owner_name=g.actor.owner_name, limit=asked.limit
    )
    match asked.type:
        case "active":
            return JobList(timestamp=now, jobs=[ActiveJob(**_open(job, now)) for job in found])
        case "pending":
            return JobList(timestamp=now, jobs=[_pending(job, now) for job in found])
        case "completed":
            return JobList(timestamp=now, jobs=[_completed(job) for job in found])
        case "failed":
            able = retry_eligibility.find(session, found, g.actor)
            return JobList(
                timestamp=now, jobs=[_failed(job, able[job.id].can_retry) for job in found]
            )


@blueprint.get("/queues/")
@needs("read")
@describe(answer=Queues)
def list_queues() -> Queues:
    """How many jobs each queue holds."""
    counts = job_stats.shown_counts(db.session(), "queue", g.actor.owner_name)
    return Queues(queues=_queues(counts), timestamp=datetime.now(UTC))


@blueprint.get("/performance/")
@needs("read")
@describe(answer=PerformanceReport)
def show_performance() -> PerformanceReport:
    """Which types of jobs are slow (over a minute on average), and which take much."""
    found = platform_jobs.performance(db.session(), g.actor.owner_name)
    slow = [each for each in found if each.stats.is_slow]
    intensive = [each for each in found if each.is_intensive]
    completed = [each.stats for each in found if each.stats.avg_duration_seconds is not None]
    runs = sum(stats.completed_runs for stats in completed)
    seconds = sum(stats.completed_runs * (stats.avg_duration_seconds or 0) for stats in completed)
    return PerformanceReport(
        timestamp=datetime.now(UTC),
        summary=PerformanceSummary(
            total_job_types=len(found),
            slow_jobs_count=len(slow),
            resource_intensive_count=len(intensive),
            avg_execution_time=round(seconds / runs, 3) if runs else None,
            avg_cpu_percent=_mean([each.cpu_percent for each in found]),
            avg_memory_mb=_mean([each.memory_mb for each in found]),
        ),
        slow_jobs=[_performance(each) for each in slow],
        resource_intensive_jobs=[_performance(each) for each in intensive],
    )


def _sum(queues: dict[str, dict[str, int]], *statuses: str) -> int:
    return sum(counts[status] for counts in queues.values() for status in statuses)


def _queues(queues: dict[str, dict[str, int]]) -> dict[str, QueueCounts]:
    return {
        name: QueueCounts(
            active=counts["running"],
            pending=counts["pending"] + counts["retrying"],
            scheduled=counts["scheduled"],
        )
        for name, counts in sorted(queues.items())
    }


def _open(job: Job, now: datetime) -> dict[str, Any]:
    return {
        "task_id": str(job.id),
        "task_name": job.task,
        "worker": job.worker_name,
        "args": [],
        "kwargs": job.arguments,
        "time_start": job.attempt_started_at,
        "status": PLATFORM_LIST.say(shown(job.status, job.scheduled_at, now)),
    }


def _pending(job: Job, now: datetime) -> PendingJob:
    return PendingJob(**_open(job, now), priority=job.priority, eta=job.scheduled_at)


def _completed(job: Job) -> CompletedJob:
    return CompletedJob(
        task_id=str(job.id),
        task_name=job.task,
        status=PLATFORM.say(job.status),  # type: ignore[arg-type]
        execution_time=job.run_ms / 1000,
        completed_at=job.ended_at,
    )


def _failed(job: Job, can_retry: bool) -> FailedJob:
    return FailedJob(
        task_id=str(job.id),
        task_name=job.task,
        status=PLATFORM.say(job.status),  # type: ignore[arg-type]
        error=job.error_message,
        can_retry=can_retry,
        completed_at=job.ended_at,
    )


def _performance(each: Performance) -> JobPerformance:
    stats = each.stats
    return JobPerformance(
        task_name=stats.job_type,
        total_executions=stats.total_runs,
        success_rate=stats.success_rate,
        avg_execution_time=stats.avg_duration_seconds,
        max_execution_time=stats.max_duration_seconds,
        avg_cpu_percent=each.cpu_percent,
        avg_memory_mb=each.memory_mb,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
