"""/api/jobs, /api/overlaps and /api/stats as POST: a window of the last hours; and /api/health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from flask import Blueprint, Response, g
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import text

from app.api.openapi import Answer, Limit, describe
from app.api.schemas import read_optional_body
from app.auth import needs, public
from app.core import job_stats, job_windows, overlaps
from app.core.status import API
from app.errors import translate
from app.extensions import current_settings, db

blueprint = Blueprint("window", __name__, url_prefix="/api")

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
_MOST_HOURS = 24 * 3660


def _any(value: Any) -> Any:
    """No type, as the forms of earlier systems say it."""
    return None if value in ("", "all") else value


JobType = Annotated[
    Annotated[str, Field(max_length=200)] | None,
    BeforeValidator(_any),
    Field(description="Only jobs of this type; `all` or none means every one."),
]


class StatsBody(BaseModel):
    """A window that ends now. What else is sent is ignored: old pages send one body to all."""

    model_config = ConfigDict(extra="ignore", strict=True)

    hours: Annotated[float, Field(gt=0, le=_MOST_HOURS)] = 24

    @property
    def since(self) -> datetime:
        """When the window begins."""
        return datetime.now(UTC) - timedelta(hours=self.hours)


class JobsBody(StatsBody):
    """Which jobs are listed."""

    jobType: JobType = None  # noqa: N815 - the clients' word


class OverlapsBody(JobsBody):
    """Among which runs overlaps are looked for, and how many are listed."""

    limit: Limit(1000, 10_000) = 1000  # type: ignore[valid-type]


class WindowJob(Answer):
    """A job as the timeline shows it."""

    id: str
    job_type: str
    status: Status
    claimed_by: str | None
    claimed_at: datetime | None
    claim_expires_at: datetime | None
    params: Any
    progress_pct: int
    progress_message: str | None
    processed_count: int | None
    total_count: int | None
    result: Any
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class WindowJobs(Answer):
    """The jobs of a window, newest first; `timeRange` is its length in hours."""

    jobs: list[WindowJob]
    count: int
    timeRange: float  # noqa: N815 - the clients' word
    truncated: bool


class Overlap(Answer):
    """Two runs that shared time within the window."""

    job1_id: str
    job1_type: str
    job1_start: datetime
    job1_end: datetime
    job2_id: str
    job2_type: str
    job2_start: datetime
    job2_end: datetime
    overlap_seconds: float


class PairOfTypes(Answer):
    """How often runs of two types overlapped, and for how long in all."""

    type1: str
    type2: str
    pairs: int
    overlap_seconds: float


class Concurrency(Answer):
    """How many ran from a moment on."""

    at: datetime | None
    running: int


class OverlapList(Answer):
    """The overlaps of a window."""

    overlaps: list[Overlap]
    count: int
    truncated: bool
    by_pair: list[PairOfTypes]
    concurrency: list[Concurrency]
    peak: Concurrency


class TypeStats(Answer):
    """One type's runs in a window; durations are of completed ones."""

    job_type: str
    total_runs: int
    completed_runs: int
    failed_runs: int
    running_runs: int
    success_rate: float | None
    avg_duration_seconds: float | None
    min_duration_seconds: float | None
    max_duration_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    last_run: datetime | None
    last_status: Status | None
    is_slow: bool


class StatsList(Answer):
    """Every type that ran."""

    stats: list[TypeStats]
    count: int


class StatusCount(Answer):
    """Jobs of one status."""

    status: Status
    count: int


class TypeCount(Answer):
    """Jobs of one type."""

    job_type: str
    count: int


class Statistics(Answer):
    """All jobs there are."""

    total_jobs: int
    by_status: list[StatusCount]
    by_type: list[TypeCount]
    average_duration_seconds: float | None
    oldest_pending_job_age_seconds: float | None


class Health(Answer):
    """The database answers."""

    status: Literal["healthy"]
    database: Literal["connected"]


class Sickness(Answer):
    """It does not."""

    status: Literal["unhealthy"]
    error: str


Body = TypeVar("Body", bound=StatsBody)


@blueprint.post("/jobs")
@needs("read")
@describe(body=JobsBody, answer=WindowJobs)
def list_jobs() -> WindowJobs:
    """The jobs of the last hours: what was created, ran or ended in them."""
    asked = read_optional_body(JobsBody)
    session = db.session()
    rows, is_truncated = job_windows.list_jobs(
        session, since=asked.since, task=asked.jobType, owner_name=g.actor.owner_name
    )
    running = {row.worker_name for row in rows if row.status == "running" and row.worker_name}
    until = job_windows.claims_until(
        session, sorted(running), current_settings().worker_stale_seconds
    )
    jobs = [
        WindowJob(
            id=str(row.id),
            job_type=row.task,
            status=API.say(row.status),  # type: ignore[arg-type]
            claimed_by=row.worker_name,
            claimed_at=row.attempt_started_at,
            claim_expires_at=until.get(row.worker_name) if row.status == "running" else None,
            params=row.arguments,
            progress_pct=row.progress,
            progress_message=row.message,
            processed_count=row.items_done,
            total_count=row.items_total,
            result=row.result,
            error_message=row.error_message,
            created_at=row.created_at,
            started_at=row.started_at,
            completed_at=row.ended_at,
        )
        for row in rows
    ]
    return WindowJobs(jobs=jobs, count=len(jobs), timeRange=asked.hours, truncated=is_truncated)


@blueprint.post("/overlaps")
@needs("read")
@describe(body=OverlapsBody, answer=OverlapList, errors=(422,))
def list_overlaps() -> OverlapList:
    """Which runs overlapped in the last hours, for how long, and how many ran at once."""
    asked = read_optional_body(OverlapsBody)
    found = overlaps.find(
        db.session(),
        since=asked.since,
        until=datetime.now(UTC),
        limit=asked.limit,
        task=asked.jobType,
        owner_name=g.actor.owner_name,
    )
    return OverlapList(
        overlaps=[
            Overlap(
                job1_id=str(each.first.job_id),
                job1_type=each.first.job_type,
                job1_start=each.first.started_at,
                job1_end=each.first.ended_at,
                job2_id=str(each.second.job_id),
                job2_type=each.second.job_type,
                job2_start=each.second.started_at,
                job2_end=each.second.ended_at,
                overlap_seconds=each.seconds,
            )
            for each in found.overlaps
        ],
        count=found.count,
        truncated=found.is_truncated,
        by_pair=[PairOfTypes(**vars(pair)) for pair in found.by_pair],
        concurrency=[Concurrency(**vars(point)) for point in found.concurrency],
        peak=Concurrency(**vars(found.peak)) if found.peak else Concurrency(at=None, running=0),
    )


@blueprint.post("/stats")
@needs("read")
@describe(body=StatsBody, answer=StatsList)
def list_stats() -> StatsList:
    """How each type of job did in the last hours."""
    asked = read_optional_body(StatsBody)
    found = job_stats.by_task(db.session(), hours=asked.hours, owner_name=g.actor.owner_name)
    stats = [
        TypeStats(
            **{
                **vars(each),
                "last_status": API.say(each.last_status) if each.last_status else None,
                "is_slow": each.is_slow,
            }
        )
        for each in found
    ]
    return StatsList(stats=stats, count=len(stats))


@blueprint.get("/jobs/stats")
@needs("read")
@describe(answer=Statistics)
def show_statistics() -> Statistics:
    """All jobs by status and by type, how long they take, and how long the oldest has waited."""
    found = job_stats.overview(db.session(), g.actor.owner_name)
    by_status = dict.fromkeys(API.vocabulary, 0)
    for status, jobs in found.by_status.items():
        by_status[API.say(status)] += jobs
    return Statistics(
        total_jobs=found.total_jobs,
        by_status=[
            StatusCount(status=status, count=jobs)  # type: ignore[arg-type]
            for status, jobs in by_status.items()
        ],
        by_type=[TypeCount(job_type=task, count=jobs) for task, jobs in found.by_task.items()],
        average_duration_seconds=found.average_duration_seconds,
        oldest_pending_job_age_seconds=found.oldest_pending_job_age_seconds,
    )


@blueprint.get("/health")
@public
@describe(answer=Health)
def health() -> Health | Response:
    """Whether the database answers; needs no key and says no more than that."""
    try:
        db.session.execute(text("SELECT 1"))
    except Exception as fault:
        known = translate(fault)
        if known.http_status != 503:
            raise
        db.session.remove()
        sick = Sickness(status="unhealthy", error=known.message)
        answer = Response(sick.model_dump_json(), 503, mimetype="application/json")
        answer.headers["Retry-After"] = str(known.retry_after_seconds)
        return answer
    return Health(status="healthy", database="connected")
